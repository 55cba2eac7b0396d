"""`make accuracy`: writes docs/accuracy.md, how near computed memory and speed come to published figures."""

from __future__ import annotations

from pathlib import Path

import accuracy_memory
import accuracy_speed

PAGE = Path(__file__).parents[2] / "docs" / "accuracy.md"
_HEAD = """\
# How near the figures come

Written by `make accuracy` from the logs in `tests/unit/data/`, each with its source. Nothing here was measured by this
project. The exact rules come from source code and were checked against these logs; the rules for the compute buffer
and for speed were derived with some of them in view.

"""


def page() -> str:
    """The whole page."""
    return _HEAD + accuracy_memory.markdown() + "\n" + accuracy_speed.markdown()


if __name__ == "__main__":
    PAGE.write_text(page().rstrip() + "\n")
