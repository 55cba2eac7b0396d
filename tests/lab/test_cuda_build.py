"""Kernels of llama.cpp for CUDA, by nvcc of wheels, without a GPU: one of each family; `make lab-cuda` makes all."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import pytest

from rigwright.resources import role_text

from .conftest import wait_healthy

pytestmark = pytest.mark.lab

RELEASES = "/opt/rigwright/llamacpp/releases"

DRIVER_CHECKS = {
    "test_device_files_are_there",
    "test_cuda_counts_every_gpu",
    "test_module_and_libraries_are_of_one_version",
    "test_module_of_this_kernel_is_on_disk",
    "test_next_kernel_has_its_module",
}
# One of each family that serving lives by: attention, matrices of many tokens, matrices of one.
KERNELS = (
    "template-instances/fattn-mma-f16-instance-ncols1_8-ncols2_8",
    "template-instances/mmq-instance-q4_k",
    "mmvq",
)
BUILD = "/var/lib/rigwright/build"


def test_kernels_compile_for_old_and_new_gpus(workshop: Any, trixie: Any) -> None:
    """One of each family for sm_86 and sm_120a, as a release configures them; a build that is killed is told so."""
    rig = workshop.boot("kernels", from_snapshot=trixie.snapshot, hardware="2x-rtx3090")
    wanted = {"archive": "pinned", "backend": "cuda", "cuda_architectures": ["86", "120a"]}
    process = workshop.start(workshop.spec(gpu="none", llamacpp=wanted), rig)
    deadline = time.monotonic() + 300
    while not (
        tree := workshop.on(rig, f"ls -d {BUILD}/*/tree/build/build.ninja", check=False).removesuffix("/build.ninja")
    ):
        assert time.monotonic() < deadline and process.poll() is None, process.communicate()[0]
        time.sleep(0.5)
    workshop.on(rig, "systemctl kill --signal=SIGKILL 'rigwright-build-*'")
    said, _ = process.communicate(timeout=60)
    assert process.returncode != 0 and "its unit ended by signal" in said, said

    objects = [f"ggml/src/ggml-cuda/CMakeFiles/ggml-cuda.dir/{name}.cu.o" for name in KERNELS]
    cache = "CCACHE_DIR=/var/cache/rigwright-lab CCACHE_UMASK=000 CCACHE_NOHASHDIR=1 CCACHE_BASEDIR=${PWD%/build}"
    began = time.monotonic()
    workshop.on(rig, f"cd {tree} && runuser -u rigwright -- env {cache} ninja -j 2 {' '.join(objects)}")
    sys.stdout.write(f"{len(objects)} kernels in {time.monotonic() - began:.0f} s\n")
    for name in objects:
        code = workshop.on(rig, f"{role_text('llamacpp', 'fatbins.sh')}\ncuda_code {tree}/{name}").splitlines()
        assert {"sass 86", "sass 120"} <= set(code), (name, code)
    workshop.lab.down([rig])


@pytest.mark.cuda
def test_release_for_cuda_is_built_and_tells_a_missing_gpu(workshop: Any, trixie: Any) -> None:
    """All kernels for sm_86, from nvcc of wheels; it serves from the CPU, and never in place of GPUs."""
    rig = workshop.boot("cuda-rig", from_snapshot=trixie.snapshot, hardware="2x-rtx3090")
    before = workshop.on(rig, f"ls {RELEASES}").split()
    on_cpu = workshop.spec(gpu="none", llamacpp={"archive": "pinned", "backend": "cuda"})
    first = workshop.deploy(on_cpu, rig, seconds=3 * 3600)
    assert first.code == 0, first.output
    assert {"Have CUDA 13.0", "Build llama.cpp", "Serve demo"} <= first.changed
    again = workshop.deploy(on_cpu, rig)
    assert (again.code, again.changed) == (0, set()), again.output
    (release,) = set(workshop.on(rig, f"ls {RELEASES}").split()) - set(before)
    at = f"{RELEASES}/{release}"
    receipt = json.loads(workshop.on(rig, f"cat {at}/receipt.json"))
    assert receipt["code"] == "sass 86" and "release 13.0" in receipt["cuda"], receipt
    sys.stdout.write(f"{receipt}\n{workshop.on(rig, f'du -sh {at}')}\n")
    names = workshop.on(rig, f"ls {at}/bin").split()
    assert {"libggml-cuda.so", "libggml-cpu-haswell.so", "libcudart.so.13", "libcublasLt.so.13"} <= set(names), names
    # This machine has the GPUs of a recording and no driver: that much verify says, and nothing against the service.
    checked = json.loads(workshop.rigwright("verify", str(workshop.inventory(on_cpu, rig)), "--json").output)
    failed = {row["check"] for row in checked["checks"] if row["outcome"] not in ("passed", "skipped")}
    assert failed == DRIVER_CHECKS, failed
    # No driver answers on this machine, whatever nvidia-smi says: the kernels stay out, and nothing else is said.
    assert "(none)" in workshop.on(rig, f"{at}/bin/llama-server --list-devices")
    process = workshop.on(rig, "systemctl show -P MainPID rigwright-demo")
    wanted = workshop.spec(llamacpp={"archive": "pinned", "backend": "cuda"})
    refused = workshop.deploy(wanted, rig)
    assert refused.code != 0 and "finds no CUDA0: no driver of NVIDIA's is loaded; " in refused.output, refused.output
    assert "Build llama.cpp" not in refused.changed
    wait_healthy(workshop, rig)
    assert workshop.on(rig, "systemctl show -P MainPID rigwright-demo") == process
    assert workshop.deploy(on_cpu, rig).changed == set()
    workshop.lab.down([rig])
