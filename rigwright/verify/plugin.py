"""The pytest plugin: `pytest --pyargs rigwright.roles.llamacpp.verify --rigs INVENTORY`.

A check that takes `rig` runs once for each rig, one that takes `served` once for each service of each rig, those of an
engine's role for the services of that engine alone. A rig that cannot be reached is one
line, and none of its checks run. Rigs are checked side by side.
Nothing heavy is imported before `--rigs` is given: every pytest of the environment loads this file.
"""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from rigwright.verify.subject import RigUnderTest

_RIGS = pytest.StashKey[list["RigUnderTest"]]()
_ROWS = pytest.StashKey[list[dict[str, Any]]]()
_SHELLS = pytest.StashKey[list[Any]]()
_SOCKETS = pytest.StashKey[Any]()
# The attribute of a report that holds its row; it travels with the report.
_OURS = "rigwright"
# Whose matter it is that a service is there at all.
_FIRST = "test_unit_is_active_and_enabled"
_OUTCOMES = ("passed", "failed", "skipped")


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
    from rigwright.inventory.unreachable import with_way_out
    from rigwright.verify.login import socket_directory
    from rigwright.verify.subject import RigUnderTest
    from rigwright.verify.targets import read_inventory

    config.stash[_SOCKETS] = socket_directory()
    try:
        targets = read_inventory(config.getoption("--rigs"), limit=tuple(config.getoption("--rig-limit")))
        rigs = [RigUnderTest(target, Path(config.stash[_SOCKETS].name)) for target in targets]
    except RigwrightError as error:
        raise pytest.UsageError(error.message) from None
    config.stash[_SHELLS] = [rig.shell for rig in rigs]
    # Most of this is waiting for those that do not answer. Of ten logins at once sshd drops some, on a jump host too.
    with ThreadPoolExecutor(max_workers=8) as pool:
        reasons = list(pool.map(lambda rig: rig.look(), rigs))
    config.stash[_RIGS] = [rig for rig, why in zip(rigs, reasons, strict=True) if why is None]
    lost = {"check": "reachable", "outcome": "failed", "seconds": 0.0}
    config.stash[_ROWS] = [
        lost | {"subject": rig.name, "rig": rig.name, "message": with_way_out(why)}
        for rig, why in zip(rigs, reasons, strict=True)
        if why is not None
    ]
    if not config.stash[_RIGS]:
        _write_report(config)
        raise pytest.UsageError("\n".join(_unreachable(config)))


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the connections."""
    for shell in config.stash.get(_SHELLS, []):
        shell.stop()
    if sockets := config.stash.get(_SOCKETS, None):
        sockets.cleanup()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One run of a check for each rig, or for each service."""
    from rigwright.catalogue.engines import engine_names

    wanted = {"rig", "served", "driver"} & set(metafunc.fixturenames)
    if not wanted or not metafunc.module.__name__.endswith(".verify"):
        return
    rigs = metafunc.config.stash.get(_RIGS, None)
    if rigs is None:
        raise pytest.UsageError("no rigs to check; pass --rigs INVENTORY")
    if "served" in wanted:
        role = metafunc.module.__name__.split(".")[-2]
        cases = [case for rig in rigs for case in _cases(rig, role if role in engine_names() else None)]
        metafunc.parametrize("served", cases, scope="module")
    elif "driver" in wanted:
        is_first = (
            next(name for name in vars(metafunc.module) if name.startswith("test_")) == metafunc.function.__name__
        )
        cases = [case for rig in rigs for case in _drivers(rig, is_first=is_first)]
        metafunc.parametrize("driver", cases, scope="module")
    else:
        metafunc.parametrize("rig", rigs, ids=lambda one: one.name, scope="module")


def _cases(rig: RigUnderTest, engine: str | None) -> list[Any]:
    """The services of a rig that a check is about.

    Where there are none the checks of all services are skipped, so that they are counted; those of an engine have
    nothing to say.
    """
    mine = [one for one in rig.services if engine is None or one.engine == engine]
    found = [pytest.param(one, id=f"{rig.name}-{one.name}") for one in mine]
    if found or engine:
        return found or [pytest.param(None, id=rig.name)]
    return [pytest.param(rig, id=rig.name, marks=pytest.mark.skip(reason="this rig has no service"))]


