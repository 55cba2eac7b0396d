"""Models by their dimensions: the tensor table comes out as that of the real files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rigwright.errors import UnreadableModel
from rigwright.models import Model
from rigwright.models.parameters import model_from_parameters
from rigwright.models.sizing import bits_per_weight

MODELS = json.loads((Path(__file__).parent / "data/models.json").read_text())
GIVEN = {name: entry for name, entry in MODELS.items() if "params_b" in entry}
PLAIN = {"layers": 2, "hidden": 256, "heads": 4, "kv_heads": 2, "ff": 512, "vocab": 1000, "arch": "llama"}


@pytest.mark.parametrize("name", GIVEN)
def test_parameters_come_out_as_published(name: str) -> None:
    """The tensors of each family hold as many weights as its makers say."""
    model = model_from_parameters(name, GIVEN[name])
    assert model.parameters / 1e9 == pytest.approx(GIVEN[name]["params_b"], abs=0.006)


def test_prediction_layer_is_counted_when_it_is_in_the_file() -> None:
    """The 35.51 B of a file with its multi-token layer, 34.66 B without."""
    entry = MODELS["Qwen3.6-35B-A3B"]
    model = model_from_parameters("q", {**entry, "nextn_in_file": True})
    assert (round(model.parameters / 1e9, 2), model.layers, model.nextn_layers) == (35.51, 41, 1)
    assert model_from_parameters("q", entry).nextn_layers == 0


def test_table_is_that_of_the_header(model_35b: Model) -> None:
    """Names and shapes are those of the real file: 256 experts of 512, a state in three of four layers."""
    model = model_from_parameters("q", MODELS["Qwen3.5-35B-A3B"])
    assert {tensor[:2] for tensor in model.tensors} == {tensor[:2] for tensor in model_35b.tensors}
    assert (model.kv_heads, model.ssm) == (model_35b.kv_heads, model_35b.ssm)
    assert model.recurrent_layers == model_35b.recurrent_layers


@pytest.mark.parametrize("size", [21_757_641_056, 12_345_678_901, 70_000_000_007])
def test_table_sums_up_to_the_file(size: int) -> None:
    """Not a byte is lost."""
    model = model_from_parameters("q", MODELS["Qwen3.5-35B-A3B"], file_bytes=size)
    assert (model.weights_bytes, model.file_bytes, model.is_sum_exact) == (size, size, True)
    assert all(tensor.size_bytes > 0 for tensor in model.tensors)


def test_layers_see_what_they_see() -> None:
    """Gemma sees everything in each sixth layer, gpt-oss in each odd one."""
    gemma = model_from_parameters("g", MODELS["Gemma-3-27B"])
    assert [layer for layer in range(62) if layer not in gemma.swa_layers] == list(range(5, 62, 6))
    assert model_from_parameters("g", MODELS["gpt-oss-20b"]).swa_layers == tuple(range(0, 24, 2))
    assert set(model_from_parameters("g", MODELS["Gemma-4-31B"]).kv_heads) == {16, 4}


def test_unknown_architecture_is_sized_and_said() -> None:
    """What is not known is computed from its keys, and what was assumed is named."""
    entry = {key: value for key, value in PLAIN.items() if key not in ("arch", "ff")}
    assert model_from_parameters("m", entry).assumptions == (
        "arch is not given: taken for a llama",
        "ff is not given: taken for 1024",
        "native_ctx is not given: taken for 32768",
    )


@pytest.mark.parametrize(
    ("name", "file_mib", "host_mib"),
    [("Llama-3.2-3B", 1918.36, 308.24), ("Gemma-4-12B", 6637.63, 787.50), ("Gemma-4-12B", 6390.0, 540.0)],
)
def test_tied_embedding_has_the_type_of_an_output(name: str, file_mib: float, host_mib: float) -> None:
    """Two files of Q4_K_M, and one of Q4_0 throughout: what llama.cpp printed for the copy in RAM."""
    model = model_from_parameters("m", MODELS[name], file_bytes=int(file_mib * 1024**2))
    assert model.input_bytes / 1024**2 == pytest.approx(host_mib, abs=0.01)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": None}, "m: has no layers; add it"),
        ({"layers": 0}, "m: its layers is 0; write a whole number from 1 to 512"),
        ({"heads": "4"}, "m: its heads is '4'"),
        ({"hidden": True}, "m: its hidden is True"),
        ({"swa_layers": [7]}, "m: its swa_layers is no list of layers below 2"),
    ],
)
def test_wrong_parameters_are_named(change: dict[str, Any], message: str) -> None:
    """A key that cannot be is one clear line."""
    with pytest.raises(UnreadableModel) as error:
        model_from_parameters("m", PLAIN | change)
    assert error.value.message.startswith(message) and "\n" not in error.value.message


def test_impossible_file_is_refused() -> None:
    """A file of a few bytes per million weights is another model's."""
    with pytest.raises(UnreadableModel, match="bits for each of"):
        model_from_parameters("m", MODELS["Llama-3.1-8B"], file_bytes=1000)


def test_quants_have_their_bits() -> None:
    """Q8_0 is 34 bytes for 32 weights; Q4_K_M of Llama 3.1 8B is 4.58 GiB, 4.9 bits."""
    assert bits_per_weight("Q8_0", where="m") == pytest.approx(8.5, rel=0.01)
    assert bits_per_weight("Q4_K_M", where="m") == pytest.approx(4.87, rel=0.03)
    assert bits_per_weight("mixed 5.69bpw", where="m") == 5.69
    with pytest.raises(UnreadableModel, match="'Q9_Z' is not known"):
        bits_per_weight("Q9_Z", where="m")
