"""How a person reads a plan: numbers short, GPUs by index, engines by the names that their makers give them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from rigwright.hardware.values import Gpu
from rigwright.plan.devices import spans
from rigwright.plan.engines import label
from rigwright.plan.service import GpuRef, Layout, ServicePlan
from rigwright.view.hardware_words import short_name

_COMMIT = re.compile(r"\b[0-9a-f]{40}\b")


def engine_name(engine: str) -> str:
    """`llama.cpp` of `llamacpp`."""
    return "ik_llama.cpp" if engine == "ik_llamacpp" else label(engine)


def short(rate: float) -> str:
    """`112`, `8.4`, `2,400`: three digits are enough of a rate."""
    return f"{rate:.1f}" if rate < 9.95 else f"{rate:,.0f}"


def tokens(count: int) -> str:
    """`131,072`."""
    return f"{count:,}"


def numbers_of(title: str) -> Literal["left", "right"]:
    """Columns of numbers stand on their last digit."""
    return "right" if title in ("context", "tok/s", "tok/s each", "memory", "score") else "left"


def without_commits(text: str) -> str:
    """A commit is told by its first nine digits."""
    return _COMMIT.sub(lambda found: found[0][:9], text)


def served(service: ServicePlan) -> str:
    """Model and quant, as far as they are known."""
    return service.model if service.quant == "unknown" else f"{service.model} {service.quant}"


def indexes(gpus: Sequence[GpuRef]) -> str:
    """`0+2`, and `0–7` for a longer run."""
    known = [gpu.index for gpu in gpus if gpu.index is not None]
    is_run = len(known) == len(gpus) > 3 and known == list(range(known[0], known[0] + len(known)))
    return f"{known[0]}–{known[-1]}" if is_run else "+".join(number(gpu) for gpu in gpus)


def gpu_name(gpu: GpuRef) -> str:
    """`RTX 3090`."""
    return short_name(Gpu(name=gpu.name))


def number(gpu: GpuRef) -> str:
    """The index of a GPU, `?` before a driver gave it one."""
    return "?" if gpu.index is None else str(gpu.index)


def on(service: ServicePlan) -> str:
    """`GPU 0 (RTX 3090)`, `GPUs 0+2 (RTX 3090), TP=2 joined by NV4`, `CPU`."""
    groups = [replica.gpus for replica in service.replicas if replica.gpus]
    if not groups:
        return "the CPU alone"
    names = " and ".join(dict.fromkeys(gpu_name(gpu) for group in groups for gpu in group))
    each = [indexes(group) for group in groups]
    if all(one.isdecimal() for one in each):
        each = sorted(each, key=int)  # of copies, as people count: which of them has which port says --command
    numbers = spans(each) if max(map(len, groups)) == 1 else " and ".join(each)
    plural = "s" if sum(map(len, groups)) > 1 else ""
    where = f"GPU{plural} {numbers} ({names})"
    return where if service.layout.kind == "single" and len(groups) == 1 else f"{where}, {layout_words(service.layout)}"


def layout_words(layout: Layout) -> str:
    """The layout and what joins its GPUs."""
    return f"{layout}" + (f" joined by {layout.link}" if layout.link else "")
