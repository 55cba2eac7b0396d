"""Power limits and clocks: from a wish to a setting for each GPU, or to one line that says why not."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from rigwright.cli import main
from rigwright.errors import WrongSpec
from rigwright.hardware.capture import read_files
from rigwright.plan.driver import DriverPlan, plan_driver
from rigwright.resolve.driver import driver_wish
from rigwright.spec.rig import parse_spec

UUIDS = ("GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", "GPU-1b2c3d4e-0000-4106-c12f-20bd9faed9f6")
HEAD = (
    "index, uuid, name, pci.bus_id, memory.total [MiB], compute_cap, driver_version, "
    "power.limit [W], power.default_limit [W], power.min_limit [W], power.max_limit [W]\n"
)
CARDS = {
    "3090": ("NVIDIA GeForce RTX 3090, {}, 24576 MiB, 8.6, 580.95.05", "350.00 W, 350.00 W, 100.00 W, 366.00 W"),
    # Its least limit is 400 W, as recorded from the field.
    "5090": ("NVIDIA GeForce RTX 5090, {}, 32607 MiB, 12.0, 580.95.05", "575.00 W, 575.00 W, 400.00 W, 600.00 W"),
    "laptop": ("NVIDIA GeForce RTX 3060 Laptop GPU, {}, 6144 MiB, 8.6, 580.95.05", "[N/A], [N/A], [N/A], [N/A]"),
    "p40": ("Tesla P40, {}, 24576 MiB, 6.1, 580.95.05", "250.00 W, 250.00 W, 125.00 W, 250.00 W"),
    "3090ti": ("NVIDIA GeForce RTX 3090 Ti, {}, 24576 MiB, 8.6, 580.95.05", "450.00 W, 450.00 W, 100.00 W, 516.00 W"),
}


def recorded(*cards: str, supplies: tuple[str, ...] = (), **files: str) -> dict[str, str]:
    """A machine with these cards in its slots, and supplies of so many watts."""
    rows = []
    for number, card in enumerate(cards):
        said, limits = CARDS[card]
        place = f"00000000:0{number + 1}:00.0"
        rows.append(f"{number}, {UUIDS[number]}, {said.format(place)}, {limits}\n")
    blocks = [
        f"Handle 0x00{number:02X}, DMI type 39, 22 bytes\nSystem Power Supply\n\tStatus: Present, OK\n"
        f"\tMax Power Capacity: {watts}\n\tPlugged: Yes\n"
        for number, watts in enumerate(supplies)
    ]
    found = {"os-release": 'ID=debian\nVERSION_ID="13"\n', "query.csv": HEAD + "".join(rows)}
    found |= {"dmidecode.txt": "# dmidecode 3.4\n" + "\n".join(blocks)} if supplies else {}
    return found | files


def planned(files: dict[str, str], **nvidia: Any) -> DriverPlan:
    return plan_driver(read_files(files), driver_wish(parse_spec("rig1", {"nvidia": nvidia})))


def problem(plan: DriverPlan, code: str) -> str:
    """What is said and what to do, of the one problem of a code."""
    (found,) = (one for one in plan.problems if one.code == code)
    return f"{found.where}: {found.what}; {found.do}"


@pytest.mark.parametrize(
    ("given", "watts"),
    [
        (280, [280, 280]),
        ("280 W", [280, 280]),
        (280.0, [280, 280]),
        ({"*": 280}, [280, 280]),
        ({UUIDS[0]: 300, "*": 250}, [300, 250]),
        ({UUIDS[1][:14].lower(): "300W", "*": 250}, [250, 300]),
        ({"01:00.0": 300}, [300, None]),
        ({"0000:02:00.0": 300}, [None, 300]),
        ({"00000000:02:00.0": 300, "RTX 3090": 250}, [250, 300]),
        ({"RTX 3090": 250, "rtx 3090 ti": 350}, [250, 350]),
        ({"3090": 250, "*": 300}, [250, 300]),
        ({"GeForce RTX 3090 Ti": 350, "*": None}, [None, 350]),
        ({UUIDS[0]: None, "*": 250}, [None, 250]),
        (None, [None, None]),
        ({}, [None, None]),
    ],
)
def test_wish_is_for_the_gpus_that_it_names(given: Any, watts: Any) -> None:
    """All, or one by UUID, place on the bus or name; the nearest word wins, and None leaves a card alone."""
    plan = planned(recorded("3090", "3090ti"), power_watts=given)
    found = {one.uuid: one.watts for one in plan.power}
    assert [found.get(uuid) for uuid in UUIDS] == watts
    assert plan.verdict == "ok" and plan.problems == ()
    assert [step.kind for step in plan.steps] == (["power"] if any(watts) else [])


@pytest.mark.parametrize(
    ("nvidia", "said"),
    [
        (
            {"power_watts": "lots"},
            "rig.nvidia.power_watts: 'lots' is no power limit in watts; write a whole",
        ),
        ({"power_watts": 280.5}, "280.5 is no power limit in watts"),
        ({"power_watts": 0.28}, "0.28 is no power limit in watts"),
        ({"power_watts": True}, "true is no power limit in watts"),
        ({"power_watts": {"0": 280}}, "key 0 is an index, which another card has after a change; write a UUID"),
        ({"power_watts": {1: 280}}, "key 1 is an index"),
        ({"power_watts": {"GPU 0": 280}}, "key GPU 0 is an index"),
        ({"power_watts": {"RTX 3090": "x"}}, "at RTX 3090: 'x' is no power limit in watts"),
        ({"power_watts": [280, 300]}, "[280, 300] is no power limit in watts"),
        ({"clocks_mhz": 1700}, "1700 are no clocks in MHz; write the least and the most, like [210, 1700]"),
        ({"clocks_mhz": [1700, 210]}, "the least clock is above the most; write [210, 1700]"),
        ({"clocks_mhz": {"*": [210]}}, "at *: [210] are no clocks in MHz"),
        ({"power_limit": 280}, "rig.nvidia.power_limit: unknown key; did you mean power_watts?"),
    ],
)
def test_what_is_wrong_is_one_line(nvidia: dict[str, Any], said: str) -> None:
    """Where, what, and how it is written."""
    with pytest.raises(WrongSpec) as caught:
        parse_spec("rig1", {"nvidia": nvidia})
    assert said in caught.value.message and len(caught.value.message.splitlines()) == 1


def test_limit_outside_of_what_a_card_takes_is_refused_with_its_range() -> None:
    """An RTX 5090 takes 400 W at least: what goes lower is its clocks."""
    plan = planned(recorded("3090", "5090"), power_watts=280)
    assert (plan.verdict, plan.refused, plan.steps, plan.power) == ("refuse", ("power_out_of_range",), (), ())
    said = problem(plan, "power_out_of_range")
    assert "GPU 1 (NVIDIA GeForce RTX 5090): it takes 400 to 600 W, and 280 W are asked" in said
    assert "write 400 or more; to go lower, cap its clocks: clocks_mhz: [210, 1700]" in said
    assert "write 366 or less" in problem(planned(recorded("3090"), power_watts=400), "power_out_of_range")


def test_least_limit_of_a_model_counts_before_a_driver_runs() -> None:
    """A bare machine tells its cards by the bus alone; what they take at most is set board by board."""
    lspci = (
        "01:00.0 VGA compatible controller [0300]: NVIDIA Corporation GB202 [GeForce RTX 5090] [10de:2b85] (rev a1)\n"
    )
    bare = {"os-release": 'ID=ubuntu\nVERSION_ID="24.04"\n', "lspci.txt": lspci}
    assert "it takes 400 W" in problem(planned(bare, power_watts=280), "power_out_of_range")
    plan = planned(bare, power_watts=450, clocks_mhz=[210, 1700])
    assert plan.verdict == "install" and [(one.uuid, one.watts, one.clocks_mhz) for one in plan.power] == [
        (None, 450, (210, 1700))
    ]
    kinds = [step.kind for step in plan.steps]
    assert kinds[-2:] == ["power", "verify"] and any("UUID" in line for line in plan.assumed)


def test_card_without_a_limit_is_refused_and_may_be_left_out() -> None:
    """Laptops and DGX Spark: the driver prints [N/A], and takes nothing."""
    files = recorded("laptop", "3090")
    plan = planned(files, power_watts=280)
    said = problem(plan, "power_not_settable")
    assert plan.verdict == "refuse" and "[N/A]" in said and f"power_watts: {{'{UUIDS[0]}': null}}" in said
    assert planned(files, power_watts={UUIDS[0]: None, "*": 280}).verdict == "ok"
    # A recording that did not ask for it says nothing of the card.
    narrow = "index, uuid, name, memory.total [MiB]\n" + f"0, {UUIDS[0]}, NVIDIA GeForce RTX 3060, 12288 MiB\n"
    assert planned({"query.csv": narrow}, power_watts=150).refused == ()


@pytest.mark.parametrize("path", ["xml-rtx3090-vm/smi.xml", "1x-l40s-capture/smi-q.txt", "1x-l40s-capture/query.csv"])
def test_each_output_tells_of_a_card_without_a_limit(path: str) -> None:
    """CSV, XML and text say it in their own words."""
    file = Path(__file__).parents[1] / "captures" / path
    before = read_files({file.name: file.read_text()}).gpus[0]
    text = re.sub(r"\b\d+\.\d\d W\b", "[N/A]" if file.suffix == ".csv" else "N/A", file.read_text())
    after = read_files({file.name: text}).gpus[0]
    assert (before.has_power_limit, after.has_power_limit, after.power.current) == (True, False, None)


def test_clocks_are_refused_where_no_driver_sets_them() -> None:
    """Locking begins with Volta."""
    plan = planned(recorded("p40"), clocks_mhz=[600, 1300])
    assert "begins with Volta, and this is Pascal" in problem(plan, "clocks_not_settable") and plan.verdict == "refuse"
    assert planned(recorded("3090"), clocks_mhz=[210, 1700]).verdict == "ok"


@pytest.mark.parametrize("key", ["GPU-deadbeef-0000-0000-0000-000000000000", "0000:41:00.0", "RTX 4090"])
def test_card_that_is_gone_stops_nobody(key: str) -> None:
    """It is said, and the others are set: a card that was pulled must not stop the next deploy."""
    plan = planned(recorded("3090"), power_watts={key: 300, "*": 250})
    assert plan.verdict == "ok" and [one.watts for one in plan.power] == [250]
    said = problem(plan, "power_gpu_unknown")
    assert f"no GPU here is {key}; this rig has " in said and "the others are set" in said


def test_limit_that_is_there_is_no_step() -> None:
    """Within a watt: cards round."""
    assert planned(recorded("3090"), power_watts=351).steps == ()
    assert planned(recorded("3090"), power_watts=352).steps != ()


def test_sum_of_limits_is_held_against_the_supply() -> None:
    """Two RTX 3090 of 350 W, a socket of 150 W and 100 W for the board are 950 W."""
    files = recorded("3090", "3090", supplies=("850 W",))
    plan = planned(files)
    assert plan.verdict == "ok"
    said = problem(plan, "supply_too_small")
    assert "the GPUs may draw 700 W, the rest about 250 W: 950 W, and the supplies give 850 W" in said
    assert "set rig.nvidia.power_watts to 300" in said
    assert planned(files, power_watts=300).problems == ()
    assert "lower power_watts to 300" in problem(planned(files, power_watts=310), "supply_too_small")
    assert planned(recorded("3090", "3090", supplies=("500 W", "500 W"))).problems == ()
    # Where no limit would do, none is proposed.
    assert "fewer cards" in problem(planned(recorded("5090", "5090", supplies=("1000 W",))), "supply_too_small")


@pytest.mark.parametrize("kind", ["lxc", "docker", "wsl"])
def test_machine_whose_driver_is_anothers_sets_nothing(kind: str) -> None:
    """The host does, or Windows."""
    plan = planned(recorded("3090", **{"systemd-detect-virt.txt": f"$ systemd-detect-virt\n{kind}\n"}), power_watts=280)
    said = problem(plan, "power_is_set_elsewhere")
    assert ("Windows" if kind == "wsl" else "the host") in said and plan.power == () and not plan.refused


def shown(tmp_path: Path, files: dict[str, str], nvidia: dict[str, Any], *words: str) -> Result:
    (tmp_path / "machine").mkdir(exist_ok=True)
    for name, text in files.items():
        (tmp_path / "machine" / name).write_text(text)
    (tmp_path / "rig.yml").write_text(json.dumps({"services": [], "nvidia": nvidia}))
    given = ["driver", "--capture", str(tmp_path / "machine"), "--spec", str(tmp_path / "rig.yml"), *words]
    return CliRunner(env={"COLUMNS": "100"}).invoke(main, given)


def test_page_and_answer_show_limits(tmp_path: Path) -> None:
    """What is set now and what shall be, the same limits of several cards on one line."""
    files = recorded("3090", "3090ti", supplies=("600 W",))
    nvidia = {"power_watts": {"RTX 3090": 280, "*": 350}, "clocks_mhz": [210, 1700]}
    page = " ".join(shown(tmp_path, files, nvidia).stdout.split())
    assert "verdict the driver stays, power limits are set" in page
    assert "power 280 W (now 350 W), 210 to 1700 MHz: GPU 0 (NVIDIA GeForce RTX 3090)" in page
    assert "[supply_too_small]" in page
    answer = json.loads(shown(tmp_path, files, nvidia, "--json").stdout)
    assert answer["power"][1] == {
        "gpu": "GPU 1 (NVIDIA GeForce RTX 3090 Ti)",
        "uuid": UUIDS[1],
        "pci_address": "0000:02:00.0",
        "watts": 350,
        "clocks_mhz": [210, 1700],
        "current_watts": 450.0,
    }
