"""Long prompts and many users: rough, since both depend on how an engine cuts its batches."""

from __future__ import annotations

from collections.abc import Sequence

from rigwright.models.values import Model
from rigwright.plan.speed.kinds import Host, settings
from rigwright.plan.speed.reads import reads_of
from rigwright.plan.speed.stages import Seconds

# A prompt is computed in steps of so many tokens; each step copies anew what lies in RAM. llama.cpp's --ubatch-size.
_STEP_TOKENS = 512
# A PCIe 4.0 slot of eight lanes, or 3.0 of sixteen, as large copies reach it.
_PCIE_GBYTES_PER_SECOND = 12.0
# What an engine reaches of the ideal batch where speed.yml has no `batch_share` for it.
_BATCH_SHARE = 0.6


def prefill_speed(model: Model, parts: Sequence[Seconds], host: Host | None) -> float:
    """Tokens per second of a long prompt: what the devices compute, and what is copied to them."""
    flops = 2 * reads_of(model).active_parameters
    factor = settings()["mixture_prefill"]["factor"] if model.is_mixture else 1.0
    pcie = (host.pcie_gbytes_per_second if host else None) or _PCIE_GBYTES_PER_SECOND
    is_alone = all(part.is_host for part in parts)
    seconds = 0.0
    for part in parts:
        if part.is_host and not is_alone:
            seconds += part.copied_bytes / (pcie * 1e9) / _STEP_TOKENS
        else:
            seconds += flops * part.share / (part.gflops * 1e9 * factor)
    return 1 / seconds


def aggregate_speed(model: Model, parts: Sequence[Seconds], *, engine: str, users: int) -> float:
    """Tokens per second of all users: one reading of the weights serves all, each has a KV cache of its own.

    With a mixture each user picks experts of its own: of E experts, k per token, N users touch E × (1 - (1 - k/E)^N).
    """
    touched = 1.0
    if model.experts:
        share = model.experts_used / model.experts
        touched = (1 - (1 - share) ** users) / share
    step = sum(part.weights + part.experts * (touched - 1) + users * part.cache + part.fixed for part in parts)
    flops = 2 * reads_of(model).active_parameters * users
    step = max(step, sum(flops * part.share / (part.gflops * 1e9) for part in parts))
    reached: float = settings()["engines"].get(engine, {}).get("batch_share", _BATCH_SHARE)
    return users / step * reached
