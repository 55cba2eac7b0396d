"""Services that come, go, multiply and change places; two engines on one rig, one of them from another package."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..pages import page_shows

pytestmark = pytest.mark.lab

TOY = Path(__file__).parent / "toy"
BOTH, ALONE = "../tests/lab/toy/deploys/both", "../tests/lab/toy/deploys/toy"


@pytest.fixture(autouse=True)
def toy_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy engine's package, as pip would install it."""
    known = [str(TOY), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, known)))


@pytest.fixture(scope="module")
def rig(workshop: Any, trixie: Any) -> Iterator[str]:
    """A rig that serves `demo`."""
    name = workshop.boot("rig1", from_snapshot=trixie.snapshot)
    yield name
    workshop.lab.down([name])


def services(workshop: Any, *rows: dict[str, Any], **keys: Any) -> dict[str, Any]:
    """`rig` data with these services of the tiny model."""
    model = {"model": str(workshop.directory / "tiny.gguf"), "context": 2048}
    return {"services": [model | row for row in rows], "llamacpp": {"archive": "pinned"}} | keys


def converge(workshop: Any, wish: dict[str, Any], rig: str, **options: Any) -> Any:
    """A deploy that works, and another that has nothing left to do."""
    first = workshop.deploy(wish, rig, **options)
    assert first.code == 0, first.output
    second = workshop.deploy(wish, rig, **options)
    assert (second.code, second.changed) == (0, set()), second.output
    return first


def units(workshop: Any, rig: str) -> dict[str, str]:
    """The process of each unit of ours that runs."""
    text = workshop.on(
        rig,
        "for unit in $(systemctl list-units --plain --no-legend 'rigwright-*.service' | cut -d' ' -f1);"
        ' do echo "$unit $(systemctl show -P MainPID "$unit")"; done',
    )
    return dict(line.removeprefix("rigwright-").split(".service ") for line in text.splitlines())


def plan(workshop: Any, wish: dict[str, Any], rig: str) -> str:
    return str(workshop.rigwright("plan", str(workshop.inventory(wish, rig))).output)


def say(workshop: Any, rig: str, port: int) -> str:
    return str(workshop.on(rig, f"curl -sS -d '{{}}' http://127.0.0.1:{port}/say"))


DEMO = {"name": "demo", "port": 8080}
PARROT = {"name": "parrot", "port": 9000, "engine": "toychat"}


def test_two_engines_in_one_run_and_in_two(workshop, rig):
    """Both are planned together; a deploy acts on its own engine's services, and says that it leaves others alone."""
    wish = services(workshop, DEMO, PARROT)
    before = units(workshop, rig)
    first = converge(workshop, wish, rig, deploy=BOTH)
    assert {"Write the toy's program", "Serve parrot"} <= first.changed and "Serve demo" not in first.changed
    running = units(workshop, rig)
    assert running.keys() == {"demo", "parrot"} and running["demo"] == before["demo"]
    assert "Hello from the toy." in say(workshop, rig, 9000)
    checked = workshop.rigwright("verify", str(workshop.inventory(wish, rig)))
    assert checked.code == 0, checked.output

    louder = wish | {"toychat": {"words": "HELLO"}}
    alone = workshop.deploy(louder, rig)
    assert (alone.code, alone.changed) == (0, set()), alone.output
    page_shows("docs/services.md", "[rig1] parrot: planned on Toy chat", alone.output)
    assert units(workshop, rig) == running
    changed = converge(workshop, louder, rig, deploy=ALONE)
    assert "Serve parrot" in changed.changed and "HELLO" in say(workshop, rig, 9000)
    assert units(workshop, rig)["demo"] == running["demo"]


def test_replicas_come_and_go(workshop, rig):
    """One unit for each copy on a port of its own; the first keeps the name, and stays when others leave."""
    copies = DEMO | {"replicas": 2, "context": 4096}
    twice = services(workshop, copies)
    page_shows(
        "docs/plan.md", "what a deploy would change\n  ~ demo --ctx-size: 2048 -> 4096", plan(workshop, twice, rig)
    )
    first = converge(workshop, twice, rig)
    page_shows("docs/services.md", "--> Starting operation: Serve | Serve demo", first.output)
    assert units(workshop, rig).keys() == {"demo", "demo@1", "parrot"}
    for port in (8080, 8081):
        answer = workshop.on(
            rig, f'curl -sS -d \'{{"prompt": "a", "n_predict": 1}}\' http://127.0.0.1:{port}/completion'
        )
        assert '"content"' in answer
    wish = services(workshop, copies, PARROT)
    assert workshop.rigwright("verify", str(workshop.inventory(wish, rig))).code == 0
    fewer = converge(workshop, services(workshop, DEMO), rig)
    assert "Remove demo@1" in fewer.changed
    assert units(workshop, rig).keys() == {"demo", "parrot"}


