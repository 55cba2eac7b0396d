"""A model file that rigs hand on to one another: who is before whom, and what is sent while it still grows."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from rigwright.plan.source import ModelSource
from rigwright.resources import role_text
from rigwright.roles.base.facts import RemoteFile, Rig
from rigwright.roles.base.probe import Probe
from rigwright.roles.weights import chain, operations
from rigwright.roles.weights.chain import Link
from rigwright.spec.weights import WeightsSettings
from rigwright.weights.local import LocalModel

SUM = "ab" * 32
URL = "https://hub.example/m.gguf?signature=s3cret"
FILE = LocalModel(ModelSource(url=URL, sha256=SUM), None, SUM, None, URL)
PATH = "/var/lib/rigwright/weights/m.gguf"
GROUP = WeightsSettings(share_within="10.0.0.0/24")
WHOLE = bytes(range(256)) * 4000


@dataclass(eq=False)
class State:
    """What a chain wants of a run of pyinfra."""

    inventory: list[Any] = field(default_factory=list)
    limit_hosts: list[Any] = field(default_factory=list)
    failed_hosts: set[Any] = field(default_factory=set)


@pytest.fixture
def rig(blank: Callable[[], Rig]) -> Callable[..., Rig]:
    """Makes rigs: their addresses, and whether the file lies there."""

    def made(*addresses: str, has: bool = False) -> Rig:
        lines = [f"2: eth0    inet {one}/24 brd 10.0.0.255 scope global eth0\\       valid_lft" for one in addresses]
        files = {PATH: RemoteFile("file", None, None, 100, 7)} if has else {}
        if has:
            stamp = f"{SUM} 100 7 {FILE.origin}"
            files["/var/lib/rigwright/weights/.m.gguf.rigwright"] = RemoteFile("file", stamp)
        return replace(blank(), sections={"addresses": ["garbage", "1: lo inet6 x/y", *lines]}, files=files)

    return made


def joined(rigs: list[Rig], settings: WeightsSettings = GROUP, file: LocalModel = FILE) -> list[Any]:
    """The hosts of a run, in the order of the inventory, whose bodies ran in another one."""
    state = State()
    hosts = [SimpleNamespace(state=state, name=f"rig{number}") for number in range(len(rigs))]
    hosts = [Named(host.name, state) for host in hosts]
    state.inventory = hosts
    for host, one in reversed(list(zip(hosts, rigs, strict=True))):
        chain.join(host, one, [(PATH, file)], settings)
    return hosts


@dataclass(eq=False)
class Named:
    """A host."""

    name: str
    state: State


def test_each_rig_has_two_before_it_and_two_behind(rig):
    """The order is that of the inventory; the first one has the address alone."""
    hosts = joined([rig(f"10.0.0.{number}") for number in (5, 4, 3, 2)])
    assert [chain.link(host, FILE) for host in hosts] == [
        Link("10.0.0.5", (), ("10.0.0.4", "10.0.0.3"), 3),
        Link("10.0.0.4", ("10.0.0.5",), ("10.0.0.3", "10.0.0.2"), 3),
        Link("10.0.0.3", ("10.0.0.4", "10.0.0.5"), ("10.0.0.2",), 3),
        Link("10.0.0.2", ("10.0.0.3", "10.0.0.4"), (), 3),
    ]


def test_rig_that_has_the_file_is_first(rig):
    """It wants nothing, and offers to those that do; where none does, nothing is done."""
    hosts = joined([rig("10.0.0.2"), rig("10.0.0.3", has=True)])
    assert chain.link(hosts[1], FILE) == Link("10.0.0.3", (), ("10.0.0.2",), 1)
    assert chain.link(hosts[0], FILE).before == ("10.0.0.3",)
    whole = joined([rig("10.0.0.2", has=True), rig("10.0.0.3", has=True)])
    assert [chain.link(host, FILE).behind for host in whole] == [(), ()]


def test_rig_that_failed_is_left_out(rig):
    """pyinfra has given it up: nobody waits for it."""
    hosts = joined([rig(f"10.0.0.{number}") for number in (2, 3, 4)])
    hosts[0].state.failed_hosts.add(hosts[1])
    assert chain.link(hosts[2], FILE) == Link("10.0.0.4", ("10.0.0.2",), (), 1)


def test_rig_outside_the_network_downloads_by_itself(rig):
    """It has no place in the chain, and no other rig hears of it; IPv6 networks are networks too."""
    hosts = joined([rig("10.0.0.2"), rig("192.168.1.3"), rig("10.0.1.4", "10.0.0.4")])
    assert chain.link(hosts[1], FILE) == Link(others=2)
    assert chain.link(hosts[2], FILE) == Link("10.0.0.4", ("10.0.0.2",), (), 2)
    assert chain.link(hosts[2], FILE).variables() == {"SHARE_AT": "", "BEHIND": "", "NEAR": "10.0.0.2:9479"}
    six = joined([rig("fd00::2"), rig("fd00::3")], WeightsSettings(share_within="fd00::/64"))
    expected = {"SHARE_AT": "[fd00::2]:9479", "BEHIND": "fd00::3", "NEAR": ""}
    assert chain.link(six[0], FILE).variables() == expected


def test_without_the_setting_nothing_is_asked_and_nothing_shared(rig):
    """A port is opened on nobody's rig unasked; that it would be worth it is said."""
    hosts = joined([rig("10.0.0.2"), rig("10.0.0.3")], WeightsSettings())
    assert chain.link(hosts[0], FILE) == Link(others=1)
    assert chain.address_probe(WeightsSettings()) == Probe()
    (question,) = chain.address_probe(GROUP).scripts
    assert question == ("addresses", "ip -o address show 2>/dev/null")


