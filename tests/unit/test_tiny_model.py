"""The generator of tiny models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy
import pytest

from rigwright.lab.tiny_model import Architecture, write_tiny_model
from rigwright.models import read_model


@pytest.mark.patience
@pytest.mark.parametrize("architecture", ["llama", "qwen35moe"])
def test_tiny_model_is_deterministic(tmp_path: Path, architecture: Architecture) -> None:
    """The same seed gives the same bytes, another seed others."""
    first, again = (write_tiny_model(tmp_path / name, architecture, seed=7).read_bytes() for name in ("a", "b"))
    assert first == again
    assert first != write_tiny_model(tmp_path / "c", architecture, seed=8).read_bytes()


def test_tiny_model_leaves_no_leftovers(tmp_path: Path) -> None:
    """Only the finished file stays, and it replaces an older one."""
    (tmp_path / "m.gguf").write_text("old")
    assert write_tiny_model(tmp_path / "m.gguf") == tmp_path / "m.gguf"
    assert [path.name for path in tmp_path.iterdir()] == ["m.gguf"]


def test_tiny_model_is_small_and_declares_its_size(tiny_hybrid: Path, tiny_dense: Path) -> None:
    """Each kind has 2 to 6 MB, and its header ends where the file ends."""
    for path in (tiny_hybrid, tiny_dense):
        assert 2_000_000 < path.stat().st_size < 6_000_000
        assert read_model(path).file_bytes == path.stat().st_size


def test_tiny_model_exercises_the_planner(tiny_hybrid: Path) -> None:
    """The hybrid has recurrent and attention layers, experts in each layer, 32768 tokens, and a chat template."""
    model = read_model(tiny_hybrid)
    assert (model.recurrent_layers, model.kv_heads) == ((0, 1, 2, 4, 5, 6), (0, 0, 0, 2, 0, 0, 0, 2))
    assert all(model.expert_bytes) and model.context_train == 32768 and model.has_chat_template


def test_tiny_model_heads_suit_a_quantised_cache(tiny_hybrid: Path, tiny_dense: Path) -> None:
    """Heads are multiples of 32, so that q8_0 and q4_0 caches work."""
    assert [read_model(path).key_length % 32 for path in (tiny_hybrid, tiny_dense)] == [0, 0]


def test_tiny_model_never_begins_with_the_end(tiny_hybrid: Path, tiny_dense: Path) -> None:
    """The end of the answer scores half of a word: an empty answer would look as if the server failed."""
    for path in (tiny_hybrid, tiny_dense):
        reader = gguf.GGUFReader(path)
        tokens = [bytes(part).decode() for part in _array(reader, "tokenizer.ggml.tokens")]
        rows = next(tensor for tensor in reader.tensors if tensor.name == "output.weight")
        weights = gguf.dequantize(rows.data, rows.tensor_type)
        end, word = (weights[tokens.index(token)] for token in ("<|im_end|>", "Ġthe"))
        assert numpy.array_equal(end * 2, word) and word.any()


def _array(reader: gguf.GGUFReader, key: str) -> list[Any]:
    field = reader.fields[key]
    return [field.parts[place] for place in field.data]
