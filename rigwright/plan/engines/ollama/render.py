"""Ollama: from a choice to the environment of `ollama serve` and the Modelfile from which the model is made.

Source: Ollama 0.32.15 and its repository at fb3076099, envconfig/config.go and api/types.go; it starts
llama-server itself, with the context times the slots. Not run here: no package index has its server.
"""

from __future__ import annotations

from collections.abc import Iterator

from rigwright.errors import WrongSpec
from rigwright.plan.choice import Choice
from rigwright.plan.devices import Device
from rigwright.plan.engines.ollama.modelfile import modelfile_of
from rigwright.plan.engines.rendered import Environment, RenderContext, Rendered
from rigwright.plan.engines.visibility import has_own_uuids, visible_devices
from rigwright.plan.known_issues import Configuration, known_issues
from rigwright.plan.memory import padded
from rigwright.plan.reasons import Reason
from rigwright.plan.service import Flag
from rigwright.plan.wish import ServiceWish
from rigwright.units import GIB, format_bytes

Setting = tuple[str, str, str]
_VISIBLE = {"cuda": "CUDA_VISIBLE_DEVICES", "rocm": "ROCR_VISIBLE_DEVICES"}
_KV_CACHE_TYPES = {"q8_0": "q8_0", "q4_0": "q4_0"}
_OWN = "--ollama-"


def render(choice: Choice, target: RenderContext) -> Rendered:
    """What Ollama is started with; `ollama serve` itself takes no flags.

    Raises:
        WrongSpec: the inventory asks for what Ollama cannot do.
    """
    if target.api_key_path or not choice.wish.is_loopback:
        raise WrongSpec(
            f"services.{choice.wish.name}: Ollama knows no API key, so api_key_file would protect nothing; "
            f"listen on 127.0.0.1 without it, behind a gateway, or set engine to llamacpp"
        )
    modelfile, parameters = modelfile_of(choice, target)
    settings = _overridden(choice.wish, list(_settings(choice)))
    reasons = [Reason(choice=f"{name}={value}", because=because) for name, value, because in settings]
    copies = tuple(
        (*((name, value) for name, value, _ in settings), *_place(choice, group)) for group in choice.replicas
    )
    reasons += [Reason(choice=name, because=because) for name, because in _where(choice)]
    return Rendered(
        flags=(Flag(name="serve", reason=Reason(choice="serve", because="all else it takes from its environment")),),
        environments=copies,
        reasons=(*reasons, *parameters),
        modelfile=modelfile,
        context_tokens=padded(choice.load.context_tokens),
    )


def _settings(choice: Choice) -> Iterator[Setting]:
    """What is the same for all copies."""
    wish, load = choice.wish, choice.load
    yield "OLLAMA_CONTEXT_LENGTH", str(load.context_tokens), "for each slot; its default is 4k, 32k or 256k by VRAM"
    slots, why = _slots(choice)
    yield "OLLAMA_NUM_PARALLEL", str(slots), why
    yield (
        "OLLAMA_FLASH_ATTENTION",
        "1",
        "a quantised KV cache needs it; it is no PARAMETER, `flash_attn` ends in an error",
    )
    kind = _KV_CACHE_TYPES.get(load.cache_type_k, "f16")
    yield (
        "OLLAMA_KV_CACHE_TYPE",
        kind,
        "for all models of this server; advice that Ollama has no such setting is outdated",
    )
    yield "OLLAMA_KEEP_ALIVE", "-1", "the model stays loaded; after five minutes without a request it would go"
    yield "OLLAMA_MAX_LOADED_MODELS", "1", "the plan gives this memory to one model"
    yield "OLLAMA_LOAD_TIMEOUT", f"{wish.start_timeout_seconds}s", "start_timeout_seconds of the inventory"
    yield "OLLAMA_NO_CLOUD", "1", "what is asked of this rig stays on it"
    if len(choice.devices) > 1:
        yield "OLLAMA_SCHED_SPREAD", "1", "the plan spreads the layers over these GPUs; it would try one first"
    if reserved := max((device.vram_bytes - device.offered_bytes for device in choice.devices), default=0):
        because = f"{format_bytes(reserved)} of a GPU are for the driver, a display or another service"
        if reserved > GIB:
            yield "OLLAMA_GPU_OVERHEAD", str(reserved), because


def _slots(choice: Choice) -> tuple[int, str]:
    asked = Configuration(
        "ollama", architecture=choice.variant.model.architecture, format="gguf", slots=choice.load.slots
    )
    for issue in known_issues(asked):
        if issue.id == "ollama-one-request-of-qwen35":
            return 1, f"{issue.because} ({issue.issue})"
    return choice.load.slots, "one for each slot; the context, and its memory, multiplies with it"


def _place(choice: Choice, group: tuple[Device, ...]) -> Environment:
    """Address and GPUs: Ollama is planned as one copy, which has the port of the service."""
    wish = choice.wish
    host = f"[{wish.host}]" if ":" in wish.host else wish.host
    listen = ("OLLAMA_HOST", f"{host}:{wish.port}")
    if not group:
        return (listen, ("CUDA_VISIBLE_DEVICES", "-1"))
    variable = _VISIBLE.get(group[0].throughput.backend)
    if variable is None:
        return (listen,)
    by_uuid = variable == "CUDA_VISIBLE_DEVICES" and has_own_uuids(group)
    order = (("CUDA_DEVICE_ORDER", "PCI_BUS_ID"),) if variable == "CUDA_VISIBLE_DEVICES" else ()
    return (listen, *order, (variable, visible_devices(group, by_uuid=by_uuid)))


def _where(choice: Choice) -> Iterator[tuple[str, str]]:
    yield "OLLAMA_HOST", "address and port; Ollama has no key, so only the rig itself connects"
    if choice.devices:
        yield "CUDA_VISIBLE_DEVICES", "a model cannot be pinned to a GPU in Ollama, so its server sees no other"
    else:
        yield "CUDA_VISIBLE_DEVICES=-1", "keeps Ollama on the CPU"


def _overridden(wish: ServiceWish, settings: list[Setting]) -> list[Setting]:
    """The inventory's own `--ollama-…` as environment variables; its other flags are parameters of the model."""
    own = {name[2:].upper().replace("-", "_"): value for name, value in wish.flags.items() if name.startswith(_OWN)}
    if "OLLAMA_HOST" in own:
        raise WrongSpec(f"services.{wish.name}.flags: --ollama-host is set through host and port, not through flags")
    if "OLLAMA_MODELS" in own:
        store = f"/var/lib/private/rigwright-{wish.name}"
        raise WrongSpec(f"services.{wish.name}.flags: --ollama-models: its store is {store}; mount another disk there")
    ours = {name: value for name, value, _ in settings}
    kept = [setting for setting in settings if setting[0] not in own]
    for name, value in own.items():
        if value is not None and value is not False:
            instead = f" instead of {ours[name]}" if name in ours else ""
            kept.append((name, "1" if value is True else str(value), f"the inventory says so{instead}"))
    return kept
