"""`ref: latest` where upstream's binaries are taken: the release `bN` that it was found to be."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from rigwright.plan.engines.llamacpp.archives import LATEST
from rigwright.plan.engines.llamacpp.settings import LlamacppSettings

RELEASE = re.compile(r"b([0-9]{1,9})")


def newest_key(settings: LlamacppSettings) -> str:
    """The name under which a rig remembers which release was the newest one: sixteen hex digits."""
    return hashlib.sha256(f"{settings.releases} {LATEST}".encode()).hexdigest()[:16]


def at_newest(settings: LlamacppSettings, known: Mapping[str, str]) -> LlamacppSettings:
    """The settings with the release in place of `latest`, once it is known; the same settings where it is not."""
    found = known.get(newest_key(settings), "") if settings.ref == LATEST else ""
    return settings.model_copy(update={"ref": found}) if RELEASE.fullmatch(found) else settings


def release_key(settings: LlamacppSettings) -> str:
    """A release as a run speaks of it: where it is asked for, and which."""
    return f"{settings.releases} {settings.ref}"
