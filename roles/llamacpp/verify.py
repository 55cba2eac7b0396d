"""llama.cpp: does each service run the wanted build, and does it answer as planned?

Run it by hand: pytest --pyargs rigwright.roles.llamacpp.verify --rigs INVENTORY
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable
from typing import Any

import pytest

from rigwright.verify.subject import NOTED, ServiceUnderTest


def test_is_healthy(served: ServiceUnderTest) -> None:
    """The model is loaded."""
    status, body = served.get("/health")
    assert (status, json.loads(body)) == (200, {"status": "ok"})


def test_release_is_the_wanted_source(served: ServiceUnderTest) -> None:
    """The release was built from the inventory's or the lock's source, and the server reports it."""
    manifest = json.loads(served.host.check_output("cat -- %s", f"{served.release}/release.json"))
    assert manifest["id"] == served.release.rsplit("/", 1)[-1]
    status, props = served.get("/props")
    assert status == 200
    is_prebuilt = manifest["options"] == ["prebuilt"]
    if not is_prebuilt and manifest["options"] != ["distro"]:  # what other makers called it is theirs to say
        assert manifest["identity"][:9] in json.loads(props)["build_info"]
    build = _wanted_source(served)
    if served.rig.spec.engines["llamacpp"].model_dump()["source"] == "distro":
        assert manifest["options"] == ["distro"]
        assert manifest["identity"] in ({build["packages"]} if build.get("packages") else _told_sums(served))
    elif _is_upstreams(build, is_prebuilt=is_prebuilt):
        assert manifest["identity"] in _sums_of_binaries(served, build.get("binaries") or {})
    else:
        assert manifest["identity"] == _wanted_identity(served, build)


def _is_upstreams(build: dict[str, Any], *, is_prebuilt: bool) -> bool:
    """Whether upstream's binaries are wanted; where that is left open, for the plan to say, they may be."""
    known = ("prebuilt" if build.get("binaries") else "") or ("build" if build.get("commit") else "auto")  # of a lock
    source = build.get("source") or known
    is_named = bool(build.get("prebuilt") or build.get("archive"))
    return not is_named and (source == "prebuilt" or (source == "auto" and is_prebuilt))


def _sums_of_binaries(served: ServiceUnderTest, given: dict[str, str]) -> set[str]:
    """What one archive of upstream's, or two, are known by: with sums that are given, locked, or kept by the rig."""
    sums = [*given.values(), *_told_sums(served)]
    pairs = [(one,) for one in sums] + [(one, other) for one in sums for other in sums]
    return {hashlib.sha256(" ".join(words).encode()).hexdigest() for words in pairs}


def _told_sums(served: ServiceUnderTest) -> list[str]:
    """The sums that the rig was told: a first line each, as packages follow."""
    kept = served.host.run("sed -s -n 1p /var/lib/rigwright/refs/*").stdout.split()
    return [one for one in kept if re.fullmatch("[0-9a-f]{64}", one)]


def _wanted_identity(served: ServiceUnderTest, build: dict[str, Any]) -> str:
    """What shall be built: a sum over archives, or the commit that a lock or the rig knows the ref to be."""
    if prebuilt := build.get("prebuilt"):
        return hashlib.sha256(" ".join(one["sha256"] for one in prebuilt).encode()).hexdigest()
    if archive := build.get("archive"):
        return hashlib.sha256(f"{archive['sha256']}/{archive.get('subdirectory', '')}".encode()).hexdigest()
    if re.fullmatch("[0-9a-f]{40}", build["ref"]) or build.get("commit"):
        return str(build.get("commit") or build["ref"])
    ref = build["ref"]
    if ref == "latest":  # as a release of upstream's binaries it has another name by now
        ref = _kept(served, f"{build.get('releases')} {ref}") or ref
    return _kept(served, f"{build['git']} {ref}")


def _kept(served: ServiceUnderTest, what: str) -> str:
    """What the rig was told of something when it first asked; empty where it did not."""
    key = hashlib.sha256(what.encode()).hexdigest()[:16]
    return str(served.host.run("head -n1 -- %s", f"/var/lib/rigwright/refs/{key}").stdout).strip()


def _wanted_source(served: ServiceUnderTest) -> dict[str, Any]:
    """What shall be built: archive and ref, or binaries."""
    locked = served.locked or {}
    # Version 1 of the lock file knew one engine.
    build: dict[str, Any] = locked.get("builds", {}).get("llamacpp") or locked.get("build") or {}
    return build or served.rig.spec.engines["llamacpp"].model_dump(mode="json")


def test_files_of_the_machine_set_no_flags(
    served: ServiceUnderTest, record_property: Callable[[str, object], None]
) -> None:
    """llama-server takes flags from files of its own without a word: none of them was there for this process."""
    variables = dict(line.split("=", 1) for line in served.environment if "=" in line)
    home = variables.get("XDG_CONFIG_HOME") or f"{variables.get('HOME', '').rstrip('/')}/.config"
    hidden = served.host.check_output("systemctl show -P InaccessiblePaths -- %s", served.unit).split()
    for directory in ("/etc/llama.cpp", f"{home}/llama.cpp"):
        file = f"{directory}/config.ini"
        seen = served.host.run("test -e %s", f"/proc/{served.pid}/root{file}").rc == 0
        # Where the unit hides it and it shows, it came after the process started.
        assert not seen or f"-{directory}" in hidden, f"{file} sets flags of {served.unit}; deploy again to hide it"
        if served.host.run("test -e %s", file).rc == 0:
            record_property(NOTED, f"{file} sets flags of llama.cpp; it is hidden from {served.unit}")


