"""The pytest plugin: `pytest --pyargs rigwright.roles.llamacpp.verify --rigs INVENTORY`.

A check that takes `rig` runs once for each rig, one that takes `served` once for each service of each rig.
Nothing heavy is imported before `--rigs` is given: every pytest of the environment loads this file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from rigwright.verify.subject import RigUnderTest

_RIGS = pytest.StashKey[list["RigUnderTest"]]()
_ROWS = pytest.StashKey[list[dict[str, Any]]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Our options, in a group of their own."""
    group = parser.getgroup("rigwright", "verify rigs")
    group.addoption("--rigs", metavar="INVENTORY", help="a pyinfra inventory file: check its rigs")
    group.addoption(
        "--rig-limit", action="append", default=[], metavar="PATTERN", help="a group, or a pattern of rig names"
    )
    group.addoption("--rig-report", metavar="FILE", help="write the outcome of each check as JSON")


def pytest_configure(config: pytest.Config) -> None:
    """Read the inventory once, before anything is collected; a wrong one is a usage error, not a traceback."""
    config.stash[_ROWS] = []
    if not config.getoption("--rigs"):
        return
    from rigwright.errors import RigwrightError
    from rigwright.verify.inventory import read_inventory
    from rigwright.verify.subject import RigUnderTest

    try:
        targets = read_inventory(config.getoption("--rigs"), limit=tuple(config.getoption("--rig-limit")))
    except RigwrightError as error:
        raise pytest.UsageError(error.message) from None
    config.stash[_RIGS] = [RigUnderTest(target) for target in targets]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One run of a check for each rig, or for each service."""
    wanted = {"rig", "served"} & set(metafunc.fixturenames)
    if not wanted or not metafunc.module.__name__.endswith(".verify"):
        return
    rigs = metafunc.config.stash.get(_RIGS, None)
    if rigs is None:
        raise pytest.UsageError("no rigs to check; pass --rigs INVENTORY")
    if "served" in wanted:
        services = [service for rig in rigs for service in rig.services]
        metafunc.parametrize("served", services, ids=lambda one: f"{one.rig.name}-{one.wish.name}", scope="module")
    else:
        metafunc.parametrize("rig", rigs, ids=lambda one: one.name, scope="module")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Collect a row for each check."""
    outcome = yield
    report = outcome.get_result()
    if report.when != "call" and report.outcome == "passed":
        return
    parameters = getattr(getattr(item, "callspec", None), "id", "")
    item.config.stash[_ROWS].append(
        {
            "check": getattr(item, "originalname", item.name),
            "subject": parameters,
            "outcome": report.outcome,
            "seconds": round(report.duration, 3),
            "message": str(report.longrepr.reprcrash.message) if getattr(report.longrepr, "reprcrash", None) else None,
        }
    )


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the report that was asked for."""
    if path := session.config.getoption("--rig-report"):
        Path(path).write_text(json.dumps(session.config.stash[_ROWS], indent=1))
