"""One build for all rigs of a kind: one rig builds, the others get its release; cuts, damage and other kinds."""

from __future__ import annotations

import hashlib
import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..roles.releases import releases
from .conftest import binaries_of, wait_healthy

pytestmark = pytest.mark.lab

STARTED = re.compile(r"\[(ship\d)\] building release (\w+)\s*$", re.MULTILINE)
ALIKE = ("ship1", "ship2", "ship3")


@pytest.fixture(scope="module")
def fleet(workshop, trixie) -> Iterator[tuple[str, ...]]:
    """Three rigs of one kind, as they were when their first deploy ended."""
    for name in ALIKE:
        workshop.boot(name, from_snapshot=trixie.snapshot)
    for name in ALIKE:
        wait_healthy(workshop, name)
    yield ALIKE
    workshop.lab.down([*ALIKE])


def spec(workshop, number, **changes):
    """A build like no other: its compiler's cache knows the objects, so that it takes seconds."""
    options = {"RIGWRIGHT_TEST": str(number)}
    return workshop.spec(llamacpp={"archive": "pinned", "cmake_options": options} | changes)


def counts(outcome):
    """How many rigs built, how many received."""
    return len(STARTED.findall(outcome.output)), len(re.findall("received, built by", outcome.output))


def tell(what, outcome):
    """The row of docs/builds.md that `make lab-faults` says."""
    built, received = counts(outcome)
    sys.stdout.write(f"| {what} | {built} | {received} | {outcome.seconds:.0f} s |\n")


def test_one_rig_builds_for_all_of_its_kind(workshop, fleet, bookworm):
    """Three of one kind and one of another: two builds, four rigs that serve and pass their checks; then nothing."""
    other = workshop.boot("ship4", from_snapshot=bookworm.snapshot)
    wait_healthy(workshop, other)
    outcome = workshop.deploy(spec(workshop, 1), *fleet, other)
    assert outcome.code == 0, outcome.output
    assert counts(outcome) == (2, 2), outcome.output
    tell("three rigs of one kind, one of another", outcome)
    path = workshop.inventory(spec(workshop, 1), *fleet, other)
    checked = workshop.rigwright("verify", str(path))
    assert checked.code == 0, checked.output
    assert workshop.deploy(spec(workshop, 1), *fleet, other).changed == set()
    current = "/opt/rigwright/services/demo/current"
    assert len({workshop.on(name, f"sha256sum <{current}/sums.txt") for name in fleet}) == 1
    receipts = {name: json.loads(workshop.on(name, f"cat {current}/receipt.json")) for name in (*fleet, other)}
    assert [one["host"] for one in receipts.values()] == [fleet[0]] * 3 + [other], receipts
    workshop.lab.down([other])


