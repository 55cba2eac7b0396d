"""Fetching on the controller: one process at a time; by pip, which knows the index, its mirrors and certificates."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rigwright.errors import RigwrightError
from rigwright.weights.cache import cache_directory

NO_PIP = "this Python has no pip; run python -m ensurepip"


def kept(folder: str) -> Path:
    """A folder of the cache.

    Raises:
        RigwrightError: it cannot be made.
    """
    found = cache_directory() / folder
    try:
        found.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RigwrightError(f"{found}: cannot be made: {error.strerror}; set XDG_CACHE_HOME") from None
    return found


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """One process at a time: eight rigs need an archive fetched once."""
    with lock.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.2)  # not a blocking flock: the holder may be another greenlet of this very process
        yield


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
