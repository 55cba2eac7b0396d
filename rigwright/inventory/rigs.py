"""The rigs to plan for: what each has, and what it shall serve."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from rigwright.errors import RigwrightError, WrongSpec
from rigwright.hardware.capture import read_files, read_folder
from rigwright.hardware.values import Hardware
from rigwright.inventory.live import LOCAL, collect
from rigwright.inventory.rows import read_rows
from rigwright.spec.rig import RigSpec, parse_spec


class Found(NamedTuple):
    """The rigs that answered or were recorded, and for each that did not why."""

    rigs: Mapping[str, Hardware]
    missing: Mapping[str, str]


def read_rigs(inventory: str | None, *, capture: Path | None = None, limit: tuple[str, ...] = ()) -> Found:
    """What the rigs have: one remote command each, or a recorded folder.

    Raises:
        RigwrightError: there is nothing to read.
    """
    if capture is not None:
        return Found({folder_name(capture): read_folder(capture)}, {})
    found = collect(inventory or LOCAL, limit=limit)
    return Found({name: read_files(files) for name, files in found.files.items()}, found.missing)


def folder_name(folder: Path) -> str:
    """The name of a recorded machine, of `--capture .` too."""
    return folder.name if folder.name not in ("", "..") else folder.resolve().name


def read_specs(inventory: str, *, limit: tuple[str, ...] = ()) -> dict[str, RigSpec]:
    """What an inventory wishes of each rig.

    Raises:
        WrongSpec: a line for each thing that is wrong on any of them.
    """
    specs, wrong = {}, []
    for row in read_rows(inventory, limit=limit):
        try:
            specs[row["name"]] = parse_spec(row["name"], row["data"].get("rig"))
        except RigwrightError as error:
            wrong.append(error.message)
    if wrong:
        raise WrongSpec("\n".join(wrong))
    return specs
