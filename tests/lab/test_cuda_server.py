"""A llama-server linked against CUDA, without a compiler: what a rig has built, and Debian's kernels beside it.

libggml0-backend-cuda of trixie-backports is ggml 0.26.0, as is the pinned llama.cpp; it wants libcuda.so.1, and that of
Debian answers as on any machine whose driver is not loaded. Nothing runs on a GPU here: `make lab-cuda`.
"""

from __future__ import annotations

import hashlib
import subprocess

import pytest

from ..pages import page_shows
from .conftest import wait_healthy

pytestmark = [pytest.mark.lab, pytest.mark.cuda]

# The rig asks the mirror that it has.
PACKAGES = """set -e
export DEBIAN_FRONTEND=noninteractive
cd /etc/apt
sed -n '/^deb .* trixie /{s/ trixie / trixie-backports /p;q}' sources.list >sources.list.d/backports.list
apt-get -qq update
apt-get -qq install -y --no-install-recommends libcudart12 libcublas12 libcuda1 >/dev/null
mkdir /root/cuda
cd /root/cuda
apt-get -qq download libggml0-backend-cuda/trixie-backports 2>/dev/null
dpkg-deb --fsys-tarfile libggml0-backend-cuda_*.deb | tar -x --wildcards --strip-components=6 '*/libggml-cuda.so'
rm libggml0-backend-cuda_*.deb
cp -a "$(readlink -f /opt/rigwright/services/demo/current)"/bin/. .
"""
# As nvidia-smi where nothing is on a GPU; the stand-in of a recorded machine knows only what was asked of that.
NOTHING_RUNS = """#!/bin/sh
case $1 in --query-compute-apps=*) exit 0 ;; esac
exec /usr/bin/nvidia-smi "$@"
"""
HEALTH = "curl -s http://127.0.0.1:8080/health"


@pytest.fixture(scope="module")
def cuda_rig(workshop, trixie):
    """A rig that says it has GPUs, which serves from the CPU."""
    name = workshop.boot("cuda-deb", from_snapshot=trixie.snapshot, hardware="2x-rtx3090")
    wait_healthy(workshop, name)
    workshop.on(name, PACKAGES)
    yield name
    workshop.lab.down([name])


@pytest.fixture(scope="module")
def binaries(workshop, cuda_rig):
    """Its programs with kernels for CUDA, in the form of upstream's releases."""
    path = workshop.directory / "llama-b1-bin-ubuntu-cuda-x64.tar"
    command = ["tar", "-cf", "-", "-C", "/root/cuda", "--transform", "s,^\\.,llama-b1,", "."]
    with path.open("wb") as file:
        subprocess.run(workshop.lab.enter(cuda_rig, command), stdout=file, check=True)
    with path.open("rb") as file:
        return {"prebuilt": {"path": str(path), "sha256": hashlib.file_digest(file, "sha256").hexdigest()}}


def process(workshop, rig):
    """What serves."""
    return workshop.on(rig, "systemctl show -P MainPID rigwright-demo")


def errors(outcome):
    """The lines that say why a run failed."""
    return [line for line in outcome.lines if line.startswith("demo: ")][-1:]


def test_server_says_that_there_is_no_device(workshop, cuda_rig, binaries):
    """CUDA's library is there, and no GPU."""
    said = workshop.on(cuda_rig, "/root/cuda/llama-server --list-devices 2>&1")
    assert "failed to initialize CUDA: no CUDA-capable device is detected" in said and "(none)" in said


def test_gpu_service_is_refused_and_what_serves_goes_on(workshop, cuda_rig, binaries):
    """In one line, before anything stops; also where the inventory drops the flag by which llama-server would tell."""
    serving = process(workshop, cuda_rig)
    refused = workshop.deploy(workshop.spec(llamacpp=binaries), cuda_rig)
    more = "see rigwright verify and driver, what runs goes on running"
    assert refused.code == 1 and "release" in refused.output, refused.output
    assert errors(refused) == [f"demo: llama.cpp finds no CUDA0: no CUDA-capable device is detected; {more}"]
    page_shows("docs/builds.md", "[cuda-deb] demo:", refused.output)
    unsaid = workshop.spec(llamacpp=binaries, flags={"--device": None, "--n-gpu-layers": None})
    silent = workshop.deploy(unsaid, cuda_rig)
    assert silent.code == 1, silent.output
    assert errors(silent) == [f"demo: by llama.cpp's own dry run no GPU has a part of it, the CPU would serve; {more}"]
    assert "Traceback" not in refused.output + silent.output
    assert process(workshop, cuda_rig) == serving
    wait_healthy(workshop, cuda_rig)


def test_same_server_serves_from_the_cpu_where_that_is_wanted(workshop, cuda_rig, binaries):
    """Kernels for CUDA do no harm; a second run changes nothing."""
    wanted = workshop.spec(gpu="none", llamacpp=binaries)
    outcome = workshop.deploy(wanted, cuda_rig)
    assert outcome.code == 0, outcome.output
    assert workshop.deploy(wanted, cuda_rig).changed == set()


def test_server_that_fell_back_to_the_cpu_is_found(workshop, cuda_rig, binaries):
    """Its health is green and it completes chats; `rigwright verify` asks the driver who is on its GPUs."""
    wanted = workshop.spec(llamacpp=binaries, flags={"--device": None, "--n-gpu-layers": None})
    release = "/opt/rigwright/llamacpp/releases/*/bin/llama-fit-params"
    workshop.on(cuda_rig, f"chmod -x {release}")  # as in a release that has none, so that nothing is found before
    outcome = workshop.deploy(wanted, cuda_rig)
    workshop.on(cuda_rig, f"chmod +x {release}")
    assert outcome.code == 0, outcome.output
    assert workshop.on(cuda_rig, HEALTH) == '{"status":"ok"}'
    workshop.lab.exec(
        cuda_rig,
        ["sh", "-c", "cat >/usr/local/bin/nvidia-smi; chmod 755 /usr/local/bin/nvidia-smi"],
        input=NOTHING_RUNS,
    )
    checked = workshop.rigwright("verify", str(workshop.inventory(wanted, cuda_rig)))
    assert checked.code != 0
    assert "rigwright-demo.service has nothing on GPU-" in checked.output, checked.output
    assert "does the CPU serve? see rigwright driver" in checked.output
    assert "cuInit says 100" in checked.output
