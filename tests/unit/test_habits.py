"""Words of YAML, Ansible and other engines in an inventory: taken as meant, or refused with what to write."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from rigwright.cli import main
from rigwright.errors import WrongSpec
from rigwright.given import memory, undressed
from rigwright.spec.file import read_spec
from rigwright.spec.rig import parse_spec

TAKEN = [
    # key, as it is written in YAML, what is meant
    ("context", "64k", 65536),
    ("context", "'64K'", 65536),
    ("context", "65_536", 65536),
    ("context", "'65,536'", 65536),
    ("context", "65536.0", 65536),
    ("context", "1M", 1 << 20),
    ("context", "262K", 262144),
    ("context", "131k", 131072),
    ("context", "66K", 65536),
    ("context", "256K", 262144),
    ("context", "96K", 98304),
    ("context", "256Ki", 262144),
    ("context", "64 000", 64000),
    ("context", "131072 (128K)", 131072),
    ("context", "'32.768'", 32768),
    ("context", "128K Tokens", 131072),
    ("min_context", "32 K", 32768),
    ("min_context", "131072 tokens", 131072),
    ("port", "'8080'", 8080),
    ("users", "'4'", 4),
    ("vision", "'yes'", True),
    ("gpu", "0", 0),
    ("gpu", "'0,1'", (0, 1)),
    ("gpu", "[0, 1]", (0, 1)),
    ("gpu", "0 1", (0, 1)),
    ("gpu", "Auto", "auto"),
    ("gpu", "NONE", "none"),
    ("gpu", "cpu", "none"),
    ("engine", "llama.cpp", "llamacpp"),
    ("engine", "llama-cpp", "llamacpp"),
    ("engine", "llama-server", "llamacpp"),
    ("engine", "vLLM", "vllm"),
    ("engine", "Ollama", "ollama"),
    ("goal", "Latency", "latency"),
    ("mode", "Thinking_Coding", "thinking-coding"),
    ("thinking", "on", "on"),
    ("thinking", "off", "off"),
    ("thinking", "true", "on"),
    ("thinking", "Per request", "per-request"),
    ("cache_type", "Q8_0", "q8_0"),
    ("cache_type", "F16", "f16"),
    ("quants", "Q4_K_M", ("Q4_K_M",)),
    ("quants", "[q4_k_m, ud-q4_k_xl]", ("Q4_K_M", "UD-Q4_K_XL")),
    ("quants", "q4_k_m, Q8_0", ("Q4_K_M", "Q8_0")),
    ("allow_from", "192.168.1.0/24", ("192.168.1.0/24",)),
    ("allow_from", "192.168.1.0/24, 10.0.0.0/8", ("192.168.1.0/24", "10.0.0.0/8")),
]


# Networks are for services that are open to others.
OPEN = "  host: 0.0.0.0\n  api_key_file: /k\n"


def written(tmp_path: Path, text: str) -> Any:
    file = tmp_path / "rig.yml"
    file.write_text(text)
    return read_spec(file)


@pytest.mark.parametrize(("key", "text", "meant"), TAKEN, ids=[f"{key}={text}" for key, text, _ in TAKEN])
def test_value_is_taken_as_meant(tmp_path: Path, key: str, text: str, meant: object) -> None:
    """As a person reads it."""
    (service,) = written(
        tmp_path,
        f"services:\n- name: chat\n  model: qwen3.5-9b\n  {key}: {text}\n{OPEN if key == 'allow_from' else ''}",
    ).services
    assert getattr(service, key) == meant


REFUSED = [
    ("gpu: no", "gpu: false names no GPU (YAML reads yes, no, on and off so); write auto, none for the CPU, or 0"),
    ("gpu: true", "gpu: true names no GPU"),
    ("gpu: all", "gpu: 'all' names no GPU; write auto, none for the CPU, or indexes of nvidia-smi: [0, 1]"),
    ("gpu: [yes, no]", "names no GPUs; write indexes of nvidia-smi: [0, 1]"),
    ("gpu: -1", "gpu: -1 names no GPU"),
    ("port: yes", "port: true is no number (YAML reads yes and on as true); write one"),
    ("users: yes", "users: true is no number"),
    ("slots: on", "slots: true is no number"),
    ("draft: true", "draft: true is no number"),
    ("context: off", "context: false is no number (YAML reads no and off as false); write one"),
    ("context: many", "context: 'many' is no number of tokens; write for example 65536 or 64K"),
    ("port: http", "port: 'http' is no whole number; write one, like 4"),
    ("engine: sglang", "'sglang' is no engine; use auto, llamacpp"),
    ("engine: lmstudio", "'lmstudio' is no engine"),
    ("engine: vlm", "'vlm' is no engine; did you mean vllm?"),
    ("goal: speed", "latency is for one user, throughput for many"),
    ("goal: fastest", "latency is for one user, throughput for many"),
    ("goal: long-context", "context is for the longest that fits"),
    (
        "mode: off",
        "mode: false is none of the words that go here (YAML reads yes, no, on and off so); instruct switches",
    ),
    ("mode: no-thinking", "instruct switches thinking off"),
    ("cache_type: q8", "cache_type: 'q8' is none of the words that go here; write q8_0"),
    ("cache_type: q9_0", "did you mean q8_0"),
    ("quants: [Q4_K_XXL]", "'Q4_K_XXL' is no quant; did you mean"),
    ("quants: [banana]", "'banana' is no quant; write it like Q4_K_M"),
    ("quants: 4-bit", "'4-bit' is no quant; did you mean IQ4_XS, Q4_0, Q4_K_S, IQ4_NL, MXFP4, Q4_K_M"),
    ("quants: exl3", "'exl3' is no quant: that is a format of ExLlama, which is not planned; write it like Q4_K_M"),
    ("restart: unless-stopped", "restart: unknown key; leave it out: systemd starts the unit, also after a failure"),
    ("image: vllm/vllm-openai", "leave it out: no container runs; the role builds the engine and writes its unit"),
    (
        "environment: {A: b}",
        "environment: unknown key; leave it out: gpu names the GPUs, and flags are the engine's own",
    ),
    ("num_threads: 8", "num_threads: unknown key; write flags: {'--threads': 8}"),
    ("threads: 8", "threads: unknown key; write flags: {'--threads': 8}"),
    ("model_path: /m.gguf", "model_path: unknown key; did you mean model?"),
    ("gpu_ids: [0]", "did you mean gpu?"),
    ("max_users: 4", "did you mean users?"),
    ("system_prompt: hi", "leave it out: clients send their prompts with each request"),
    ("think: false", "think: unknown key; write thinking: on, off or per-request"),
    ("enable_thinking: false", "write thinking: on, off or per-request"),
    ("thinking: auto", "per-request leaves it to each request"),
    ("thinking: high", "that is an effort, which a request names; write on"),
    ("num_ctx: 4096", "num_ctx: unknown key; did you mean context?"),
    ("max_model_len: 4096", "did you mean context?"),
    ("parallel: 4", "did you mean slots?"),
    ("ngl: 99", "ngl: unknown key; leave it out: the plan puts on the GPUs what fits"),
    ("api_key: secret", "did you mean api_key_file?"),
    ("temperature: 0.6", "write flags: {'--temp': 0.6}"),
    ("flags: --temp 0.6", "it wants keys with values"),
    ("vision: maybe", "it wants true or false"),
    ("users: 0", "greater than or equal to 1"),
    ("context: -1", "greater than or equal to 256"),
]


@pytest.mark.parametrize(("line", "said"), REFUSED, ids=[line for line, _ in REFUSED])
def test_value_is_refused_with_what_to_write(tmp_path: Path, line: str, said: str) -> None:
    """In one line, in words of the field."""
    with pytest.raises(WrongSpec) as refusal:
        written(tmp_path, f"services:\n- name: chat\n  model: qwen3.5-9b\n  {line}\n")
    assert said in refusal.value.message
    assert refusal.value.message.startswith(f"{tmp_path}/rig.yml:4: rig.services.0.")
    assert "\n" not in refusal.value.message and not re.search(r"tuple|literal|dictionary", refusal.value.message)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Chat", "'Chat' cannot be part of a unit's name: small letters, digits and dashes, 40 at most; write chat"),
        ("my_chat", "write my-chat"),
        ("x" * 60, f"write {'x' * 40}"),
        (35, "35 is a number; put it in quotes, or write a name like chat"),
    ],
)
def test_name_of_a_service_is_proposed(name: object, said: str) -> None:
    """What a unit can be called."""
    with pytest.raises(WrongSpec, match=re.escape(said)):
        parse_spec("r", {"services": [{"name": name, "model": "m.gguf"}]})


def test_key_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    """YAML's reader would take the last one in silence."""
    with pytest.raises(WrongSpec, match=r"rig\.yml:4: the key context is there twice; correct the YAML"):
        written(tmp_path, "services:\n- name: chat\n  context: 4096\n  context: 8192\n  model: qwen3.5-9b\n")
    assert written(tmp_path, "services:\n- {name: a, model: auto}\n- {name: b, port: 1, model: auto}\n").services


