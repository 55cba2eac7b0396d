"""Keys and files of other tools: what they are called here, and whose they are."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from rigwright.spec.text import load_yaml

_OUT = "leave it out: "
# What the same is called by Ollama, llama.cpp, vLLM, Ansible, Docker: letters and digits only.
_NAMES = {
    "thinking: on, off or per-request": "enablethinking reasoning think nothink reasoningmode",
    "context": (
        "ctx ctxsize numctx nctx maxmodellen contextlength contextsize maxcontext contextwindow maxseqlen "
        "maxinputtokens maxcontextlength ctxlen"
    ),
    "slots": "parallel np numparallel maxnumseqs concurrency nparallel",
    "users": "maxusers numusers clients sessions",
    "gpu": (
        "gpus device devices cudavisibledevices numgpu gpuids gpuid gpuindex maingpu deviceids "
        "nvidiavisibledevices"
    ),
    "layout: tensor, or layers; left out, the plan finds the best": (
        "tensorparallelsize tp pp pipelineparallelsize tensorparallel splitmode parallelism"
    ),
    "leave it out: the plan puts on the GPUs what fits; a flag of yours stands under flags": (
        "ngl ngpulayers gpulayers nlayers offload ncpumoe cpumoe tensorsplit"
    ),
    "quants, or model: NAME:QUANT": "quant quantization quantisation weighttype",
    "cache_type": "cachetypek cachetypev kvcachetype kvcachedtype kvcache",
    "api_key_file": "apikey apikeys key token apitoken secret",
    "flags: {'--temp': 0.6}": (
        "temperature temp topp topk minp args extraargs options parameters sampling seed repeatpenalty "
        "presencepenalty"
    ),
    "flags: {'--threads': 8}": (
        "threads nthreads numthreads batchsize nbatch ubatchsize ubatch flashattn flashattention mlock mmap nommap "
        "gpumemoryutilization jinja chattemplate lora ropescaling numa timeout"
    ),
    "host": "listen address bind ip bindhost hostname listenaddress",
    "replicas": "copies instances count",
    "engine": "backend runtime server inferenceengine",
    "model": (
        "modelfile modelpath modelname modelid gguf repo repoid hf hfrepo weights checkpoint basemodel "
        "hfmodel"
    ),
    "name": "title id label containername servicename",
    "vision: true": "mmproj multimodal",
    "draft_model": "modeldraft speculativemodel",
    "draft": "speculative mtp nextn",
    "allow_from": "firewall allow allowedips whitelist cidr",
    "leave it out: no container runs; the role builds the engine and writes its unit": (
        "image build container command cmd entrypoint volumes networks deploy dependson shmsize ipc ulimits "
        "pullpolicy"
    ),
    "leave it out: systemd starts the unit, also after a failure": (
        "restart healthcheck enabled state autostart restartpolicy"
    ),
    "leave it out: gpu names the GPUs, and flags are the engine's own": "environment env envfile",
    "leave it out: clients send their prompts with each request": "systemprompt system prompt template",
    "leave it out: data of a host stands beside rig in the inventory: _sudo, ssh_user": (
        "become sudo user ansiblebecome"
    ),
}  # fmt: skip
_ELSEWHERE = {word: advice for advice, words in _NAMES.items() for word in words.split()}


def told_elsewhere(key: str) -> str:
    """What a key of another tool is here; empty where it is none that is known."""
    return _ELSEWHERE.get(re.sub(r"[\W_]+", "", key.lower()), "")


def is_left_out(advice: str) -> bool:
    """Whether an advice is to write nothing."""
    return advice.startswith(_OUT)


def kind_of(text: str) -> str | None:
    """Whose file a text is: `a playbook of Ansible`; None where it is none that is known."""
    if re.match(r"(?:#.*\n|\s)*FROM\s+\S+", text):
        return "a Modelfile, or a Dockerfile"
    if re.match(r"(?:(?:#|//).*\n|\s)*(?:resource|provider|variable|terraform|module)\s+[\"{]", text):
        return "a file of Terraform"
    try:
        data = load_yaml(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return "an inventory of Ansible" if re.search(r"^\[[\w:.-]+\]\s*$", text, re.MULTILINE) else None
    return kind_of_data(data)


def kind_of_data(data: Any) -> str | None:
    """The same of what YAML or JSON says."""
    if isinstance(data, list):
        plays = [play for play in data if isinstance(play, Mapping)]
        if any("hosts" in play or "import_playbook" in play for play in plays):
            return "a playbook of Ansible"
        return "a list of Ansible's tasks" if any("ansible.builtin" in str([*play]) for play in plays) else None
    if not isinstance(data, Mapping):
        return None
    for keys, kind in _KINDS:
        if all(key in data for key in keys):
            return kind
    groups = [group for group in data.values() if isinstance(group, Mapping)]
    if any(isinstance(group.get(key), Mapping) for group in groups for key in ("hosts", "children")):
        return "an inventory of Ansible"
    models = data.get("models")
    if isinstance(models, Mapping) and any(isinstance(one, Mapping) and "cmd" in one for one in models.values()):
        return "the configuration of llama-swap"
    services = data.get("services")
    if isinstance(services, Mapping) and any(
        isinstance(one, Mapping) and ({"image", "build"} & {*one}) for one in services.values()
    ):
        return "a file of Docker Compose"
    return None


_KINDS = (
    (("apiVersion", "kind"), "a manifest of Kubernetes"),
    (("model_list",), "the configuration of LiteLLM"),
    (("architectures", "model_type"), "the config.json of a model"),
    (("architectures",), "the config.json of a model"),
    (("model_type", "hidden_size"), "the config.json of a model"),
    (("plugin",), "an inventory of Ansible"),
)
