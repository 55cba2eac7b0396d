"""Upstream's releases as their host tells of them: the archives of one, with address and sha256. GitHub's API."""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from rigwright.errors import RigwrightError
from rigwright.plan.engines.llamacpp.archives import Prebuilt
from rigwright.plan.engines.llamacpp.newest import RELEASE
from rigwright.plan.engines.llamacpp.settings import LlamacppSettings
from rigwright.roles.base.redirects import SameSafety
from rigwright.shown import printable, without_secrets
from rigwright.weights.kept import alone, kept

_WHERE = "rig.llamacpp.source"
_SECONDS, _LARGEST_BYTES = 30, 4 << 20
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_INSTEAD = "set source to build, or name the archives in prebuilt"


class Unavailable(RigwrightError):
    """Binaries cannot be had: nobody answers, or has them. `why` says so without what to do."""

    def __init__(self, why: str, instead: str = _INSTEAD) -> None:
        super().__init__(f"{_WHERE}: {why}; {instead}")
        self.why = printable(why)


def published_sums(settings: LlamacppSettings, names: Sequence[str]) -> dict[str, str]:
    """The sha256 of archives by name: given, or as this machine was told when it first asked, else as told now.

    Raises:
        Unavailable: nobody tells.
    """
    cache = kept("prebuilt")
    found = {}
    with alone(cache / "sums.lock"):
        for name in names:
            stamp = cache / f"{settings.sum_key(name)}.sum"
            digest = settings.binaries.get(name) or _read(stamp)
            if not digest:
                digest = _asset(settings, name).sha256
                if not digest:
                    what = f"{_page(settings)} names no sha256 of {name}"
                    raise Unavailable(what, "write it into rig.llamacpp.binaries")
                stamp.write_text(f"{digest}\n")
            found[name] = digest
    return found


def downloads(settings: LlamacppSettings, sums: Mapping[str, str]) -> list[Prebuilt]:
    """The archives with these sums, wherever their release says that they are.

    Raises:
        Unavailable: there are none.
        RigwrightError: it has others by their names.
    """
    found = []
    for name, digest in sums.items():
        now = _asset(settings, name)
        if now.sha256 not in (digest, ""):
            said = f"the sha256 of {name} is {now.sha256} today, {digest} was given or told before"
            raise RigwrightError(f"{_WHERE}: {said}; nothing is taken: find out why, or {_INSTEAD}")
        try:
            found.append(Prebuilt(url=now.url, sha256=digest))
        except ValidationError:
            raise Unavailable(f"{_page(settings)} has no address of {name} to download it from") from None
    return found


def newest(settings: LlamacppSettings) -> str:
    """The newest release: `b11434`.

    Raises:
        Unavailable: nobody tells.
    """
    with alone(kept("prebuilt") / "sums.lock"):
        where = f"{settings.releases}/releases/latest"
        found = _release(where)
        if not RELEASE.fullmatch(found.name):
            raise Unavailable(f"{where} says {printable(found.name[:40])!r}, which is no release like b11434")
        return found.name


def reach(settings: LlamacppSettings, sums: Mapping[str, str]) -> None:
    """Hold the release to these sums, and see whether the host of its archives answers; asked once in a run.

    Raises:
        Unavailable: it does not.
        RigwrightError: it has others by their names.
    """
    with alone(kept("prebuilt") / "sums.lock"):
        where = downloads(settings, sums)[0].url or ""
        if where not in _silent:
            _silent[where] = _reach(where)
        if why := _silent[where]:
            raise Unavailable(why)


# What was asked in this run, by address: all rigs get one answer, or none does.
_releases: dict[str, _Release | Unavailable] = {}
_silent: dict[str, str] = {}


def _reach(where: str) -> str:
    """Why nothing comes from an address; empty where something does. A byte is asked for."""
    try:
        request = urllib.request.Request(where, headers={"Range": "bytes=0-0", "User-Agent": "rigwright"})
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
            return "" if answer.read(1) else f"{without_secrets(where)} answers with nothing"
    except urllib.error.HTTPError as error:
        return f"{without_secrets(where)} answers {error.code}: {error.reason}"
    except (OSError, HTTPException, ValueError) as error:
        return f"{without_secrets(where)} cannot be fetched: {error}"


class _Release(NamedTuple):
    """A release as its page has it: its name, and what it has."""

    name: str
    assets: list[Any]


class _Asset(NamedTuple):
    """A file of a release: its address, and its sum, empty where none is told."""

    url: str
    sha256: str


def _page(settings: LlamacppSettings) -> str:
    return f"{settings.releases}/releases/tags/{settings.ref}"


def _asset(settings: LlamacppSettings, name: str) -> _Asset:
    for asset in _release(_page(settings)).assets:
        if isinstance(asset, dict) and asset.get("name") == name:
            digest = _DIGEST.fullmatch(str(asset.get("digest")))
            return _Asset(str(asset.get("browser_download_url")), digest[1] if digest else "")
    raise Unavailable(f"{_page(settings)} has no {name}")


def _read(stamp: Path) -> str:
    with suppress(OSError):
        if re.fullmatch("[0-9a-f]{64}", text := stamp.read_text(errors="replace").strip()):
            return text
    return ""


def _read_answer(answer: Any) -> bytes:
    """All of it, up to what such an answer may have, and no longer than one may wait."""
    text, began = b"", time.monotonic()
    while len(text) <= _LARGEST_BYTES and (chunk := answer.read1(1 << 16)):
        text += chunk
        if time.monotonic() - began > _SECONDS:
            raise TimeoutError(f"it sent {len(text)} bytes in {_SECONDS} s")
    return text


def _release(where: str) -> _Release:
    """A release by the address of its page, asked once in a run: what was not answered is not asked again either."""
    if where not in _releases:
        try:
            found = _ask(where)
            _releases[where] = found
            # The newest one has a page under its own name too.
            _releases.setdefault(f"{where.rpartition('/releases/')[0]}/releases/tags/{found.name}", found)
        except Unavailable as error:
            _releases[where] = error
    known = _releases[where]
    if isinstance(known, Unavailable):
        raise known
    return known


def _ask(where: str) -> _Release:
    headers = {"Accept": "application/vnd.github+json", "User-Agent": "rigwright"}
    try:
        request = urllib.request.Request(where, headers=headers)
        with urllib.request.build_opener(SameSafety).open(request, timeout=_SECONDS) as answer:
            text = _read_answer(answer)
    except urllib.error.HTTPError as error:
        why = {404: "it has no such release", 403: "it wants one to wait", 429: "it wants one to wait"}.get(error.code)
        raise Unavailable(f"{where} answers {error.code}: {why or error.reason}") from None
    except (OSError, HTTPException, ValueError) as error:
        raise Unavailable(f"{where} cannot be asked: {error}") from None
    try:
        found = json.loads(text) if len(text) <= _LARGEST_BYTES else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not isinstance(found.get("assets"), list):
        raise Unavailable(f"{where} does not answer like GitHub's API")
    return _Release(str(found.get("tag_name")), found["assets"])
