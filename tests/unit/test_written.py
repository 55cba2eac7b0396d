"""Names of models from clipboards: each is taken as meant, or refused with what to write."""

from __future__ import annotations

import contextlib
import re
import time
from pathlib import Path

import pytest
from pydantic import ValidationError

from rigwright.errors import RigwrightError, WrongSpec
from rigwright.models.names import near_names, near_quants, split_quant
from rigwright.models.variants import find_model, variants
from rigwright.models.written import read_source
from rigwright.plan.source import ModelSource
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
    "org/repo:free": {"repo": "org/repo", "quant": "free"},
    # Out of pages, chats, editors.
    '"qwen3.5-35b-a3b",': NAME,
    "- **Qwen3.5-35B-A3B**": NAME,
    "“Qwen3.5–35B–A3B”": NAME,
    "Qwen3.5\u00a035B\u202fA3B\u200b": NAME,
    "2. `qwen3.5:35b`;": NAME,
    "Qwen3.5-35B-A3B (UD-Q4_K_XL)": NAME | QUANT,
    "Qwen3.5-35B-A3B (MoE)": NAME,
    f"[the GGUF]({HUB}/{GGUF})": {"repo": GGUF},
    "[Qwen3.5-35B-A3B](https://example.org/post)": NAME,
    f"<{HUB}/{GGUF}>": {"repo": GGUF},
    "MODEL=Qwen/Qwen3.5-35B-A3B": NAME,
    '"model": "qwen3.5:35b",': NAME,
    "model_id: Qwen/Qwen3.5-35B-A3B": NAME,
    'llm = LLM(model="Qwen/Qwen3.5-35B-A3B", tensor_parallel_size=2)': NAME,
    'AutoModel.from_pretrained("Qwen/Qwen3.5-35B-A3B")': NAME,
    "qwen3.5-35b-a3b:UD-Q4_K_XL.gguf": NAME | QUANT,
    # Who says that it is another one is not given this one.
    "meta-llama/Llama-3.1-8B": {"repo": "meta-llama/Llama-3.1-8B"},
    "qwen3.5-9b (abliterated)": {"name": "qwen3.5-9b (abliterated)"},
    "Qwen3.5-9B (uncensored, Q4_K_M)": {"name": "Qwen3.5-9B (uncensored, Q4_K_M)"},
    "Qwen3.5-9B finetune, Q4_K_M": {"name": "Qwen3.5-9B finetune, Q4_K_M"},
    "x = not qwen3.5-9b!": {"name": "x = not qwen3.5-9b!"},
    # The maker's repository under an older name, and with what is behind it elsewhere.
    "meta-llama/Meta-Llama-3.1-8B-Instruct": {"name": "llama-3.1-8b"},
    "qwen/qwen3.5-35b-a3b@ud-q4_k_xl": NAME | QUANT,
    "Qwen/Qwen3.5-35B-A3B-GGUF": {"repo": "Qwen/Qwen3.5-35B-A3B-GGUF"},
    # Other catalogues than these.
    "library/qwen3.5:35b": NAME,
    "registry.ollama.ai/library/qwen3.5:35b-a3b-q4_K_M": NAME | {"quant": "Q4_K_M"},
    "https://ollama.com/library/qwen3.5:35b/blobs/abc": NAME,
    "ai/qwen3:8B-Q4_K_M": {"name": "qwen3-8b", "quant": "Q4_K_M"},
    "https://lmstudio.ai/models/qwen/qwen3.5-35b-a3b": NAME,
    "https://modelscope.cn/models/Qwen/Qwen3.5-35B-A3B/files": NAME,
    f"lmstudio://open_from_hf?model={GGUF}&file=x": {"repo": GGUF},
    f"{HUB}/Qwen/Qwen3.5-35B-A3B#quickstart": NAME,
    f"{HUB}/Qwen/Qwen3.5-35B-A3B/tree/main": NAME,
    f"{HUB}/{GGUF}/tree/main/BF16": {"repo": GGUF, "revision": "main", "file": "BF16/*"},
    f"{HUB}/{GGUF}/discussions/3": {"repo": GGUF},
    # Commands with what stands around them.
    f"--hf-repo {GGUF} --hf-file {FILE}": {"repo": GGUF, "file": FILE},
    f"CUDA_VISIBLE_DEVICES=0,1 ./llama-server -hf {GGUF}": {"repo": GGUF},
    f"user@box:~$ llama-server –hf {GGUF} —ctx-size 4096": {"repo": GGUF},
    f"llama-server \\\n  --jinja \\\n  -hf {GGUF}:UD-Q4_K_XL": {"repo": GGUF} | QUANT,
    f"pip install -U hf && hf download {GGUF} --revision abc {FILE}": {"repo": GGUF, "revision": "abc", "file": FILE},
    f"hf download {GGUF} --include 'mmproj*' --include '*UD-Q4_K_XL*'": {"repo": GGUF, "file": "*UD-Q4_K_XL*"},
    "docker run --gpus all -v ~/.cache:/root -p 8000:8000 --ipc=host vllm/vllm-openai:latest "
    "--model Qwen/Qwen3.5-35B-A3B": NAME,
    "docker run --gpus all vllm/vllm-openai Qwen/Qwen3.5-35B-A3B": NAME,
    f"docker run -it ghcr.io/ggml-org/llama.cpp:server-cuda -hf {GGUF}": {"repo": GGUF},
    "docker exec -it ollama ollama run qwen3.5:35b": NAME,
    "docker model run ai/qwen3:8b": {"name": "qwen3-8b"},
    "ollama run qwen3.5:35b --verbose 'why is the sky blue?'": NAME,
    "ollama run --verbose qwen3.5:35b": NAME,
    "python3 -m vllm.entrypoints.openai.api_server --model=Qwen/Qwen3.5-35B-A3B": NAME,
    "python -m sglang.launch_server --tp 2 --model-path Qwen/Qwen3.5-35B-A3B": NAME,
    "uv run vllm serve Qwen/Qwen3.6-27B --quantization fp8": {"name": "qwen3.6-27b", "quant": "FP8"},
    "lms load qwen/qwen3.5-35b-a3b --context-length 65536": NAME,
    f"curl -L -O {HUB}/{GGUF}/resolve/main/{FILE}": {"url": f"{HUB}/{GGUF}/resolve/main/{FILE}"},
    f"wget -c {HUB}/{GGUF}/blob/main/{FILE}": {"repo": GGUF, "revision": "main", "file": FILE},
    f"git clone {HUB}/Qwen/Qwen3.5-35B-A3B": NAME,
    f"FROM hf.co/{GGUF}:UD-Q4_K_XL\nPARAMETER num_ctx 8192": {"repo": GGUF} | QUANT,
    "FROM ./x.gguf": {"path": "./x.gguf"},
    "Llama 3.3 70B": {"name": "llama-3.3-70b"},
    "Meta Llama 3.3 70B Instruct": {"name": "llama-3.3-70b"},
    "python convert_hf_to_gguf.py Qwen/Qwen3.5-35B-A3B --outtype bf16": NAME,
    # The one model among other words.
    "Qwen/Qwen3.5-35B-A3B · Hugging Face": NAME,
    f"{GGUF} like 412": {"repo": GGUF},
    'command: ["--model", "Qwen/Qwen3.6-27B-FP8"]': {"repo": "Qwen/Qwen3.6-27B-FP8"},
    "Model: Qwen3.5-35B-A3B (MoE), Quant: UD-Q4_K_XL": NAME | QUANT,
    f"LLAMA_ARG_HF_REPO={GGUF}:UD-Q4_K_XL": {"repo": GGUF} | QUANT,
    "trtllm-serve Qwen/Qwen3.5-35B-A3B": NAME,
    f'snapshot_download(repo_id="{GGUF}", allow_patterns=["*UD-Q4_K_XL*"])': {"repo": GGUF, "file": "*UD-Q4_K_XL*"},
    f"{GGUF} {FILE}": {"repo": GGUF, "file": FILE},
    "Qwen3.5-35B-A3B-UD-Q4_K_XL.gguf 22.2 GB": {"path": FILE},
    "text-generation-webui --model Qwen/Qwen3.5-35B-A3B": NAME,
    "qwen3.5-35b-a3b\\n": NAME,
    "llama-server.exe -m D:\\models\\x.gguf": {"path": "D:\\models\\x.gguf"},
    "nvidia-smi; ollama run qwen3.5:35b": NAME,
    "my models/x y.gguf": {"path": "my models/x y.gguf"},
    f"hf_hub_download('{GGUF}', '{FILE}')": {"repo": GGUF, "file": FILE},
    "Qwen3.5-35B-A3B\tUD-Q4_K_XL\t22.2 GB": NAME | QUANT,
    "| Qwen3.5-35B-A3B | UD-Q4_K_XL |": NAME | QUANT,
    # Behind the name of who serves it.
    "ollama/qwen3.5:35b": NAME,
    "ollama_chat/qwen3.5:35b": NAME,
    "openai/Qwen/Qwen3.5-35B-A3B": NAME,
    "openai/gpt-oss-20b": {"name": "gpt-oss-20b"},
    # A quant that is none is told beside those that are.
    "gemma 3 27b qat": {"name": "gemma-3-27b", "quant": "qat"},
    "Qwen3.5 35B A3B Q6_K_L": NAME | {"quant": "Q6_K_L"},
    "file:///models/a%20b.gguf": {"path": "/models/a b.gguf"},
    "[qwen3.5:35b](http://[x/)": NAME,
    # What is not there is said by whoever looks for it.
    "the new qwen!": {"name": "the new qwen!"},
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
        (f"{HUB}/models?search=qwen", "is a page, and no file; write the model's name, hf:org/repo:QUANT"),
        (f"{HUB}/collections/unsloth/x", "is a page, and no file"),
        ("https://github.com/QwenLM/Qwen3.5", "is a page, and no file; did you mean qwen3.5-0.8b"),
        ("https://unsloth.ai/docs/models/kimi?secret=1", "/docs/models/kimi' is a page, and no file; write"),
        ("qwen3.5-9b vs qwen3.5-27b, which?", "names several models; write one of qwen3.5-9b or qwen3.5-27b"),
        ("org/repo/Q4_K_M", "names no file of org/repo; write hf:org/repo:FILE.gguf, or :QUANT"),
        ("docker run -d -v ollama:/root/.ollama -p 11434:11434 --name ollama ollama/ollama", "names no model"),
        ("  ", "an empty text names no model; write one, like qwen3.5-35b-a3b"),
        (f"{HUB}/unsloth", "is a page, and no file; write the model's name"),
        ("hf download --repo-type dataset org/data", "names no model"),
        ("docker compose up -d", "names no model"),
        ("https://ollama.com/search?q=qwen", "'https://ollama.com/search' is a page, and no file"),
        ("docker run --gpus all --rm ollama/ollama", "names no model; write its name alone"),
    ],
)
def test_what_names_no_model_is_refused(text: str, said: str) -> None:
    """With what to write instead."""
    with pytest.raises(ValidationError, match=re.escape(said)):
        ModelSource.model_validate(text)


