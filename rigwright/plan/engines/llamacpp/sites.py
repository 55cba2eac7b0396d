"""llama.cpp: the GPUs on which a service may be put, alone, in layers and in copies, those that are alike together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from rigwright.plan.layouts import CPU, Site, sites_of_copies, sites_of_layers
from rigwright.plan.ranking import goal_of
from rigwright.plan.service import Layout
from rigwright.plan.ways import Ground
from rigwright.plan.wish import ServiceWish


def sites_of(wish: ServiceWish, ground: Ground, *, can_copy: bool) -> list[Site]:
    """Where the wish may be served: copies where it asks for them, or where many users are served and nobody says."""
    topology, on_gpus = ground.topology, wish.gpu != "none"
    asked = wish.replicas or 1
    on_cpu = [CPU] if wish.gpu in ("auto", "none") and asked == 1 else []
    if asked > 1 and not (on_gpus and topology.devices):
        on_cpu = [Site(Layout(kind="cpu", replicas=asked), ((),) * asked)] if wish.gpu in ("auto", "none") else []
    found = list(sites_of_layers(topology)) if on_gpus and asked == 1 else []
    may_copy = asked > 1 or (can_copy and wish.replicas is None and goal_of(wish) == "throughput")
    if on_gpus and may_copy:
        wanted = [asked] if asked > 1 else _worthwhile(wish.users)
        found += [site for site in sites_of_copies(topology) if site.layout.replicas in wanted]
    return found + on_cpu


def _worthwhile(users: int) -> list[int]:
    """Numbers of copies that no smaller one equals: five for eight users have two for one of them, as four have."""
    return [copies for copies in range(2, users + 1) if -(-users // -(-users // copies)) == copies]


def too_few(wish: ServiceWish, ground: Ground) -> str:
    """Why there is no room for as many copies as are asked for."""
    kinds = Counter(device.kind for device in ground.topology.devices)
    return (
        f"{wish.replicas} copies need as many equal GPUs, and at most {max(kinds.values(), default=0)} that this "
        f"service may use are of one kind; lower replicas"
    )


def classes_of(sites: Iterable[Site]) -> list[list[Site]]:
    """Sites that differ in nothing but which of equal GPUs they name: what holds of the first holds of all."""
    classes: dict[object, list[Site]] = {}
    for site in sites:
        cards = tuple(tuple((one.offered_bytes, one.pace) for one in group) for group in site.replicas)
        classes.setdefault((site.layout.kind, site.links_gbytes_per_second, cards), []).append(site)
    return list(classes.values())
