"""A fleet on a terminal: rigs of which the very same is shown stand together, sorted by name."""

from __future__ import annotations

import io
from collections.abc import Callable, Collection

from rich.console import Console

from rigwright.plan.service import RigPlan
from rigwright.shown import alike, by_name


def groups(names: Collection[str], show: Callable[[Console, str], None]) -> list[list[str]]:
    """The names, those together whose pages are the same; `show` prints the page of one, without its name."""
    if len(names) < 2:
        return [[name] for name in names]
    return [found for found, _ in alike({name: _page(show, name) for name in by_name(names)})]


def _page(show: Callable[[Console, str], None], name: str) -> str:
    page = io.StringIO()
    show(Console(file=page, width=200, color_system=None), name)
    return page.getvalue()


def anonymous(plan: RigPlan) -> RigPlan:
    """The plan without what only tells one card from its like: the UUIDs of its GPUs."""
    text = plan.model_dump_json()
    for place, gpu in enumerate(plan.gpus):
        if gpu.gpu.uuid:
            number = place if gpu.gpu.index is None else gpu.gpu.index
            text = text.replace(gpu.gpu.uuid, f"UUID-of-GPU-{number}")
    return RigPlan.model_validate_json(text)
