"""deploys/site.py: a bare machine that serves after one run, through its reboot, and is the same after it was lost."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

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
        self.workshop.boot(name, hardware="2x-rtx3090", driver="simulated")
        self.on(name, self.repositories.use_distribution(self.address, "trixie"))
        return name

    def deploy(self, name: str, spec: dict[str, Any], *arguments: str) -> Outcome:
        return self.workshop.deploy(spec, name, deploy="site", arguments=arguments or ("-y",))

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


def tell(line: str) -> None:
    """A figure, for `pytest -s`."""
    sys.stderr.write(f"\n{line}\n")


def test_bare_machine_serves_after_one_run_and_again_after_it_died(house: House) -> None:
    """Driver, reboot, plan, engines, services, checks; a second run is one question; from its lock it is the same."""
    name, spec = house.boot("rig1"), house.spec()
    before, boot = house.on(name, DEPLOYED), house.on(name, BOOT)
    dry = house.deploy(name, spec, "--dry")
    assert dry.code == 0 and "what it serves is planned when its driver answers" in dry.output, dry.output
    assert house.on(name, DEPLOYED) == before

    first = house.deploy(name, spec)
    assert first.code == 0, first.output
    assert "CUDA counts 2" in first.output and house.on(name, BOOT) != boot, first.output
    assert {"Site | Serve what was planned", "Site | Reboot"} <= first.changed
    assert any(line.startswith("verify: ") and "failed" not in line for line in first.lines), first.output
    tell(f"from bare to verified: {first.seconds:.0f} s")

    written = house.workshop.rigwright("plan", str(house.workshop.inventory(spec, name)), "--write")
    assert written.code == 0, written.output
    again = house.deploy(name, spec)
    assert (again.code, again.changed) == (0, set()), again.output
    house.on(name, COUNTER)
    quiet = house.deploy(name, spec, "-y", "--data", "verify=false")
    assert (quiet.code, quiet.changed) == (0, set()), quiet.output
    assert house.on(name, "wc -l </run/ssh-commands; rm /run/ssh-commands") == "1"
    checked = house.deploy(name, spec)
    asked = house.on(name, "wc -l </run/ssh-commands")
    tell(
        f"nothing to do: {quiet.seconds:.1f} s, 1 SSH command; with the checks {checked.seconds:.1f} s, {asked} of them"
    )

    same = house.on(name, SAME)
    assert "toychat/releases" in same and "llamacpp/releases" in same, same
    house.workshop.lab.down([name])
    house.boot(name)
    rebuilt = house.deploy(name, spec)
    assert rebuilt.code == 0, rebuilt.output
    assert house.on(name, SAME) == same
    tell(f"rebuilt from its lock: {rebuilt.seconds:.0f} s")
    assert house.workshop.rigwright("plan", str(house.workshop.inventory(spec, name)), "--detailed-exitcode").code == 0
    house.workshop.lab.down([name])
