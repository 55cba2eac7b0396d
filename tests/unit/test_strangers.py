"""What strangers type, each as they type it: taken as meant, or refused with the right word.

The numbers are those of a review in which newcomers tried the commands: each input of it that was then taken wrongly,
passed over in silence, or refused without a way out.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rigwright.cli import main

GGUF = "unsloth/Qwen3.5-35B-A3B-GGUF"
NAMES = (
    "did you mean qwen3.5-0.8b, qwen3.5-2b, qwen3.5-4b, qwen3.5-9b, qwen3.5-27b, qwen3.5-35b-a3b, qwen3.5-122b-a10b or"
)
PYTHON = 'is no Python; pyinfra\'s inventories are Python: rigs = ([("rig1", {"ssh_hostname": "192.168.1.50"'

# A line of a service, and what comes: of a refusal its words, else `OK` and words of the plan.
SERVICES = [
    (2, "think: false", "unknown key; write thinking: on, off or per-request"),
    (2, "enable_thinking: false", "unknown key; write thinking: on, off or per-request"),
    (3, "context: 64k", "OK 65,536 tokens"),
    (3, "context: '64K'", "OK 65,536 tokens"),
    (3, "context: '65,536'", "OK 65,536 tokens"),
    (5, "context: 10000000", "is more than the 262144 tokens that Qwen3.5-9B was trained for; lower context"),
    (5, "context: 1M", "or stretch it with rope: yarn, which short prompts pay for in quality"),
    (5, "engine: llamacpp\n  context: 2M", "is more than the 262144 tokens that Qwen3.5-9B was trained for"),
    (5, "engine: vllm\n  context: 2M", "is more than the 262144 tokens that Qwen3.5-9B was trained for"),
    (7, "gpu: '0,1'", "OK port 8080"),
    (7, "gpu: all", "write auto, none for the CPU, or indexes of nvidia-smi: [0, 1]"),
    (8, "gpu: no", "gpu: false names no GPU (YAML reads yes, no, on and off so); write auto, none for the CPU, or 0"),
    (8, "gpu: true", "gpu: true names no GPU"),
    (8, "port: yes", "port: true is no number"),
    (8, "slots: on", "slots: true is no number"),
    (8, "draft: true", "draft: true is no number"),
    (10, "engine: llama.cpp", "OK llama.cpp"),
    (10, "engine: llama-cpp", "OK llama.cpp"),
    (10, "engine: vLLM", "OK engine    vLLM 0.33.0"),
    (10, "engine: sglang", "'sglang' is no engine; use auto, llamacpp, vllm, ollama"),
    (10, "engine: lmstudio", "'lmstudio' is no engine; use auto, llamacpp, vllm, ollama"),
    (11, "goal: speed", "latency is for one user, throughput for many"),
    (11, "mode: no-thinking", "instruct switches thinking off"),
    (11, "mode: off", "instruct switches thinking off"),
    (12, "cache_type: Q8_0", "OK port 8080"),
    (12, "cache_type: q8", "write q8_0"),
    (13, "quants: Q4_K_M", "OK Qwen3.5-9B Q4_K_M"),
    (14, "quants: [q4_k_m]", "OK Qwen3.5-9B Q4_K_M"),
    (14, "quants: [int4]", "none of the quants INT4 is in the catalogue; write quants of"),
    (14, "quants: [Q4_K_XXL]", "'Q4_K_XXL' is no quant; did you mean UD-Q4_K_XL"),
    (19, "allow_from: 192.168.1.0/24\n  host: 0.0.0.0\n  api_key_file: /nokey", "OK port 8080"),
    (20, "allow_from: [10.0.0.0/8]", "allow_from does nothing while host is 127.0.0.1; name another host"),
    (21, "host: 0.0.0.0\n  api_key_file: /nokey", "OK ! A DEPLOY REFUSES: services.0.api_key_file: /nokey"),
    (26, "context: 4096\n  context: 8192", ":5: the key context is there twice; correct the YAML"),
    (31, "model: Qwen/Qwen3.5-35B-A3B", "OK Qwen3.5-35B-A3B"),
    (31, f"model: {GGUF}", "OK Qwen3.5-35B-A3B Q8_0"),
    (32, "model: Qwen3.5 35B A3B", "OK Qwen3.5-35B-A3B"),
    (33, "model: qwen3.5:35b-a3b", "OK Qwen3.5-35B-A3B"),
    (33, "model: qwen3.5:35b-a3b-q4_K_M", "OK Qwen3.5-35B-A3B Q4_K_M"),
    (34, "model: qwen3.5", NAMES),
    (34, "model: qwen3.5:latest", NAMES),
    (36, "model: qwen3.5-35b-a3b:UD-Q4_K_XL", "OK Qwen3.5-35B-A3B UD-Q4_K_XL"),
    (36, "model: qwen3.5-35b-a3b:GPTQ-Int4", "OK Qwen3.5-35B-A3B GPTQ-Int4"),
    (36, "model: qwen3.5-35b-a3b@Q4_K_M", "OK Qwen3.5-35B-A3B Q4_K_M"),
    (37, "model: qwen3.5-35b-a3b:Q4", "did you mean UD-IQ4_XS, UD-IQ4_NL, UD-Q4_K_L, Q4_K_S, Q4_K_M or UD-Q4_K_XL?"),
    (37, "model: qwen3.5-35b-a3b:IQ4_XS", "did you mean UD-IQ4_XS?"),
    (39, "model: deepseek-r1:70b", "name one of docs/models.md, a GGUF file on this machine, or one of a hub as hf:"),
    (39, "model: kimi-k2", "name one of docs/models.md, a GGUF file on this machine, or one of a hub as hf:"),
    (39, "model: AUTO", "OK port 8080"),
    (39, "model: qwen3.5-405b-a17b", "did you mean"),
    (40, f"model: hf:{GGUF}", "OK Qwen3.5-35B-A3B Q8_0"),
    (40, f"model: hf:{GGUF}:UD-Q4_K_XL", "OK Qwen3.5-35B-A3B UD-Q4_K_XL"),
    (40, f"model: 'hf:{GGUF}:*UD-Q4_K_XL*'", "OK Qwen3.5-35B-A3B UD-Q4_K_XL"),
    (41, "model: mmproj-F16.gguf", "is a projector; name the file of the model, and set vision: true"),
    (41, f"model: https://huggingface.co/{GGUF}", "OK Qwen3.5-35B-A3B"),
    (41, "model: https://ollama.com/library/qwen3.5", NAMES),
    (41, f"model: https://huggingface.co/{GGUF}/blob/main/Qwen3.5-35B-A3B-UD-Q4_K_XL.gguf", "OK UD-Q4_K_XL"),
    (43, "model: ftp://host/x.gguf", "is no http(s) address; download the file, and name its path"),
    (43, "model: s3://bucket/x.gguf", "is no http(s) address; download the file, and name its path"),
    (44, "model: /etc/hostname", "not with 'GGUF'; name the GGUF file of a language model"),
    (44, "model: ~/no.gguf", "does not exist on this machine; check the path of the model"),
    (44, "model: /nowhere/m.gguf", "name its repository and set weights.directory where the rig has it"),
    (45, "model: [a]", "names no model; write one, like qwen3.5-35b-a3b, hf:org/repo:Q4_K_M or auto"),
    (45, "model: 7", "7 names no model"),
    (45, "model:", "names no model"),
    (46, "model: https://u:token@host/x.gguf", "the address holds a password"),
]

# A command line, its exit code and what it says; `files` are there.
COMMANDS = [
    (9, "plan --gpu 3090 --spec gpu7.yml", 1, "there is no usable GPU 7; use GPU 0 (NVIDIA GeForce RTX 3090)"),
    (25, "plan --gpu 3090 --spec Chat.yml", 1, "write chat"),
    (25, "plan --gpu 3090 --spec my_chat.yml", 1, "write my-chat"),
    (27, "plan --gpu 3090 --spec home.yml", 1, "is no absolute path on the rig; write one like /srv/models"),
    (27, "plan --gpu 3090 --spec slash.yml", 0, "port 8080"),
    (28, "plan --gpu 3090 --spec reserve.yml", 0, "port 8080"),
    (28, "plan --gpu 3090 --spec architectures.yml", 0, "port 8080"),
    (30, "plan --gpu 3090 --spec branch.yml", 1, "master is a branch, and branches move; name a tag or a full commit"),
    (47, "plan inventory.yml", 1, PYTHON),
    (47, "plan inventory.ini", 1, PYTHON),
    (47, "plan .", 1, "is a directory; name the inventory in it"),
    (47, "plan open.py", 1, "open.py:1: '(' was never closed; correct the Python"),
    (48, "plan nope.py", 1, "nope.py: does not exist; check the path of the inventory"),
    (49, "plan deploy.py", 1, "is a deploy, which comes second: pyinfra INVENTORY DEPLOY"),
    (50, "plan text.py", 1, "its hosts are a text; put them in a list"),
    (52, "plan true.py", 1, ":1: true: Python writes True"),
    (58, "plan --capture nodir auto", 2, "no such folder; name a folder of recorded outputs"),
    (58, "plan --capture machines auto", 2, "holds recordings in folders of their own; name one, like"),
    (60, "plan --gpu 3090 --spec nope.yml", 1, "nope.yml: cannot be read: No such file or directory; name a YAML file"),
    (60, "plan --gpu 3090 --spec text.yml", 1, "text.yml: holds no keys; write services: with at least one service"),
    (61, "plan --gpu 3090 --ram 128 auto", 2, "--ram: 128 has no unit, and would be bytes; write for example 128G"),
    (63, "plan --gpu rtx3090 qwen3.5-9b", 0, "1x RTX 3090"),
    (63, "plan --gpu 4x3090 qwen3.5-9b", 0, "4x RTX 3090"),
    (63, "plan --gpu M4-Max --ram 64G qwen3.5-9b", 0, "1x Apple M4 Max"),
    (63, "plan --gpu rtx-6000 auto", 1, "or Quadro RTX 6000; write one of them in full"),
    (63, "plan --gpu 24GB auto", 1, "GPU '24GB': is a size, and several cards have it; name the card, like 3090"),
    (63, "plan --gpu 3900 auto", 1, "did you mean NVIDIA GeForce RTX 3090"),
    (63, "plan --gpu strix-halo --ram 128G qwen3.5-9b", 0, "Radeon 8060S"),
    (65, "plan inventory.py --capture machines", 2, "--capture and inventory.py both name a machine"),
    (66, "recommend --gpu 3090 --ram 32G --for code", 0, "for coding, the best first"),
    (69, "size qwen3.5-9b --engine ollama", 0, "Qwen3.5-9B"),
    (69, "size qwen3.5-9b --engine llama.cpp", 0, "Qwen3.5-9B"),
    (71, "deploy rig.py", 2, "deploys are pyinfra's: pyinfra INVENTORY deploy.py"),
    (71, "pln", 2, "no such command: pln; did you mean plan?"),
    (71, "help", 2, "help is an option: rigwright --help"),
    (72, "rollback nope.py", 1, "nope.py: does not exist; check the path of the inventory"),
    (72, "verify nope.py", 1, "nope.py: does not exist; check the path of the inventory"),
]

# The same, of inventories that pyinfra reads.
LOGIN = '"ssh_hostname": "127.0.0.1", "ssh_port": 9'
NO_LIST = 'names no rig; each list of hosts is a group: rigs = ([("rig1", {"ssh_hostname": "192.168.1.50"'
INVENTORIES = [
    (51, 'rigs = "rig1"', NO_LIST),
    (51, 'rig1 = {"rig": {}}', NO_LIST),
    (51, "", NO_LIST),
    (53, f'rigs = ([("rig1", {{{LOGIN}}})], {{"rigs": {{}}}})', "rig1: rig: missing; give the host data a key `rig`"),
    (
        54,
        'rigs = [("rig1", {"ansible_host": "10.0.0.1"})]',
        "ansible_host: pyinfra does not know it; write ssh_hostname",
    ),
    (
        56,
        f'rigs = ([("rig1", {{{LOGIN}}})], {{"rig": {{"services": []}}}})',
        "start sshd on the rig, or correct ssh_host",
    ),
]

_ONE = "services:\n- name: chat\n  model: qwen3.5-9b\n"
FILES = {
    "gpu7.yml": f"{_ONE}  gpu: 7\n",
    "Chat.yml": "services:\n- name: Chat\n  model: auto\n",
    "my_chat.yml": "services:\n- name: my_chat\n  model: auto\n",
    "home.yml": f"{_ONE}weights:\n  directory: ~/models\n",
    "slash.yml": f"{_ONE}weights:\n  directory: /data/models/\n",
    "reserve.yml": f"{_ONE}weights:\n  reserve_bytes: 10G\n",
    "architectures.yml": f"{_ONE}llamacpp:\n  cuda_architectures: [8.6, sm_89]\n",
    "branch.yml": f"{_ONE}llamacpp:\n  ref: master\n",
    "text.yml": "qwen3.5-9b\n",
    "inventory.yml": "all:\n  hosts:\n    rig1:\n      ansible_host: 10.0.0.1\n",
    "inventory.ini": "[rigs]\nrig1 ansible_host=10.0.0.1\n",
    "inventory.py": 'rigs = [("rig1", {})]\n',
    "open.py": 'rigs = ([("rig1", {}\n',
    "deploy.py": "from rigwright.roles.llamacpp.deploy import deploy\n\ndeploy()\n",
    "text.py": 'rigs = ("rig1", {"rig": {}})\n',
    "true.py": 'rigs = ([("rig1", {"_sudo": true})], {})\n',
    "machines/one/nvidia-smi-l.txt": "GPU 0: NVIDIA GeForce RTX 3090 (UUID: GPU-1f0e7c4a-0000-4000-8000-000000000)\n",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the commands name."""
    found = tmp_path_factory.mktemp("stranger")
    for name, text in FILES.items():
        (found / name).parent.mkdir(parents=True, exist_ok=True)
        (found / name).write_text(text)
    return found


