"""Rigs for the tests of the deploy: one blank rig is deployed to for real, all others start from its disk."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from rigwright.hardware import Hardware
from rigwright.hardware.capture import folder_files
from rigwright.hardware.topology import group
from rigwright.lab import Lab, RigWish, tiny_model
from rigwright.lab.tiny_model import write_tiny_model
from rigwright.weights.cache import cache_directory

from .driver_repository import DriverRepositories
from .el_repository import ElRepositories

REPOSITORY = Path(__file__).parents[2]
# Several processes of pytest-xdist have a lab each.
_OWNER = f"{REPOSITORY}{os.environ.get('PYTEST_XDIST_WORKER', '')}"
LAB_NAME = "t" + hashlib.sha256(_OWNER.encode()).hexdigest()[:5]

_INVENTORY = """
import json
from rigwright.lab.inventory import lab_hosts

names = {names!r}
hosts = [(name, data | {login!r}) for name, data in lab_hosts() if name in names]
rigs = (hosts, {{"rig": json.loads({rig!r})}})
"""

# All that a deploy leaves on a rig and removal takes away again: packages, accounts, files, units. Caches that apt
# itself makes are not among them, nor a name that systemd alone remembers: the rigs of a machine may see each other's
# cgroups, and one that is in use elsewhere keeps its name.
_TRACES = (
    "dpkg-query -W -f='${Package}\\n'; getent passwd; getent group; ls -A /opt /etc /etc/systemd/system"
    " /etc/systemd/system/multi-user.target.wants; ls -A /var/lib | grep rigwright;"
    " ls -A /var/cache/private 2>/dev/null;"
    " systemctl list-units --all --plain --no-legend 'rigwright*' | grep -v ' not-found inactive dead '"
)


@dataclass(frozen=True)
class Outcome:
    """What a command did."""

    code: int
    output: str
    seconds: float

    @property
    def changed(self) -> set[str]:
        """The operations that changed something."""
        rows = re.findall(r"^\s+\w+ \| (.*?)\s{2,}\d+\s+(\d+)\s", self.output, re.MULTILINE)
        return {name.strip() for name, _ in rows}

    @property
    def lines(self) -> list[str]:
        """The output, a line each, without pyinfra's prefixes."""
        return [re.sub(r"^\s*\[[\w.-]+\]\s*", "", line) for line in self.output.splitlines()]


