"""CUDA: where an engine was built with a toolkit, does that one still compile for the GPUs of the rig?

Run it by hand: pytest --pyargs rigwright.roles.cuda.verify --rigs INVENTORY
"""

from __future__ import annotations

import json
import re

import pytest

from rigwright.verify.subject import RigUnderTest

# The compilers that the releases on the rig were built with, and the one that a deploy of a toolkit alone has tried.
_COMPILERS = r"""
cat /opt/rigwright/*/releases/*/release.json 2>/dev/null | grep -o 'DCMAKE_CUDA_COMPILER=[^"]*' | cut -d= -f2
cut -d' ' -f1 /var/lib/rigwright/cuda/proven 2>/dev/null
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


def _compiler(rig: RigUnderTest) -> str:
    """The toolkit's nvcc; where no toolkit is wanted, the check is skipped."""
    found = list(dict.fromkeys(rig.host.check_output(_COMPILERS).split()))
    wanted = rig.spec.cuda
    if not found and (wanted.source == "none" or (wanted.source == "auto" and wanted.version == "auto")):
        pytest.skip("nothing here is built with CUDA")
    assert found, f"cuda: {json.dumps(wanted.model_dump())} asks for a toolkit, and no deploy brought one"
    return str(found[-1])


def _capabilities(rig: RigUnderTest) -> list[str]:
    """`86` for each kind of GPU that the driver drives."""
    said = rig.host.run("nvidia-smi --query-gpu=compute_cap --format=csv,noheader")
    found = sorted({"".join(re.findall(r"\d", line)) for line in said.stdout.split()} - {""}) if said.rc == 0 else []
    if not found:
        pytest.skip("no driver answers for a GPU: roles.nvidia says why")
    return found


def test_toolkit_is_there(rig: RigUnderTest) -> None:
    """Its compiler starts and says its version, the inventory's where that names one."""
    said = rig.host.check_output("%s --version", _compiler(rig))
    version = re.search(r"release ([\d.]+)", said)
    assert version and rig.spec.cuda.version in ("auto", version[1])


def test_toolkit_is_as_it_came(rig: RigUnderTest) -> None:
    """Of one that rigwright brought, every file is the one of its maker."""
    nvcc = _compiler(rig)
    if not nvcc.startswith("/opt/rigwright/cuda/"):
        pytest.skip("it is of packages: dpkg --verify and rpm --verify know them")
    directory = nvcc.removesuffix("/bin/nvcc")
    changed = rig.host.run("cd %s && sha256sum --quiet -c sums.txt", directory)
    assert changed.rc == 0, changed.stdout.strip() or changed.stderr.strip()


def test_toolkit_makes_code_for_every_gpu(rig: RigUnderTest) -> None:
    """What it compiles for has the architecture of each GPU in it."""
    nvcc = _compiler(rig)
    targets = rig.host.check_output("%s --list-gpu-code", nvcc).split()
    assert [one for one in _capabilities(rig) if f"sm_{one}" not in targets] == []


def test_three_lines_compile_for_every_gpu(rig: RigUnderTest) -> None:
    """With the compiler for the processor, its headers and the libraries that nvcc links: no GPU is asked."""
    nvcc = _compiler(rig)
    for one in _capabilities(rig):
        done = rig.host.run(_THREE_LINES, nvcc, one)
        assert done.rc == 0, (done.stderr.strip() or done.stdout.strip())[-800:]
