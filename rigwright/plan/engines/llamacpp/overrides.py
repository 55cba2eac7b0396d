"""The inventory's own llama-server flags: they win, and the plan counts with what they change."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rigwright.errors import WrongSpec
from rigwright.models.chats import switch_words
from rigwright.models.ggml import TYPES_BY_NAME
from rigwright.models.values import Model
from rigwright.plan.engines.llamacpp.capabilities import Capabilities
from rigwright.plan.engines.llamacpp.spelling import text_of
from rigwright.plan.memory import Load, Placement
from rigwright.plan.reasons import Reason
from rigwright.plan.service import Flag
from rigwright.plan.wish import ServiceWish
from rigwright.units import whole_number

Values = Mapping[str, str | int | float | bool | None]

# Other names of flags that the plan counts with.
_SAME = {
    "--gpu-layers": "--n-gpu-layers", "--cpu-moe": "--n-cpu-moe", "--draft-max": "--spec-draft-n-max",
    "--draft": "--spec-draft-n-max", "--embeddings": "--embedding", "--rerank": "--reranking",
}  # fmt: skip
# A flag of the inventory that takes the place of ours beside that of the same option.
_REPLACES = {
    "--cpu-moe": ("--n-cpu-moe",),
    "--no-mmap": ("--load-mode",), "--mmap": ("--no-mmap",), "--mlock": ("--load-mode",),
    "--chat-template-kwargs": ("--reasoning",), "--reasoning": ("--chat-template-kwargs",),
}  # fmt: skip

# With these the inventory places the model itself, in ways that are not computed here.
_FREE = (
    "--n-cpu-ffn", "--override-tensor", "--tensor-split", "--split-mode", "--device", "--no-kv-offload", "--rpc",
)  # fmt: skip
# Speculation that keeps one more recurrent state per drafted token.
_DRAFTS = ("draft-mtp", "draft-eagle3", "draft-dflash", "draft-dspark")
# Requests served at once where nobody says how many: more than this wait for each other on one llama-server.
_MOST_SLOTS = 8
# `--parallel -1` is llama-server's own choice. Source: tools/server/server.cpp of llama.cpp 0c1e570.
_AUTO_SLOTS = 4
_OFF = ("off", "0", "false", "disabled")


class Overrides(NamedTuple):
    """What a wish and its flags say together; None where neither says it, so that the plan may choose."""

    context: int | None
    slots: int
    cache_type_k: str | None
    cache_type_v: str | None
    ubatch_tokens: int | None
    draft_tokens: int
    cache_mib: int | None
    gpu_layers: str | None
    cpu_expert_layers: int | None
    swa_full: bool
    is_unified: bool
    has_flash_attention: bool
    is_free: bool
    is_fitted: bool

    @classmethod
    def of(cls, wish: ServiceWish, *, copies: int = 1) -> Overrides:
        """Reads them, for one of so many copies that share the users.

        Raises:
            WrongSpec: a flag that the plan must understand has no whole number for its value.
        """
        flags = {_SAME.get(name, name): value for name, value in wish.flags.items() if _is_given(value)}
        numbers = {name: _number(wish, name, flags.get(name)) for name in _NUMBERS}
        asked = numbers["--parallel"]
        slots = _AUTO_SLOTS if asked is not None and asked < 0 else asked or wish.slots
        slots = slots or min(-(-wish.users // copies), _MOST_SLOTS)
        total = numbers["--ctx-size"]
        layers = flags.get("--n-gpu-layers")
        is_fitted = layers == "auto" or ("--fit" in flags and str(flags["--fit"]).lower() not in _OFF)
        return cls(
            context=total // slots if total else wish.context,
            slots=slots,
            cache_type_k=_cache_type(wish, "--cache-type-k", flags),
            cache_type_v=_cache_type(wish, "--cache-type-v", flags),
            ubatch_tokens=numbers["--ubatch-size"],
            draft_tokens=_draft_tokens(wish, flags, numbers["--spec-draft-n-max"]),
            cache_mib=numbers["--cache-ram"],
            gpu_layers=None if layers in (None, "auto") else str(layers),
            cpu_expert_layers=10**6 if wish.flags.get("--cpu-moe") else numbers["--n-cpu-moe"],
            swa_full=bool(flags.get("--swa-full")),
            is_unified=bool(flags.get("--kv-unified")) or (asked is not None and asked < 0),
            has_flash_attention=str(flags.get("--flash-attn", "")).lower() not in _OFF,
            is_free=any(name in flags for name in _FREE) or is_fitted,
            is_fitted=is_fitted,
        )

    @property
    def has_cache_types(self) -> bool:
        """True when the user fixed a type of the KV cache."""
        return bool(self.cache_type_k or self.cache_type_v)

    def load(self) -> Load:
        """What is asked of the model, the context still to be set."""
        return Load(
            context_tokens=self.context or 0,
            slots=self.slots,
            cache_type_k=self.cache_type_k or "f16",
            cache_type_v=self.cache_type_v or "f16",
            ubatch_tokens=self.ubatch_tokens or 512,
            draft_tokens=self.draft_tokens,
            swa_full=self.swa_full,
            is_unified=self.is_unified,
            has_flash_attention=self.has_flash_attention,
        )

    def placement(self, model: Model, *, devices: int = 1) -> Placement | None:
        """The placement that the flags name, spread evenly; llama-server counts nextn and the output as layers too."""
        if self.gpu_layers is None and self.cpu_expert_layers is None:
            return None
        layers = model.main_layers
        if self.gpu_layers and whole_number(self.gpu_layers) is not None:
            layers = max(0, min(layers, int(self.gpu_layers) - 1 - model.nextn_layers))
        share, rest = divmod(layers, devices)
        # With no layer at all a GPU still has its buffers.
        split = tuple(share + (place < rest) for place in range(devices)) if devices > 1 or not layers else ()
        return Placement(layers, min(self.cpu_expert_layers or 0, model.main_layers), split)


_NUMBERS = ("--parallel", "--ctx-size", "--ubatch-size", "--spec-draft-n-max", "--cache-ram", "--n-cpu-moe")


def is_tensor_split(wish: ServiceWish) -> bool:
    """Whether the inventory has each layer on several GPUs, which tell each other by NCCL where the build has it."""
    if re.fullmatch(r"tensor|tp\d+", wish.layout or ""):
        return True
    values = (wish.flags.get(name) for name in ("--split-mode", "-sm"))
    return any(str(value).lower() == "tensor" for value in values)


def _number(wish: ServiceWish, name: str, value: object) -> int | None:
    if value is None or value is True:
        return None
    try:
        return int(str(value))
    except ValueError:
        raise WrongSpec(f"services.{wish.name}.flags: {name} is {value!r}; give a whole number") from None


def _draft_tokens(wish: ServiceWish, flags: Values, most: int | None) -> int:
    kind = flags.get("--spec-type")
    if kind is None:
        return (most or wish.own_drafts) if wish.own_drafts else 0
    return (most or wish.own_drafts or 3) if str(kind).startswith(_DRAFTS) else 0


def _cache_type(wish: ServiceWish, name: str, flags: Values) -> str | None:
    value = str(flags.get(name, wish.cache_type))
    if value == "auto":
        return None
    if value not in TYPES_BY_NAME:
        raise WrongSpec(f"services.{wish.name}.flags: {name} is {value!r}; use f16, bf16, q8_0 or q4_0")
    return value


def apply_overrides(
    flags: Sequence[Flag], values: Values, capabilities: Capabilities
) -> tuple[tuple[Flag, ...], tuple[Reason, ...]]:
    """The flags with the inventory's own in place, and a reason for each flag of ours that they dropped."""
    ours = {flag.name: flag for flag in flags}
    replaced = {name: by for by in values for name in _replaced_by(by, values[by], ours, capabilities)}
    kept = [flag for flag in flags if flag.name not in replaced]
    given = [
        _flag(name, value, [ours[old] for old, by in replaced.items() if by == name])
        for name, value in values.items()
        if _is_given(value)
    ]
    dropped = tuple(
        Reason(choice=f"no {ours[name].reason.choice}", because="the inventory drops it in flags")
        for name, by in replaced.items()
        if not _is_given(values[by])
    )
    return (*kept, *given), dropped


def _replaced_by(by: str, value: object, ours: Mapping[str, Flag], capabilities: Capabilities) -> list[str]:
    """The flags of ours whose place one of the inventory's takes: the same option, or one that it contradicts."""
    same = [*capabilities.names(by), by]
    if by != "--chat-template-kwargs" or any(f'"{word}"' in str(value) for word in switch_words()):
        same += _REPLACES.get(by, ())
    return [name for name in dict.fromkeys(same) if name in ours]


def _is_given(value: object) -> bool:
    return value is not None and value is not False


def _flag(name: str, value: str | int | float | bool | None, ours: Sequence[Flag]) -> Flag:
    text = None if value is True else str(value)
    choice = text_of(name, text)
    instead = " and ".join(text_of(flag.name, flag.value) for flag in ours)
    because = (
        f"the inventory says so instead of {instead}" if instead and instead != choice else "the inventory says so"
    )
    return Flag(name=name, value=text, reason=Reason(choice=choice, because=because))