@dataclass
class Asked:
    """The operation for a rig: what it would run, and what was said."""

    monkeypatch: pytest.MonkeyPatch

    def of(self, host: Any, state: Rig, settings: WeightsSettings) -> tuple[list[Any], list[str]]:
        said: list[str] = []
        host.log = said.append
        self.monkeypatch.setattr(operations, "current_host", lambda: host)

        def current_rig(probe: Probe) -> Iterator[Any]:
            yield from ()
            return state

        self.monkeypatch.setattr(operations, "current_rig", current_rig)
        done = operations.weights._inner(files=((PATH, FILE),), settings=settings, probe=Probe())
        return list(done), said


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """A hub that wants a token."""
    monkeypatch.setattr(operations, "needed_token", lambda url, hub: "hf_s3cret")
    return Asked(monkeypatch)


def test_neighbours_hear_of_no_address_and_no_token(rig, asked):
    """What travels to another rig's script is the sum."""
    hosts = joined([rig("10.0.0.2"), rig("10.0.0.3")])
    (command,), said = asked.of(hosts[1], rig("10.0.0.3"), GROUP)
    assert "NEAR=10.0.0.2:9479\n" in command.text and said == []
    assert "s3cret" not in command.text and "hub.example" not in command.text


def test_rig_that_has_the_file_runs_nothing_where_nobody_wants_it(rig, asked):
    """A second run changes nothing; where one does, the file is offered."""
    there = rig("10.0.0.2", has=True)
    assert asked.of(joined([there, rig("10.0.0.3", has=True)])[0], there, GROUP) == ([], [])
    (command,), _ = asked.of(joined([there, rig("10.0.0.3")])[0], there, GROUP)
    assert "BEHIND=10.0.0.3\n" in command.text and "s3cret" not in command.text + command.stdin
    assert asked.of(joined([there, rig("10.0.0.3")], WeightsSettings())[0], there, WeightsSettings()) == ([], [])