def test_process_may_lock_what_is_planned(served: ServiceUnderTest) -> None:
    """A server that is to keep its weights in RAM may: by systemd's own limit it would go on with a warning."""
    flags = {flag["name"]: flag["value"] for flag in served.plan["flags"]}
    if "--mlock" in flags or flags.get("--load-mode") in ("mlock", "mmap+mlock"):
        limits = served.host.check_output("cat -- %s", f"/proc/{served.pid}/limits")
        assert re.search(r"^Max locked memory +unlimited +unlimited", limits, re.MULTILINE), limits


def test_completes_a_chat(served: ServiceUnderTest) -> None:
    """A real completion comes back, with text in it; of a model for embeddings or rankings numbers that differ."""
    if _makes_numbers(served):
        _check_numbers(served)
        return
    body = {"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 8, "temperature": 0}
    status, text = served.get("/v1/chat/completions", body=body)
    assert status == 200
    answer = json.loads(text)
    assert answer["usage"]["completion_tokens"] > 0
    message = answer["choices"][0]["message"]
    # A model that thinks first may not be done with it.
    assert (message.get("content") or message.get("reasoning_content") or "").strip()


def test_thinks_as_wished(served: ServiceUnderTest, record_property: Callable[[str, object], None]) -> None:
    """A request that says nothing of thinking gets the prompt that the inventory wants for it, by the chat template."""
    wished = served.wish.thinks
    own = {"--reasoning", "--chat-template-kwargs"} & {*served.wish.flags}
    if wished is None or own or "--reasoning" not in served.planned:
        pytest.skip("the inventory leaves thinking open, or to flags of its own")
    words = {"enable_thinking": wished}
    if "--chat-template-kwargs" in served.planned:
        words |= json.loads(served.flag("--chat-template-kwargs"))
    untold, told = _prompt(served, {}), _prompt(served, words)
    assert untold == told
    if told == _prompt(served, {name: _other(value) for name, value in words.items()}):
        record_property(NOTED, f"the chat template of {served.name} has no word that switches thinking")


def _other(value: object) -> object:
    return not value if isinstance(value, bool) else {"none": "high", "high": "none", 0: -1, -1: 0}.get(value, "")


def _prompt(served: ServiceUnderTest, words: dict[str, Any]) -> str:
    body = {"messages": [{"role": "user", "content": "Say hello."}], "chat_template_kwargs": words}
    status, text = served.get("/apply-template", body=body)
    assert status == 200
    return str(json.loads(text)["prompt"])


def _makes_numbers(served: ServiceUnderTest) -> bool:
    return any(re.fullmatch("--(embeddings?|rerank(ing)?)", word) for word in served.planned)


def _check_numbers(served: ServiceUnderTest) -> None:
    texts = ["A rig hums.", "Bread is baked from flour."]
    if any(word.startswith("--rerank") for word in served.planned):
        status, text = served.get("/v1/rerank", body={"query": texts[0], "documents": texts})
        found = [float(one["relevance_score"]) for one in json.loads(text)["results"]]
        assert (status, len(found)) == (200, 2) and all(map(math.isfinite, found))
        return
    status, text = served.get("/v1/embeddings", body={"input": texts})
    vectors = [one["embedding"] for one in json.loads(text)["data"]]
    assert (status, len(vectors)) == (200, 2) and vectors[0] != vectors[1]
    assert all(math.isfinite(number) for vector in vectors for number in vector) and all(map(any, vectors))


def test_asks_for_the_key(served: ServiceUnderTest) -> None:
    """Without a key nothing is answered, where the inventory names keys."""
    if not served.wish.api_key_file:
        pytest.skip("this service has no API keys")
    assert served.get("/v1/models", key=False)[0] == 401


def test_props_agree_with_the_plan(served: ServiceUnderTest) -> None:
    """The server itself reports the planned context, slots, model and name."""
    status, text = served.get("/props")
    props = json.loads(text)
    assert status == 200
    assert props["total_slots"] == served.plan["slots"]
    assert props["default_generation_settings"]["n_ctx"] >= served.plan["context_tokens"]
    assert props["model_path"] == served.flag("--model")
    assert props["model_alias"] == served.flag("--alias")


def test_metrics_are_served(served: ServiceUnderTest) -> None:
    """Prometheus can scrape the service, and the completions of these checks are counted."""
    status, text = served.get("/metrics")
    if "--metrics" not in served.planned:
        assert status == 501
        pytest.skip("the inventory drops --metrics")
    assert status == 200
    if _makes_numbers(served):
        return
    counted = re.search(r"^llamacpp:tokens_predicted_total (\d+)", text, re.MULTILINE)
    assert counted and int(counted[1]) > 0
