"""What is one build and what is another."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rigwright import catalogue
from rigwright.errors import Refused
from rigwright.hardware import Cpu, Gpu, Hardware
from rigwright.plan.engines.installed import Installed
from rigwright.plan.engines.llamacpp.planner import LlamacppPlanner
from rigwright.plan.engines.llamacpp.release import (
    build_bytes,
    installed_bytes,
    jobs,
    nccl_of,
    plan_release,
    source_identity,
)
from rigwright.plan.engines.llamacpp.settings import LlamacppSettings
from rigwright.plan.wish import ServiceWish

RIG = Hardware("debian", "13", "trixie", "6.12", "x86_64", Cpu("EPYC 7402P", 24, 48), 1 << 37)
CARD = Gpu(
    index=0,
    uuid="GPU-1",
    pci_address="0000:01:00.0",
    name="NVIDIA GeForce RTX 3090",
    vram_bytes=24 << 30,
    compute_capability="8.6",
    state="ok",
)
COMMIT = "0c1e57098bba43ac29e6e3b677cdceebdd22334f"


def release(hardware=RIG, identity=COMMIT, cuda=None, **settings):
    return plan_release(LlamacppSettings(**settings), hardware, identity=identity, cuda_version=cuda)


def test_same_inputs_are_the_same_release():
    """An id is a function of what changes the result."""
    assert release().id == release().id


@pytest.mark.parametrize(
    "other",
    [
        release(identity="f" * 40),
        release(replace(RIG, os_version="12")),
        release(replace(RIG, cpu=Cpu("Ryzen 9 5950X", 16, 32))),
        release(cmake_options={"GGML_NATIVE": "OFF"}),
        release(replace(RIG, gpus=(CARD,)), cuda="12.4"),
    ],
)
def test_what_changes_the_result_changes_the_id(other):
    """Source, distribution, processor, options, CUDA: another build."""
    assert other.id != release().id


def test_kernel_and_ram_do_not_change_the_id():
    """A new kernel or more memory is no reason to build again."""
    assert release(replace(RIG, kernel="6.18", ram_bytes=1)).id == release().id


def test_cuda_builds_for_the_cards_that_are_there():
    """The architectures are always named: left to cmake, a hidden GPU gives sm_52 code and only a warning."""
    older = replace(CARD, uuid="GPU-2", compute_capability="6.1")
    options = release(replace(RIG, gpus=(CARD, older)), cuda="12.4").options
    assert "-DGGML_CUDA=ON" in options
    assert "-DCMAKE_CUDA_ARCHITECTURES=61-real;86-real" in options
    more = release(replace(RIG, gpus=(CARD,)), cuda="12.4", cuda_architectures=["80", "90"])
    assert "-DCMAKE_CUDA_ARCHITECTURES=80-real;90-real" in more.options
    assert more.machine_code == ("80", "90") and release().machine_code == ()


@pytest.mark.parametrize(
    ("capability", "architectures", "is_served"),
    [
        ("8.6", ["86"], True),
        ("8.9", ["86"], True),  # machine code runs on later GPUs of its generation
        ("8.6", ["89"], False),
        ("8.6", ["90"], False),
        ("12.0", ["86", "90"], False),
        ("12.0", ["120a"], True),
        ("12.1", ["120a"], False),  # for one alone
        ("12.1", ["120f"], True),
        ("12.1", ["120"], True),
    ],
)
def test_gpu_without_code_is_refused(capability, architectures, is_served):
    """A build that fails at the first prompt is none."""
    rig = replace(RIG, gpus=(replace(CARD, compute_capability=capability),))
    if is_served:
        release(rig, cuda="13.0", cuda_architectures=architectures)
        return
    with pytest.raises(Refused, match=f"no code for a GPU of compute capability {capability}; add"):
        release(rig, cuda="13.0", cuda_architectures=architectures)


def test_build_for_gpus_runs_on_any_processor_of_its_kind():
    """One build for rigs whose CPUs differ: code for each CPU is beside the kernels, and a driver is taken if there."""
    rig = replace(RIG, gpus=(CARD,))
    ours = release(rig, cuda="13.0")
    assert ours.id == release(replace(rig, cpu=Cpu("Ryzen 9 5950X", 16, 32)), cuda="13.0").id
    assert {"-DGGML_CPU_ALL_VARIANTS=ON", "-DGGML_BACKEND_DL=ON", "-DGGML_NATIVE=OFF"} < set(ours.options)
    assert "-DGGML_NATIVE=ON" in release().options
    assert "-DGGML_NATIVE=ON" in release(rig, cuda="13.0", cpu="native").options
    assert "-DGGML_CPU_ALL_VARIANTS=ON" in release(cpu="portable").options


@pytest.mark.parametrize(
    ("cores", "ram_gib", "cuda", "expected"), [(16, 64, True, 16), (16, 8, True, 8), (4, 1, True, 1), (16, 4, False, 8)]
)
def test_compilers_fit_into_memory(cores, ram_gib, cuda, expected):
    """Sixteen of nvcc on a rig of 8 GiB end by the kernel's hand."""
    rig = replace(RIG, cpu=Cpu("x", cores, cores), ram_bytes=ram_gib << 30, gpus=(CARD,) if cuda else ())
    assert jobs(LlamacppSettings(), rig) == expected


