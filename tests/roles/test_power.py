"""Power limits and clocks on a rig: the scripts in each shell, over cards that answer, refuse or are gone."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rigwright.hardware import PowerLimit
from rigwright.plan.driver import DriverWish
from rigwright.records.paths import POWER_UNIT
from rigwright.resources import role_text, script, template
from rigwright.roles.base.facts import RemoteFile, Rig
from rigwright.roles.nvidia import power
from rigwright.roles.nvidia.power import PROGRAM, SETTINGS, UNIT_FILE, power_probe, settings_text
from rigwright.spec.driver import NvidiaSettings

from .room import Room
from .test_shells import removal

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="scripts work as root, in mounts of their own: needs root")

# Source: nvidia-smi 580: its sentences for limits, clocks and cards that are not there.
_SMI = f"""#!{sys.executable}
import json, sys
path, words = "@HOME@/cards.json", sys.argv[1:]
cards = json.load(open(path))
open("@HOME@/asked", "a").write(" ".join(words) + "\\n")
if cards.get("error"):
    print(cards["error"]); sys.exit(9)
if words == ["-L"]:
    for n, uuid in enumerate(cards):
        print(f"GPU {{n}}: NVIDIA GeForce RTX 3090 (UUID: {{uuid}})")
    sys.exit()
uuid = words[words.index("-i") + 1]
if uuid not in cards:
    print("No devices were found"); sys.exit(6)
card, place = cards[uuid], "00000000:01:00.0"
for word in words:
    if word.startswith("--query-gpu="):
        print({{**card, "uuid": uuid}}[word.partition("=")[2]])
if "-pl" in words:
    watts = float(words[words.index("-pl") + 1])
    if card.get("stuck"):
        print(f"Changing power management limit is not supported for GPU: {{place}}.\\nTreating as warning ...")
    else:
        print(f"Power limit for GPU {{place}} was set to {{watts:.2f}} W from {{card['power.limit']}} W.")
        card["power.limit"] = f"{{watts:.2f}}"
if "-lgc" in words:
    if card.get("stuck"):
        print(f"Setting locked GPU clocks is not supported for GPU {{place}}.\\nTreating as warning and moving on.")
    else:
        card["clocks"] = words[words.index("-lgc") + 1]
if "-rgc" in words:
    card["clocks"] = None
