"""The model files of rigs on a terminal: a line for each rig, and one for each of its files."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.text import Text

from rigwright.units import format_bytes
from rigwright.view.answers.weights import ModelFile, Weights
from rigwright.view.hardware_words import clean

_WORDS = {
    "spare": "no service wants it",
    "young": "no service wants it yet, it came within a day",
    "open": "no service wants it, a process has it open",
    "shared": "no service here wants it, it lies on a network's disk",
    "changed": "no service wants it, it is not what was brought",
    "found": "it was there before rigwright",
}


def show(console: Console, rigs: Mapping[str, Weights]) -> None:
    """Print what each rig has."""
    for name, rig in rigs.items():
        console.print(_head(name, rig))
        for file in rig.files:
            row = Text(f"  {format_bytes(file.size_bytes):>9}  {clean(file.path)}  ") + _why(file)
            console.print(row, soft_wrap=True)  # a path is copied whole


def _head(name: str, rig: Weights) -> Text:
    count = len(rig.files)
    if not count:
        return Text.assemble((clean(name), "bold"), "  no model files")
    spare = f"{format_bytes(rig.spare_bytes)} spare" if any(one.state == "spare" for one in rig.files) else "none spare"
    files = f"{count} model file{'s' if count > 1 else ''}, {format_bytes(rig.size_bytes)}"
    return Text.assemble((clean(name), "bold"), f"  {files}, ", (spare, "yellow" if rig.spare_bytes else "green"))


def _why(file: ModelFile) -> Text:
    services = ", ".join(f"{one.name} of {one.owner}" if one.owner else one.name for one in file.services)
    if file.state == "used":
        return Text(clean(services or "a unit names it"), "green")
    if file.state == "kept":
        return Text(clean(f"for the way back of {services}"), "green")
    words = _WORDS[file.state] + (f"; {services}" if services else "")
    return Text(clean(words), "yellow" if file.state == "spare" else "dim")
