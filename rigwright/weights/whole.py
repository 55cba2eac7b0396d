"""Whole repositories of safetensors as files: of a hub at one commit, of a lock, or a directory on this machine."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rigwright.errors import UnreadableModel
from rigwright.given import at_home
from rigwright.models.config import read_config
from rigwright.models.repository_files import INDEX, is_shard, is_wanted, wanted_files
from rigwright.plan.source import ModelSource
from rigwright.spec.weights import WeightsSettings
from rigwright.weights.cache import bytes_at, cache_directory, file_url
from rigwright.weights.listing import Listed, listing_at
from rigwright.weights.local import LocalModel, file_sha256, inspect_model, one_file
from rigwright.weights.remote import keep

# Source: the format's own reader, safetensors 0.6, MAX_HEADER_SIZE.
_LARGEST_HEADER_BYTES = 100_000_000
_LARGEST_INDEX_BYTES = 32 << 20


def repository_model(repo: str, commit: str, settings: WeightsSettings) -> LocalModel | None:
    """A repository of a hub at a commit, each file with its sha256; None where the hub cannot be asked from here.

    Of a small file git knows no sha256: it is read, held to the sum that git has of it, and sent from here.

    Raises:
        UnreadableModel: it has no weights that may be brought, or they cannot be held to a sum.
    """
    hub = settings.hugging_face
    listing = listing_at(repo, commit, hub)
    if listing is None:
        return None
    files = [_of_hub(one, repo, commit, settings) for one in listing.files]
    return _joined([one for one in files if one], repo, commit) if all(files) else None


def locked_repository(
    repo: str, commit: str, files: Sequence[tuple[str, str | None, int | None]], settings: WeightsSettings
) -> LocalModel:
    """The repository that a lock names by its files: name, sha256, size. No hub is asked.

    Raises:
        UnreadableModel: the lock names what does not come to a rig, or a file without its sum.
    """
    found = []
    for name, sha256, size in files:
        if not is_wanted(name) or not sha256:
            raise UnreadableModel(f"hf:{repo}: the lock names {name[:80]!r} of it, which is none of its model's files")
        found.append(_here(_file(Listed(name, size, sha256), repo, commit, settings)))
    return _joined(found, repo, commit)


def inspect_named(source: ModelSource, settings: WeightsSettings, *, projector: str | None = None) -> LocalModel:
    """A model that is named by its place: a directory on this machine, or a file anywhere.

    Raises:
        UnreadableModel: it is not there, or not whole.
    """
    if source.path and at_home(source.path).is_dir():
        return directory_model(source)
    return inspect_model(source, settings, projector=projector)


def directory_model(source: ModelSource) -> LocalModel:
    """A directory on this machine; its place on the rig is by its content: another content is another directory.

    Raises:
        UnreadableModel: it holds no model of safetensors, or not all of it.
    """
    root = at_home(source.path or "")
    if source.sha256:
        raise UnreadableModel(f"{root}: is a directory, and sha256 is that of one file; leave it out")
    files = []
    for name in _names_in(root):
        path = root / name
        if is_shard(name):
            _check_whole(path)
        own = source.model_copy(update={"path": f"{(source.path or '').rstrip('/')}/{name}", "sha256": None})
        size = path.stat().st_size
        files.append(LocalModel(own, None, file_sha256(path), size, most_bytes=size, path=path))
    total = hashlib.sha256("".join(f"{one.sha256} {one.source.file_name}\n" for one in files).encode()).hexdigest()
    folder = f"local--{source.file_name}/{total[:12]}"
    first, *others = [replace(one, folder=folder) for one in files]
    return replace(first, model=read_config(root), others=tuple(others))


def _joined(files: Sequence[LocalModel], repo: str, commit: str) -> LocalModel:
    first, *others = [replace(one, folder=f"{repo.replace('/', '--')}/{commit}") for one in files]
    return replace(first, others=tuple(others))


def _of_hub(listed: Listed, repo: str, commit: str, settings: WeightsSettings) -> LocalModel | None:
    if not listed.sha256:
        sha256 = _small_sum(listed, repo, commit, settings.hugging_face)
        if sha256 is None:
            return None
        listed = listed._replace(sha256=sha256)
    return _here(_file(listed, repo, commit, settings))


def _file(listed: Listed, repo: str, commit: str, settings: WeightsSettings) -> LocalModel:
    source = ModelSource(repo=repo, revision=commit, file=listed.name, sha256=listed.sha256)
    found = one_file(source, settings, {listed.name: listed.sha256 or ""})
    size = found.size_bytes or listed.size_bytes
    return replace(found, size_bytes=size, most_bytes=size)


def _here(local: LocalModel) -> LocalModel:
    """A small file that was read here is sent; all others the rig downloads."""
    kept = _kept(local.sha256 or "none", local.source.file_name)
    if local.path or is_shard(local.source.file_name) or not kept.is_file():
        return local
    return replace(local, path=kept, url=None, size_bytes=kept.stat().st_size)


def _small_sum(listed: Listed, repo: str, commit: str, hub: str) -> str | None:
    """The sha256 of a file that git keeps itself: it is read for it, and kept; None where it is out of reach.

    Raises:
        UnreadableModel: what came is not what git has, or it is weights, which are too large to be read for this.
    """
    where = f"hf:{repo}@{commit[:12]}"
    if is_shard(listed.name) and not listed.blob:
        raise UnreadableModel(f"{where}: the hub names no sha256 of {listed.name}; name a mirror that does")
    data = bytes_at(file_url(hub, repo, revision=commit, file=listed.name), hub=hub, revision=commit)
    if data is None:
        return None
    blob = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
    if listed.blob not in (None, blob):
        raise UnreadableModel(f"{where}: {listed.name} is not the file that the hub lists; try again, or name a mirror")
    sha256 = hashlib.sha256(data).hexdigest()
    if not (kept := _kept(sha256, listed.name)).is_file():
        keep(kept, data)
    return sha256


def _kept(sha256: str, name: str) -> Path:
    """Where a small file is kept: under its own name, which people see as it is sent."""
    return cache_directory() / "repositories" / sha256[:32] / name


def _names_in(root: Path) -> tuple[str, ...]:
    """The files of a directory that are brought. A link in it may lead to what is not the model's: it is refused."""
    try:
        names = sorted(one.name for one in root.iterdir() if not one.is_dir())
        index = _index(root) if INDEX in names else None
        wanted = wanted_files(names, index, where=str(root))
        inside = [root.resolve()]
        if root.resolve().parent.name == "snapshots":  # the cache of `hf download` is made of links to its blobs
            inside.append(root.resolve().parent.parent / "blobs")
        for name in wanted:
            place = (root / name).resolve()
            if not place.is_file():
                raise UnreadableModel(f"{root / name}: is no file; download it again")
            if place.parent not in inside:
                raise UnreadableModel(f"{root / name}: is a link out of its directory; put the file itself there")
    except OSError as error:
        raise UnreadableModel(f"{root}: {(error.strerror or 'cannot be read').lower()}; check the directory") from None
    return wanted


def _index(root: Path) -> Mapping[str, Any]:
    path = root / INDEX
    if path.stat().st_size > _LARGEST_INDEX_BYTES:
        raise UnreadableModel(f"{path}: is larger than 32 MiB; download it again")
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UnreadableModel(f"{path}: is no JSON object; download it again")
    return found


def _check_whole(path: Path) -> None:
    """Refuse a file of weights that is cut short: its header says how long it is.

    Source: the format, https://github.com/huggingface/safetensors: 8 bytes with the length of the header, the header as
    JSON with the place of each tensor in what follows.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        header = file.read(length) if length <= min(size - 8, _LARGEST_HEADER_BYTES) else b""
    try:
        tensors = json.loads(header)
        ends = [row["data_offsets"][1] for name, row in tensors.items() if name != "__metadata__"]
        is_whole = 8 + length + max(ends, default=0) == size
    except (ValueError, RecursionError, AttributeError, TypeError, LookupError):
        is_whole = False
    if not is_whole:
        raise UnreadableModel(f"{path}: is no whole file of safetensors; download it again")
