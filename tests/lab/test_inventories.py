"""Two inventories own different services of one rig: neither changes, breaks or takes away what the other has."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ..pages import page_shows
from .conftest import wait_healthy

pytestmark = pytest.mark.lab

WEIGHTS = "/var/lib/rigwright/weights"
BRING = ("-y", "--data", "remove_packages=true", "--data", "remove_weights=true")


@pytest.fixture(scope="module")
def rig(workshop: Any, trixie: Any) -> Iterator[str]:
    """A rig that serves `demo`, as inventory.py wishes."""
    name = workshop.boot("rig1", from_snapshot=trixie.snapshot)
    wait_healthy(workshop, name)
    yield name
    workshop.lab.down([name])


@pytest.fixture(scope="module")
def home(workshop: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Who has home.py, and a model of his own."""
    directory = tmp_path_factory.mktemp("home")
    (directory / "chat.gguf").write_bytes((workshop.directory / "tiny.gguf").read_bytes())
    shutil.copy(workshop.directory / "tiny.gguf", directory / "tiny.gguf")
    return type(workshop)(workshop.lab, directory, file="home.py")


def wish(shop: Any, **changes: Any) -> dict[str, Any]:
    """`rig` data with one service: `demo` here, `chat` of home.py."""
    row = {"name": "demo", "port": 8080, "model": str(shop.directory / "tiny.gguf"), "context": 2048}
    if shop.file == "home.py":
        row |= {"name": "chat", "port": 8090, "model": str(shop.directory / "chat.gguf")}
    return {"services": [row | changes], "llamacpp": {"archive": "pinned"}, "remove_orphans": True}


def state(shop: Any, rig: str, name: str) -> str:
    """What runs, word for word: process, unit, record, release, model."""
    look = (
        f"systemctl show -P MainPID rigwright-{name}; readlink /opt/rigwright/services/{name}/current;"
        f" sha256sum /etc/rigwright/{name}.json /etc/systemd/system/rigwright-{name}.service"
    )
    return str(shop.on(rig, look, check=False))


def verified(shop: Any, rig: str) -> str:
    """The output of a verify that passes."""
    outcome = shop.rigwright("verify", str(shop.inventory(wish(shop), rig)))
    assert outcome.code == 0, outcome.output
    return str(outcome.output)


def test_two_inventories_deploy_plan_and_verify_beside_each_other(workshop, home, rig):
    """Each names the other's service, plans with its memory and port, and a second deploy changes nothing."""
    demo = state(workshop, rig, "demo")
    first = home.deploy(wish(home), rig)
    assert first.code == 0, first.output
    assert "rigwright-demo.service is of the inventory inventory: it stays" in first.output
    assert "Serve chat" in first.changed and state(workshop, rig, "demo") == demo
    again = home.deploy(wish(home), rig)
    assert (again.code, again.changed) == (0, set()), again.output
    # What came takes memory: the plan of the first may shrink once.
    settled = workshop.deploy(wish(workshop), rig)
    assert settled.code == 0 and settled.changed <= {"Serve demo"}, settled.output
    seen = {}
    for shop, name, its in ((workshop, "chat", "home"), (home, "demo", "inventory")):
        assert shop.deploy(wish(shop), rig).changed == set()
        planned = shop.rigwright("plan", str(shop.inventory(wish(shop), rig)), "--detailed-exitcode")
        assert planned.code == 0 and f"beside {name}" in planned.output and "ORPHAN" not in planned.output, (
            planned.output
        )
        seen[its] = planned.output
        noted = f"{rig}: rigwright-{name}.service is of the inventory {its}; verify it with that one"
        assert noted in verified(shop, rig)
    page_shows("docs/services.md", "! beside chat:", seen["home"])


def test_what_another_has_is_refused_in_a_line(workshop, home, rig):
    """Its name, its port; nothing is touched."""
    before = [state(workshop, rig, name) for name in ("demo", "chat")]
    taken = home.deploy(wish(home, name="demo"), rig)
    line = (
        'demo on this rig is of the inventory inventory; give it another name, or take that one over with "takes_over"'
    )
    assert taken.code != 0 and line in taken.output
    named = workshop.rigwright("plan", str(workshop.inventory(wish(workshop, name="chat"), rig)))
    page_shows("docs/services.md", "rig1: services.chat:", named.output)
    port = home.deploy(wish(home, port=8080), rig)
    assert port.code != 0 and "port 8080 is that of demo of the inventory inventory; give chat another" in port.output
    gone = home.deploy(wish(home), rig, deploy="remove", arguments=("-y", "--data", "remove_service=demo"))
    assert gone.code != 0 and "remove_service: demo is of the inventory inventory; remove it with" in gone.output
    back = home.rigwright("rollback", str(home.inventory(wish(home), rig)), "--service", "demo")
    assert back.code == 1 and "demo is of the inventory inventory; roll back with that" in back.output
    assert [state(workshop, rig, name) for name in ("demo", "chat")] == before