@dataclass
class Workshop:
    """A directory of a user's own, the lab, and the commands a user types there."""

    lab: Lab
    directory: Path
    services: list[dict[str, Any]] = field(default_factory=list)
    file: str = "inventory.py"
    keeps_releases: bool = False
    """Whether a run finds what earlier ones have built: a test of builds wants builds."""

    @property
    def cache(self) -> Path:
        """The user's cache: what is dear to fetch is that of this machine."""
        found, shared = self.directory / "cache" / "rigwright", cache_directory()
        if not found.exists():
            found.mkdir(parents=True)
            for name in ("sources", "toolkits"):
                (shared / name).mkdir(parents=True, exist_ok=True)
                (found / name).symlink_to(shared / name)
        return found

    @property
    def environment(self) -> dict[str, str]:
        """A user's environment."""
        return os.environ | {
            "RIGWRIGHT_LAB": LAB_NAME,
            "PYINFRA_PROGRESS": "off",
            "XDG_CACHE_HOME": str(self.cache.parent),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }

    def spec(self, **changes: Any) -> dict[str, Any]:
        """The `rig` data that the rigs were deployed with, with changes to its one service or to other keys."""
        rig: dict[str, Any] = {"llamacpp": {"archive": "pinned"}}
        service = {"name": "demo", "model": str(self.directory / "tiny.gguf"), "port": 8080, "context": 2048}
        for key, value in changes.items():
            (rig if key in ("llamacpp", "weights", "base", "services") else service)[key] = value
        return {"services": [service]} | rig

    def inventory(self, rig: dict[str, Any], *names: str, login: dict[str, Any] | None = None) -> Path:
        """An inventory file for these rigs of the lab; `login` changes how they are reached."""
        path = self.directory / self.file
        path.write_text(_INVENTORY.format(names=set(names), rig=json.dumps(rig), login=login or {}))
        return path

    def start(self, rig: dict[str, Any], *names: str, arguments: tuple[str, ...] = ("-y",), **options: Any) -> Any:
        """pyinfra on its way; `deploy` names the file, the rest is for the inventory."""
        deploy = options.pop("deploy", "llamacpp")
        path = self.inventory(rig, *names, **options)
        return self._start("pyinfra", *arguments, str(path), str(REPOSITORY / "deploys" / f"{deploy}.py"))

    def deploy(self, rig: dict[str, Any], *names: str, seconds: int = 1800, **options: Any) -> Outcome:
        """pyinfra from start to end, which may take so long."""
        return self._finish(self.start(rig, *names, **options), seconds)

    def deploy_file(self, inventory: str) -> Outcome:
        """pyinfra with an inventory written by hand."""
        path = self.directory / "by_hand.py"
        path.write_text(inventory)
        return self._finish(self._start("pyinfra", "-y", str(path), str(REPOSITORY / "deploys" / "llamacpp.py")))

    def rigwright(self, *arguments: str) -> Outcome:
        """The command line."""
        return self._finish(self._start("rigwright", *arguments))

    def _start(self, *command: str) -> Any:
        if not self.keeps_releases:
            shutil.rmtree(self.cache / "releases", ignore_errors=True)
        return subprocess.Popen(
            command, cwd=self.directory, env=self.environment, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def _finish(self, process: Any, seconds: int = 1800) -> Outcome:
        began = time.monotonic()
        with process:
            output, _ = process.communicate(timeout=seconds)
        return Outcome(process.returncode, output, time.monotonic() - began)

    def on(self, rig: str, script: str, *, check: bool = True) -> str:
        """A shell script on the rig, not over SSH."""
        return str(self.lab.exec(rig, ["sh", "-c", script], check=check).stdout).strip()

    def traces(self, rig: str) -> set[str]:
        """What a deploy would leave on the rig, a line each."""
        return set(self.on(rig, _TRACES, check=False).splitlines())

    def boot(self, name: str, **wish: Any) -> str:
        """A rig, fresh."""
        if name in self.lab.names():
            self.lab.down([name])
        self.lab.up([RigWish(name, **wish)])
        return name

    @property
    def host_address(self) -> str:
        """The address at which rigs reach this machine."""
        return self.lab.rigs()[0].address.rsplit(".", 1)[0] + ".1"


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """The lab of these tests."""
    directory = tmp_path_factory.mktemp("workshop")
    write_tiny_model(directory / "tiny.gguf")
    lab = Lab(LAB_NAME)
    lab.down()
    yield Workshop(lab, directory)
    lab.down()
    for release in ("trixie", "bookworm"):
        if lab.has_snapshot(snapshot_name(release)):
            lab.forget_snapshot(snapshot_name(release))


@pytest.fixture(scope="session")
def driver_repositories(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DriverRepositories]:
    """Repositories of drivers, whose packages are built once."""
    missing = [tool for tool in ("gcc", "gpg", "dpkg-deb") if not shutil.which(tool)]
    if missing:
        pytest.skip(f"no {', '.join(missing)}, which `make test` installs: no packages of a driver")
    repositories = DriverRepositories(tmp_path_factory.mktemp("drivers") / "repositories")
    yield repositories
    repositories.close()


@pytest.fixture(scope="session")
def el_repositories(workshop: Workshop, driver_repositories: DriverRepositories) -> Iterator[ElRepositories]:
    """The same for dnf, and the disk of a rig that has it."""
    with ElRepositories(driver_repositories, workshop.lab, f"{LAB_NAME}-dnf") as repositories:
        yield repositories


@dataclass(frozen=True)
class FirstRun:
    """What happened on a blank rig, and the name of the disk it left."""

    traces: set[str]
    blank: str
    dry: Outcome
    after_dry: str
    first: Outcome
    snapshot: str


def snapshot_name(release: str) -> str:
    """Snapshots are shared by all labs of a machine, so this checkout's name is part of it."""
    return f"{LAB_NAME}-{release[:4]}"


def _first_run(workshop: Workshop, release: str) -> FirstRun:
    name = workshop.boot(f"born-{release[:4]}", os=release)
    listing = "dpkg-query -W; ls -1 /etc /etc/systemd/system /opt /var/lib; getent passwd"
    traces, blank = workshop.traces(name), workshop.on(name, listing)
    dry = workshop.deploy(workshop.spec(), name, arguments=("--dry",))
    after_dry = workshop.on(name, listing)
    first = workshop.deploy(workshop.spec(), name)
    assert first.code == 0, first.output
    snapshot = snapshot_name(release)
    workshop.lab.snapshot(name, snapshot)
    workshop.lab.down([name])
    return FirstRun(traces, blank, dry, after_dry, first, snapshot)


def binaries_of(workshop: Workshop, rig: str) -> Path:
    """What a rig serves from, in the form of upstream's releases."""
    path = workshop.directory / "llama-b1-bin-ubuntu-x64.tar.gz"
    release = workshop.on(rig, "readlink /opt/rigwright/services/demo/current")
    command = ["tar", "-czf", "-", "-C", f"{release}/bin", "--transform", "s,^\\.,llama-b1,", "."]
    path.write_bytes(subprocess.run(workshop.lab.enter(rig, command), capture_output=True, check=True).stdout)
    return path


@pytest.fixture(scope="session")
def trixie(workshop: Workshop) -> FirstRun:
    """A blank Debian 13 machine, deployed to."""
    return _first_run(workshop, "trixie")


@pytest.fixture(scope="session")
def bookworm(workshop: Workshop) -> FirstRun:
    """A blank Debian 12 machine, deployed to."""
    return _first_run(workshop, "bookworm")


@pytest.fixture(scope="module")
def serving(workshop: Workshop, trixie: FirstRun) -> Iterator[str]:
    """A rig that serves, for one test module."""
    name = workshop.boot("serving", from_snapshot=trixie.snapshot)
    wait_healthy(workshop, name)
    yield name
    workshop.lab.down([name])


def write_in_parts(path: Path, *, parts: int) -> None:
    """A tiny model as gguf's own writer splits one: `m-00001-of-00003.gguf` and so on beside `m.gguf`."""
    import gguf

    whole = gguf.GGUFReader(write_tiny_model(path.with_suffix(".whole")))
    count = -(-len(whole.tensors) // parts)
    writer = gguf.GGUFWriter

    def splitting(*arguments: Any) -> Any:
        return writer(*arguments, split_max_tensors=count)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gguf, "GGUFWriter", splitting)
        tiny_model._write(path, "qwen35moe", 1, 0)
    path.with_suffix(".whole").unlink()


def write_projector(path: Path) -> Path:
    """A projector for the tiny model: a vision tower of two layers for images of 28 × 28, with random weights.

    Source: the keys and tensors that tools/mtmd/clip.cpp of llama.cpp 0c1e570 reads for the type `mlp`.
    """
    import gguf
    import numpy

    writer = gguf.GGUFWriter(path, "clip")
    writer.add_type("mmproj")
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_string("clip.projector_type", "mlp")
    numbers = {"image_size": 28, "patch_size": 14, "embedding_length": 64, "feed_forward_length": 64}
    numbers |= {"block_count": 2, "projection_dim": 128, "attention.head_count": 2}
    for key, value in numbers.items():
        writer.add_uint32(f"clip.vision.{key}", value)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-6)
    writer.add_array("clip.vision.image_mean", [0.5, 0.5, 0.5])
    writer.add_array("clip.vision.image_std", [0.5, 0.5, 0.5])
    # Four patches, and the class.
    shapes: dict[str, tuple[int, ...]] = {"v.class_embd": (64,), "v.patch_embd.weight": (64, 3, 14, 14)}
    shapes |= {"v.position_embd.weight": (5, 64), "mm.0.weight": (128, 64), "mm.0.bias": (128,)}
    shapes |= {"mm.2.weight": (128, 128), "mm.2.bias": (128,)}
    names = ["v.pre_ln", *(f"v.blk.{layer}.{norm}" for layer in range(2) for norm in ("ln1", "ln2"))]
    shapes |= {f"{name}.{kind}": (64,) for name in names for kind in ("weight", "bias")}
    for name in (f"v.blk.{layer}.{part}" for layer in range(2) for part in _TOWER):
        shapes |= {f"{name}.weight": (64, 64), f"{name}.bias": (64,)}
    rng = numpy.random.default_rng(1)
    for name, shape in shapes.items():
        writer.add_tensor(name, rng.standard_normal(shape, dtype=numpy.float32) * numpy.float32(0.1))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


