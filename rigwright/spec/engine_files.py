"""The texts on this machine that an engine's settings name, read before anything is planned."""

from __future__ import annotations

from rigwright.errors import WrongSpec
from rigwright.given import at_home
from rigwright.plan.engines.settings import EngineSettings

# A lock of two hundred packages, each with the sums of all its files, has 0.4 MB.
_MOST_BYTES = 8 << 20


def with_files(rig: str, engine: str, settings: EngineSettings) -> EngineSettings:
    """The settings with the texts of their files.

    Raises:
        WrongSpec: one cannot be read, or is not what it should be.
    """
    where = f"{rig}: rig.{engine}"
    texts = {}
    for name in settings.files:
        path = at_home(name)
        try:
            if path.stat().st_size > _MOST_BYTES:
                raise WrongSpec(f"{where}: {path} has more than {_MOST_BYTES >> 20} MiB; name the file that is meant")
            texts[name] = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not text"
            raise WrongSpec(f"{where}: {path} cannot be read: {reason}; name a file on this machine") from None
    try:
        return settings.with_files(texts)
    except ValueError as error:
        raise WrongSpec(f"{where}: {error}") from None
