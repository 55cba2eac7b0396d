"""What is one build and what is another."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rigwright import catalogue
from rigwright.errors import Refused
from rigwright.hardware import Cpu, Gpu, Hardware
from rigwright.plan.engines.llamacpp.release import plan_release
from rigwright.plan.engines.llamacpp.settings import LlamacppSettings

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
    only = release(replace(RIG, gpus=(CARD,)), cuda="12.4", cuda_architectures=["90"]).options
    assert "-DCMAKE_CUDA_ARCHITECTURES=90-real" in only


def test_gpu_without_a_toolkit_is_refused():
    """Building for the CPU behind the owner's back would be a lie."""
    with pytest.raises(Refused, match="nvcc is not installed"):
        release(replace(RIG, gpus=(CARD,)))
    assert "-DGGML_CUDA=ON" not in release(replace(RIG, gpus=(CARD,)), backend="cpu").options


def test_options_of_the_user_win():
    """rig.llamacpp.cmake_options has the last word."""
    assert "-DGGML_NATIVE=OFF" in release(cmake_options={"GGML_NATIVE": "OFF"}).options


def test_inventory_pins_upstream_or_the_archive():
    """By default upstream's git at a full commit; `archive: pinned` is the same tree from PyPI."""
    assert LlamacppSettings().ref == COMMIT
    assert LlamacppSettings().git == "https://github.com/ggml-org/llama.cpp"
    pinned = LlamacppSettings.model_validate({"archive": "pinned"}).archive
    assert pinned and pinned.sha256 == catalogue.load("engines")["llamacpp"]["archive"]["sha256"]
