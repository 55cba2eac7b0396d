"""What all GPUs of a rig leave of branches and flavours together, or why nothing is left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rigwright.hardware.software import Flavour
from rigwright.hardware.values import Problem
from rigwright.plan.driver.gpus import DrivenGpu
from rigwright.plan.driver.tables import has_flavour
from rigwright.plan.driver.values import DriverWish


class Allowed(NamedTuple):
    """Branches from `first` to `last` (None: no end), in these flavours."""

    first: int
    last: int | None
    flavours: frozenset[Flavour]

    def takes(self, branch: int, flavour: Flavour) -> bool:
        """Whether a driver may be that."""
        is_within = self.first <= branch and (self.last is None or branch <= self.last)
        return is_within and flavour in self.flavours and has_flavour(branch, flavour)


def allowed(gpus: Sequence[DrivenGpu], wish: DriverWish) -> tuple[Allowed, tuple[Problem, ...]]:
    """The drivers that drive every GPU, satisfy the engines and the inventory; and why there are none."""
    known = [one for one in gpus if one.limits]
    problems = [*_too_old(gpus), *_unknown(gpus)]
    first = max((one.limits.first for one in known if one.limits), default=0)
    last = min((one.limits.last for one in known if one.limits and one.limits.last), default=None)
    flavours: frozenset[Flavour] = frozenset(("open", "proprietary"))
    for one in known:
        flavours &= one.limits.flavours if one.limits else flavours
    if not problems and (not flavours or (last and first > last)):
        problems.append(_exclusion(known))
    problems += list(_needs(known, wish, last))
    least = max([first, *(need.driver for need in wish.needs if need.driver)])
    found = Allowed(least, last, frozenset((wish.modules,)) & flavours if wish.modules else flavours)
    if wish.modules and flavours and not found.flavours:
        problems.append(_wrong_wish(known, wish.modules))
    if wish.branch and not problems and not any(found.takes(wish.branch, flavour) for flavour in found.flavours):
        problems.append(_wrong_branch(known, wish, found))
    if wish.branch:
        found = found._replace(first=max(found.first, wish.branch), last=wish.branch)
    return found, tuple(problems)


def _too_old(gpus: Sequence[DrivenGpu]) -> Iterator[Problem]:
    for one in gpus:
        is_kepler = one.architecture == "Kepler"
        if is_kepler or one.architecture == "older than Kepler":
            what = (
                "is a Kepler: its last driver is branch 470, which no kernel or CUDA of today goes with"
                if is_kepler
                else "is older than Kepler: no driver of today drives it"
            )
            yield Problem("gpu_too_old", one.gpu.label, f"{one.label} {what}", "take it out of the rig")


def _unknown(gpus: Sequence[DrivenGpu]) -> Iterator[Problem]:
    for one in gpus:
        # One that a driver answers for, or did, is driven by it, whatever it is called.
        if one.architecture is None and one.gpu.state is None:
            what = f"{one.label}: neither its PCI id nor its name says which chip it is"
            do = "record the machine with lspci -nn, or name the GPU with --gpu-model"
            yield Problem("gpu_unknown", one.gpu.label, what, do)


def _exclusion(known: Sequence[DrivenGpu]) -> Problem:
    """Pascal beside Blackwell: the one is driven by proprietary modules up to 580, the other by open ones alone."""
    old = min(known, key=lambda one: (one.limits.last or 9999) if one.limits else 9999)
    new = max(known, key=lambda one: one.limits.first if one.limits else 0)
    most = old.limits.last if old.limits else None
    return Problem(
        "gpus_exclude_each_other",
        f"{old.gpu.label} and {new.gpu.label}",
        f"{old.label} needs proprietary modules of branch {most} or older, {new.label} open ones: one kernel loads one",
        f"take out {old.gpu.name or old.label} or {new.gpu.name or new.label}, move one of them to another rig, or "
        "pass one through to a virtual machine",
    )


def _needs(known: Sequence[DrivenGpu], wish: DriverWish, last: int | None) -> Iterator[Problem]:
    for need in wish.needs:
        if need.driver and last and need.driver > last:
            oldest = next(one for one in known if one.limits and one.limits.last == last)
            what = f"{need.engine} needs driver {need.driver} or newer, {oldest.label} none after {last}"
            yield Problem("engine_needs_newer_driver", need.engine, what, "serve with another engine, or other GPUs")


def _wrong_wish(known: Sequence[DrivenGpu], modules: Flavour) -> Problem:
    other = "open" if modules == "proprietary" else "proprietary"
    against = next(one for one in known if one.limits and modules not in one.limits.flavours)
    what = f"{against.label} is driven by {other} modules alone, the inventory asks for {modules} ones"
    return Problem("modules_do_not_fit", against.gpu.label, what, f"write modules: {other}, or auto")


def _wrong_branch(known: Sequence[DrivenGpu], wish: DriverWish, found: Allowed) -> Problem:
    until = f" to {found.last}" if found.last else " and newer"
    names = ", ".join(dict.fromkeys(one.label for one in known)) or "this rig"
    flavours = " or ".join(sorted(found.flavours))
    what = f"branch {wish.branch} does not go with {names}: {found.first}{until}, {flavours} modules"
    return Problem("branch_does_not_fit", "nvidia.branch", what, "write branch: auto, or one of these")
