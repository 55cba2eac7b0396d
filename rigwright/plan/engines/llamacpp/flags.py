"""A choice as the flags of llama-server in the words of the pinned release, each with its reason.

Source of every flag: `llama-server --help` of llama.cpp b11434.
"""

from __future__ import annotations

from collections.abc import Iterator

from rigwright.models.known import Drafter
from rigwright.plan.choice import Choice
from rigwright.plan.drafting import USUAL_TOKENS, is_assistant
from rigwright.plan.engines.llamacpp.overrides import Overrides
from rigwright.plan.engines.llamacpp.placement_flags import device_names, placement_flags
from rigwright.plan.engines.llamacpp.sampling import reasoning_of, sampling_of
from rigwright.plan.engines.rendered import RenderContext
from rigwright.plan.memory import padded
from rigwright.plan.reasons import Reason
from rigwright.plan.service import Flag
from rigwright.plan.yarn import yarn_of
from rigwright.units import format_bytes

# A GPU that does all the work needs the CPU to sample and tokenise only.
_MAX_HELPER_THREADS = 8
_USUAL_UBATCH_TOKENS = 512
_BITS = {"q8_0": "8.5", "q5_1": "6", "q5_0": "5.5", "q4_1": "5", "q4_0": "4.5", "iq4_nl": "4.5"}
# RTX 5090, 35B-A3B in MXFP4, --n-cpu-moe 38: prompts of 1024 tokens, batch and ubatch alike.
_BATCH_SOURCE = "published llama-bench runs of llama.cpp 2b6dfe824 on an RTX 5090 with --n-cpu-moe 38"


def flags_of(choice: Choice, target: RenderContext) -> Iterator[Flag]:
    """All flags, in the order in which a person reads them."""
    yield from _identity(choice, target)
    yield from _context(choice)
    yield from _cache(choice)
    for name, value, because, source in placement_flags(choice):
        yield _flag(name, value, because, source)
    yield from _work(choice, target)
    yield from _chat(choice, target)
    yield _flag("--metrics", None, "monitoring reads /metrics, which answers 501 without it")
    yield _flag("--no-ui", None, "the rig serves an API; drop it in flags to have the web page")


def _flag(name: str, value: str | int | None, because: str, source: str | None = None) -> Flag:
    text = None if value is None else str(value)
    choice = name if text is None else f"{name} {text}"
    return Flag(name=name, value=text, reason=Reason(choice=choice, because=because, source=source))


def _identity(choice: Choice, target: RenderContext) -> Iterator[Flag]:
    wish = choice.wish
    yield _flag("--model", target.weights_path, "where the weights lie on the rig, so that a start downloads nothing")
    own = "the inventory's alias" if wish.alias else "the service's own"
    yield _flag("--alias", wish.alias or wish.name, f"the name of the model in the API: {own}")
    yield _flag("--host", wish.host, "only the rig itself connects" if wish.is_loopback else "the inventory opens it")
    yield _flag("--port", wish.port, "set always: llama.cpp's own default is 8080, from 0.7.0 on 9931")
    if target.api_key_path:
        yield _flag("--api-key-file", target.api_key_path, "a file keeps the keys out of the process list")


def _context(choice: Choice) -> Iterator[Flag]:
    load = choice.load
    each = padded(load.context_tokens)
    total = f"{each:,} tokens × {load.slots} = {each * load.slots:,}" if load.slots > 1 else f"{each:,} tokens"
    yield _flag("--ctx-size", each * load.slots, f"{_why_context(choice)}; {total}{_cache_size(choice)}")
    if yarn := yarn_of(choice.wish, choice.variant.model) if choice.variant.has_model else None:
        because = (
            f"rope: yarn, {yarn.factor:g} times {yarn.original_tokens:,} tokens; short prompts pay for it in quality"
        )
        yield _flag("--rope-scaling", "yarn", because)
        yield _flag("--rope-scale", f"{yarn.factor:g}", "the least that reaches the context: each pays for more")
        yield _flag("--yarn-orig-ctx", yarn.original_tokens, "what the factor multiplies, by the model's makers")
    if load.slots == 1:
        because = "one request at a time has the whole context; unset would mean four slots that share it"
    elif load.is_unified:
        because = f"{load.slots} requests at once"
    else:
        because = f"{load.slots} requests at once, each with a context of its own; unset would mean four that share one"
    yield _flag("--parallel", load.slots, because)
    if load.is_unified and load.slots > 1:
        because = "the slots share one pool of tokens, so that a long request has what short ones leave"
        yield _flag("--kv-unified", None, because)


def _why_context(choice: Choice) -> str:
    tokens, variant = choice.load.context_tokens, choice.variant
    if tokens in (choice.wish.context, Overrides.of(choice.wish, copies=len(choice.replicas)).context):
        return "the inventory asks for it"
    if not (variant.header or variant.known):
        return "the header of the model could not be read from here, so this is a guess that most models hold"
    if choice.memory is None:
        return "a cautious default, as the inventory's own flags place the model"
    if tokens == variant.model.context_train:
        return f"what {variant.model.name} was trained for, and it fits"
    trained, name = variant.model.context_train, variant.model.name
    return f"the most that fits well; {name} was trained for {trained:,}, which leaving this out would ask for"


def _cache_size(choice: Choice) -> str:
    """What the context costs, as it is asked why it is not longer."""
    parts = choice.memory.parts if choice.memory else ()
    size = sum(part.size_bytes for part in parts if part.name in ("KV cache", "SWA cache"))
    return f", {format_bytes(size)} of KV cache" if size else ""


