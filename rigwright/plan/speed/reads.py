"""What one token reads of a model, summed over its first layers: a range of layers is the difference of two sums."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate
from typing import NamedTuple

from rigwright.models.values import Model
from rigwright.plan.memory.slices import Pieces, pieces_of
from rigwright.plan.speed.kinds import launches, settings

# Where a whole feed-forward is computed beside the experts.
_BESIDE = ("gemma4",)


class Reads(NamedTuple):
    """Sums over the first n layers, so that entry 0 is 0; nextn layers are left out, a token does not pass them.

    `experts` are the bytes of the routed experts that one token uses, `all_experts` those of all. Key and value are
    elements per cached token, apart for layers that see a window only. `head_bytes` is the output matrix.
    With `is_head_copied` GPUs that share layers read all of it each. `pieces` are how finely layers can be cut.
    `bits` are those of a weight of the layers; `packing` is how much longer the weights take for being packed into few.
    """

    others: tuple[float, ...]
    experts: tuple[float, ...]
    all_experts: tuple[float, ...]
    key: tuple[float, ...]
    value: tuple[float, ...]
    window_key: tuple[float, ...]
    window_value: tuple[float, ...]
    state: tuple[float, ...]
    seconds: tuple[float, ...]
    recurrent_seconds: tuple[float, ...]
    windows: tuple[float, ...]
    head_bytes: int
    is_head_copied: bool
    pieces: Pieces
    bits: float
    packing: float
    active_parameters: float


def reads_of(model: Model) -> Reads:
    """The sums of a model, computed once for each: they lie beside its own cached properties."""
    known = vars(model)
    if "_reads" not in known:
        known["_reads"] = _reads(model)
    found: Reads = known["_reads"]
    return found


def _reads(model: Model) -> Reads:
    count = model.main_layers
    share = model.experts_used / model.experts if model.experts else 0.0
    window, recurrent = frozenset(model.swa_layers), frozenset(model.recurrent_layers)
    full = [0 if layer in window or layer in recurrent else model.kv_heads[layer] for layer in range(count)]
    narrow = [model.kv_heads[layer] if layer in window else 0 for layer in range(count)]
    return Reads(
        others=_sums(model.layer_bytes[:count]),
        experts=_sums(size * share for size in model.expert_bytes[:count]),
        all_experts=_sums(model.expert_bytes[:count]),
        key=_sums(heads * model.key_length for heads in full),
        value=_sums(heads * model.value_length for heads in full),
        window_key=_sums(heads * model.swa_key_length for heads in narrow),
        window_value=_sums(heads * model.swa_value_length for heads in narrow),
        state=_sums(_state_bytes(model) if layer in recurrent else 0 for layer in range(count)),
        seconds=_sums(_launch_seconds(model, layer, is_recurrent=layer in recurrent) for layer in range(count)),
        recurrent_seconds=_sums(launches().recurrent if layer in recurrent else 0.0 for layer in range(count)),
        windows=_sums(layer in window for layer in range(count)),
        head_bytes=model.output_bytes,
        is_head_copied=model.is_tied,
        pieces=pieces_of(model),
        bits=_bits(model),
        packing=_packing(_bits(model)),
        active_parameters=_active_parameters(model, share),
    )


def _sums(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(accumulate(values, initial=0.0))


def _launch_seconds(model: Model, layer: int, *, is_recurrent: bool) -> float:
    """At overhead 1, the recurrent part left out: some backends are slower with that alone."""
    cost = launches()
    seconds = 0.0 if is_recurrent else cost.layer
    if not model.expert_bytes[layer]:
        return seconds
    return seconds + cost.mixture + (cost.beside if model.architecture in _BESIDE else 0.0)


def _state_bytes(model: Model) -> int:
    """A recurrent layer's F32 state, read and written."""
    return 2 * 4 * model.ssm.state_size * model.ssm.inner_size if model.ssm else 0


def _bits(model: Model) -> float:
    body = model.layer_sums
    parameters = sum(body.parameters) + sum(body.expert_parameters)
    return 8 * (sum(body.bytes) + sum(body.expert_bytes)) / parameters if parameters else 16.0


def _packing(bits: float) -> float:
    row = settings()["low_bits"]
    full = float(1 - (row["full_at"] - bits) * row["slope"])
    return 1 / min(1.0, max(float(row["least"]), full))


def _active_parameters(model: Model, share: float) -> float:
    body, main = model.layer_sums, model.main_layers
    return sum(body.parameters[:main]) + share * sum(body.expert_parameters[:main])
