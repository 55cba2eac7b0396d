"""Reads the start of a file at an address, a header or a configuration, and keeps it: nothing is read twice."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit, urlunsplit

from rigwright.errors import UnreadableModel
from rigwright.models.header import Header
from rigwright.models.parts import part_names
from rigwright.models.reading import WINDOWS_BYTES, header_from_stream, model_of
from rigwright.models.values import Model
from rigwright.shown import without_secrets
from rigwright.units import whole_number
from rigwright.weights.hub import SHA256, HubFacts, authorization, hub_facts, is_of

if TYPE_CHECKING:
    from http.client import HTTPResponse

_TIMEOUT_SECONDS = 10
_DEADLINE_SECONDS = 60
# Of all parts of a model together. A name may promise a thousand; past the first they hold hardly more than a table.
_PARTS_SECONDS, _PARTS_BYTES = 120, 256 << 20

T = TypeVar("T")
Read = Callable[[int], bytes]
# From a stream, how messages name it, and its size where that is known, to what it holds.
Parse = Callable[[Read, str, int | None], T]


class NotRead(Exception):
    """Nothing was read: the file is as it was, or out of reach from here."""


def read_kept_model(url: str, kept: Path, *, is_pinned: bool, hub: str = "", sha256: str | None = None) -> Model | None:
    """The model at an http(s) address, from its first bytes; None when it cannot be read from here.

    A model in several parts is read part by part, for two minutes at most; what was read by then is kept.

    Args:
        kept: The file that keeps the header.
        is_pinned: The content never changes.
        hub: The address of the hub, which may get the user's token.
        sha256: The checksum of the file.

    Raises:
        UnreadableModel: the address answers, but not with a whole GGUF model, or the hub does not give it to this user.
    """
    parts = urlsplit(url)
    folder, _, name = parts.path.rpartition("/")
    addresses = {part: urlunsplit(parts._replace(path=f"{folder}/{part}")) for part in part_names(name)}
    if len(addresses) == 1:
        addresses = {name: url}

    began, spent = time.monotonic(), 0

    def parse(read: Read, where: str, size_bytes: int | None) -> Header:
        def counted(wanted: int) -> bytes:
            nonlocal spent
            if spent > _PARTS_BYTES or time.monotonic() - began > _PARTS_SECONDS:
                raise NotRead
            data = read(wanted)
            spent += len(data)
            return data

        return header_from_stream(counted, where=where, size_bytes=size_bytes)

    def header(part: str) -> Header:
        if time.monotonic() - began > _PARTS_SECONDS:
            raise NotRead
        address = addresses[part]
        file = kept if address == url else kept.with_name(f"{kept.name}-{part}")
        known_sum = sha256 if address == url else None
        return read_kept(address, file, parse, is_pinned=is_pinned, hub=hub, sha256=known_sum)

    try:
        return model_of(tuple(addresses), header, where=without_secrets(url))
    except NotRead:
        return None


def read_kept(url: str, kept: Path, parse: Parse[T], *, is_pinned: bool, hub: str = "", sha256: str | None = None) -> T:
    """What the file at an address holds, from its start, which is kept.

    What is pinned, or has this checksum, is read once. A hub is asked for the checksum before anything is read, any
    other host to send only what has changed. What is kept stands in when the address cannot be reached, so that the
    same rig is planned the same way.

    Raises:
        NotRead: it is out of reach, and nothing is kept.
        UnreadableModel: the address answers, but not with such a file.
    """
    note = _note(kept)
    etag = sha256 or _text(note)
    known = _known(_content(url, kept, etag), parse)
    if known is not None and (is_pinned or sha256):
        return known
    seen = bytearray()
    try:
        facts = hub_facts(url, hub=hub) if is_of(url, hub) else HubFacts(location=url)
        if facts.location is None:
            raise NotRead
        lines = facts.etag or ""
        if lines and lines == etag and known is not None:
            return known
        if SHA256.fullmatch(lines) and (same := _known(_content(url, kept, lines), parse)) is not None:
            keep(note, lines.encode())
            return same
        condition = etag if known is not None and not lines else ""
        found, given = _read(url, facts.location, parse, seen, hub=hub, etag=condition)
    except NotRead:
        if known is None:
            raise
        return known
    etag = lines or sha256 or given
    keep(note, b"")  # a run that ends here leaves no content under another's etag
    keep(_content(url, kept, etag), bytes(seen))
    keep(note, etag.encode())
    return found


def told(kept: Path) -> str | None:
    """The sha256 of what an address had when it was last asked, where its host said one."""
    text = _text(_note(kept))
    return text if SHA256.fullmatch(text) else None


def _note(kept: Path) -> Path:
    return kept.with_name(f"{kept.name}.etag")


def _content(url: str, kept: Path, etag: str) -> Path:
    """Where a content is kept: under its checksum for all addresses of a host, else under its address."""
    if not SHA256.fullmatch(etag):
        return kept
    return kept.with_name(hashlib.sha256(f"{urlsplit(url).netloc} {etag}".encode()).hexdigest()[:32])


def _read(url: str, location: str, parse: Parse[T], seen: bytearray, *, hub: str, etag: str) -> tuple[T, str]:
    """What lies there, and its etag; `seen` takes up the bytes.

    One request asks for the first 64 MiB and hangs up as soon as the header is complete, usually after 2 to 16 MiB; a
    server that ignores ranges therefore costs no more. A token stays with the first host: a redirect does not see it.
    """
    from http.client import HTTPException  # most runs read nothing from afar
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    where = without_secrets(url)
    if urlsplit(location).scheme not in ("http", "https"):
        raise UnreadableModel(f"{where}: is no http(s) address; write https://host/model.gguf")
    request = Request(location, headers={"Range": f"bytes=0-{WINDOWS_BYTES[-1] - 1}"})
    if etag:
        request.add_header("If-None-Match", etag)
    for name, value in authorization(location, hub=hub).items():
        request.add_unredirected_header(name, value)
    try:
        with urlopen(request, timeout=_TIMEOUT_SECONDS) as response:
            found = parse(_reader(response, seen), where, _size_bytes(response))
            given = response.headers.get("ETag") or ""
    except HTTPError as error:
        if error.code in (404, 410):
            raise UnreadableModel(f"{where}: there is no such file ({error.code}); check the address") from None
        raise NotRead from None
    except (OSError, HTTPException, ValueError):
        raise NotRead from None
    return found, given if re.fullmatch(r"[\x21-\x7e]{1,200}", given) else ""


def _known(kept: Path, parse: Parse[T]) -> T | None:
    """What is kept; None without it, or when it is damaged."""
    try:
        return parse(BytesIO(kept.read_bytes()).read, str(kept), None)
    except (OSError, UnreadableModel, NotRead):
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text("ascii")
    except (OSError, ValueError):
        return ""


def keep(path: Path, data: bytes) -> None:
    """Writes what was read for the next time; a cache that cannot be written costs no more than that."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_suffix(f".{os.getpid()}")
        scratch.write_bytes(data)
        scratch.replace(path)


def _reader(response: HTTPResponse, seen: bytearray) -> Read:
    """Reads on from an answer, for a minute at most; `seen` takes up the bytes."""
    deadline = time.monotonic() + _DEADLINE_SECONDS

    def read(wanted: int) -> bytes:
        start = len(seen)
        while wanted > 0 and (chunk := response.read1(min(wanted, 2**20))):
            if time.monotonic() > deadline:
                raise NotRead
            seen.extend(chunk)
            wanted -= len(chunk)
        return bytes(seen[start:])

    return read


def _size_bytes(response: HTTPResponse) -> int | None:
    """The size of the whole file: the end of `Content-Range: bytes 0-67108863/21757641056`, or the length of it all."""
    if response.status == 206:
        text = (response.headers.get("Content-Range") or "").rpartition("/")[2]
    else:
        text = response.headers.get("Content-Length") or ""
    return whole_number(text)
