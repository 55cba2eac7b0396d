"""The repositories of drivers that other tests use: a real apt takes the good ones, and refuses the others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from .driver_repository import NEWEST, DriverRepositories, Offer, Signed

pytestmark = [pytest.mark.lab, pytest.mark.nvidia]

BRANCHES = (580, 590, 595)
UPDATE = "rm -rf /var/lib/apt/lists/*; apt-get -qq update 2>&1; echo rc=$?"
INSTALL = "DEBIAN_FRONTEND=noninteractive apt-get -qq --no-install-recommends -o Dpkg::Use-Pty=0 -y install"
BUILD = "linux-headers-$(uname -r) gcc libc6-dev dkms"
SYSTEMS = {"trixie": "debian13", "bookworm": "debian12"}


class Served(NamedTuple):
    """The repositories, and where rigs find them."""

    repositories: DriverRepositories
    address: str


@pytest.fixture(scope="module")
def served(workshop, driver_repositories: DriverRepositories) -> Iterator[Served]:
    """Two rigs that know no other server than this one."""
    for release in SYSTEMS:
        workshop.boot(release, os=release)
    with driver_repositories.serve(workshop.host_address) as address:
        for release in SYSTEMS:
            workshop.on(release, driver_repositories.use_distribution(address, release, alone=True))
        yield Served(driver_repositories, address)
    workshop.lab.down(list(SYSTEMS))


@pytest.fixture(scope="module")
def offer(workshop, served: Served) -> Offer:
    """Three branches, which both rigs may take."""
    offer = served.repositories.offer("three", [NEWEST[branch] for branch in BRANCHES])
    for release, system in SYSTEMS.items():
        workshop.on(release, offer.use(served.address, system) + UPDATE)
    return offer


@pytest.fixture
def blank(workshop, served: Served, offer: Offer) -> Iterator[str]:
    """A blank trixie that may take three branches."""
    name = workshop.boot("blank")
    ready = served.repositories.use_distribution(served.address, "trixie", alone=True)
    workshop.on(name, f"{ready}{offer.use(served.address, 'debian13')}{UPDATE}")
    yield name
    workshop.lab.down([name])


SAID = {
    (Signed.WELL, "trixie"): "rc=0",
    (Signed.WELL, "bookworm"): "rc=0",
    (Signed.WITH_A_SECOND_KEY, "trixie"): "rc=0",
    (Signed.BY_A_SECOND_KEY, "trixie"): "rc=0",
    (Signed.BY_A_STRANGER, "trixie"): "rc=0",
    # gpgv of Debian 12 has no date for SHA-1.
    (Signed.BY_SHA1, "bookworm"): "rc=0",
    (Signed.BY_SHA1, "trixie"): "SHA1 is not considered secure since 2026-02-01",
    (Signed.BY_ANOTHER, "trixie"): "Missing key",
    (Signed.BY_ANOTHER, "bookworm"): "NO_PUBKEY",
    (Signed.NOT, "trixie"): "is not signed",
    (Signed.NOT, "bookworm"): "is not signed",
}


@pytest.mark.parametrize(("signed", "release"), SAID, ids=lambda one: getattr(one, "name", one))
def test_repository_is_trusted_as_it_is_signed(workshop, served: Served, signed: Signed, release: str) -> None:
    """apt says so itself, in the words that owners read."""
    system = SYSTEMS[release]
    offer = served.repositories.offer("one", [NEWEST[580]], signed=signed, systems=[system])
    kept = "at=/etc/apt/sources.list.d; cp -a $at /run/kept; trap 'rm -r $at; mv /run/kept $at' EXIT\n"
    said = workshop.on(release, f"{kept}{offer.use(served.address, system)}set +e; {UPDATE}")
    assert SAID[signed, release] in said
    assert ("rc=0" in SAID[signed, release]) == said.endswith("rc=0")


def test_origins_are_those_of_the_real_ones(workshop, offer: Offer) -> None:
    """By origin and label apt is told whose packages to prefer."""
    said = workshop.on("trixie", "apt-cache policy")
    assert "/three/compute/cuda/repos/debian13/x86_64  Packages\n     release o=NVIDIA,l=NVIDIA CUDA,c=" in said
    assert "release o=Debian,a=trixie,n=trixie,l=Debian,c=non-free,b=amd64" in said


@pytest.mark.parametrize(("pinned", "gets"), [("", 595), ("580", 580), ("590", 590), ("595.91.07", 595)])
def test_pin_holds_a_branch(workshop, blank: str, pinned: str, gets: int) -> None:
    """Of what packages want of each other nothing holds a branch: without a pin the newest comes."""
    if pinned:
        workshop.on(blank, f"{INSTALL} nvidia-driver-pinning-{pinned}")
    said = workshop.on(blank, "apt-get -s install cuda-drivers-580 nvidia-driver-cuda | grep ^Inst")
    versions = {line.split("(")[1].split()[0] for line in said.splitlines() if "NVIDIA CUDA" in line}
    assert f"{NEWEST[gets]}-1" in versions
    # The package that is named has no newer version; what it wants has.
    assert versions <= {f"{NEWEST[gets]}-1", f"{NEWEST[580]}-1"}


def test_driver_is_compiled_as_it_comes(workshop, blank: str) -> None:
    """The files of the simulated driver's contract, and a daemon that came before its library was known."""
    workshop.on(blank, f"{INSTALL} nvidia-driver-pinning-580")
    workshop.on(blank, f"{INSTALL} {BUILD} nvidia-driver-cuda nvidia-kernel-open-dkms nvidia-persistenced")
    version = NEWEST[580]
    assert workshop.on(blank, "dkms status") == f"nvidia/{version}, {workshop.on(blank, 'uname -r')}, x86_64: installed"
    module = workshop.on(blank, "cat /lib/modules/$(uname -r)/updates/dkms/nvidia.ko").splitlines()
    assert module[:2] == [f"version: {version}", "license: Dual MIT/GPL"]
    library = workshop.on(blank, "readlink -f $(ldconfig -p | sed -n 's/.*libcuda.so.1 .*=> //p')")
    assert library.endswith(f"/libcuda.so.{version}")
    failed = workshop.on(blank, "systemctl --failed --plain --no-legend; journalctl -qu nvidia-persistenced")
    assert "nvidia-persistenced.service" in failed and "Failed to open libnvidia-cfg.so.1" in failed
    workshop.on(blank, "apt-get -qq -y purge nvidia-kernel-open-dkms")
    assert workshop.on(blank, "dkms status; ls /lib/modules/*/updates 2>/dev/null", check=False) == ""