def test_who_downloads_by_itself_says_so(rig, asked):
    """That several do is worth a word, and where one cannot take part why."""
    hosts = joined([rig("10.0.0.2"), rig("192.168.1.3")])
    _, said = asked.of(hosts[1], rig("192.168.1.3"), GROUP)
    assert said == ["this rig has no address in 10.0.0.0/24 and downloads by itself"]
    hosts = joined([rig("10.0.0.2"), rig("10.0.0.3")], WeightsSettings())
    _, (line,) = asked.of(hosts[0], rig("10.0.0.2"), WeightsSettings())
    assert line.startswith("1 more rig downloads it; rig.weights.share_within, a network that all of them are in")


@pytest.mark.parametrize("network", ["10.0.0.0/24", "10.0.0.7/24", "fd00::/64", "100.64.0.0/10"])
def test_network_is_taken(network):
    """In its usual forms."""
    assert WeightsSettings(share_within=network).share_within == network.replace("0.7", "0.0")


@pytest.mark.parametrize("network", ["0.0.0.0/0", "eth0", "", "10.0.0.0/33", "::/0"])
def test_network_is_refused(network):
    """With what to write."""
    with pytest.raises(ValidationError, match=r"write (one|a network of your own, )"):
        WeightsSettings(share_within=network)


@dataclass
class Handed:
    """hand.sh as systemd runs it: the file is its standard input, the connection its standard output."""

    home: Path

    @property
    def part(self) -> Path:
        return self.home / "m.gguf.part"

    @property
    def grows(self) -> Path:
        return self.home / "grows"

    def ask(self, *lines: str, peer: str = "10.0.0.3", shell: str = "sh") -> tuple[socket.socket, Any]:
        near, far = socket.socketpair()
        given = {"SUM": SUM, "SIZE": str(len(WHOLE)), "GROWS": str(self.grows), "BEHIND": "10.0.0.3 10.0.0.4"}
        path = {"PATH": os.environ["PATH"], "REMOTE_ADDR": peer}
        with self.part.open("rb") as file:
            process = subprocess.Popen(
                [shell, "-c", role_text("weights", "hand.sh")], stdin=file, stdout=far, env=given | path
            )
        far.close()
        near.settimeout(20)
        with suppress(OSError):  # it may have hung up by now
            near.sendall("".join(f"{line}\r\n" for line in (*lines, "")).encode())
        return near, process

    def answer(self, *lines: str, **options: Any) -> tuple[bytes, bytes]:
        near, process = self.ask(*lines, **options)
        data = b""
        # What was never read is an end too.
        with near, suppress(ConnectionResetError):
            data = b"".join(iter(lambda: near.recv(1 << 16), b""))
        process.wait(20)
        head, _, body = data.partition(b"\r\n\r\n")
        return head, body


@pytest.fixture
def handed(each_sh: str, tmp_path: Path) -> Handed:
    """For each shell."""
    found = Handed(tmp_path)
    found.part.write_bytes(WHOLE)
    return found


GET = f"GET /{SUM} HTTP/1.1"


@pytest.mark.runs("weights/hand.sh")
def test_whole_file_and_its_rest_are_sent(handed):
    """From where the other rig's part ends, which is told in full."""
    head, body = handed.answer(GET, "Host: x", "User-Agent: curl/8")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n") and f"Content-Length: {len(WHOLE)}".encode() in head
    assert body == WHOLE
    head, body = handed.answer(GET, "Range: bytes=1000-")
    assert f"Content-Range: bytes 1000-{len(WHOLE) - 1}/{len(WHOLE)}".encode() in head
    assert body == WHOLE[1000:]


def test_file_is_sent_while_it_grows(handed):
    """Also to a rig that has more of it by now; it ends with the last byte."""
    handed.part.write_bytes(WHOLE[:1000])
    handed.grows.touch()

    def grow() -> None:
        with handed.part.open("ab", buffering=0) as file:
            for at in range(1000, len(WHOLE), 200_000):
                time.sleep(0.05)
                file.write(WHOLE[at : at + 200_000])
        handed.grows.unlink()

    writer = threading.Thread(target=grow)
    writer.start()
    near, process = handed.ask(GET, "Range: bytes=300000-")
    with near:
        data = b"".join(iter(lambda: near.recv(1 << 16), b""))
    writer.join()
    assert data.partition(b"\r\n\r\n")[2] == WHOLE[300_000:]
    assert process.wait(20) == 0


