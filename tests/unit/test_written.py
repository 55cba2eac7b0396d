"""Names of models from clipboards: each is taken as meant, or refused with what to write."""

from __future__ import annotations

import contextlib
import re
import time

import pytest
from pydantic import ValidationError

from rigwright.errors import WrongSpec
from rigwright.models.names import near_names, near_quants, split_quant
from rigwright.models.variants import find_model, variants
from rigwright.models.written import read_source
from rigwright.plan.wish import ModelSource
from rigwright.weights.variants import offers_for

GGUF, FILE = "unsloth/Qwen3.5-35B-A3B-GGUF", "Qwen3.5-35B-A3B-UD-Q4_K_XL.gguf"
HUB = "https://huggingface.co"
NAME, QUANT = {"name": "qwen3.5-35b-a3b"}, {"quant": "UD-Q4_K_XL"}
MEANT = {
    # The catalogue's names, however they are written.
    "qwen3.5-35b-a3b": NAME,
    " Qwen3.5 35B_A3B ": NAME,
    "Qwen_3.5_35B_A3B": NAME,
    "Qwen/Qwen3.5-35B-A3B": NAME,
    "`qwen3.5:35b`": NAME,
    "qwen3.5-35b-a3b:UD-Q4_K_XL": NAME | QUANT,
    "qwen3.5-35b-a3b@ud-q4_k_xl": NAME | QUANT,
    "Qwen3.5-35B-A3B-UD-Q4_K_XL": NAME | QUANT,
    "qwen3.5-35b-a3b:GPTQ-Int4": NAME | {"quant": "GPTQ-Int4"},
    "qwen3.5-35b-a3b:Q4": NAME | {"quant": "Q4"},
    "AUTO": {"name": "auto"},
    "auto:q8_0": {"name": "auto", "quant": "Q8_0"},
    # Ollama.
    "qwen3.5:35b-a3b-q4_K_M": NAME | {"quant": "Q4_K_M"},
    "qwen3.5:27b-fp16": {"name": "qwen3.5-27b", "quant": "F16"},
    "llama3.3:latest": {"name": "llama-3.3-70b"},
    "ollama run qwen3.5:35b-a3b": NAME,
    "ollama pull hf.co/unsloth/Qwen3.5-35B-A3B-GGUF:UD-Q4_K_XL": {"repo": GGUF} | QUANT,
    "https://ollama.com/library/qwen3.5:35b": NAME,
    # Hugging Face.
    f"hf:{GGUF}": {"repo": GGUF},
    GGUF: {"repo": GGUF},
    f"hf:{GGUF}:UD-Q4_K_XL": {"repo": GGUF} | QUANT,
    f"{GGUF}:ud-q4_k_xl": {"repo": GGUF} | QUANT,
    f"hf:{GGUF}@main:{FILE}": {"repo": GGUF, "revision": "main", "file": FILE},
    f"{GGUF}/{FILE}": {"repo": GGUF, "file": FILE},
    f"hf:{GGUF}:*UD-Q4_K_XL*": {"repo": GGUF, "file": "*UD-Q4_K_XL*"},
    f"{HUB}/{GGUF}": {"repo": GGUF},
    f"huggingface.co/{GGUF}": {"repo": GGUF},
    f"{HUB}/{GGUF}/tree/main": {"repo": GGUF, "revision": "main"},
    f"{HUB}/{GGUF}/blob/main/{FILE}": {"repo": GGUF, "revision": "main", "file": FILE},
    f"{HUB}/{GGUF}?show_file_info={FILE}": {"repo": GGUF, "file": FILE},
    f"{HUB}/{GGUF}/resolve/main/{FILE}?download=true": {"url": f"{HUB}/{GGUF}/resolve/main/{FILE}"},
    f"{HUB}/{GGUF}/resolve/main/{FILE}?X-Sig=1": {"url": f"{HUB}/{GGUF}/resolve/main/{FILE}?X-Sig=1"},
    "Qwen/Qwen3.6-27B-FP8": {"repo": "Qwen/Qwen3.6-27B-FP8"},
    "hf:Qwen/Qwen3.5-35B-A3B": {"repo": "Qwen/Qwen3.5-35B-A3B"},
    # Command lines.
    f"-hf {GGUF}:UD-Q4_K_XL": {"repo": GGUF} | QUANT,
    f"$ ./build/bin/llama-server -hf {GGUF}:UD-Q4_K_XL --ctx-size 4096": {"repo": GGUF} | QUANT,
    f"llama-cli --hf-repo {GGUF} --hf-file {FILE}": {"repo": GGUF, "file": FILE},
    "llama-server -ngl 99 -m ~/models/x.gguf": {"path": "~/models/x.gguf"},
    "vllm serve Qwen/Qwen3.5-35B-A3B --tensor-parallel-size 2": NAME,
    f"huggingface-cli download {GGUF} --include '*UD-Q4_K_XL*' --local-dir m": {"repo": GGUF, "file": "*UD-Q4_K_XL*"},
    f"hf download --local-dir m {GGUF} {FILE}": {"repo": GGUF, "file": FILE},
    # Files and addresses.
    "x.gguf": {"path": "x.gguf"},
    "models/x.gguf": {"path": "models/x.gguf"},
    "~/models/qwen3.5-35b-a3b": {"path": "~/models/qwen3.5-35b-a3b"},
    "https://host/model.gguf?token=1": {"url": "https://host/model.gguf?token=1"},
    # What is not there is said by whoever looks for it.
    "kimi-k2": {"name": "kimi-k2"},
    "deepseek-r1:70b": {"name": "deepseek-r1:70b"},
}