def test_a_change_of_one_leaves_the_other_as_it_is(workshop, home, rig):
    """A new plan, a rename with removal of the old name, a rollback: the other one neither stops nor differs."""
    other = state(workshop, rig, "chat")
    assert workshop.deploy(wish(workshop, context=1024), rig).changed == {"Serve demo"}
    assert workshop.rigwright("rollback", str(workshop.inventory(wish(workshop), rig))).code == 0
    renamed = workshop.deploy(wish(workshop, name="talk"), rig)
    assert renamed.code == 0 and "Remove demo" in renamed.changed, renamed.output
    assert workshop.deploy(wish(workshop), rig).code == 0
    assert state(workshop, rig, "chat") == other
    assert home.deploy(wish(home), rig).changed == set()
    verified(home, rig)


def test_inventory_that_was_renamed_takes_over_and_restarts_nothing(workshop, home, rig):
    """Until its first deploy it is another one; then it has the name."""
    pid = workshop.on(rig, "systemctl show -P MainPID rigwright-chat")
    moved = type(home)(home.lab, home.directory, file="moved.py")
    rows = wish(home)
    assert moved.deploy(rows, rig).code != 0
    taken = moved.deploy(rows | {"takes_over": ["home"]}, rig)
    assert (taken.code, taken.changed) == (0, {"Serve chat"}), taken.output
    assert moved.deploy(rows, rig).changed == set()
    assert json.loads(workshop.on(rig, "cat /etc/rigwright/chat.json"))["owner"] == "moved"
    assert home.deploy(rows | {"takes_over": ["moved"]}, rig).code == 0
    assert workshop.on(rig, "systemctl show -P MainPID rigwright-chat") == pid


def test_both_at_the_same_moment(workshop, home, rig):
    """One waits for the other; whose plan no longer holds is told to run again, and then it does."""
    with ThreadPoolExecutor() as pool:
        runs = [pool.submit(shop.deploy, wish(shop, context=3072), rig) for shop in (workshop, home)]
    for shop, done in zip((workshop, home), [run.result() for run in runs], strict=True):
        if done.code != 0:
            assert "other services of this rig changed while this one was planned" in done.output, done.output
            assert shop.deploy(wish(shop, context=3072), rig).code == 0
    for shop in (workshop, home):
        assert shop.deploy(wish(shop), rig).code == 0
    for shop in (workshop, home, workshop, home):
        assert shop.deploy(wish(shop), rig).code == 0
        verified(shop, rig)


def test_removal_of_one_leaves_what_the_other_needs(workshop, home, trixie, rig):
    """Its service serves on, verifies, and builds anew; what stays is said. The last one takes all that came."""
    other = state(workshop, rig, "chat")
    release = workshop.on(rig, "readlink /opt/rigwright/services/chat/current")
    removed = workshop.deploy(wish(workshop), rig, deploy="remove", arguments=BRING)
    assert removed.code == 0, removed.output
    assert "rigwright-chat.service stays, it is of the inventory home" in removed.output
    assert "stays: packages, the builder's account, their releases and model files" in removed.output
    assert state(workshop, rig, "chat") == other
    assert workshop.on(rig, f"ls -d {release}; ls {WEIGHTS}; ls /etc/rigwright").split() == [
        release, "chat.gguf", "chat.json",
    ]  # fmt: skip
    assert "No changes" in workshop.deploy(wish(workshop), rig, deploy="remove", arguments=BRING).output
    assert home.deploy(wish(home), rig).code == 0
    assert home.deploy(wish(home), rig).changed == set()
    verified(home, rig)
    last = home.deploy(wish(home), rig, deploy="remove", arguments=BRING)
    assert last.code == 0, last.output
    assert sorted(workshop.traces(rig) ^ trixie.traces) == [], last.output
