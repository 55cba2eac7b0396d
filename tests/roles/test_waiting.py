"""Rigs that wait for the one that builds, in real runs of pyinfra over hosts that are none: no run waits for ever."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path
from types import SimpleNamespace

import gevent
import pytest
from pyinfra.api import Config, Inventory, State, operation
from pyinfra.api.connect import connect_all
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.operation import add_op
from pyinfra.api.operations import run_ops
from pyinfra.api.state import StateStage
from pyinfra.context import ctx_host

from rigwright.errors import RigwrightError
from rigwright.roles.base.channel import Script
from rigwright.roles.service import shipping
from rigwright.roles.service.kept_releases import Kept
from rigwright.roles.service.shipping import Bring, Later, settle, yard_of
from rigwright.weights import kept

RELEASE = "/opt/releases/0123"
PATIENCE_SECONDS = 20


class Work(Script):
    """What a rig does for a time, and how that ends: True, False, an exit code, or an error."""

    def __init__(self, notes: list[str], what: str, ends: object = True) -> None:
        super().__init__("")
        self.notes, self.what, self.ends = notes, what, ends

    def carry_out(self, state, host, connector_arguments):
        self.notes.append(f"{host.name.removeprefix('@fake/')} {self.what}")
        gevent.sleep(0.05)
        if isinstance(self.ends, Exception):
            raise self.ends
        self.status = self.ends
        return self.ends is True


class Fleet:
    """Rigs that want one release, and a run over them."""

    def __init__(self, directory: Path, count: int = 3, parallel: int = 0) -> None:
        hosts = [(f"@fake/rig{number}", {"fake_delay": 0}) for number in range(1, count + 1)]
        self.state = State(Inventory((hosts, {})), Config(PARALLEL=parallel or count))
        self.kept, self.notes = Kept(directory, "0123"), list[str]()
        self.builds: dict[str, object] = {}
        self.begins: dict[str, object] = {}
        self.state.set_stage(StateStage.Connect)
        connect_all(self.state)
        self.hosts = list(self.state.inventory)
        for host in self.hosts:
            yard_of(self.state, RELEASE).register(host, has=False)

    def want(self, *names: str) -> None:
        """The operation that brings it, on these rigs or all."""

        @operation()
        def begin():
            name = ctx_host.get().name.removeprefix("@fake/")
            yield Work([], "begins", self.begins.get(name, True))

        @operation()
        def bring():
            host = ctx_host.get()
            name = host.name.removeprefix("@fake/")
            settle(host, RELEASE, has=self.builds.get(name) == "there")
            if self.builds.get(name) == "there":
                return
            yield Bring(
                RELEASE,
                self.kept,
                build=[Work(self.notes, "builds", self.builds.get(name, True))],
                receive=lambda archive, digest: [Work(self.notes, "receives")],
            )

        wanted = [host for host in self.hosts if not names or host.name.removeprefix("@fake/") in names]
        self.state.set_stage(StateStage.Prepare)
        add_op(self.state, begin, host=wanted)
        add_op(self.state, bring, host=wanted)

    def run(self, **how: bool) -> list[str]:
        """What each rig did, in order."""
        self.state.set_stage(StateStage.Execute)
        with gevent.Timeout(PATIENCE_SECONDS, AssertionError("it waits for ever")):
            try:
                run_ops(self.state, **how)
            except PyinfraError as error:
                assert str(error) == "No hosts remaining!"
        return self.notes


@pytest.fixture
def fleet(tmp_path, monkeypatch):
    """Fleets whose connections are none; a rig is late after a moment."""
    monkeypatch.setattr(shipping, "ssh_client", lambda host: host)
    monkeypatch.setattr(shipping, "download", lambda giver, text, part, **given: part.write_bytes(packed()))
    monkeypatch.setattr(shipping, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(shipping, "_LATE_SECONDS", 0.5)
    # The program has pyinfra exchange it: sleep lets other rigs go on.
    monkeypatch.setattr(kept, "time", SimpleNamespace(sleep=gevent.sleep))
    return lambda count=3, parallel=0: Fleet(tmp_path, count, parallel)


def packed():
    """A release."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        sums = f"{hashlib.sha256(b'x').hexdigest()}  ./bin/x\n".encode()
        for name, data in (("bin/x", b"x"), ("sums.txt", sums)):
            member = tarfile.TarInfo(f"0123/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return file.getvalue()


def done(notes):
    """What was done, whoever did it."""
    return sorted(note.split()[1] for note in notes)


@pytest.mark.parametrize("how", [{}, {"serial": True}, {"no_wait": True}])
@pytest.mark.parametrize("parallel", [0, 2, 1])
def test_one_builds_and_the_others_receive(fleet, how, parallel):
    """Whatever order pyinfra runs them in."""
    found = fleet(parallel=parallel)
    found.want()
    notes = found.run(**how)
    assert done(notes) == ["builds", "receives", "receives"], notes


@pytest.mark.parametrize("how", [{}, {"no_wait": True}])
def test_rig_that_failed_before_is_not_waited_for(fleet, how):
    """With --no-wait pyinfra calls it no failed one."""
    found = fleet()
    found.begins = {"rig1": False}
    found.want()
    assert done(found.run(**how)) == ["builds", "receives"]


def test_rig_without_the_operation_is_not_waited_for(fleet):
    """What it wants has changed since: it stands in this yard, and goes to another, or to none."""
    found = fleet()
    found.want("rig2", "rig3")
    assert done(found.run()) == ["builds", "receives"]


def test_release_that_came_meanwhile_is_taken(fleet):
    """Another run has installed it since this one asked."""
    found = fleet()
    found.builds = {"rig1": "there"}
    found.want()
    assert sorted(found.run()) == ["rig2 receives", "rig3 receives"]


def test_rig_that_wants_another_release_leaves(fleet):
    """Its driver has come since: it builds for its GPUs, and nobody of the first kind waits for it."""
    found = fleet()
    settle(found.hosts[0], "/opt/releases/4567", has=False)
    assert found.hosts[0] not in yard_of(found.state, RELEASE).wants


@pytest.mark.parametrize("ends", [False, 1, RuntimeError("a fault of ours"), OSError("no room")])
def test_builder_that_fails_is_replaced(fleet, ends):
    """By whatever error."""
    found = fleet()
    found.builds = {"rig1": ends}
    found.want()
    assert found.run() == ["rig1 builds", "rig2 builds", "rig3 receives"]


def test_all_fail_once(fleet):
    """What does not compile is tried once; where all have reasons of their own, each tries."""
    found = fleet()
    found.builds = {"rig1": shipping.CANNOT_BE_BUILT}
    found.want()
    assert found.run() == ["rig1 builds"] and len(found.state.failed_hosts) == 3


def test_substitute_that_failed_is_not_waited_for(fleet):
    """It was to build in place of another, and failed before it came to that."""
    found = fleet()
    yard = yard_of(found.state, RELEASE)
    yard.substitute = found.hosts[2]
    found.begins = {"rig3": False}
    found.want()
    assert found.run() == ["rig1 builds", "rig2 receives"]


def test_cache_that_fails_stops_nothing(fleet, tmp_path):
    """A disk that is full, or not ours: each builds its own."""
    found = fleet()
    found.kept.lock.mkdir()
    found.want()
    assert sorted(found.run()) == ["rig1 builds", "rig2 builds", "rig3 builds"]
    assert not found.state.failed_hosts


@pytest.mark.parametrize("fault", [b"", b"no archive", OSError(28, "No space left on device"), EOFError()])
def test_builder_that_gives_nothing_is_replaced(fleet, monkeypatch, fault):
    """A hostile one, or a connection that ended: the next builds, and its release is what travels."""

    def download(giver, text, part, **given):
        if giver.name == "@fake/rig1":
            if isinstance(fault, Exception):
                raise fault
            part.write_bytes(fault)
        else:
            part.write_bytes(packed())

    monkeypatch.setattr(shipping, "download", download)
    found = fleet()
    found.want()
    assert found.run() == ["rig1 builds", "rig2 builds", "rig3 receives"]


def test_other_rigs_go_on_while_an_archive_is_read(fleet, monkeypatch):
    """Half a gigabyte takes seconds: connections that nobody attends to are given up."""
    import threading

    ticks, whole = [], threading.Event()

    def check(part, name):
        whole.wait(5)

    monkeypatch.setattr(shipping, "check_release", check)
    found = fleet()
    found.want()
    gevent.spawn_later(0.2, lambda: (ticks.append(1), whole.set()))
    found.run()
    assert ticks


def test_cache_without_room_is_a_reason(fleet):
    """What is sent first is fetched first, and that fails: a line, and the next rig goes on."""
    found = fleet()
    for error in (OSError(28, "No space left on device"), RigwrightError("none")):

        def fetch(error=error):
            raise error

        assert Later(fetch).carry_out(found.state, found.hosts[0], {}) is False
