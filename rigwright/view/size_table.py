"""A size on a terminal: each part with its share, what is computed and what estimated, and whether a card holds it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from rigwright.plan.speed import Speed
from rigwright.units import GIB, format_bytes
from rigwright.view.bars import FREE, RESERVED, Colours, Share, bar, shares
from rigwright.view.hardware_words import clean
from rigwright.view.words import engine_name, short, tokens

_PARTS = {
    "weights_bytes": "weights",
    "kv_bytes": "KV cache",
    "kv_swa_bytes": "KV cache of windowed layers",
    "recurrent_bytes": "recurrent state",
    "compute_bytes": "compute buffers",
    "drafting_bytes": "drafting",
    "overhead_bytes": "CUDA contexts",
}
_BAR = 40


def show(
    console: Console,
    lines: Mapping[str, Any],
    *,
    vram_bytes: int | None,
    gpu_name: str | None,
    speed: Speed | None,
    context: str = "",
    remedies: Sequence[str] = (),
) -> None:
    """Print what `size` told; `context` is what it was asked for, `remedies` are what would make it fit."""
    title = " ".join(filter(None, (clean(str(lines["model"])), clean(str(lines["quant"] or "")))))
    asked = f", {context}" if context else ""
    console.print(Text.assemble((title, "bold"), f" under {engine_name(lines['engine'])}{asked}"), highlight=False)
    console.print(Padding(_table(lines), (0, 0, 0, 2)))
    for line in (*_devices(lines, vram_bytes, console), *_answers(lines, vram_bytes, gpu_name, speed, remedies)):
        console.print(Padding(line, (0, 0, 0, 2)), highlight=False)
    for note in lines["assumptions"]:
        console.print(Padding(Text(f"assumed: {clean(note)}", "dim"), (0, 0, 0, 2)), highlight=False)


def free_bytes(lines: Mapping[str, Any], vram_bytes: int) -> int:
    """What the fullest GPU has left, with its share of the margin; negative is what it lacks."""
    margin: int = lines["total_margin_bytes"] // len(lines["per_gpu"])
    fullest: int = max(one["total_bytes"] for one in lines["per_gpu"])
    return vram_bytes - fullest - margin


def _table(lines: Mapping[str, Any]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column()
    table.add_column(justify="right")
    table.add_column(style="dim")
    for key, name in _PARTS.items():
        if count := _sum(lines[key]):
            table.add_row(name, format_bytes(count), "" if lines["exact"].get(key) else "estimated")
    where = "on the GPUs" if len(lines["per_gpu"]) > 1 else "on the GPU" if lines["per_gpu"] else "in RAM"
    margin = lines["total_margin_bytes"]
    more = f"and up to {format_bytes(margin)} more while it computes" if margin else ""
    table.add_row(Text(where, "bold"), Text(format_bytes(lines["total_bytes"]), "bold"), more)
    if lines["per_gpu"] and lines["host_bytes"]:
        table.add_row("in RAM", format_bytes(lines["host_bytes"]), "")
    return table


def _sum(size: int | Sequence[int]) -> int:
    return size if isinstance(size, int) else sum(size)


def _devices(lines: Mapping[str, Any], vram_bytes: int | None, console: Console) -> Iterator[Text]:
    """A bar for each GPU, over its VRAM where that is known."""
    colours = Colours(["model"], is_ascii=not console.encoding.startswith("utf"))
    found = [shares(("model", name, size) for name, size in one["parts"].items()) for one in lines["per_gpu"]]
    largest = max((one["total_bytes"] for one in lines["per_gpu"]), default=0)
    for number, (parts, one) in enumerate(zip(found, lines["per_gpu"], strict=True)):
        whole = vram_bytes or largest
        stripe = _stripe(parts, whole, colours)
        of = f" of {format_bytes(vram_bytes)}" if vram_bytes else ""
        yield Text.assemble((f"GPU {number}  ", "bold"), stripe, f"  {one['total_bytes'] / GIB:.1f}{of or ' GiB'}")
    if found:
        kinds = {share.kind for parts in found for share in parts} | ({FREE} if vram_bytes else set())
        legend = colours.legend(kinds - {RESERVED}, console.width - 7).split("\n")
        yield from (Text.assemble("       ", line, style="dim") for line in legend)


def _stripe(parts: Sequence[Share], whole: int, colours: Colours) -> Text:
    return bar(list(parts), total_bytes=whole, offered_bytes=whole, width=_BAR, colours=colours)


def _answers(
    lines: Mapping[str, Any],
    vram_bytes: int | None,
    gpu_name: str | None,
    speed: Speed | None,
    remedies: Sequence[str],
) -> Iterator[Text]:
    """Does it fit, how many tokens does vLLM's pool hold, how fast is it."""
    if vram_bytes and lines["per_gpu"]:
        words = f"{clean(str(gpu_name))} with {format_bytes(vram_bytes)}"
        free = free_bytes(lines, vram_bytes)
        would = Text(f"; it would with {' or '.join(remedies)}" if remedies else "")
        yield (
            Text(f"fits {words}: {format_bytes(free)} free", "green")
            if free >= 0
            else Text.assemble((f"does not fit {words}: {format_bytes(-free)} short", "red"), would)
        )
    if lines.get("kv_tokens"):
        room = f"{tokens(lines['kv_tokens'])} tokens fit the KV cache"
        yield Text(f"{room}: {lines['max_concurrency']:.1f} requests of full length at once")
    if speed:
        spread = f"({short(speed.low)}–{short(speed.high)}, {speed.confidence} confidence)"
        yield Text.assemble((f"{short(speed.expected)} tokens/s", "bold"), f" {spread}: {speed.because}")
