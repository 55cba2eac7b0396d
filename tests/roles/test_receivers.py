"""Rigs that get what another one builds: asked for the room of that, and for no compilers."""

from __future__ import annotations

import io
import tarfile
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from pyinfra.api.state import StateStage

from rigwright.roles.service import shipping
from rigwright.weights import kept

from .machine import CPU_ONLY, GIB, Machine
from .test_deploy_order import BLANK, BUILT, CHECK, L40S, NOWHERE, rig, run  # noqa: F401  # a fixture

STATE, INSTALL = "/var/lib/rigwright", "/opt/rigwright"
RECEIVED = [*BLANK[:3], "Find the commit of llama.cpp", "Build llama.cpp", "Serve chat"]
PINNED = {"archive": {"path": "/x", "sha256": "ab" * 32}}


@pytest.fixture(autouse=True)
def _connected(monkeypatch):
    """Connections by which a release could travel, and one that does."""
    monkeypatch.setattr(shipping, "ssh_client", lambda host: host)
    monkeypatch.setattr(shipping, "_LOOK_SECONDS", 0.01)
    # The program has pyinfra exchange it: sleep lets other rigs go on.
    monkeypatch.setattr(kept, "time", SimpleNamespace(sleep=gevent.sleep))
    monkeypatch.setattr(shipping, "check_release", lambda part, name: None)
    monkeypatch.setattr(shipping, "download", lambda giver, text, part, **given: part.write_bytes(empty()))


def empty() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz"):
        pass
    return file.getvalue()


def small(**given: Any) -> Machine:
    """A rig whose disks have room for what is built, and not for a build of it."""
    return Machine(free_bytes_at={STATE: GIB // 2, INSTALL: GIB // 2}, **given)


def test_rig_that_receives_needs_no_room_for_a_build_and_no_compilers(run):  # noqa: F811
    """Only git, to ask which commit its tag is; the first of the inventory builds."""
    builder, receiver = Machine(), small()
    done = run(rig({"name": "chat"}, machine=builder), rig({"name": "chat"}, machine=receiver))
    assert not done.failed, done.lines("rig2")
    assert done.changed() == BLANK
    assert done.changed("rig2") == [*RECEIVED[:3], "Install git", *RECEIVED[3:]]
    assert "cmake" in builder.packages and {"git", "cmake"} & receiver.packages == {"git"}
    assert not any("cannot be deployed" in line for line in done.lines("rig2", StateStage.Prepare))
    again = run(rig({"name": "chat"}, machine=builder), rig({"name": "chat"}, machine=receiver))
    assert again.changed() == again.changed("rig2") == []


def test_kept_release_is_received_too(run):  # noqa: F811
    """By a rig that is alone in its run, once the commit is known."""
    run(rig({"name": "chat"}, machine=(first := Machine())))
    done = run(rig({"name": "chat"}, machine=(alone := small(commits=dict(first.commits)))))
    assert not done.failed and done.changed() == [*BLANK[:3], *BLANK[5:]] and alone.packages.isdisjoint({"cmake"})


@pytest.mark.parametrize(("first", "said"), [
    (small(), "building needs 1.0 GiB in /var/lib/rigwright, the disk has 512 MiB; free some"),
    (Machine(free_bytes_at={INSTALL: GIB // 10}), "installing needs 128 MiB in /opt/rigwright, the disk has 102 MiB"),
])  # fmt: skip
def test_rig_whose_turn_it_is_needs_the_room_of_a_build(run, first, said):  # noqa: F811
    """It is refused before anything is done, and the next one builds."""
    other = Machine()
    done = run(rig({"name": "chat"}, machine=first), rig({"name": "chat"}, machine=other))
    assert done.failed == {"rig1"} and done.changed() == [CHECK]
    assert any(line.startswith(said) for line in done.lines(stage=StateStage.Execute))
    assert done.changed("rig2") == BLANK


def test_rig_that_receives_needs_the_room_of_what_it_gets(run):  # noqa: F811
    """The archive, and what is in it."""
    for free, said in (
        ({STATE: GIB // 20}, "receiving llama.cpp needs 64.0 MiB in /var/lib/rigwright, the disk has 51"),
        ({INSTALL: GIB // 10}, "installing needs 128 MiB in /opt/rigwright, the disk has 102 MiB; free some"),
    ):
        done = run(rig({"name": "chat"}), rig({"name": "chat"}, machine=Machine(free_bytes_at=free)))
        assert done.failed == {"rig2"} and done.changed("rig2") == [CHECK]
        assert any(line.startswith(said) for line in done.lines("rig2")), done.lines("rig2")


def test_each_rig_that_builds_its_own_needs_the_room(run):  # noqa: F811
    """`share: False`, and rigs of two kinds; it is said with the plan where one is alone."""
    done = run(rig({"name": "chat"}), rig({"name": "chat"}, machine=small(), llamacpp={"share": False}))
    assert done.failed == {"rig2"} and any("cannot be deployed: building" in line for line in done.lines("rig2"))
    option = {"cmake_options": {"GGML_OPENMP": "OFF"}}
    done = run(rig({"name": "chat"}), rig({"name": "chat"}, machine=small(), llamacpp=option))
    assert done.failed == {"rig2"}
    done = run(rig({"name": "chat"}, machine=small()))
    assert any("cannot be deployed: building needs" in line for line in done.lines(stage=StateStage.Prepare))


def test_toolkit_is_no_part_of_what_a_rig_receives(run, monkeypatch, model):  # noqa: F811
    """Nor its room: CUDA's wheels take gigabytes."""
    monkeypatch.setattr("rigwright.roles.cuda.archive.toolkit_archive", lambda made, find: model)
    free = {STATE: 2 * GIB, INSTALL: 5 * GIB // 2}
    machines = [Machine(sources=CPU_ONLY | L40S), Machine(sources=CPU_ONLY | L40S, free_bytes_at=free)]
    done = run(*[rig({"name": "chat"}, machine=one, **NOWHERE, **BUILT) for one in machines])
    assert not done.failed, done.lines("rig2")
    assert machines[0].toolkit and not machines[1].toolkit and "g++" not in machines[1].packages
