"""The fuzz runs themselves: they run, and would find what they look for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.patience
def test_damaged_recordings_raise_nothing_and_invent_nothing():
    """2,500 of the inputs that `make fuzz` makes; the seeds are others than its first."""
    command = [sys.executable, str(HERE / "recordings.py"), "--count", "2500", "--seed", "1000000"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "2500 recordings" in done.stdout


@pytest.mark.patience
@pytest.mark.parametrize("program", ["headers", "records"])
def test_damaged_headers_and_records_raise_nothing(program):
    """Five hundred of the inputs that `make fuzz` makes of each, by other seeds: bounded memory, bounded time."""
    command = [sys.executable, str(HERE / f"{program}.py"), "--count", "500", "--seed", "1000000"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"500 {program}" in done.stdout


@pytest.mark.patience
@pytest.mark.parametrize(
    ("broken", "finding"),
    [
        ("merge.merge", "KeyError"),
        ("merge._Merger._known", "invented"),
    ],
)
def test_fuzz_finds_a_broken_reader(broken, finding):
    """A reader that raises, and one that takes every mention of a GPU for another GPU."""
    module, _, attribute = broken.partition(".")
    body = "raise KeyError(1)" if finding == "KeyError" else "return []"
    owner = f"capture.{attribute}" if attribute == "merge" else f"{module}.{attribute}"
    breaker = f"""
import sys
sys.path.insert(0, {str(HERE)!r})
import recordings, runner
from rigwright.hardware import capture, merge
recordings.originals()
def broken(*args):
    {body}
{owner} = broken
print(*runner.try_seeds(recordings.FUZZ, range(40))[1], sep="\\n")
"""
    done = subprocess.run([sys.executable, "-c", breaker], capture_output=True, text=True, check=True)
    assert finding in done.stdout