json.dump(cards, open(path, "w"))
"""
A, B, GONE = "GPU-aaaaaaaa-0000", "GPU-bbbbbbbb-0000", "GPU-cccccccc-0000"


def card(**changes: Any) -> dict[str, Any]:
    """An RTX 3090 as it was delivered."""
    limits = {"limit": "350.00", "default_limit": "350.00", "min_limit": "100.00", "max_limit": "366.00"}
    return {f"power.{name}": watts for name, watts in limits.items()} | changes


@pytest.fixture
def room(each_sh: str, open_path: Path) -> Room:
    """A rig with cards, whose `sh` is each of the shells."""
    found = Room.made(open_path / "room")
    found.tool("nvidia-smi", _SMI.replace("@HOME@", str(found.home)))
    return found


def put(room: Room, **cards: Any) -> None:
    (room.home / "cards.json").write_text(json.dumps({name.replace("_", "-"): one for name, one in cards.items()}))


def cards(room: Room) -> dict[str, tuple[str, str | None]]:
    """Limit and clocks of each."""
    found = json.loads((room.home / "cards.json").read_text())
    return {uuid: (one["power.limit"], one.get("clocks")) for uuid, one in found.items()}


def setting(settings: str) -> str:
    """The script that has these set."""
    given = {"UNIT": POWER_UNIT, "PROGRAM": PROGRAM, "SETTINGS": SETTINGS, "SETTINGS_TEXT": settings}
    texts = {"UNIT_TEXT": template("power.service"), "PROGRAM_TEXT": role_text("nvidia", "power.sh")}
    return script("nvidia", "power-set.sh", before=role_text("base", "own-unit.sh"), **given, **texts)


def removing() -> str:
    given = {"UNIT": POWER_UNIT, "PROGRAM": PROGRAM, "SETTINGS": SETTINGS}
    before = "\n".join(role_text("base", name) for name in ("own-unit.sh", "remove-unit.sh"))
    return script("nvidia", "power-remove.sh", before=before, **given)


@as_root
@pytest.mark.runs("nvidia/power.sh", "nvidia/power-set.sh")
def test_limits_are_set_read_back_and_given_back(room):
    """By UUID; a card that is gone stops nobody; one whose limit is withdrawn gets its own back."""
    put(room, **{A: card(), B: card()})
    said = room.run(setting(f"{A} 280 210,1700\n{B} 300 -\n{GONE} 250 -\n"))
    assert cards(room) == {A: ("280.00", "210,1700"), B: ("300.00", None)}
    assert f"::progress {A} is limited to 280 W\n" in said and f"{GONE} does not answer: it is left out" in said
    for path in (UNIT_FILE, PROGRAM, SETTINGS):
        assert room.path(path).exists()
    # Nothing is set twice.
    (room.home / "asked").write_text("")
    room.run(setting(f"{A} 280 210,1700\n{B} 300 -\n"))
    assert "-pl" not in (room.home / "asked").read_text()
    # A is never without its limit while B gets its own back.
    room.run(setting(f"{A} 280 -\n"))
    assert cards(room) == {A: ("280.00", None), B: ("350.00", None)}
    assert f"-i {A} -pl 350.00" not in (room.home / "asked").read_text()


@as_root
def test_unit_gives_cards_their_own_back(room):
    """What systemd runs as it stops."""
    put(room, **{A: card(**{"power.limit": "280.00", "clocks": "210,1700"})})
    room.put(SETTINGS, f"{A} 280 210,1700\n{GONE} 250 -\n")
    room.put(PROGRAM, role_text("nvidia", "power.sh"))
    stop = next(line for line in template("power.service").splitlines() if line.startswith("ExecStop="))
    room.run(stop.partition("=")[2])
    assert cards(room) == {A: ("350.00", None)}


@as_root
@pytest.mark.parametrize(
    ("changes", "line", "code", "said"),
    [
        ({"power.min_limit": "400.00", "power.limit": "575.00", "power.max_limit": "600.00"}, "280 -", 2,
         f"{A} takes 400.00 to 600.00 W, not 280 W: it stays at 575.00 W"),
        ({"stuck": True}, "280 -", 2, f"{A} does not take 280 W, its limit is 350.00: Changing power management"),
        ({"stuck": True}, "- 210,1700", 2, f"{A} does not take clocks of 210,1700 MHz: Setting locked GPU clocks"),
        ({"power.limit": "[N/A]", "power.min_limit": "[N/A]", "power.max_limit": "[N/A]", "stuck": True}, "280 -", 2,
         f"{A} does not take 280 W, its limit is [N/A]"),
        ({}, "350 -", 0, ""),
    ],
)  # fmt: skip
def test_card_that_does_not_take_it_is_said_and_the_others_are_set(room, changes, line, code, said):
    """The unit stays, so that it can give the others their own back."""
    put(room, **{A: card(**changes), B: card()})
    room.put(SETTINGS, f"{A} {line}\n{B} 300 -\n")
    room.put(PROGRAM, role_text("nvidia", "power.sh"))
    assert said in room.run(f"sh {PROGRAM} apply {SETTINGS}", code=code)
    assert cards(room)[B][0] == "300.00" and cards(room)[A][0] == card(**changes)["power.limit"]
    assert "SuccessExitStatus=2\n" in template("power.service")
    deployed = room.run(setting(f"{A} {line}\n{B} 300 -\n"), code=min(code, 1))
    assert (f"::error {said}" in deployed) is (code == 2)


@as_root
def test_driver_that_does_not_answer_is_asked_again(room):
    """Exit code 1, which the unit takes for something that time heals."""
    put(room, error="NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.")
    room.put(SETTINGS, f"{A} 280 -\n")
    room.put(PROGRAM, role_text("nvidia", "power.sh"))
    said = room.run(f"sh {PROGRAM} apply {SETTINGS}", code=1)
    assert "no driver answers: NVIDIA-SMI has failed" in said
    assert "Restart=on-failure\n" in template("power.service") and "StartLimitIntervalSec=0" in template(
        "power.service"
    )


@as_root
@pytest.mark.runs("nvidia/power-remove.sh")
def test_removal_takes_all_of_it(room):
    """Without a wish, and with everything else of ours; what is not ours is not touched."""
    put(room, **{A: card()})
    for taken in (removing(), removal()):
        room.run(setting(f"{A} 280 -\n"))
        said = room.run(taken)
        assert f"{POWER_UNIT} removed" in said
        left = [path for place in ("/etc", "/opt") for path in room.path(place).rglob("*rigwright*/*")]
        assert [path for path in left if path.is_file()] == [] and not room.path(UNIT_FILE).exists()
    room.put(UNIT_FILE, "# Mine.\n")
    assert "was not written by rigwright; it stays" in room.run(setting(f"{A} 280 -\n"), code=1)
    assert f"{POWER_UNIT} is not ours, it stays" in room.run(removal())


@as_root
def test_systemd_reads_its_units_anew_only_when_this_one_changed(room):
    """Containers lose their GPU by it."""
    put(room, **{A: card()})
    log = room.home / "systemctl.log"
    room.tool("systemctl", (room.home / "bin/systemctl").read_text().replace("\n", f'\necho "$@" >>{log}\n', 1))
    room.run(setting(f"{A} 280 -\n"))
    room.run(setting(f"{A} 250 -\n"))
    assert "daemon-reload" not in log.read_text() and "enable" not in log.read_text()
    assert room.path(f"/etc/systemd/system/multi-user.target.wants/{POWER_UNIT}").is_symlink()
    room.path(UNIT_FILE).write_text(template("power.service").replace("TimeoutStopSec=60", "TimeoutStopSec=61"))
    room.run(setting(f"{A} 250 -\n"))
    assert "daemon-reload" in log.read_text().split("\n")


def wish(**nvidia: Any) -> DriverWish:
    found = NvidiaSettings.model_validate(nvidia)
    watts, clocks = found.power_watts, found.clocks_mhz
    return DriverWish(
        power_watts=tuple(watts.items()) if isinstance(watts, dict) else (("*", watts),) if watts else (),
        clocks_mhz=(("*", clocks),) if isinstance(clocks, tuple) else (),
    )


def with_limits(hardware: Any, *watts: float) -> Any:
    gpus = [replace(gpu, power=PowerLimit(now, 350, 100, 366)) for gpu, now in zip(hardware.gpus, watts, strict=True)]
    return replace(hardware, gpus=tuple(gpus))


def as_set(rig: Rig, text: str) -> Rig:
    """A rig on which this was set."""
    texts = {UNIT_FILE: template("power.service"), PROGRAM: role_text("nvidia", "power.sh"), SETTINGS: text}
    state = ["ActiveState=active", "UnitFileState=enabled"]
    files = {path: RemoteFile("file", one) for path, one in texts.items()}
    return replace(rig, files=files, sections={"power unit": state})


def commands(rig: Rig, asked: DriverWish, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the operation would run on a rig."""

    def current(_: object) -> Any:
        yield from ()
        return rig

    monkeypatch.setattr(power, "current_rig", current)
    return [one.text for one in power.power._inner(wish=asked, probe=power_probe())]