def test_weights_and_build_take_what_people_write() -> None:
    """A slash at the end, sizes with units, capabilities as NVIDIA writes them."""
    spec = parse_spec(
        "r",
        {
            "weights": {"directory": "/data/models/", "reserve_bytes": "10G"},
            "llamacpp": {"cuda_architectures": [8.6, "sm_89", "12.0"], "backend": "CUDA", "jobs": "4"},
        },
    )
    assert (spec.weights.directory, spec.weights.reserve_bytes) == ("/data/models", 10 << 30)
    settings = spec.engines["llamacpp"]
    assert (settings.cuda_architectures, settings.backend, settings.jobs) == (("86", "89", "120"), "cuda", 4)  # type: ignore[attr-defined]
    for key, value, said in (
        ("weights", {"directory": "~/models"}, "'~/models' is no absolute path on the rig; write one like /srv/models"),
        ("weights", {"reserve_bytes": "lots"}, "'lots' is no size; write for example 20G or 512M"),
        ("llamacpp", {"cuda_architectures": ["ampere"]}, "'ampere' is no compute capability; write it like 86 or 8.6"),
        ("llamacpp", {"ref": "master"}, "master is a branch, and branches move; name a tag or a full commit"),
        ("llamacpp", {"backend": "rocm"}, "llama.cpp calls it hip; use that, or vulkan, which wants no ROCm"),
        ("llamacpp", {"backend": "metal"}, "llama.cpp for CUDA, Vulkan, HIP and the CPU; use cuda, vulkan, hip"),
        ("services", {"name": "chat"}, "it wants a list"),
    ):
        with pytest.raises(WrongSpec, match=re.escape(said)):
            parse_spec("r", {key: value})


