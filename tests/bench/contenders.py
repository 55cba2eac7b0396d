"""The two sides of the benchmark: how each is run, and how each says that nothing changed."""

from __future__ import annotations

import hashlib
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from rigwright import catalogue
from rigwright.errors import RigwrightError
from rigwright.lab import Lab

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
MODEL = ROOT / "models" / "tiny.gguf"
SERVICE = "rigwright-demo"
ANSIBLE = "ansible-core==2.19.*"

_LINK = "/opt/rigwright/services/demo/current"
_PLAN = "/etc/rigwright/demo.json"


@dataclass(frozen=True)
class Sample:
    """One run as its user feels it. `cpu_seconds` is the controller's; Ansible's kept SSH connection is left out."""

    wall_seconds: float
    cpu_seconds: float
    ssh_commands: int | None = None


@dataclass(frozen=True)
class Contender:
    """A command, and how many changes its output tells of; None where it does not say."""

    name: str
    argv: tuple[str, ...]
    changes_in: Callable[[str], int | None] = field(repr=False)
    environment: dict[str, str] = field(default_factory=dict, repr=False)
    stdin: str = ""

    def run(self) -> tuple[Sample, int]:
        """One run and its number of changes.

        Raises:
            RigwrightError: it failed, or did not say what it changed.
        """
        before, began = _cpu_seconds(), time.perf_counter()
        done = subprocess.run(
            self.argv,
            cwd=ROOT,
            env=os.environ | self.environment,
            input=self.stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        sample = Sample(time.perf_counter() - began, _cpu_seconds() - before)
        changes = self.changes_in(done.stdout)
        if done.returncode or changes is None:
            raise RigwrightError(f"bench: {self.name} failed with exit code {done.returncode}:\n{done.stdout}")
        return sample, changes

    def run_unchanged(self) -> Sample:
        """One run that must change nothing.

        Raises:
            RigwrightError: it failed or changed something.
        """
        sample, changes = self.run()
        if changes:
            raise RigwrightError(
                f"bench: {self.name} changed {changes} things on a converged rig; run it by hand and see"
            )
        return sample


def ours(lab: Lab, *, limit: str | None = None, is_confirmed: bool = False) -> Contender:
    """`pyinfra inventories/lab.py deploys/llamacpp.py`, with -y or with the plan and a pressed enter key."""
    words = [str(Path(sys.executable).with_name("pyinfra")), "inventories/lab.py", "deploys/llamacpp.py"]
    words += [] if is_confirmed else ["-y"]
    words += ["--limit", limit] if limit else []
    return Contender(
        "rigwright, plan + enter" if is_confirmed else "rigwright -y",
        tuple(words),
        _pyinfra_changes,
        {"RIGWRIGHT_LAB": lab.name, "PYINFRA_PROGRESS": "off"},
        "\n" if is_confirmed else "",
    )


def ansible(lab: Lab, rig: str, scratch: Path) -> Contender:
    """`ansible-playbook playbook.yml` for the same rig, with an inventory made for it in `scratch`."""
    program = _ensure_ansible()
    inventory = scratch / "inventory.json"
    hosts = {rig: _connection(lab, rig) | _playbook_values(lab, rig, scratch)}
    inventory.write_text(json.dumps({"rigs": {"hosts": hosts}}))
    environment = {
        "ANSIBLE_CONFIG": str(HERE / "ansible.cfg"),
        "ANSIBLE_HOME": str(scratch / "ansible"),
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(scratch / "cp"),
        "LC_ALL": "C.UTF-8",
    }
    return Contender(
        "ansible-playbook",
        (str(program), "-i", str(inventory), str(HERE / "playbook.yml")),
        _ansible_changes,
        environment,
    )


def converge(lab: Lab) -> bool:
    """Deploy to all rigs until a run changes nothing; whether the first one changed something."""
    for attempt in range(4):
        if not ours(lab).run()[1]:
            return attempt > 0
    raise RigwrightError("bench: the deploy goes on changing things; run it by hand and see")


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _pyinfra_changes(output: str) -> int | None:
    """The column Success of the last table's last line: operations that ran commands."""
    totals = re.findall(r"^ *Grand total +\d+ +(\S+) +- +\S+ *$", output, re.MULTILINE)
    return int(totals[-1].replace("-", "0")) if totals else None


def _ansible_changes(output: str) -> int | None:
    found = re.search(r"^\S+ +: ok=\d+ +changed=(\d+) +unreachable=0 +failed=0 ", output, re.MULTILINE)
    return int(found[1]) if found else None


def _ensure_ansible() -> Path:
    """Ansible in an environment of its own, made when it is missing."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    home = cache / "rigwright" / "bench-ansible"
    program = home / "bin" / "ansible-playbook"
    if not program.exists():
        shutil.rmtree(home, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
        subprocess.run([home / "bin" / "pip", "install", "-q", "--disable-pip-version-check", ANSIBLE], check=True)
    return program


def _connection(lab: Lab, rig: str) -> dict[str, object]:
    found = lab.rig(rig)
    return {
        "ansible_host": found.address,
        "ansible_port": found.ssh_port,
        "ansible_user": found.ssh_user,
        "ansible_ssh_private_key_file": str(found.ssh_key),
        "ansible_ssh_common_args": f"-o UserKnownHostsFile={found.ssh_known_hosts} -o StrictHostKeyChecking=yes",
    }


def _playbook_values(lab: Lab, rig: str, scratch: Path) -> dict[str, object]:
    """What the playbook writes is what our deploy wrote: its unit and plan are taken from the rig."""

    def read(*argv: str) -> str:
        return lab.exec(rig, argv).stdout

    (scratch / f"{SERVICE}.service").write_text(read("cat", f"/etc/systemd/system/{SERVICE}.service"))
    (scratch / f"{SERVICE}.json").write_text(read("cat", _PLAN))
    digest = hashlib.sha256(MODEL.read_bytes()).hexdigest()
    weights = {"source": str(MODEL), "path": f"/var/lib/rigwright/weights/{MODEL.name}", "sha256": digest}
    return {
        "packages": catalogue.load("packages")["build"]["debian"]["*"],
        "weights": weights,
        "release": read("readlink", _LINK).strip(),
        "service": SERVICE,
        "files": str(scratch),
        "plan": _PLAN,
        "link": _LINK,
        "health": "http://127.0.0.1:8080/health",
    }
