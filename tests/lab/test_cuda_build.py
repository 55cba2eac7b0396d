"""A whole build of llama.cpp for CUDA, for real, by nvcc of wheels, on a rig that has no GPU: `make lab-cuda`."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from .conftest import wait_healthy

pytestmark = [pytest.mark.lab, pytest.mark.cuda]

RELEASES = "/opt/rigwright/llamacpp/releases"


def test_release_for_cuda_is_built_and_tells_a_missing_gpu(workshop: Any, trixie: Any) -> None:
    """All kernels for sm_86, from nvcc of wheels; it serves from the CPU, and never in place of GPUs."""
    rig = workshop.boot("cuda-rig", from_snapshot=trixie.snapshot, hardware="2x-rtx3090")
    before = workshop.on(rig, f"ls {RELEASES}").split()
    on_cpu = workshop.spec(gpu="none", llamacpp={"archive": "pinned", "backend": "cuda"})
    first = workshop.deploy(on_cpu, rig)
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
    checked = workshop.rigwright("verify", str(workshop.inventory(on_cpu, rig)))
    assert checked.code == 0, checked.output
    # No driver answers on this machine, whatever nvidia-smi says: the kernels stay out, and nothing else is said.
    assert "(none)" in workshop.on(rig, f"{at}/bin/llama-server --list-devices")
    process = workshop.on(rig, "systemctl show -P MainPID rigwright-demo")
    wanted = workshop.spec(llamacpp={"archive": "pinned", "backend": "cuda"})
    refused = workshop.deploy(wanted, rig)
    assert refused.code != 0 and "invalid device: CUDA0" in refused.output, refused.output
    assert "Build llama.cpp" not in refused.changed
    wait_healthy(workshop, rig)
    assert workshop.on(rig, "systemctl show -P MainPID rigwright-demo") != process
    assert workshop.deploy(on_cpu, rig).changed == set()
    workshop.lab.down([rig])