def test_module_without_headers_is_added_alone(workshop, blank: str) -> None:
    """apt is content, and there is no driver."""
    workshop.on(blank, f"{INSTALL} dkms gcc nvidia-kernel-open-dkms=595*")
    assert workshop.on(blank, "dkms status") == f"nvidia/{NEWEST[595]}: added"


def test_branch_is_changed_by_its_pin(workshop, blank: str) -> None:
    """Back too, where downgrades are allowed; the module of the other branch goes."""
    both = f"{BUILD} nvidia-driver-cuda nvidia-kernel-open-dkms"
    for branch in (595, 580):
        workshop.on(blank, f"{INSTALL} --allow-downgrades nvidia-driver-pinning-{branch}")
        workshop.on(blank, f"{INSTALL} --allow-downgrades {both}")
        held = workshop.on(blank, "ls /etc/apt/preferences.d; dkms status; ls /usr/lib/x86_64-linux-gnu/libcuda.so.*")
        assert f"nvidia-driver-pinning-{branch}\nnvidia/{NEWEST[branch]}, " in held
        assert held.endswith(f"libcuda.so.1\n/usr/lib/x86_64-linux-gnu/libcuda.so.{NEWEST[branch]}")


def test_open_modules_of_debian_do_not_compile(workshop, blank: str) -> None:
    """apt ends with an error and a package that is half configured, as on Debian 13; the closed ones compile."""
    workshop.on(blank, "rm /etc/apt/sources.list.d/cuda.list; apt-get -qq update")
    said = workshop.on(blank, f"{INSTALL} {BUILD} nvidia-open-kernel-dkms 2>&1; echo rc=$?")
    assert "returned error exit status 10" in said and said.endswith("rc=100")
    assert "nvidia-open-kernel-dkms" in workshop.on(blank, "dpkg --audit")
    log = workshop.on(blank, "cat /var/lib/dkms/nvidia-current-open/550.163.01/build/make.log")
    assert "nv-pci.c:237:9: error: too few arguments to function" in log
    workshop.on(blank, "dpkg --purge --force-depends nvidia-open-kernel-dkms; dpkg --configure -a")
    workshop.on(blank, f"{INSTALL} nvidia-kernel-dkms nvidia-smi libcuda1 nvidia-persistenced")
    assert workshop.on(blank, "dkms status").startswith("nvidia-current/550.163.01, ")
    assert workshop.on(blank, "ls /lib/modules/*/updates/dkms/nvidia-current.ko; dpkg --audit")


def test_debian_12_has_no_dkms_for_nvidias_modules(workshop, offer: Offer) -> None:
    """They want 3.1.8; Debian's own open ones want a firmware that is gone."""
    for name in ("nvidia-kernel-open-dkms", "nvidia-open-kernel-dkms"):
        said = workshop.on("bookworm", f"apt-get -s install {name} 2>&1; echo rc=$?")
        assert "unmet dependencies" in said and said.endswith("rc=100")


def test_names_have_no_branch_from_590_on(workshop, blank: str, served: Served, offer: Offer) -> None:
    """NVIDIA's repository for Ubuntu, by a real apt: the new names take the place of the old ones."""
    workshop.on(blank, offer.use(served.address, "ubuntu2404") + UPDATE)
    old = "libnvidia-compute-580 nvidia-utils-580 nvidia-dkms-580-open"
    workshop.on(blank, f"{INSTALL} nvidia-driver-pinning-580 && {INSTALL} {BUILD} {old}")
    assert f"nvidia/{NEWEST[580]}, " in workshop.on(blank, "dkms status")
    workshop.on(blank, f"{INSTALL} nvidia-driver-pinning-590")
    said = workshop.on(blank, f"{INSTALL} nvidia-dkms-590-open 2>&1", check=False)
    assert "Unable to locate package nvidia-dkms-590-open" in said
    workshop.on(blank, f"{INSTALL} nvidia-headless-no-dkms-open nvidia-dkms-open nvidia-utils")
    assert f"nvidia/{NEWEST[590]}, " in workshop.on(blank, "dkms status")
    assert workshop.on(blank, "dpkg-query -W | grep 580 | grep -v pinning", check=False) == ""


def test_canonicals_branch_jumps_where_it_ended(workshop, blank: str, served: Served) -> None:
    """A name that asks for 590 brings 595: only what is installed tells the branch."""
    ready = served.repositories.use_distribution(served.address, "noble", alone=True)
    workshop.on(blank, f"{ready}{UPDATE}")
    workshop.on(blank, f"{INSTALL} nvidia-headless-no-dkms-590-server-open")
    library = workshop.on(blank, "readlink -f /usr/lib/x86_64-linux-gnu/libcuda.so.1")
    assert library.endswith(f"libcuda.so.{NEWEST[595]}")
    assert "release o=Ubuntu,a=noble,n=noble,l=Ubuntu,c=restricted" in workshop.on(blank, "apt-cache policy")
