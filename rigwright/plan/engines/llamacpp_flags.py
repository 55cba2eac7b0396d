"""A decision as the flags of llama-server, each with its reason.

Source of every flag: `llama-server --help` of llama.cpp 0c1e570.
"""

from __future__ import annotations

from collections.abc import Iterator

from rigwright.hardware.values import Cpu
from rigwright.plan.engines.llamacpp_decision import Decision
from rigwright.plan.memory import padded
from rigwright.plan.reasons import Reason
from rigwright.plan.service import Flag
from rigwright.plan.wish import ServiceWish
from rigwright.units import format_bytes

# A GPU that does all the work needs the CPU to sample and tokenise only.
_MAX_HELPER_THREADS = 8


def flags_of(
    wish: ServiceWish, decision: Decision, cpu: Cpu, *, weights_path: str, api_key_path: str | None
) -> list[Flag]:
    """All flags, in the order in which a person reads them."""
    return [
        *_identity(wish, weights_path, api_key_path),
        *_context(wish, decision),
        *_cache(wish, decision),
        *_device(decision),
        *_work(decision, cpu),
        _flag("--jinja", None, "the model's own chat template, with tool calls"),
        _flag("--metrics", None, "monitoring reads /metrics"),
        _flag("--no-webui", None, "the rig serves an API; drop it in flags to have the web page"),
    ]


def _flag(name: str, value: str | int | None, because: str, source: str | None = None) -> Flag:
    text = None if value is None else str(value)
    choice = name if text is None else f"{name} {text}"
    return Flag(name=name, value=text, reason=Reason(choice=choice, because=because, source=source))


def _identity(wish: ServiceWish, weights_path: str, api_key_path: str | None) -> Iterator[Flag]:
    yield _flag("--model", weights_path, "where the weights lie on the rig")
    yield _flag(
        "--alias",
        wish.alias or wish.name,
        "the name in the API" + ("" if wish.alias else ", as the service's"),
    )
    yield _flag("--host", wish.host, "only the rig itself connects" if wish.is_loopback else "the inventory opens it")
    yield _flag("--port", wish.port, "set always: llama.cpp is about to change its default from 8080 to 9931")
    if api_key_path:
        yield _flag("--api-key-file", api_key_path, "a file keeps the keys out of the process list")


def _context(wish: ServiceWish, decision: Decision) -> Iterator[Flag]:
    load = decision.load
    per_slot = padded(load.context_tokens)
    total = f"{per_slot} tokens × {load.slots} = {per_slot * load.slots}"
    yield _flag("--ctx-size", per_slot * load.slots, f"{_why_context(wish, decision)}; {total}")
    yield _flag("--parallel", load.slots, "each slot has a context of its own; unset would mean four that share one")


def _why_context(wish: ServiceWish, decision: Decision) -> str:
    tokens, model = decision.load.context_tokens, decision.model
    if wish.context == tokens:
        return "the inventory asks for it"
    if model and not decision.memory:
        return "a cautious default, as the inventory's own flags place the model"
    if model is None:
        return "the header of the model could not be read from here, so this is a guess that most models hold"
    if tokens == model.context_train:
        return f"what {model.name} was trained for, and it fits"
    return f"the most that fits well, of the {model.context_train} tokens that {model.name} was trained for"


def _cache(wish: ServiceWish, decision: Decision) -> Iterator[Flag]:
    load = decision.load
    types = {"--cache-type-k": load.cache_type_k, "--cache-type-v": load.cache_type_v}
    is_plain = set(types.values()) == {"f16"}
    because = "llama.cpp turns it on where the device can" if is_plain else "a quantised KV cache needs it"
    yield _flag("--flash-attn", "auto" if is_plain else "on", because)
    for name, value in types.items():
        if value != "f16":
            yield _flag(name, value, f"the inventory asks for cache_type {wish.cache_type}")
    yield _flag("--cache-ram", decision.cache_mib, "prompts kept in RAM: a quarter of what is left, at most 8192 MiB")


def _device(decision: Decision) -> Iterator[Flag]:
    if not decision.gpu:
        yield _flag("--device", "none", "this service runs on the CPU")
        yield _flag("--fit", "off", "there is nothing to fit on a GPU")
        return
    yield _flag("--device", "CUDA0", "the one GPU that the service sees; without it llama-server fails, not crawls")
    if decision.is_fitted:
        yield _flag("--fit", "on", "llama-server places the layers itself, as the plan does not")
        return
    yield from _placement(decision)
    yield _flag("--fit", "off", "the layers are placed here; --fit and a placement exclude each other")


def _placement(decision: Decision) -> Iterator[Flag]:
    placement, memory, model = decision.placement, decision.memory, decision.model
    if placement is None or memory is None or model is None:
        yield _flag("--n-gpu-layers", "all", "what stays in RAM is up to the inventory's own flags")
        return
    gpu = format_bytes(memory.gpu_bytes)
    ram = format_bytes(sum(part.size_bytes for part in memory.parts if part.name == "weights" and part.place == "ram"))
    if placement.gpu_layers < model.main_layers:
        because = f"{placement.gpu_layers} of {model.main_layers} layers and the output fit: {gpu}; {ram} stay in RAM"
        yield _flag("--n-gpu-layers", placement.gpu_layers + 1, because)
    else:
        yield _flag("--n-gpu-layers", "all", f"the GPU holds every layer: {gpu}")
    if placement.cpu_expert_layers:
        because = f"the fewest layers whose experts must stay in RAM: {ram} of weights there, {gpu} on the GPU"
        yield _flag("--n-cpu-moe", placement.cpu_expert_layers, because)


def _work(decision: Decision, cpu: Cpu) -> Iterator[Flag]:
    cores = cpu.physical_cores or 1
    if decision.is_whole:
        yield _flag("--threads", min(cores, _MAX_HELPER_THREADS), "the GPU does the work")
    elif cores >= 4:
        because = f"{cores} physical cores, one left for the system: a thread that waits holds up all"
        yield _flag("--threads", cores - 1, because)
    else:
        yield _flag("--threads", cores, "all physical cores; hyper-threads add nothing")
    if decision.is_split:
        yield _flag("--load-mode", "none", "weights that stay in RAM are faster there than mapped from the file")
    else:
        yield _flag("--load-mode", "mmap", "the page cache keeps the file, so that a restart is quick")
