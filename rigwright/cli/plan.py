"""`rigwright plan`: what would run where, why, what it takes and what it changes, before anything is touched."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rigwright.cli.completion import models, models_or_files
from rigwright.cli.lock_options import check_options, lock_options
from rigwright.cli.machine import (
    LOCAL,
    WORDED,
    Place,
    as_written,
    machine_options,
    of_command,
    place_of,
    service_of,
    spec_of,
    without_place,
)
from rigwright.cli.quantities import Whole, number, size
from rigwright.cli.unanswered import tell_errors, tell_missing
from rigwright.shown import by_name

if TYPE_CHECKING:
    from rigwright.inventory.rigs import Wished
    from rigwright.plan.changes import Change
    from rigwright.plan.speed.measured import Measurement
    from rigwright.resolve.rigs import ResolvedRigs
    from rigwright.weights.lookup import Lookup

# One file of wishes for whatever rig there is.
SAME = ""


@click.command()
@click.argument("inventory", required=False, shell_complete=models_or_files)
@click.argument("model", required=False, shell_complete=models)
@machine_options
@click.option("--spec", type=click.Path(path_type=Path), metavar="FILE", help="The wishes, as YAML: services: …")
@click.option(
    "--json", "as_json", is_flag=True, help="Print JSON: docs/plan.schema.json; rigs of an inventory by name."
)
@click.option("--why", is_flag=True, help="Every flag with its value, its reason and what that rests on.")
@click.option("--command", "as_command", is_flag=True, help="Only the command lines, to paste into a shell.")
@click.option("--svg", type=click.Path(path_type=Path), metavar="FILE", help="Draw the page too, for light and dark.")
@click.option("--alternatives", type=Whole(0, 50), default=3, show_default=True, metavar="N", help="How many.")
@click.option("--users", type=Whole(1, 4096), help="With MODEL: how many at the same time.")
@click.option("--context", type=number, help="With MODEL: tokens of context for each: 64K.")
@click.option("--engine", metavar="NAME", help="With MODEL: llamacpp, vllm or ollama.")
@click.option("--goal", metavar="WORD", help="With MODEL: what counts most: latency, throughput, context or quality.")
@click.option("--results", type=click.Path(path_type=Path), metavar="DIR", help="Measurements, which beat estimates.")
@click.option(
    "--detailed-exitcode", "is_compared", is_flag=True, help="2 where a deploy would change something, 1 on an error."
)
@lock_options
def plan(
    inventory: str | None,
    model: str | None,
    cards: tuple[str, ...],
    capture: Path | None,
    spec: Path | None,
    as_json: bool,
    why: bool,
    as_command: bool,
    svg: Path | None,
    alternatives: int,
    more: tuple[str, ...],
    gpu: str | None,
    users: int | None,
    context: int | None,
    engine: str | None,
    goal: str | None,
    ram: str | None,
    results: Path | None,
    limit: tuple[str, ...],
    is_compared: bool,
    write: bool,
    replan: bool,
    lock: Path | None,
) -> None:
    """Show what each rig in INVENTORY would serve, on which GPUs, with which flags, how fast, and what that takes.

    It ends with what a deploy would change: + comes, - goes, ~ becomes another. The lock file of the inventory is
    obeyed as a deploy obeys it. INVENTORY may be @local, this machine; --gpu says a machine in words, --capture takes a
    recorded one. MODEL, any name of docs/models.md, or --spec says what to serve there; without them the plan chooses.
    No rig is changed. The exit code is 1 where a rig has no plan.
    """
    place = place_of(inventory, capture, cards, limit, model)
    inventory, is_single = place.inventory, place.is_single
    service = _service(place, spec, users=users, context=context, engine=engine, goal=goal)
    others: dict[str, object] = {
        "--gpu": cards,
        "--capture": capture,
        "--spec": spec,
        "a model": service,
        "@local": is_single,
    }
    others |= {"--with-gpu": more, "--gpu-model": gpu, "--ram": ram, "--results": results}
    what_ifs = [name for name, given in others.items() if given]
    is_kept = write or replan
    check_options(is_kept=is_kept, is_compared=is_compared, other=next(iter(what_ifs), None))
    ram_bytes = size(ram, "--ram")

    from rigwright.inventory.program import pyinfra

    # Started first: the rest is imported and the inventory is checked while pyinfra imports itself.
    with nullcontext() if is_single else pyinfra() as started:
        from rigwright.inventory.rigs import Found, Wished, read_rigs, read_wishes
        from rigwright.inventory.what_if import gpu_model, what_if
        from rigwright.models.variants import find_model
        from rigwright.resolve.rigs import RigRequest, resolve_all
        from rigwright.spec.file import read_spec
        from rigwright.spec.keys import key_notes

        for name in (*more, *filter(None, (gpu,))):
            gpu_model(name)  # a typing error before rigs are asked
        measurements = _measurements(results)
        find_model("")  # reads the catalogue, which is needed later, and pyinfra is not ready yet
        same = read_spec(spec, inventory=inventory) if spec else spec_of(service) if service else None
        wishes = {SAME: Wished(same)} if same else read_wishes(inventory or LOCAL, limit=limit, started=started)
        with without_place() if service else nullcontext():
            lookup = _look(wishes, spec)
        if cards:
            from rigwright.inventory.described import described

            machine = described(cards, ram_bytes=ram_bytes)
            found, ram_bytes = Found({WORDED: machine.hardware}, {}, {}), None
        else:
            machine = None
            found = read_rigs(inventory, capture=capture, limit=limit, with_records=not is_single, started=started)
    asked = {}
    for name in by_name(found.rigs):
        hardware = found.rigs[name]
        changed, notes = what_if(hardware, gpu=gpu, more=more, ram_bytes=ram_bytes, recording=capture)
        wish = wishes[SAME if same else name]
        notes = (*(machine.notes if machine else ()), *notes, *key_notes(wish.spec), *of_command(place.model))
        # What is kept anew does not stand on what was kept before.
        asked[name] = RigRequest(
            wish.spec, changed, None if is_kept else lock or wish.lock, found.records.get(name), notes, wish.member
        )
    planned = resolve_all(
        asked, lookup, measurements=measurements, alternatives=alternatives, is_preview=bool(what_ifs)
    )
    changes = {} if what_ifs else {name: planned.changes(name) for name in planned.resolved}
    _print(
        planned,
        changes,
        as_json=as_json,
        as_command=as_command,
        why=why,
        is_single=is_single,
        missing=found.missing,
        svg=svg,
    )
    if service and planned.resolved and not (as_json or as_command):
        from rigwright.view.next_step import show_next
        from rigwright.view.terminal import answering, console

        with answering():
            written = service | {"model": as_written(str(service["model"]))}
            show_next(console(), written, next(iter(planned.resolved.values())).plan.services[0])
    tell_errors(planned.errors)
    tell_missing(found.missing)
    status = 1 if planned.errors or found.missing else 0
    if is_kept and inventory and planned.resolved:
        from rigwright.cli.keeping import keep

        status |= keep(inventory, planned, lock, is_renewed=replan)
    if is_compared and not status and any(changes.values()):
        status = 2
    sys.exit(status)


def _service(place: Place, spec: Path | None, **wishes: object) -> dict[str, object] | None:
    """The service that the command line asks for; None where a file or an inventory does.

    Raises:
        UsageError: both do, or it wishes something of no model.
    """
    if place.model and spec:
        raise click.UsageError(f"{place.model} and --spec both say what to serve; leave one of them out")
    if place.model is not None or (place.is_single and not spec):
        return service_of("auto" if place.model is None else place.model, **wishes)
    if named := next((name for name, given in wishes.items() if given is not None), None):
        raise click.UsageError(
            f"--{named} goes with a model on the command line; the services of a file have such keys"
        )
    return None


def _measurements(folder: Path | None) -> tuple[Measurement, ...]:
    """What was measured; what cannot be read is said, and left out."""
    if folder is None:
        return ()
    from rigwright.bench.results import read_results
    from rigwright.errors import WrongSpec

    if not folder.is_dir():
        raise WrongSpec(f"{folder}: no such folder; save results of llama-bench there with -o json")
    found = read_results(folder)
    for warning in found.warnings:
        click.echo(warning, err=True)
    return found.measurements


def _look(wishes: Mapping[str, Wished], spec: Path | None) -> Lookup:
    """All models of all rigs, looked at before any rig is asked; progress shows on a terminal."""
    from rich.console import Console

    from rigwright.resolve.rigs import look_at_models
    from rigwright.weights.lookup import Lookup

    with Console(stderr=True).status("", spinner="line") as status:
        lookup = Lookup(say=lambda name: status.update(f"reading {name}"))
        look_at_models({name: wish.spec for name, wish in wishes.items()}, lookup, origin=str(spec) if spec else None)
        return lookup


def _print(
    planned: ResolvedRigs,
    changes: Mapping[str, Sequence[Change]],
    *,
    as_json: bool,
    as_command: bool,
    why: bool,
    is_single: bool,
    missing: Mapping[str, str],
    svg: Path | None,
) -> None:
    """The answer; `changes` has none of a rig that is not compared with what runs, `missing` could not be asked."""
    from rigwright.view.terminal import answering, console

    with answering():
        if as_json:
            _print_json(planned, changes, is_single=is_single)
            return
        from rigwright.view.fleet import show_plans

        if as_command:
            from rigwright.view.command import commands

            for name in planned.resolved:
                click.echo("\n".join(commands(name, planned.resolved[name].plan)))
        else:
            show_plans(console(), planned, changes, why=why, missing=missing)
        if svg:
            from rigwright.view.picture import picture, write_picture

            title = f"rigwright plan: {', '.join(planned.asked) if len(planned.asked) < 4 else len(planned.asked)}"
            drawn = picture(lambda screen: show_plans(screen, planned, changes, why=why, missing=missing), title=title)
            write_picture(svg, drawn)
            click.echo(f"drawn: {svg}", err=True)


def _print_json(planned: ResolvedRigs, changes: Mapping[str, Sequence[Change]], *, is_single: bool) -> None:
    import json

    from rigwright.view.answers.plan import lock_answer, plan_answer

    objects = {
        name: plan_answer(
            name, resolved.plan, changes=changes.get(name), lock=lock_answer(planned.asked[name].lock, resolved)
        ).plain()
        for name, resolved in planned.resolved.items()
    }
    if not is_single:
        objects |= {name: {"error": error} for name, error in planned.errors.items()}
        click.echo(json.dumps({name: objects[name] for name in planned.asked}, indent=1))
    elif objects:
        click.echo(json.dumps(next(iter(objects.values())), indent=1))
