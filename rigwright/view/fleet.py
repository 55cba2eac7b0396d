"""A fleet on a terminal: rigs of which the very same is shown stand together, sorted by name."""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Mapping, Sequence

from rich.console import Console

from rigwright.plan.changes import Change
from rigwright.plan.service import RigPlan
from rigwright.resolve.rigs import ResolvedRigs
from rigwright.shown import alike, by_name
from rigwright.view.changes import show_changes
from rigwright.view.plan_table import show, summary
from rigwright.view.why import explain


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


def show_plans(
    screen: Console,
    planned: ResolvedRigs,
    changes: Mapping[str, Sequence[Change]],
    *,
    why: bool = False,
    missing: Mapping[str, str] | None = None,
) -> None:
    """Print the plans of all rigs, once for those that are alike, and a closing table where there are several."""
    is_fleet = len(planned.asked) > 1

    def page(screen: Console, name: str, *, others: Sequence[str] | None = None) -> None:
        """All that is told of a rig; without `others` nothing that is its own."""
        resolved, asked = planned.resolved[name], planned.asked[name]
        plan = anonymous(resolved.plan) if is_fleet and others != [] else resolved.plan
        show(screen, "" if others is None else name, asked.hardware, plan, others=others or ())
        if why:
            explain(screen, plan)
        if name in changes:
            show_changes(screen, asked, resolved, changes[name])

    together = groups(planned.resolved, page)
    for names in together:
        page(screen, names[0], others=names[1:])
    if is_fleet or missing:
        wrong = dict.fromkeys(planned.errors, "no plan") | dict.fromkeys(missing or (), "not read")
        summary(screen, {name: one.plan for name, one in planned.resolved.items()}, wrong, groups=together)
