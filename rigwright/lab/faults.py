"""Faults: what goes wrong with real rigs, on demand, and how to undo it."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from rigwright.errors import RigwrightError
from rigwright.lab import boot, network
from rigwright.lab.driver import FAULTS as DRIVER_FAULTS
from rigwright.lab.driver import PLACE
from rigwright.lab.host import SEARCH_PATH, run, write_text
from rigwright.lab.layout import LabPaths, RigPaths
from rigwright.lab.mounts import upper_layer, within
from rigwright.lab.process import first_inside
from rigwright.lab.state import Record
from rigwright.units import MIB, format_bytes

LEFT_FREE_BYTES = 20 * MIB
SLOW = ("200ms", "1mbit")
# With a unit's name, or seconds, behind a `=`.
VALUED = ("kill-service", "driver-late")

# A generator runs first of all in a boot, and what it writes into its second folder comes before the system's own.
STUCK = """#!/bin/sh
# A fault of `rigwright lab`: the boot ends before there is a network, until `rigwright lab fault RIG clear`.
ln -sf /lib/systemd/system/sysinit.target "$2/default.target"
"""
GENERATOR = Path("etc/systemd/system-generators/lab-no-boot")

# The listener stays; each session goes at once, with the process that its user talks through.
DROP_SESSIONS = """
listener=$(systemctl show --property=MainPID --value ssh.service)
for session in $(pgrep -P "$listener"); do
    kill -KILL "$session" $(pgrep -P "$session" sshd) && echo "$session"
done
true
"""


@dataclass(frozen=True)
class Patient:
    """The rig that something is done to."""

    lab: LabPaths
    record: Record
    address: str

    def sh(self, script: str, *words: str) -> str:
        """Run a script in the rig as root; what it prints."""
        argv = [*boot.enter(self.lab.rig(self.record.name)), "sh", "-c", script, "fault", *words]
        return run(argv).stdout

    def ask(self, *command: str) -> subprocess.CompletedProcess[str]:
        """What a command of the rig says, and its exit code."""
        return run([*boot.enter(self.lab.rig(self.record.name)), *command], check=False)

    def remember(self, killed_units: list[str]) -> None:
        """Keep what `clear` must start again."""
        replace(self.record, killed_units=killed_units).save(self.lab.rig(self.record.name))


def apply(patient: Patient, fault: str) -> str:
    """Do one fault, e.g. `disk-full` or `kill-service=rigwright-chat.service`; returns what was done.

    Raises:
        RigwrightError: there is no such fault, or it cannot be done here.
    """
    name, _, value = fault.partition("=")
    if name not in FAULTS or (value and name not in VALUED):
        raise RigwrightError(f"lab: no fault is called {fault!r}; use {', '.join(FAULTS)}")
    return FAULTS[name](patient, *([value] if value else []))


def fill_disk(patient: Patient) -> str:
    """Take all but 20 MB of the rig's disk, with a file that the rig cannot see; costs the host nothing."""
    disk = patient.lab.rig(patient.record.name).disk
    free = os.statvfs(disk)
    surplus = free.f_bavail * free.f_frsize - LEFT_FREE_BYTES
    if surplus > 0:
        had = str(_filler_size(patient))
        run(["fallocate", "--offset", had, "--length", str(surplus), disk / "filler"])
    return f"disk full, {format_bytes(LEFT_FREE_BYTES)} are left"


def drop_ssh(patient: Patient) -> str:
    """End every ssh session abruptly; sshd takes new ones."""
    dropped = patient.sh(DROP_SESSIONS).split()
    return f"dropped {len(dropped)} ssh session(s)"


def cut_network(patient: Patient) -> str:
    """No way out and no way to other rigs; the host still gets in."""
    name = network.table(patient.lab)
    fence = f"""
table bridge {name} {{
    set offline {{ type ipv4_addr; }}
    chain between {{ type filter hook forward priority 0; policy accept; }}
}}
flush chain bridge {name} between
add rule bridge {name} between ip saddr @offline drop
add rule bridge {name} between ip daddr @offline drop
add element bridge {name} offline {{ {patient.address} }}
add element ip {name} offline {{ {patient.address} }}
"""
    run(["nft", "-f", "-"], input=fence)
    return "no network, only this machine still gets in"


