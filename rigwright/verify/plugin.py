"""The pytest plugin: `pytest --pyargs rigwright.roles.llamacpp.verify --rigs INVENTORY`.

A check that takes `rig` runs once for each rig, one that takes `served` once for each service of each rig, those of an
engine's role for the services of that engine; on a rig without one it is skipped. A rig that cannot be reached is one
line, and none of its checks run.
Nothing heavy is imported before `--rigs` is given: every pytest of the environment loads this file.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
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
    from rigwright.verify.subject import RigUnderTest
    from rigwright.verify.targets import read_inventory

    try:
        targets = read_inventory(config.getoption("--rigs"), limit=tuple(config.getoption("--rig-limit")))
    except RigwrightError as error:
        raise pytest.UsageError(error.message) from None
    rigs = [RigUnderTest(target) for target in targets]
    with ThreadPoolExecutor(max_workers=16) as pool:
        reasons = list(pool.map(lambda rig: rig.unreachable, rigs))
    config.stash[_RIGS] = [rig for rig, why in zip(rigs, reasons, strict=True) if why is None]
    config.stash[_ROWS] = [
        {"check": "reachable", "subject": rig.name, "outcome": "failed", "seconds": 0.0, "message": why}
        for rig, why in zip(rigs, reasons, strict=True)
        if why is not None
    ]
    if not config.stash[_RIGS]:
        _write_report(config)
        raise pytest.UsageError("\n".join(_unreachable(config)))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One run of a check for each rig, or for each service."""
    from rigwright.catalogue.engines import engine_names

    wanted = {"rig", "served"} & set(metafunc.fixturenames)
    if not wanted or not metafunc.module.__name__.endswith(".verify"):
        return
    rigs = metafunc.config.stash.get(_RIGS, None)
    if rigs is None:
        raise pytest.UsageError("no rigs to check; pass --rigs INVENTORY")
    if "served" in wanted:
        role = metafunc.module.__name__.split(".")[-2]
        cases = [case for rig in rigs for case in _cases(rig, role if role in engine_names() else None)]
        metafunc.parametrize("served", cases, scope="module")
    else:
        metafunc.parametrize("rig", rigs, ids=lambda one: one.name, scope="module")


def _cases(rig: RigUnderTest, engine: str | None) -> list[Any]:
    """The services of a rig that a check is about; one that is skipped where there are none, so that it is counted."""
    mine = [one for one in rig.services if engine is None or one.engine == engine]
    nothing = pytest.mark.skip(reason="this rig has no service" + (f" on {engine}" if engine else ""))
    found = [pytest.param(one, id=f"{rig.name}-{one.name}") for one in mine]
    return found or [pytest.param(None, id=rig.name, marks=nothing)]


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
            "message": _message(report),
        }
    )


def _message(report: pytest.TestReport) -> str | None:
    """Why a check failed or was skipped."""
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(crash.message) if crash else None


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the report that was asked for; a rig that was not reached is a failure."""
    lost = [row for row in session.config.stash[_ROWS] if row["check"] == "reachable"]
    if lost and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    _write_report(session.config)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """A line for each rig that was not reached."""
    for line in _unreachable(config):
        terminalreporter.write_line(line, red=True)


def _unreachable(config: pytest.Config) -> list[str]:
    rows = [row for row in config.stash[_ROWS] if row["check"] == "reachable"]
    return [f"{row['subject']}: unreachable: {row['message']}" for row in rows]


def _write_report(config: pytest.Config) -> None:
    if path := config.getoption("--rig-report"):
        Path(path).write_text(json.dumps(config.stash[_ROWS], indent=1))
