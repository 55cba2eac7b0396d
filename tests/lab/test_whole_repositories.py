"""Whole repositories of safetensors on a rig: from a hub and from a directory, cut, continued, wrong, and pruned."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ..tiny_repository import TinyHub, tiny_repository, wanted, write
from .test_deploy import COUNTER

pytestmark = pytest.mark.lab

TOY, WHOLE = Path(__file__).parent / "toy", "../tests/lab/toy/deploys/whole"
FIRST, SECOND = "a1" * 20, "b2" * 20
WEIGHTS = "/var/lib/rigwright/weights"
SHARD = "model-00002-of-00003.safetensors"


@pytest.fixture(autouse=True)
def toy_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy engine's package, as pip would install it."""
    known = [str(TOY), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, known)))


@pytest.fixture(scope="module")
def rig(workshop: Any) -> Iterator[str]:
    """A blank rig."""
    name = workshop.boot("rig1")
    yield name
    workshop.lab.down([name])


@pytest.fixture(scope="module")
def hub(workshop: Any, rig: str) -> Iterator[TinyHub]:
    """A hub for controller and rig."""
    tiny = TinyHub(tiny_repository(shards=3), FIRST)
    server = ThreadingHTTPServer((workshop.host_address, 9481), tiny.handler())
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield tiny
    server.shutdown()
    server.server_close()


def wish(workshop: Any, model: object = "hf:org/tiny", **keys: Any) -> dict[str, Any]:
    """One service on a whole repository."""
    service = {"name": "whole", "model": model, "engine": "toywhole", "port": 9000, "context": 512}
    return {"services": [service], "weights": {"hugging_face": f"http://{workshop.host_address}:9481"}} | keys


def deploy(workshop: Any, rig: str, model: object = "hf:org/tiny", **options: Any) -> Any:
    return workshop.deploy(wish(workshop, model), rig, deploy=WHOLE, **options)


def served_bytes(workshop: Any, rig: str) -> int:
    """How many bytes the process reads of its directory: the sandbox lets it see all of them."""
    return int(json.loads(workshop.on(rig, "curl -sS -d {} http://127.0.0.1:9000/say"))["bytes"])


def there(workshop: Any, rig: str, folder: str) -> dict[str, str]:
    """The files of a directory on the rig, by their sums."""
    text = workshop.on(rig, f"cd {folder} && find . -type f ! -name '.*' -exec sha256sum {{}} +")
    return {name.removeprefix("./"): total for total, name in (line.split() for line in text.splitlines())}


