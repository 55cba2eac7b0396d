"""A choice as the flags of `vllm serve`, each with its reason.

Source of every flag: `vllm serve --help=all` of vLLM 0.33.0; catalogue/vllm_flags.yml is made from its parser.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from rigwright.errors import WrongSpec
from rigwright.hardware.links import NVLINK_RANK, rank
from rigwright.plan.choice import Choice
from rigwright.plan.engines.modes import per_request_sampling, sampling_of, switch_of, template_words
from rigwright.plan.engines.rendered import RenderContext
from rigwright.plan.engines.vllm.cache import KvCapacity, VllmLoad
from rigwright.plan.engines.vllm.cache_types import LONG_TOKENS
from rigwright.plan.engines.vllm.memory import VllmChoice
from rigwright.plan.reasons import Reason
from rigwright.plan.service import Flag
from rigwright.plan.yarn import vllm_overrides, yarn_of

# Longer than most answers still take; the unit's own limit must be larger.
DRAIN_SECONDS = 20
_DEFAULT_UTILIZATION = 0.92
_WHY_STEP = "computed at once: the memory was computed with it, and a whole block of the KV cache must fit in"
_YARN = "https://github.com/vllm-project/vllm/pull/37430"
_BLOCKS = "https://github.com/vllm-project/vllm/pull/34445"
# What vLLM calls otherwise than the others.
_SAME_PARAMETER = {"repeat_penalty": "repetition_penalty"}


def flags_of(choice: Choice, target: RenderContext, *, is_linked: bool) -> list[Flag]:
    """All flags in the order in which a person reads them; the model is the one word before them."""
    return [
        *_identity(choice, target),
        *_layout(choice, is_linked=is_linked),
        *_memory(choice),
        *_answers(choice),
        *_service(),
    ]


def _flag(name: str, value: str | int | float | None, because: str, source: str | None = None) -> Flag:
    text = None if value is None else str(value)
    choice = name if text is None else f"{name} {text}"
    return Flag(name=name, value=text, reason=Reason(choice=choice, because=because, source=source))


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"))


def _identity(choice: Choice, target: RenderContext) -> Iterator[Flag]:
    wish, path = choice.wish, target.weights_path
    yield _flag(path, None, "the weights; vLLM takes them as its first word, --model is on its way out")
    if not path.startswith("/") and choice.variant.revision:
        yield _flag("--revision", choice.variant.revision, _why_revision(choice.variant.revision))
    because = "the name in the API" + ("" if wish.alias else ", as the service's")
    yield _flag("--served-model-name", wish.alias or wish.name, because)
    yield _flag("--host", wish.host, "only the rig itself connects" if wish.is_loopback else "the inventory opens it")
    yield _flag("--port", wish.port, "the inventory's port; further copies take the next that no service has")


def _why_revision(revision: str) -> str:
    if re.fullmatch(r"[0-9a-f]{7,40}", revision):
        return "pinned, so that a rig built again gets the same files"
    return "a branch or tag, which may move: name a commit in model for a rig that can be built again"


def _layout(choice: Choice, *, is_linked: bool) -> Iterator[Flag]:
    layout = choice.layout
    over = f"each layer on {layout.tensor_parallel} GPUs" + (f", linked by {layout.link}" if layout.link else "")
    if not choice.devices:
        because = "compiling for a CPU takes minutes at each new start; take it out where its speed is worth that"
        yield _flag("--enforce-eager", None, because)
        return
    yield _flag("--tensor-parallel-size", layout.tensor_parallel, "one GPU holds it" if _is_single(choice) else over)
    if layout.pipeline_parallel > 1:
        because = f"{layout.pipeline_parallel} groups of GPUs behind each other: little passes between them"
        yield _flag("--pipeline-parallel-size", layout.pipeline_parallel, because)
    if not _is_single(choice):
        yield _flag("--distributed-executor-backend", "mp", "all GPUs are in this rig: processes do, no ray")
    if layout.tensor_parallel > 1 and not is_linked:
        because = "vLLM's own all-reduce needs NVLinks from each to each, or direct access that works; NCCL's is safe"
        yield _flag("--disable-custom-all-reduce", None, because, "https://github.com/vllm-project/vllm/issues/51513")


def _is_single(choice: Choice) -> bool:
    return choice.layout.tensor_parallel * choice.layout.pipeline_parallel == 1


def _load(choice: Choice) -> VllmLoad | None:
    return choice.own.load if isinstance(choice.own, VllmChoice) else None


def _capacity(choice: Choice) -> KvCapacity | None:
    estimate = choice.own.estimate if isinstance(choice.own, VllmChoice) else None
    return estimate.capacity if estimate else None


def _memory(choice: Choice) -> Iterator[Flag]:
    wish, load = choice.wish, choice.load
    asked = "the inventory asks for it" if wish.context else "the most that fits well"
    yield _flag("--max-model-len", load.context_tokens, f"{asked}; the sum of prompt and answer")
    if yarn := yarn_of(wish, choice.variant.model):
        because = (
            f"rope: yarn, {yarn.factor:g} times {yarn.original_tokens:,} tokens; it takes the place of the model's own"
        )
        yield _flag("--hf-overrides", _json(vllm_overrides(wish, choice.variant.model) or {}), because, _YARN)
    vllm = _load(choice)
    if vllm:
        yield _flag("--gpu-memory-utilization", f"{vllm.utilization:.2f}", _why_utilization(choice))
    yield _flag("--max-num-seqs", load.slots, _why_slots(choice))
    if vllm:
        yield _flag("--max-num-batched-tokens", _step_tokens(choice, vllm), _WHY_STEP, _BLOCKS)
        if not vllm.has_cuda_graphs:
            yield _flag("--enforce-eager", None, "no memory is left for CUDA graphs; costs speed with few users")
    yield _flag("--kv-cache-dtype", choice.load.cache_type_k, _why_cache(choice))
    if wish.own_drafts:
        _check_drafts(choice)
        drafts = _json({"method": "mtp", "num_speculative_tokens": wish.own_drafts})
        yield _flag("--speculative-config", drafts, "the inventory asks for drafts by the model's own nextn layers")


def _check_drafts(choice: Choice) -> None:
    known = choice.variant.known
    if known and not known.has_mtp:
        raise WrongSpec(f"services.{choice.wish.name}: {known.name} has no layers that draft; set draft to 0")


def _step_tokens(choice: Choice, load: VllmLoad) -> int:
    """At least one block, rounded up: of less, a long prompt of a hybrid model would never start."""
    capacity = _capacity(choice)
    block = capacity.block_tokens if capacity else 0
    return max(load.max_batched_tokens, -(-block // 256) * 256)


def _why_utilization(choice: Choice) -> str:
    share = min((device.offered_bytes / device.vram_bytes for device in choice.devices), default=1.0)
    load = _load(choice)
    part = load.utilization if load else 0.0
    if share < _DEFAULT_UTILIZATION:
        return f"the tightest GPU has {share:.0%} to offer, the rest is for a display or another service"
    more = "more than its default, for the context; " if part > _DEFAULT_UTILIZATION else ""
    return f"vLLM takes this part of each GPU for everything; {more}{1 - part:.0%} stay free for the driver"


def _why_slots(choice: Choice) -> str:
    text = "one for each user; more requests wait in a queue"
    capacity = _capacity(choice)
    if capacity is None:
        return text
    return f"{text}. The KV cache holds {capacity.tokens:,} tokens: {capacity.concurrency:.1f} requests of full length"


def _why_cache(choice: Choice) -> str:
    """Why the cache is of its type; the memory was computed with it."""
    kind = choice.load.cache_type_k
    if kind == "auto":
        return "16 bit, as the model computes: nothing is lost"
    if kind == "fp8":
        return "8 bit, half the memory of 16; vLLM's 8 bit that stays fast at long contexts"
    bits = "4" if kind.startswith("int4") else "8"
    text = f"{bits} bit with a scale for each head"
    if choice.load.context_tokens < LONG_TOKENS:
        return text
    return f"{text}; slower than 16 bit at long contexts: for 131,072 tokens 28 tokens/s were measured instead of 60"


def _answers(choice: Choice) -> Iterator[Flag]:
    known, wish = choice.variant.known, choice.wish
    yield from _thinking(choice)
    if known is None:
        return
    if known.reasoning_parser:
        yield _flag("--reasoning-parser", known.reasoning_parser, "keeps the thinking of this model out of its answers")
    if known.tool_call_parser:
        yield _flag("--enable-auto-tool-choice", None, "lets the model call tools; needs the parser below")
        yield _flag("--tool-call-parser", known.tool_call_parser, "reads the form in which this model calls tools")
    if wish.asked_mode and (sampling := sampling_of(wish, known)):
        values = {_SAME_PARAMETER.get(name, name): value for name, value in sampling.items()}
        because = f"what its makers recommend for {wish.asked_mode}; holds where a request names nothing"
        yield _flag("--override-generation-config", _json(values), because)
    if (known.projector_bytes or known.projector_file) and not wish.vision:
        yield _flag("--language-model-only", None, "no images are asked for: the memory of the vision encoder is saved")


def _thinking(choice: Choice) -> Iterator[Flag]:
    """The switch of the chat template: told always, since templates of one model differ in what they do untold."""
    wish, known = choice.wish, choice.variant.known
    words = template_words(wish, known)
    if not words:
        return
    said = f"thinking {wish.thinking}" if wish.thinking else f"mode {wish.mode or 'instruct, as it is made'}"
    because = f"{said}; a request may say otherwise"
    if known is None:
        because += ". The usual word: vLLM leaves it away where the template does not know it"
    yield _flag("--default-chat-template-kwargs", _json(words), because)


def _service() -> Iterator[Flag]:
    yield _flag(
        "--shutdown-timeout", DRAIN_SECONDS, "a restart lets running answers end; 0, the default, cuts them off"
    )
    yield _flag("--disable-access-log-for-endpoints", "/health,/metrics", "monitoring would fill the log")


def is_linked(kinds: Sequence[str | None]) -> bool:
    """True when all links of a group are NVLinks."""
    return bool(kinds) and all(rank(kind) > NVLINK_RANK for kind in kinds)


def remarks(choice: Choice, target: RenderContext) -> Iterator[Reason]:
    """What is left to vLLM, and why."""
    yield Reason(choice="no --enable-prefix-caching", because="it is vLLM's default; giving it changes nothing")
    yield Reason(choice="no --quantization", because=f"vLLM reads {choice.variant.quant} from the model's config.json")
    if choice.wish.thinking == "per-request":
        known = choice.variant.known
        because = f"each request decides by chat_template_kwargs, {switch_of(known).keyword}; untold, its template does"
        yield Reason(choice="no --default-chat-template-kwargs", because=because)
        because = f"{per_request_sampling(known)}; unsent, the model's generation_config.json holds"
        yield Reason(choice="no --override-generation-config", because=because)
    if choice.variant.model.is_mixture and choice.layout.tensor_parallel > 1:
        because = "each expert is split like the rest; whole experts pay with many users and NVLink, so measure it"
        yield Reason(choice="no --enable-expert-parallel", because=because)
    if target.api_key_path:
        because = "process lists show it: VLLM_API_KEY, one key, comes from a file; /health and /metrics stay open"
        yield Reason(choice="no --api-key", because=because)