def _cache(choice: Choice) -> Iterator[Flag]:
    load = choice.load
    types = {"--cache-type-k": load.cache_type_k, "--cache-type-v": load.cache_type_v}
    if not load.has_flash_attention:
        yield _flag("--flash-attn", "off", "the inventory turns it off; buffers grow with the context then")
    elif choice.placement and choice.placement.shares:
        yield _flag("--flash-attn", "on", "GPUs that share each layer need it: llama-server refuses to start without")
    elif {*types.values()} <= {"f16", "bf16", "f32"}:
        because = "llama.cpp turns it on where the device can; buffers stay small whatever the context"
        yield _flag("--flash-attn", "auto", because)
    else:
        yield _flag("--flash-attn", "on", "a quantised KV cache needs it: llama-server refuses to start without")
    for name, value in types.items():
        if value != "f16":
            yield _flag(name, value, _why_cache(choice, value))
    because = (
        "prompts kept in RAM, so that a conversation is not read anew: a quarter of what is left, at most 8192 MiB"
    )
    if not choice.cache_mib:
        because = "no RAM is left to keep prompts in; unset, llama-server would take up to 8192 MiB"
    yield _flag("--cache-ram", choice.cache_mib, because)


def _why_cache(choice: Choice, kind: str) -> str:
    if choice.wish.cache_type != "auto":
        return f"the inventory asks for cache_type {choice.wish.cache_type}"
    bits = f"{_BITS[kind]} bits a value instead of 16" if kind in _BITS else "as the model was trained"
    return f"{bits}; K and V alike, as CUDA has fast kernels for equal types"


def _work(choice: Choice, target: RenderContext) -> Iterator[Flag]:
    # Unset where the cores are not known: llama-server counts them itself.
    if target.cpu.physical_cores:
        yield _threads(choice, max(1, target.cpu.physical_cores // len(choice.replicas)))
    ubatch = choice.load.ubatch_tokens
    if ubatch != _USUAL_UBATCH_TOKENS:
        because, source = "a prompt is read in batches of this size", None
        if choice.is_split and Overrides.of(choice.wish).ubatch_tokens is None:
            because = "weights in RAM cross to the GPU once per batch of a prompt: 458 tokens/s at 512, 706 at 1024"
            source = _BATCH_SOURCE
        yield _flag("--batch-size", ubatch, "as large as the ubatch: a larger one gains nothing", source)
        yield _flag("--ubatch-size", ubatch, because, source)
    if choice.is_split:
        because = "weights that stay in RAM are faster there than mapped from the file; --no-mmap of old"
        yield _flag("--load-mode", "none", because)
    else:
        yield _flag("--load-mode", "mmap", "the page cache keeps the file, so that a restart is quick")


def _threads(choice: Choice, cores: int) -> Flag:
    if choice.devices and choice.placement and not choice.is_split:
        return _flag("--threads", min(cores, _MAX_HELPER_THREADS), "the GPU does the work")
    if cores >= 4:
        because = f"{cores} physical cores, one left for the system: a thread that waits holds up all"
        return _flag("--threads", cores - 1, because)
    return _flag("--threads", cores, "all physical cores; hyper-threads add nothing")


def _chat(choice: Choice, target: RenderContext) -> Iterator[Flag]:
    pooling = choice.variant.model.pooling if choice.variant.has_model else None
    if pooling:
        made = "scores what belongs to a question" if pooling == "rank" else f"makes vectors of texts, by {pooling}"
        because = f"the file is of a model that {made}; without it llama-server would refuse that"
        yield _flag("--reranking" if pooling == "rank" else "--embedding", None, because)
        if pooling != "rank":
            yield _flag("--pooling", pooling, "as the file says")
        return
    if target.template_path:
        yield _flag("--jinja", None, "the chat template, with tool calls")
        because = "the inventory's chat_template_file; its name on the rig is its checksum"
        yield _flag("--chat-template-file", target.template_path, because)
    else:
        yield _flag("--jinja", None, "the model's own chat template, with tool calls")
    for flag, said, because in reasoning_of(choice):
        yield _flag(flag, said, because)
    for name, value, because, source in sampling_of(choice):
        yield _flag(name, value, because, source)
    if choice.wish.vision and target.projector_path:
        yield _flag("--mmproj", target.projector_path, "what turns images into tokens; without it images are refused")
    if tokens := choice.load.draft_tokens:
        asked = "as the inventory asks" if choice.wish.own_drafts else "as it is likely to be faster"
        because = (
            f"the model's own nextn layers draft ahead, {asked}, and one pass checks: the same text; draft: 0 is none"
        )
        yield _flag("--spec-type", "draft-mtp", because)
        yield _flag("--spec-draft-n-max", tokens, f"{tokens} tokens drafted ahead; each keeps one more recurrent state")
    if drafter := choice.variant.drafter:
        yield from _drafts(choice, drafter)


def _drafts(choice: Choice, drafter: Drafter) -> Iterator[Flag]:
    """A model in a file of its own, whole on the first GPU: where it waits for RAM nothing is gained."""
    tokens = USUAL_TOKENS if choice.wish.draft == "auto" else choice.wish.draft or USUAL_TOKENS
    because = f"{drafter.model.name} drafts ahead, and one pass checks; the same text, measure the gain"
    yield _flag("--spec-type", "draft-mtp" if is_assistant(drafter) else "draft-simple", because)
    yield _flag("--spec-draft-model", drafter.path, f"the inventory's draft_model, {format_bytes(drafter.file_bytes)}")
    yield _flag("--spec-draft-n-max", tokens, f"{tokens} tokens drafted ahead")
    if choice.devices:
        first = device_names(choice.devices)[0]
        yield _flag("--spec-draft-device", first, "whole on one GPU; unset, it would lie on all of them in parts")
        yield _flag("--spec-draft-ngl", "all", "as the plan counts it; unset, llama-server would count anew")
