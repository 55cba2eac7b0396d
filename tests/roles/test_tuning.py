"""What plans ask of the machine itself: the scripts in each shell, and what the operation decides."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rigwright.plan.reasons import Reason
from rigwright.plan.service import Tuning
from rigwright.records.paths import TUNING_UNIT
from rigwright.resources import role_text, script, template
from rigwright.roles.base.facts import RemoteFile, Rig
from rigwright.roles.service.tuning import PROGRAM, SETTINGS, UNIT_FILE, is_tuned, possible, settings_text

from .room import Room

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="scripts work as root, in mounts of their own: needs root")

BOTH = "governor performance\nswappiness 10\n"
PLACES = {"UNIT": TUNING_UNIT, "PROGRAM": PROGRAM, "SETTINGS": SETTINGS}


class Machine(Room):
    """A rig whose kernel's files lie in its folder: two policies of its CPU, and its swappiness."""

    def text(self, role: str, name: str) -> str:
        """A script of ours that knows them there."""
        text = role_text(role, name).replace("/proc/sys/vm/swappiness", str(self.home / "swappiness"))
        return text.replace("/sys/devices/system/cpu/cpufreq", str(self.home / "cpufreq"))

    def is_set(self, governors: tuple[str, str], swappiness: str) -> None:
        """Has the kernel say so."""
        for number, governor in enumerate(governors):
            policy = self.home / f"cpufreq/policy{number}"
            policy.mkdir(parents=True, exist_ok=True)
            (policy / "scaling_governor").write_text(f"{governor}\n")
            (policy / "scaling_available_governors").write_text("performance powersave schedutil\n")
        (self.home / "swappiness").write_text(f"{swappiness}\n")

    def says(self) -> tuple[list[str], str]:
        """What the kernel says now."""
        found = sorted(self.home.glob("cpufreq/policy*/scaling_governor"))
        return [one.read_text().strip() for one in found], (self.home / "swappiness").read_text().strip()

    def tune(self, settings: str = BOTH, *, code: int = 0) -> str:
        texts = {"UNIT_TEXT": template("tuning.service"), "PROGRAM_TEXT": self.text("service", "tuning.sh")}
        given = {**PLACES, **texts, "SETTINGS_TEXT": settings}
        return self.run(script("service", "tune.sh", before=role_text("base", "own-unit.sh"), **given), code=code)

    def untune(self) -> str:
        before = "\n".join(role_text("base", name) for name in ("own-unit.sh", "remove-unit.sh"))
        return self.run(script("service", "untune.sh", before=before, **PLACES))


@pytest.fixture
def machine(each_sh: str, open_path: Path) -> Machine:
    """As it is after a boot."""
    found = Machine.made(open_path / "room")
    assert isinstance(found, Machine)
    found.is_set(("schedutil", "powersave"), "60")
    return found


@pytest.mark.runs("service/tune.sh", "service/tuning.sh", "service/untune.sh", "base/own-unit.sh")
def test_machine_is_tuned_and_given_back(machine: Machine) -> None:
    """Each CPU gets its own governor back, after a second time too."""
    for _ in range(2):
        machine.tune()
        assert machine.says() == (["performance"] * 2, "10")
    assert machine.path(f"/etc/systemd/system/multi-user.target.wants/{TUNING_UNIT}").is_symlink()
    assert f"{TUNING_UNIT} removed" in machine.untune()
    assert machine.says() == (["schedutil", "powersave"], "60")
    assert not any(machine.path(path).exists() for path in (UNIT_FILE, PROGRAM, SETTINGS, "/run/rigwright.tuning"))


def test_what_nobody_asks_for_any_more_is_given_back(machine: Machine) -> None:
    """The other stays set."""
    machine.tune()
    machine.tune("swappiness 10\n")
    assert machine.says() == (["schedutil", "powersave"], "10")
    machine.tune("governor performance\n")
    assert machine.says() == (["performance"] * 2, "60")


def test_what_the_owner_has_set_stays(machine: Machine) -> None:
    """Before us, and since: neither is overwritten, nor what another tool looks after."""
    machine.is_set(("schedutil", "powersave"), "30")
    assert "::progress vm.swappiness is 30, which is not the kernel's own 60: it stays" in machine.tune()
    assert machine.says() == (["performance"] * 2, "30")
    assert machine.path("/run/rigwright.tuning/applied").read_text() == "governor performance\nswappiness -\n"
    machine.is_set(("powersave", "performance"), "60")
    machine.untune()
    assert machine.says() == (["powersave"] * 2, "60")
    tuned = 'case "$*" in "is-active -q tuned.service") exit 0 ;; esac\n'
    machine.tool("systemctl", (machine.home / "bin/systemctl").read_text().replace("\n", f"\n{tuned}", 1))
    assert "::progress tuned looks after the CPU's governor: it stays as tuned has it" in machine.tune()
    assert machine.says() == (["powersave"] * 2, "10")


