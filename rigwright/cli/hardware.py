"""`rigwright hardware`: what a rig has, what its owner should know, and one picture of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import click
from rich.console import Console

from rigwright.cli.machine import capture_option, limit_option
from rigwright.cli.unanswered import tell_missing
from rigwright.hardware.capture import read_files, read_folder
from rigwright.hardware.record import redact, require_new, write
from rigwright.hardware.topology import group
from rigwright.hardware.values import Hardware
from rigwright.inventory.live import collect
from rigwright.shown import by_name
from rigwright.view.drawing import draw
from rigwright.view.fleet import groups
from rigwright.view.hardware_table import show, summary
from rigwright.view.picture import write_picture
from rigwright.view.terminal import answering, console

LOCAL = "@local"


@click.command()
@click.argument("inventory", required=False)
@capture_option
@limit_option
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
    if (not inventory) == (capture is None):
        raise click.UsageError("name an inventory, @local, or --capture DIR")
    if capture is not None and (folder or under_load or limit):
        raise click.UsageError("--record, --under-load and --limit need real rigs, not --capture")
    if limit and inventory == LOCAL:
        raise click.UsageError("--limit chooses rigs of an inventory, @local is one machine")
    missing: Mapping[str, str] = {}
    is_alone = True
    if capture is not None:
        name = capture.name if capture.name not in ("", "..") else capture.resolve().name  # `--capture .`
        rigs = {name: read_folder(capture)}
    else:
        if folder is not None:
            require_new(folder)
        found = collect(inventory or LOCAL, limit=limit, under_load=under_load, with_software=folder is not None)
        texts, missing = found.files, found.missing
        is_alone = len(texts) + len(missing) == 1
        if folder is not None:
            texts = {name: redact(files) for name, files in texts.items()}
            for name, files in texts.items():
                write(folder if is_alone else folder / _file_name(name), files, name=name)
        rigs = {name: read_files(files) for name, files in texts.items()}
    with answering():
        _show(rigs, as_json=as_json, is_single=capture is not None or inventory == LOCAL)
    if svg is not None:
        _draw(rigs, svg, is_alone=is_alone)
    tell_missing(missing)
    sys.exit(1 if missing else 0)


def _file_name(rig: str) -> str:
    """A rig's name as a file's: `@docker/x` is no folder with an x in it, and `..` does not lead out of one."""
    return quote(rig, safe="@ ") if rig.strip(".") else rig.replace(".", "%2E")


def _show(rigs: Mapping[str, Hardware], *, as_json: bool, is_single: bool) -> None:
    if as_json:
        from rigwright.view.answers.hardware import hardware_answer

        objects = {name: hardware_answer(rigs[name]).plain() for name in by_name(rigs)}
        click.echo(json.dumps(next(iter(objects.values())) if is_single else objects, indent=1))
        return
    screen = console()

    def page(screen: Console, name: str, *, others: Sequence[str] | None = None) -> None:
        show(screen, "" if others is None else name, rigs[name], group(rigs[name]), others=others or ())

    together = groups(rigs, page)
    for names in together:
        page(screen, names[0], others=names[1:])
    if len(rigs) > 1:
        summary(screen, rigs, together)


def _draw(rigs: Mapping[str, Hardware], file: Path, *, is_alone: bool) -> None:
    for name, found in rigs.items():
        path = file if is_alone else file.with_name(f"{file.stem}-{_file_name(name)}{file.suffix}")
        write_picture(path, draw(name, found, group(found)))
        click.echo(f"drawn: {path}", err=True)
