"""Upgrades from 0.1.0: a rig that its own code deployed, then today's, under a steady stream of completions."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from rigwright.lab.tiny_model import write_tiny_model

from .conftest import REPOSITORY, Outcome, Workshop, wait_healthy
from .test_restarts import CLIENT, STARTED, STOPPING, UNIT, Shop, moments

pytestmark = [pytest.mark.lab, pytest.mark.faults]

# The last commit of 0.1.0, which no tag names.
OLD = "208d9737ed4f5b08214d7d9bf7a4b21c399b7809"
LOOK = "readlink /opt/rigwright/services/demo/current; cat /etc/systemd/system/rigwright-demo.service"


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree of 0.1.0."""
    found = subprocess.run(["git", "archive", OLD], cwd=REPOSITORY, capture_output=True)
    if found.returncode:
        pytest.skip(f"this checkout has no history down to {OLD[:7]}: git fetch --unshallow")
    tree = tmp_path_factory.mktemp("old")
    with tarfile.open(fileobj=io.BytesIO(found.stdout)) as archive:
        archive.extractall(tree, filter="data")
    return tree


def deploy_as_then(workshop: Workshop, tree: Path, rig: dict[str, Any], name: str) -> Outcome:
    """The deploy of that version, with today's dependencies; its own lab would not know these rigs."""
    inventory = workshop.directory / "then.py"
    asked = [sys.executable, "-c", "from rigwright.lab.inventory import lab_hosts; print(dict(lab_hosts()))"]
    hosts = subprocess.run(asked, env=workshop.environment, capture_output=True, text=True, check=True).stdout
    inventory.write_text(f"data = {hosts}\nrigs = ([({name!r}, data[{name!r}])], {{'rig': {rig!r}}})\n")
    command = ["pyinfra", "-y", str(inventory), str(tree / "deploys" / "llamacpp.py")]
    began = time.monotonic()
    done = subprocess.run(
        command, cwd=workshop.directory, env=workshop.environment | {"PYTHONPATH": str(tree)}, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=1800,
    )  # fmt: skip
    return Outcome(done.returncode, done.stdout, time.monotonic() - began)


@pytest.fixture(scope="module")
def shop(workshop: Workshop, old: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A rig that 0.1.0 deployed, and two clients that ask one completion after the other."""
    folder = tmp_path_factory.mktemp("upgrade")
    found = Shop(workshop, workshop.boot("old1"), folder, hub=None)  # type: ignore[arg-type]
    # Where 0.1.0 looks for the compiler cache of a lab.
    found.on("mkdir -p /var/cache/ccache; mount --bind /var/cache/rigwright-lab /var/cache/ccache")
    found.keys["llamacpp"] = {
        "archive": yaml.safe_load((old / "rigwright/catalogue/engines.yml").read_text())["llamacpp"]["archive"]
    }
    found.service = {"name": "demo", "model": str(write_tiny_model(folder / "tiny.gguf")), "port": 8080}
    found.service |= {"context": 2048, "host": "0.0.0.0", "slots": 2, "flags": {"--threads": 1}}
    found.service["api_key_file"] = found.file("keys", "sk-steady\n")
    done = deploy_as_then(workshop, old, found.spec, found.rig)
    assert done.code == 0, done.output
    wait_healthy(workshop, found.rig)
    assert found.on(f"cat /etc/systemd/system/{UNIT}").startswith("# Written by rigwright."), "it is 0.1.0's"
    assert "drain_seconds" not in found.on("cat /etc/rigwright/demo.json"), "its record is 0.1.0's"
    client = subprocess.Popen([sys.executable, "-c", CLIENT, workshop.lab.rig(found.rig).address, found.asked])
    yield found
    client.kill()
    client.wait()
    workshop.lab.down([found.rig])


def to_today(shop: Shop) -> Any:
    """The inventory names the release that 0.1.0 built: it stays, and with it every file of it."""
    before = shop.releases()
    done = shop.deploy()
    assert shop.releases() == before
    return done


def to_the_pin(shop: Shop) -> Any:
    """It names none: today's release is built, and the one of 0.1.0 stays for the way back."""
    before = shop.releases()
    shop.keys["llamacpp"] = {"archive": "pinned"}
    done = shop.deploy()
    assert len(shop.releases()) == 2 and set(before) < set(shop.releases())
    return done


def back(shop: Shop) -> Any:
    done = shop.workshop.rigwright("rollback", str(shop.workshop.inventory(shop.spec, shop.rig)))
    assert done.code == 0, done.output
    return done


# In this order, each on what the one before left. The unit of 0.1.0 lacks lines that today's has: one restart.
STEPS = {
    "0.1.0 to today, the same release": (to_today, 1),
    "back to 0.1.0": (back, 1),
    "to today once more": (to_today, 1),
    "to today's release": (to_the_pin, 1),
    "back to the release of 0.1.0": (back, 1),
}


@pytest.mark.parametrize("name", STEPS)
def test_upgrade_restarts_once_and_costs_no_request_else(shop, capsys, name):
    """The starts that systemd counted; what failed, failed while nobody was served; after a deploy nothing is left."""
    step, expected = STEPS[name]
    was = shop.on(LOOK)
    began = float(shop.on("sleep 1; cut -d' ' -f1 /proc/uptime"))
    done = step(shop)
    shop.on("sleep 1")
    starts, stops = moments(shop, STARTED, began), moments(shop, STOPPING, began)
    told = [float(seconds) for seconds in re.findall(r"demo served nobody for (\d+\.\d) s", done.output)]
    rows = shop.requests(began)
    failed = [row for row in rows if row["failed"]]
    with capsys.disabled():
        sys.stdout.write(
            f"\n{name}: {len(starts)} starts, nobody served for {told} s; {len(rows)} completions, {len(failed)} "
            f"failed; {done.seconds:.1f} s in all"
        )
    assert (len(starts), len(told)) == (expected, expected), done.output
    assert shop.on(f"systemctl show -P NRestarts {UNIT}") == "0"
    until = stops[0] + told[0] + 0.1
    assert [row for row in failed if not stops[0] - 0.1 < row["end"] < until] == []
    assert [row for row in rows if not row["failed"] and row["begin"] > until], "it goes on"
    assert shop.on(LOOK) != was
    if step is not back:
        assert shop.deploy().changed == set(), "a second run changes nothing"
        verified = shop.workshop.rigwright("verify", str(shop.workshop.inventory(shop.spec, shop.rig)))
        assert verified.code == 0, verified.output
