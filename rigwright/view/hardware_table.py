"""A rig on a terminal: what a person reads in ten seconds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rigwright.hardware.cpus import cpu_list
from rigwright.hardware.failures import is_grave
from rigwright.hardware.findings import is_on_board
from rigwright.hardware.links import nvlinks_of, rank
from rigwright.hardware.topology import Grouping, group
from rigwright.hardware.values import Gpu, Hardware, Problem
from rigwright.shown import few
from rigwright.units import format_bytes
from rigwright.view.hardware_words import (
    NOT_SERVED,
    clean,
    count_words,
    node_words,
    order_words,
    p2p_words,
    pcie_words,
    power_words,
    rig_words,
    short_name,
    speed_words,
    visible_devices,
)

_CLASS_STYLES = {"PIX": "cyan", "PXB": "cyan", "PHB": "blue", "NODE": "yellow", "SYS": "red", "SOC": "red", "X": "dim"}
_STATE_STYLES = {"ok": "green", "lost": "bold red", "error": "bold red"}
_CONFIDENCE_STYLES = {"high": "green", "medium": "yellow", "low": "red"}


def show(console: Console, name: str, hardware: Hardware, grouping: Grouping, *, others: Sequence[str] = ()) -> None:
    """Print one rig to `console`; `others` are rigs of which the same is true."""
    _print(console, *head(name, hardware, others=others))
    if hardware.gpus:
        console.print(_gpus(hardware, console.width))
    _print(console, *_links(hardware, console.width))
    _print(console, *_groups(hardware, grouping), *_numa(hardware))
    _print(console, *(_problem(problem) for problem in hardware.problems))
    if hardware.not_read:
        _print(console, Text(f"not read: {clean(few(hardware.not_read))}", "yellow"))
    console.print()


def head(name: str, hardware: Hardware, *, others: Sequence[str] = ()) -> Iterator[Text]:
    """Which rig it is, or which are alike, and what it has."""
    title = f"{len(others) + 1} rigs alike" if others else clean(name)
    yield Text.assemble((title, "bold"), "  ", (count_words(hardware), "bold cyan"))
    if others:
        yield Text(", ".join(map(clean, (name, *others))), "bold")
    if about := rig_words(hardware):
        yield Text(" · ".join(about), "dim")


def rigs_words(names: Sequence[str]) -> str:
    """`rig1`, `rig1, rig2`, `rig1 … rig40 (40)`."""
    shown = [clean(name) for name in names]
    return ", ".join(shown) if len(shown) < 3 else f"{shown[0]} … {shown[-1]} ({len(shown)})"


def summary(console: Console, rigs: Mapping[str, Hardware], groups: Sequence[Sequence[str]] = ()) -> None:
    """Print one line for each rig, or for several that are alike."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("rig", "GPUs", "visible devices", "findings"):
        table.add_column(title, overflow="fold", no_wrap=title == "visible devices")
    for names in groups or [[name] for name in rigs]:
        hardware = rigs[names[0]]
        count = len(hardware.problems)
        findings = Text(str(count), "yellow") if count else Text("none", "green")
        order = visible_devices(hardware, group(hardware).order) or "–"
        table.add_row(Text(rigs_words(names), "bold"), Text(count_words(hardware)), Text(order), findings)
    console.print(table)


def _print(console: Console, *lines: Text) -> None:
    for line in lines:
        console.print(line, highlight=False)


def _gpus(hardware: Hardware, width: int) -> Table:
    """The GPUs, without the columns of which nothing is known."""
    columns: list[tuple[str, list[Text]]] = [
        (
            "GPU",
            [Text(str(gpu.index) if gpu.index is not None else clean(gpu.pci_address or "?")) for gpu in hardware.gpus],
        ),
        ("name", [Text(short_name(gpu)) for gpu in hardware.gpus]),
        ("VRAM", [Text(format_bytes(gpu.vram_bytes) if gpu.vram_bytes else "") for gpu in hardware.gpus]),
        ("cc", [Text(clean(gpu.compute_capability or "")) for gpu in hardware.gpus]),
        ("NUMA", [Text(node_words(gpu)) for gpu in hardware.gpus]),
        ("PCIe", [_pcie(gpu) for gpu in hardware.gpus]),
        ("power", [Text(power_words(gpu.power)) for gpu in hardware.gpus]),
        ("state", [_state(gpu) for gpu in hardware.gpus]),
    ]
    known = [(title, cells) for title, cells in columns if any(cell.plain for cell in cells)]
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 1 if width < 100 else 2, 0, 0))
    for title, _ in known:
        table.add_column(title, overflow="fold", no_wrap=title in ("GPU", "VRAM", "PCIe", "power"))
    for cells in zip(*(cells for _, cells in known), strict=True):
        table.add_row(*cells)
    return table


def _pcie(gpu: Gpu) -> Text:
    if is_on_board(gpu):
        return Text("")  # soldered beside its CPU: its numbers mean nothing
    link = gpu.pcie
    is_narrow = bool(link.width_current and link.width_max and link.width_current < link.width_max)
    return Text(pcie_words(link), "yellow" if is_narrow else "")


def _state(gpu: Gpu) -> Text:
    words = [gpu.state or "", f"MIG: {', '.join(map(clean, gpu.mig_devices)) or 'on'}" if gpu.mig else ""]
    return Text(" ".join(filter(None, words)), _STATE_STYLES.get(gpu.state or "", ""))


