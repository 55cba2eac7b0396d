"""Releases of kernels: which boots next, which headers are of it; and what a kernel makes of a driver."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rigwright.hardware.capture import read_files
from rigwright.hardware.software import DkmsModule, Failure, KernelModule, Offer, Package, Repository, Software
from rigwright.hardware.values import Gpu, Hardware
from rigwright.plan.driver import DriverPlan, kernels, plan_driver
from rigwright.plan.driver.machine import Machine
from rigwright.plan.driver.tables import kernel_problem

HEADERS = {
    ("6.8.0-90-generic", "ubuntu"): "linux-headers-6.8.0-90-generic",
    ("6.12.117+deb13-cloud-amd64", "debian"): "linux-headers-6.12.117+deb13-cloud-amd64",
    ("6.17.2-1-pve", "debian"): "proxmox-headers-6.17.2-1-pve",
    ("6.2.16-20-pve", "debian"): "proxmox-headers-6.2.16-20-pve",
    ("5.15.158-2-pve", "debian"): "pve-headers-5.15.158-2-pve",
    ("5.14.0-570.12.1.el9_6.x86_64", "rocky"): "kernel-devel-5.14.0-570.12.1.el9_6.x86_64",
    ("5.14.0-570.12.1.el9_6.aarch64+64k", "rhel"): "kernel-64k-devel-5.14.0-570.12.1.el9_6.aarch64",
    ("5.14.0-570.12.1.el9_6.x86_64+rt", "rhel"): "kernel-rt-devel-5.14.0-570.12.1.el9_6.x86_64",
    ("6.12.0-1.23.3.2.el9uek.x86_64", "ol"): "kernel-uek-devel-6.12.0-1.23.3.2.el9uek.x86_64",
}
METAS = {
    ("6.12.117+deb13-amd64", "x86_64"): "linux-headers-amd64",
    ("6.12.117+deb13-cloud-amd64", "x86_64"): "linux-headers-cloud-amd64",
    ("6.12.117+deb13-rt-arm64", "aarch64"): "linux-headers-rt-arm64",
    ("6.17.2-1-pve", "x86_64"): "proxmox-default-headers",
    ("5.15.158-2-pve", "x86_64"): "pve-headers",
}
GPU = Gpu(index=0, pci_address="0000:01:00.0", pci_id="10de:2204", vendor="NVIDIA")


@pytest.mark.parametrize(("release", "os_id"), HEADERS)
def test_headers_are_of_that_very_kernel(release, os_id):
    """Each distribution has its names, and a flavour of a kernel its own."""
    assert HEADERS[release, os_id] == kernels.headers(release, os_id)


@pytest.mark.parametrize(("release", "architecture"), METAS)
def test_package_that_follows_the_kernel(release, architecture):
    """It is of the flavour that runs."""
    assert METAS[release, architecture] == kernels.headers_meta(release, architecture)


@pytest.mark.parametrize(
    "releases",
    [
        ("5.15.0-99-generic", "5.15.0-144-generic", "5.15.0-157-generic"),
        ("6.1.0-9-amd64", "6.1.0-40-amd64"),
        ("6.8.12-9-pve", "6.8.12-16-pve"),
        ("5.14.0-503.40.1.el9_5.x86_64", "5.14.0-570.el9.x86_64", "5.14.0-570.7.1.el9_6.x86_64"),
        ("6.8.0-1033-aws", "6.8.0-1040-aws"),
    ],
)
def test_newest_kernel_boots_next(releases):
    """By all numbers of its release, in whatever order the folders were listed."""
    for listed in (releases, releases[::-1]):
        machine = Machine(Hardware(os_id="ubuntu", kernel=releases[0], software=Software(kernels=tuple(listed))))
        assert releases[-1] == machine.next_kernel


@pytest.mark.parametrize(
    ("version", "is_known"), [("580.126.09", True), ("580.142", False), ("590.48.01", True), ("595.91.07", False)]
)
def test_branch_that_ended_never_learns_a_kernel(version, is_known):
    """590 is newer by number than the release of 580 that compiles for Linux 7.0."""
    assert is_known == bool(kernel_problem("7.0.0-1011-gcp", version, "open"))


def _planned(*failures: Failure, versions: tuple[str, ...] = ("580.178.04", "595.91.07")) -> DriverPlan:
    """A machine with modules of 580.178.04 that did not compile, and what NVIDIA's repository has."""
    origin = "developer.download.nvidia.com/compute/cuda/repos/ubuntu2404"
    name = "nvidia-dkms-580-open"
    offers = tuple(Offer("nvidia-driver-cuda", f"{one}-1ubuntu1", origin) for one in versions)
    software = Software(
        answered=frozenset({"dkms", "packages", "offers", "loaded_modules", "on_disk"}),
        packages=(
            Package(name, "580.178.04-1ubuntu1", "half", origin),
            Package("nvidia-driver-cuda", "580.178.04-1ubuntu1", origin=origin),
        ),
        offers=offers,
        repositories=(Repository(f"https://{origin}/x86_64", "/"),),
        dkms=(DkmsModule("nvidia", "580.178.04", "added"),),
        kernels=("7.4.0-3-custom",),
        failures=failures,
    )  # fmt: skip
    machine = Hardware(
        os_id="ubuntu", os_version="24.04", kernel="7.4.0-3-custom", gpu_count=1, gpus=(GPU,), software=software
    )
    return plan_driver(machine)


