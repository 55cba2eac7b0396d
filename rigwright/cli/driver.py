"""`rigwright driver`: which NVIDIA driver and CUDA a rig needs, or what is wrong with those that it has."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
from rich.console import Console

from rigwright.cli.machine import capture_option, limit_option
from rigwright.cli.unanswered import tell_missing
from rigwright.hardware.values import Hardware
from rigwright.inventory.live import LOCAL
from rigwright.inventory.rigs import read_rigs, read_wishes
from rigwright.plan.driver import DriverPlan, DriverWish, plan_driver
from rigwright.resolve.driver import driver_wish
from rigwright.shown import by_name
from rigwright.spec.file import read_spec
from rigwright.view.answers.driver import driver_answer
from rigwright.view.driver_table import show
from rigwright.view.fleet import groups
from rigwright.view.terminal import answering, console


@click.command()
@click.argument("inventory", required=False)
@capture_option
@click.option(
    "--spec", type=click.Path(path_type=Path), metavar="FILE", help="What such a machine shall serve: a YAML file."
)
@limit_option
@click.option(
    "--json", "as_json", is_flag=True, help="Print JSON: docs/driver.schema.json; rigs of an inventory by name."
)
def driver(
    inventory: str | None, capture: Path | None, spec: Path | None, limit: tuple[str, ...], as_json: bool
) -> None:
    """Show which driver, modules and toolkit each rig in INVENTORY needs, and the steps to it.

    Solved for all GPUs of a rig together, with what its repositories offer; or refused, with the reason and the ways
    out. INVENTORY may be @local, this machine; --capture takes a recorded one. Nothing on a rig is changed. The exit
    code is 1 where a rig is refused.
    """
    if (not inventory) == (capture is None):
        raise click.UsageError("name an inventory, @local, or --capture DIR")
    if limit and (capture or inventory == LOCAL):
        raise click.UsageError("--limit chooses rigs of an inventory")
    is_single = capture is not None or inventory == LOCAL
    if spec and not is_single:
        raise click.UsageError("--spec goes with --capture and @local; an inventory has its own")
    wished = read_wishes(inventory or LOCAL, limit=limit) if not is_single else {}
    alone = driver_wish(read_spec(spec)) if spec else DriverWish()
    found = read_rigs(inventory, capture=capture, limit=limit, with_software=True)
    plans = {
        name: plan_driver(rig, driver_wish(wished[name].spec, rig) if name in wished else alone)
        for name, rig in found.rigs.items()
    }
    with answering():
        _show(found.rigs, plans, as_json=as_json, is_single=is_single)
    tell_missing(found.missing)
    sys.exit(1 if found.missing or any(plan.verdict == "refuse" for plan in plans.values()) else 0)


def _show(rigs: Mapping[str, Hardware], plans: Mapping[str, DriverPlan], *, as_json: bool, is_single: bool) -> None:
    if as_json:
        objects = {name: driver_answer(name, plans[name]).plain() for name in by_name(plans)}
        click.echo(json.dumps(next(iter(objects.values())) if is_single else objects, indent=1))
        return

    def page(screen: Console, name: str, *, others: Sequence[str] | None = None) -> None:
        show(screen, "" if others is None else name, rigs[name], plans[name], others=others or ())

    screen = console()
    for names in groups(rigs, page):
        page(screen, names[0], others=names[1:])
