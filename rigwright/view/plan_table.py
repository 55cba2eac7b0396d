"""A plan on a terminal: what a person reads in ten seconds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from rigwright.catalogue.engines import engine_names
from rigwright.hardware.values import Hardware
from rigwright.plan.budget import GRAVE
from rigwright.plan.devices import spans
from rigwright.plan.engines import label, planner_of
from rigwright.plan.reasons import Reason
from rigwright.plan.service import Alternative, Cost, RigPlan, ServicePlan
from rigwright.plan.speed import Speed
from rigwright.shown import alike, by_name
from rigwright.units import format_bytes
from rigwright.view.bars import Colours
from rigwright.view.hardware_table import head, rigs_words
from rigwright.view.hardware_words import clean
from rigwright.view.memory_table import memory
from rigwright.view.words import engine_name, numbers_of, on, served, short, tokens, without_commits

_CACHE_FLAGS, _USUAL_CACHE = ("--cache-type-k", "--kv-cache-dtype"), ("f16", "auto")
_CONFIDENCE_STYLES = {"measured": "bold green", "high": "green", "medium": "yellow", "low": "red"}


def show(console: Console, name: str, hardware: Hardware, plan: RigPlan, *, others: Sequence[str] = ()) -> None:
    """Print the plan of one rig to `console`; `others` are rigs of which the same is true."""
    _print(console, *head(name, hardware, others=others))
    if grave := [note for note in plan.notes if is_grave(note)]:
        console.print()
        console.print(notes_table(grave))
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
    if rest := [note for note in plan.notes if not is_grave(note)]:
        console.print()
        console.print(notes_table(rest))
    if any(service.alternatives for service in plan.services):
        console.print()
        _print(console, Text("what else was possible", "bold"))
        console.print(Padding(_alternatives(plan.services, console.width), (0, 0, 0, 2)))
    console.print()


def summary(
    console: Console, plans: Mapping[str, RigPlan], wrong: Mapping[str, str], *, groups: Sequence[Sequence[str]] = ()
) -> None:
    """Print a line for each service of each rig, once for rigs that are alike; `wrong` are the rigs without a plan."""
    is_wide = console.width >= 110
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2 if is_wide else 1, 0, 0))
    titles = ("rig", "model", "engine", "context", "tok/s", *(("download",) if is_wide else ()), "notes")
    for title in titles:
        is_number = title in ("context", "tok/s", "download")
        table.add_column(title, overflow="fold", no_wrap=is_number, justify="right" if is_number else "left")
    for names in groups or [[name] for name in by_name(plans)]:
        plan = plans[names[0]]
        for place, service in enumerate(plan.services):
            rate = f"{short(service.speed.expected)}" if service.speed else "?"
            download = _gigabytes(plan.cost.download_bytes) if plan.cost.download_bytes else "nothing"
            cells = [
                Text("" if place else rigs_words(names), "bold"),
                Text(clean(served(service))),
                Text.assemble(engine_name(service.engine), (", not deployed", "red") if service.not_deployed else ""),
                Text(tokens(service.context_tokens) + (f" × {service.slots}" if service.slots > 1 else "")),
                Text(rate),
                *([Text("" if place else download)] if is_wide else []),
                Text("") if place else _short_notes(plan),
            ]
            table.add_row(*cells)
    for names, why in alike(wrong):
        table.add_row(Text(", ".join(map(clean, names)), "bold"), Text(why, "red"), *(Text("") for _ in titles[2:]))
    console.print(table)


def _short_notes(plan: RigPlan) -> Text:
    words = [(clean(note.choice), "red" if is_grave(note) else "yellow") for note in plan.notes]
    words += [("reboot", "yellow")] if plan.cost.reboot else []
    once = dict.fromkeys(words)
    return Text("; ").join(Text(word, style) for word, style in once) if once else Text("–", "dim")


def _print(console: Console, *lines: Text) -> None:
    for line in lines:
        console.print(line, highlight=False)


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
    engine = f"{engine_name(service.engine)} {without_commits(service.engine_version)}"
    yield "engine", Text.assemble(engine, ("  not deployed yet", "bold red") if service.not_deployed else "")
    yield "runs on", Text.assemble(on(service), (f", {service.in_ram} in RAM", "bold") if service.in_ram else "")
    if part := service.cluster:
        rigs = ", ".join(f"{one.rig} {one.address}" for one in part.members)
        costs = next((one.because.partition(" (")[0] for one in service.reasons if one.choice == part.network), "")
        yield "together", Text(clean(f"{rigs}; the first answers"))
        yield "between", Text(clean(f"{part.network}{f': {costs}' if costs else ''}"))
    slots = "1 slot" if service.slots == 1 else f"{service.slots} slots"
    context = f"{tokens(service.context_tokens)} tokens × {slots}{' for each copy' * (len(service.replicas) > 1)}"
    kept = next((flag.value for flag in service.flags if flag.name in _CACHE_FLAGS), None)
    yield "context", Text(context + (f", KV cache in {clean(kept)}" if kept and kept not in _USUAL_CACHE else ""))
    yield "expected", _speed(service)
    if service.memory is None:
        yield "memory", Text("not computed, so that nothing says it fits", "yellow")
    source = without_commits(clean(str(service.source or "")))
    if service.file_bytes:
        size = f"{_gigabytes(service.file_bytes)} ({format_bytes(service.file_bytes)})"
        yield "file", Text(size + (f"  {source}" if source else ""))


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
    if speed.depth_tokens:
        text.append(f" at {tokens(speed.depth_tokens)} tokens of context")
    if speed.aggregate and _is_shared(speed):
        text.append(f", all users {short(speed.aggregate)} tokens/s")
    further = [f"{short(speed.undrafted)} tokens/s without drafts"] if speed.undrafted else []
    if speed.full_context and service.context_tokens > (speed.depth_tokens or 0):
        further.append(f"{short(speed.full_context)} tokens/s when it is full, at {tokens(service.context_tokens)}")
    if speed.prefill_expected:
        further.append(f"prompts {short(speed.prefill_expected)} tokens/s")
    return text.append("\n" + "; ".join(further)) if further else text


def _is_shared(speed: Speed | None) -> bool:
    """Whether all users together get more than one of them."""
    return bool(speed and speed.aggregate and speed.aggregate > speed.expected * 1.05)


def _cost(cost: Cost) -> Iterator[tuple[str, Text]]:
    fetched = f"{_gigabytes(cost.download_bytes)} of weights" if cost.download_bytes else "no weights"
    yield "download", Text(f"{fetched}; {_gigabytes(cost.disk_bytes)} of disk with what is built")
    if cost.builds:
        yield "build", Text(", ".join(cost.builds))
    # That a service which runs stands still meanwhile is so with every plan: no alarm.
    reboot = Text(f"reboot: {cost.reboot}", "yellow") if cost.reboot else Text("no reboot")
    yield "interrupts", Text.assemble(reboot, f"; {cost.downtime or 'no downtime'}")


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
        style = "bold red" if is_grave(note) else "bold"
        mark = Text("!", "bold red") if is_grave(note) else Text("!")
        table.add_row(mark, Text.assemble((f"{clean(note.choice)}: ", style), clean(note.because), (source, "dim")))
    return table


def is_grave(note: Reason) -> bool:
    """Whether an owner must not overlook it: it stands above the plan, in red."""
    return note.choice.startswith(GRAVE)


def _alternatives(services: Iterable[ServicePlan], width: int) -> Table:
    """What else was possible; the columns that say nothing are left out."""
    rows = [(service, other) for service in services for other in service.alternatives]
    hows, whys = [_how(other) for _, other in rows], [clean(other.why_not) for _, other in rows]
    if width < _NARROW:
        hows, whys = [], [": ".join(filter(None, pair)) for pair in zip(hows, whys, strict=True)]
    rate = "tok/s each" if any(_is_shared(service.speed) for service, _ in rows) else "tok/s"
    columns: list[tuple[str, list[str]]] = [
        ("for", [service.service for service, _ in rows]),
        ("model", [_model(service, other) for service, other in rows]),
        ("how", hows),
        ("context", [tokens(other.context_tokens) if other.context_tokens else "" for _, other in rows]),
        (rate, [short(other.tokens_per_second) if other.tokens_per_second else "" for _, other in rows]),
        ("why not", whys),
    ]
    is_single = len({service.service for service, _ in rows}) == 1
    gap = 1 if width < 100 else 2
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, gap, 0, 0))
    shown = [(title, cells) for title, cells in columns if any(cells) and not (title == "for" and is_single)]
    others = [max(map(len, (title, *cells))) + gap for title, cells in shown if title not in ("how", "why not")]
    most = {"model": max(12, width * 22 // 100), "how": max(17, width - 2 - sum(others) - _WHY_NOT_WIDTH)}
    for title, _ in shown:
        table.add_column(
            title, no_wrap=title in ("context", rate), justify=numbers_of(title), max_width=most.get(title)
        )
    for cells in zip(*(cells for _, cells in shown), strict=True):
        table.add_row(*map(Text, cells))
    return table


# What `why not` is given before the place of an alternative gets more than it must have.
_WHY_NOT_WIDTH = 44
# On less, two columns of words are a word on each line.
_NARROW = 72


def _how(other: Alternative) -> str:
    """`vLLM (not deployed), TP=2`."""
    planned_only = {label(name) for name in engine_names() if not planner_of(name).is_deployed}
    engine = f"{other.engine} (not deployed)" if other.engine in planned_only else other.engine
    return ", ".join(word for word in (engine, other.layout) if word != "-")


def _model(service: ServicePlan, other: Alternative) -> str:
    """The quant alone where the model is the same."""
    return clean(other.quant.removeprefix(service.model)) or clean(other.quant)