def sums(files: dict[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(files[name]).hexdigest() for name in wanted(files)}


def test_wrong_sum_and_cut_then_whole(workshop: Any, rig: str, hub: TinyHub) -> None:
    """What is not the listed file is not installed; a download that breaks off is continued; then all is there."""
    files = hub.commits[FIRST]
    hub.wrong[SHARD] = bytes(len(files[SHARD]))
    refused = deploy(workshop, rig)
    assert refused.code == 1 and any("the file was not installed" in line for line in refused.lines), refused.output
    folder = f"{WEIGHTS}/org--tiny/{FIRST}"
    assert SHARD not in there(workshop, rig, folder)

    hub.wrong.clear()
    hub.cut[SHARD] = 5000
    hub.asked.clear()
    done = deploy(workshop, rig)
    if done.code != 0:
        hub.cut.clear()
        done = deploy(workshop, rig)
    hub.cut.clear()
    assert done.code == 0, done.output
    assert hub.asked.count(("GET", f"/org/tiny/resolve/{FIRST}/{SHARD}")) > 1
    assert {"Bring org/tiny", "Serve whole"} <= done.changed
    assert there(workshop, rig, folder) == sums(files)
    assert served_bytes(workshop, rig) == sum(len(files[name]) for name in wanted(files))
    unit = workshop.on(rig, "cat /etc/systemd/system/rigwright-whole.service")
    assert f"--model {folder} \\" in unit and f"RequiresMountsFor={folder}" in unit
    named = [line.rpartition("/")[2] for line in unit.splitlines() if line.startswith("# weights ")]
    assert (set(named), len(named)) == (wanted(files), len(wanted(files)))


def test_second_run_changes_nothing_and_asks_for_no_file(workshop: Any, rig: str, hub: TinyHub) -> None:
    """One question to the rig, and none of the hub's files; a branch that moved on is told and left alone."""
    hub.commits[SECOND] = tiny_repository(shards=3, seed=7)
    hub.main = SECOND
    hub.asked.clear()
    workshop.on(rig, COUNTER)
    again = deploy(workshop, rig)
    asked = workshop.on(rig, "wc -l </run/ssh-commands; rm -f /etc/ssh/sshd_config.d/count.conf; systemctl reload ssh")
    hub.main = FIRST
    assert asked.split()[0] == "1", again.output
    assert (again.code, again.changed) == (0, set()), again.output
    assert not [path for method, path in hub.asked if method == "GET" and path.endswith(".safetensors")]
    assert f"name it hf:org/tiny@{SECOND}" in again.output
    checked = workshop.rigwright("verify", str(workshop.inventory(wish(workshop), rig)))
    assert checked.code == 0, checked.output


def test_lock_pins_every_file(workshop: Any, rig: str, hub: TinyHub) -> None:
    """The lock names commit and sums; a rig that is set up anew gets the same bytes, whatever the branch is at."""
    inventory = workshop.inventory(wish(workshop), rig)
    locked = workshop.rigwright("plan", str(inventory), "--write")
    assert locked.code == 0, locked.output
    (lock,) = workshop.directory.glob("*.lock*")
    text = lock.read_text()
    assert FIRST in text and all(total in text for total in sums(hub.commits[FIRST]).values())
    hub.main = SECOND
    workshop.on(rig, f"rm -rf {WEIGHTS}/org--tiny")
    done = deploy(workshop, rig)
    again = deploy(workshop, rig)
    lock.unlink()
    hub.main = FIRST
    assert done.code == 0 and (again.code, again.changed) == (0, set()), done.output + again.output
    assert "would plan otherwise" not in again.output
    assert there(workshop, rig, f"{WEIGHTS}/org--tiny/{FIRST}") == sums(hub.commits[FIRST])


def test_directory_of_this_machine_takes_over_and_the_old_one_is_pruned(
    workshop: Any, rig: str, hub: TinyHub, tmp_path: Path
) -> None:
    """A directory is uploaded; another content of it is another directory; what nobody wants goes when told."""
    files = tiny_repository(shards=2, seed=3)
    folder = write(tmp_path / "tiny-qwen3", files)
    first = deploy(workshop, rig, str(folder))
    assert first.code == 0 and "Bring tiny-qwen3" in first.changed, first.output
    (at,) = workshop.on(rig, f"ls -d {WEIGHTS}/local--tiny-qwen3/*").split()
    assert there(workshop, rig, at) == sums(files)
    again = deploy(workshop, rig, str(folder))
    assert (again.code, again.changed) == (0, set()), again.output

    files["generation_config.json"] = b'{"temperature": 0.7}'
    write(folder, files)
    changed = deploy(workshop, rig, str(folder))
    assert changed.code == 0 and {"Bring tiny-qwen3", "Serve whole"} <= changed.changed, changed.output
    assert len(workshop.on(rig, f"ls -d {WEIGHTS}/local--tiny-qwen3/*").split()) == 2

    inventory = str(workshop.inventory(wish(workshop, str(folder)), rig))
    # What came within the last day may be what another run is about to use.
    workshop.on(rig, f"find {WEIGHTS} -name '.*.rigwright' -exec touch -d '2 days ago' {{}} +")
    pruned = workshop.rigwright("weights", inventory, "--prune")
    assert pruned.code == 0, pruned.output
    assert not workshop.on(rig, f"ls -d {WEIGHTS}/org--tiny 2>/dev/null", check=False), pruned.output
    last = deploy(workshop, rig, str(folder))
    assert (last.code, last.changed) == (0, set()), last.output


def test_rigs_hand_the_weights_on(workshop: Any, rig: str, hub: TinyHub) -> None:
    """Of two rigs that lack a repository one downloads it; the other has each file of weights from that one."""
    hub.commits["d4" * 20] = files = tiny_repository(shards=3, seed=11)
    second = workshop.boot("rig2")
    model = f"hf:org/tiny@{'d4' * 20}"
    shared = wish(workshop, model)
    shared["weights"]["share_within"] = f"{workshop.host_address.rsplit('.', 1)[0]}.0/24"
    hub.asked.clear()
    done = workshop.deploy(shared, rig, second, deploy=WHOLE)
    assert done.code == 0, done.output
    for name in wanted(files):
        if name.endswith(".safetensors"):
            assert hub.asked.count(("GET", f"/org/tiny/resolve/{'d4' * 20}/{name}")) == 1, done.output
            assert f"Bring {name}" in done.changed
    for one in (rig, second):
        assert there(workshop, one, f"{WEIGHTS}/org--tiny/{'d4' * 20}") == sums(files)
    again = workshop.deploy(shared, rig, second, deploy=WHOLE)
    workshop.lab.down([second])
    assert (again.code, again.changed) == (0, set()), again.output
