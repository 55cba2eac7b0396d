"""One kind of output: how it is told from the others, who parses it, whose word counts."""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass

from rigwright.hardware.reading import Parser
from rigwright.hardware.statements import Precedence


@dataclass(frozen=True)
class Format:
    """One kind of output: the module of `sources` that reads it, its precedence, and how it is told from the others.

    is_answer_empty: a file of this name that holds nothing says that there is none: `dkms status` without a module.
    """

    source: str
    precedence: Precedence
    content: re.Pattern[str]
    name: re.Pattern[str]
    is_answer_empty: bool = False

    @property
    def read(self) -> Parser:
        """The parser, imported when it is first needed: a deploy on a rig without GPUs needs few."""
        parser: Parser = importlib.import_module(f"{__package__}.sources.{self.source}").read
        return parser


def gpu_form(source: str, precedence: Precedence, content: str, name: str) -> Format:
    """A format that tells of GPUs and the machine around them."""
    return Format(source, precedence, re.compile(content), re.compile(name, re.IGNORECASE))


def software_form(source: str, content: str, name: str = "(?!)", *, is_answer_empty: bool = False) -> Format:
    """A format that tells of what stands around the driver; without a name it is told by its content alone."""
    pattern = re.compile(name, re.IGNORECASE)
    return Format(source, Precedence.MACHINE, re.compile(content), pattern, is_answer_empty)
