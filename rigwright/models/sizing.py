"""The types and bytes of tensors that are not there to be read, by the size of their file or by its quant.

The sum is the size of the file, so that totals hold; how the bits are spread over tensors is a guess: norms and routers
F32, embedding and output at the types usual for the file's mean, all else alike.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from rigwright.errors import UnreadableModel
from rigwright.models.ggml import TENSOR_TYPES, TYPES_BY_NAME, TensorType
from rigwright.models.quants import quants
from rigwright.models.shapes import Row
from rigwright.models.values import Tensor

# From this many bits per weight on: the usual types of the embedding and of the output.
# Source: llama_tensor_get_type of llama.cpp 0c1e570 (src/llama-quant.cpp).
_EDGE_TYPES = ((12, "f16", "f16"), (7.5, "q8_0", "q8_0"), (6.2, "q6_k", "q6_k"), (5.1, "q5_k", "q6_k"),
               (4, "q4_k", "q6_k"), (3, "q3_k", "q6_k"), (0, "q2_k", "q5_k"))  # fmt: skip
_UNIFORM = 0.02
# A mixture keeps some tensors at a better type: Q4_K_M 4.85 bits against 4.5. Source: llama-quantize --help.
_MIXTURE = {"S": 1.03, "M": 1.08, "L": 1.12, "XL": 1.1}


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
    # Tables that are looked up beside the embedding: those of layers have its type, those of n-grams short rows.
    short = TYPES_BY_NAME["f16" if mean >= 12 else "q8_0" if mean >= 7.5 else "iq4_nl"]
    f32, tables = TYPES_BY_NAME["f32"], {"per_layer_token_embd.weight": (edges["token_embd.weight"], short)}
    if is_tied and not is_uniform:
        tables["per_layer_token_embd.weight"] = (TYPES_BY_NAME[embedding], short)
    return [(row, f32 if row.is_always_f32 else _edge(row, edges, tables)) for row in table]


def _edge(
    row: Row, edges: Mapping[str, TensorType], tables: Mapping[str, tuple[TensorType, TensorType]]
) -> TensorType | None:
    is_short = bool(row.shape[0] % 256)
    if row.name in tables:
        return tables[row.name][is_short]
    return None if is_short else edges.get(row.name)
