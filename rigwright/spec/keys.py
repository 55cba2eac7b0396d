"""The API keys of a service, read from the controller: one per line, readable for their owner alone."""

from __future__ import annotations

import re
import stat
from pathlib import Path

from rigwright.errors import WrongSpec
from rigwright.given import at_home
from rigwright.plan.budget import A_DEPLOY_REFUSES
from rigwright.plan.reasons import Reason
from rigwright.spec.rig import RigSpec


def keys_of(rig: str, spec: RigSpec) -> dict[str, str]:
    """The texts of the key files of a rig's services, by service.

    Raises:
        WrongSpec: a line for the first file that is wrong.
    """
    return {
        wish.name: read_keys(f"{rig}: rig.services.{index}", at_home(wish.api_key_file))
        for index, wish in enumerate(spec.services)
        if wish.api_key_file
    }


def key_notes(spec: RigSpec) -> tuple[Reason, ...]:
    """What a deploy from this machine would refuse of the files of keys; the plan itself needs none of them."""
    try:
        keys_of("", spec)
    except WrongSpec as error:
        return (Reason(choice=A_DEPLOY_REFUSES, because=error.message.removeprefix(": rig.")),)
    return ()


def read_keys(where: str, path: Path) -> str:
    """The text of a file of keys; `where` names the service in messages.

    Raises:
        WrongSpec: it cannot be read, others may read it, or it holds no keys.
    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise WrongSpec(
            f"{where}.api_key_file: {path} cannot be read: {reason}; write one API key per line into it"
        ) from None
    if mode & 0o077:
        raise WrongSpec(f"{where}.api_key_file: {path} is readable for others (mode {mode:o}); chmod 600 it")
    keys = text.split("\n")
    if any(re.search(r'[^\x21-\x7e]|["\\]', key) for key in keys if key == key.strip() and key.isprintable()):
        raise WrongSpec(
            f"{where}.api_key_file: {path} holds a key with a quote, a backslash or a letter beyond ASCII, which not "
            "every client sends as it is; make another one, like: openssl rand -hex 32"
        )
    if not text.strip() or any(key != key.strip() or not key.isprintable() for key in keys):
        raise WrongSpec(f"{where}.api_key_file: {path} must hold one API key per line, without blanks; write it anew")
    return text.rstrip("\n") + "\n"
