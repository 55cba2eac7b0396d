"""The ranking on a terminal: what would run best, what would not, and the line that asks for the first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from rigwright.hardware.values import Hardware
from rigwright.plan.reasons import Reason
from rigwright.plan.recommend import NotRecommended, Ranked, Recommendation
from rigwright.plan.service import ServicePlan
from rigwright.view.answers.recommend import spec_of
from rigwright.view.hardware_words import clean
from rigwright.view.plan_table import head, notes_table
from rigwright.view.words import engine_name, number, numbers_of, on, served, short, tokens


def show(
    console: Console,
    name: str,
    hardware: Hardware,
    ranked: Ranked,
    *,
    purpose: str,
    notes: Iterable[Reason] = (),
    top: int = 10,
) -> None:
    """Print the ranking for one rig, its first `top` rows."""
    for line in head(name, hardware):
        console.print(line, highlight=False)
    if lines := tuple(notes):
        console.print(notes_table(lines))
    console.print()
    if ranked.fitting:
        console.print(Text(f"for {purpose}, the best first", "bold"))
        console.print(Padding(_table(ranked.fitting[:top], console.width), (0, 0, 0, 2)))
        if len(ranked.fitting) > top:
            console.print(Text(f"  and {len(ranked.fitting) - top} more: --top {len(ranked.fitting)}", "dim"))
    if ranked.others:
        console.print()
        console.print(Text("what does not fit", "bold"))
        console.print(Padding(_others(ranked.others), (0, 0, 0, 2)))


def service_of(first: Recommendation) -> dict[str, object]:
    """The service that an inventory needs to have a recommendation, as plain data."""
    return {"name": "chat", "model": spec_of(first)}


def show_closing(console: Console, service: Mapping[str, object], planned: ServicePlan | str) -> None:
    """Print the line for an inventory, and what a plan makes of it: a plan, or why there is none."""
    console.print()
    console.print(Text.assemble(("to have the first", "bold"), ", write into the inventory"), highlight=False)
    words = ", ".join(f"{key}: {_quoted(value)}" for key, value in service.items())
    console.print(Text(f"  services: [{{{words}}}]"), highlight=False)
    if isinstance(planned, str):
        console.print(Text(f"  which this rig refuses: {planned}", "red"), highlight=False)
    else:
        rate = f", {short(planned.speed.expected)} tokens/s" if planned.speed else ""
        said = (
            f"  planned: {served(planned)} on {on(planned)}, {tokens(planned.context_tokens)} tokens of context{rate}"
        )
        console.print(Text(said, "dim"), highlight=False)
    console.print()


def _quoted(value: object) -> str:
    """A name with a colon is quoted: YAML would take it for a mapping."""
    return f"'{value}'" if isinstance(value, str) and ":" in value else str(value)


def _table(fitting: Sequence[Recommendation], width: int) -> Table:
    columns: list[tuple[str, list[str]]] = [
        ("", [str(place) for place in range(1, len(fitting) + 1)]),
        ("model", [f"{one.model} {one.plan.quant}" for one in fitting]),
        ("how", [_how(one) for one in fitting]),
        ("context", [tokens(one.plan.context_tokens) for one in fitting]),
        ("tok/s", [short(one.plan.speed.expected) if one.plan.speed else "" for one in fitting]),
        ("good at", [clean(one.because) for one in fitting]),
    ]
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 1 if width < 100 else 2, 0, 0))
    shown = [(title, cells) for title, cells in columns if any(cells)]
    for title, _ in shown:
        most = max(14, width * 24 // 100) if title in ("model", "how") else None
        is_number = title in ("", "context", "tok/s")
        table.add_column(title, no_wrap=is_number, justify=numbers_of(title), max_width=most, overflow="fold")
    for row in zip(*(cells for _, cells in shown), strict=True):
        table.add_row(*map(Text, row))
    return table


def _how(one: Recommendation) -> str:
    """`llama.cpp, GPU 0`; with several GPUs the layout too."""
    plan = one.plan
    gpus = [number(gpu) for gpu in plan.gpus]
    if not gpus:
        return f"{engine_name(plan.engine)}, CPU"
    where = f"GPU {gpus[0]}" if len(gpus) == 1 else f"{plan.layout}: {'+'.join(gpus)}"
    is_split = any(
        flag.name == "--n-cpu-moe" or (flag.name == "--n-gpu-layers" and (flag.value or "").isdecimal())
        for flag in plan.flags
    )
    return f"{engine_name(plan.engine)}, {where}" + (", partly in RAM" if is_split else "")


def _others(others: Sequence[NotRecommended]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(style="dim")
    for one in others:
        table.add_row(Text(one.model), Text(clean(one.why).removeprefix(f"{one.model} ")))
    return table
