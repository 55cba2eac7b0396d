"""Folders of the controller's cache, and their locks."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rigwright.errors import RigwrightError
from rigwright.weights.cache import cache_directory


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