def run(*words: str) -> Result:
    return CliRunner().invoke(main, words, prog_name="rigwright")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["list"],
            "list: rigwright recommend --gpu 4x3090 says which models suit a machine, docs/models.md lists them",
        ),
        (["status"], "status: rigwright verify INVENTORY asks each service whether it serves as planned"),
        (["logs"], "logs: logs are on the rig: journalctl -u rigwright-NAME"),
        (["restart"], "systemctl restart rigwright-NAME"),
        (["gpus"], "rigwright hardware INVENTORY reads each rig, or @local, this machine"),
        (["estimate"], "rigwright size MODEL says what a model takes in memory"),
        (["diff"], "rigwright plan INVENTORY shows what a deploy would change, and changes nothing"),
        (["init"], "write an inventory, rig.py: rigwright plan --gpu 4x3090 MODEL prints one"),
        (["version"], "the version is an option: rigwright --version"),
        (["-v"], "-v: the version is an option: rigwright --version"),
        (["-V"], "rigwright --version"),
        (["plan", "--ctx-size", "4096"], "Error: --ctx-size: write --context 64K"),
        (["plan", "--max-model-len=4096"], "Error: --max-model-len: write --context 64K"),
        (["plan", "-c", "4096"], "Error: -c: write --context 64K"),
        (["plan", "-ngl", "99"], "Error: -ngl is the engine's, and the plan chooses it; your own stand under flags"),
        (["plan", "--tensor-split", "1,1"], "--tensor-split is the engine's, and the plan chooses it"),
        (["plan", "--gpus", "4x3090"], "--gpus: write --gpu 4x3090, count and name of the cards"),
        (["plan", "-hf", "org/repo"], "-hf: the model stands by itself, without an option: rigwright plan"),
        (["plan", "--model", "qwen3.5-9b"], "--model: the model stands by itself"),
        (["plan", "--quant", "Q8_0"], "--quant: write the quant behind the model: NAME:Q4_K_M"),
        (["plan", "--parallel", "4"], "--parallel: write --users 4"),
        (["recommend", "--dry-run"], "--dry-run: plan changes nothing"),
        (["verify", "-i", "rig.py"], "-i: the inventory stands by itself: rigwright verify rig.py"),
        (["plan", "--gpu", "3090", "ollama", "run", "qwen3.5:9b"], "as one word: 'ollama run qwen3.5:9b'"),
        (["plan", "--gpu", "3090", "hf", "download", "x/y", "--include", "*"], "'hf download x/y --include *'"),
        (["plan", "--gpu", "3090", "llama", "3.3", "70b"], "argument (70b); put a name with blanks between quotes"),
        (["plan", "--gpu", "3090", "qwen3.5-9b", "qwen3.5-27b"], "are two models; name one, or several in a file"),
        (["plan", "--vision"], "--vision: it is a key of a service, in a file of --spec: docs/spec.md"),
        (["hardware", "--gpu", "3090"], "--gpu: hardware asks real machines; plan and recommend take cards in words"),
        (["compose"], "no such command: compose; there are"),
        (["plan", "--vllm"], "--vllm: write --engine vllm"),
        (["plan", "--users", "many"], "'--users': 'many' is no whole number; write one, like 4"),
        (["plan", "--users", "0"], "0 is not in the range 1<=x<=4096"),
        (["size", "qwen3.5-9b", "--gpu", "2x3090"], "--gpu names the model alone: --gpu '3090' --gpus 2"),
        (["verify", "--ctx-size", "1"], "No such option '--ctx-size'"),
        (["plan", "--xyzzy"], "No such option '--xyzzy'"),
        (["plan", "--gpu", "3090", "--ram", "lots"], "--ram: 'lots' is no size; write for example 20G or 512M"),
        (
            ["plan", "--gpu", "3090", "--ram", "128 000"],
            "--ram: 128 000 has no unit, and would be bytes; write for example",
        ),
        (["plan", "--gpu", "3090", "--context", "many"], "'many' is no number; write for example 262144, 256K or 21G"),
        (["deploy", "rig.py"], "deploys are pyinfra's: pyinfra INVENTORY deploy.py"),
        (["uninstall"], "deploys are pyinfra's: pyinfra INVENTORY remove.py"),
        (["pln"], "no such command: pln; did you mean plan?"),
        (["help"], "help is an option: rigwright --help"),
        (["xyzzy"], "there are bundle, driver, hardware, lab, plan, recommend"),
        (
            ["plan", "--gpu", "3090", "--ram", "128"],
            "--ram: 128 has no unit, and would be bytes; write for example 128G",
        ),
        (["recommend", "--gpu", "3090", "--for", "cooking"], "'cooking' is not one of 'general', 'coding'"),
    ],
)
def test_word_on_the_command_line_is_refused_with_the_right_one(words: list[str], said: str) -> None:
    """What other tools have."""
    result = run(*words)
    assert result.exit_code == 2 and said in " ".join(result.output.split())


