"""Repositories of a driver plan, for each system: which folder, which key, what apt keeps to."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from rigwright.hardware.capture import read_files
from rigwright.hardware.software import Software
from rigwright.hardware.values import Gpu, Hardware
from rigwright.plan.driver import DriverWish, plan_driver
from rigwright.plan.driver.sources import Repositories
from rigwright.plan.driver.values import Cuda, Driver, DriverPlan, Step

# Sources: NVIDIA's installation guide, the pages of its repositories, and the keys as mirrors pin them.
DEBIAN_13, DEBIAN, REDHAT = (
    ("8793F200.pub", "02182E60104FCDC26EAE1B8597A5D4CB8793F200"),
    ("3bf863cc.pub", "EB693B3035CD5710E231E123A4B469963BF863CC"),
    ("D42D0685.pub", "610C7B14E068A878070DA4E99CD0A493D42D0685"),
)
SYSTEMS = {
    ("ubuntu", "22.04"): ("ubuntu2204", DEBIAN),
    ("ubuntu", "24.04"): ("ubuntu2404", DEBIAN),
    ("ubuntu", "26.04"): ("ubuntu2604", DEBIAN),
    ("debian", "12"): ("debian12", DEBIAN),
    ("debian", "13"): ("debian13", DEBIAN_13),
    ("rhel", "9.6"): ("rhel9", REDHAT),
    ("rocky", "9.6"): ("rhel9", REDHAT),
    ("almalinux", "10.0"): ("rhel10", REDHAT),
    ("fedora", "42"): ("fedora42", REDHAT),
    ("fedora", "43"): ("fedora43", REDHAT),
}
ARCHITECTURES = {"x86_64": "x86_64", "aarch64": "sbsa"}
BASE = "https://developer.download.nvidia.com/compute/cuda/repos"
NVIDIAS = DriverPlan("install", Driver(580, "open", "nvidia"))
ALL = [(system, *rest) for system, rest in SYSTEMS.items()]


def machine(system: tuple[str, str], architecture: str = "x86_64", **software: Any) -> Hardware:
    """A machine with an RTX 3090."""
    gpu = Gpu(index=0, pci_address="0000:01:00.0", pci_id="10de:2204", vendor="NVIDIA")
    return Hardware(
        os_id=system[0], os_version=system[1], architecture=architecture, gpu_count=1, gpus=(gpu,),
        software=Software(**software),
    )  # fmt: skip


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(("system", "folder", "key"), ALL, ids=[" ".join(one[0]) for one in ALL])
def test_folder_and_key_of_a_release(system, folder, key, architecture):
    """Of each architecture; a mirror has the same folders, and its own key where it is named."""
    found = Repositories.of(machine(system, architecture), NVIDIAS)
    place = f"{folder}/{ARCHITECTURES[architecture]}"
    assert (found.url, found.key, found.fingerprint) == (f"{BASE}/{place}", *key)
    mirrored = Repositories.of(machine(system, architecture), NVIDIAS, "http://mirror/cuda", "A" * 40)
    assert (mirrored.url, mirrored.key, mirrored.fingerprint) == (f"http://mirror/cuda/{place}", key[0], "A" * 40)
    assert set(found.variables) == {"REPO", "KEY", "FINGERPRINT", "COMPONENTS", "PREFERENCES", "STREAM", "EPEL"}


def test_fingerprints_are_those_of_keys():
    """40 digits in capitals, as the script counts them; the name of a key is its end."""
    for name, fingerprint in (DEBIAN_13, DEBIAN, REDHAT):
        assert re.fullmatch(r"[0-9A-F]{40}", fingerprint) and fingerprint.endswith(name.split(".")[0].upper())


@pytest.mark.parametrize("system", SYSTEMS)
def test_driver_of_the_distribution_wants_no_repository_of_nvidias(system):
    """Debian wants its further components; apt is told that NVIDIA's drivers stay away, where a toolkit's are here."""
    plan = DriverPlan("install", Driver(550, "proprietary", "distro"))
    found = Repositories.of(machine(system), plan)
    assert (found.url, found.key, found.fingerprint) == ("", "", "")
    assert bool(found.components) == (system[0] == "debian")
    is_apt = system[0] in ("debian", "ubuntu")
    assert ("Pin-Priority: -1\n" in found.preferences, "Pin: release l=NVIDIA CUDA\n" in found.preferences) == (
        is_apt,
        is_apt,
    )
    toolkit = Repositories.of(machine(system), replace(plan, cuda=Cuda("13.0", "nvidia")))
    assert toolkit.url.startswith(BASE) and toolkit.preferences == found.preferences


@pytest.mark.parametrize("system", SYSTEMS)
def test_branch_is_kept_to_before_anything_is_installed(system):
    """The driver's packages, and none of a toolkit."""
    text = Repositories.of(machine(system), NVIDIAS).preferences
    if system[0] not in ("debian", "ubuntu"):
        assert text == ""
        return
    head, package, pin, priority = text.splitlines()
    assert head.startswith("# Written by rigwright") and (pin, priority) == ("Pin: version 580.*", "Pin-Priority: 1000")
    globs = [re.compile(one.replace("*", ".*")) for one in package.removeprefix("Package: ").split()]
    held = ("libcuda1", "nvidia-driver-cuda", "nvidia-kernel-open-dkms", "libnvidia-ml1", "cuda-drivers-580")
    free = ("cuda-toolkit-13-0", "libcublas-13-0", "libnccl2", "libcudnn9-cuda-13", "cuda-compiler-13-0", "libc6")
    assert [name for name in held if not any(one.fullmatch(name) for one in globs)] == []
    assert [name for name in free if any(one.fullmatch(name) for one in globs)] == []


