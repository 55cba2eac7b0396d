"""Whole plans for machines that people have, read and approved one by one; `make golden` renews them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from rigwright.hardware import Hardware
from rigwright.plan.rig_plan import plan_rig
from rigwright.plan.service import RigPlan
from rigwright.preview.planning import requests_of
from rigwright.preview.report import report
from rigwright.preview.table import show
from rigwright.preview.why import explain
from rigwright.spec import parse_spec

GOLDEN = Path(__file__).parents[1] / "golden/plans"
CASES = sorted(GOLDEN.glob("*.yml"))


@pytest.fixture(params=CASES, ids=[path.stem for path in CASES])
def case(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def as_text(name: str, hardware: Hardware, plan: RigPlan) -> str:
    text = io.StringIO()
    console = Console(file=text, width=120, color_system=None, force_terminal=False)
    show(console, name, hardware, plan)
    explain(console, plan)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"


def test_plan_is_the_approved_one(case: Path, machine: Callable[..., Hardware], pytestconfig: pytest.Config) -> None:
    """The plan that was read and approved: as a person sees it, and as JSON."""
    data = yaml.safe_load(case.read_text())
    hardware, wishes = machine(**data["machine"]), requests_of({"rig": parse_spec("rig", data["spec"])})
    plan = plan_rig(hardware, wishes["rig"], is_preview=True, alternatives_count=6)
    made = {".txt": as_text(case.stem, hardware, plan), ".json": json.dumps(report(case.stem, plan), indent=1) + "\n"}
    for suffix, text in made.items():
        file = case.with_suffix(suffix)
        if pytestconfig.getoption("--renew-golden"):
            file.write_text(text)
        assert file.read_text() == text


def test_plan_has_a_verdict(case: Path) -> None:
    """Each golden plan says how it stands to the published advice."""
    data = yaml.safe_load(case.read_text())
    assert len(data["verdict"]) > 40 and data["advice"]
