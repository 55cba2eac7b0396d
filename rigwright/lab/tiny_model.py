"""Tiny models that llama.cpp really serves: random weights, real structure, a few MB.

The larger kind, `qwen35moe`, has gated-delta-net layers, full attention and experts, so that context, KV types and
`--n-cpu-moe` all mean something. Needs the extra `lab` (gguf, numpy). On the command line:

    python -c 'from pathlib import Path; from rigwright.lab.tiny_model import *; write_tiny_model(Path("tiny.gguf"))'

Source: tensor names, dimensions and keys of llama.cpp 0c1e570, which loads and serves both.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Architecture", "write_tiny_model"]

Architecture = Literal["llama", "qwen35moe"]


class _Row(NamedTuple):
    """One tensor: its dimensions by name, fastest first; `fill` makes it constant, `is_exact` keeps it in F32."""

    name: str
    dims: str
    fill: float | None = None
    is_exact: bool = False


# fmt: off
_ENDS = (
    _Row("token_embd.weight", "embd vocab"),
    _Row("output_norm.weight", "embd", fill=1),
    _Row("output.weight", "embd vocab"),
)
_LLAMA = (
    _Row("attn_norm.weight", "embd", fill=1),
    _Row("attn_q.weight", "embd heads"),
    _Row("attn_k.weight", "embd kv"),
    _Row("attn_v.weight", "embd kv"),
    _Row("attn_output.weight", "heads embd"),
    _Row("ffn_norm.weight", "embd", fill=1),
    _Row("ffn_gate.weight", "embd ff"),
    _Row("ffn_up.weight", "embd ff"),
    _Row("ffn_down.weight", "ff embd"),
)
_FULL_ATTENTION = (
    _Row("attn_q.weight", "embd gated_heads"),
    _Row("attn_k.weight", "embd kv"),
    _Row("attn_v.weight", "embd kv"),
    _Row("attn_output.weight", "heads embd"),
    _Row("attn_q_norm.weight", "head", fill=1),
    _Row("attn_k_norm.weight", "head", fill=1),
)
_DELTA_NET = (
    _Row("attn_qkv.weight", "embd conv_channels"),
    _Row("attn_gate.weight", "embd inner"),
    _Row("ssm_conv1d.weight", "conv conv_channels", is_exact=True),
    _Row("ssm_dt.bias", "value_heads", fill=0.5),
    _Row("ssm_a", "value_heads", fill=-1),  # stored as -exp(A_log)
    _Row("ssm_beta.weight", "embd value_heads"),
    _Row("ssm_alpha.weight", "embd value_heads"),
    _Row("ssm_norm.weight", "state", fill=1),
    _Row("ssm_out.weight", "inner embd"),
)
_EXPERTS = (
    _Row("attn_norm.weight", "embd", fill=1),
    _Row("post_attention_norm.weight", "embd", fill=1),
    _Row("ffn_gate_inp.weight", "embd experts", is_exact=True),
    _Row("ffn_gate_exps.weight", "embd ff experts"),
    _Row("ffn_up_exps.weight", "embd ff experts"),
    _Row("ffn_down_exps.weight", "ff embd experts"),
    _Row("ffn_gate_inp_shexp.weight", "embd", fill=0.1),
    _Row("ffn_gate_shexp.weight", "embd ff"),
    _Row("ffn_up_shexp.weight", "embd ff"),
    _Row("ffn_down_shexp.weight", "ff embd"),
)
# A layer that drafts the next token but one: full attention, and what joins it to the layers before.
_NEXTN = (
    _Row("nextn.eh_proj.weight", "embd_twice embd"),
    _Row("nextn.enorm.weight", "embd", fill=1),
    _Row("nextn.hnorm.weight", "embd", fill=1),
    _Row("nextn.shared_head_norm.weight", "embd", fill=1),
)

# Rows of Q8_0 come in blocks of 32, and a quantised KV cache wants heads of a multiple of 32.
_DIMS: Mapping[Architecture, Mapping[str, int]] = {
    "llama": {"embd": 256, "head": 64, "heads": 256, "kv": 128, "ff": 768},
    "qwen35moe": {
        "embd": 128, "embd_twice": 256, "head": 64, "heads": 256, "gated_heads": 512, "kv": 128, "ff": 64,
        "experts": 16, "conv": 4, "state": 32, "value_heads": 4, "inner": 128, "conv_channels": 256,
    },
}

_COMMON_KEYS = {
    "general.quantization_version": 2, "general.file_type": 7,
    "A.context_length": 32768, "A.attention.head_count": 4, "A.attention.head_count_kv": 2,
    "A.attention.key_length": 64, "A.attention.value_length": 64,
    "A.attention.layer_norm_rms_epsilon": 1e-6, "A.rope.freq_base": 1e6,
}
_KEYS: Mapping[Architecture, Mapping[str, Any]] = {
    "llama": {
        "A.block_count": 4, "A.embedding_length": 256, "A.feed_forward_length": 768, "A.rope.dimension_count": 64,
    },
    "qwen35moe": {
        "A.block_count": 8, "A.embedding_length": 128, "A.full_attention_interval": 4,
        "A.rope.dimension_count": 16, "A.rope.dimension_sections": [3, 3, 2, 0],
        "A.expert_count": 16, "A.expert_used_count": 4,
        "A.expert_feed_forward_length": 64, "A.expert_shared_feed_forward_length": 64,
        "A.ssm.conv_kernel": 4, "A.ssm.state_size": 32, "A.ssm.group_count": 2,
        "A.ssm.time_step_rank": 4, "A.ssm.inner_size": 128,
    },
}
# fmt: on

_WORDS = (
    "the a rig fan slot card bus cold warm loud quiet small big fast slow good new old serves runs waits hums loads "
    "fits spins and or but with under over near one two three four here there now then"
)
_CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}"
)


def write_tiny_model(
    path: Path, architecture: Architecture = "qwen35moe", seed: int = 1, *, nextn_layers: int = 0
) -> Path:
    """Writes a model of 3 to 5 MB to `path` and returns it: whole or not at all, the same bytes for the same seed.

    With `nextn_layers` a `qwen35moe` can draft for itself (`--spec-type draft-mtp`).
    """
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".tiny-model-") as directory:
        unfinished = Path(directory) / path.name
        _write(unfinished, architecture, seed, nextn_layers)
        return unfinished.replace(path)


def _write(path: Path, architecture: Architecture, seed: int, nextn_layers: int) -> None:
    import gguf
    import numpy

    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name(f"tiny-{architecture}")
    tokens = _add_tokenizer(writer)
    keys = _COMMON_KEYS | dict(_KEYS[architecture]) | {"A.vocab_size": len(tokens)}
    layers = keys["A.block_count"]
    if nextn_layers:
        keys |= {"A.block_count": layers + nextn_layers, "A.nextn_predict_layers": nextn_layers}
    for key, value in keys.items():
        _add_key(writer, key.replace("A.", f"{architecture}.", 1) if key.startswith("A.") else key, value)

    rng = numpy.random.default_rng(seed)
    dims = {**_DIMS[architecture], "vocab": len(tokens)}
    for row in _rows(architecture, layers=layers, nextn_layers=nextn_layers):
        values = _values(rng, row, [dims[name] for name in row.dims.split()])
        if row.name == "output.weight":
            _prefer_words(values, tokens)
        if row.is_exact or values.ndim == 1:
            writer.add_tensor(row.name, values)
        else:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(row.name, gguf.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _rows(architecture: Architecture, *, layers: int, nextn_layers: int) -> Iterator[_Row]:
    """Every tensor of the model under its full name, in the order of the file."""
    yield from _ENDS
    interval = _KEYS[architecture].get("A.full_attention_interval", 1)
    for layer in range(layers):
        attention = _FULL_ATTENTION if (layer + 1) % interval == 0 else _DELTA_NET
        for row in _LLAMA if architecture == "llama" else _EXPERTS + attention:
            yield row._replace(name=f"blk.{layer}.{row.name}")
    for layer in range(layers, layers + nextn_layers):
        for row in _EXPERTS + _FULL_ATTENTION + _NEXTN:
            yield row._replace(name=f"blk.{layer}.{row.name}")


def _values(rng: np.random.Generator, row: _Row, dims: list[int]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The weights; numpy names the slowest dimension first. The spread keeps activations in bounds."""
    import numpy

    shape = tuple(reversed(dims))
    if row.fill is not None:
        return numpy.full(shape, row.fill, numpy.float32)
    spread = numpy.float32(0.4 / dims[0] ** 0.5)
    return rng.standard_normal(shape, dtype=numpy.float32) * spread


