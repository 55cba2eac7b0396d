"""A plan on a terminal: what a person reads in ten seconds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from rigwright.hardware.values import Hardware
from rigwright.plan.explain import spans
from rigwright.plan.reasons import Reason
from rigwright.plan.service import Alternative, Cost, RigPlan, ServicePlan
from rigwright.view.bars import Colours
from rigwright.view.hardware_words import clean, count_words, rig_words
from rigwright.view.memory_table import memory
from rigwright.view.words import engine_name, numbers_of, on, served, short, tokens, without_commits

_CONFIDENCE_STYLES = {"measured": "bold green", "high": "green", "medium": "yellow", "low": "red"}


def show(console: Console, name: str, hardware: Hardware, plan: RigPlan) -> None:
    """Print the plan of one rig to `console`."""
    _print(console, *head(name, hardware))
    is_ascii = not console.encoding.startswith("utf")
    colours = Colours((service.service for service in plan.services), is_ascii=is_ascii)
    for service in plan.services:
        console.print()
        _print(console, _title(service, console.width, colours))
        console.print(Padding(_rows(_facts(service)), (0, 0, 0, 2)))
    console.print()
    console.print(memory(plan, console.width, colours))
    _print(console, Text("to get there", "bold"))
    console.print(Padding(_rows(_cost(plan.cost)), (0, 0, 0, 2)))
    if plan.notes:
        console.print()
        console.print(notes_table(plan.notes))
    if any(service.alternatives for service in plan.services):
        console.print()
        _print(console, Text("what else was possible", "bold"))
        console.print(Padding(_alternatives(plan.services, console.width), (0, 0, 0, 2)))
    console.print()


def summary(console: Console, plans: Mapping[str, RigPlan], wrong: Iterable[str]) -> None:
    """Print one line for each rig of an inventory."""
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for title in ("rig", "services", "download", "interrupts"):
        table.add_column(title, overflow="fold")
    for name, plan in plans.items():
        names = ", ".join(service.service for service in plan.services)
        stops = [word for word, why in (("reboot", plan.cost.reboot), ("downtime", plan.cost.downtime)) if why]
        download = _gigabytes(plan.cost.download_bytes) if plan.cost.download_bytes else "nothing"
        table.add_row(Text(clean(name), "bold"), Text(names), Text(download), Text(", ".join(stops) or "nothing"))
    for name in wrong:
        table.add_row(Text(clean(name), "bold"), Text("no plan", "red"), Text("–"), Text("–"))
    console.print(table)


def _print(console: Console, *lines: Text) -> None:
    for line in lines:
        console.print(line, highlight=False)


def head(name: str, hardware: Hardware) -> Iterator[Text]:
    """Which rig it is, and what it has."""
    yield Text.assemble((clean(name), "bold"), "  ", (count_words(hardware), "bold cyan"))
    if about := rig_words(hardware):
        yield Text(" · ".join(about), "dim")


def _title(service: ServicePlan, width: int, colours: Colours) -> Text:
    """`chat ── Qwen3.5-35B-A3B Q4_K_M ────── port 8080`."""
    left = Text.assemble(
        (service.service, f"bold {colours.of(service.service)}"),
        " ── ",
        (clean(served(service)), "bold"),
        " ",
    )
    ports = sorted({replica.port for replica in service.replicas})
    right = Text(f" port {spans([str(port) for port in ports])}", "bold")
    fill = max(2, min(width, 100) - len(left.plain) - len(right.plain))
    return Text.assemble(left, ("─" * fill, "dim"), right)


def _rows(rows: Iterable[tuple[str, Text]]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for title, text in rows:
        table.add_row(title, text)
    return table


def _facts(service: ServicePlan) -> Iterator[tuple[str, Text]]:
    yield "engine", Text(f"{engine_name(service.engine)} {without_commits(service.engine_version)}")
    yield "runs on", Text(on(service))
    slots = "1 slot" if service.slots == 1 else f"{service.slots} slots"
    context = f"{tokens(service.context_tokens)} tokens × {slots}"
    yield "context", Text(context + (" for each copy" if len(service.replicas) > 1 else ""))
    yield "expected", _speed(service)
    if service.memory is None:
        yield "memory", Text("not computed, so that nothing says it fits", "yellow")
    source = without_commits(clean(str(service.source or "")))
    if service.file_bytes:
        yield "file", Text(_gigabytes(service.file_bytes) + (f"  {source}" if source else ""))


def _speed(service: ServicePlan) -> Text:
    speed = service.speed
    if speed is None:
        return Text("not known", "yellow")
    sure = speed.confidence if speed.confidence == "measured" else f"{speed.confidence} confidence"
    text = Text.assemble(
        (f"{short(speed.expected)} tokens/s", "bold"),
        f" ({short(speed.low)}–{short(speed.high)}, ",
        (sure, _CONFIDENCE_STYLES[speed.confidence]),
        ")",
    )
    if speed.aggregate and speed.aggregate > speed.expected * 1.05:
        text.append(f", all users {short(speed.aggregate)}")
    if speed.prefill_expected:
        text.append(f", prompts {short(speed.prefill_expected)}")
    return text


def _cost(cost: Cost) -> Iterator[tuple[str, Text]]:
    fetched = f"{_gigabytes(cost.download_bytes)} of weights" if cost.download_bytes else "no weights"
    yield "download", Text(f"{fetched}; {_gigabytes(cost.disk_bytes)} of disk with what is built")
    if cost.builds:
        yield "build", Text(", ".join(cost.builds))
    stops = [f"reboot: {cost.reboot}" if cost.reboot else "", f"downtime: {cost.downtime}" if cost.downtime else ""]
    said = "; ".join(filter(None, stops))
    yield "interrupts", Text(said, "yellow") if said else Text("nothing: no reboot, no downtime")


def _gigabytes(count: int) -> str:
    """Downloads and disks are sold in GB."""
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def notes_table(notes: Iterable[Reason]) -> Table:
    """What the owner should know, a mark before each."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(style="bold yellow", no_wrap=True)
    table.add_column(overflow="fold")
    for note in notes:
        source = f" ({note.source})" if note.source else ""
        table.add_row("!", Text.assemble((f"{clean(note.choice)}: ", "bold"), clean(note.because), (source, "dim")))
    return table