def test_gpu_without_a_toolkit_is_refused():
    """Building for the CPU behind the owner's back would be a lie."""
    with pytest.raises(Refused, match="nvcc is not installed"):
        release(replace(RIG, gpus=(CARD,)))
    assert "-DGGML_CUDA=ON" not in release(replace(RIG, gpus=(CARD,)), backend="cpu").options


def test_options_of_the_user_win():
    """rig.llamacpp.cmake_options has the last word."""
    assert "-DGGML_NATIVE=OFF" in release(cmake_options={"GGML_NATIVE": "OFF"}).options


def test_inventory_pins_upstream_or_the_archive():
    """By default a tag of upstream's git; `archive: pinned` is the same tree from PyPI."""
    assert LlamacppSettings().ref == "b11434"
    assert LlamacppSettings().git == "https://github.com/ggml-org/llama.cpp"
    pinned = LlamacppSettings.model_validate({"archive": "pinned"}).archive
    assert pinned and pinned.sha256 == catalogue.load("engines")["llamacpp"]["archive"]["sha256"]


def test_commit_of_a_tag_is_the_locked_one_else_what_the_rig_found():
    """Two rigs that asked on two days build the same where a lock holds; a full commit is itself."""
    tagged = LlamacppSettings(ref="b9999")
    found = {tagged.ref_key: "a" * 40, LlamacppSettings(ref="latest").ref_key: "b" * 40}
    assert (tagged.commit({}), tagged.commit(found)) == (None, "a" * 40)
    assert LlamacppSettings(ref="LATEST").commit(found) == "b" * 40
    held = LlamacppSettings().with_source(tagged.locked_source({tagged.ref_key: COMMIT}))
    assert (held.ref, held.commit(found), source_identity(held, found)) == ("b9999", COMMIT, COMMIT)
    assert LlamacppSettings(ref=COMMIT).locked_source({}).keys() == {"ref", "git"}
    assert LlamacppSettings.model_validate({"archive": "pinned"}).locked_source(found).keys() == {
        "ref",
        "git",
        "archive",
    }


def test_latest_is_told_by_its_commit_where_that_is_known():
    """`latest` says nothing a month later."""
    settings = LlamacppSettings(ref="latest")
    known = Installed(commits={settings.ref_key: COMMIT})
    assert [LlamacppPlanner(settings, installed).version for installed in (Installed(), known)] == ["latest", COMMIT]


def test_rig_that_cannot_build_is_refused_before_its_tag_is_looked_up():
    """Without a compiler for its GPUs no commit helps."""
    rig = replace(RIG, gpus=(CARD,))
    with pytest.raises(Refused, match="nvcc is not installed"):
        LlamacppPlanner(LlamacppSettings(ref="b9999"), Installed()).build(rig)
    assert LlamacppPlanner(LlamacppSettings(ref="b9999"), Installed()).build(RIG) is None


