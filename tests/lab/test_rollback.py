"""The way back on a real rig: one service of several, one that does not start, records that are damaged."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytestmark = pytest.mark.lab

STATE = "/var/lib/rigwright/services/demo"
RECORD = "/etc/rigwright/demo.json"


@pytest.fixture
def two(workshop, trixie) -> Iterator[str]:
    """A rig with two services, both of which had another context before."""
    name = workshop.boot("two", from_snapshot=trixie.snapshot)
    assert workshop.deploy(services(workshop, 2048), name).code == 0
    assert workshop.deploy(services(workshop, 4096), name).changed == {"Serve demo", "Serve other"}
    yield name
    workshop.lab.down([name])


def services(workshop, context):
    """The `rig` data of both."""
    rig = workshop.spec(context=context)
    rig["services"].append({**rig["services"][0], "name": "other", "port": 8081})
    return rig


def contexts(workshop, rig):
    """What each service really runs with."""
    pid = "/proc/$(systemctl show -P MainPID rigwright-{})/cmdline"
    script = r"tr '\0' '\n' <" + pid + " | grep -A1 -x -- --ctx-size | tail -n1"
    return [workshop.on(rig, script.format(name)) for name in ("demo", "other")]


def pid(workshop, rig, name):
    """Its process."""
    return workshop.on(rig, f"systemctl show -P MainPID rigwright-{name}")


def rollback(workshop, rig, *arguments):
    """The command, with the inventory of both."""
    return workshop.rigwright("rollback", str(workshop.inventory(services(workshop, 4096), rig)), *arguments)


def test_one_service_goes_back_and_the_other_never_notices(workshop, two):
    """--service names it; what is not there is an error, and nothing happens."""
    other = pid(workshop, two, "other")
    absent = rollback(workshop, two, "--service", "nope")
    assert absent.code == 1 and "nope is not on this rig" in absent.lines
    assert contexts(workshop, two) == ["4096", "4096"]
    done = rollback(workshop, two, "--service", "demo")
    assert done.code == 0, done.output
    assert contexts(workshop, two) == ["2048", "4096"] and pid(workshop, two, "other") == other


def test_service_that_does_not_start_comes_back_and_the_next_one_goes_back(workshop, two):
    """Its earlier unit is bad and its record of now is cut: it serves as before, in seconds, and it is named."""
    workshop.on(two, f"sed -i 's/--ctx-size 2048/--ctx-size none/' {STATE}/previous.service; truncate -s 90 {RECORD}")
    done = rollback(workshop, two)
    assert done.code == 1 and done.seconds < 60
    assert any(line.startswith("demo: the engine ended while starting; the previous") for line in done.lines)
    assert f"{RECORD}: cannot be read; the next deploy writes it anew" in done.lines
    assert "demo: not brought back, see above" in done.lines
    assert contexts(workshop, two) == ["4096", "2048"]


def test_damaged_records_end_no_deploy_and_no_rollback(workshop, two):
    """What is damaged is named; what can be done is done, and a second deploy changes nothing."""
    demo = pid(workshop, two, "demo")
    workshop.on(two, f"truncate -s 90 {RECORD}; head -c 999 /dev/urandom >{STATE}/previous.json")
    done = rollback(workshop, two)
    assert done.code == 1
    assert f"{STATE}/previous.json: cannot be read; there is no way back to what demo ran before" in done.lines
    assert "no earlier release is kept of demo; deploy the version you want instead" in done.lines
    assert contexts(workshop, two) == ["4096", "2048"] and pid(workshop, two, "demo") == demo
    forward = workshop.deploy(services(workshop, 4096), two)
    assert (forward.code, forward.changed) == (0, {"Serve demo", "Serve other"})
    assert f"{RECORD}: cannot be read; the next deploy writes it anew" in forward.lines
    assert pid(workshop, two, "demo") == demo
    assert workshop.deploy(services(workshop, 4096), two).changed == set()
