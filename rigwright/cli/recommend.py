"""`rigwright recommend`: which models of the catalogue suit a rig, ranked for a purpose."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import click
from rich.console import Console

from rigwright.cli.machine import WORDED, machine_options, place_of
from rigwright.cli.quantities import Whole, Words, number, size
from rigwright.cli.unanswered import tell_errors
from rigwright.errors import RigwrightError
from rigwright.hardware.values import Hardware
from rigwright.inventory.described import described
from rigwright.inventory.rigs import Found, read_rigs
from rigwright.inventory.what_if import gpu_model, what_if
from rigwright.plan.reasons import Reason
from rigwright.plan.recommend import PURPOSES, Purpose, Ranked
from rigwright.plan.recommend import recommend as ranked_for
from rigwright.resolve import resolve
from rigwright.shown import by_name
from rigwright.spec.rig import parse_spec
from rigwright.view.answers.recommend import recommend_answer
from rigwright.view.fleet import groups
from rigwright.view.recommend_table import service_of, show, show_closing
from rigwright.view.terminal import answering, console


@click.command()
@click.argument("inventory", required=False)
@machine_options
@click.option(
    "--for",
    "purpose",
    type=Words(PURPOSES, {"code": "coding", "chat": "general", "agentic": "agents", "programming": "coding"}),
    default="general",
    show_default=True,
    help="What for.",
)
@click.option("--users", type=Whole(1, 4096), default=1, show_default=True, help="Users at the same time.")
@click.option("--context", type=number, help="Tokens of context that each needs; by default what fits well.")
@click.option("--top", type=Whole(1), default=10, show_default=True, metavar="N", help="How many are shown.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: docs/recommend.schema.json; rigs by name.")
def recommend(
    inventory: str | None,
    cards: tuple[str, ...],
    capture: Path | None,
    purpose: Purpose,
    users: int,
    context: int | None,
    top: int,
    as_json: bool,
    more: tuple[str, ...],
    gpu: str | None,
    ram: str | None,
    limit: tuple[str, ...],
) -> None:
    """Rank the models of the catalogue for each rig in INVENTORY: which, in which quant, where, how fast, and why.

    INVENTORY may be @local, this machine; --gpu says a machine in words. What rigs serve now does not matter. No rig is
    changed. The exit code is 1 where no model fits.
    """
    place = place_of(inventory, capture, cards, limit)
    if place.model:
        raise click.UsageError(
            f"recommend chooses the model itself; for one that you have in mind: rigwright plan … {place.model}"
        )
    ram_bytes = size(ram, "--ram")
    for name in (*more, *filter(None, (gpu,))):
        gpu_model(name)  # a typing error before rigs are asked
    machine = described(cards, ram_bytes=ram_bytes) if cards else None
    if machine:
        found, ram_bytes = Found({WORDED: machine.hardware}, {}, {}), None
    else:
        found = read_rigs(inventory, capture=capture, limit=limit)
    answers: dict[str, Ranked] = {}
    errors = {name: f"not read: {why}" for name, why in found.missing.items()}
    is_single = place.is_single
    asked = {"--gpu": cards, "--capture": capture, "--ram": ram, "--gpu-model": gpu, "--with-gpu": more}
    words = _machine_words(inventory, asked) if is_single else ()
    screen = None if as_json else console()
    hardware: dict[str, Hardware] = {}
    assumed: dict[str, tuple[Reason, ...]] = {}
    with answering():
        for rig in by_name(found.rigs):
            hardware[rig], notes = what_if(found.rigs[rig], gpu=gpu, more=more, ram_bytes=ram_bytes, recording=capture)
            assumed[rig] = (*(machine.notes if machine else ()), *notes)
            # Every model of the catalogue is planned: once for rigs that only differ in their cards' UUIDs.
            if same := next((name for name in answers if _like(hardware[name]) == _like(hardware[rig])), None):
                answers[rig] = answers[same]
                continue
            try:
                answers[rig] = ranked_for(hardware[rig], purpose, users=users, context=context)
            except RigwrightError as error:
                errors[rig] = error.message.removeprefix("services.model: ")

        def page(screen: Console, rig: str, *, others: Sequence[str] | None = None) -> None:
            """The ranking of one rig; without `others` nothing that is its own."""
            name = "" if others is None else rig
            show(screen, name, hardware[rig], answers[rig], purpose=purpose, notes=assumed[rig], top=top, others=others)
            if others is not None and answers[rig].fitting:
                _close(screen, service_of(answers[rig].fitting[0], users=users, context=context), hardware[rig], words)

        for names in groups(answers, page) if screen else ():
            page(screen or console(), names[0], others=names[1:])
        if as_json and (answers or not is_single):
            objects = {name: recommend_answer(name, purpose, ranked).plain() for name, ranked in answers.items()}
            click.echo(json.dumps(next(iter(objects.values())) if is_single else objects, indent=1))
    for name, ranked in answers.items():
        if not ranked.fitting:
            errors[name] = _nothing(hardware[name], users=users, context=context)
    tell_errors(errors)
    sys.exit(1 if errors else 0)


def _nothing(hardware: Hardware, *, users: int, context: int | None) -> str:
    """Why there is no row, and the longest context that there could be one with."""
    said = "no model of the catalogue fits"
    found = ranked_for(hardware, "long-context", users=users).fitting if context else ()
    if not found:
        return f"{said}; use a rig with more memory"
    best = max(found, key=lambda one: (one.plan.context_tokens, one.score))
    tokens = best.plan.context_tokens
    return f"{said}; the longest context here is {tokens:,} tokens, with {best.model}: --context {tokens}"


def _like(hardware: Hardware) -> Hardware:
    """The machine without what tells it from its like."""
    gpus = tuple(replace(gpu, uuid=gpu.uuid and "known", pci_address=None) for gpu in hardware.gpus)
    return replace(hardware, gpus=gpus, disks=(), os_version="", kernel="")


def _machine_words(inventory: str | None, asked: Mapping[str, object]) -> tuple[str, ...]:
    """The words of a command line that name the same machine again."""
    given = [(name, one) for name, some in asked.items() for one in (some if isinstance(some, tuple) else (some,))]
    return (*filter(None, (inventory,)), *(word for name, one in given if one for word in (name, str(one))))


def _close(screen: Console, service: dict[str, object], hardware: Hardware, machine: Sequence[str]) -> None:
    """The line that an inventory needs for the first, held against what a plan makes of it; `machine` names it."""
    try:
        plan = resolve(parse_spec("inventory", {"services": [service]}), hardware, is_preview=True).plan
    except RigwrightError as error:
        show_closing(screen, service, error.message)
        return
    wishes = [
        word for key in ("goal", "users", "context") if key in service for word in (f"--{key}", str(service[key]))
    ]
    command = shlex.join(("rigwright", "plan", *machine, str(service["model"]), *wishes)) if machine else ""
    show_closing(screen, service, plan.services[0], command=command)
