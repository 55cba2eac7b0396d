"""Standard output as every command uses it: nothing but the answer, on any terminal, and a line where it cannot go."""

from __future__ import annotations

import codecs
import errno
import io
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, TextIO, cast

from rigwright.errors import RigwrightError

if TYPE_CHECKING:
    from rich.console import Console

# Below that, a table is letters under each other; some serial consoles say that they have no column at all.
NARROWEST = 40
_BLANKS = re.compile(r" +$", re.MULTILINE)


# The colours of every page, as those of the 256 that are as far from white as from black: a terminal's own yellow and
# cyan cannot be read on white, its blue not on black, and what it makes of dim often on neither.
READABLE = {"dim": 244, "red": 196, "green": 64, "yellow": 166, "blue": 32, "magenta": 133, "cyan": 30}

# What an encoding lacks, as the nearest of ASCII: one character for one, so that columns stay.
PLAIN = "rigwright.plain"
_LIKE = str.maketrans("─│–—×…·→’“”█▓▒░", '-|--x..>\'""####')


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    found = error.object[error.start : error.end].translate(_LIKE)
    return "".join(one if one.isascii() else "?" for one in found), error.end


codecs.register_error(PLAIN, _plain)


@contextmanager
def answering() -> Iterator[None]:
    """Around all that prints an answer: what a terminal cannot show is its like in ASCII, a full disk is one line.

    Raises:
        RigwrightError: standard output cannot be written. A closed pipe stays what it is: click knows it.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors=PLAIN)
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        if error.errno == errno.EPIPE:  # `| head` has seen enough
            raise
        raise RigwrightError(f"standard output: cannot be written: {error.strerror}; make room there") from None


class _Trimmed:
    """A text stream without blanks at the ends of its lines."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.encoding = stream.encoding

    def write(self, text: str) -> int:
        """Rich writes whole lines."""
        return self._stream.write(_BLANKS.sub("", text))

    def flush(self) -> None:
        """That of the stream."""
        self._stream.flush()

    def isatty(self) -> bool:
        """It is none."""
        return False


def console() -> Console:
    """The terminal, never too narrow for a table. Imported when needed: a JSON answer is there before rich is."""
    from rich.console import Console
    from rich.theme import Theme

    is_terminal = sys.stdout.isatty()
    # What rich fills up to the width is for a terminal's background: in a file or a pipe it is in the way.
    screen = Console() if is_terminal else Console(file=cast("IO[str]", _Trimmed(sys.stdout)))
    screen.width = max(screen.width, NARROWEST)
    if screen.color_system in ("256", "truecolor"):
        styles = {name: f"color({number})" for name, number in READABLE.items()}
        screen.push_theme(Theme(styles | {f"bold {name}": f"bold {style}" for name, style in styles.items()}))
    return screen