def test_renamed_service_is_named_and_leaves_when_told(workshop, rig):
    """Its old name holds the port: the deploy says so, and `remove_orphans` takes it away in the same run."""
    running = units(workshop, rig)
    talk = services(workshop, {"name": "talk", "port": 8080}, PARROT)
    refused = workshop.deploy(talk, rig)
    assert refused.code != 0 and "port 8080 is that of demo" in refused.output
    assert units(workshop, rig) == running
    page_shows("docs/services.md", "rig1: services.talk:", plan(workshop, talk, rig))
    elsewhere = services(workshop, {"name": "talk", "port": 8090}, PARROT)
    beside = converge(workshop, elsewhere, rig)
    assert "demo" in beside.output and units(workshop, rig)["demo"] == running["demo"]
    page_shows("docs/services.md", "! ORPHAN demo:", plan(workshop, elsewhere, rig))
    talk["remove_orphans"] = True
    page_shows("docs/services.md", "what a deploy would change\n  ~ talk --port", plan(workshop, talk, rig))
    converge(workshop, talk, rig)
    assert units(workshop, rig).keys() == {"talk", "parrot"}


def test_ports_swap_in_one_run(workshop, rig):
    """Neither waits for the other to leave."""
    converge(workshop, services(workshop, {"name": "talk", "port": 8080}, {"name": "more", "port": 8085}, PARROT), rig)
    swapped = services(workshop, {"name": "talk", "port": 8085}, {"name": "more", "port": 8080}, PARROT)
    first = converge(workshop, swapped, rig)
    assert {"Serve talk", "Serve more"} <= first.changed
    for port, name in ((8085, "talk"), (8080, "more")):
        assert f'"{name}"' in workshop.on(rig, f"curl -sS http://127.0.0.1:{port}/v1/models")


def test_swap_of_which_one_half_fails_leaves_both_as_they_were(workshop, rig):
    """The first one has moved, and the second cannot start where it was: both go back, and the plan is as before."""
    wish = services(workshop, {"name": "talk", "port": 8085}, {"name": "more", "port": 8080}, PARROT)
    converge(workshop, wish | {"remove_orphans": True}, rig)
    bad = {"name": "more", "port": 8085, "flags": {"--lora": "/none.gguf"}}
    failed = workshop.deploy(services(workshop, {"name": "talk", "port": 8080}, bad, PARROT), rig)
    assert failed.code == 1 and "more takes its place back" in failed.lines, failed.output
    assert any(
        line.startswith("more: ") and "the previous release is back and serving" in line for line in failed.lines
    )
    for port, name in ((8085, "talk"), (8080, "more")):
        assert f'"{name}"' in workshop.on(rig, f"curl -sS http://127.0.0.1:{port}/v1/models")
    again = workshop.deploy(wish, rig)
    assert (again.code, again.changed) == (0, set()), again.output
    assert "gave_way" not in workshop.on(rig, "ls /var/lib/rigwright/services/*")


def test_service_moves_to_another_engine(workshop, rig):
    """The same name, port and file, served by another program."""
    wish = services(
        workshop, {"name": "talk", "port": 8085, "engine": "toychat"}, {"name": "more", "port": 8080}, PARROT
    )
    converge(workshop, wish, rig, deploy=BOTH)
    assert "reply" in say(workshop, rig, 8085)


def test_rig_without_services(workshop, rig):
    """What is not wished any more is named and goes on; then it is taken away, and the rig stays a rig."""
    running = units(workshop, rig)
    kept = converge(workshop, services(workshop), rig, deploy=BOTH)
    assert kept.changed == set() and units(workshop, rig) == running
    assert all(name in kept.output for name in running)
    converge(workshop, services(workshop, remove_orphans=True), rig, deploy=BOTH)
    assert units(workshop, rig) == {}
    assert workshop.rigwright("verify", str(workshop.inventory(services(workshop), rig))).code == 0