def test_second_run_does_nothing(blank, cards, monkeypatch):
    """What is set within a watt, and will be after a boot, needs no command; each deviation does."""
    rig = blank(with_limits(cards(2), 280.4, 279.6))
    asked, text = wish(power_watts=280, clocks_mhz=[210, 1700]), "GPU-0 280 210,1700\nGPU-1 280 210,1700\n"
    done = as_set(rig, text)
    assert commands(done, asked, monkeypatch) == []
    assert text in commands(rig, asked, monkeypatch)[0]
    others = [
        replace(done, hardware=with_limits(cards(2), 280, 350)),
        replace(done, sections={"power unit": ["ActiveState=failed", "UnitFileState=enabled"]}),
        replace(done, sections={}),
        as_set(rig, "GPU-0 280 210,1700\n"),
        *(replace(done, files={**done.files, path: RemoteFile("file", "x")}) for path in done.files),
    ]
    assert all(len(commands(one, asked, monkeypatch)) == 1 for one in others)


def test_operation_without_a_wish_takes_back_what_was_set(blank, cards, monkeypatch):
    """And does nothing on a rig where nothing was; while no driver answers, it waits for one."""
    rig = blank(with_limits(cards(1), 350))
    assert commands(rig, DriverWish(), monkeypatch) == []
    done = as_set(rig, "GPU-0 280 -\n")
    assert "power-remove" not in commands(done, wish(power_watts=280), monkeypatch)[0]
    assert "the cards have their own power limits" in commands(done, DriverWish(), monkeypatch)[0]
    bare = replace(done, hardware=cards(1, has_driver=False))
    assert commands(bare, wish(power_watts=280), monkeypatch) == []


def test_operation_refuses_what_a_card_does_not_take(blank, cards, monkeypatch):
    """In the words of the plan, and nothing is run."""
    (said,) = commands(blank(with_limits(cards(1), 350)), wish(power_watts=50), monkeypatch)
    assert "it takes 100 to 366 W, and 50 W are asked; write 100 or more" in said and "exit 1" in said


def test_settings_are_lines_in_one_order() -> None:
    """By UUID, so that a change of slots is none of settings."""
    from rigwright.plan.driver import PowerSetting

    rows = [PowerSetting("GPU 1", B, watts=280), PowerSetting("GPU 0", A, clocks_mhz=(210, 1700))]
    assert settings_text(rows) == settings_text(rows[::-1]) == f"{A} - 210,1700\n{B} 280 -\n"
