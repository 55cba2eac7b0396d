"""What stands around a driver, from the texts that people paste: each kind of text as it is, and with one dressing."""

from __future__ import annotations

import json
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rigwright.hardware import software_formats as formats
from rigwright.hardware.capture import read_files
from rigwright.hardware.software import KernelModule, Package, Software, Toolkit, joined

sys.path.insert(0, str(Path(__file__).parent))
from dressings import DRESSINGS

CASES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "software_cases.json").read_text("utf-8"))


def told(value: Any) -> Any:
    """What a value says, as JSON has it: fields that say nothing are left out."""
    if is_dataclass(value) and not isinstance(value, type):
        known = {each.name: getattr(value, each.name) for each in fields(value)}
        return {each.name: told(known[each.name]) for each in fields(value) if known[each.name] != each.default}
    if isinstance(value, frozenset):
        return sorted(value)
    return [told(one) for one in value] if isinstance(value, tuple) else value


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_text_is_read_as_software(case: dict[str, Any]) -> None:
    """Whole or filtered, each field that it answers is named, also where the answer is that there is nothing."""
    hardware = read_files({case["id"]: case["text"]})
    assert case["software"] == told(hardware.software)
    assert hardware.not_read == ()


# Where the name of the file tells what it is, and where the answer is the prompt, a dressing leaves nothing to tell it.
_BY_NAME = (
    "showhold.txt",
    "lib-modules.txt",
    "dkms-status.txt",
    "initramfs.txt",
    "session",
    "detect-virt.txt",
    "secureboot.txt",
)
_TRIED = (
    "prefix: docker compose", "prefix: rfc 3339", "prefix: mail twice", "prefix: cat -n", "prefix: indented",
    "escape: cat -v", "docker json-file", "page", "whole page", "markdown", "markdown escaped", "crlf", "twice",
)  # fmt: skip


@pytest.mark.parametrize("case", [case for case in CASES if case["id"] not in _BY_NAME], ids=lambda case: case["id"])
def test_dressed_text_is_read_as_the_bare_one(case: dict[str, Any]) -> None:
    """A log, a mail, a page around it; what a failure said may keep a bit of that, its code and names do not."""
    number = CASES.index(case)
    name = _TRIED[number % len(_TRIED)]
    dressed = told(read_files({case["id"]: DRESSINGS[name](case["text"])}).software)
    assert without_words(case["software"]) == without_words(dressed), name


def without_words(software: dict[str, Any]) -> dict[str, Any]:
    failures = [{**failure, "said": ""} for failure in software.get("failures", ())]
    return software | ({"failures": failures} if failures else {})


@pytest.mark.parametrize(
    ("name", "text", "kernel", "architecture"),
    [
        ("a.txt", "Linux gpu01 6.8.0-45-generic #45~22.04.1-Ubuntu SMP x86_64 x86_64 x86_64 GNU/Linux\n",
         "6.8.0-45-generic", "x86_64"),
        ("a.txt", "Linux spark 6.11.0-1016-nvidia #16-Ubuntu SMP PREEMPT_DYNAMIC aarch64 aarch64 aarch64 GNU/Linux\n",
         "6.11.0-1016-nvidia", "aarch64"),
        ("a.txt", "ada@rig1:~$ uname -r\n5.14.0-570.23.1.el9_6.x86_64\n", "5.14.0-570.23.1.el9_6.x86_64", ""),
        ("kernel.txt", "6.12.117+deb13-amd64\n", "6.12.117+deb13-amd64", ""),
        ("uname-r.txt", "6.1.0-28-amd64\n", "6.1.0-28-amd64", ""),
        ("proc_version", "Linux version 6.1.0-28-amd64 (a@b) (gcc-12 (Debian 12.2.0-14) 12.2.0) #1 SMP\n",
         "6.1.0-28-amd64", ""),
    ],
)  # fmt: skip
def test_kernel_that_runs_is_read(name: str, text: str, kernel: str, architecture: str) -> None:
    """As uname and /proc/version say it; a release alone by the name of its file or the command before it."""
    hardware = read_files({name: text})
    assert (kernel, architecture) == (hardware.kernel, hardware.architecture)
    assert hardware.not_read == ()


READERS = sorted({form.source for form in formats.SOFTWARE})


@pytest.mark.parametrize("source", READERS)
@given(data=st.data())
def test_reader_never_raises(source: str, data: st.DataObject) -> None:
    """Whatever is left of a text: lines lost, doubled, cut, mixed with those of another."""
    lines = [line for case in CASES for line in case["text"].split("\n")]
    few = data.draw(st.lists(st.one_of(st.sampled_from(lines), st.text(max_size=40)), max_size=12))
    cut = [line[: data.draw(st.integers(0, 60))] if data.draw(st.booleans()) else line for line in few]
    form = next(form for form in formats.SOFTWARE if form.source == source)
    form.read("\n".join(cut))


