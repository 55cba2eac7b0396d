"""deploys/site.py: a bare machine that serves after one run, through its reboot, and is the same after it was lost."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..pages import ROOT, indented
from .conftest import REPOSITORY, Outcome, Workshop
from .driver_repository import NEWEST, DriverRepositories

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="virtual rigs need root"),
]
TOY = Path(__file__).parent / "toy"
COUNTER = """cat >/usr/local/bin/count-ssh <<'X'
#!/bin/sh
echo x >>/run/ssh-commands
exec sh -c "$SSH_ORIGINAL_COMMAND"
X
chmod 755 /usr/local/bin/count-ssh
: >/run/ssh-commands
chmod 666 /run/ssh-commands
echo 'ForceCommand /usr/local/bin/count-ssh' >/etc/ssh/sshd_config.d/count.conf
systemctl reload ssh
"""
BOOT = "cat /proc/sys/kernel/random/boot_id"
# All that says what a rig serves, and from what: units and what they were made of, releases, model files.
SAME = (
    "cd / && cat etc/systemd/system/rigwright-*.service etc/rigwright/*.json | sha256sum;"
    " ls -d opt/rigwright/*/releases/*; readlink opt/rigwright/services/*/current;"
    " find var/lib/rigwright/weights -type f -name '*.gguf' | sort | xargs sha256sum"
)
DEPLOYED = "dpkg-query -W -f='${Package}\\n'; ls -1 /etc /etc/systemd/system /opt /var/lib; getent passwd"


class House:
    """A lab with repositories of drivers, and binaries of llama.cpp at hand."""

    def __init__(self, workshop: Workshop, repositories: DriverRepositories, address: str, binaries: Path) -> None:
        self.workshop, self.repositories, self.address, self.binaries = workshop, repositories, address, binaries
        self.offer = repositories.offer("lts", [NEWEST[580]], systems=("debian13",))

    def spec(self, **keys: Any) -> dict[str, Any]:
        """Two engines: llama.cpp on the CPU, and the toy on a GPU, which nobody can plan before the driver is there."""
        digest = hashlib.sha256(self.binaries.read_bytes()).hexdigest()
        model = {"model": str(self.workshop.directory / "tiny.gguf"), "context": 2048}
        return {
            "services": [
                {"name": "demo", "port": 8080, "gpu": "none", **model},
                {"name": "parrot", "port": 9000, "engine": "toychat", "gpu": 1, **model},
            ],
            "llamacpp": {"prebuilt": {"path": str(self.binaries), "sha256": digest}},
            "nvidia": {"repository": self.address + self.offer.path, "key": self.offer.fingerprint, "reboot": "auto"},
        } | keys

    def boot(self, name: str) -> str:
        """A machine with two cards that nouveau drives, and nothing of ours."""
        self.workshop.boot(name, hardware="2x-rtx3090", driver="simulated", ssh_user="ada")
        self.on(name, self.repositories.use_distribution(self.address, "trixie"))
        return name

    def on(self, name: str, script: str) -> str:
        return self.workshop.on(name, script, check=False)


@pytest.fixture(scope="module")
def house(
    workshop: Workshop, driver_repositories: DriverRepositories, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[House]:
    """With a folder of its own: its lock file is nobody else's business."""
    subprocess.run(["make", "build/llama-server.whl"], cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL)
    directory = tmp_path_factory.mktemp("house")
    (directory / "tiny.gguf").symlink_to(workshop.directory / "tiny.gguf")
    own = Workshop(workshop.lab, directory, file="home.py")
    workshop.boot("first")  # the network is there with the first rig
    with driver_repositories.serve(workshop.host_address) as address:
        yield House(own, driver_repositories, address, REPOSITORY / "build/llama-server.whl")
    workshop.lab.down(["first"])


@pytest.fixture(autouse=True)
def toy_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy engine's package, as pip would install it: site.py finds its role."""
    known = [str(TOY), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, known)))


ITS_RIG = """
import json
from rigwright.lab.inventory import lab_hosts

rig = json.loads({rig!r})
house = [(name, data | {{"rig": rig}}) for name, data in lab_hosts() if name == "quad"]
# One that died is in no lab any more.
house = house or [("quad", {{"ssh_hostname": "127.0.0.1", "ssh_port": 9, "ssh_user": "ada", "rig": rig}})]
"""


def tell(line: str) -> None:
    """A figure, for `pytest -s`."""
    sys.stderr.write(f"\n{line}\n")


@pytest.fixture
def room(house: House, tmp_path: Path) -> Path:
    """A checkout of the reader's, whose inventory has one rig of the house, with what this lab can serve."""
    (tmp_path / "deploys").symlink_to(REPOSITORY / "deploys")
    (tmp_path / "inventories").mkdir()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "id"], check=True)
    seed = {"disk": "nvme-Samsung_SSD_990_PRO_2TB_S7KHNJ0W123456", "authorized_keys": ["id.pub"]}
    rig = json.dumps(house.spec(seed=seed))
    (tmp_path / "inventories/homelab.py").write_text(ITS_RIG.format(rig=rig))
    return tmp_path


def test_rig_that_died_comes_back_by_the_page(house: House, room: Path) -> None:
    """docs/rebuild.md, each command as it stands there: bare, serving, dead, bare, and the same rig again."""
    commands = indented(ROOT / "docs/rebuild.md")
    keep, look, seed, dry, deploy, proof, replan, last = commands
    assert deploy == last

    def typed(command: str, code: int = 0) -> Outcome:
        began = time.monotonic()
        done = subprocess.run(
            ["bash", "-c", command], cwd=room, env=house.workshop.environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=1800,
        )  # fmt: skip
        assert done.returncode == code, f"{command}\n{done.stdout}"
        return Outcome(done.returncode, done.stdout, time.monotonic() - began)

    name = house.boot("quad")
    before, boot = house.on(name, DEPLOYED), house.on(name, BOOT)
    said = typed(dry)
    assert "what it serves is planned when its driver answers" in said.output, said.output
    assert house.on(name, DEPLOYED) == before

    first = typed(deploy)
    assert "CUDA counts 2" in first.output and house.on(name, BOOT) != boot, first.output
    assert {"Serve what was planned", "Reboot"} <= first.changed, first.output
    assert any(line.startswith("verify: ") and "failed" not in line for line in first.lines), first.output
    tell(f"from bare to verified: {first.seconds:.0f} s")
    typed(keep)
    same = house.on(name, SAME)
    assert "toychat/releases" in same and "llamacpp/releases" in same, same

    house.on(name, COUNTER)
    quiet = typed(f"{deploy} --data verify=false")
    assert quiet.changed == set(), quiet.output
    asked = house.on(name, "wc -l </run/ssh-commands; : >/run/ssh-commands")
    checked = typed(deploy)
    assert checked.changed == set(), checked.output
    tell(
        f"nothing to do: {quiet.seconds:.1f} s, {asked} SSH commands; with the checks {checked.seconds:.1f} s, "
        + house.on(name, "wc -l </run/ssh-commands")
    )
    assert asked == "1"

    house.workshop.lab.down([name])
    typed(look, 1)
    typed(seed)
    assert {path.name for path in (room / "seed/quad").iterdir()} >= {"user-data", "preseed.cfg", "seed.img"}
    house.boot(name)
    typed(dry)
    rebuilt = typed(deploy)
    assert house.on(name, SAME) == same
    tell(f"rebuilt from its lock: {rebuilt.seconds:.0f} s")
    typed(proof)
    typed(replan)
    assert typed(last).changed == set()
    house.workshop.lab.down([name])