@pytest.mark.faults
def test_rig_built_anew_takes_what_was_built_for_it(workshop, fleet):
    """Alone in the run, nobody to ask: what this machine keeps. A damaged one is built anew."""
    workshop.keeps_releases = True
    try:
        outcome = workshop.deploy(spec(workshop, 2), fleet[0])
        assert outcome.code == 0 and counts(outcome) == (1, 0), outcome.output
        outcome = workshop.deploy(spec(workshop, 2), fleet[1])
        assert outcome.code == 0 and counts(outcome) == (0, 1), outcome.output
        tell("a rig built anew, alone: the kept release", outcome)
        kept = max((workshop.cache / "releases").glob("*/*.tar.gz"), key=lambda path: path.stat().st_mtime)
        data = bytearray(kept.read_bytes())
        data[len(data) // 2] ^= 1
        kept.write_bytes(data)
        outcome = workshop.deploy(spec(workshop, 2), *fleet)
        assert outcome.code == 0 and counts(outcome) == (0, 1), outcome.output
        assert "its release comes from" in outcome.output
    finally:
        workshop.keeps_releases = False


@pytest.mark.faults
def test_each_rig_builds_its_own_where_that_is_wanted(workshop, fleet):
    """`share: False`."""
    outcome = workshop.deploy(spec(workshop, 3, share=False), *fleet[:2])
    assert outcome.code == 0 and counts(outcome) == (2, 0), outcome.output


def test_failed_build_is_told_once_and_tried_once(workshop, fleet):
    """What does not compile on one rig does not on the others of its kind: they say where to look, and serve on."""
    wrong = spec(workshop, 4)
    wrong["llamacpp"]["cmake_options"]["CMAKE_CXX_FLAGS"] = "-DGGML_ASSERT(x)=)("
    outcome = workshop.deploy(wrong, *fleet)
    assert outcome.code != 0 and counts(outcome) == (1, 0), outcome.output
    assert len(re.findall("its release cannot be built, see ship1", outcome.output)) >= 2, outcome.output
    for name in fleet:
        wait_healthy(workshop, name)


@pytest.mark.faults
def test_builder_that_is_lost_is_replaced(workshop, fleet):
    """The power of the rig that builds goes: another one builds, in the same run."""
    began = workshop.start(spec(workshop, 5), *fleet)
    output = ""
    while not (found := STARTED.search(output)):
        output += began.stdout.readline()
    name = found[1]
    workshop.lab.down([name])
    rest, _ = began.communicate(timeout=900)
    assert len(STARTED.findall(output + rest)) == 2, output + rest
    assert len(re.findall("received, built by", rest)) == 1, rest
    workshop.boot(name, from_snapshot=f"{workshop.lab.name}-trix")
    wait_healthy(workshop, name)
    outcome = workshop.deploy(spec(workshop, 5), *fleet)
    assert outcome.code == 0 and counts(outcome) == (0, 1), outcome.output
    tell("the run after one whose builder lost its power", outcome)


@pytest.mark.faults
def test_builder_whose_unit_is_killed_is_replaced(workshop, fleet):
    """Killed mid-build: another one builds, in the same run. Damage on the way is noticed, and mended by the next."""
    workshop.keeps_releases = True
    try:
        began = workshop.start(spec(workshop, 6), *fleet)
        output = ""
        while not (found := STARTED.search(output)):
            output += began.stdout.readline()
        workshop.on(found[1], f"systemctl kill -s KILL rigwright-build-{found[2]}")
        rest, _ = began.communicate(timeout=900)
        assert began.returncode != 0 and len(STARTED.findall(output + rest)) == 2, output + rest
        (kept,) = (workshop.cache / "releases").glob(f"*/{found[2]}-*.tar.gz")
        digest = kept.name.removesuffix(".tar.gz").rpartition("-")[2]
        part = f"/var/lib/rigwright/build/{found[2]}-{digest[:12]}.release.tar.gz"
        workshop.on(found[1], f"head -c 1000 /dev/urandom >{part}")
        outcome = workshop.deploy(spec(workshop, 6), *fleet)
        assert "arrived damaged and was thrown away; run again" in outcome.output and counts(outcome) == (0, 0)
        outcome = workshop.deploy(spec(workshop, 6), *fleet)
    finally:
        workshop.keeps_releases = False
    assert outcome.code == 0 and counts(outcome) == (0, 1), outcome.output
    assert workshop.on(found[1], "ls /var/lib/rigwright/build/*.release.tar.gz", check=False) == ""
    tell("the run after one whose archive was damaged", outcome)


@pytest.mark.faults
def test_network_that_is_cut_on_the_way_costs_one_rig_its_run(workshop, fleet):
    """The line of a rig that receives breaks mid-transfer: it serves on, and has the release by the next run."""
    last = fleet[-1]
    before = workshop.on(last, "readlink /opt/rigwright/services/demo/current")
    workshop.lab.fault(last, "slow-network")
    began = workshop.start(spec(workshop, 8), *fleet)
    arriving = "ls /var/lib/rigwright/build/*.release.tar.gz"
    while not workshop.on(last, arriving, check=False):
        assert began.poll() is None, began.communicate()[0]
        time.sleep(0.5)
    workshop.lab.fault(last, "no-network")
    workshop.lab.fault(last, "ssh-drop")
    rest, _ = began.communicate(timeout=900)
    assert began.returncode != 0 and len(re.findall("received, built by", rest)) == 1, rest
    workshop.lab.fault(last, "clear")
    wait_healthy(workshop, last)
    assert workshop.on(last, "readlink /opt/rigwright/services/demo/current") == before
    outcome = workshop.deploy(spec(workshop, 8), *fleet)
    assert outcome.code == 0 and counts(outcome) == (0, 1), outcome.output
    tell("the run after one whose line was cut mid-transfer", outcome)


@pytest.mark.faults
def test_rigs_that_take_turns_wait_for_nobody(workshop, fleet):
    """--serial: whoever comes first builds, and none waits for one that comes after it."""
    outcome = workshop.deploy(spec(workshop, 7), *fleet, arguments=("-y", "--serial"))
    assert outcome.code == 0 and counts(outcome) == (1, 2), outcome.output


@pytest.mark.faults
def test_rig_with_little_room_receives_and_does_not_build(workshop, fleet):
    """A disk that could hold no build: what another rig builds is no matter; in its place it is refused in one line."""
    little = fleet[1]
    workshop.on(
        little,
        "cp -a /var/lib/rigwright /tmp/state && mount -t tmpfs -o size=700M none /var/lib/rigwright"
        " && cp -a /tmp/state/. /var/lib/rigwright",
    )
    try:
        outcome = workshop.deploy(spec(workshop, 9), *fleet[:2])
        assert outcome.code == 0 and counts(outcome) == (1, 1), outcome.output
        assert workshop.deploy(spec(workshop, 9), *fleet[:2]).changed == set()
        alone = workshop.deploy(spec(workshop, 10), little)
        assert alone.code != 0 and "building needs 1.0 GiB in /var/lib/rigwright, the disk has" in alone.output
        began = workshop.start(spec(workshop, 11), *fleet[:2])
        output = ""
        while not (found := STARTED.search(output)):
            output += began.stdout.readline()
        assert found[1] == fleet[0]
        workshop.on(fleet[0], f"systemctl kill -s KILL rigwright-build-{found[2]}")
        rest, _ = began.communicate(timeout=900)
        assert began.returncode != 0 and not STARTED.search(rest), rest
        assert re.search(r"\[ship2\] building needs 1\.0 GiB in /var/lib/rigwright/build/\w+, the disk has", rest), rest
        for name in fleet[:2]:
            wait_healthy(workshop, name)
    finally:
        workshop.on(little, "umount -l /var/lib/rigwright", check=False)


def test_binaries_of_somebody_else_are_taken(workshop, fleet, serving_binaries):
    """An archive like upstream's in place of a build: no compiler is asked, it serves, passes its checks, and stays."""
    wanted = workshop.spec(llamacpp={"prebuilt": serving_binaries})
    outcome = workshop.deploy(wanted, *fleet[:2])
    assert outcome.code == 0 and counts(outcome) == (0, 2), outcome.output
    assert "built by somebody else" in outcome.output
    checked = workshop.rigwright("verify", str(workshop.inventory(wanted, *fleet[:2])))
    assert checked.code == 0, checked.output
    assert workshop.deploy(wanted, *fleet[:2]).changed == set()
    wrong = workshop.deploy(workshop.spec(llamacpp={"prebuilt": serving_binaries | {"sha256": "0" * 64}}), fleet[0])
    assert wrong.code != 0 and "the inventory says 000000" in wrong.output, wrong.output
    wait_healthy(workshop, fleet[0])


def test_binaries_of_upstream_are_those_of_its_release(workshop, fleet, serving_binaries):
    """`source: prebuilt`: a release's page says the sum, each rig keeps it, and another later counts for nothing."""
    name = "llama-b11434-bin-ubuntu-x64.tar.gz"
    with releases({name: Path(serving_binaries["path"]).read_bytes()}) as api:
        wanted = workshop.spec(llamacpp={"source": "prebuilt", "releases": api.address})
        outcome = workshop.deploy(wanted, *fleet[:2])
        assert outcome.code == 0 and counts(outcome) == (0, 2), outcome.output
        assert f"have the sha256 {serving_binaries['sha256'][:12]}" in outcome.output
        checked = workshop.rigwright("verify", str(workshop.inventory(wanted, *fleet[:2])))
        assert checked.code == 0, checked.output
        api.assets = {name: b"another"}
        assert workshop.deploy(wanted, *fleet[:2]).changed == set()
        outcome = workshop.deploy(wanted, fleet[2])
        assert outcome.code == 0 and counts(outcome) == (0, 1), outcome.output
    current = "readlink /opt/rigwright/services/demo/current"
    assert len({workshop.on(name, current) for name in fleet}) == 1
    workshop.on(fleet[0], "echo 0 >/var/lib/rigwright/refs/$(ls /var/lib/rigwright/refs | head -n1)")
    checked = workshop.rigwright("verify", str(workshop.inventory(wanted, fleet[0])))
    assert checked.code != 0 and "test_release_is_the_wanted_source" in checked.output, checked.output


@pytest.fixture
def serving_binaries(workshop, fleet):
    """What a rig has built, in the form of upstream's releases."""
    path = binaries_of(workshop, fleet[0])
    return {"path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