@pytest.mark.parametrize(("text", "keys"), MEANT.items(), ids=MEANT)
def test_text_is_taken_as_meant(text: str, keys: dict[str, str]) -> None:
    """And as a model of an inventory it is accepted."""
    assert read_source(text) == keys
    assert {key: getattr(ModelSource.model_validate(text), key) for key in keys} == keys


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("s3://bucket/x.gguf", "is no http(s) address; download the file, and name its path"),
        ("hf:onlyname", "write hf:org/repo@revision:file.gguf, or hf:org/repo:QUANT"),
        ("llama-server --ctx-size 4096", "names no model; write its name alone"),
        ("mmproj-F16.gguf", "is a projector; name the file of the model, and set vision: true"),
        (f"hf:{GGUF}:mmproj-F16.gguf", "is a projector"),
    ],
)
def test_what_names_no_model_is_refused(text: str, said: str) -> None:
    """With what to write instead."""
    with pytest.raises(ValidationError, match=re.escape(said)):
        ModelSource.model_validate(text)


def test_every_name_of_the_catalogue_is_taken() -> None:
    """Key, name and aliases with each quant, joined in each way, come to that model and quant."""
    wrong = []
    for model in (found for key in ("qwen3.5-27b", "gemma-3-27b", "gpt-oss-20b") if (found := find_model(key))):
        for quant in {one.quant for one in variants(model)}:
            for name in (model.key, model.name, model.aliases[-1]):
                for text in (f"{name}:{quant}", f"{name}@{quant.lower()}", f"{name} {quant}"):
                    if read_source(text) != {"name": model.key, "quant": quant}:
                        wrong.append(text)
    assert wrong == []


@pytest.mark.parametrize(
    "text",
    [
        "-- " * 20_000,
        "x" + ":" * 20_000,
        "a/" * 20_000,
        f"org/{'m' * 300}",
        "ollama run " + "-" * 20_000,
        "sudo " * 9999,
    ],
    ids=lambda text: text[:9],
)
def test_hostile_text_costs_no_time_and_raises_nothing_else(text: str) -> None:
    """A header of a stranger's file says what the model is called: patterns were at such names for half a minute."""
    began = time.process_time()
    with contextlib.suppress(ValueError):
        read_source(text)
    assert split_quant(text) == (None, None) and find_model(text) is None
    near_names(text)
    assert time.process_time() - began < 1


def test_names_of_a_family_are_all_proposed() -> None:
    """`qwen3.5` is no model, and which one is meant nobody can know."""
    assert near_names("qwen3.5:latest")[-2:] == ("qwen3.5-35b-a3b", "qwen3.5-122b-a10b")
    assert near_names("Gemma 4") == ("gemma-4-12b", "gemma-4-26b-a4b", "gemma-4-31b")
    assert "qwen3-8b" not in near_names("qwen3.5")


def test_near_quants_hold_what_was_written() -> None:
    """`Q4` may be several, `IQ4_XS` is that of somebody."""
    names = ["UD-IQ4_XS", "Q4_K_M", "Q8_0", "UD-Q8_K_XL"]
    assert near_quants("iq4_xs", names) == ("UD-IQ4_XS",)
    assert near_quants("Q8", names) == ("Q8_0", "UD-Q8_K_XL")
    assert near_quants("banana", names) == ()


def test_repository_of_the_catalogue_leaves_the_quant_to_the_plan() -> None:
    """It never becomes the smallest one in silence: all of its files may be chosen, or those that are named."""
    found = offers_for(ModelSource.model_validate(f"hf:{GGUF}"))
    assert len(found) > 15 and {one.repo for one in found} == {GGUF}
    assert [one.file for one in offers_for(ModelSource.model_validate(f"hf:{GGUF}:UD-Q4_K_XL"))] == [FILE]
    assert [one.file for one in offers_for(ModelSource.model_validate(f"hf:{GGUF}:*ud-q4_k_xl*"))] == [FILE]
    assert [one.file for one in offers_for(ModelSource.model_validate(f"{GGUF.lower()}:ud-q4_k_xl"))] == [FILE]
    with pytest.raises(WrongSpec, match=r"has no such quant; did you mean UD-IQ4_XS\?$"):
        offers_for(ModelSource.model_validate(f"hf:{GGUF}:IQ4_XS"))
    with pytest.raises(WrongSpec, match=r"no file of .* is called so; it has UD-IQ2_XXS, "):
        offers_for(ModelSource.model_validate(f"hf:{GGUF}:*Q9*"))
