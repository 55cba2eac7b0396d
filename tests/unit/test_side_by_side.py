"""The checks of several rigs, each rig's in a process of its own, as pytest tells them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import os, time
import pytest

@pytest.fixture(scope="module")
def here():
    return os.getpid()

@pytest.mark.parametrize("rig", "abcde")
def test_waits_for_all(rig, here):
    open(f"came-{rig}", "w").close()
    until = time.monotonic() + 30
    while not all(os.path.exists(f"came-{one}") for one in "abcde"):
        assert time.monotonic() < until
        time.sleep(0.05)

@pytest.mark.parametrize("rig", "abcde")
def test_is_as_it_is(rig, here):
    if rig == "b":
        os._exit(3)
    if rig == "c":
        pytest.skip("nothing to check")
    assert rig != "d"

@pytest.mark.parametrize("rig", "abcde")
def test_says_where(rig, here, record_property):
    time.sleep(2 * (rig == "e"))
    open(f"pid-{rig}", "w").write(f"{here} {os.getppid()}")
"""
RUN = """
import time
import pytest
from rigwright.verify.side_by_side import run

@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session):
    groups = [[item for item in session.items if item.callspec.id == name] for name in "abcde"]
    ended = lambda item: pytest.TestReport(item.nodeid, item.location, {}, "failed", "ended early", "call")
    before = time.process_time()
    run(session, groups, ended=ended)
    open("seconds", "w").write(str(time.process_time() - before))
    return True
"""


@pytest.mark.patience
def test_rigs_are_checked_at_the_same_time_and_told_as_one(tmp_path: Path):
    """Each outcome arrives; a process that ends early fails what it had still to do, and nothing else."""
    (tmp_path / "test_rigs.py").write_text(TESTS)
    (tmp_path / "conftest.py").write_text(RUN)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-rA",
        "-p",
        "no:cacheprovider",
        "-c",
        "/dev/null",
        "--rootdir",
        ".",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.search(r"^3 failed, 11 passed, 1 skipped in ", done.stdout, re.MULTILINE), done.stdout
    failed = set(re.findall(r"^FAILED test_rigs\.py::(\S+)", done.stdout, re.MULTILINE))
    assert failed == {"test_is_as_it_is[b]", "test_says_where[b]", "test_is_as_it_is[d]"}
    pids = {path.name: path.read_text().split() for path in tmp_path.glob("pid-*")}
    assert set(pids) == {"pid-a", "pid-c", "pid-d", "pid-e"}
    assert len({own for own, _ in pids.values()}) == 4
    assert len({parent for _, parent in pids.values()}) == 1
    # Whoever waits for the last one waits, and takes no processor from what is checked.
    assert float((tmp_path / "seconds").read_text()) < 1
