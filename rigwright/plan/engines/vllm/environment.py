"""The environment of each copy of vLLM: which GPUs it sees, in which order, and how NCCL joins them.

Source: vLLM 0.33.0. `distributed/parallel_state.py` lays ranks out as DP × PP × TP, and rank i works on the i-th GPU of
CUDA_VISIBLE_DEVICES: GPUs of one tensor-parallel group must stand side by side. NCCL 2.30, "Environment variables".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

from rigwright.hardware.values import Link
from rigwright.plan.choice import Choice
from rigwright.plan.devices import Device
from rigwright.plan.engines.rendered import Environment, RenderContext
from rigwright.plan.engines.visibility import has_own_uuids, visible_devices
from rigwright.plan.engines.vllm.cpu import cache_gib
from rigwright.plan.engines.vllm.flags import is_linked
from rigwright.plan.known_issues import Configuration, known_issues
from rigwright.plan.reasons import Reason

_P2P = "https://github.com/vllm-project/vllm/issues/8087"


def environments(
    choice: Choice, target: RenderContext, version: str, links: Sequence[Link]
) -> tuple[tuple[Environment, ...], tuple[Reason, ...]]:
    """The environment of each copy, and the reasons that all share."""
    if not choice.devices:
        own = tuple(_on_cpu(choice, target))
        return (tuple((name, value) for name, value, _ in own),), tuple(reason for _, _, reason in own)
    every = [device for group in choice.replicas for device in group]
    named = Configuration("vllm", version, devices_by="uuid")
    is_safe = not any(issue.effect == "refuse" for issue in known_issues(named))
    by_uuid = is_safe and has_own_uuids(every)
    shared = list(_shared(choice, target, links))
    copies = tuple(
        (
            ("CUDA_DEVICE_ORDER", "PCI_BUS_ID"),
            ("CUDA_VISIBLE_DEVICES", visible_devices(group, by_uuid=by_uuid)),
            *((name, value) for name, value, _ in shared),
        )
        for group in choice.replicas
    )
    reasons = [
        Reason(
            choice="CUDA_DEVICE_ORDER=PCI_BUS_ID",
            because="numbers GPUs as nvidia-smi does, not by speed",
        ),
        Reason(choice="CUDA_VISIBLE_DEVICES", because=_why_visible(choice, version, by_uuid=by_uuid, is_safe=is_safe)),
        *(reason for _, _, reason in shared),
    ]
    return copies, tuple(reasons)


def _on_cpu(choice: Choice, target: RenderContext) -> Iterator[tuple[str, str, Reason]]:
    """Variables of a build for CPUs."""
    space = cache_gib(choice.variant.model, choice.load)
    yield _variable("VLLM_CPU_KVCACHE_SPACE", str(space), "GiB of RAM for the KV cache: a full context for each")
    because = "systemd says where it runs; vLLM would bind its threads to cores that others use too"
    yield _variable("VLLM_CPU_OMP_THREADS_BIND", "nobind", because)
    yield from _everywhere(choice, target)


def _why_visible(choice: Choice, version: str, *, by_uuid: bool, is_safe: bool) -> str:
    order = "tensor-parallel groups stand side by side" if choice.layout.tensor_parallel > 1 else "its GPUs"
    if by_uuid:
        return f"{order}; by UUID, which stays when a card is lost or moved"
    if not is_safe:
        return f"{order}; by index, as vLLM {version} fails on UUIDs"
    return f"{order}; by index, as not every GPU has a UUID of its own here"


def _shared(choice: Choice, target: RenderContext, links: Sequence[Link]) -> Iterator[tuple[str, str, Reason]]:
    """Variables that all copies have, each with its reason."""
    yield from _nccl(choice, links)
    yield from _everywhere(choice, target)


def _everywhere(choice: Choice, target: RenderContext) -> Iterator[tuple[str, str, Reason]]:
    yield _variable("VLLM_NO_USAGE_STATS", "1", "vLLM reports its use to its makers otherwise")
    if choice.wish.rope:
        because = "vLLM refuses a --max-model-len above the trained one otherwise"
        yield _variable("VLLM_ALLOW_LONG_MAX_MODEL_LEN", "1", because)
    if target.weights_path.startswith("/"):
        yield _variable("HF_HUB_OFFLINE", "1", "the weights are on the rig; a start must not wait for the network")


def _variable(name: str, value: str, because: str, source: str | None = None) -> tuple[str, str, Reason]:
    return name, value, Reason(choice=f"{name}={value}", because=because, source=source)


def _nccl(choice: Choice, links: Sequence[Link]) -> Iterator[tuple[str, str, Reason]]:
    """How GPUs exchange data: directly where that is known to work, else through RAM.

    A driver that promises direct access over PCIe and then hangs is the commonest reason for a start without an end.
    """
    devices = choice.devices
    if len(devices) < 2:
        return
    if choice.layout.tensor_parallel > 1 and is_tensor_linked(choice, links):
        because = "NVLinks join the GPUs of a group; other ways, which may hang, stay unused"
        yield _variable("NCCL_P2P_LEVEL", "NVL", because, _P2P)
        return
    states = [link.p2p for link in links_within(devices, links)]
    if states and all(state == "OK" for state in states):
        return  # NCCL finds that out itself
    is_refused = any(state not in (None, "OK") for state in states)
    if is_refused or all("GeForce" in device.name for device in devices):
        why = "the driver refuses direct access between them" if is_refused else "GeForce drivers refuse it over PCIe"
        yield _variable("NCCL_P2P_DISABLE", "1", f"{why}: data goes through RAM, and a hang is ruled out", _P2P)


def links_within(devices: Sequence[Device], links: Sequence[Link]) -> list[Link]:
    """The recorded links between these GPUs."""
    indexes = {device.gpu.index for device in devices}
    return [link for link in links if link.first in indexes and link.second in indexes]


def is_tensor_linked(choice: Choice, links: Sequence[Link]) -> bool:
    """True when NVLinks join each with each in all tensor-parallel groups; without links the layout's one counts."""
    if not links:
        return is_linked([choice.layout.link])
    kinds = {(link.first, link.second): link.kind for link in links}
    size = choice.layout.tensor_parallel
    for group in choice.replicas:
        for start in range(0, len(group), size):
            indexes = sorted(device.gpu.index or 0 for device in group[start : start + size])
            if not is_linked([kinds.get(pair) for pair in combinations(indexes, 2)]):
                return False
    return True
