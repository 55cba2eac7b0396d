"""What was read of models elsewhere, kept so that the next look costs nothing: headers, configurations."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from rigwright.errors import UnreadableModel
from rigwright.models.values import Model
from rigwright.weights.remote import TooSlow, keep, read_kept_model, reader, without_secrets

_TIMEOUT_SECONDS = 10
# The index of a model with 100,000 tensors is 12 MB.
_LARGEST_BYTES = 32 << 20
_COMMIT = re.compile(r"[0-9a-f]{40}")


def cache_directory() -> Path:
    """Where the controller keeps what is dear to compute or fetch: $XDG_CACHE_HOME/rigwright."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rigwright"


def file_url(hub: str, repo: str, *, revision: str, file: str) -> str:
    """The address of a file in a repository of the hub, or of a mirror of it."""
    return f"{hub.rstrip('/')}/{repo}/resolve/{revision}/{file}"


def model_at(url: str, *, revision: str = "", sha256: str | None = None) -> Model | None:
    """The model whose GGUF header lies at an address, or lay there when it was last read; None when out of reach.

    Raises:
        UnreadableModel: the address answers, but not with a whole GGUF model.
    """
    is_pinned = bool(sha256 or _COMMIT.fullmatch(revision))
    return read_kept_model(url, _kept("headers", url), is_pinned=is_pinned)


def json_at(url: str, *, revision: str = "") -> Mapping[str, Any] | None:
    """The JSON object at an address, or the one that was last read there; None when out of reach.

    Raises:
        UnreadableModel: there is no such file, or it holds no JSON object.
    """
    kept = _kept("configurations", url)
    known = _read(kept)
    if not (known and _COMMIT.fullmatch(revision)):
        if fetched := _fetched(url):
            keep(kept, fetched)
        known = fetched or known
    if not known:
        return None
    try:
        found = json.loads(known)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UnreadableModel(f"{without_secrets(url)}: is no JSON object; check the repository")
    return found


def size_at(url: str) -> int | None:
    """The size of the file at an address; None where it cannot be asked."""
    try:
        with urlopen(Request(url, headers={"Range": "bytes=0-0"}), timeout=_TIMEOUT_SECONDS) as response:
            text = (response.headers.get("Content-Range") or "").rpartition("/")[2]
            return int(text or response.headers.get("Content-Length") or 0) or None
    except (OSError, http.client.HTTPException, ValueError):
        return None


def _kept(folder: str, url: str) -> Path:
    return cache_directory() / folder / hashlib.sha256(url.encode()).hexdigest()[:32]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _fetched(url: str) -> bytes:
    """The bytes at an address; nothing when it is out of reach.

    Raises:
        UnreadableModel: there is no such file.
    """
    try:
        with urlopen(url, timeout=_TIMEOUT_SECONDS) as response:
            data = reader(response)(_LARGEST_BYTES + 1)
            return data if len(data) <= _LARGEST_BYTES else b""
    except HTTPError as error:
        if error.code in (404, 410):
            raise UnreadableModel(
                f"{without_secrets(url)}: there is no such file ({error.code}); check the repository"
            ) from None
        return b""
    except (OSError, http.client.HTTPException, ValueError, TooSlow):
        return b""
