"""One download for several rigs: each hands the file on to the next; one that dies costs its own part."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.lab

PART = "/var/lib/rigwright/weights/m.gguf.part"
FILE = "/var/lib/rigwright/weights/m.gguf"


@dataclass
class Origin:
    """A web server with one file and a line of its own: all that it sends together is no faster than `rate`."""

    address: str
    path: Path
    rate: float = 12.5e6
    sent: int = 0
    asked: list[tuple[str, int]] = field(default_factory=list)
    guard: threading.Lock = field(default_factory=threading.Lock)
    free_at: float = 0

    @property
    def copies(self) -> float:
        """How often the file left it."""
        return self.sent / self.path.stat().st_size

    def wait_turn(self, size: int) -> None:
        """The line takes one after the other."""
        with self.guard:
            self.free_at = max(self.free_at, time.monotonic()) + size / self.rate
            self.sent += size
            until = self.free_at
        time.sleep(max(0, until - time.monotonic()))


def handler(origin: Origin) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            size = origin.path.stat().st_size
            wanted = re.match(r"bytes=(\d+)-", self.headers.get("Range") or "")
            at = int(wanted[1]) if wanted else 0
            self.send_response(206 if wanted else 200)
            self.send_header("Content-Length", str(size - at))
            if wanted:
                self.send_header("Content-Range", f"bytes {at}-{size - 1}/{size}")
            self.end_headers()
            if self.command == "HEAD":
                return
            origin.asked.append((self.client_address[0], at))
            with origin.path.open("rb") as file:
                file.seek(at)
                while data := file.read(1 << 18):
                    origin.wait_turn(len(data))
                    try:
                        self.wfile.write(data)
                    except OSError:
                        return

        do_GET = do_HEAD = answer

        def log_message(self, *arguments: object) -> None:
            pass

    return Handler


@pytest.fixture(scope="module")
def serve(workshop: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Origin]]:
    """Starts an origin with so many random MiB."""
    started = []

    def start(size_mib: int, rate: float = 12.5e6) -> Origin:
        path = tmp_path_factory.mktemp("origin") / "m.gguf"
        path.write_bytes(b"GGUF" + os.urandom((size_mib << 20) - 4))
        origin = Origin("", path, rate)
        server = ThreadingHTTPServer((workshop.host_address, 0), handler(origin))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        origin.address = f"http://{workshop.host_address}:{server.server_port}/m.gguf"
        started.append(server)
        return origin

    yield start
    for server in started:
        server.shutdown()
        server.server_close()


def spec(workshop: Any, origin: Origin, **weights: Any) -> dict[str, Any]:
    """The `rig` data of rigs that want the file."""
    network = f"{workshop.host_address.rsplit('.', 1)[0]}.0/24"
    sha256 = hashlib.sha256(origin.path.read_bytes()).hexdigest()
    service = {"name": "demo", "port": 8080, "model": {"url": origin.address, "sha256": sha256}}
    return {"services": [service], "weights": {"share_within": network} | weights}


def begin(workshop: Any, rig: dict[str, Any], *names: str) -> subprocess.Popen[str]:
    """The deploy of the file alone, on its way."""
    process: subprocess.Popen[str] = workshop.start(rig, *names, deploy="../tests/lab/weights_deploy")
    return process


def sums(workshop: Any, names: tuple[str, ...]) -> set[str]:
    """The sums of the file on rigs."""
    return {workshop.on(name, f"sha256sum <{FILE}").split()[0] for name in names}


NAMES = ("share1", "share2", "share3", "share4")


@pytest.fixture(scope="module")
def rigs(workshop: Any, trixie: Any) -> Iterator[tuple[str, ...]]:
    """Four rigs of one network, with what a deploy has installed."""
    for name in NAMES:
        workshop.boot(name, from_snapshot=trixie.snapshot)
    yield NAMES
    workshop.lab.down(NAMES)


@pytest.fixture(autouse=True)
def clean(workshop: Any, request: pytest.FixtureRequest) -> None:
    """No file is left of an earlier test."""
    if "rigs" in request.fixturenames:
        for name in request.getfixturevalue("rigs"):
            workshop.on(name, "systemctl stop rigwright-sharing; rm -rf /var/lib/rigwright/weights*", check=False)


def test_origin_sends_one_copy(workshop, rigs, serve):
    """Four rigs, one download; a second run changes nothing; what was offered is in nobody's hands but theirs."""
    origin = serve(64)
    rig = spec(workshop, origin)
    process = begin(workshop, rig, *rigs)
    for line in process.stdout:
        if re.search(r"share4\] m\.gguf: [1-9]\d* %", line):
            break
    # The unit that has the connection, by systemd's own judgement; and what this machine, which is no rig, is told.
    unit = workshop.on("share1", "systemctl list-units --plain --no-legend 'rigwright-share@*'").split()[0]
    score = f"systemd-analyze security --no-pager {unit} | sed -n 's/.*exposure level for .*: \\([0-9.]*\\) .*/\\1/p'"
    assert float(workshop.on("share1", score)) <= 2.0
    owners = workshop.on("share1", f"stat -c %u /proc/$(systemctl show -P MainPID '{unit}')").split()
    assert owners and all(int(owner) > 60000 for owner in owners)
    shared = f"http://{address(workshop, 'share1')}:9479/{rig['services'][0]['model']['sha256']}"
    assert subprocess.run(["curl", "-s", "-m", "5", shared], capture_output=True, check=False).stdout == b""
    listening = workshop.on("share1", "ss -Hltn sport = :9479")
    assert listening.split()[3] == f"{address(workshop, 'share1')}:9479"
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert origin.copies == 1.0, origin.asked
    assert sums(workshop, rigs) == {rig["services"][0]["model"]["sha256"]}
    again = workshop.deploy(rig, *rigs, deploy="../tests/lab/weights_deploy")
    assert (again.code, again.changed) == (0, set()), again.output
    # A rig that comes later gets it from one that has it.
    workshop.on("share2", f"rm {FILE}")
    late = workshop.deploy(rig, *rigs, deploy="../tests/lab/weights_deploy")
    assert late.code == 0 and origin.copies == 1.0, late.output
    for name in rigs:
        workshop.on(
            name, "i=0; while systemctl -q is-active rigwright-sharing && [ $i -lt 120 ]; do sleep 1; i=$((i+1)); done"
        )
        left = "ls -d /run/rigwright-share /run/systemd/system/rigwright-share*; ss -Hltn sport = :9479"
        journal = "journalctl -u 'rigwright-shar*' --no-pager -o short -n 40"
        assert workshop.on(name, f"({left}) 2>/dev/null", check=False) == "", workshop.on(name, journal)