def _links(hardware: Hardware, width: int) -> Iterator[Text]:
    """The matrix of classes, in blocks of columns where the terminal is narrow."""
    indexes = [gpu.index for gpu in hardware.gpus if gpu.index is not None]
    kinds = {(link.first, link.second): link.kind or "?" for link in hardware.links}
    direct = p2p_words(hardware.links)
    if not any(link.kind for link in hardware.links) and not hardware.nics:
        if len(indexes) > 1:
            yield Text("links between the GPUs: not recorded", "dim")
        yield from [Text(f"direct access: {direct}")] if direct else []
        return
    gpu, nic_title = (
        ("GPU", "NIC") if 5 * (len(indexes) + len(hardware.nics)) + 7 <= width and len(indexes) < 10 else ("", "N")
    )
    columns = [(f"{gpu}{index}", [_kind(kinds, row, index) for row in indexes]) for index in indexes]
    # Where they do not fit beside the GPUs, most of their columns would say NODE or SYS.
    is_crowded = bool(hardware.nics) and 5 * (len(indexes) + len(hardware.nics)) + 7 > width
    columns += [
        (f"{nic_title}{place}", [nic.kinds.get(row, "?") for row in indexes])
        for place, nic in enumerate(() if is_crowded else hardware.nics)
    ]
    size = max(len(cell) for title, cells in columns for cell in (title, *cells)) + 1
    per_block = max((width - 7) // size, 1)
    for start in range(0, len(columns), per_block):
        block = columns[start : start + per_block]
        yield Text(" " * 7 + "".join(title.ljust(size) for title, _ in block).rstrip(), "dim")
        for place, row in enumerate(indexes):
            cells = [(cells[place].ljust(size), _class_style(cells[place])) for _, cells in block]
            line = Text.assemble((f"GPU{row}".ljust(7), "dim"), *cells)
            line.rstrip()
            yield line
    if is_crowded:
        yield from _nearest(hardware, indexes)
    named = [
        f"{nic_title}{place} {clean(nic.name)}"
        for place, nic in enumerate(() if is_crowded else hardware.nics)
        if nic.name != f"NIC{place}"
    ]
    if named:
        yield Text(", ".join(named), "dim")
    if direct:
        yield Text(f"direct access: {direct}")


def _nearest(hardware: Hardware, indexes: Iterable[int]) -> Iterator[Text]:
    """The adapters that are closest to each GPU, a line for those that have the same."""
    lines: dict[str, list[int]] = {}
    for index in indexes:
        kinds = {place: nic.kinds.get(index, "") for place, nic in enumerate(hardware.nics)}
        best = max(kinds.values(), key=rank)
        near = [clean(hardware.nics[place].name) for place, kind in kinds.items() if kind == best]
        more = f" and {len(near) - 3} more" if len(near) > 4 else ""
        words = f"{clean(best or '?')} {', '.join(near[:3] if more else near)}{more}"
        lines.setdefault(words, []).append(index)
    for words, gpus in lines.items():
        yield Text(f"nearest adapters of GPU {', '.join(map(str, gpus))}: {words}")


def _kind(kinds: dict[tuple[int, int], str], row: int, column: int) -> str:
    return "X" if row == column else clean(kinds.get((min(row, column), max(row, column)), "?"))


def _class_style(kind: str) -> str:
    return "bold green" if nvlinks_of(kind) or kind == "XGMI" else _CLASS_STYLES.get(kind, "")


def _groups(hardware: Hardware, grouping: Grouping) -> Iterator[Text]:
    slowest = {frozenset(found.group): found for found in grouping.bottlenecks}
    for title, groups in (("TP=2", grouping.pairs), ("TP=4", grouping.quads)):
        words = []
        for members in groups:
            found = slowest.get(frozenset(members))
            speed = [found.kind or "", speed_words(found.gbytes_per_second)] if found else []
            words.append(" ".join(filter(None, ("+".join(map(str, members)), *speed))))
        if words:
            yield Text.assemble((f"{title}: ", "bold"), ", ".join(words))
    if len(hardware.gpus) == 1 and grouping.order and not any(gpu.mig for gpu in hardware.gpus):
        return  # one whole GPU: nothing to choose
    if hardware.vendor == "Intel":
        yield Text(NOT_SERVED, "yellow")
        return
    if grouping.order:
        sure = (
            f"  {grouping.confidence} confidence: {clean(grouping.because)}",
            _CONFIDENCE_STYLES[grouping.confidence],
        )
        yield Text.assemble((order_words(hardware, grouping.order), "bold"), sure)
    for why, indexes in _by_reason(grouping.left_out):
        yield Text(f"in no group: GPU {', '.join(map(str, indexes))} ({clean(why)})", "yellow")


def _by_reason(left_out: Iterable[tuple[int, str]]) -> Iterator[tuple[str, list[int]]]:
    reasons: dict[str, list[int]] = {}
    for index, why in left_out:
        reasons.setdefault(why, []).append(index)
    yield from reasons.items()


def _numa(hardware: Hardware) -> Iterator[Text]:
    for node in hardware.numa:
        gpus = [str(gpu.index) for gpu in hardware.gpus if gpu.numa_node == node.node and gpu.index is not None]
        parts = [
            f"CPUs {cpu_list(node.cpus)}" if node.cpus else "no CPU",
            format_bytes(node.memory_bytes) if node.memory_bytes else "",
            f"GPU {', '.join(gpus)}" if gpus else "",
        ]
        yield Text(f"NUMA node {node.node}: {', '.join(filter(None, parts))}", "dim")


def _problem(problem: Problem) -> Text:
    what, do = clean(problem.what), clean(problem.do)
    mark, where = ("bold red", "bold red") if is_grave(problem) else ("bold yellow", "bold")
    return Text.assemble(("! ", mark), (f"{clean(problem.where)}: ", where), f"{what}; {do}" if do else what)
