"""Upstream's releases as their host tells of them: the archives of one, with address and sha256. GitHub's API."""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from rigwright.errors import RigwrightError
from rigwright.plan.engines.llamacpp.archives import Prebuilt
from rigwright.plan.engines.llamacpp.settings import LlamacppSettings
from rigwright.weights.kept import alone, kept

_WHERE = "rig.llamacpp.source"
_SECONDS, _LARGEST_BYTES = 30, 4 << 20
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_INSTEAD = "set source to build, or name the archives in prebuilt"


class _SameSafety(urllib.request.HTTPRedirectHandler):
    """Follows no redirect from https to http: the answer is believed."""

    def redirect_request(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: str) -> Any:
        """The request to follow it by."""
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise urllib.error.URLError(f"it redirects from https to {newurl[:100]}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def published_sums(settings: LlamacppSettings, names: Sequence[str]) -> dict[str, str]:
    """The sha256 of archives by name: given, or as this machine was told when it first asked, else as told now.

    Raises:
        RigwrightError: nobody tells.
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
                    raise RigwrightError(f"{_WHERE}: {what}; write it into rig.llamacpp.binaries")
                stamp.write_text(f"{digest}\n")
            found[name] = digest
    return found


def downloads(settings: LlamacppSettings, sums: Mapping[str, str]) -> list[Prebuilt]:
    """The archives with these sums, wherever their release says that they are.

    Raises:
        RigwrightError: it has others by their names, or none.
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
            raise RigwrightError(
                f"{_WHERE}: {_page(settings)} has no address of {name} to download it from; {_INSTEAD}"
            ) from None
    return found


class _Asset(NamedTuple):
    """A file of a release: its address, and its sum, empty where none is told."""

    url: str
    sha256: str


def _page(settings: LlamacppSettings) -> str:
    return f"{settings.releases}/releases/tags/{settings.ref}"


def _asset(settings: LlamacppSettings, name: str) -> _Asset:
    for asset in _assets(_page(settings)):
        if isinstance(asset, dict) and asset.get("name") == name:
            digest = _DIGEST.fullmatch(str(asset.get("digest")))
            return _Asset(str(asset.get("browser_download_url")), digest[1] if digest else "")
    raise RigwrightError(f"{_WHERE}: {_page(settings)} has no {name}; {_INSTEAD}")


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


@cache
def _assets(where: str) -> list[Any]:
    """What a release has, asked once in a run."""
    headers = {"Accept": "application/vnd.github+json", "User-Agent": "rigwright"}
    try:
        request = urllib.request.Request(where, headers=headers)
        with urllib.request.build_opener(_SameSafety).open(request, timeout=_SECONDS) as answer:
            text = _read_answer(answer)
    except urllib.error.HTTPError as error:
        why = {404: "it has no such release", 403: "it wants one to wait", 429: "it wants one to wait"}.get(error.code)
        raise RigwrightError(f"{_WHERE}: {where} answers {error.code}: {why or error.reason}; {_INSTEAD}") from None
    except (OSError, HTTPException, ValueError) as error:
        raise RigwrightError(f"{_WHERE}: {where} cannot be asked: {error}; {_INSTEAD}") from None
    try:
        found = json.loads(text) if len(text) <= _LARGEST_BYTES else None
        assets = found["assets"] if isinstance(found, dict) else None
    except (ValueError, KeyError, RecursionError):
        assets = None
    if not isinstance(assets, list):
        raise RigwrightError(f"{_WHERE}: {where} does not answer like GitHub's API; {_INSTEAD}")
    return assets
