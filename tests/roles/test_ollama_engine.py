"""Ollama's role on the controller: who is asked for sums, what is refused before anything is done."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rigwright.errors import RigwrightError
from rigwright.hardware import Disk
from rigwright.plan.engines.ollama.request import tag_of
from rigwright.plan.engines.ollama.settings import OllamaSettings
from rigwright.roles.base.facts import RemoteFile, Rig
from rigwright.roles.ollama import engine
from rigwright.roles.ollama.engine import ENGINE
from rigwright.roles.ollama.operations import _checked
from rigwright.roles.ollama.published import published_sums
from rigwright.roles.service.context import RigContext

from ..ollama_release import NAME, Releases

GIB = 1 << 30
SERVICE = {"name": "chat", "engine": "ollama", "port": 11434}
STORE = "/var/lib/private"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Releases]:
    """Upstream's host."""
    found = Releases(tmp_path / "releases")
    yield found
    found.close()


def settings_of(host: Releases, **given: Any) -> OllamaSettings:
    return OllamaSettings(mirror=f"http://127.0.0.1:{host.port}", **given)


def test_sums_are_asked_once(host: Releases) -> None:
    """Whatever the host says later: what was believed first holds."""
    digest = host.add("0.34.1")
    for _ in range(2):
        assert published_sums(settings_of(host, version="0.34.1"), [NAME]) == {NAME: digest}
        (host.directory / "v0.34.1/sha256sum.txt").write_text(f"{'0' * 64}  {NAME}\n")
    assert [path for _, path, _ in host.asked] == ["/v0.34.1/sha256sum.txt"]


def test_host_that_does_not_tell_is_told_of(host: Releases) -> None:
    """No such version, no such archive, nobody there: where, what, and what to do."""
    with pytest.raises(RigwrightError, match=r"answers there is no version 9.9.9; name the sums in rig.ollama.sums"):
        published_sums(settings_of(host, version="9.9.9"), [NAME])
    host.add("0.34.1")
    with pytest.raises(RigwrightError, match=r"names no other\.tar\.zst; name the sums"):
        published_sums(settings_of(host, version="0.34.1"), ["other.tar.zst"])
    with pytest.raises(RigwrightError, match="cannot be fetched"):
        published_sums(OllamaSettings(mirror="http://127.0.0.1:9"), [NAME])


def test_proof_names_the_model(context: Callable[..., RigContext], blank: Callable[..., Rig]) -> None:
    """Ollama answers nobody who does not say which model."""
    found = context(SERVICE | {"alias": "My.Model"})
    [instance] = found.resolved(blank()).instances(found.spec)
    assert json.loads(ENGINE.answer(instance).body)["model"] == "My.Model"
    assert ENGINE.work(instance) is None and ENGINE.health == "/"


def errors(context: RigContext, rig: Rig) -> list[str]:
    return list(ENGINE.preflight_errors(rig, context))


def test_store_needs_room_for_its_copies(context: Callable[..., RigContext], blank: Callable[..., Rig]) -> None:
    """Twice the weights, unless the model was made already; a release needs its own."""
    archive = {"archive": {"path": "/x.tar.zst", "sha256": "a" * 64}}
    found = context(SERVICE, ollama=archive)
    plan = found.resolved(blank()).plan.services[0]
    size = plan.file_bytes or 0
    assert size
    tight = blank(disks={STORE: Disk(STORE, 99 * GIB, 2 * size - 1)})
    [said] = errors(found, tight)
    assert said.startswith("Ollama's copies of the weights need") and "/var/lib/private" in said
    assert errors(found, blank(disks={STORE: Disk(STORE, 99 * GIB, 2 * size)})) == []
    local = next(iter(found.resolved(blank()).models.values()))
    tag = tag_of(plan.modelfile or "", [local.sha256 or ""])
    kept = RemoteFile("file", f"{tag} {'b' * 64} chat\n")
    assert errors(found, replace(tight, files={f"{STORE}/rigwright-chat/rigwright": kept})) == []


def test_release_needs_room(context: Callable[..., RigContext], blank: Callable[..., Rig]) -> None:
    """For the archive, and for what is in it."""
    found = context(SERVICE, ollama={"sums": {NAME: "a" * 64}})
    state, install = Disk("/var/lib/rigwright", 99 * GIB, GIB), Disk("/opt/rigwright", 99 * GIB, GIB)
    assert errors(found, blank(disks={state.path: state}))[0].startswith("receiving Ollama needs 2.0 GiB in")
    assert errors(found, blank(disks={install.path: install}))[0].startswith("installing Ollama needs 4.0 GiB in")


def test_ollama_of_the_owner_is_named(
    context: Callable[..., RigContext], blank: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is left alone, and takes memory: the run says so."""
    said: list[str] = []

    class Host:
        def log_styled(self, line: str, **_: Any) -> None:
            said.append(line)

    monkeypatch.setattr(engine, "current_host", Host)
    found = context(SERVICE, ollama={"sums": {NAME: "a" * 64}})
    ENGINE.ask(blank(sections={"ollama": ["Id=ollama.service", "ActiveState=active"]}), found)
    assert len(said) == 1 and said[0].startswith("ollama.service of this rig is not rigwright's")
    ENGINE.ask(blank(sections={"ollama": ["Id=ollama.service", "ActiveState=inactive"]}), found)
    assert len(said) == 1


def test_archive_of_another_sum_is_not_sent(tmp_path: Path) -> None:
    """It is looked at before gigabytes travel."""
    from rigwright.plan.engines.ollama.release import Archive

    path = tmp_path / "a.tar.zst"
    with pytest.raises(RigwrightError, match="cannot be read: No such file"):
        _checked(path, Archive("a", "a" * 64))
    path.write_text("x")
    with pytest.raises(RigwrightError, match=r"the inventory says aaaa"):
        _checked(path, Archive("a", "a" * 64))
