"""vLLM: each repository tensor parallel on one, two, four GPUs, in pipelines, and in copies side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

from rigwright.models.quants import KvCacheType
from rigwright.models.values import Model
from rigwright.models.variants import Variant
from rigwright.plan.choice import Choice
from rigwright.plan.contexts import contexts
from rigwright.plan.devices import Device
from rigwright.plan.engines.vllm.cache import VllmLoad
from rigwright.plan.engines.vllm.cache_types import is_named, is_short_alone, tried
from rigwright.plan.engines.vllm.loads import least, loads_of, longest
from rigwright.plan.engines.vllm.memory import VllmChoice, room_for_cache
from rigwright.plan.engines.vllm.parallel import tensor_parallel_error
from rigwright.plan.known_issues import Configuration, KnownIssue, known_issues, version_of
from rigwright.plan.layouts import GpuAssignment, is_wished, tensor_assignments
from rigwright.plan.memory import Load
from rigwright.plan.ranking import USUAL_DEPTH_TOKENS, depth_of, longest_context, score
from rigwright.plan.search_space import Candidate, Miss, SearchResult, SearchSpace, configuration
from rigwright.plan.speed import Speed, decode_speed
from rigwright.plan.wish import ServiceWish
from rigwright.units import GIB

# Weights of 4 bit are unpacked to 16 before each product: free while memory is what waits, up to batches of 16 to 32.
# Source: the Marlin paper (arXiv 2408.11743), figure 1; the share beyond is a guess.
_UNPACKED, _UNPACKING_USERS, _UNPACKING_SHARE = ("INT4", "AWQ", "GPTQ", "W4A16"), 16, 0.6
# Cards without products in these types unpack them too. Source: the support matrix of vLLM's quantization docs.
_UNPACKED_BEFORE = {"FP8": (8, 9), "NVFP4": (10, 0)}
# The Tesla V100 and the Quadro GV100.
_LARGEST_BEFORE_TURING_BYTES = 32 * GIB


def with_tensors(
    wish: ServiceWish,
    variants: Sequence[Variant],
    space: SearchSpace,
    found: SearchResult,
    *,
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
    with_assignments(wish, variants, space, found, wanted, bias=bias)


def with_assignments(
    wish: ServiceWish,
    variants: Sequence[Variant],
    space: SearchSpace,
    found: SearchResult,
    assignments: Sequence[GpuAssignment],
    *,
    bias: float,
) -> None:
    """The candidates on these GPUs, and why others are none."""
    files = [(one, _contexts(wish, one.model, is_shared=space.is_shared)) for one in variants if assignments]
    for (variant, steps), assignment in product(files, assignments):
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
        if refusal := error or _unsuitable(wish, assignment) or _refusal(issues):
            found.refused.setdefault(name, refusal)
        else:
            _add_tensored(wish, variant, space, assignment, found, now, steps, issues=len(issues), bias=bias)


def _refusal(issues: Sequence[KnownIssue]) -> str | None:
    return next((str(issue) for issue in issues if issue.effect == "refuse"), None)


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


def _add_tensored(
    wish: ServiceWish,
    variant: Variant,
    space: SearchSpace,
    assignment: GpuAssignment,
    found: SearchResult,
    now: Configuration,
    steps: tuple[int, ...],
    *,
    issues: int,
    bias: float,
) -> None:
    """A candidate for each type of KV cache that holds more than the one before, or by how much the last one fails."""
    model, sizes = variant.model, tuple(device.vram_bytes for device in assignment.devices)
    loads: tuple[VllmLoad, ...] = ()
    best = 0
    for cache in tried(wish, _refuses(now)):
        loads = loads or loads_of(wish, model, assignment, sizes, version=now.version)
        if not best and room_for_cache(model, loads[-1], sizes) <= 0:
            break
        loads = tuple(load._replace(kv_bytes=cache.element_bytes, kv_scale_bytes=cache.scale_bytes) for load in loads)
        # Better a slow type than none.
        is_any = is_named(wish) or not best
        possible = tuple(step for step in steps if step > best and (is_any or not is_short_alone(cache, step)))
        if load := longest(model, loads, possible, sizes) if possible else None:
            best = load.max_model_len
            if cache.name != "auto":
                issues = len(known_issues(now._replace(cache_types=(cache.name,)))) + is_short_alone(cache, best)
            found.candidates.append(_candidate(wish, variant, space, assignment, load, cache, bias=bias, issues=issues))
        if best == steps[0]:
            return
    if not best:
        found.misses.append(_miss(variant, assignment, loads[-1]._replace(max_model_len=steps[-1]), sizes))


def _miss(variant: Variant, assignment: GpuAssignment, load: VllmLoad, sizes: tuple[int, ...]) -> Miss:
    needs, offers = least(variant.model, load, sizes)
    return Miss("vllm", variant, assignment, Load(load.max_model_len), needs, offers, needs - offers, is_each=True)


def _contexts(wish: ServiceWish, model: Model, *, is_shared: bool) -> tuple[int, ...]:
    longest = longest_context(wish, is_shared=is_shared)
    return (wish.context,) if wish.context else tuple(contexts(model, longest=longest, least=wish.min_context or 0))


def _refuses(now: Configuration) -> Callable[[str], bool]:
    """Whether these GPUs cannot keep a KV cache of a type; what nobody knows of a GPU counts as no."""

    def refuses(name: str) -> bool:
        is_unknown = name == "fp8" and not now.compute_capabilities
        return is_unknown or _refusal(known_issues(now._replace(cache_types=(name,)))) is not None

    return refuses


def _candidate(
    wish: ServiceWish,
    variant: Variant,
    space: SearchSpace,
    assignment: GpuAssignment,
    load: VllmLoad,
    cache: KvCacheType,
    *,
    bias: float,
    issues: int,
) -> Candidate:
    tokens = load.max_model_len
    choice = Choice(
        wish,
        variant,
        "vllm",
        assignment.layout,
        assignment.replicas,
        Load(context_tokens=tokens, slots=load.max_seqs, cache_type_k=cache.name, cache_type_v=cache.name),
        None,
        None,
        tensor_speed(
            wish, variant, space, assignment, tokens, cache_type=cache.name, depth_tokens=depth_of(wish, tokens)
        ),
        own=VllmChoice(load),
        cache_loss_percent=cache.loss_percent,
    )
    taken = {device.ordinal: device.offered_bytes for group in assignment.replicas for device in group}
    return Candidate(choice, score(choice, bias=bias, issues=issues), taken, 0, assignment)


def tensor_speed(
    wish: ServiceWish,
    variant: Variant,
    space: SearchSpace,
    assignment: GpuAssignment,
    context_tokens: int,
    *,
    cache_type: str = "auto",
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
            cache_types=(cache_type, cache_type),
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
    if space.network:
        each = [space.network.slowed(one, assignment.layout, variant.model, users=per_copy) for one in each]
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