@pytest.mark.parametrize(
    "words",
    [
        ["size", "qwen3.5-9b", "--engine", "llama.cpp", "--context", "64k"],
        ["size", "qwen3.5-9b", "--engine", "vLLM"],
        ["SIZE", "qwen3.5-9b", "--gpus", "1"],
        ["size", "qwen3.5-9b", "--engine", "ollama"],
        ["plan", "--gpu", "3090", "--ram", "4x32GB DDR5", "-hf unsloth/Qwen3.5-9B-GGUF:Q8_0", "--context", "32,768"],
        ["plan", "--gpu", "3090", "--ram", "128 gb", "qwen3.5-9b", "--engine", "llama.cpp", "--context", "32k"],
    ],
)
def test_word_on_the_command_line_is_taken_as_meant(words: list[str]) -> None:
    """In any case, and by the names of the engines' own pages."""
    result = run(*words)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("text", "gib"),
    [
        ("128G", 128),
        ("128 GiB", 128),
        ("4x32G", 128),
        ("32GB x 4", 128),
        ("2x32GB + 2*16GB", 96),
        ("64 gigs", 64),
        ("1,5T", 1536),
        ("128gb ddr4", 128),
        ("64 Go", 64),
        ("256GB (8x32GB) DDR4-2666 ECC", 256),
        ("64GB DDR5 @ 6000 MHz,", 64),
        ("131072M", 128),
    ],
)
def test_memory_is_read_as_shops_write_it(text: str, gib: int) -> None:
    """Modules, kinds and clocks aside."""
    assert memory(text) == gib << 30


