"""The inventory's own llama-server flags: they win, and the plan reckons with what they change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rigwright.errors import WrongSpec
from rigwright.models.ggml import TYPES_BY_NAME
from rigwright.models.values import Model
from rigwright.plan.memory import Load, Placement
from rigwright.plan.reasons import Reason
from rigwright.plan.service import Flag
from rigwright.plan.wish import ServiceWish

Values = Mapping[str, str | int | float | bool | None]

# Other names of a flag, and flags that contradict it: giving one replaces ours.
_SAME = {
    "--gpu-layers": "--n-gpu-layers", "--cpu-moe": "--n-cpu-moe", "--no-jinja": "--jinja",
    "--ui": "--no-webui", "--webui": "--no-webui", "--no-ui": "--no-webui",
}  # fmt: skip

# With these the inventory places the model itself, in ways that are not reckoned here.
_FREE = (
    "--n-cpu-ffn", "--override-tensor", "--tensor-split", "--split-mode", "--device", "--fit", "--no-kv-offload",
    "--rpc",
)  # fmt: skip
_STRETCHING = ("--rope-scaling", "--rope-scale", "--rope-freq-scale", "--rope-freq-base", "--override-kv")
# Speculation that keeps one more recurrent state per drafted token.
_DRAFTS = ("draft-mtp", "draft-eagle3", "draft-dflash", "draft-dspark")


class Overrides(NamedTuple):
    """What a wish and its flags say together; `context` is None when nothing names one."""

    context: int | None
    slots: int
    cache_type_k: str
    cache_type_v: str
    ubatch_tokens: int
    draft_tokens: int
    cache_mib: int | None
    gpu_layers: str | None
    cpu_expert_layers: int | None
    swa_full: bool
    is_free: bool
    is_fitted: bool
    is_stretched: bool

    @classmethod
    def of(cls, wish: ServiceWish) -> Overrides:
        """Reads them.

        Raises:
            WrongSpec: a flag that the plan must understand has no whole number for its value.
        """
        flags = {_SAME.get(name, name): value for name, value in wish.flags.items() if value not in (None, False)}
        numbers = {name: _number(wish, name, flags.get(name)) for name in _NUMBERS}
        slots = numbers["--parallel"] or wish.slots
        total = numbers["--ctx-size"]
        layers = flags.get("--n-gpu-layers")
        drafts = str(flags.get("--spec-type", "")).startswith(_DRAFTS)
        all_experts = bool(wish.flags.get("--cpu-moe"))
        return cls(
            context=total // slots if total else wish.context,
            slots=slots,
            cache_type_k=_cache_type(wish, "--cache-type-k", flags),
            cache_type_v=_cache_type(wish, "--cache-type-v", flags),
            ubatch_tokens=numbers["--ubatch-size"] or 512,
            draft_tokens=(numbers["--spec-draft-n-max"] or 3) if drafts else 0,
            cache_mib=numbers["--cache-ram"],
            gpu_layers=None if layers in (None, "auto") else str(layers),
            cpu_expert_layers=10**6 if all_experts else numbers["--n-cpu-moe"],
            swa_full=bool(flags.get("--swa-full")),
            is_free=any(name in flags for name in _FREE) or layers == "auto",
            is_fitted="--fit" in flags or layers == "auto",
            is_stretched=any(name in flags for name in _STRETCHING),
        )

    def load(self) -> Load:
        """What is asked of the model, the context still to be set."""
        return Load(
            context_tokens=self.context or 0,
            slots=self.slots,
            cache_type_k=self.cache_type_k,
            cache_type_v=self.cache_type_v,
            ubatch_tokens=self.ubatch_tokens,
            draft_tokens=self.draft_tokens,
            swa_full=self.swa_full,
        )

    def placement(self, model: Model) -> Placement | None:
        """The placement that the flags name; llama-server counts the output as one layer more."""
        if self.gpu_layers is None and self.cpu_expert_layers is None:
            return None
        layers = model.main_layers
        if self.gpu_layers and self.gpu_layers.isdecimal():
            layers = max(0, min(layers, int(self.gpu_layers) - 1))
        return Placement(layers, min(self.cpu_expert_layers or 0, model.main_layers))


_NUMBERS = ("--parallel", "--ctx-size", "--ubatch-size", "--spec-draft-n-max", "--cache-ram", "--n-cpu-moe")


def _number(wish: ServiceWish, name: str, value: object) -> int | None:
    if value is None or value is True:
        return None
    try:
        return int(str(value))
    except ValueError:
        raise WrongSpec(f"services.{wish.name}.flags: {name} is {value!r}; give a whole number") from None


def _cache_type(wish: ServiceWish, name: str, flags: Values) -> str:
    value = str(flags.get(name, wish.cache_type))
    if value not in TYPES_BY_NAME:
        raise WrongSpec(f"services.{wish.name}.flags: {name} is {value!r}; use f16, bf16, q8_0 or q4_0")
    return value


def apply_overrides(flags: Sequence[Flag], values: Values) -> tuple[tuple[Flag, ...], tuple[Reason, ...]]:
    """The flags with the inventory's own in place, and a reason for each flag of ours that they dropped."""
    replaced = {_SAME.get(name, name): name for name in values}
    ours = {flag.name: flag for flag in flags}
    kept = [flag for flag in flags if flag.name not in replaced]
    given = [_flag(name, value, ours.get(_SAME.get(name, name))) for name, value in values.items() if _is_given(value)]
    dropped = tuple(
        Reason(choice=f"no {_text(ours[name])}", because="the inventory drops it in flags")
        for name, by in replaced.items()
        if name in ours and not _is_given(values[by])
    )
    return (*kept, *given), dropped


def _is_given(value: object) -> bool:
    return value is not None and value is not False


def _flag(name: str, value: str | int | float | bool | None, ours: Flag | None) -> Flag:
    text = None if value is True else str(value)
    choice = name if text is None else f"{name} {text}"
    instead = f" instead of {_text(ours)}" if ours and _text(ours) != choice else ""
    return Flag(name=name, value=text, reason=Reason(choice=choice, because=f"the inventory says so{instead}"))


def _text(flag: Flag) -> str:
    return flag.name if flag.value is None else f"{flag.name} {flag.value}"
