"""A tiny Qwen3 with random weights and a tokenizer of single bytes: what vLLM loads, without a library of models."""

from __future__ import annotations

import json
import math
import random
import struct
from pathlib import Path

HIDDEN, LAYERS, HEADS, KV_HEADS, HEAD, WIDE = 128, 4, 4, 2, 32, 256
_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_VOCAB = 256 + len(_SPECIAL)
_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def write_tiny_qwen(directory: Path, *, context: int = 4096) -> Path:
    """A directory with config, tokenizer and 1.3 MB of weights."""
    directory.mkdir(parents=True)
    config = {
        "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "torch_dtype": "bfloat16", "hidden_act": "silu",
        "hidden_size": HIDDEN, "intermediate_size": WIDE, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS, "head_dim": HEAD, "vocab_size": _VOCAB, "max_position_embeddings": context,
        "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "tie_word_embeddings": False, "attention_bias": False,
        "eos_token_id": 258, "pad_token_id": 256, "use_cache": True,
    }  # fmt: skip
    for name, value in {
        "config.json": config,
        "generation_config.json": {"eos_token_id": 258, "pad_token_id": 256},
        "tokenizer.json": _tokenizer(),
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>",
            "model_max_length": context, "chat_template": _TEMPLATE,
        },
    }.items():  # fmt: skip
        (directory / name).write_text(json.dumps(value))
    (directory / "model.safetensors").write_bytes(_weights())
    return directory


def _tokenizer() -> dict[str, object]:
    """Each byte is a token. Source: `bytes_to_unicode` of GPT-2, and the files that `tokenizers` 0.22 writes."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {byte: chr(byte) for byte in plain}
    letters |= {byte: chr(256 + place) for place, byte in enumerate(one for one in range(256) if one not in letters)}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    added = [
        {"id": 256 + place, "content": text, "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False, "special": True}
        for place, text in enumerate(_SPECIAL)
    ]  # fmt: skip
    model = {
        "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
        "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
        "vocab": {letters[byte]: byte for byte in range(256)} | {one["content"]: one["id"] for one in added},
        "merges": [],
    }  # fmt: skip
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": level, "post_processor": None, "decoder": level, "model": model,
    }  # fmt: skip


def _shapes() -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (_VOCAB, HIDDEN),
        "model.norm.weight": (HIDDEN,),
        "lm_head.weight": (_VOCAB, HIDDEN),
    }
    for layer in range(LAYERS):
        own = {
            "input_layernorm": (HIDDEN,), "post_attention_layernorm": (HIDDEN,),
            "self_attn.q_proj": (HEADS * HEAD, HIDDEN), "self_attn.k_proj": (KV_HEADS * HEAD, HIDDEN),
            "self_attn.v_proj": (KV_HEADS * HEAD, HIDDEN), "self_attn.o_proj": (HIDDEN, HEADS * HEAD),
            "self_attn.q_norm": (HEAD,), "self_attn.k_norm": (HEAD,),
            "mlp.gate_proj": (WIDE, HIDDEN), "mlp.up_proj": (WIDE, HIDDEN), "mlp.down_proj": (HIDDEN, WIDE),
        }  # fmt: skip
        found |= {f"model.layers.{layer}.{name}.weight": shape for name, shape in own.items()}
    return found


def _weights() -> bytes:
    header, parts, at = {}, [], 0
    chance = random.Random(7)
    for name, shape in _shapes().items():
        count = math.prod(shape)
        is_norm = "norm" in name
        values = [1.0 if is_norm else chance.gauss(0, 0.08) for _ in range(count)]
        if name == "lm_head.weight":  # it never says a word that ends an answer
            values[256 * HIDDEN :] = [0.0] * (len(_SPECIAL) * HIDDEN)
        # BF16 is the upper half of a float.
        packed = struct.pack(f"<{count}f", *values)
        data = b"".join(packed[place + 2 : place + 4] for place in range(0, len(packed), 4))
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + len(data)]}
        parts.append(data)
        at += len(data)
    text = json.dumps(header | {"__metadata__": {"format": "pt"}}).encode()
    return struct.pack("<Q", len(text)) + text + b"".join(parts)
