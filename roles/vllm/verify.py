"""vLLM: does each service run the pinned release, and does it answer as planned?

Run it by hand: pytest --pyargs rigwright.roles.vllm.verify --rigs INVENTORY
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest

from rigwright.verify.subject import NOTED, ServiceUnderTest

# What each package says of its own files is held against them, with the interpreter of the release.
_FILES = """
import base64, hashlib, importlib.metadata, json, pathlib
found, wrong = [], []
for one in importlib.metadata.distributions():
    found.append(one.metadata["Name"].replace("_", "-").lower() + "==" + one.version)
    for file in one.files or ():
        path = pathlib.Path(file.locate())
        if not file.hash or path.suffix == ".pyc":
            continue
        with open(path, "rb") as opened:
            digest = hashlib.file_digest(opened, file.hash.mode).digest()
        if base64.urlsafe_b64encode(digest).decode().rstrip("=") != file.hash.value:
            wrong.append(str(file))
print(json.dumps([found, wrong]))
"""
_HASH_SECONDS = 300
# What a log and a plan may differ by: blocks are whole, and what a driver takes differs by its version.
_CACHE_SHARE = 0.15


def test_is_healthy(served: ServiceUnderTest) -> None:
    """The server is up; whether it works a completion says."""
    assert served.get("/health")[0] == 200


def test_version_is_the_planned_one(served: ServiceUnderTest) -> None:
    """The server reports the version that was planned, which is the one of its release."""
    status, text = served.get("/version")
    manifest = json.loads(served.host.check_output("cat -- %s", f"{served.release}/release.json"))
    assert manifest["id"] == served.release.rsplit("/", 1)[-1]
    said = json.loads(text)["version"]
    assert (status, said.split("+")[0]) == (200, served.plan["engine_version"].split("+")[0])
    assert said.split("+")[0] == manifest["version"].split("+")[0]


def test_rigs_of_a_cluster_are_joined(served: ServiceUnderTest) -> None:
    """Each rig has its connection with the head, and the head with each: one that is lost never comes back alone."""
    part = served.cluster
    if not part:
        pytest.skip("this rig serves it alone")
    asked = "ss -Hnt state established dst %s " + f"{'dport' if part.rank else 'sport'} = :{part.port}"
    lost = [rig for rig, address in part.others if not served.host.check_output(asked, address)]
    assert lost == [], f"it is not joined with {', '.join(lost)}, so that nobody gets an answer"


def test_packages_are_the_pinned_ones(served: ServiceUnderTest) -> None:
    """The environment has what its lock pins, in those versions, and each file is as its package brought it."""
    lines = served.host.check_output("cat -- %s", f"{served.release}/requirements.txt").splitlines()
    pairs = (line.split(" ")[0].partition(";")[0].split("==") for line in lines if "==" in line)
    pinned = {f"{re.sub('[-_.]+', '-', name.partition('[')[0]).lower()}=={version}" for name, version in pairs}
    said = served.host.check_output("%s -I -c %s", f"{served.release}/bin/python", _FILES, limit_seconds=_HASH_SECONDS)
    found, wrong = json.loads(said)
    there = {re.sub("[-_.]+", "-", one.partition("==")[0]) + "==" + one.partition("==")[2] for one in found}
    # Of a lock for several systems only a part is wanted here; kernels come beside it, and a name of vLLM's own.
    extra = [one for one in there - pinned if not re.match(r"(flashinfer-|vllm==)", one)]
    assert (sorted(extra), wrong) == ([], [])


def test_completes_a_chat(served: ServiceUnderTest) -> None:
    """A real completion comes back: /health alone says 200 for minutes after a worker died."""
    if "pooling" in served.planned:
        pytest.skip("this service makes vectors")
    body = {"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 8, "temperature": 0}
    status, text = served.get("/v1/chat/completions", body=body)
    assert status == 200, text[:200]
    answer = json.loads(text)
    assert answer["usage"]["completion_tokens"] > 0
    message = answer["choices"][0]["message"]
    assert any(message.get(key) for key in ("content", "reasoning", "reasoning_content"))


def test_asks_for_the_key(served: ServiceUnderTest) -> None:
    """Without a key nothing below /v1 is answered, where the inventory names keys."""
    if not served.wish.api_key_file:
        pytest.skip("this service has no API keys")
    assert served.get("/v1/models", key=False)[0] == 401
    assert served.get("/v1/models")[0] == 200


def test_model_is_the_planned_one(served: ServiceUnderTest) -> None:
    """The API names the model as planned, with the planned context."""
    status, text = served.get("/v1/models")
    name = served.wish.alias or served.wish.name
    (model,) = [one for one in json.loads(text)["data"] if one["id"] == name]
    assert (status, model["max_model_len"]) == (200, served.plan["context_tokens"])
    assert model["root"] == served.argv[0]


def test_metrics_are_served(served: ServiceUnderTest) -> None:
    """Prometheus can scrape the service, and a deploy sees by it whether requests are under way."""
    status, text = served.get("/metrics", key=False)
    assert status == 200
    for name in ("running", "waiting"):
        assert re.search(rf"^vllm:num_requests_{name}\{{.*\}} \d", text, re.MULTILINE)


def test_cache_holds_what_was_planned(served: ServiceUnderTest, record_property: Callable[[str, object], None]) -> None:
    """vLLM's log names a KV cache that holds the tokens of the plan, by and large."""
    why = " ".join(flag["reason"]["because"] for flag in served.plan["flags"])
    planned = re.search(r"The KV cache holds ([\d,]+) tokens", why)
    if not planned:
        pytest.skip("this plan names no tokens of a cache")
    log = "journalctl -u %s -o cat --no-pager | grep -oE 'KV cache size: [0-9,]+ tokens' | tail -n 1"
    said = re.search(r"([\d,]+) tokens", served.host.run(log, served.unit).stdout)
    if not said:
        record_property(NOTED, f"{served.unit} started too long ago: its journal names no KV cache")
        return
    wanted, real = (int(one[1].replace(",", "")) for one in (planned, said))
    assert real >= wanted * (1 - _CACHE_SHARE), f"the KV cache holds {real:,} tokens, {wanted:,} were planned"
    if real > wanted * (1 + _CACHE_SHARE):
        record_property(NOTED, f"{served.unit}: the KV cache holds {real:,} tokens, {wanted:,} were planned")
