"""The memory of a planned rig: a bar for each GPU, or for several that look alike, and one for RAM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from rigwright.plan.devices import spans
from rigwright.plan.service import GpuBudget, RigPlan
from rigwright.units import GIB, format_bytes
from rigwright.view.bars import FREE, KINDS, OVER, RESERVED, Colours, Share, bar, shares
from rigwright.view.words import gpu_name, number

# GPUs whose uses differ by less stand in one line.
_ALIKE_BYTES = GIB // 10
# Less would read 0.00.
_WORTH_A_WORD = GIB // 200


class _Row(NamedTuple):
    title: str
    shares: list[Share]
    total_bytes: int
    offered_bytes: int
    because: str | None = None


def memory(plan: RigPlan, width: int, colours: Colours) -> RenderableType:
    """The bars, and below each what the services take of it, each part behind its shade."""
    rows = [*_gpus(plan.gpus), *_ram(plan)]
    title_width = max(len(row.title) for row in rows)
    sums = [_sum_words(row) for row in rows]
    bar_width = max(10, min(width, 100) - title_width - max(map(len, sums)) - 4)
    details = [_details(row, colours, is_alone=len(plan.services) == 1, width=width - 2) for row in rows]
    rest = {FREE} | ({RESERVED} if any(row.offered_bytes < row.total_bytes for row in rows) else set())
    rest |= {OVER} if any(map(_overflows, rows)) else set()
    legend = Text.assemble(colours.legend(rest, width - 2), style="dim")
    longest = max(len(line) for line in (*legend.plain.split("\n"), *(text.plain for one in details for text in one)))
    indent = title_width + 2 if title_width + 2 + longest <= width else 2
    lines: list[RenderableType] = []
    for row, total, texts in zip(rows, sums, details, strict=True):
        stripe = bar(
            row.shares,
            total_bytes=row.total_bytes,
            offered_bytes=row.offered_bytes,
            width=bar_width,
            colours=colours,
        )
        head = Text(row.title.ljust(title_width), "bold")
        style = "bold red" if _overflows(row) else ""
        lines.append(Text.assemble(head, "  ", stripe, "  ", (total.rjust(max(map(len, sums))), style)))
        lines += [Padding(text, (0, 0, 0, indent)) for text in texts]
    return Group(*lines, Padding(legend, (0, 0, 0, indent)), Text())


def _overflows(row: _Row) -> bool:
    return sum(share.size_bytes for share in row.shares) > row.offered_bytes


def _sum_words(row: _Row) -> str:
    used = sum(share.size_bytes for share in row.shares)
    return f"{used / GIB:.1f} of {format_bytes(row.total_bytes)}" if row.total_bytes else "size not known"


def _details(row: _Row, colours: Colours, *, is_alone: bool, width: int) -> list[Text]:
    """`chat: █ weights 18.9  ▓ KV cache 1.3  ░ compute 0.6 GiB`, a line for each service."""
    lines = [Text(f"unused: {row.because}", "yellow")] if row.because else []
    for service in dict.fromkeys(share.service for share in row.shares):
        found = {share.kind: share.size_bytes for share in row.shares if share.service == service}
        told = [kind for kind in KINDS if found.get(kind, 0) >= _WORTH_A_WORD]
        colour = colours.of(str(service))
        parts = [Text.assemble((colours.shade(kind), colour), (f" {kind} {_gib(found[kind])}", "dim")) for kind in told]
        if parts:
            parts[-1].append(" GiB", "dim")
        lines += _folded(Text.assemble(("" if is_alone else f"{service}: ", colour)), parts, width)
    return lines


def _folded(start: Text, parts: Sequence[Text], width: int) -> list[Text]:
    """The parts in lines that break between two of them."""
    lines = [start]
    for part in parts:
        gap = "  " if lines[-1] is not start and lines[-1].plain.strip() else ""
        if len(lines[-1]) + len(gap) + len(part) > width:
            lines.append(Text(" " * len(start)))
            gap = ""
        lines[-1] = lines[-1] + gap + part
    return lines


def _gib(count: int) -> str:
    return f"{count / GIB:.1f}" if count >= GIB // 20 else f"{count / GIB:.2f}"


def _ram(plan: RigPlan) -> list[_Row]:
    uses = [
        (service.service, part.name, part.size_bytes * len(service.replicas))
        for service in plan.services
        for part in (service.memory.parts if service.memory else ())
        if part.device is None
    ]
    return [_Row("RAM", shares(uses), plan.ram_bytes, plan.offered_ram_bytes)]


def _gpus(budgets: Sequence[GpuBudget]) -> list[_Row]:
    """A row for each run of GPUs that look alike."""
    groups: list[list[GpuBudget]] = []
    for budget in budgets:
        found = next((group for group in groups if _are_alike(group[0], budget)), None)
        if found:
            found.append(budget)
        else:
            groups.append([budget])
    return [_row(group) for group in groups]


def _row(group: Sequence[GpuBudget]) -> _Row:
    first = group[0]
    return _Row(
        f"{_numbers(group)} {gpu_name(first.gpu)}",
        shares(first.uses),
        first.vram_bytes,
        first.offered_bytes,
        first.unused_because if not first.uses else None,
    )


def _numbers(group: Sequence[GpuBudget]) -> str:
    """`GPU 0`, `GPUs 0–3 each`, `GPUs 0, 2 each`."""
    if len(group) == 1:
        return f"GPU {number(group[0].gpu)}"
    return f"GPUs {spans([number(budget.gpu) for budget in group])} each"


def _are_alike(one: GpuBudget, other: GpuBudget) -> bool:
    if (one.gpu.name, one.vram_bytes, one.unused_because) != (other.gpu.name, other.vram_bytes, other.unused_because):
        return False
    mine, theirs = shares(one.uses), shares(other.uses)
    if [share[:2] for share in mine] != [share[:2] for share in theirs]:
        return False
    pairs = zip(mine, theirs, strict=True)
    return all(abs(first.size_bytes - second.size_bytes) < _ALIKE_BYTES for first, second in pairs)