_FAILED = Failure(
    "dkms_build_failed",
    "nvidia/nv-mmap.c:327:5: error: implicit declaration of function 'f'",
    ("nvidia/580.178.04", "7.4.0-3-custom"),
)


def test_modules_that_did_not_compile_are_not_compiled_once_more():
    """Whatever the catalogue knows of that kernel: the compiler's word is enough for another branch."""
    plan = _planned(_FAILED)
    assert (plan.driver.branch, plan.driver.modules, plan.driver.source) == (595, "open", "nvidia")


@pytest.mark.parametrize("cause", ["compiler_differs", "headers_missing", "no_space"])
def test_build_that_failed_for_another_cause_says_nothing_of_its_source(cause):
    """The same modules compile once the cause is gone."""
    assert _planned(_FAILED, Failure(cause, "…")).driver.branch == 580


def _container(os_id: str, version: str, userland: str | None, *offers: Offer) -> DriverPlan:
    """A container on a host with 580.105.08."""
    software = Software(
        answered=frozenset({"offers", "packages"}), is_partial=frozenset({"offers"}), offers=offers,
        loaded=KernelModule("580.105.08", "open"), userland_version=userland, virtualization="lxc",
    )  # fmt: skip
    return plan_driver(
        Hardware(os_id=os_id, os_version=version, kernel="6.14.11-4-pve", gpu_count=1, gpus=(GPU,),
                 software=software)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("os_id", "version", "offered", "expected"),
    [
        ("ubuntu", "24.04", "libnvidia-compute-580-server", "libnvidia-compute-580-server=580.105.08*"),
        ("ubuntu", "24.04", "nvidia-utils-580", "libnvidia-compute-580=580.105.08*"),
        ("debian", "13", "libcuda1", "libcuda1=580.105.08*"),
        ("rocky", "9.6", "nvidia-driver-cuda-libs", "nvidia-driver-cuda-libs-580.105.08"),
    ],
)
def test_container_takes_the_hosts_version_where_it_is_offered(os_id, version, offered, expected):
    """In the package that has it; where another version alone is there, nothing can be installed."""
    plan = _container(os_id, version, "580.95.05", Offer(offered, "3:580.105.08-1", "x"))
    assert ("install", expected) == (plan.verdict, plan.driver.packages[0])
    assert _container(os_id, version, "580.95.05", Offer(offered, "580.126.09-1", "x")).verdict == "refuse"
    bare = _container(os_id, version, None, Offer(offered, "580.126.09-1", "x"))
    assert bare.refused == ("libraries_not_offered",)


