"""Long prompts and many users: rougher than one user, since both depend on how an engine cuts its batches."""

from __future__ import annotations

from collections.abc import Sequence

from rigwright.models.values import Model
from rigwright.plan.speed.kinds import Host, engine_speed, settings
from rigwright.plan.speed.reads import reads_of
from rigwright.plan.speed.stages import Seconds


def prefill_speed(model: Model, parts: Sequence[Seconds], host: Host | None, *, engine: str) -> float:
    """Tokens per second of a long prompt: what the devices compute, hand to each other, and is copied to them."""
    steps = engine_speed(engine).step_tokens
    flops = 2e-9 * reads_of(model).active_parameters / _product_share(model, steps)
    if len(parts) == 1:  # once for every candidate of a search
        return 1 / (flops * parts[0].share / parts[0].gflops + parts[0].wire)
    on_devices = [part for part in parts if not part.is_host]
    computed = [flops * part.share / part.gflops + part.wire for part in on_devices or parts]
    seconds = sum(computed) / _pipeline_gain(computed, engine)
    if on_devices:
        known = host.pcie_gbytes_per_second if host else None
        pcie = (known or settings()["offload"]["pcie_gbytes_per_second"]) * 1e9
        seconds += sum(part.copied_bytes for part in parts) / pcie / steps
    return 1 / seconds


def aggregate_speed(
    model: Model, parts: Sequence[Seconds], *, engine: str, users: int, prefill: float, gain: float = 1.0
) -> float:
    """Tokens per second of all users, whose prompts are read meanwhile in the usual mix.

    One reading of the weights serves all, each has a KV cache of its own. With a mixture each user picks experts of its
    own: of E experts, k per token, N users touch E × (1 - (1 - k/E)^N). `gain` is what drafts make of a step.
    """
    touched = 1.0
    if model.experts:
        share = model.experts_used / model.experts
        touched = (1 - (1 - share) ** users) / share
    flops = 2e-9 * reads_of(model).active_parameters * users
    read = computed = waits = 0.0
    for part in parts:  # once for every candidate of a search: three sums would take as long as the speed itself
        read += part.weights + part.experts * (touched - 1) + users * part.cache + part.fixed
        computed += flops * part.share / part.gflops
        waits += part.waits + (users - 1) * part.wire
    step = max(read, computed) + waits
    step /= engine_speed(engine).batch_share * gain
    prompts: float = users * settings()["usual_mix"]["prompt_tokens_per_token"] / prefill
    return users / (step + prompts)


def _product_share(model: Model, step_tokens: int) -> float:
    """What products of a step reach: with a mixture each expert gets few of its tokens."""
    if not model.is_mixture:
        return 1.0
    each = step_tokens * model.experts_used / model.experts
    return float(each / (each + settings()["mixture_prefill"]["half_at_tokens"]))


def _pipeline_gain(computed: Sequence[float], engine: str) -> float:
    """How much sooner devices in a row are done that each work on a ubatch of their own; the slowest of them decides.

    A batch of u ubatches passes n devices in u + n - 1 turns instead of u × n.
    """
    count = len(computed)
    if count < 2 or engine == "vllm":
        return 1.0
    row = settings()["pipeline_prefill"]
    turns = (row["ubatches"] + count - 1) * max(computed)
    return max(1.0, float(row["share"] * row["ubatches"] * sum(computed) / turns))
