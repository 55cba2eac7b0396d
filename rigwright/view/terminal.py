"""Standard output as every command uses it: nothing but the answer, on any terminal, and a line where it cannot go."""

from __future__ import annotations

import errno
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rigwright.errors import RigwrightError

if TYPE_CHECKING:
    from rich.console import Console

# Below that, a table is letters under each other; some serial consoles say that they have no column at all.
NARROWEST = 40


@contextmanager
def answering() -> Iterator[None]:
    """Around all that prints an answer: what a terminal cannot show is `?`, a full disk is one line.

    Raises:
        RigwrightError: standard output cannot be written. A closed pipe stays what it is: click knows it.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        if error.errno == errno.EPIPE:  # `| head` has seen enough
            raise
        raise RigwrightError(f"standard output: cannot be written: {error.strerror}; make room there") from None


def console() -> Console:
    """The terminal, never too narrow for a table. Imported when needed: a JSON answer is there before rich is."""
    from rich.console import Console

    screen = Console()
    screen.width = max(screen.width, NARROWEST)
    return screen
