"""Toolkits on rigs without a GPU: nvcc from wheels, and the distribution's; they compile, and removal takes them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from rigwright.plan.driver.wheels import wheels

pytestmark = pytest.mark.lab

MADE = wheels("13.0", "x86_64")
ARRIVES = {"Install packages for CUDA 13.0", "Have CUDA 13.0"}


def spec(version: str, source: str) -> dict[str, Any]:
    """The `rig` data of a rig that has a toolkit and serves nothing."""
    return {"services": [], "cuda": {"version": version, "source": source}}


def toolkit(workshop: Any, rig: str, version: str, source: str, *, targets: str) -> Any:
    """A run of the deploy."""
    given = ("-y", "--data", f"targets={targets}")
    return workshop.deploy(spec(version, source), rig, arguments=given, deploy="../tests/lab/toolkit_deploy")


@pytest.fixture
def rig(workshop: Any, request: pytest.FixtureRequest) -> Iterator[str]:
    """A blank rig of the release that the test names."""
    yield workshop.boot("cuda", os=request.param)
    workshop.lab.down(["cuda"])


@pytest.mark.parametrize("rig", ["trixie", pytest.param("bookworm", marks=pytest.mark.nvidia)], indirect=True)
def test_toolkit_of_wheels_compiles_for_old_and_new_gpus(workshop: Any, rig: str) -> None:
    """nvcc 13.0 for sm_86 and sm_120 with the release's own gcc; a second run changes nothing; removal gives back."""
    traces = workshop.traces(rig)
    first = toolkit(workshop, rig, "13.0", "pypi", targets="86,120")
    assert first.code == 0 and first.changed == ARRIVES, first.output
    assert "trying nvcc of CUDA 13.0 for sm_86, sm_120" in first.output
    again = toolkit(workshop, rig, "13.0", "pypi", targets="86,120")
    assert (again.code, again.changed) == (0, set()) and again.seconds < 10, again.output

    # Machine code for both, by the toolkit alone: no program of the test's own writing says so.
    for capability in (86, 120):
        said = workshop.on(
            rig,
            "cd /tmp && echo '__global__ void k(int *p) { *p = 3; }' >k.cu"
            f" && {MADE.nvcc} -cubin -arch=sm_{capability} -o k.bin k.cu && head -c4 k.bin | od -An -c; rm -f k.*",
        )
        assert said.split() == ["177", "E", "L", "F"]
    # What is linked with the stub asks for the driver's library, with every function that it uses.
    linked = workshop.on(
        rig,
        "cd /tmp && echo 'int cuMemCreate(); int main() { return cuMemCreate(); }' >u.c"
        f" && gcc -w -o u u.c -L{MADE.directory}/lib/stubs -lcuda && readelf -d u; rm -f u u.c",
    )
    assert "Shared library: [libcuda.so.1]" in linked

    path = workshop.inventory(spec("13.0", "pypi"), rig)
    found = json.loads(workshop.rigwright("verify", str(path), "--json").output)
    outcomes = {row["check"]: row["outcome"] for row in found["checks"] if "toolkit" in row["check"]}
    assert outcomes == {"test_toolkit_is_whole": "passed", "test_toolkit_compiles_for_every_gpu": "passed"}

    # A damaged one is not tried: it is what verify is for. One that was taken away comes again.
    workshop.on(rig, f"rm -r {MADE.directory}")
    assert toolkit(workshop, rig, "13.0", "pypi", targets="86,120").changed == {"Have CUDA 13.0"}
    assert workshop.on(rig, "ls -A /opt/rigwright/cuda /var/lib/rigwright/cuda").split() == [
        *("/opt/rigwright/cuda:", f"13.0-{MADE.id}", "/var/lib/rigwright/cuda:", "proven")
    ]
    assert workshop.deploy(spec("13.0", "pypi"), rig, deploy="remove").code == 0
    assert workshop.traces(rig) == traces
    assert workshop.on(rig, "ls -d /opt/rigwright /var/lib/rigwright 2>/dev/null; command -v cc", check=False) == ""


@pytest.mark.nvidia
@pytest.mark.parametrize(("rig", "version"), [("trixie", "12.4"), ("bookworm", "11.8")], indirect=["rig"])
def test_toolkit_of_the_distribution_compiles_with_the_compiler_that_it_wants(
    workshop: Any, rig: str, version: str
) -> None:
    """nvidia-cuda-toolkit, 2 GB, with an older gcc than the release's own; removal takes all of it."""
    workshop.on(rig, "sed -i 's/ main.*/ main contrib non-free non-free-firmware/' /etc/apt/sources.list")
    traces = workshop.traces(rig)
    first = toolkit(workshop, rig, version, "distro", targets="86")
    arrives = {f"Install packages for CUDA {version}", f"Have CUDA {version}"}
    assert first.code == 0 and first.changed == arrives, first.output
    again = toolkit(workshop, rig, version, "distro", targets="86")
    assert (again.code, again.changed) == (0, set()), again.output
    # It knows no Blackwell, and that is said; what was proven stays so.
    newer = toolkit(workshop, rig, version, "distro", targets="120")
    assert newer.code == 1 and "/usr/bin/nvcc makes no code for sm_120; see its packages" in newer.output
    assert workshop.on(rig, "cat /var/lib/rigwright/cuda/proven") == f"/usr/bin/nvcc {version} 86"
    assert workshop.deploy(spec(version, "distro"), rig, deploy="remove").code == 0
    assert workshop.traces(rig) == traces