_TOWER = ("attn_q", "attn_k", "attn_v", "attn_out", "ffn_up", "ffn_down")


def wait_healthy(workshop: Workshop, name: str, port: int = 8080) -> None:
    """Wait until the service of a booted rig answers."""
    health = f"curl -s -o /dev/null -w '%{{http_code}}' http://127.0.0.1:{port}/health"
    for _ in range(60):
        if workshop.on(name, health, check=False) == "200":
            return
        time.sleep(0.5)
    raise AssertionError(workshop.on(name, "journalctl -u 'rigwright-*' -n 30 --no-pager", check=False))


@pytest.fixture
def unharmed(workshop: Workshop, serving: str) -> Iterator[Callable[[], str]]:
    """Whatever a test does, the very process that served before serves after it, from the same files."""
    look = (
        "systemctl show -P MainPID rigwright-demo.service; readlink /opt/rigwright/services/demo/current;"
        " cat /etc/rigwright/demo.json /etc/systemd/system/rigwright-demo.service | sha256sum;"
        " find /etc/systemd/system /var/lib/rigwright/weights /etc/rigwright | sort;"
        " ls /opt/rigwright/llamacpp/releases"
    )
    before = workshop.on(serving, look)
    yield lambda: workshop.on(serving, look)
    assert workshop.on(serving, look) == before
    wait_healthy(workshop, serving)


@pytest.fixture(scope="session")
def picture() -> Callable[[Hardware], dict[str, object]]:
    """What a rig shares with its recording: not its CPU and system, which are those of the host."""

    def of(hardware: Hardware) -> dict[str, object]:
        return {
            "gpus": hardware.gpus,
            "gpu_count": hardware.gpu_count,
            "links": hardware.links,
            "nvlink": dict(hardware.nvlink_gbytes_per_second),
            "nics": [(nic.name, dict(nic.kinds)) for nic in hardware.nics],
            "groups": group(hardware),
        }

    return of


@pytest.fixture(scope="session")
def at_rest() -> Callable[[Path], dict[str, str]]:
    """A recorded machine as a rig in the lab is: it rests, and has one lspci, the first of several at forced speeds."""

    def of(folder: Path) -> dict[str, str]:
        return {name: text for name, text in folder_files(folder).items() if not re.search("-load|-gen[2-4]", name)}

    return of