def slow_network(patient: Patient) -> str:
    """A slow, distant line in both directions; without the kernel's netem it is slow only."""
    delay, rate = SLOW
    ways = {
        f"{rate} with {delay} delay": ["netem", "delay", delay, "rate", rate],
        f"{rate}, without delay: this kernel has no netem": [
            "tbf",
            "rate",
            rate,
            "burst",
            "16kb",
            "latency",
            "400ms",
        ],
    }
    for words, discipline in ways.items():
        done = [
            subprocess.run([*end, *discipline], capture_output=True, text=True, check=False)
            for end in _ends(patient, "replace")
        ]
        if not any(result.returncode for result in done):
            return f"slow network, {words}"
    raise RigwrightError(f"lab: tc cannot slow a link here: {done[0].stderr.strip()}; run `modprobe sch_netem`")


def kill_service(patient: Patient, unit: str = "rigwright-*.service") -> str:
    """Kill the main process of a unit, or of all of ours, as the kernel does when memory runs out."""
    listing = "systemctl list-units --plain --no-legend --state=active,activating --type=service"
    units = [line.split()[0] for line in patient.sh(f'{listing} "$1"', unit).splitlines()]
    if not units:
        raise RigwrightError(f"lab: {patient.record.name}: no unit {unit} runs; name one with kill-service=UNIT")
    patient.sh('systemctl kill --kill-whom=main --signal=KILL "$@"', *units)
    patient.remember(sorted({*patient.record.killed_units, *units}))
    return f"killed {', '.join(units)}"


def prevent_boot(patient: Patient) -> str:
    """Let the next boots end before there is a network, as with a disk that does not mount."""
    root = patient.lab.rig(patient.record.name).root
    write_text(within(root, GENERATOR.parent) / GENERATOR.name, STUCK, mode=0o755)
    return "does not come back from its next reboot"


def let_boot(paths: RigPaths) -> bool:
    """Undo that, in a rig whose `/` is mounted; says whether there was anything to undo."""
    at = within(paths.root, GENERATOR.parent) / GENERATOR.name
    if not at.exists():
        return False
    at.unlink()
    return True


def break_driver(patient: Patient, value: str = "", *, name: str) -> str:
    """A fault of the simulated driver.

    Raises:
        RigwrightError: the rig has none, or the fault cannot be done now.
    """
    rig = patient.record.name
    if value and not re.fullmatch("[0-9]{1,4}", value):
        raise RigwrightError(f"lab: {rig}: {name}={value}: say how many seconds, e.g. {name}=60")
    if not _has_driver(patient):
        raise RigwrightError(f"lab: {rig}: has no simulated driver; make a rig with `lab up --driver simulated`")
    done = patient.ask(f"/{PLACE}/bin/driver", "fault", name, *([value] if value else []))
    if done.returncode:
        raise RigwrightError(f"lab: {rig}: {done.stderr.strip()}")
    return done.stdout.strip()


def _has_driver(patient: Patient) -> bool:
    return (within(patient.lab.rig(patient.record.name).root, PLACE) / "bin/driver").exists()


def clear(patient: Patient) -> str:
    """Undo every fault."""
    name, rig = network.table(patient.lab), patient.lab.rig(patient.record.name)
    (rig.disk / "filler").unlink(missing_ok=True)
    if let_boot(rig):
        patient.sh("systemctl daemon-reload; systemctl --no-block start default.target")
    if _has_driver(patient):
        break_driver(patient, name="clear")
    for family in ("ip", "bridge"):
        run(["nft", "delete", "element", family, name, "offline", f"{{ {patient.address} }}"], check=False)
    for end in _ends(patient, "del"):
        run(end, check=False)
    if patient.record.killed_units:
        patient.sh('systemctl reset-failed "$@"; systemctl start "$@"', *patient.record.killed_units)
        patient.remember([])
    return "all faults cleared"


FAULTS: dict[str, Callable[..., str]] = {
    "disk-full": fill_disk,
    "ssh-drop": drop_ssh,
    "no-network": cut_network,
    "slow-network": slow_network,
    "kill-service": kill_service,
    "no-boot": prevent_boot,
    **{name: partial(break_driver, name=name) for name in DRIVER_FAULTS},
    "clear": clear,
}


def _filler_size(patient: Patient) -> int:
    filler = patient.lab.rig(patient.record.name).disk / "filler"
    return filler.stat().st_size if filler.exists() else 0


def _ends(patient: Patient, verb: str) -> list[list[str]]:
    """The command that changes the queue of the rig's cable, at the host's end and at the rig's."""
    paths = patient.lab.rig(patient.record.name)
    first = first_inside(upper_layer(paths))
    inside = [] if first is None else [["nsenter", f"--target={first.pid}", "--net"]]
    tc = ["env", f"PATH={SEARCH_PATH}", "tc", "qdisc", verb, "dev"]
    host_end = [*tc, boot.link(paths), "root"]
    return [host_end, *([*way, *tc, "host0", "root"] for way in inside)]
