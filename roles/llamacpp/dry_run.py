"""llama.cpp's own dry run of a plan, on the rig, before a service is switched to it."""

from __future__ import annotations

import shlex

from rigwright.hardware import Hardware
from rigwright.plan.service import ServicePlan
from rigwright.units import MIB

# What decides about memory; llama-fit-params refuses what concerns the server alone.
_ASKED = frozenset((
    "--model", "--ctx-size", "--parallel", "--kv-unified", "--flash-attn", "--cache-type-k", "--cache-type-v",
    "--device", "--n-gpu-layers", "--n-cpu-moe", "--split-mode", "--tensor-split", "--batch-size", "--ubatch-size",
    "--load-mode", "--override-tensor", "--swa-full", "--rope-scaling", "--rope-scale",
))  # fmt: skip


def dry_run(plan: ServicePlan, hardware: Hardware) -> dict[str, str]:
    """The variables of reckon.sh: arguments, environment, and the memory of each GPU in MiB in the engine's order."""
    words = [word for flag in plan.flags if flag.name in _ASKED for word in (flag.name, flag.value) if word is not None]
    sizes = {(gpu.index, gpu.uuid): gpu.vram_bytes or 0 for gpu in hardware.gpus}
    room = [sizes.get((gpu.index, gpu.uuid), 0) // MIB for gpu in plan.replicas[0].gpus]
    return {
        "FIT": shlex.join(words),
        "VISIBLE": shlex.join(f"{name}={value}" for name, value in plan.environment),
        "ROOM": " ".join(map(str, room)) if all(room) else "",
    }