def test_two_keys_of_one_repository():
    """Of any kind of file; one that is switched off, or of another suite, is no other."""
    url = "https://developer.download.nvidia.com/compute/cuda/repos/ubuntu2404/x86_64"
    own = Repository(f"{url}/", "/", file="/etc/apt/sources.list.d/cuda.list", signed_by="/usr/share/keyrings/k.gpg")
    other = Repository(url, "/", file="/etc/apt/sources.list.d/nvidia.sources", signed_by="a key")

    def codes(*repositories: Repository) -> tuple[str, ...]:
        software = Software(repositories=repositories)
        machine = Hardware(os_id="ubuntu", os_version="24.04", gpu_count=1, gpus=(GPU,), software=software)
        return plan_driver(machine).refused

    assert codes(own, other) == ("sources_unreadable",)
    assert codes(own, Repository(url, "/", file=other.file, is_enabled=False)) == ()
    assert codes(own, Repository(url, "/", file=other.file, signed_by=own.signed_by)) == ()


@pytest.mark.parametrize(("priority", "host", "is_barred"), [
    ("-1", "http://mirror.example/ubuntu noble-updates/restricted amd64", True),
    ("-10", "http://mirror.example/ubuntu noble-updates/restricted amd64", True),
    ("500", "http://mirror.example/ubuntu noble-updates/restricted amd64", False),
    ("-1", "https://developer.download.nvidia.com/compute/cuda/repos/ubuntu2404/x86_64 ", False),
])  # fmt: skip
def test_package_that_preferences_keep_away(priority, host, is_barred):
    """NVIDIA's are kept away by a deploy that takes the distribution's."""
    text = (
        "nvidia-utils-580-server:\n  Installed: (none)\n  Candidate: (none)\n  Version table:\n"
        f"     580.126.09-0ubuntu0.24.04.1 {priority}\n        500 {host} Packages\n"
    )
    software = read_files({"apt-policy.txt": text}).software
    assert software.barred == (("nvidia-utils-580-server",) if is_barred else ())


def test_driver_of_two_repositories_that_works_stays():
    """A PPA beside the distribution is said where nothing works alone."""
    packages = (
        Package("libnvidia-compute-580", "580.142-0ubuntu0~gpu1", origin="ppa.example/graphics-drivers/ppa"),
        Package("linux-modules-nvidia-580-open-6.8.0-94-generic", "6.8.0-94.96", origin="Ubuntu"),
    )
    loaded = KernelModule("580.142", "open")
    for gpu, running, verdict in ((replace(GPU, state="ok"), loaded, "ok"), (GPU, None, "refuse")):
        software = Software(answered=frozenset({"packages"}), packages=packages, loaded=running)
        machine = Hardware(
            os_id="ubuntu", os_version="24.04", kernel="6.8.0-94-generic", gpu_count=1, gpus=(gpu,), software=software
        )
        assert plan_driver(machine).verdict == verdict


_ASKS = "Error! Your kernel headers for kernel {0} cannot be found at /lib/modules/{0}/build.\n"


@pytest.mark.parametrize(
    ("os_id", "kernel", "offered", "verdict", "headers"),
    [
        ("debian", "6.17.2-1-pve", None, "install", "proxmox-headers-6.17.2-1-pve"),
        ("debian", "6.17.2-1-pve", "proxmox-headers-6.17.2-1-pve", "install", "proxmox-headers-6.17.2-1-pve"),
        ("debian", "6.17.2-1-pve", "proxmox-headers-6.17.4-1-pve", "refuse", ""),
        ("debian", "6.12.57+deb13-amd64", "linux-headers-6.12.63+deb13-amd64", "refuse", ""),
    ],
)
def test_headers_that_dkms_asks_for_come_where_they_can_be_had(os_id, kernel, offered, verdict, headers):
    """Its sentence says that they are not here; only the repositories say that there are none."""
    (failure,) = read_files({"install.log": _ASKS.format(kernel)}).software.failures
    software = Software(
        answered=frozenset({"offers", "packages", "loaded_modules"} if offered else {"packages", "loaded_modules"}),
        packages=(Package("base-files"), Package("dpkg")),
        offers=(Offer(offered, "1"),) if offered else (),
        failures=(failure,),
    )
    machine = Hardware(os_id=os_id, os_version="13", kernel=kernel, gpu_count=1, gpus=(GPU,), software=software)
    plan = plan_driver(machine)
    said = " ".join(one.do for one in plan.problems if one.code == "headers_missing")
    assert plan.verdict == verdict
    assert (f"install {headers}" if headers else "upgrade the kernel") in said