def _drivers(rig: RigUnderTest, *, is_first: bool) -> list[Any]:
    """The driver of a rig; of one without GPUs the first check alone is counted, and says so."""
    if not rig.driver.nothing:
        return [pytest.param(rig.driver, id=rig.name)]
    skipped = pytest.param(rig.driver, id=rig.name, marks=pytest.mark.skip(reason=rig.driver.nothing))
    return [skipped] if is_first else [pytest.param(None, id=rig.name)]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without what a rig has nothing to say to."""
    items[:] = [item for item in items if None not in _given(item)]


def _given(item: pytest.Item) -> list[Any]:
    params = getattr(getattr(item, "callspec", None), "params", {})
    return [params[name] for name in ("driver", "served") if name in params]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Of a service that was never deployed one check says so, and the others are not asked."""
    served = getattr(getattr(item, "callspec", None), "params", {}).get("served")
    name = getattr(item, "originalname", "")
    if served is not None and hasattr(served, "is_deployed") and name != _FIRST and not served.is_deployed:
        pytest.skip(f"{served.name} is not deployed")


def _rig_of(item: pytest.Item) -> str:
    """The name of the rig that a check is about, empty for any other test."""
    given = getattr(getattr(item, "callspec", None), "params", {})
    subject = given.get("rig") or given.get("served") or given.get("driver")
    return str(getattr(getattr(subject, "rig", subject), "name", ""))


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """The checks of each rig in a process of its own, where there are several; all else is pytest's own way."""
    option = session.config.option
    names = {_rig_of(item): None for item in session.items}
    is_worker = hasattr(session.config, "workerinput")  # of pytest-xdist, which has a loop of its own
    if len(names) < 2 or "" in names or is_worker or option.collectonly or option.usepdb or session.testsfailed:
        return None
    from rigwright.verify.side_by_side import run

    run(session, [[item for item in session.items if _rig_of(item) == name] for name in names], ended=_ended_early)
    return True


def _ended_early(item: pytest.Item) -> pytest.TestReport:
    said = "the process of this rig's checks ended early"
    report = pytest.TestReport(item.nodeid, item.location, {}, "failed", said, "call")
    setattr(report, _OURS, _row(item, report) | {"message": said})
    return report


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Give each report that counts its row."""
    outcome = yield
    report = outcome.get_result()
    if not item.config.getoption("--rigs") or (report.when != "call" and report.outcome == "passed"):
        return
    setattr(report, _OURS, _row(item, report))


def _row(item: pytest.Item, report: pytest.TestReport) -> dict[str, Any]:
    return {
        "check": getattr(item, "originalname", item.name),
        "subject": getattr(getattr(item, "callspec", None), "id", ""),
        "rig": _rig_of(item),
        "outcome": report.outcome,
        "seconds": round(report.duration, 3),
        "message": _message(report),
    }


def _message(report: pytest.TestReport) -> str | None:
    """Why a check failed or was skipped, or what one that passed noted."""
    if report.passed:
        from rigwright.verify.subject import NOTED

        return "\n".join(str(said) for name, said in report.user_properties if name == NOTED) or None
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(crash.message) if crash else None


class _Collector:
    """Keeps the rows of the reports, wherever they were made."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self._rows = rows

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A row for each check."""
        if row := getattr(report, _OURS, None):
            self._rows.append(row)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Listen to the reports."""
    if session.config.getoption("--rigs"):
        session.config.pluginmanager.register(_Collector(session.config.stash[_ROWS]))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the report that was asked for; a rig that was not reached is a failure."""
    lost = [row for row in session.config.stash[_ROWS] if row["check"] == "reachable"]
    if lost and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    _write_report(session.config)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """A line for each rig, where there are several or one that was not reached."""
    rigs = [rig.name for rig in config.stash.get(_RIGS, [])]
    rows = config.stash[_ROWS]
    for name in rigs if len({row["rig"] for row in rows}) > 1 else []:
        counts = Counter(row["outcome"] for row in rows if row["rig"] == name)
        if counts:
            told = ", ".join(f"{counts[outcome]} {outcome}" for outcome in _OUTCOMES if counts[outcome])
            terminalreporter.write_line(f"{name}: {told}", red=bool(counts["failed"]))
    for row in rows:
        if row["outcome"] == "passed" and row["message"]:
            for line in row["message"].splitlines():
                terminalreporter.write_line(f"{row['rig']}: {line}")
    for line in _unreachable(config):
        terminalreporter.write_line(line, red=True)


def _unreachable(config: pytest.Config) -> list[str]:
    rows = [row for row in config.stash[_ROWS] if row["check"] == "reachable"]
    return [f"{row['subject']}: unreachable: {row['message']}" for row in rows]


def _write_report(config: pytest.Config) -> None:
    if path := config.getoption("--rig-report"):
        Path(path).write_text(json.dumps(config.stash[_ROWS], indent=1))