def run(*words: str) -> Result:
    return CliRunner().invoke(main, words, prog_name="rigwright")


def refuses(result: Result, said: str) -> None:
    """One line that says it, without Python's words, beside what click says of its usage."""
    assert said in " ".join(result.output.split())
    assert len([line for line in result.output.splitlines() if said[:20] in line]) <= 1
    assert not any(word in result.output for word in ("Traceback", "tuple", "literal[", "NoneType"))


@pytest.mark.parametrize(("row", "line", "said"), SERVICES, ids=[f"{row}-{line}" for row, line, _ in SERVICES])
def test_line_of_a_service(tmp_path: Path, row: int, line: str, said: str) -> None:
    """`rigwright plan --gpu 2x3090 --spec rig.yml`."""
    model = "" if line.startswith("model:") else "  model: qwen3.5-9b\n"
    (tmp_path / "rig.yml").write_text(f"services:\n- name: chat\n{model}  {line}\n")
    result = run("plan", "--gpu", "2x3090", "--ram", "64G", "--spec", str(tmp_path / "rig.yml"))
    if said.startswith("OK "):
        assert result.exit_code == 0 and said[3:] in result.output, result.output
    else:
        assert result.exit_code == 1
        refuses(result, said)
        assert len(result.output.splitlines()) == 1


@pytest.mark.parametrize(("row", "line", "code", "said"), COMMANDS, ids=[f"{row}-{line}" for row, line, *_ in COMMANDS])
def test_command_line(folder: Path, monkeypatch: pytest.MonkeyPatch, row: int, line: str, code: int, said: str) -> None:
    """In a folder with such files."""
    monkeypatch.chdir(folder)
    result = run(*line.split())
    assert result.exit_code == code, result.output
    if code:
        refuses(result, said)
    else:
        assert said in result.output


@pytest.mark.patience
@pytest.mark.parametrize(
    ("row", "text", "said"), INVENTORIES, ids=[f"{row}-{text[:30]}" for row, text, _ in INVENTORIES]
)
def test_inventory(tmp_path: Path, row: int, text: str, said: str) -> None:
    """`rigwright plan rig.py`, and no rig is touched."""
    (tmp_path / "rig.py").write_text(f"{text}\n")
    result = run("plan", str(tmp_path / "rig.py"))
    assert result.exit_code == 1
    refuses(result, said)