@pytest.mark.parametrize("end", ["the download ends", "the part is thrown away"])
def test_connection_ends_where_no_more_comes(handed, end):
    """The other rig hears at once, and goes on elsewhere."""
    handed.part.write_bytes(WHOLE[:1000])
    handed.grows.touch()
    near, process = handed.ask(GET)
    with near:
        received = b""
        while not received.endswith(WHOLE[:1000]):
            received += near.recv(1 << 16)
        (handed.grows if end == "the download ends" else handed.part).unlink()
        assert near.recv(10) == b""
    assert process.wait(20) == 1


@pytest.mark.parametrize(
    ("lines", "peer", "expected"),
    [
        ([GET], "10.0.0.9", b""),
        ([GET], "", b""),
        (["GET /etc/passwd HTTP/1.1"], "10.0.0.3", b"HTTP/1.1 404"),
        (["GET /../m.gguf HTTP/1.1"], "10.0.0.3", b"HTTP/1.1 404"),
        ([f"PUT /{SUM} HTTP/1.1"], "10.0.0.3", b"HTTP/1.1 404"),
        ([GET, "Range: bytes=$(touch owned)-"], "10.0.0.3", b"HTTP/1.1 400"),
        ([GET, "Range: bytes=PATH[$(touch owned)]-"], "10.0.0.3", b"HTTP/1.1 400"),
        ([GET, "Range: bytes=010-"], "10.0.0.3", b"HTTP/1.1 400"),
        ([GET, f"Range: bytes={'9' * 30}-"], "10.0.0.3", b"HTTP/1.1 400"),
        ([GET, f"Range: bytes={len(WHOLE)}-"], "10.0.0.3", b"HTTP/1.1 416"),
    ],
)
def test_others_get_nothing(handed, lines, peer, expected):
    """Another address, another file, another method, what is no number."""
    head, body = handed.answer(*lines, peer=peer)
    assert (head[: len(expected)], body) == (expected, b"") and (expected or head == b"")
    assert not Path("owned").exists()


LINGER_SYSTEMCTL = """#!/bin/sh
echo "$@" >>"$HOME/asked"
case "$*" in *NConnections*) cat "$HOME/connections" ;; *ActiveState*) echo inactive ;; esac
"""


@pytest.mark.runs("weights/linger.sh")
def test_offer_is_gone_when_nobody_asks(each_sh, tmp_path):
    """While one asks it stays; afterwards nothing is left of it."""
    shared, units = tmp_path / "shared", tmp_path / "units"
    for folder in (shared, units, tmp_path / "bin"):
        folder.mkdir()
    tool = tmp_path / "bin/systemctl"
    tool.write_text(LINGER_SYSTEMCTL)
    tool.chmod(0o755)
    (shared / "file").symlink_to(tool)
    (shared / "grows").touch()
    for name in ("rigwright-share.socket", "rigwright-share@.service", "rigwright-sharing.service"):
        (units / name).touch()
    (units / "other.service").touch()
    (tmp_path / "connections").write_text("1\n")
    path = f"{tmp_path}/bin:{os.environ['PATH']}"
    given = {"PATH": path, "HOME": str(tmp_path), "SHARED": str(shared), "SHARE_UNITS": str(units), "GROWS_BY": "x"}
    text = role_text("weights", "linger.sh").replace("sleep 1", "sleep 0.02").replace("-lt 60", "-lt 2")
    process = subprocess.Popen(["sh", "-c", text], env=given)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(4)
    assert not (shared / "grows").exists()
    (tmp_path / "connections").write_text("0\n")
    process.wait(20)
    assert [one.name for one in units.iterdir()] == ["other.service"] and not shared.exists()
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked[-2:] == ["stop rigwright-share.socket", "daemon-reload"]
