"""From the dimensions of a model to a `Model`, for a file that is not there: its tensor table is computed.

The sum of the table is the size of the file, so that totals hold; how the bits are spread over tensors is a guess:
norms and routers F32, embedding and output at the types usual for the file's mean, all else alike.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rigwright.errors import UnreadableModel
from rigwright.models.ggml import TENSOR_TYPES, TYPES_BY_NAME, TensorType
from rigwright.models.quants import quants
from rigwright.models.shapes import Row, Shape, rows
from rigwright.models.values import DELTA_NET, Model, Ssm, Tensor

_MAX_LAYERS, _MAX_NUMBER = 512, 2**32
# Architectures whose `layers` count the nextn layers too, as the block_count of their GGUF files does.
_COUNTS_NEXTN = ("glm4moe", "glm4")
_WINDOW_PERIODS = {"gemma3": 6, "gemma4": 6, "gpt-oss": 2}
# From this many bits per weight on: the usual types of the embedding and of the output.
# Source: llama_tensor_get_type of llama.cpp 0c1e570 (src/llama-quant.cpp).
_EDGE_TYPES = ((12, "f16", "f16"), (7.5, "q8_0", "q8_0"), (6.2, "q6_k", "q6_k"), (5.1, "q5_k", "q6_k"),
               (4, "q4_k", "q6_k"), (3, "q3_k", "q6_k"), (0, "q2_k", "q5_k"))  # fmt: skip
_UNIFORM = 0.02
# A mixture keeps some tensors at a better type: Q4_K_M 4.85 bits against 4.5. Source: llama-quantize --help.
_MIXTURE = {"S": 1.03, "M": 1.08, "L": 1.12, "XL": 1.1}


def model_from_parameters(
    name: str, parameters: Mapping[str, Any], *, file_bytes: int | None = None, quant: str | None = None
) -> Model:
    """The model with these dimensions, in a file of `file_bytes`, or quantised as `quant` says (16 bits by default).

    `parameters` has the keys layers, hidden, heads, kv_heads, vocab and, where they apply, head_dim, ff, arch,
    tie_embeddings, native_ctx, experts, experts_used, moe_ff, shared_ff, leading_dense, swa, n_swa_layers, n_full,
    kv_heads_full, head_dim_full, n_lin, lin_k_heads, lin_v_heads, lin_k_head_dim, lin_v_head_dim, conv_kernel, nextn
    (with nextn_in_file).

    Raises:
        UnreadableModel: a key is missing or cannot be.
    """
    keys = _Keys(name, parameters)
    shape = _shape(keys)
    table = rows(shape)
    bits = None if file_bytes else bits_per_weight(quant or "F16", where=name)
    tensors = sized(table, where=name, file_bytes=file_bytes, bits=bits)
    is_window = set(shape.window_layers)
    return Model(
        name=name,
        architecture=shape.architecture,
        file_bytes=file_bytes or sum(tensor.size_bytes for tensor in tensors),
        context_train=keys.assumed("native_ctx", 32768),
        layers=shape.layers,
        nextn_layers=shape.nextn_layers,
        embedding=shape.hidden,
        feed_forward=shape.feed_forward,
        heads=(shape.heads,) * shape.layers,
        kv_heads=tuple(
            0 if one in shape.recurrent_layers else shape.kv_heads if one in is_window else shape.full_kv_heads
            for one in range(shape.layers)
        ),
        key_length=shape.full_head_dim,
        value_length=shape.full_head_dim,
        swa_key_length=shape.head_dim,
        swa_value_length=shape.head_dim,
        sliding_window=keys.number("swa", 0) if shape.window_layers else 0,
        swa_layers=shape.window_layers,
        recurrent_layers=shape.recurrent_layers,
        ssm=_ssm(shape),
        experts=shape.experts,
        experts_used=keys.number("experts_used", 0),
        expert_feed_forward=shape.expert_feed_forward,
        vocab=shape.vocab,
        has_chat_template=True,
        split_count=1,
        tensors=tensors,
        is_estimated=True,
        is_sum_exact=file_bytes is not None,
        shared_feed_forward=shape.shared_feed_forward,
        assumptions=tuple(keys.assumptions),
    )


class _Keys:
    """The parameters, each checked; what had to be assumed is kept."""

    def __init__(self, where: str, values: Mapping[str, Any]) -> None:
        if not isinstance(values, Mapping):
            raise UnreadableModel(f"{where}: holds no table of parameters; write a JSON object with layers, hidden, …")
        self.where, self.values = where, values
        self.assumptions: list[str] = []
        arch = values.get("arch")
        self.architecture = arch if isinstance(arch, str) and arch else "llama"
        if arch is None:
            self.assumptions.append("arch is not given: taken for a llama")

    def number(self, key: str, default: int | None = None, *, low: int = 0, high: int = _MAX_NUMBER) -> int:
        value = self.values.get(key)
        if value is None:
            if default is None:
                raise UnreadableModel(f"{self.where}: has no {key}; add it, or name a model of the catalogue")
            return default
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise UnreadableModel(
                f"{self.where}: its {key} is {value!r:.60}; write a whole number from {low} to {high}"
            )
        return value

    def assumed(self, key: str, value: int) -> int:
        """The number under `key`, or `value` with a note."""
        if self.values.get(key) is None:
            self.assumptions.append(f"{key} is not given: taken for {value}")
        return self.number(key, value, low=1)


def _shape(keys: _Keys) -> Shape:
    layers = keys.number("layers", low=1, high=_MAX_LAYERS)
    hidden, heads = keys.number("hidden", low=1), keys.number("heads", low=1)
    if heads > hidden and keys.values.get("head_dim") is None:
        raise UnreadableModel(f"{keys.where}: its {heads} heads are more than its hidden {hidden}; mend one of them")
    head_dim, kv_heads = keys.number("head_dim", hidden // heads, low=1), keys.number("kv_heads", heads, low=1)
    nextn = _nextn_layers(keys, layers)
    is_counted = keys.architecture in _COUNTS_NEXTN
    main = layers - nextn if is_counted else layers
    experts = keys.number("experts", 0)
    width = keys.assumed("moe_ff", max(1, hidden // 4)) if experts else 0
    dense = not experts or keys.number("leading_dense", 0) or keys.architecture == "gemma4"
    is_recurrent = bool(keys.number("n_lin", 0))
    return Shape(
        architecture=keys.architecture,
        layers=main + nextn,
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        full_kv_heads=keys.number("kv_heads_full", kv_heads, low=1),
        full_head_dim=keys.number("head_dim_full", head_dim, low=1),
        feed_forward=keys.assumed("ff", 3 * width if experts else 4 * hidden) if dense else 0,
        vocab=keys.number("vocab", low=1),
        is_tied=bool(keys.values.get("tie_embeddings", False)),
        experts=experts,
        expert_feed_forward=width,
        shared_feed_forward=keys.number("shared_ff", 0),
        leading_dense=keys.number("leading_dense", 0),
        key_heads=keys.number("lin_k_heads", low=1) if is_recurrent else 0,
        value_heads=keys.number("lin_v_heads", low=1) if is_recurrent else 0,
        key_dim=keys.number("lin_k_head_dim", 128, low=1) if is_recurrent else 0,
        value_dim=keys.number("lin_v_head_dim", 128, low=1) if is_recurrent else 0,
        conv_kernel=keys.number("conv_kernel", 4, low=1) if is_recurrent else 0,
        window_layers=_window_layers(keys, main),
        recurrent_layers=_recurrent_layers(keys, main) if is_recurrent else (),
        nextn_layers=nextn,
    )


def _nextn_layers(keys: _Keys, layers: int) -> int:
    """Those in the file: with most models only when `nextn_in_file` says so, since most files leave them out."""
    count = keys.number("nextn", 0, high=layers - 1)
    is_in_file = keys.values.get("nextn_in_file", keys.architecture in _COUNTS_NEXTN)
    return count if is_in_file else 0


def _recurrent_layers(keys: _Keys, main: int) -> tuple[int, ...]:
    if listed := _listed(keys, "lin_layers", main):
        return listed
    full = keys.number("n_full", 0)
    interval = keys.number("full_attention_interval", main // full if full else 4, low=1)
    if keys.architecture not in DELTA_NET:
        keys.assumptions.append(f"recurrent layers of {keys.architecture}: counted as gated delta nets")
    return tuple(layer for layer in range(main) if (layer + 1) % interval)


def _window_layers(keys: _Keys, main: int) -> tuple[int, ...]:
    if listed := _listed(keys, "swa_layers", main):
        return listed
    count = keys.number("n_swa_layers", 0, high=main)
    if not count or not keys.number("swa", 0):
        return ()
    period = _WINDOW_PERIODS.get(keys.architecture) or round(main / max(1, main - count))
    layers = tuple(layer for layer in range(main) if layer % period < period - 1)
    if len(layers) != count:
        keys.assumptions.append(f"which {count} of {main} layers have a window is not known: taken for the first")
        return tuple(range(count))
    return layers


def _listed(keys: _Keys, key: str, main: int) -> tuple[int, ...]:
    """The layers that the parameters name themselves."""
    named = keys.values.get(key, ())
    if not isinstance(named, (list, tuple)) or not all(isinstance(one, int) and 0 <= one < main for one in named):
        raise UnreadableModel(f"{keys.where}: its {key} is no list of layers below {main}; mend or drop it")
    return tuple(named)


def _ssm(shape: Shape) -> Ssm | None:
    if not shape.recurrent_layers:
        return None
    return Ssm(shape.conv_kernel, shape.value_heads * shape.value_dim, shape.key_dim, shape.key_heads)


def bits_per_weight(quant: str, *, where: str) -> float:
    """The mean bits per weight of a file quantised so: `Q4_K_M` has 4.85, `5.52bpw` what it says.

    Raises:
        UnreadableModel: no such quant.
    """
    if known := {name.lower(): row.bits for name, row in quants().items()}.get(quant.lower()):
        return known
    if stated := re.search(r"(\d+(?:\.\d+)?) ?bpw", quant, re.IGNORECASE):
        return float(stated[1])
    plain = quant.upper().removeprefix("UD-").removeprefix("UD_")
    match = re.fullmatch(r"(.+?)(?:_(XL|S|M|L))?", plain)
    kind = TYPES_BY_NAME.get(plain.lower()) or TYPES_BY_NAME.get((match[1] if match else plain).lower())
    if kind is None:
        raise UnreadableModel(f"{where}: the quant {quant!r:.40} is not known; give the size of the file instead")
    is_plain = plain.lower() in TYPES_BY_NAME
    return _bits(kind) * (1 if is_plain or not match else _MIXTURE[match[2]])


def _bits(kind: TensorType) -> float:
    return kind.block_bytes * 8 / kind.block_elements


def sized(table: Sequence[Row], *, where: str, file_bytes: int | None, bits: float | None) -> tuple[Tensor, ...]:
    """The rows with types and bytes; their sum is `file_bytes`, or what `bits` per weight come to."""
    total = sum(row.parameters for row in table)
    wanted = file_bytes if file_bytes is not None else int(total * (bits or 16) / 8)
    mean = wanted * 8 / total
    if not 1 <= mean <= 36:
        raise UnreadableModel(
            f"{where}: {wanted} bytes are {mean:.2g} bits for each of {total} weights; check the size"
        )
    fixed = _fixed_types(table, mean)
    sizes = [row.parameters * kind.block_bytes // kind.block_elements if kind else 0 for row, kind in fixed]
    rest = sum(row.parameters for row, kind in fixed if not kind)
    left = wanted - sum(sizes)
    if left < rest // 16 or not rest:  # an odd mixture: all alike
        fixed, rest, left = [(row, None) for row in table], total, wanted
    nearest = min(TENSOR_TYPES.values(), key=lambda kind: abs(_bits(kind) - left * 8 / rest)).name
    tensors, seen, given = [], 0, 0
    for (row, kind), size in zip(fixed, sizes, strict=True):
        if kind:
            tensors.append(Tensor(row.name, row.shape, kind.name, size))
            continue
        seen += row.parameters
        end = left * seen // rest
        tensors.append(Tensor(row.name, row.shape, nearest, end - given))
        given = end
    return tuple(tensors)


def _fixed_types(table: Sequence[Row], mean: float) -> list[tuple[Row, TensorType | None]]:
    """The type of each tensor that does not follow the mean; a tied embedding has that of an output."""
    is_tied = all(row.name != "output.weight" for row in table)
    is_uniform = abs(mean - 4.5) < _UNIFORM  # Q4_0 throughout, as files for models trained for it are
    embedding, output = next((first, second) for least, first, second in _EDGE_TYPES if mean >= least)
    edges = {
        "output.weight": TYPES_BY_NAME[output],
        "token_embd.weight": TYPES_BY_NAME[output if is_tied and not is_uniform else embedding],
    }
    f32 = TYPES_BY_NAME["f32"]
    return [(row, f32 if row.is_always_f32 else None if row.shape[0] % 256 else edges.get(row.name)) for row in table]
