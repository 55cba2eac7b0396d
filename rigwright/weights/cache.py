"""The cache of what was read of models elsewhere: headers, configurations."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from rigwright.errors import UnreadableModel
from rigwright.models.values import Model
from rigwright.weights.hub import COMMIT
from rigwright.weights.remote import NotRead, Read, read_kept, read_kept_model, told

# The index of a model with 100,000 tensors is 12 MB.
_LARGEST_BYTES = 32 << 20
# Source: RFC 3986, 3.3: what a path may hold besides letters and digits.
_PATH = "/-._~!$&'()*+,;=:@"


def cache_directory() -> Path:
    """Where the controller keeps what is dear to compute or fetch: $XDG_CACHE_HOME/rigwright."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rigwright"


def file_url(hub: str, repo: str, *, revision: str, file: str) -> str:
    """The address of a file in a repository of the hub, or of a mirror of it; a file may be called `a#b?.gguf`."""
    return f"{hub.rstrip('/')}/{repo}/resolve/{revision}/{quote(file, safe=_PATH)}"


def model_at(url: str, *, hub: str, revision: str = "", sha256: str | None = None) -> Model | None:
    """The model whose GGUF header lies at an address, or lay there when it was last read; None when out of reach.

    Raises:
        UnreadableModel: the address answers, but not with a whole GGUF model, or the hub does not give it to this user.
    """
    is_pinned = bool(COMMIT.fullmatch(revision))
    return read_kept_model(url, _kept("headers", url), is_pinned=is_pinned, hub=hub, sha256=sha256)


def told_sum(url: str, name: str) -> str | None:
    """The sha256 that a hub named when the header of a model was last asked for; `name` is that of one of its parts.

    Nobody is asked. None where it named none.
    """
    kept = _kept("headers", url)
    own = unquote(urlsplit(url).path).rpartition("/")[2]
    return told(kept if name == own else kept.with_name(f"{kept.name}-{name}"))


def json_at(url: str, *, hub: str, revision: str = "") -> Mapping[str, Any] | None:
    """The JSON object at an address, or the one that was last read there; None when out of reach.

    Raises:
        UnreadableModel: there is no such file, it holds no JSON object, or the hub does not give it to this user.
    """
    is_pinned = bool(COMMIT.fullmatch(revision))
    try:
        return read_kept(url, _kept("configurations", url), _json, is_pinned=is_pinned, hub=hub)
    except NotRead:
        return None


def bytes_at(url: str, *, hub: str, revision: str = "") -> bytes | None:
    """The small file at an address, or what was last read there; None when out of reach, or larger than 32 MiB.

    Raises:
        UnreadableModel: there is no such file, or the hub does not give it to this user.
    """
    is_pinned = bool(COMMIT.fullmatch(revision))
    try:
        return read_kept(url, _kept("small", url), _whole, is_pinned=is_pinned, hub=hub)
    except NotRead:
        return None


def _whole(read: Read, where: str, size_bytes: int | None) -> bytes:
    data = read(_LARGEST_BYTES + 1)
    if len(data) > _LARGEST_BYTES or size_bytes not in (None, len(data)):
        raise NotRead
    return data


def _json(read: Read, where: str, size_bytes: int | None) -> Mapping[str, Any]:
    data = read(_LARGEST_BYTES + 1)
    if len(data) > _LARGEST_BYTES:
        raise NotRead
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UnreadableModel(f"{where}: is no JSON object; check the repository")
    return found


def _kept(folder: str, url: str) -> Path:
    return cache_directory() / folder / hashlib.sha256(url.encode()).hexdigest()[:32]