def test_file_of_this_machine_goes_before_its_dressing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files may be called as pages write."""
    monkeypatch.chdir(tmp_path)
    assert read_source("“a” (Q4_K_M).gguf") == {"path": "“a” (Q4_K_M).gguf"}
    (tmp_path / "qwen3.5-9b (Q4_K_M)").touch()
    assert read_source("qwen3.5-9b (Q4_K_M)") == {"path": "qwen3.5-9b (Q4_K_M)"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "qwen3.5-27b:4-bit",
            "has no such quant of qwen3.5-27b; did you mean IQ4_XS, Q4_K_S, Q4_K_M, GPTQ-Int4 or UD-Q4_K_XL",
        ),
        ("qwen3.5-27b:w8a8", "did you mean Q8_0, FP8 or UD-Q8_K_XL?"),
        ("~nobody-here/m.gguf", "~nobody-here/m.gguf: there is no account ~nobody-here here; write the path in full"),
        ("~qwen3.5-9b", "no model is called ~qwen3.5-9b; did you mean qwen3.5-9b?"),
        ("qwen3.5-27b:exl3", "that is a format of ExLlama, which is not planned; it has"),
        ("qwen3.5-27b:6.0bpw", "that is a format of ExLlama"),
        ("qwen3.5-27b:mlx-4bit", "that is a format of MLX"),
        ("qwen3.5-27b:bnb-4bit", "bitsandbytes quantises while it loads"),
        ("qwen3.5-9b (abliterated)", "no model is called qwen3.5-9b (abliterated); did you mean qwen3.5-9b?"),
        (
            "glm-4.6-air",
            "did you mean glm-4.5-air or glm-4.7-flash? A model that docs/models.md does not list is hf:org/repo:QUANT",
        ),
        ("qwen3.5:35b-a3b-instruct-q4_K_M", "did you mean qwen3.5-35b-a3b? A model that docs/models.md does not list"),
        ("qwen3.5-35b-ab3", "did you mean qwen3.5-35b-a3b?"),
        ("Qwen3.5-35B-A3B-Q4_K_M.gguf", "check the path of the model, or name the catalogue's: qwen3.5-35b-a3b:Q4_K_M"),
        ("Qwen_Qwen3.5-9B-Q4_K_M.gguf", "or name the catalogue's: qwen3.5-9b:Q4_K_M"),
        ("unsloth_Qwen3.5-9B-GGUF_Qwen3.5-9B.i1-Q4_K_M.gguf", "or name the catalogue's: qwen3.5-9b:Q4_K_M"),
        ("Qwen3.5-9B-Q2_K.gguf", "or name the catalogue's: qwen3.5-9b"),
        ("C:\\models\\Qwen3.5-9B-Q4_K_M.gguf", "or name the catalogue's: qwen3.5-9b:Q4_K_M"),
        ("bartowski/Qwen_Qwen3.5-9B-GGUF:Q4_K_M", "GGUF:FILE.gguf, or the catalogue's qwen3.5-9b"),
        ("lmstudio-community/Qwen3.5-9B-GGUF", "try again with a connection, or name the catalogue's qwen3.5-9b"),
    ],
)
def test_model_that_is_not_there_is_refused_with_what_is(text: str, said: str) -> None:
    """In one line."""
    with pytest.raises(RigwrightError, match=re.escape(said)) as refusal:
        offers_for(ModelSource.model_validate(text), hub="http://127.0.0.1:9")
    assert "\n" not in str(refusal.value)


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
        '"' * 4000,
        "- " * 2000,
        "a=" * 2000,
        "[" * 4000,
        " (" * 2000,
        "x " * 2000 + ")",
        "hf download " + "-a " * 1300,
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
    assert near_names("qwen3.5:latest")[-2:] == ("qwen3.5-122b-a10b", "qwen3.5-397b-a17b")
    assert near_names("Gemma 4")[-3:] == ("gemma-4-12b", "gemma-4-26b-a4b", "gemma-4-31b")
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