def _prefer_words(output: np.ndarray[Any, np.dtype[np.float32]], tokens: list[str]) -> None:
    """Lets the model say words, rarely raw bytes, so that its answers are valid UTF-8 and a person can read them.

    The end of the answer is half of a word: it may be sampled, but is never the likeliest, on no processor. A greedy
    answer that is empty would look as if the server failed.
    """
    words = [tokens.index(token) for token in _word_tokens()]
    rows = output[words] * 10
    output[:] = 0
    output[words] = rows
    output[tokens.index("<|im_end|>")] = rows[0] / 2


def _add_key(writer: Any, key: str, value: int | float | list[int]) -> None:
    if isinstance(value, list):
        writer.add_array(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    else:
        writer.add_uint32(key, value)


def _word_tokens() -> list[str]:
    """The words with the space before them, in the alphabet of byte-level BPE."""
    return [f"Ġ{word}" for word in _WORDS.split()]


def _add_tokenizer(writer: Any) -> list[str]:
    """A byte-level BPE vocabulary: 256 bytes, which can say anything, some words, the control tokens."""
    from gguf import TokenType

    plain = [*_byte_characters(), *_word_tokens(), "he"]
    tokens = [*plain, *_CONTROL]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([TokenType.NORMAL] * len(plain) + [TokenType.CONTROL] * len(_CONTROL))
    writer.add_token_merges(["h e"])  # llama.cpp refuses a BPE vocabulary without any
    writer.add_bos_token_id(tokens.index("<|endoftext|>"))
    writer.add_eos_token_id(tokens.index("<|im_end|>"))
    writer.add_pad_token_id(tokens.index("<|endoftext|>"))
    writer.add_add_bos_token(False)
    writer.add_chat_template(_CHAT_TEMPLATE)
    return tokens


def _byte_characters() -> list[str]:
    """GPT-2's printable stand-in for each of the 256 bytes, in byte order."""
    printable = {*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    stand_ins = iter(range(256, 512))
    return [chr(byte if byte in printable else next(stand_ins)) for byte in range(256)]
