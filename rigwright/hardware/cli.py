"""`rigwright hardware`: what a rig has, what its owner should know, and one picture of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import click
from rich.console import Console

from rigwright.errors import RigwrightError
from rigwright.hardware.capture import folder_files, read_files
from rigwright.hardware.drawing import draw
from rigwright.hardware.live import collect
from rigwright.hardware.record import redact, write
from rigwright.hardware.report import report
from rigwright.hardware.table import show, summary
from rigwright.hardware.topology import group
from rigwright.hardware.values import Hardware

LOCAL = "@local"


@click.command()
@click.argument("inventory", required=False)
@click.option("--capture", type=click.Path(path_type=Path), metavar="DIR", help="Read a recorded machine instead.")
@click.option("--limit", multiple=True, metavar="PATTERN", help="Only these rigs: a group, or a pattern of names.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print JSON: docs/hardware.schema.json; rigs of an inventory by name."
)
@click.option(
    "--svg", type=click.Path(path_type=Path), metavar="FILE", help="Draw the rig; several as FILE-<name>.svg."
)
@click.option(
    "--record",
    "folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Keep the raw outputs, without serial numbers and network addresses.",
)
@click.option("--under-load", is_flag=True, help="Copy data to each GPU for two seconds and read its link meanwhile.")
def hardware(
    inventory: str | None,
    capture: Path | None,
    limit: tuple[str, ...],
    as_json: bool,
    svg: Path | None,
    folder: Path | None,
    under_load: bool,
) -> None:
    """Show the GPUs of each rig in INVENTORY, how they are linked, which belong together, and what is wrong.

    INVENTORY may be @local, this machine. Nothing on a rig is changed, and root is not needed. The exit code is 0 for
    a broken machine too: what is broken is among the findings.
    """
    if (inventory is None) == (capture is None):
        raise click.UsageError("name an inventory, @local, or --capture DIR")
    if capture is not None and (folder or under_load or limit):
        raise click.UsageError("--record, --under-load and --limit need real rigs, not --capture")
    missing: Mapping[str, str] = {}
    texts: Mapping[str, Mapping[str, str]]
    if capture is not None:
        texts = {capture.name: _recorded(capture)}
    else:
        found = collect(inventory or LOCAL, limit=limit, under_load=under_load)
        texts, missing = found.files, found.missing
    if folder is not None:
        texts = {name: redact(files) for name, files in texts.items()}
        for name, files in texts.items():
            write(folder if len(texts) == 1 else folder / name, files, name=name)
    rigs = {name: read_files(files) for name, files in texts.items()}
    if capture is not None and not next(iter(rigs.values())).sources:
        raise _Unreadable(f"{capture}: holds no output that rigwright can read; docs/hardware.md names the files")
    _show(rigs, as_json=as_json, is_single=capture is not None or inventory == LOCAL)
    if svg is not None:
        _draw(rigs, svg)
    for name, why in missing.items():
        click.echo(f"{name}: not read: {why}", err=True)
    sys.exit(1 if missing else 0)


class _Unreadable(RigwrightError):
    """Nothing to read: the one case in which a recorded machine is an error."""

    exit_code = 2


def _recorded(folder: Path) -> Mapping[str, str]:
    if not folder.is_dir():
        raise _Unreadable(f"{folder}: no such folder; name a folder of recorded outputs")
    return folder_files(folder)


def _show(rigs: Mapping[str, Hardware], *, as_json: bool, is_single: bool) -> None:
    if as_json:
        objects = {name: report(found) for name, found in rigs.items()}
        click.echo(json.dumps(next(iter(objects.values())) if is_single else objects, indent=1, ensure_ascii=False))
        return
    console = Console()
    for name, found in rigs.items():
        show(console, name, found, group(found))
    if len(rigs) > 1:
        summary(console, rigs)


def _draw(rigs: Mapping[str, Hardware], file: Path) -> None:
    for name, found in rigs.items():
        path = file if len(rigs) == 1 else file.with_name(f"{file.stem}-{name}{file.suffix}")
        try:
            path.write_text(draw(name, found, group(found)), "utf-8")
        except OSError as error:
            raise RigwrightError(f"{path}: cannot be written: {error.strerror}; name another file") from None
        click.echo(f"drawn: {path}", err=True)
