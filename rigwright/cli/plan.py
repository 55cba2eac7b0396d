"""`rigwright plan`: what would run where, why, and what it takes, before anything is touched."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
from rich.console import Console

from rigwright.bench.results import read_results
from rigwright.cli.lock_options import check_options, keep, lock_options
from rigwright.errors import WrongSpec
from rigwright.inventory import rigs as rigs_of
from rigwright.inventory.live import LOCAL
from rigwright.inventory.what_if import gpu_model, what_if
from rigwright.plan.rig_plan import Request
from rigwright.plan.speed.measured import Measurement
from rigwright.resolve.planning import Planned, plan_all, requests_of
from rigwright.spec.file import read_spec
from rigwright.spec.rig import RigSpec
from rigwright.units import parse_bytes
from rigwright.view.answers.report import report
from rigwright.view.plan_table import show, summary
from rigwright.view.terminal import answering, console
from rigwright.view.why import explain

# One file of wishes for whatever rig there is.
SAME = ""


@click.command()
@click.argument("inventory", required=False)
@click.option("--capture", type=click.Path(path_type=Path), metavar="DIR", help="Plan for a recorded machine instead.")
@click.option("--spec", type=click.Path(path_type=Path), metavar="FILE", help="The wishes, as YAML: services: …")
@click.option(
    "--json", "as_json", is_flag=True, help="Print JSON: docs/plan.schema.json; rigs of an inventory by name."
)
@click.option("--why", is_flag=True, help="Every flag with its value, its reason and what that rests on.")
@click.option("--alternatives", type=click.IntRange(0, 50), default=3, show_default=True, metavar="N", help="How many.")
@click.option("--with-gpu", "more", multiple=True, metavar="NAME", help="What if this GPU were there too?")
@click.option("--gpu-model", "gpu", metavar="NAME", help="What the GPUs are, where a recording does not name them.")
@click.option("--ram", metavar="SIZE", help="What if the rig had this much RAM: 64G.")
@click.option("--results", type=click.Path(path_type=Path), metavar="DIR", help="Measurements, which beat estimates.")
@click.option("--limit", multiple=True, metavar="PATTERN", help="Only these rigs: a group, or a pattern of names.")
@lock_options
def plan(
    inventory: str | None,
    capture: Path | None,
    spec: Path | None,
    as_json: bool,
    why: bool,
    alternatives: int,
    more: tuple[str, ...],
    gpu: str | None,
    ram: str | None,
    results: Path | None,
    limit: tuple[str, ...],
    write: bool,
    replan: bool,
    lock: Path | None,
) -> None:
    """Show what each rig in INVENTORY would serve, on which GPUs, with which flags, how fast, and what that takes.

    INVENTORY may be @local, this machine; it and --capture need --spec. No rig is changed. The exit code is 1 where a
    rig has no plan.
    """
    check_place(inventory, capture, limit)
    if spec is None and (capture is not None or inventory == LOCAL):
        raise click.UsageError("a machine without an inventory needs --spec FILE: what it shall serve")
    is_single = capture is not None or inventory == LOCAL
    others = {"--capture": capture, "--spec": spec, "@local": is_single, "--with-gpu": more, "--gpu-model": gpu}
    others |= {"--ram": ram, "--results": results}
    is_kept = write or replan
    check_options(is_kept=is_kept, lock=lock, other=next((name for name, given in others.items() if given), None))
    ram_bytes = size_of(ram, "--ram")
    for name in (*more, *filter(None, (gpu,))):
        gpu_model(name)  # a typing error before rigs are asked
    measurements = _measurements(results)
    wishes = {SAME: read_spec(spec)} if spec else rigs_of.read_specs(inventory or LOCAL, limit=limit)
    requests = _requests(wishes, spec)
    found = rigs_of.read_rigs(inventory, capture=capture, limit=limit)
    rigs = {
        name: what_if(hardware, gpu=gpu, more=more, ram_bytes=ram_bytes, recording=capture)
        for name, hardware in found.rigs.items()
    }
    wanted = {name: requests[SAME if spec else name] for name in rigs}
    planned = plan_all(rigs, wanted, measurements=measurements, alternatives=alternatives)
    with answering():
        if as_json:
            _print_json(planned, is_single=is_single)
        else:
            _print(planned, why=why)
    for name, error in (*planned.errors.items(), *((name, f"not read: {why}") for name, why in found.missing.items())):
        click.echo(f"{name}: {error}", err=True)
    status = 1 if planned.errors or found.missing else 0
    if is_kept and inventory:
        status |= keep(inventory, wishes, found.rigs, lock=lock, is_renewed=replan)
    sys.exit(status)


def check_place(inventory: str | None, capture: Path | None, limit: tuple[str, ...]) -> None:
    """Refuse what cannot be meant.

    Raises:
        UsageError: there is no machine, more than one way to name it, or nothing to limit.
    """
    if (not inventory) == (capture is None):
        raise click.UsageError("name an inventory, @local, or --capture DIR")
    if limit and (capture is not None or inventory == LOCAL):
        raise click.UsageError("--limit chooses rigs of an inventory; this is one machine")


def size_of(text: str | None, option: str) -> int | None:
    """`64G` as bytes.

    Raises:
        UsageError: the text is no size.
    """
    if text is None:
        return None
    try:
        size = parse_bytes(text)
    except ValueError as error:
        raise click.UsageError(f"{option}: {error}") from None
    if not size:
        raise click.UsageError(f"{option}: {text} is nothing; write for example 64G")
    return size


def _measurements(folder: Path | None) -> tuple[Measurement, ...]:
    """What was measured; what cannot be read is said, and left out."""
    if folder is None:
        return ()
    if not folder.is_dir():
        raise WrongSpec(f"{folder}: no such folder; save results of llama-bench there with -o json")
    found = read_results(folder)
    for warning in found.warnings:
        click.echo(warning, err=True)
    return found.measurements


def _requests(wishes: dict[str, RigSpec], spec: Path | None) -> dict[str, tuple[Request, ...]]:
    with Console(stderr=True).status("") as status:
        return requests_of(
            wishes, origin=str(spec) if spec else None, say=lambda name: status.update(f"reading {name}")
        )


def _print_json(planned: Planned, *, is_single: bool) -> None:
    objects = {name: report(name, plan) for name, plan in planned.plans.items()}
    if not is_single:
        objects |= {name: {"error": error} for name, error in planned.errors.items()}
        click.echo(json.dumps({name: objects[name] for name in planned.hardware}, indent=1))
    elif objects:
        click.echo(json.dumps(next(iter(objects.values())), indent=1))


def _print(planned: Planned, *, why: bool) -> None:
    screen = console()
    for name, plan in planned.plans.items():
        show(screen, name, planned.hardware[name], plan)
        if why:
            explain(screen, plan)
    if len(planned.hardware) > 1:
        summary(screen, planned.plans, planned.errors)