def test_refused_plan_asks_all_that_might_have_what_it_lacks():
    """NVIDIA's repository, and Debian's further components; nothing is preferred yet."""
    found = Repositories.of(machine(("debian", "13")), DriverPlan("refuse", refused=("branch_not_offered",)))
    assert found.url == f"{BASE}/debian13/x86_64" and found.components and not found.preferences and not found.names


def test_names_come_in_the_order_of_the_plan():
    """Streams are said to dnf, and are no packages; what leaves is named apart."""
    steps = (
        Step("repository", "x"), Step("pin", "x", ("nvidia-driver:580-open",)), Step("remove", "x", ("old", "older")),
        Step("headers", "x", ("kernel-devel", "dkms")), Step("install", "x", ("nvidia-driver-cuda",)),
    )  # fmt: skip
    found = Repositories.of(machine(("rocky", "9.6")), replace(NVIDIAS, steps=steps))
    assert found.names == ("kernel-devel", "dkms", "nvidia-driver-cuda") and found.leaving == ("old", "older")
    assert (found.stream, found.wants_epel) == ("nvidia-driver:580-open", True)
    assert not Repositories.of(machine(("ubuntu", "24.04")), replace(NVIDIAS, steps=steps)).wants_epel


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("source", [None, "nvidia", "distro"])
def test_plans_themselves_have_a_repository_that_exists(system, source):
    """Of what plan_driver makes of a bare machine; no name is an option or a pattern of a shell."""
    hardware = machine(system, answered=frozenset({"packages", "loaded_modules"}), virtualization="none")
    plan = plan_driver(hardware, DriverWish(source=source))
    found = Repositories.of(hardware, plan)
    assert bool(found.url) == (plan.verdict == "refuse" or plan.driver.source == "nvidia")
    assert [name for name in found.names if not re.fullmatch(r"[a-z0-9][\w.+:-]*(?:=[\w.:~+-]+\*?)?", name)] == []


@pytest.mark.parametrize("system", [("nixos", "26.05"), ("unknown", ""), ("debian", "11"), ("ubuntu", "20.04")])
def test_unknown_release_has_none(system):
    """And nothing is guessed."""
    assert Repositories.of(machine(system), NVIDIAS, "http://mirror") == Repositories()


def test_words_of_a_repository_are_one_line_each():
    """They are written to files of apt and dnf."""
    for system, architecture in product(SYSTEMS, ARCHITECTURES):
        found = Repositories.of(machine(system, architecture), NVIDIAS).variables
        assert not any("\n" in value for name, value in found.items() if name != "PREFERENCES")


def test_toolkit_of_debians_wants_the_components_that_it_lies_in():
    """Beside a driver of NVIDIA's or one that is there: nvidia-cuda-toolkit is in non-free."""
    hardware = Hardware(os_id="debian", os_version="13", architecture="x86_64")
    plan = replace(NVIDIAS, cuda=Cuda("12.4", "distro", ("nvidia-cuda-toolkit",)))
    assert Repositories.of(hardware, plan).components == "contrib non-free non-free-firmware"
    assert Repositories.of(hardware, replace(plan, cuda=Cuda("12.4", "distro"))).components == ""


@pytest.mark.parametrize(
    ("listing", "release"),
    [("cuda-rhel9-x86_64  cuda-rhel9-x86_64", "rhel9"), ("cuda-fedora41  cuda-fedora41", "fedora41")],
)
def test_repository_is_told_by_its_identifier(listing, release):
    """`dnf repolist` has no addresses."""
    files = {
        "os-release": 'ID=fedora\nVERSION_ID=43\nNAME="Fedora Linux"\n',
        "lspci.txt": "01:00.0 VGA compatible controller [0300]: NVIDIA Corporation GA102 [10de:2204] (rev a1)\n",
        "repolist.txt": f"repo id    repo name\n{listing}\nfedora     Fedora 43 - x86_64\n",
    }
    found = [one for one in plan_driver(read_files(files)).problems if one.code == "repository_of_other_release"]
    assert [release in one.what for one in found] == [True]
