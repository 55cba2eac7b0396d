"""llama.cpp: from a choice to the command line and the environment of llama-server."""

from __future__ import annotations

from collections.abc import Sequence

from rigwright.errors import WrongSpec
from rigwright.models.known import Variant
from rigwright.models.variants import find_superseded
from rigwright.plan.choice import Choice
from rigwright.plan.devices import Device
from rigwright.plan.engines.llamacpp.capabilities import Capabilities
from rigwright.plan.engines.llamacpp.flags import flags_of
from rigwright.plan.engines.llamacpp.overrides import apply_overrides
from rigwright.plan.engines.llamacpp.sampling import mode_notes
from rigwright.plan.engines.llamacpp.spelling import check_flags, spelled
from rigwright.plan.engines.rendered import Environment, RenderContext, Rendered
from rigwright.plan.engines.visibility import has_own_uuids, visible_devices
from rigwright.plan.memory import padded
from rigwright.plan.memory.said import GROWN, GROWN_FILE
from rigwright.plan.reasons import Reason
from rigwright.plan.service import Flag
from rigwright.units import format_bytes

# The variable with which each kind of driver hides GPUs from a process. Vulkan has numbers of its own, which nobody
# knows beforehand: there the unit opens the files of its GPUs alone.
_VISIBLE = {"cuda": "CUDA_VISIBLE_DEVICES", "rocm": "HIP_VISIBLE_DEVICES"}
_PLAIN_TYPES = ("f32", "f16", "bf16")


def render(choice: Choice, target: RenderContext, capabilities: Capabilities) -> Rendered:
    """What llama-server is started with: the same flags for each replica, an environment of its own.

    Raises:
        WrongSpec: this release of llama-server would refuse it, or quietly do something much slower.
    """
    wish = choice.wish
    check_flags(f"services.{wish.name}", wish.flags, capabilities)
    _check(choice, target, capabilities)
    own, unsaid = spelled(list(flags_of(choice, target)), capabilities)
    flags, dropped = apply_overrides(own, wish.flags, capabilities)
    environments = tuple(_environment(group, choice.replicas) for group in choice.replicas)
    notes = (
        *(() if target.template_path else _template(choice.variant)),
        *_visibility(choice, environments[0]),
        *mode_notes(choice),
        *_locking(flags),
        *_file_notes(choice.variant),
        *_grown(choice),
    )
    return Rendered(flags, environments, (*notes, *unsaid, *dropped), context_tokens=padded(choice.load.context_tokens))


def _check(choice: Choice, target: RenderContext, capabilities: Capabilities) -> None:
    """Refuses what starts late and fails, or starts and crawls."""
    wish, load, variant = choice.wish, choice.load, choice.variant
    where, pair = f"services.{wish.name}", (load.cache_type_k, load.cache_type_v)
    if not load.has_flash_attention and load.cache_type_v not in _PLAIN_TYPES:
        raise WrongSpec(f"{where}: a {load.cache_type_v} V cache needs flash attention; drop --flash-attn from flags")
    on_cuda = any(device.throughput.backend in ("cuda", "rocm") for device in choice.devices)
    if on_cuda and capabilities.kv_pairs is not None and pair not in capabilities.kv_pairs and pair != ("f32", "f32"):
        raise WrongSpec(
            f"{where}: this build has no attention kernel for K {pair[0]} with V {pair[1]} and would unpack both for "
            f"each token; use one of {_pairs(capabilities)} for both, or add {pair[0]}-{pair[1]} to "
            f"GGML_CUDA_FA_QUANTS in rig.llamacpp.cmake_options"
        )
    if wish.vision and not target.projector_path and "--mmproj" not in wish.flags:
        raise WrongSpec(
            f"{where}: no projector of {choice.variant.name} is known; name it in flags: {{'--mmproj': PATH}}"
        )
    needs_nextn = load.draft_tokens and (variant.header or variant.known) and "--spec-draft-model" not in wish.flags
    if needs_nextn and not variant.model.nextn_layers:
        raise WrongSpec(f"{where}: draft needs nextn layers, which the file of {variant.name} has not; set draft to 0")


def _pairs(capabilities: Capabilities) -> str:
    return ", ".join(sorted(first for first, second in capabilities.kv_pairs or () if first == second))


def _environment(group: tuple[Device, ...], replicas: tuple[tuple[Device, ...], ...]) -> Environment:
    """Which GPUs a process sees, in the order in which it numbers them; nothing for the CPU, Vulkan and Apple's."""
    backend = group[0].throughput.backend if group else "cpu"
    if backend not in _VISIBLE:
        return ()
    by_uuid = backend == "cuda" and has_own_uuids([device for one in replicas for device in one])
    order = (("CUDA_DEVICE_ORDER", "PCI_BUS_ID"),) if backend == "cuda" else ()
    return (*order, (_VISIBLE[backend], visible_devices(group, by_uuid=by_uuid)))


def locks_memory(flags: Sequence[Flag]) -> bool:
    """Whether llama-server keeps by mlock(2) what of the weights it has in RAM."""
    given = {flag.name: flag.value for flag in flags}
    return "--mlock" in given or given.get("--load-mode") in ("mlock", "mmap+mlock")


def _locking(flags: Sequence[Flag]) -> tuple[Reason, ...]:
    if not locks_memory(flags):
        return ()
    because = (
        "the weights are locked in RAM; of systemd's own limit, 8 MiB, llama-server would say a warning, and go on"
    )
    source = "systemd.exec(5), LimitMEMLOCK=; llama_mlock, llama-mmap.cpp of llama.cpp"
    return (Reason(choice="LimitMEMLOCK=infinity", because=because, source=source),)


def _grown(choice: Choice) -> tuple[Reason, ...]:
    """That its compute buffers are larger than by the formula, which a dry run on this rig has told."""
    parts = choice.memory.parts if choice.memory and any(choice.load.growth) else ()
    buffers = {part.device: part.size_bytes for part in parts if part.name == "compute buffers"}
    margins = {part.device for part in parts if part.name == "margin for compute"}
    said = [size for device, size in buffers.items() if device is not None and device not in margins]
    if not said:
        return ()
    sizes = ", ".join(format_bytes(size) for size in said)
    because = f"as llama.cpp's own dry run on this rig says: more than the formula has with its margin ({GROWN_FILE})"
    return (Reason(choice=f"{GROWN} {sizes}", because=because),)


def _template(variant: Variant) -> tuple[Reason, ...]:
    if not variant.has_model or variant.model.has_chat_template:
        return ()
    return (Reason(choice="chat template chatml", because=f"{variant.name} brings none of its own"),)


def _visibility(choice: Choice, environment: Environment) -> tuple[Reason, ...]:
    if not environment:
        return ()
    name, value = environment[-1]
    seen = "one GPU" if len(choice.devices) == 1 else f"{len(choice.devices)} GPUs, in this order"
    because = f"each process sees {seen}, and leaves the others alone"
    if "GPU-" in value:
        because += "; a UUID stays with its card when slots change"
    return (Reason(choice=f"{name}={value}", because=because),)


def _file_notes(variant: Variant) -> tuple[Reason, ...]:
    """A warning about a file that its makers replaced: wrong chat templates and quants were re-issued so."""
    if not variant.known:
        return ()
    old = find_superseded(variant.known, variant.quant, sha256=variant.sha256, file_bytes=variant.file_bytes)
    return (Reason(choice="AN OLD UPLOAD", because=f"{old.why}; download the file anew"),) if old else ()
