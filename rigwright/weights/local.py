"""The controller's side of a model: what its header says, and its checksum, computed once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from rigwright.errors import UnreadableModel, WrongSpec
from rigwright.given import at_home
from rigwright.models import Model, read_model
from rigwright.models.file_names import file_name_problem
from rigwright.models.parts import part_names
from rigwright.models.variants import Variant, split_quant
from rigwright.plan.source import ModelSource
from rigwright.plan.wish import ServiceWish
from rigwright.spec.weights import WeightsSettings
from rigwright.weights.cache import cache_directory, file_url, model_at, told_sum
from rigwright.weights.hub import hub_facts, is_of
from rigwright.weights.offline import offline_file
from rigwright.weights.on_rig import model_on_rig
from rigwright.weights.remote import keep

# What may follow the last tensor of a file.
_PADDING_BYTES = 64 << 20
_NO_SUMS: Mapping[str, str] = {}


@dataclass(frozen=True)
class LocalModel:
    """A model as known before any rig is touched. `model` is None where its header could not be read from here.

    `offer` is the catalogue's row, where a name of the catalogue led here. `others` are the files that go with this
    one: the further parts of a model in several, the projector of one that sees. `most_bytes` is more than such a file
    can have, by what the headers of all parts declare; None where they were not read. `path` is the file on this
    machine that is uploaded. `drafter` is the model that drafts ahead for it. `told` is the sha256 that the hub named
    when this run asked for the header; None where none is known. `folder` is of each file of a whole repository the
    directory of its own, below that of model files: `org--repo/COMMIT`; the first file is its config.json.
    """

    source: ModelSource
    model: Model | None
    sha256: str | None
    size_bytes: int | None
    url: str | None = None
    variant: Variant | None = None
    others: tuple[LocalModel, ...] = ()
    most_bytes: int | None = None
    path: Path | None = None
    drafter: LocalModel | None = None
    told: str | None = None
    folder: str = ""

    @property
    def name(self) -> str:
        """What people call it: its file, or the repository or the directory that it is."""
        whole = self.source.repo or PurePosixPath(self.folder).parent.name.partition("--")[2]
        return whole if self.folder else self.source.file_name

    @property
    def place(self) -> str:
        """Where it lies in the directory of model files."""
        return f"{self.folder}/{self.source.file_name}" if self.folder else self.source.place

    @property
    def origin(self) -> str:
        """Where the file comes from, as a stamp says it."""
        return hashlib.sha256(self.url.encode()).hexdigest()[:16] if self.url else "upload"

    @property
    def files(self) -> tuple[LocalModel, ...]:
        """All files to bring."""
        return (*self.own_files, *(self.drafter.files if self.drafter else ()))

    @property
    def own_files(self) -> tuple[LocalModel, ...]:
        """Those that it is made of, without the model that drafts for it."""
        return (self, *self.others)


def inspect_model(
    source: ModelSource,
    settings: WeightsSettings,
    *,
    variant: Variant | None = None,
    sums: Mapping[str, str] = _NO_SUMS,
    projector: str | None = None,
) -> LocalModel:
    """Look at a model from the controller.

    Args:
        variant: The catalogue's row that `source` comes from.
        sums: The sha256 of files by name, where they are known from elsewhere.
        projector: A further file of the same repository.

    Raises:
        UnreadableModel: a local file is missing, cut short, no GGUF, or not the one that `sha256` names.
    """
    first, *rest = _parts(source)
    others = [one_file(part, settings, sums) for part in rest]
    if projector and source.repo:
        others.append(one_file(source.model_copy(update={"file": projector, "sha256": None}), settings, sums))
    found = one_file(first, settings, sums, is_first=True)
    if source.path_on_rig:
        model = model_on_rig(source.rig, source.path_on_rig)
    elif found.path:
        model = read_model(found.path)
    else:
        model = model_at(found.url or "", hub=settings.hugging_face, revision=source.revision, sha256=found.sha256)
    most_bytes = model.file_bytes + _PADDING_BYTES if model else None
    parts = [replace(one, most_bytes=most_bytes, told=_told(found, one)) for one in others[: len(rest)]]
    others = [*parts, *others[len(rest) :]]
    told = _told(found, found)
    return replace(found, model=model, variant=variant, others=tuple(others), most_bytes=most_bytes, told=told)


def _told(first: LocalModel, one: LocalModel) -> str | None:
    return told_sum(first.url, one.source.file_name) if first.url and one.source.repo else None


def projector_of(wish: ServiceWish, variant: Variant | None = None) -> str | None:
    """The file that lets a model see, where it is wished for and the catalogue knows it.

    Raises:
        WrongSpec: no repository is named that could hold one.
    """
    if not wish.vision or "--mmproj" in wish.flags:
        return None
    known = variant.known if variant else split_quant(wish.model.file_name)[0]
    if known and known.projector_file and (variant or wish.model.repo):
        return known.projector_file
    raise WrongSpec(
        "vision needs a projector, which comes with a name of the catalogue or one of its files on a hub; "
        "name such a model, or put a projector on the rig and its path into flags: {'--mmproj': …}"
    )


def with_sum(local: LocalModel, settings: WeightsSettings) -> LocalModel:
    """The file with the checksum that the hub names, where none is known: what a rig downloads is held against it.

    Raises:
        UnreadableModel: the hub says that there is no such file, or that this user may not have it.
    """
    if local.sha256 or not local.url or not is_of(local.url, settings.hugging_face):
        return local
    return replace(local, sha256=hub_facts(local.url, hub=settings.hugging_face).sha256)


def weights_path(source: ModelSource, settings: WeightsSettings) -> str:
    """Where the file lives on the rig.

    Raises:
        WrongSpec: its name cannot be one, or leads elsewhere. The wish refuses such; nothing may get around it.
    """
    if problem := file_name_problem(source.file_name):
        raise WrongSpec(f"{source}: {source.file_name!r} cannot be a file name on the rig: it {problem}")
    return source.path_on_rig or f"{settings.directory}/{source.place}"


def local_path(local: LocalModel, settings: WeightsSettings) -> str:
    """Where a file lives on the rig, be it one of a whole repository.

    Raises:
        WrongSpec: its name cannot be one.
    """
    path = weights_path(local.source, settings)
    return f"{settings.directory}/{local.place}" if local.folder else path


def model_path(local: LocalModel, settings: WeightsSettings) -> str:
    """What an engine is given: the file, or the directory of a whole repository."""
    return f"{settings.directory}/{local.folder}" if local.folder else weights_path(local.source, settings)


def source_url(source: ModelSource, settings: WeightsSettings) -> str:
    """The address of a file that the rig downloads."""
    return source.url or file_url(
        settings.hugging_face, source.repo or "", revision=source.revision, file=source.file or ""
    )


def _parts(source: ModelSource) -> tuple[ModelSource, ...]:
    """The source of each file of a model in several; itself alone where it is one."""
    # In an address the path alone names files: what follows it may hold the same name.
    address = urlsplit(source.url or "")
    folder, slash, own = (address.path or source.path or source.path_on_rig or source.file or "").rpartition("/")

    def beside(name: str) -> ModelSource:
        place = f"{folder}{slash}{name}"
        url = {"url": address._replace(path=place).geturl()} if source.url else {}
        key = next(key for key in ("path", "path_on_rig", "file") if key == "file" or getattr(source, key))
        return source.model_copy(update=(url or {key: place}) | {"sha256": None})

    return tuple(source if name == own else beside(name) for name in part_names(own))


def one_file(
    source: ModelSource, settings: WeightsSettings, sums: Mapping[str, str], *, is_first: bool = False
) -> LocalModel:
    """One file, whatever it holds.

    Raises:
        UnreadableModel: one on this machine is not there, or not the wanted one.
    """
    wanted = sums.get(source.file_name) or (source.sha256 if is_first else None)
    if source.path_on_rig:
        return LocalModel(source, None, wanted, None)
    path = at_home(source.path) if source.path else None
    if path is None or not path.is_file():
        path = offline_file(source, wanted, settings.offline) or path
    if path is None:
        return LocalModel(source, None, wanted, None, source_url(source, settings))
    if not path.is_file():
        read_model(path)  # says what is wrong with it
    digest = file_sha256(path)
    expected = wanted if source.path is None else source.sha256
    if expected and digest != expected:
        said = "the inventory says" if source.sha256 else "it should be"
        raise UnreadableModel(f"{path}: its sha256 is {digest}, {said} {expected}; fetch it again, or correct sha256")
    return LocalModel(source, None, digest, path.stat().st_size, path=path)


def file_sha256(path: Path) -> str:
    """The sha256 of a file, remembered by path, size and time of change."""
    status = path.stat()
    key = f"{path.resolve()}|{status.st_size}|{status.st_mtime_ns}"
    store = cache_directory() / "sha256.json"
    known = _read(store)
    if key not in known:
        with path.open("rb") as file:
            known[key] = hashlib.file_digest(file, "sha256").hexdigest()
        keep(store, json.dumps(known).encode())
    return known[key]


def _read(store: Path) -> dict[str, str]:
    try:
        known = json.loads(store.read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}
