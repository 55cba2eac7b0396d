"""The sums of a release's archives, as its sha256sum.txt tells them: asked once by this machine, and kept."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

from rigwright.errors import RigwrightError
from rigwright.plan.engines.ollama.settings import OllamaSettings
from rigwright.roles.base.redirects import SameSafety
from rigwright.shown import printable
from rigwright.weights.kept import alone, kept

LIST = "sha256sum.txt"
_SECONDS, _LARGEST_BYTES = 30, 1 << 20
_LINE = re.compile(r"([0-9a-f]{64}) [ *](?:\./)?([A-Za-z0-9][\w.+-]{0,120})")
_INSTEAD = "name the sums in rig.ollama.sums, or an archive"


def published_sums(settings: OllamaSettings, names: Sequence[str]) -> dict[str, str]:
    """The sha256 of archives by name: as this machine was told when it first asked, else as told now.

    Raises:
        RigwrightError: nobody tells.
    """
    cache = kept("prebuilt")
    found = {}
    with alone(cache / "sums.lock"):
        told: dict[str, str] | None = None
        for name in names:
            stamp = cache / f"{settings.sum_key(name)}.sum"
            digest = _read(stamp)
            if not digest:
                told = _told(settings) if told is None else told
                digest = told.get(name, "")
                if not digest:
                    raise RigwrightError(f"rig.ollama: {settings.address(LIST)} names no {name}; {_INSTEAD}")
                stamp.write_text(f"{digest}\n")
            found[name] = digest
    return found


def _told(settings: OllamaSettings) -> dict[str, str]:
    where = settings.address(LIST)
    opener = urllib.request.build_opener(SameSafety)
    try:
        with opener.open(
            urllib.request.Request(where, headers={"User-Agent": "rigwright"}), timeout=_SECONDS
        ) as answer:
            text = answer.read(_LARGEST_BYTES).decode(errors="replace")
    except urllib.error.HTTPError as error:
        missing = f"there is no version {settings.version}" if error.code == 404 else f"{error.code} {error.reason}"
        raise RigwrightError(f"rig.ollama: {where} answers {printable(missing)}; {_INSTEAD}") from None
    except (OSError, HTTPException, ValueError) as error:
        raise RigwrightError(
            f"rig.ollama: {where} cannot be fetched: {printable(str(error)[:200])}; {_INSTEAD}"
        ) from None
    lines = (_LINE.fullmatch(line.strip()) for line in text.splitlines())
    return {line[2]: line[1] for line in lines if line}


def _read(stamp: Path) -> str:
    with suppress(OSError):
        if re.fullmatch("[0-9a-f]{64}", text := stamp.read_text(errors="replace").strip()):
            return text
    return ""
