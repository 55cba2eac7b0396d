"""Which toolkit a build gets: one that is there and fits, else what comes; and what is said where none can be had."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rigwright.hardware.software import Software, Toolkit
from rigwright.hardware.values import Gpu, Hardware
from rigwright.plan.driver import Cuda, DriverWish, Need, plan_driver
from rigwright.plan.driver.toolkit import compiler_of, row_of
from rigwright.plan.driver.wheels import wheels
from rigwright.plan.engines.installed import Installed
from rigwright.plan.engines.llamacpp.release import plan_release
from rigwright.plan.engines.llamacpp.settings import LlamacppSettings
from rigwright.resolve.toolkit import with_toolkit
from rigwright.spec.rig import parse_spec

MADE = wheels("13.0", "x86_64")
OLD = "/opt/rigwright/cuda/13.0-000000000000"
CAPABILITIES = {"3090": "8.6", "5090": "12.0", "1080": "6.1", "2080": "7.5"}


def machine(*cards: str, driver: str = "580.95.05", os: str = "debian-13", architecture: str = "x86_64") -> Hardware:
    """A machine whose driver answers for these cards."""
    gpus = tuple(
        Gpu(index=number, vendor="NVIDIA", name=f"NVIDIA GeForce {card}", vram_bytes=24 << 30, state="ok",
            compute_capability=CAPABILITIES[card], uuid=f"GPU-{number}", mig=False)
        for number, card in enumerate(cards)
    )  # fmt: skip
    name, _, version = os.partition("-")
    return Hardware(name, version, "", "6.12", architecture, gpus=gpus, gpu_count=len(gpus), driver_version=driver)


def chosen(hardware: Hardware, installed: Installed = Installed(), **cuda: str) -> Installed:  # noqa: B008
    """What a plan of llama.cpp starts from."""
    services = [{"name": "chat", "model": "qwen3-8b", "engine": "llamacpp"}]
    return with_toolkit(installed, hardware, parse_spec("rig", {"services": services, "cuda": cuda}))


NOTHING = Installed()
IN_PATH = Installed(nvcc="nvcc", nvcc_path="/usr/bin/nvcc", cuda_version="12.4")
LOCAL = Installed(nvcc="/usr/local/cuda/bin/nvcc", nvcc_path="/usr/local/cuda/bin/nvcc", cuda_version="12.8")
BROUGHT = Installed(toolkits=frozenset({MADE.directory}))


@pytest.mark.parametrize(
    ("hardware", "installed", "cuda", "nvcc", "comes"),
    [
        (machine("3090"), NOTHING, {}, MADE.nvcc, "pypi"),
        (machine("3090", "5090"), NOTHING, {}, MADE.nvcc, "pypi"),
        (machine("3090", os="ubuntu-24.04"), NOTHING, {}, MADE.nvcc, "pypi"),
        (machine("3090", architecture="aarch64"), NOTHING, {}, wheels("13.0", "aarch64").nvcc, "pypi"),
        (machine("3090"), NOTHING, {"version": "13.2"}, wheels("13.2", "x86_64").nvcc, "pypi"),
        # It is there: nothing comes, and it has the name that releases know it by.
        (machine("3090"), BROUGHT, {}, MADE.nvcc, None),
        (machine("3090"), IN_PATH, {}, "nvcc", None),
        (machine("3090", os="debian-12"), LOCAL, {}, "/usr/local/cuda/bin/nvcc", None),
        # Between two versions that are known.
        (machine("3090", os="debian-12"), replace(LOCAL, cuda_version="12.6"), {}, "/usr/local/cuda/bin/nvcc", None),
        # Ours first: what the owner installs since moves no engine.
        (machine("3090"), replace(IN_PATH, toolkits=BROUGHT.toolkits), {}, MADE.nvcc, None),
        # One that was made of other wheels is made anew.
        (machine("3090"), Installed(toolkits=frozenset({OLD})), {}, MADE.nvcc, "pypi"),
        # It makes no code for this card, or the inventory wants another one.
        (machine("5090"), IN_PATH, {}, MADE.nvcc, "pypi"),
        (machine("5090", os="ubuntu-24.04"), replace(IN_PATH, cuda_version="12.0"), {}, MADE.nvcc, "pypi"),
        (machine("3090", os="ubuntu-24.04"), replace(IN_PATH, cuda_version="12.0"), {}, "nvcc", None),
        (machine("3090"), IN_PATH, {"source": "pypi"}, MADE.nvcc, "pypi"),
        (machine("3090"), IN_PATH, {"version": "13.0"}, MADE.nvcc, "pypi"),
        # The driver is older than what wheels want: Debian's own, which is called as it is called when it is there.
        (machine("3090", driver="550.163.01"), NOTHING, {}, "nvcc", "distro"),
        (machine("3090"), NOTHING, {"source": "distro"}, "nvcc", "distro"),
        (machine("3090", os="ubuntu-24.04"), NOTHING, {"source": "distro"}, "nvcc", "distro"),
        # Nothing is known of it: it stays, as before.
        (machine("3090"), replace(IN_PATH, cuda_version="10.2"), {}, "nvcc", None),
        (machine("3090"), NOTHING, {"source": "none"}, "nvcc", None),
    ],
)
def test_compiler_is_the_one_that_fits(
    hardware: Hardware, installed: Installed, cuda: dict[str, str], nvcc: str, comes: str | None
) -> None:
    """By the GPUs, the driver, the C library and the inventory; what comes is known by its path before it is there."""
    found = chosen(hardware, installed, **cuda)
    assert (found.nvcc, found.toolkit.source if found.toolkit else None) == (nvcc, comes)
    assert not found.no_toolkit and (found.cuda_version is None) == (cuda.get("source") == "none")


@pytest.mark.parametrize(
    ("hardware", "cuda", "said"),
    [
        (machine("1080", os="debian-12"), {}, "CUDA 12.9 is in NVIDIA's repository: have it by deploys/nvidia.py"),
        (machine("5090", driver="570.1", os="ubuntu-24.04"), {}, "CUDA 12.8 is in NVIDIA's repository"),
        (machine("5090", driver="570.1"), {}, "a toolkit for NVIDIA GeForce 5090"),
        (machine("3090"), {"version": "12.8"}, "does not compile with glibc 2.41"),
        (machine("3090", architecture="riscv64", os="arch-1"), {}, "cannot be had"),
    ],
)
def test_where_none_can_be_had_the_plan_says_why(hardware: Hardware, cuda: dict[str, str], said: str) -> None:
    """A deploy would refuse it; one that is there is used all the same where it is the only one."""
    found = chosen(hardware, **cuda)
    assert said in found.no_toolkit and found.cuda_version is None and found.toolkit is None
    there = chosen(hardware, replace(IN_PATH, cuda_version="11.8"), **cuda)
    assert (there.nvcc, there.cuda_version, there.toolkit) == ("nvcc", "11.8", None)


def test_machine_without_a_gpu_of_nvidia_has_no_toolkit() -> None:
    """Nor has one whose driver does not answer, or a build for the CPU."""
    silent = replace(machine("3090"), gpus=(replace(machine("3090").gpus[0], state=None),))
    for hardware in (machine(), silent):
        assert chosen(hardware) == NOTHING
    cpu: dict[str, Any] = {"services": [{"name": "chat", "model": "qwen3-8b"}], "llamacpp": {"backend": "cpu"}}
    assert with_toolkit(NOTHING, machine("3090"), parse_spec("rig", cpu)) == NOTHING
    alone: dict[str, Any] = {"services": [{"name": "chat", "model": "qwen3-8b", "gpu": "none"}]}
    assert with_toolkit(NOTHING, machine("3090"), parse_spec("rig", alone)) == NOTHING
    built = parse_spec("rig", alone | {"llamacpp": {"backend": "cuda"}})
    assert with_toolkit(NOTHING, machine("3090"), built).toolkit


def test_binaries_want_no_toolkit() -> None:
    """Nothing is compiled."""
    binaries = {"path": "llama.tar.gz", "sha256": "0" * 64}
    given: dict[str, Any] = {"services": [{"name": "chat", "model": "qwen3-8b"}], "llamacpp": {"prebuilt": binaries}}
    assert with_toolkit(NOTHING, machine("3090"), parse_spec("rig", given)) == NOTHING


def test_service_on_the_cpu_is_built_for_it() -> None:
    """Where no service may have a GPU: without a word on the build, and with one on CUDA for that."""
    wishes = parse_spec("rig", {"services": [{"name": "chat", "model": "qwen3-8b", "gpu": "none"}]}).services
    both = (*wishes, wishes[0].model_copy(update={"name": "b", "gpu": "auto"}))
    assert LlamacppSettings().narrowed(wishes).backend == "cpu"
    assert LlamacppSettings().narrowed(both).backend == "auto"
    assert LlamacppSettings(backend="cuda").narrowed(wishes).backend == "cuda"
    assert LlamacppSettings().narrowed([]).backend == "auto"


def test_build_names_the_toolkit_by_its_path() -> None:
    """cmake looks nowhere else; a compiler of packages is named as it was before."""
    for nvcc, root in ((MADE.nvcc, {f"-DCUDAToolkit_ROOT={MADE.directory}"}), ("nvcc", set())):
        release = plan_release(
            LlamacppSettings(), machine("3090", "5090"), identity="a" * 40, cuda_version="13.0", nvcc=nvcc
        )
        assert {f"-DCMAKE_CUDA_COMPILER={nvcc}", "-DCMAKE_CUDA_ARCHITECTURES=120-real;86-real"} < set(release.options)
        assert {one for one in release.options if "ROOT" in one} == root


def test_toolkit_that_was_brought_is_there_for_the_driver_plan() -> None:
    """What a deploy did is `ok`, and nothing comes once more."""
    wish = DriverWish(needs=(Need("llama.cpp", is_built=True),))
    bare = machine("3090", os="debian-12")
    assert plan_driver(bare, wish).verdict == "install"
    made = replace(bare, software=Software(toolkits=(Toolkit(MADE.nvcc, "13.0.88", ("sm_86",)),)))
    plan = plan_driver(made, wish)
    assert plan.verdict == "ok" and plan.cuda == Cuda("13.0", "pypi", (), ("86",), MADE.nvcc)


@pytest.mark.parametrize(
    ("cuda", "nvcc"),
    [
        (Cuda("13.0", "pypi"), MADE.nvcc),
        (Cuda("12.8", "nvidia"), "/usr/local/cuda-12.8/bin/nvcc"),
        (Cuda("12.4", "distro"), "/usr/bin/nvcc"),
        (Cuda("12.8", "nvidia", path="/usr/local/cuda/bin/nvcc"), "/usr/local/cuda/bin/nvcc"),
        (Cuda("12.8", "pypi"), None),
        (Cuda(), None),
    ],
)
def test_each_source_has_its_place(cuda: Cuda, nvcc: str | None) -> None:
    """The folder of wheels, that of NVIDIA's packages, that of the distribution's."""
    assert compiler_of(cuda, "x86_64") == nvcc


@pytest.mark.parametrize(
    ("version", "row"),
    [
        ("12.6.85", "12.4"),
        ("13.5", "13.2"),
        ("12.8", "12.8"),
        ("12.2", "12.0"),
        ("11.2", None),
        ("14.0", None),
        ("", None),
    ],
)
def test_version_between_two_rows_can_do_what_the_older_can(version: str, row: str | None) -> None:
    """Of another generation nothing is known."""
    found = row_of(version)
    assert (found.version if found else None) == row
