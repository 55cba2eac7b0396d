"""CUDA: where an engine was built with a toolkit, is that one whole, and does it compile for the GPUs of the rig?

Run it by hand: pytest --pyargs rigwright.roles.cuda.verify --rigs INVENTORY
"""

from __future__ import annotations

import re

import pytest

from rigwright.verify.subject import RigUnderTest

# A line each: the compilers that the releases on the rig were built with; last the one that was tried, with its version
# and the GPUs that it was tried for.
_COMPILERS = r"""
cat /opt/rigwright/*/releases/*/release.json 2>/dev/null | grep -o 'DCMAKE_CUDA_COMPILER=[^"]*' | cut -d= -f2
cat /var/lib/rigwright/cuda/proven 2>/dev/null
:
"""
_THREE_LINES = r"""
at=$(mktemp -d) && cd "$at" || exit
trap 'rm -rf "$at"' EXIT
cat >three.cu <<'END'
#include <cstdio>
__global__ void add(float *a, const float *b) { a[threadIdx.x] += b[threadIdx.x]; }
int main() { float *a = nullptr; add<<<1, 32>>>(a, a); std::puts(cudaGetErrorString(cudaDeviceSynchronize())); }
END
%s -arch=sm_%s -o three three.cu
"""


def _toolkit(rig: RigUnderTest) -> list[str]:
    """The toolkit's nvcc, and the GPUs that it was tried for; where no toolkit is wanted, the check is skipped."""
    found = [line.split() for line in rig.host.check_output(_COMPILERS).splitlines()]
    wanted = rig.spec.cuda
    if not found and (wanted.source == "none" or (wanted.source == "auto" and wanted.version == "auto")):
        pytest.skip("nothing here is built with CUDA")
    assert found, "the inventory asks for a toolkit, and no deploy brought one"
    return [found[-1][0], *found[-1][2:]]


def test_toolkit_is_whole(rig: RigUnderTest) -> None:
    """Its compiler is of the wanted version, and of one that rigwright brought every file is that of its maker."""
    nvcc, *_ = _toolkit(rig)
    said = rig.host.check_output("%s --version", nvcc)
    version = re.search(r"release ([\d.]+)", said)
    assert version and rig.spec.cuda.version in ("auto", version[1]), said
    if nvcc.startswith("/opt/rigwright/cuda/"):
        changed = rig.host.run("cd %s && sha256sum --quiet -c sums.txt", nvcc.removesuffix("/bin/nvcc"))
        assert changed.rc == 0, changed.stdout.strip() or changed.stderr.strip()


def test_toolkit_compiles_for_every_gpu(rig: RigUnderTest) -> None:
    """It makes code for each GPU in the rig, and three lines compile and link for it: no GPU is asked."""
    nvcc, *tried = _toolkit(rig)
    said = rig.host.run("nvidia-smi --query-gpu=compute_cap --format=csv,noheader")
    there = ["".join(one) for one in re.findall(r"^(\d+)\.(\d)$", said.stdout, re.MULTILINE)] if said.rc == 0 else []
    targets = rig.host.check_output("%s --list-gpu-code", nvcc).split()
    wanted = sorted({*there, *tried})
    assert [one for one in wanted if f"sm_{one}" not in targets] == []
    for one in wanted:
        done = rig.host.run(_THREE_LINES, nvcc, one)
        assert done.rc == 0, (done.stderr.strip() or done.stdout.strip())[-800:]
