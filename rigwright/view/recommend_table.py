"""The ranking on a terminal: what would run best, what would not, and the line that asks for the first."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from rigwright.hardware.values import Hardware
from rigwright.models.standing import NAMES
from rigwright.plan.reasons import Reason
from rigwright.plan.recommend import NotRecommended, Ranked, Recommendation
from rigwright.plan.service import ServicePlan
from rigwright.units import format_bytes
from rigwright.view.answers.recommend import spec_of
from rigwright.view.hardware_table import head
from rigwright.view.hardware_words import clean
from rigwright.view.plan_table import notes_table
from rigwright.view.words import engine_name, number, on, served, short, tokens

# What stands below a model where the terminal has no column for it, and in which order; with the word that it needs.
_BELOW = {"disk": "", "class": "", "score": "score "}
_LEGEND = (
    "score: 0 to 100 in this table, twenty for each class; class: by published benchmarks; tok/s: of one user at "
    "4,096 tokens; disk: the weights"
)


def show(
    console: Console,
    name: str,
    hardware: Hardware,
    ranked: Ranked,
    *,
    purpose: str,
    notes: Iterable[Reason] = (),
    top: int = 10,
    others: Sequence[str] | None = None,
) -> None:
    """Print the ranking for one rig, its first `top` rows; `others` are rigs of which the same is true."""
    for line in head(name, hardware, others=others or ()):
        console.print(line, highlight=False)
    if lines := tuple(notes):
        console.print(notes_table(lines))
    console.print()
    if ranked.fitting:
        console.print(Text(f"for {purpose}, the best first", "bold"))
        console.print(Padding(Group(*_rows(ranked.fitting[:top], console.width - 2)), (0, 0, 0, 2)))
        console.print(Padding(Text(_LEGEND, "dim"), (0, 0, 0, 2)))
        if len(ranked.fitting) > top:
            console.print(Text(f"  and {len(ranked.fitting) - top} more: --top {len(ranked.fitting)}", "dim"))
    if ranked.others:
        if ranked.fitting:
            console.print()
        console.print(Text("what does not fit", "bold"))
        console.print(Padding(Group(*_others(ranked.others)), (0, 0, 0, 2)))


def service_of(first: Recommendation, *, users: int = 1, context: int | None = None) -> dict[str, object]:
    """The service that an inventory needs to have a recommendation, as plain data, with what was asked for."""
    asked = {"goal": first.goal, "users": users if users > 1 else None, "context": context}
    return {"name": "chat", "model": spec_of(first), **{key: value for key, value in asked.items() if value}}


def show_closing(
    console: Console, service: Mapping[str, object], planned: ServicePlan | str, *, command: str = ""
) -> None:
    """Print the line for an inventory, what a plan makes of it, why there is none, and the `command` for it."""
    console.print()
    console.print(Text.assemble(("to have the first", "bold"), ", write into the inventory"), highlight=False)
    # JSON of words and numbers is Python and YAML too. It may be cut by nothing.
    console.print(Text(f'  "services": [{json.dumps(service)}]'), highlight=False, soft_wrap=True)
    if isinstance(planned, str):
        console.print(Padding(Text(f"which this rig refuses: {planned}", "red"), (0, 0, 0, 2)))
    else:
        rate = f", {short(planned.speed.expected)} tokens/s" if planned.speed else ""
        said = f"planned: {served(planned)} on {on(planned)}, {tokens(planned.context_tokens)} tokens of context{rate}"
        undeployed = (f"; not deployed yet: {planned.not_deployed}", "red") if planned.not_deployed else ""
        console.print(Padding(Text.assemble((said, "dim"), undeployed), (0, 0, 0, 2)))
        if command:
            console.print(Text(f"or look at its plan: {command}"), highlight=False, soft_wrap=True)
    console.print()


def _rows(fitting: Sequence[Recommendation], width: int) -> Iterator[RenderableType]:
    """For each model a line of figures, and below it where it would run, what it is good at, and what it lacks."""
    is_wide = width >= 100
    columns: dict[str, list[str]] = {
        "": [str(place) for place in range(1, len(fitting) + 1)],
        "model": [_name(one, with_quant=is_wide) for one in fitting],
        "score": [f"{one.points:.0f}" for one in fitting],
        "class": [one.model_class for one in fitting],
        "tok/s": [short(one.plan.speed.expected) if one.plan.speed else "?" for one in fitting],
        "context": [tokens(one.plan.context_tokens) for one in fitting],
        "disk": [f"{(one.plan.file_bytes or 0) / 1e9:.1f} GB" for one in fitting],
    }
    sizes = {title: max(map(len, (title, *cells))) for title, cells in columns.items()}
    below: dict[str, list[str]] = {}
    for title in _BELOW:
        if sum(size + 2 for size in sizes.values()) - 2 > width:
            below[title] = columns.pop(title)
            del sizes[title]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.ljust(size) if title in ("model", "class") else cell.rjust(size)
            for cell, (title, size) in zip(cells, sizes.items(), strict=True)
        ]
        return "  ".join(padded).rstrip()

    yield Text(line(list(columns)), "dim")
    indent = sizes[""] + 2
    for place, one in enumerate(fitting):
        yield Text(line([cells[place] for cells in columns.values()]), "" if one.lacks else "bold")
        why = Text("".join(f"{_BELOW[title]}{cells[place]}, " for title, cells in below.items()), "dim")
        why.append(_how(one) if is_wide else f"{clean(one.plan.quant)}, {_how(one)}")
        if one.plan.not_deployed:
            why.append(", not deployed yet", "red")
        why.append(f"; {_benchmarks(one)}; {clean(one.because)}")
        if one.lacks:
            why.append(f"; last for its {clean(one.lacks)}", "yellow")
        yield Padding(why, (0, 0, 0, indent))


def _name(one: Recommendation, *, with_quant: bool) -> str:
    return clean(f"{one.model} {one.plan.quant}" if with_quant else one.model)


def _benchmarks(one: Recommendation) -> str:
    """`SWE-bench Verified 73.4, Terminal-Bench 2 51.5`: what was published of those that count."""
    return ", ".join(f"{NAMES.get(name, name)} {points:g}" for name, points in one.benchmarks.items()) or (
        "no benchmark published that counts here"
    )


def _how(one: Recommendation) -> str:
    """`llama.cpp, GPU 0`; with several GPUs the layout too."""
    plan = one.plan
    gpus = [number(gpu) for gpu in plan.gpus]
    if not gpus:
        return f"{engine_name(plan.engine)}, CPU"
    where = f"GPU {gpus[0]}" if len(gpus) == 1 else f"{plan.layout}: {'+'.join(gpus)}"
    return f"{engine_name(plan.engine)}, {where}" + (f", {plan.in_ram} in RAM" if plan.in_ram else "")


def _others(others: Sequence[NotRecommended]) -> Iterator[RenderableType]:
    """The models under the reason that they share, those first that lack least."""
    groups: dict[str, list[NotRecommended]] = {}
    for one in others:
        groups.setdefault(clean(one.reason), []).append(one)
    for reason, models in sorted(groups.items(), key=lambda group: -len(group[1])):
        yield Text(reason + ("; short by" if models[0].short_bytes else ""))
        names = [f"{clean(one.model)}{_short(one)}" for one in sorted(models, key=lambda one: one.short_bytes or 0)]
        yield Padding(Text(", ".join(names), "dim"), (0, 0, 0, 2))


def _short(one: NotRecommended) -> str:
    return f" {format_bytes(one.short_bytes)}" if one.short_bytes else ""