@pytest.mark.parametrize(
    "text", ["", "G", "lots", "-5G", "1.5.5G", "64GB 24GB", "64G/128G", "64GB" + "-a" * 2000 + "!"]
)
def test_memory_that_is_none_is_refused(text: str) -> None:
    """Two sizes too: nobody knows which is meant."""
    with pytest.raises(ValueError, match="is no size; write for example 20G or 512M"):
        memory(text)


@pytest.mark.parametrize(
    ("text", "bare"),
    [
        ("- **“qwen3.5-9b”**,", "qwen3.5-9b"),
        ("1. `a/b`;", "a/b"),
        ("\ufeffa\u00a0b\r\n", "a b"),
        ("hf:org/repo:*Q4_K_M*", "hf:org/repo:*Q4_K_M*"),
        ('hf download a --include "*Q4*"', 'hf download a --include "*Q4*"'),
        ('"a', "a"),
        ("it's", "it's"),
        ("**", ""),
    ],
)
def test_dressing_of_pages_is_left_out(text: str, bare: str) -> None:
    """Pairs, and what the mouse took along; nothing that means something."""
    assert undressed(text) == bare


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "version: '3'\nservices:\n  a:\n    image: b\n",
            "is a file of Docker Compose; write services: with at least one service, like -",
        ),
        ("- hosts: all\n  become: yes\n", "is a playbook of Ansible; write services:"),
        ("all:\n  children:\n    rigs:\n      hosts: {rig1: }\n", "is an inventory of Ansible; write services:"),
        ("apiVersion: v1\nkind: Pod\n", "is a manifest of Kubernetes; write"),
        ("FROM qwen3.5:9b\nPARAMETER num_ctx 8192\n", "is a Modelfile, or a Dockerfile; write"),
        ('{"architectures": ["Qwen3ForCausalLM"]}', "is the config.json of a model; write"),
        ("models:\n  a:\n    cmd: llama-server -m x\n", "is the configuration of llama-swap; write services:"),
        (
            "services:\n  a:\n    model: auto\n",
            ":1: rig.services: it wants a list; write - {name: a, model: qwen3.5-9b}",
        ),
        ("weights: /data\nservices: []\n", "rig.weights: '/data' will not do: it wants keys with values (directory, "),
        ("services:\n- qwen3.5-9b\n", ":2: rig.services.0: 'qwen3.5-9b' will not do: it wants keys with values; write"),
        ("model: qwen3.5-9b\ncontext: 64k\n", "model: a service stands in a list; write services:"),
        ("- {name: chat, model: qwen3.5-9b}\n", "holds no keys; write services:"),
        ("qwen3.5-9b\n", "holds no keys; write services:"),
    ],
)
def test_file_of_another_tool_is_named(tmp_path: Path, text: str, said: str) -> None:
    """And what to write instead of it, in one line without words of Python."""
    with pytest.raises(WrongSpec) as refusal:
        written(tmp_path, text)
    assert said in refusal.value.message
    assert "\n" not in refusal.value.message and not re.search(r"\b(?:dict|str|tuple)\b", refusal.value.message)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model: [a]", "['a'] names no model; write one, like qwen3.5-35b-a3b, hf:org/repo:Q4_K_M or auto"),
        ("model: 7", "7 names no model"),
        ("model:", "names no model"),
        ("model: auto\n  allow_from: 10.0.0.0/8", "allow_from does nothing while host is 127.0.0.1; name another host"),
    ],
)
def test_service_that_says_nothing_is_refused(tmp_path: Path, text: str, said: str) -> None:
    """A model that is none, networks that nobody could come from."""
    with pytest.raises(WrongSpec, match=re.escape(said)):
        written(tmp_path, f"services:\n- name: chat\n  {text}\n")
