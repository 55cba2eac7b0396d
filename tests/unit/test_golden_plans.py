"""Whole plans for machines that people have, read and approved one by one; `make golden` renews them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from rigwright.hardware import Hardware
from rigwright.plan.service import RigPlan
from rigwright.resolve import resolve
from rigwright.spec.rig import parse_spec
from rigwright.view.answers.plan import plan_answer
from rigwright.view.picture import picture
from rigwright.view.plan_table import show
from rigwright.view.why import explain

GOLDEN = Path(__file__).parents[1] / "golden/plans"
CASES = sorted(GOLDEN.glob("*.yml"))
DOCS = Path(__file__).parents[2] / "docs"
PAGE, PICTURE = DOCS / "golden-plans.md", DOCS / "plan.svg"
HEAD = """# Plans, against published advice

Each row is a machine, what five widely read articles advise for it, what `rigwright plan` makes of it, and how the two
compare. The link shows the whole plan with every flag and its reason. The plans are tests: a change of any of them has
to be read and approved (`make golden`).

| machine | advice | plan | verdict |
| --- | --- | --- | --- |
"""


def _is_slow(path: Path) -> bool:
    """A model that the plan chooses means a plan for each of the catalogue."""
    return "model: auto" in path.read_text()


@pytest.fixture(
    params=[pytest.param(path, marks=pytest.mark.patience if _is_slow(path) else ()) for path in CASES],
    ids=[path.stem for path in CASES],
)
def case(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def planned(path: Path, machine: Callable[..., Hardware], *, alternatives: int) -> tuple[Hardware, RigPlan]:
    data = yaml.safe_load(path.read_text())
    hardware, spec = machine(**data["machine"]), parse_spec("rig", data["spec"])
    return hardware, resolve(spec, hardware, is_preview=True, alternatives=alternatives).plan


def as_text(name: str, hardware: Hardware, plan: RigPlan) -> str:
    text = io.StringIO()
    console = Console(file=text, width=120, color_system=None, force_terminal=False)
    show(console, name, hardware, plan)
    explain(console, plan)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"


def test_plan_is_the_approved_one(case: Path, machine: Callable[..., Hardware], pytestconfig: pytest.Config) -> None:
    """The plan that was read and approved: as a person sees it, and as JSON."""
    hardware, plan = planned(case, machine, alternatives=6)
    lines = json.dumps(plan_answer(case.stem, plan).plain(), indent=1) + "\n"
    made = {".txt": as_text(case.stem, hardware, plan), ".json": lines}
    for suffix, text in made.items():
        file = case.with_suffix(suffix)
        if pytestconfig.getoption("--renew-golden"):
            file.write_text(text)
        assert file.read_text() == text


def test_page_tells_all_plans(pytestconfig: pytest.Config) -> None:
    """docs/golden-plans.md has a row for each: the machine, the published advice, the plan, and what to think of it."""
    page = HEAD + "".join(_row(path) for path in CASES)
    if pytestconfig.getoption("--renew-golden"):
        PAGE.write_text(page)
    assert PAGE.read_text() == page


def _row(path: Path) -> str:
    data, plan = yaml.safe_load(path.read_text()), json.loads(path.with_suffix(".json").read_text())
    served = "<br>".join(_served(service) for service in plan["services"])
    link = f"[{path.stem}](../tests/golden/plans/{path.stem}.txt)"
    cells = (link, data["advice"], served, data["verdict"])
    return f"| {' | '.join(cell.strip().replace('|', chr(92) + '|') for cell in cells)} |\n"


def _served(service: dict[str, Any]) -> str:
    rate = service["speed"]["aggregate" if service["slots"] > 1 else "expected"]
    groups = " and ".join("+".join(map(str, replica["gpus"])) for replica in service["replicas"])
    where = f"{service['layout']['text']}, GPU {groups}" if groups else "CPU"
    what = f"{service['model']} {service['quant']}, {service['engine']}"
    return f"{what}, {where}, {service['context_tokens']:,} tokens, {rate:.0f} tokens/s"


def test_readme_picture_is_a_real_plan(machine: Callable[..., Hardware], pytestconfig: pytest.Config) -> None:
    """docs/plan.svg is what `rigwright plan` prints for one of these machines."""
    hardware, plan = planned(GOLDEN / "mixed-5090-4090-two-services.yml", machine, alternatives=3)
    drawn = picture(lambda screen: show(screen, "rig1", hardware, plan), title="rigwright plan inventories/rig.py")
    if pytestconfig.getoption("--renew-golden"):
        PICTURE.write_text(drawn)
    assert PICTURE.read_text() == drawn


def test_plan_has_a_verdict(case: Path) -> None:
    """Each golden plan says how it stands to the published advice."""
    data = yaml.safe_load(case.read_text())
    assert len(data["verdict"]) > 40 and data["advice"]
