"""Reads the header of a GGUF file at an address, without downloading the rest."""

from __future__ import annotations

import http.client
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit, urlunsplit
from urllib.request import Request, urlopen

from rigwright.errors import UnreadableModel
from rigwright.models.header import Header
from rigwright.models.parts import part_names
from rigwright.models.reading import WINDOWS_BYTES, header_from_stream, model_of
from rigwright.models.values import Model

_TIMEOUT_SECONDS = 10
_DEADLINE_SECONDS = 60
_NO_HEADERS: Mapping[str, str] = {}


class TooSlow(Exception):
    """The server answers, but a header would take minutes."""


class _OutOfReach(Exception):
    """The address cannot be read from here; it may be from elsewhere."""


def read_remote_model(url: str, headers: Mapping[str, str] = _NO_HEADERS) -> Model | None:
    """The model at an http(s) address, from its first bytes; None when the address cannot be read from here.

    One request asks for the first 64 MiB and hangs up as soon as the header is complete, usually after 2 to 16 MiB; a
    server that ignores ranges therefore costs no more. `headers` (a token) stay with the first host: a redirect to a
    content network does not see them. A model in several parts costs one such request for each.

    Raises:
        UnreadableModel: the address answers, but not with a whole GGUF model.
    """
    try:
        return _model(url, lambda part: _remote_header(part, headers))
    except _OutOfReach:
        return None


def _model(url: str, read: Callable[[str], Header]) -> Model:
    """The model whose parts lie beside each other."""
    parts = urlsplit(url)
    folder, _, name = parts.path.rpartition("/")
    addresses = {part: urlunsplit(parts._replace(path=f"{folder}/{part}")) for part in part_names(name)}
    if len(addresses) == 1:
        addresses = {name: url}
    return model_of(tuple(addresses), lambda part: read(addresses[part]), where=without_secrets(url))


def _remote_header(url: str, headers: Mapping[str, str] = _NO_HEADERS, *, seen: bytearray | None = None) -> Header:
    """The header at an address; `seen` takes up the bytes that were read."""
    where = without_secrets(url)
    if urlsplit(url).scheme not in ("http", "https"):
        raise UnreadableModel(f"{where}: is no http(s) address; write https://host/model.gguf")
    request = Request(url, headers={"Range": f"bytes=0-{WINDOWS_BYTES[-1] - 1}"})
    for name, value in headers.items():
        request.add_unredirected_header(name, value)
    try:
        with urlopen(request, timeout=_TIMEOUT_SECONDS) as response:
            return header_from_stream(reader(response, seen), where=where, size_bytes=_size_bytes(response))
    except HTTPError as error:
        if error.code in (404, 410):
            raise UnreadableModel(f"{where}: there is no such file ({error.code}); check the address") from None
        raise _OutOfReach from None
    except (OSError, http.client.HTTPException, ValueError, TooSlow):
        raise _OutOfReach from None


def read_kept_model(url: str, kept: Path, *, is_pinned: bool) -> Model | None:
    """Like `read_remote_model`, with the header's bytes kept in a file.

    A pinned file never changes: its kept header answers without a request. Any other is asked for anew, and the kept
    one stands in when the address cannot be reached, so that the same rig is planned the same way.

    Raises:
        UnreadableModel: the address answers, but not with a whole GGUF model.
    """
    try:
        return _model(url, lambda part: _kept_header(part, _kept_path(url, part, kept), is_pinned=is_pinned))
    except _OutOfReach:
        return None


def _kept_path(url: str, part: str, kept: Path) -> Path:
    """Where the header of a part is kept: `kept` itself for the one that was named."""
    return kept if part == url else kept.with_name(f"{kept.name}-{urlsplit(part).path.rpartition('/')[2]}")


def _kept_header(url: str, kept: Path, *, is_pinned: bool) -> Header:
    if is_pinned and (known := _known_header(kept)):
        return known
    seen = bytearray()
    try:
        header = _remote_header(url, seen=seen)
    except _OutOfReach:
        if known := _known_header(kept):
            return known
        raise
    keep(kept, bytes(seen))
    return header


def _known_header(kept: Path) -> Header | None:
    """The header that is kept; None without one, or when it is damaged."""
    try:
        return header_from_stream(BytesIO(kept.read_bytes()).read, where=str(kept), size_bytes=None)
    except (OSError, UnreadableModel):
        return None


def keep(path: Path, data: bytes) -> None:
    """Writes what was read for the next time; a cache that cannot be written costs no more than that."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_suffix(f".{os.getpid()}")
        scratch.write_bytes(data)
        scratch.replace(path)


def reader(response: http.client.HTTPResponse, seen: bytearray | None = None) -> Callable[[int], bytes]:
    """Reads on from an answer, for a minute at most; `seen` takes up the bytes."""
    deadline = time.monotonic() + _DEADLINE_SECONDS

    def read(wanted: int) -> bytes:
        chunks = []
        while wanted > 0 and (chunk := response.read1(min(wanted, 2**20))):
            if time.monotonic() > deadline:
                raise TooSlow
            chunks.append(chunk)
            wanted -= len(chunk)
        data = b"".join(chunks)
        if seen is not None:
            seen.extend(data)
        return data

    return read


def _size_bytes(response: http.client.HTTPResponse) -> int | None:
    """The size of the whole file: the end of `Content-Range: bytes 0-67108863/21757641056`, or the length of it all."""
    if response.status == 206:
        text = (response.headers.get("Content-Range") or "").rpartition("/")[2]
    else:
        text = response.headers.get("Content-Length") or ""
    return int(text) if text.isdecimal() else None


def without_secrets(url: str) -> str:
    """The address without user, password, query: what a message may show."""
    try:
        parts = urlsplit(url)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    except ValueError:
        return "the model's address"
