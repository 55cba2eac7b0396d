"""Uncounted: the inventory's own flags that load more than the plan knows of, or place a model without it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rigwright.plan.drafting import DRAFTER
from rigwright.plan.memory.said import GROWN
from rigwright.plan.reasons import Reason
from rigwright.plan.service import ServicePlan
from rigwright.plan.wish import ServiceWish
from rigwright.units import format_bytes

# Options of llama-server that load a further file, under all names that its --help gives them.
_LOADING = {
    "a draft model": (
        "--spec-draft-model", "--model-draft", "--spec-draft-hf", "--hf-repo-draft", "--spec-draft-model-url",
    ),
    "a projector": ("--mmproj", "--mmproj-url"),
    "an adapter": ("--lora", "--lora-scaled", "--control-vector", "--control-vector-scaled"),
    "a vocoder": ("--model-vocoder", "--hf-repo-v", "--hf-file-v"),
}  # fmt: skip


def uncounted(wishes: Sequence[ServiceWish], services: Sequence[ServicePlan]) -> tuple[Reason, ...]:
    """A line for each such flag, for each service whose memory nobody computed, where a dry run knew better, and where
    a model that others draft with is not asked for."""
    lines: list[Reason] = []
    for wish, service in zip(wishes, services, strict=True):
        lines += _files(wish)
        if kept := service.memory.named("image buffers") if service.memory else 0:
            because = (
                f"{service.service}: {format_bytes(kept)} are kept for computing an image, as much as the projector "
                "itself takes; large images may need more"
            )
            lines.append(Reason(choice="assumed of vision", because=because))
        told = (one for one in service.reasons if one.choice.startswith((GROWN, DRAFTER)))
        lines += [Reason(choice=one.choice, because=f"{service.service}: {one.because}") for one in told]
        if service.memory is None:
            why = next((one.because for one in service.reasons if one.choice == "memory not checked"), "")
            because = f"{service.service}: {why or 'what it takes is not known'}; nothing here says that it fits"
            lines.append(Reason(choice="MEMORY NOT COUNTED", because=because))
    return tuple(lines)


def _files(wish: ServiceWish) -> Iterator[Reason]:
    for what, names in _LOADING.items():
        for name in names:
            if wish.flags.get(name):
                because = (
                    f"{wish.name}: {name} loads {what}, whose memory is in no figure here; no deploy brings that file: "
                    "put it on the rig, and leave room for it"
                )
                yield Reason(choice="MEMORY NOT COUNTED", because=because)
