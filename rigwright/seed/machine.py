"""What a rig shall be before any deploy: of its host data, checked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rigwright.errors import WrongSpec
from rigwright.given import at_home
from rigwright.spec.rig import RigSpec
from rigwright.spec.seed import SeedSettings, public_key

# Source: user-setup and adduser of Debian.
_USER = re.compile(r"[a-z][a-z0-9_-]{0,30}")


@dataclass(frozen=True)
class BareMachine:
    """A machine to be installed: its name, who logs in, by which keys, and its settings."""

    rig: str
    hostname: str
    user: str
    keys: tuple[str, ...]
    settings: SeedSettings


def bare_machine(rig: str, spec: RigSpec, data: Mapping[str, Any]) -> BareMachine:
    """The machine that host data describe.

    Raises:
        WrongSpec: a line for what is wrong or missing.
    """
    settings = spec.seed
    if settings is None:
        raise WrongSpec(f'{rig}: rig.seed: missing; write at least "seed": {{"disk": …}}, see docs/rebuild.md')
    if not re.fullmatch(r"\w[\w.-]*", rig, re.ASCII):
        raise WrongSpec(f"{rig}: rig.seed: the rig's name is no name of a folder; give it one of letters and digits")
    user = data.get("ssh_user")
    if not isinstance(user, str) or not _USER.fullmatch(user) or user == "root":
        raise WrongSpec(
            f"{rig}: ssh_user: {str(user)[:40]!r} is no user that an installer makes; write another one than root, in "
            "small letters, with _sudo: True"
        )
    hostname = settings.hostname or rig.lower()
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9-]{1,63})*", hostname):
        raise WrongSpec(f"{rig}: rig.seed.hostname: {rig!r} is no name of a machine; write one in small letters")
    return BareMachine(rig, hostname, user, tuple(dict.fromkeys(_keys(rig, settings, data))), settings)


def _keys(rig: str, settings: SeedSettings, data: Mapping[str, Any]) -> Iterator[str]:
    given, where = settings.authorized_keys, f"{rig}: rig.seed.authorized_keys"
    if not given:
        if not isinstance(data.get("ssh_key"), str):
            raise WrongSpec(f"{where}: missing, and the host data have no ssh_key; name the file of a public key")
        given = (f"{data['ssh_key']}.pub",)
    for one in given:
        shown = one if len(one) < 60 else f"{one[:40]}…"
        text = one
        if not re.match(r"(?:ssh|ecdsa|sk)-\S+ |-----", one.strip()):
            try:
                text = at_home(one).read_text("utf-8")
            except (OSError, UnicodeDecodeError, ValueError) as error:
                why = getattr(error, "strerror", None) or "is no text"
                raise WrongSpec(f"{where}: {shown} cannot be read: {why}; name the file of a public key") from None
        try:
            yield public_key(text)
        except ValueError as error:
            shown = "what stands there" if "PRIVATE" in one else shown
            raise WrongSpec(f"{where}: {shown} {error}") from None