def _alternatives(services: Iterable[ServicePlan], width: int) -> Table:
    """What else was possible; the columns that say nothing are left out."""
    rows = [(service, other) for service in services for other in service.alternatives]
    columns: list[tuple[str, list[str]]] = [
        ("for", [service.service for service, _ in rows]),
        ("model", [_model(service, other) for service, other in rows]),
        ("how", [", ".join(word for word in (other.engine, other.layout) if word != "-") for _, other in rows]),
        ("context", [tokens(other.context_tokens) if other.context_tokens else "" for _, other in rows]),
        ("tok/s", [short(other.tokens_per_second) if other.tokens_per_second else "" for _, other in rows]),
        ("why not", [clean(other.why_not) for _, other in rows]),
    ]
    is_single = len({service.service for service, _ in rows}) == 1
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 1 if width < 100 else 2, 0, 0))
    shown = [(title, cells) for title, cells in columns if any(cells) and not (title == "for" and is_single)]
    for title, _ in shown:
        most = max(12, width * 22 // 100) if title in ("model", "how") else None
        table.add_column(title, no_wrap=title in ("context", "tok/s"), justify=numbers_of(title), max_width=most)
    for cells in zip(*(cells for _, cells in shown), strict=True):
        table.add_row(*map(Text, cells))
    return table


def _model(service: ServicePlan, other: Alternative) -> str:
    """The quant alone where the model is the same."""
    return clean(other.quant.removeprefix(service.model)) or clean(other.quant)
