"""Fetching on the controller by pip, which knows the index, its mirrors and certificates; or from what is at hand."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

NO_PIP = "this Python has no pip; run python -m ensurepip"
# A file on this machine by its sha256; None where it is not at hand.
Find = Callable[[str], Path | None]


def nowhere(_: str) -> None:
    """Nothing is at hand: all is fetched."""


def pip_download(requirements: str, directory: Path, *options: str) -> str:
    """Have what `requirements` pins in a directory; what pip said where that failed, '' where it did not.

    pip runs code of source packages that it downloads. With the sum among its requirements it looks at that first, and
    stops.
    """
    wanted = directory / "requirements.txt"
    wanted.write_text(requirements)
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"),
        *(*options, "--require-hashes", "--dest", str(directory), "--requirement", str(wanted)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return (done.stderr.strip() or "no word of pip") if done.returncode else ""
