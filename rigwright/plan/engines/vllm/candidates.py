"""vLLM: each repository tensor parallel on one, two, four GPUs, in pipelines, and in copies side by side."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import product

from rigwright.models.values import Model
from rigwright.models.variants import Variant
from rigwright.plan.choice import Choice
from rigwright.plan.contexts import contexts
from rigwright.plan.devices import Device
from rigwright.plan.engines.vllm.flags import cache_type_of
from rigwright.plan.engines.vllm.memory import VllmChoice, VllmLoad, capacity_of, estimate_vllm, kv_capacity
from rigwright.plan.engines.vllm.parallel import tensor_parallel_error
from rigwright.plan.known_issues import known_issues, version_of
from rigwright.plan.layouts import GpuAssignment, is_wished, tensor_assignments
from rigwright.plan.memory import Load
from rigwright.plan.ranking import USUAL_DEPTH_TOKENS, USUAL_TOKENS, depth_of, goal_of, score
from rigwright.plan.search_space import Candidate, Miss, SearchResult, SearchSpace, configuration
from rigwright.plan.speed import Speed, decode_speed
from rigwright.plan.wish import ServiceWish
from rigwright.units import GIB

# vLLM's own default; what is left holds its graphs and what others allocate.
_UTILIZATION = 0.92
# vLLM's own defaults for a server. Source: 0.33.0, EngineArgs.get_batch_defaults.
_LARGE_BYTES, _BATCHED_TOKENS, _BATCHED_TOKENS_LARGE = 70 * GIB, 2048, 8192

# Weights of 4 bit are unpacked to 16 before each product: free while memory is what waits, up to batches of 16 to 32.
# Source: the Marlin paper (arXiv 2408.11743), figure 1; the share beyond is a guess.
_UNPACKED, _UNPACKING_USERS, _UNPACKING_SHARE = ("INT4", "AWQ", "GPTQ", "W4A16"), 16, 0.6
# Cards without products in these types unpack them too. Source: the support matrix of vLLM's quantization docs.
_UNPACKED_BEFORE = {"FP8": (8, 9), "NVFP4": (10, 0)}
# The Tesla V100 and the Quadro GV100.
_LARGEST_BEFORE_TURING_BYTES = 32 * GIB
# A cache large enough that blocks, which are whole, do not count.
_PROBE_BYTES = 1 << 50


def with_tensors(
    wish: ServiceWish,
    variants: Sequence[Variant],
    space: SearchSpace,
    found: SearchResult,
    *,
    version: str,
    bias: float,
) -> None:
    """The candidates that serve repositories of safetensors."""
    if wish.gpu == "none":
        found.refused["vLLM"] = "it needs a GPU, and the inventory says gpu: none; serve with llama.cpp"
        return
    assignments = tuple(tensor_assignments(space.topology))
    if not assignments:
        found.refused["vLLM"] = "it needs a GPU, and none of this rig may serve; serve with llama.cpp"
    assignments = tuple(one for one in assignments if is_wished(one.layout, wish.layout))
    if not assignments and wish.layout:
        found.refused.setdefault("vLLM", f"vLLM has no layout {wish.layout} for the GPUs that this service may use")
    wanted = [one for one in assignments if _is_wanted(wish, one.layout.replicas)]
    if assignments and not wanted:
        found.refused["vLLM"] = f"{wish.replicas} copies need more equal GPUs than this service may use; lower replicas"
    for variant, assignment in product(variants, wanted):
        name = f"vLLM, {assignment.layout}, {variant.quant}"
        error = tensor_parallel_error(variant.model, assignment.layout.tensor_parallel, variant.quant)
        now = configuration(
            wish,
            variant,
            space,
            assignment,
            engine="vllm",
            load=Load(wish.context or 0),
            pipeline_parallel=assignment.layout.pipeline_parallel,
        )
        issues = known_issues(now)
        refusal = next((str(issue) for issue in issues if issue.effect == "refuse"), None)
        if refusal := error or _unsuitable(wish, assignment) or refusal:
            found.refused.setdefault(name, refusal)
        elif candidate := _tensored(
            wish, variant, space, assignment, found, issues=len(issues), version=version, bias=bias
        ):
            found.candidates.append(candidate)


def _is_wanted(wish: ServiceWish, copies: int) -> bool:
    """True where so many copies are asked for, or are worth having."""
    if wish.replicas:
        return copies == wish.replicas
    # A copy more than there are users serves nobody, unless throughput as such is the wish.
    return copies <= wish.users or wish.goal == "throughput"


def _unsuitable(wish: ServiceWish, assignment: GpuAssignment) -> str | None:
    """Why vLLM cannot, or had better not, be put on these GPUs."""
    if other := next((device for device in assignment.devices if device.throughput.backend != "cuda"), None):
        where = f"{other.label} is from {other.gpu.vendor}"
        return f"this version installs vLLM for CUDA alone, and {where}; serve with llama.cpp"
    if wish.engine == "auto" and (other := next(filter(_may_be_old, assignment.devices), None)):
        return f"it needs compute capability 7.5, and that of {other.label} is not known; set engine to vllm to try"
    return None


def _may_be_old(device: Device) -> bool:
    """True for an unknown card of a size that there was before Turing."""
    return not device.throughput.compute_capability and device.vram_bytes <= _LARGEST_BEFORE_TURING_BYTES


def _tensored(
    wish: ServiceWish,
    variant: Variant,
    space: SearchSpace,
    assignment: GpuAssignment,
    found: SearchResult,
    *,
    issues: int,
    version: str,
    bias: float,
) -> Candidate | None:
    model, devices = variant.model, assignment.devices
    longest = 2**21 if goal_of(wish) == "context" else USUAL_TOKENS
    named = (wish.context,) if wish.context else ()
    steps = named or tuple(contexts(model, longest=longest, least=wish.min_context or 0))
    share = min(device.offered_bytes / device.vram_bytes for device in devices)
    sizes = tuple(device.vram_bytes for device in devices)
    cache = cache_type_of(wish.cache_type, [device.throughput.compute_capability for device in devices])
    base = VllmLoad(
        max_model_len=steps[-1],
        tensor_parallel=assignment.layout.tensor_parallel,
        pipeline_parallel=assignment.layout.pipeline_parallel,
        kv_bytes=cache.element_bytes,
        kv_scale_bytes=cache.scale_bytes,
        speculative_tokens=wish.own_drafts,
        max_batched_tokens=_BATCHED_TOKENS if min(sizes) < _LARGE_BYTES else _BATCHED_TOKENS_LARGE,
        utilization=int(min(_UTILIZATION, share) * 100) / 100,
        version=version,
    )
    if load := _longest(model, base, steps, sizes):
        depth = depth_of(wish, load.max_model_len)
        speed = tensor_speed(wish, variant, space, assignment, load.max_model_len, depth_tokens=depth)
        asked = Load(context_tokens=load.max_model_len, slots=max(1, -(-wish.users // assignment.layout.replicas)))
        choice = Choice(
            wish,
            variant,
            "vllm",
            assignment.layout,
            assignment.replicas,
            asked,
            None,
            None,
            speed,
            own=VllmChoice(load),
        )
        taken = {device.ordinal: device.offered_bytes for group in assignment.replicas for device in group}
        return Candidate(choice, score(choice, bias=bias, issues=issues), taken, 0, assignment)
    needs, offers_bytes = _least(model, base, sizes)
    short = needs - offers_bytes
    found.misses.append(Miss("vllm", variant, assignment, Load(steps[-1]), needs, offers_bytes, short, is_each=True))
    return None


def _least(model: Model, load: VllmLoad, sizes: Sequence[int]) -> tuple[int, int]:
    """What the fullest GPU needs for one request of that context, and what vLLM may take of it."""
    one = -int(-_PROBE_BYTES // kv_capacity(model, load, _PROBE_BYTES).concurrency)
    parts = [part for part in estimate_vllm(model, load, sizes).memory.parts if part.name != "KV cache"]
    needs = [one + sum(part.size_bytes for part in parts if part.device == rank) for rank in range(len(sizes))]
    fullest = max(range(len(sizes)), key=lambda rank: needs[rank] - sizes[rank] * load.utilization)
    variants = int(sizes[fullest] * load.utilization)
    return max(needs[fullest], variants + 1), variants


# Copies of a layout and its like on equal GPUs ask the same.
@lru_cache(maxsize=4096)
def _longest(model: Model, base: VllmLoad, steps: tuple[int, ...], sizes: tuple[int, ...]) -> VllmLoad | None:
    """The longest context of which one request at least fits into the cache."""
    low, high = 0, len(steps) - 1
    best: VllmLoad | None = None
    while low <= high:
        middle = (low + high) // 2 if best else high
        load = base._replace(max_model_len=steps[middle])
        capacity = capacity_of(model, load, sizes)
        if capacity is not None and capacity.concurrency >= 1:
            best, high = load, middle - 1
        elif best is None:
            return None
        else:
            low = middle + 1
    return best


def tensor_speed(
    wish: ServiceWish,
    variant: Variant,
    space: SearchSpace,
    assignment: GpuAssignment,
    context_tokens: int,
    *,
    depth_tokens: int = USUAL_DEPTH_TOKENS,
) -> Speed:
    """The speed of the first copy; together with the others they serve what each can."""
    per_copy = max(1, -(-wish.users // assignment.layout.replicas))
    copies = {
        link: decode_speed(
            variant.model,
            throughputs=[device.throughput for device in assignment.devices],
            placement=None,
            depth_tokens=min(context_tokens, depth_tokens),
            engine="vllm",
            tensor_parallel=assignment.layout.tensor_parallel,
            link_gbytes_per_second=link or None,
            host=space.host,
            draft_tokens=wish.own_drafts,
            users=per_copy,
        )
        for link in dict.fromkeys(assignment.links_gbytes_per_second)
    }
    each = [copies[link] for link in assignment.links_gbytes_per_second]
    # Seven copies for eight users have seats for fourteen.
    filled = wish.users / (per_copy * len(each)) if wish.users >= len(each) else 1.0
    together = sum(one.aggregate or one.expected for one in each) * filled
    if wish.users > _UNPACKING_USERS * len(each) and _unpacks(variant.quant.upper(), assignment):
        together *= _UNPACKING_SHARE
    return each[0].model_copy(update={"aggregate": together})


def _unpacks(quant: str, assignment: GpuAssignment) -> bool:
    """True where weights become 16 bit before each product."""
    capability = version_of(assignment.devices[0].throughput.compute_capability)
    before = next((bound for name, bound in _UNPACKED_BEFORE.items() if name in quant), None)
    if before:
        return capability is not None and capability < before
    return any(word in quant for word in _UNPACKED)