def test_machine_without_these_files_is_left_alone(machine: Machine) -> None:
    """As virtual machines are: no governor, and a kernel that does not take a value; the deploy goes on."""
    for policy in (machine.home / "cpufreq").iterdir():
        (policy / "scaling_available_governors").write_text("powersave\n")
    (machine.home / "swappiness").unlink()
    (machine.home / "swappiness").mkdir()
    said = machine.tune()
    assert "no CPU here has the governor performance" in said and "it stays" in said
    assert machine.path("/run/rigwright.tuning/applied").read_text() == "governor -\nswappiness -\n"


def test_unit_of_others_stays(machine: Machine) -> None:
    """Nothing is set then."""
    machine.put(UNIT_FILE, "# Mine.\n")
    assert f"{UNIT_FILE} was not written by rigwright; it stays" in machine.tune(code=1)
    assert machine.says() == (["schedutil", "powersave"], "60")


@pytest.mark.runs("service/tuning-state.sh")
def test_state_is_read_by_the_shell(machine: Machine) -> None:
    """What can be set, what is, and what was left to the owner."""
    look = machine.text("service", "tuning-state.sh").replace("/run/systemd/container", "/nowhere")
    assert machine.run(look).splitlines() == [
        *("governor=schedutil", "governor=powersave", "can=governor"),
        *("swappiness=60", "can=swappiness"),
    ]
    machine.tune("governor performance\n")
    said = machine.run(look).splitlines()
    assert said[0] == "governor=performance" and "applied=governor performance" in said and "inactive" in said


def asked(*names: str) -> tuple[Tuning, ...]:
    values = {"governor": "performance", "swappiness": "10"}
    return tuple(Tuning(name=one, value=values[one], reason=Reason(choice="", because="")) for one in names)


def rig(blank: Any, text: str, *said: str) -> Rig:
    """A rig on which these settings lie, and whose state is this."""
    texts = {UNIT_FILE: template("tuning.service"), PROGRAM: role_text("service", "tuning.sh"), SETTINGS: text}
    files = {path: RemoteFile("file", one) for path, one in texts.items()}
    state = [*said, "ActiveState=active", "UnitFileState=enabled", "can=governor", "can=swappiness"]
    return replace(blank(), files=files, sections={"tuning": state})


def test_second_run_does_nothing(blank: Any) -> None:
    """What is set, or was left to its owner, needs no command; each deviation does."""
    wanted = asked("governor", "swappiness")
    assert settings_text(wanted) == BOTH
    applied = ("applied=governor performance", "applied=swappiness 10", "governor=performance")
    done = rig(blank, BOTH, *applied, "swappiness=10")
    assert is_tuned(done, wanted)
    assert is_tuned(
        rig(blank, BOTH, "applied=governor -", "applied=swappiness -", "governor=x", "swappiness=30"), wanted
    )
    others = [
        rig(blank, BOTH, *applied, "swappiness=60"),
        rig(blank, BOTH, *applied, "governor=schedutil", "swappiness=10"),
        rig(blank, BOTH, "governor=performance", "swappiness=10"),
        rig(blank, "swappiness 10\n", *applied, "swappiness=10"),
        replace(done, sections={"tuning": [one for one in done.sections["tuning"] if "Active" not in one]}),
        *(replace(done, files={**done.files, path: RemoteFile("file", "x")}) for path in done.files),
    ]
    assert not any(is_tuned(one, wanted) for one in others)


def test_machine_is_asked_only_for_what_it_has(blank: Any) -> None:
    """No governor without one that can be chosen, and nothing in a container."""
    wanted = asked("governor", "swappiness")
    bare = blank()
    assert possible(bare, wanted) == ()
    assert possible(replace(bare, sections={"tuning": ["can=swappiness"]}), wanted) == asked("swappiness")
    for kind, found in (("none", wanted), ("systemd-nspawn", ())):
        said = [f"container={kind}", "can=governor", "can=swappiness"]
        assert possible(replace(bare, sections={"tuning": said}), wanted) == found