def test_nccl_comes_where_layers_are_shared_and_kernels_where_types_are_asked_for():
    """--split-mode tensor is the one thing that NCCL is for: 300 MB, which no other build takes along."""
    gpus = replace(RIG, gpus=(CARD,))
    tensor = ServiceWish.model_validate(
        {"name": "chat", "model": "qwen3-8b", "gpu": 0, "flags": {"--split-mode": "tensor", "--cache-type-k": "q5_1"}}
    )
    settings = LlamacppSettings().narrowed((tensor,))
    assert settings.asked_options == {
        "GGML_CUDA_NCCL": "ON",
        "GGML_CUDA_FA_QUANTS": "bf16-bf16;f16-f16;q4_0-q4_0;q8_0-q8_0;q5_1-f16",
    }
    # Each generation of CUDA has its own; of 11 there is none, and what a rig itself has is found by cmake.
    for cuda, wheel in (("13.0", "nvidia-nccl-cu13==2.32.3"), ("12.8", "nvidia-nccl-cu12==2.32.3"), ("11.8", None)):
        found = plan_release(settings, gpus, identity=COMMIT, cuda_version=cuda)
        assert ("-DGGML_CUDA_NCCL=ON" in found.options) is (wheel is not None) is (wheel in found.platform)
    assert installed_bytes(settings, gpus) > installed_bytes(LlamacppSettings(), gpus)
    plain = plan_release(LlamacppSettings(), gpus, identity=COMMIT, cuda_version="13.0")
    assert not [one for one in plain.options if "NCCL" in one or "FA_QUANTS" in one]
    # Word for word the build of before: no rig builds anew.
    assert plain.id == release(gpus, cuda="13.0").id
    own = LlamacppSettings(cmake_options={"GGML_CUDA_NCCL": "OFF"}).narrowed((tensor,))
    off = plan_release(own, gpus, identity=COMMIT, cuda_version="13.0")
    assert "-DGGML_CUDA_NCCL=OFF" in off.options and "nvidia-nccl-cu13==2.32.3" not in off.platform
    # Nor on the CPU.
    cpu = LlamacppSettings(backend="cpu").narrowed((tensor,))
    assert nccl_of(cpu, gpus, "13.0") is None


AMD = Gpu(
    index=0,
    vendor="AMD",
    pci_address="0000:03:00.0",
    name="Radeon RX 7900 XTX",
    architecture="gfx1100",
    vram_bytes=24 << 30,
    state="ok",
)
WITH_AMD = replace(RIG, gpus=(AMD,), vendor="AMD")


def test_build_for_vulkan_is_one_for_all_cards():
    """A driver compiles its shaders, so that it names no architecture; without Vulkan a server starts all the same."""
    found = release(WITH_AMD, backend="vulkan")
    assert {"-DGGML_VULKAN=ON", "-DGGML_BACKEND_DL=ON", "-DGGML_CPU_ALL_VARIANTS=ON"} <= set(found.options)
    assert found.id == release(replace(WITH_AMD, gpus=(replace(AMD, architecture="gfx906"),)), backend="vulkan").id
    assert found.id != release(WITH_AMD).id and found.machine_code == ()
    settings = LlamacppSettings(backend="vulkan")
    assert build_bytes(settings, WITH_AMD) < build_bytes(LlamacppSettings(backend="hip"), WITH_AMD)


def test_build_for_hip_has_code_for_the_cards_that_are_there():
    """By amd-smi's own name of each; where nobody tells it, the inventory has to."""
    other = replace(AMD, index=1, architecture="gfx906")
    options = release(replace(WITH_AMD, gpus=(AMD, other)), backend="hip").options
    assert {"-DGGML_HIP=ON", "-DCMAKE_HIP_ARCHITECTURES=gfx1100;gfx906"} <= set(options)
    untold = replace(WITH_AMD, gpus=(replace(AMD, architecture="rdna"),))
    strange = replace(WITH_AMD, gpus=(replace(AMD, architecture="gfx1100\n-DCMAKE_C_COMPILER_LAUNCHER=/tmp/x"),))
    for hardware in (untold, strange):
        with pytest.raises(Refused, match="CMAKE_HIP_ARCHITECTURES"):
            release(hardware, backend="hip")
    said = release(untold, backend="hip", cmake_options={"CMAKE_HIP_ARCHITECTURES": "gfx1100"})
    assert "-DCMAKE_HIP_ARCHITECTURES=gfx1100" in said.options


def test_upstreams_binaries_for_vulkan_are_taken_where_they_run():
    """They want glibc 2.35, and no driver but the system's; for HIP there are none."""

    def origin(hardware, **settings):
        own = LlamacppPlanner(LlamacppSettings(**settings)).sourced(
            hardware, [ServiceWish(name="chat", model="m.gguf")]
        )
        return own.settings.taken, own.origin.because if own.origin else ""

    taken, because = origin(replace(WITH_AMD, os_version="12"), backend="vulkan")
    assert taken == (f"llama-{catalogue.load('engines')['llamacpp']['ref']}-bin-ubuntu-vulkan-x64.tar.gz",)
    assert "for Vulkan, in seconds" in because
    assert origin(replace(WITH_AMD, os_version="11"), backend="vulkan")[0] == ()
    assert origin(WITH_AMD, backend="hip") == ((), "upstream's binaries do not fit: there are none for HIP")
    assert origin(WITH_AMD, backend="vulkan", source="build") == ((), "")
