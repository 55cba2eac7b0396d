"""Ollama: does each service run the wanted version, with the model that was made for it, loaded as planned?

Run it by hand: pytest --pyargs rigwright.roles.ollama.verify --rigs INVENTORY
"""

from __future__ import annotations

import json
import re
from typing import Any

from rigwright.verify.subject import ServiceUnderTest


def test_is_healthy(served: ServiceUnderTest) -> None:
    """The server runs."""
    status, body = served.get("/")
    assert (status, body.strip()) == (200, "Ollama is running")


def test_version_is_the_wanted_one(served: ServiceUnderTest) -> None:
    """The server reports the version of the lock or the inventory, and its release was installed as that."""
    locked = ((served.locked or {}).get("builds") or {}).get("ollama") or {}
    wanted = locked.get("ref") or served.rig.spec.engines["ollama"].model_dump(mode="json")["version"]
    manifest = json.loads(served.host.check_output("cat -- %s", f"{served.release}/release.json"))
    assert (manifest["version"], manifest["id"]) == (wanted, served.release.rsplit("/", 1)[-1])
    assert _answer(served, "/api/version")["version"] == wanted


def test_model_is_what_was_made(served: ServiceUnderTest) -> None:
    """The model that clients ask for is, by Ollama's own digest, what was made of the weights and the Modelfile.

    That digest is no sum of ours: Ollama writes a GGUF anew (ollama #17554), and both are noted when it is made.
    """
    tag, digest, name = _made(served)
    found = {one["name"]: one["digest"].removeprefix("sha256:") for one in _answer(served, "/api/tags")["models"]}
    assert name == _name(served)
    assert found.get(f"{name}:latest") == digest, f"{name} was changed by another hand; systemctl restart {served.unit}"
    assert found.get(f"rigwright/{name}:{tag}") == digest


def test_model_is_loaded_as_planned(served: ServiceUnderTest) -> None:
    """It is in memory, with the planned context, wholly on its GPUs where that is planned, and stays."""
    _, digest, name = _made(served)
    loaded = [one for one in _answer(served, "/api/ps")["models"] if one["digest"].removeprefix("sha256:") == digest]
    assert len(loaded) == 1, f"{name} is not loaded; systemctl restart {served.unit}"
    assert loaded[0]["context_length"] == int(_parameters(served)["num_ctx"])
    if served.replica["gpus"] and not served.plan.get("in_ram"):
        size, on_gpus = loaded[0]["size"], loaded[0]["size_vram"]
        assert on_gpus == size, f"{size - on_gpus} bytes of {size} are not on a GPU: another program has its memory"
    if "OLLAMA_KEEP_ALIVE=-1" in served.environment:
        # It counts 292 years from now on, and for others minutes.
        assert int(loaded[0]["expires_at"][:4]) >= 2100, f"it is loaded until {loaded[0]['expires_at']} alone"


def test_model_has_the_planned_parameters(served: ServiceUnderTest) -> None:
    """What the Modelfile says of an answer is what the server has for it."""
    shown = _answer(served, "/api/show", {"model": _name(served)})
    pairs = (line.split(None, 1) for line in shown["parameters"].splitlines() if line.strip())
    found = {name: text.strip().strip('"') for name, text in pairs}
    for name, wanted in _parameters(served).items():
        assert name in found, f"{name} is not set"
        assert _same(found[name], wanted.strip('"')), f"{name} is {found[name]}, planned is {wanted}"
    for key in ("renderer", "parser"):
        planned = re.search(rf"^{key.upper()} (\S+)$", served.plan["modelfile"], re.MULTILINE)
        if planned and shown.get(key) is not None:
            assert shown[key] == planned[1]


def test_completes_a_chat(served: ServiceUnderTest) -> None:
    """A real completion comes back, with text in it."""
    body = {"model": _name(served), "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 8}
    status, text = served.get("/v1/chat/completions", body=body | {"temperature": 0})
    assert status == 200, text[:300]
    message = json.loads(text)["choices"][0]["message"]
    assert (message.get("content") or message.get("reasoning") or "").strip()


def _answer(served: ServiceUnderTest, path: str, body: object = None) -> Any:
    status, text = served.get(path, body=body)
    assert status == 200, f"{path}: {text[:300]}"
    return json.loads(text)


def _name(served: ServiceUnderTest) -> str:
    return served.wish.alias or served.wish.name


def _made(served: ServiceUnderTest) -> list[str]:
    """Tag, digest and name of what was made last, as the service noted it."""
    noted = served.host.run("tail -n 1 -- %s", f"/var/lib/private/rigwright-{served.name}/rigwright")
    found: list[str] = noted.stdout.split()
    assert len(found) == 3, f"nothing is noted of a model; systemctl restart {served.unit}"
    return found


def _parameters(served: ServiceUnderTest) -> dict[str, str]:
    return dict(re.findall(r"^PARAMETER (\S+) (.+)$", served.plan["modelfile"], re.MULTILINE))


def _same(one: str, other: str) -> bool:
    try:
        return float(one) == float(other)
    except ValueError:
        return one == other
