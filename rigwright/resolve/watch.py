"""The units that look after an instance, and the program that they run, as text."""

from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import dataclass

from rigwright.records import paths
from rigwright.records.values import Record
from rigwright.resources import assignments, render, role_text

# From the end of one look to the next one. A group is broken within three looks of one of its rigs.
_SECONDS, _GROUP_SECONDS = 30, 4
_HEADER = '# Written by rigwright.\nset -u\nexport LC_ALL=C PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"\n'


@dataclass(frozen=True)
class Watch:
    """What has an instance looked after; texts are empty where nobody shall."""

    program: str = ""
    service: str = ""
    timer: str = ""

    @property
    def sum(self) -> str:
        """The sha256 of its files one after the other, empty without; as deployed.sh tells it of those there."""
        text = f"{self.service}{self.timer}{self.program}"
        return hashlib.sha256(text.encode()).hexdigest() if text else ""

    def variables(self) -> dict[str, str]:
        """The shell variables of watch-set.sh."""
        return {"WATCH_PROGRAM": self.program, "WATCH_SERVICE": self.service, "WATCH_TIMER": self.timer}


def watch_of(name: str, record: Record | None) -> Watch:
    """What looks after an instance that runs as a record says; nobody where that says 0 seconds, or nothing."""
    if record is None or not record.port or not (record.watch_seconds or record.group):
        return Watch()
    # A record of 0.1 tells no request: then there is none.
    none = assignments(dict.fromkeys(("CHAT_ASK", "CHAT_BODY", "CHAT_EXPECTED"), ""))
    parts = [role_text("service", f"{one}.sh") for one in ("answer", "group", "watch")]
    key = paths.key_path(name.partition("@")[0])
    service = render("watch.service.j2", name=name, key=key, binds=(), allow=_allowed(record.host))
    timer = render("watch.timer.j2", seconds=_GROUP_SECONDS if record.group else _SECONDS)
    return Watch(_HEADER + "\n".join([*none, *parts]), service, timer)


def _allowed(host: str) -> str:
    """Whom the look may talk to: the rig itself; empty where it is unclear what that is."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return ""
    return "localhost" if address.is_loopback or address.is_unspecified else f"localhost {address}"