def test_what_sources_say_is_put_together() -> None:
    """A list is partial where none has it whole; a package has its state from one source, its origin from another."""
    listed = Software(
        answered=frozenset({"packages"}),
        packages=(Package("nvidia-open", "595.71.05-1"), Package("nvidia-kernel-dkms", "550.163.01-2")),
    )
    asked = Software(
        answered=frozenset({"packages", "offers"}),
        is_partial=frozenset({"packages", "offers"}),
        packages=(
            Package("nvidia-open", "595.71.05-1", origin="developer.download.nvidia.com/compute/cuda/repos/debian13"),
            Package("nvidia-kernel-dkms", state="half"),
        ),
    )
    together = joined((listed, asked))
    assert frozenset({"offers"}) == together.is_partial
    assert together.packages == (
        Package("nvidia-open", "595.71.05-1", origin="developer.download.nvidia.com/compute/cuda/repos/debian13"),
        Package("nvidia-kernel-dkms", "550.163.01-2", "half"),
    )


def test_nvidias_repository_is_known_by_its_address() -> None:
    """dnf lists packages by what the machine calls their repository, which may be anything, and a mirror's."""
    url = "http://mirror.example.org/compute/cuda/repos/rhel9/x86_64"
    files = {
        "repositories.txt": f"==> /etc/yum.repos.d/gpu.repo <==\n[gpu]\nname=GPU\nbaseurl={url}/\nenabled=1\n"
        "\n==> /etc/yum.repos.d/rocky.repo <==\n[baseos]\nbaseurl=http://mirror.example.org/rocky/9\n",
        "dnf.txt": "Installed Packages\nnvidia-driver-cuda.x86_64  3:580.95.05-1.el9  @gpu\n"
        "Available Packages\nkmod-nvidia-open-dkms.x86_64  3:595.91.07-1.el9  gpu\ndkms.noarch  3.2.2-1.el9  baseos\n",
    }
    software = read_files(files).software
    nvidias = "developer.download.nvidia.com/compute/cuda/repos/rhel9"
    assert [one.origin for one in software.packages] == [nvidias]
    assert [(one.name, one.origin) for one in software.offers] == [
        ("kmod-nvidia-open-dkms", nvidias),
        ("dkms", "baseos"),
    ]


def test_package_of_rpm_is_that_of_dnf() -> None:
    """rpm prints no epoch, dnf does; two kernels of one name stay two."""
    rpm = Software(packages=(Package("nvidia-driver", "580.95.05-1.el9"), Package("kernel-core", "5.14.0-570.el9")))
    dnf = Software(
        packages=(
            Package("nvidia-driver", "3:580.95.05-1.el9", origin="cuda"),
            Package("kernel-core", "5.14.0-611.el9", origin="baseos"),
        )
    )
    assert joined((rpm, dnf)).packages == (
        Package("nvidia-driver", "3:580.95.05-1.el9", origin="cuda"),
        Package("kernel-core", "5.14.0-570.el9"),
        Package("kernel-core", "5.14.0-611.el9", origin="baseos"),
    )


def test_failure_of_two_logs_is_one() -> None:
    """apt says that the build failed, the log of the build why."""
    texts = {case["id"]: case["text"] for case in CASES}
    failures = read_files({"apt.log": texts["apt dkms"], "make.log": texts["make.log2"]}).software.failures
    built = [failure for failure in failures if failure.code == "dkms_build_failed"]
    assert len(built) == 1
    assert "error: too few arguments" in built[0].said
    assert {"nvidia/575.57.08", "nvidia-current-open/550.163.01"} <= set(built[0].names)


def test_toolkit_without_a_path_is_the_first_in_path() -> None:
    """`nvcc --version` names no file; a module that modinfo read is not told again by its file."""
    where = Software(toolkits=(Toolkit("/usr/bin/nvcc"), Toolkit("/usr/local/cuda/bin/nvcc")))
    which = Software(
        toolkits=(Toolkit("", "12.4.131"),), on_disk=(KernelModule("580.95.05", "open", "6.8.0-45-generic"),)
    )
    files = Software(on_disk=(KernelModule("", kernel="6.8.0-45-generic"), KernelModule("", kernel="6.8.0-31-generic")))
    together = joined((where, which, files))
    assert together.toolkits == (Toolkit("/usr/bin/nvcc", "12.4.131"), Toolkit("/usr/local/cuda/bin/nvcc"))
    assert [module.kernel for module in together.on_disk] == ["6.8.0-45-generic", "6.8.0-31-generic"]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("The driver 580 is needed for CUDA 13, and nvidia-smi is not found\n", id="prose"),
        pytest.param("Name: rig1\nversion: 2\nstatus: installed\n", id="keys"),
        pytest.param("total 12\ndrwxr-xr-x 2 root root 4096 Jan  1 00:00 bin\n", id="a folder"),
    ],
)
def test_other_text_tells_nothing(text: str) -> None:
    """What is no output of these tools is not taken for one."""
    assert read_files({"notes.txt": text}).software == Software()
