"""A unit of which only such lines are new as bind a process that runs: it is written and read, and nothing restarts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rigwright.records.values import marker_of
from rigwright.resolve.running import instance_changes, takes_up
from rigwright.resolve.unit import of_the_process, render_unit

from .standin import BUSY
from .test_switch import STATE, Bench, Version, bench, versions  # noqa: F401  # fixtures

UNIT = "rigwright-chat.service"
OPENED = "IPAddressAllow=localhost 10.0.0.0/8"


@pytest.fixture
def narrow(bench) -> Bench:  # noqa: F811  # the fixture
    """A serves, P did before; L is A for more networks."""
    one = bench("PA")
    first = one.versions["A"]
    text = first.unit.replace("IPAddressAllow=localhost", OPENED)
    assert text != first.unit
    one.versions["L"] = Version("A", first.instance, text, first.record)
    return one


def started(one: Bench) -> str:
    """Which start of the service runs."""
    return one.deployed().properties["InvocationID"]


def runs(one: Bench) -> str:
    """The networks of the unit file, and those that systemd has read."""
    loaded = (one.rig.root / f"sys/loaded/{UNIT}").read_text()
    assert one.deployed().unit == loaded and one.deployed().cut is None
    return "open" if OPENED in loaded else "narrow"


def test_other_networks_are_taken_up_and_a_rollback_brings_the_old_ones_back(narrow):
    """Both without a restart, and without a wait for who is served; then there is nothing to do."""
    before = started(narrow)
    assert narrow.changes("L") == ["~ chat IPAddressAllow: localhost -> localhost 10.0.0.0/8 (nothing restarts)"]
    (narrow.rig.root / "sys/slots").write_text(BUSY)
    (narrow.rig.root / "sys/run").write_text("")
    done = narrow.deploy("L")
    assert done.returncode == 0 and "chat goes on as it runs, under its new unit: nothing was restarted" in done.stdout
    assert "at work" not in done.stdout and "served nobody" not in done.stdout
    # Without it systemd 257 waits for the next start of another unit before the kernel knows.
    assert (narrow.rig.root / "sys/run").read_text() == "-q --wait --collect --slice=system.slice -- true\n"
    assert (started(narrow), runs(narrow), narrow.changes("L"), narrow.deploy("L")) == (before, "open", [], None)
    for expected in ("narrow", "open"):
        assert narrow.rollback().returncode == 0
        assert (started(narrow), runs(narrow)) == (before, expected)


def test_upgrade_with_other_words_and_devices_keeps_the_mark_of_what_runs(context, blank):
    """Its unit says other things in comments, and allows other devices; what is new for the process is a new mark."""
    chat = context({"name": "chat", "port": 8080, "context": 1024})
    resolved = chat.resolved(blank())
    (instance,) = resolved.instances(chat.spec)
    planner = resolved.engines["llamacpp"]
    now = render_unit(instance, planner, weights={}, systemd=257)
    mark = marker_of(now)
    assert mark
    older = now.replace(mark, "0123456789ab").replace(
        "DevicePolicy=closed\n", "DeviceAllow=char-x rw\nAllowedCPUs=0-3\n"
    )
    older = older.replace("# Readable for", "# For").replace("RestartSec=5\n", "RestartSec=7\n")
    kept = render_unit(instance, planner, weights={}, systemd=257, there=older)
    assert (
        marker_of(kept) == "0123456789ab" and kept.replace("0123456789ab", mark).split("\n")[2:] == now.split("\n")[2:]
    )
    for other in (older.replace("UMask=0077", "UMask=0027"), older.replace("--port 8080", "--port 8081"), ""):
        assert render_unit(instance, planner, weights={}, systemd=257, there=other) == now
    # The sums of model files are no mere words.
    assert of_the_process(now + "# weights aa /m\n") != of_the_process(now) == of_the_process(now + "# a word\n\n")


NOT_SOUND = {
    "another start": {"marker": "ffffffffffff"},
    "an ordinary user sees no mark": {"marker": None},
    "another release": {"current": "/opt/x"},
    "it does not run": {"properties": {"ActiveState": "failed"}},
    "it is not healthy": {"health": 503},
}


@pytest.mark.parametrize("case", NOT_SOUND)
def test_process_that_is_not_as_it_should_be_restarts(narrow, case):
    """Its unit may bind it, but it needs a start anyway."""
    one, deployed = narrow.versions["L"], narrow.deployed()
    assert takes_up(deployed, unit=one.unit, release=one.release)
    changed = replace(deployed, **NOT_SOUND[case])
    assert not takes_up(changed, unit=one.unit, release=one.release)
    found = [str(row) for row in instance_changes(one.instance, changed, unit=one.unit, release=one.release)]
    assert found and not [row for row in found if "nothing restarts" in row]


def test_what_runs_now_is_looked_at_once_more_under_the_lock(narrow):
    """It was started again since it was read: by whom, and from what, nobody knows."""
    deployed = narrow.deployed()
    narrow.rig._sh(f"systemctl restart {UNIT}", "sh")
    before = started(narrow)
    narrow.monkeypatch.setattr(Bench, "deployed", lambda self: deployed)
    done = narrow.deploy("L")
    narrow.monkeypatch.undo()
    assert done.returncode == 0 and "nothing was restarted" not in done.stdout and started(narrow) != before


def test_service_that_answers_no_longer_under_its_new_unit_gets_the_old_one_back(narrow):
    """As it runs; only where that does not help it is started again."""
    before, answer = started(narrow), narrow.rig.root / "sys/answer"
    said = answer.read_text()
    curl = narrow.rig.root / "bin/curl"
    text = curl.read_text()
    opened = f"grep -q '{OPENED}' {narrow.rig.root}/sys/loaded/{UNIT}"
    curl.write_text(text.replace("*) cat ", f"*) if {opened}; then echo no; exit; fi; cat "))
    done = narrow.deploy("L")
    assert done.returncode == 1 and "the previous release is back and serving" in done.stdout, done
    assert (started(narrow), runs(narrow), narrow.serving(), narrow.back()) == (before, "narrow", "A", "P")
    assert "served nobody" not in done.stdout
    curl.write_text(text.replace("*) cat ", f"*) [ $(cat {narrow.rig.root}/sys/count) -gt {before} ] || exit 7; cat "))
    done = narrow.deploy("L")
    assert done.returncode == 1 and "the previous release is back and serving" in done.stdout, done
    assert started(narrow) != before and runs(narrow) == "narrow"
    assert said == answer.read_text()


@pytest.mark.patience
def test_cut_anywhere_is_finished_by_the_next_run(narrow, tmp_path: Path):
    """Killed before each of some commands: the next deploy has it as it wants it, and what is left is of one piece."""
    for cut in range(40, 400, 7):
        one = replace(narrow, rig=narrow.rig.copied(tmp_path / "cut"))
        if one.deploy("L", cut=cut).returncode == 0:
            break
        done = one.deploy("L")
        assert done is None or done.returncode == 0, done
        assert runs(one) == "open" and one.changes("L") == [] and not (one.rig.path(STATE) / "running").exists()
    assert 60 < cut < 390