def address(workshop: Any, name: str) -> str:
    """A rig's address."""
    return str(workshop.lab.rig(name).address)


def test_rig_that_dies_costs_its_own_part(workshop, rigs, serve):
    """Those behind it go round it, and the origin sends no more than before."""
    origin = serve(64)
    rig = spec(workshop, origin)
    process = begin(workshop, rig, *rigs)
    for line in process.stdout:
        if re.search(r"share4\] m\.gguf: [2-9]\d %", line):
            break
    workshop.lab.reboot("share2", hard=True)
    said, _ = process.communicate(timeout=240)
    assert process.returncode == 1  # that rig has failed
    others = ("share1", "share3", "share4")
    assert sums(workshop, others) == {rig["services"][0]["model"]["sha256"]}, said
    assert origin.copies == 1.0, origin.asked
    # It goes on where its part ends, from a rig that has the file.
    outcome = workshop.deploy(rig, *rigs, deploy="../tests/lab/weights_deploy")
    assert outcome.code == 0 and origin.copies == 1.0, outcome.output
    assert sums(workshop, rigs) == {rig["services"][0]["model"]["sha256"]}


def test_rig_that_hands_on_another_file_is_found_out(workshop, rigs, serve):
    """Whoever got it downloads by itself; the right file or none has the name."""
    origin = serve(16, rate=4e6)
    rig = spec(workshop, origin)
    process = begin(workshop, rig, *rigs[:2])
    for line in process.stdout:
        if re.search(r"share2\] m\.gguf: [1-9]\d* %", line):
            break
    # In the part that the second rig has yet to read.
    workshop.on(
        "share1", f"printf EVIL | dd of={PART} bs=1 seek=$(($(stat -c %s {PART}) + 100000)) conv=notrunc status=none"
    )
    said, _ = process.communicate(timeout=120)
    assert sums(workshop, ("share2",)) == {rig["services"][0]["model"]["sha256"]}, said
    assert workshop.on("share1", f"[ ! -e {FILE} ] || sha256sum <{FILE}", check=False)[:64] in (
        "",
        rig["services"][0]["model"]["sha256"],
    )


def test_rigs_that_do_not_reach_each_other_download_by_themselves(workshop, rigs, serve):
    """A firewall between them: nobody waits for long, and nothing fails."""
    origin = serve(16)
    # As a firewall would, without one being installed: the way back to the other rig leads nowhere.
    other = address(workshop, "share2")
    workshop.on("share1", f"ip route add blackhole {other}/32")
    try:
        outcome = workshop.deploy(spec(workshop, origin), *rigs[:2], deploy="../tests/lab/weights_deploy")
    finally:
        workshop.on("share1", f"ip route del blackhole {other}/32")
    assert outcome.code == 0 and origin.copies == 2.0, outcome.output
    assert outcome.seconds < 30


@pytest.mark.faults
def test_eight_rigs_take_little_longer_than_one(workshop, trixie, serve, capsys):
    """200 MiB over a line of 100 Mbit/s: `make lab-faults` says both times; one copy, within 1.3 times that of one."""
    names = tuple(f"many{number}" for number in range(8))
    for name in names:
        workshop.boot(name, from_snapshot=trixie.snapshot)
        workshop.on(name, "systemctl stop 'rigwright-demo*'; rm -rf /var/lib/rigwright/weights*", check=False)
    try:
        origin = serve(200)
        one = workshop.deploy(spec(workshop, origin), names[0], deploy="../tests/lab/weights_deploy")
        assert one.code == 0 and origin.copies == 1.0, one.output
        workshop.on(names[0], "systemctl stop rigwright-sharing; rm -rf /var/lib/rigwright/weights*", check=False)
        origin.sent = 0
        eight = workshop.deploy(spec(workshop, origin), *names, deploy="../tests/lab/weights_deploy")
        assert eight.code == 0, eight.output
        with capsys.disabled():
            told = f"one rig {one.seconds:.1f} s, eight rigs {eight.seconds:.1f} s, {origin.copies:.2f} copies"
            sys.stdout.write(f"\n{told}\n")
        assert origin.copies == 1.0
        assert eight.seconds < 1.3 * one.seconds
        assert len(sums(workshop, names)) == 1
    finally:
        workshop.lab.down(names)
