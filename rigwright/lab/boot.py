"""Boot a rig, wait until it answers, end it."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from rigwright.errors import RigwrightError
from rigwright.lab.host import SEARCH_PATH, run
from rigwright.lab.layout import LabPaths, RigPaths
from rigwright.lab.mounts import upper_layer
from rigwright.lab.network import bridge, remove_link
from rigwright.lab.process import Process, children, first_inside, kill_all, living_on
from rigwright.lab.wish import Rig

BOOT_SECONDS = 90
POWER_OFF_SECONDS = 30
# Source: systemd(1), "Signals": the one that pid 1 takes for `systemctl poweroff`.
POWER_BUTTON = signal.SIGRTMIN + 3
MOUNTS = Path("/proc/self/mounts")
NSPAWN_RUNTIME = Path("/run/systemd/nspawn")
CARRY = Path(__file__).with_name("carry.sh")


def machine(paths: RigPaths) -> str:
    """The rig's name among all containers of the host: short, since its link is called `vb-` + this."""
    return f"rw{hashlib.sha256(str(paths.home).encode()).hexdigest()[:8]}"


def link(paths: RigPaths) -> str:
    """The host's end of the rig's cable, e.g. `vb-rw3f2a90c1`."""
    return f"vb-{machine(paths)}"


def start(lab: LabPaths, paths: RigPaths, *, hostname: str) -> Process:
    """Boot a rig whose `/` is put together; returns the process that carries it, at once."""
    argv = [
        "systemd-nspawn", "--quiet", "--boot", "--register=no", "--capability=all",
        # What a unit may open and whom it may talk to is enforced by programs of systemd's in the kernel.
        "--system-call-filter=bpf",
        # Where systemd runs the host it gives the rig a scope of its own; elsewhere there is nobody to ask.
        *([] if Path("/run/systemd/system").is_dir() else ["--keep-unit"]),
        "--directory", str(paths.root),
        "--machine", machine(paths),
        "--hostname", hostname,
        "--network-bridge", bridge(lab),
        "--resolv-conf=off",
        "--timezone=off",
        f"--bind={lab.ccache}:/var/cache/rigwright-lab",
    ]  # fmt: skip
    namespace = ["unshare", "--mount", "--propagation=private"]
    carrier = shlex.join([*namespace, "sh", str(CARRY), str(lab.home.parent), str(paths.home), machine(paths), *argv])
    # The outer shell ends at once, so that pid 1 and not this process has to reap the rig one day.
    line = f"{carrier} </dev/null >{shlex.quote(str(paths.console))} 2>&1 & echo $!"
    remove_link(link(paths))
    remove_groups(paths)
    process = Process.of(int(run(["setsid", "sh", "-c", line]).stdout))
    if process is None:
        raise RigwrightError(f"lab: {hostname}: did not start: {last_words(paths)}")
    return process


class EndedWhileBooting(RigwrightError):
    """The rig's processes went away before it answered."""


def wait_ready(rig: Rig, process: Process, paths: RigPaths) -> None:
    """Wait until the rig's sshd shows the key we gave it, lets us in, and systemd has finished booting.

    Raises:
        RigwrightError: it ended, or did not get there in time.
    """
    deadline = time.monotonic() + BOOT_SECONDS
    said = "no answer on its ssh port"
    while time.monotonic() < deadline:
        if not process.is_alive:
            raise EndedWhileBooting(f"lab: {rig.name}: ended while booting: {last_words(paths)}")
        if not _answers(rig):
            time.sleep(0.1)
            continue
        probe = [*rig.ssh_command(), "systemctl is-system-running --wait"]
        try:
            done = subprocess.run(
                probe,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=BOOT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            break
        if done.stdout.strip() in ("running", "degraded"):
            return
        said = (done.stderr.strip() or done.stdout.strip() or said).splitlines()[-1]
        time.sleep(0.2)
    raise RigwrightError(f"lab: {rig.name}: not ready after {BOOT_SECONDS} s: {said}; read {paths.console}")


def power_off(process: Process | None, paths: RigPaths) -> None:
    """Shut a rig down as its power button would, so that its disk is whole; then see that it is off."""
    first = first_inside(upper_layer(paths))
    if process is not None and first is not None:
        first.send(POWER_BUTTON)
        process.wait_end(POWER_OFF_SECONDS)
    power_cut(process, paths)


def power_cut(process: Process | None, paths: RigPaths) -> None:
    """Pull the plug: end everything that lives in the rig, and whatever is left of what carried it."""
    upper = upper_layer(paths)
    carriers = _give_up(process, upper)
    deadline = time.monotonic() + 5
    while any(carrier.is_alive for carrier in carriers) and time.monotonic() < deadline:
        kill_all(living_on(upper))  # again: a rig that is just starting has nobody inside, and a moment later it has
        time.sleep(0.02)
    kill_all([*carriers, *living_on(upper)])
    remove_link(link(paths))
    remove_groups(paths)
    for trace in NSPAWN_RUNTIME.glob(f"*/{machine(paths)}"):
        shutil.rmtree(trace, ignore_errors=True)


def remove_groups(paths: RigPaths) -> None:
    """Take away the control groups that a rig left, see carry.sh; nobody is in them any more."""
    for line in MOUNTS.read_text().splitlines():
        _, point, kind, *_ = line.split()
        if kind == "cgroup2":
            own = Path(point) / machine(paths)
            for group in [*sorted((at for at in own.rglob("*") if at.is_dir()), reverse=True), own]:
                with suppress(OSError):  # somebody is in it: it goes with the next start
                    group.rmdir()


def _give_up(process: Process | None, upper: Path) -> list[Process]:
    """See that a rig which is rebooting is not started again; returns what carries it now."""
    carriers = []
    if process is not None:
        process.send(signal.SIGSTOP)  # or it has another child by the time that we have counted them
        carriers = children(process)
        kill_all([process])
    first = first_inside(upper)
    parent = first.parent if first else None
    # One that lost its own carrier belongs to pid 1.
    return [*carriers, *([parent] if parent and parent.pid != 1 and parent not in carriers else [])]


def enter(paths: RigPaths) -> list[str]:
    """The command that steps into a rig as root, without ssh."""
    first = first_inside(upper_layer(paths))
    if first is None:
        raise RigwrightError(f"lab: {paths.home.name}: is not up; run `rigwright lab up {paths.home.name}`")
    return [
        "nsenter", f"--target={first.pid}", "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--",
        "env", "-i", "HOME=/root", "LANG=C.UTF-8", f"PATH={SEARCH_PATH}", f"TERM={os.environ.get('TERM', 'dumb')}",
    ]  # fmt: skip


def last_words(paths: RigPaths) -> str:
    """The last line that the rig printed."""
    lines = paths.console.read_text(errors="replace").split("\n") if paths.console.exists() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")


def _answers(rig: Rig) -> bool:
    try:
        with socket.create_connection((rig.address, rig.ssh_port), timeout=2) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False
