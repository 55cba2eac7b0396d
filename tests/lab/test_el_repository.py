"""The repositories for RHEL and what is built on it: a real dnf takes them, its streams and locks hold a branch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from rigwright.hardware import collection
from rigwright.hardware.capture import read_files
from rigwright.plan.driver import plan_driver

from .driver_repository import NEWEST, DriverRepositories
from .el_repository import ElOffer, ElRepositories

pytestmark = [pytest.mark.lab, pytest.mark.nvidia]

PACKAGES = "nvidia-driver-cuda kmod-nvidia-open-dkms"


class Served(NamedTuple):
    """The repositories, two branches of the driver, and where rigs find them."""

    el: ElRepositories
    address: str
    offer: ElOffer


@pytest.fixture(scope="module")
def served(workshop, driver_repositories: DriverRepositories, el_repositories: ElRepositories) -> Iterator[Served]:
    """An offer of 580 and 595."""
    offer = el_repositories.offer("el", [NEWEST[580], NEWEST[595]])
    with driver_repositories.serve(workshop.host_address) as address:
        yield Served(el_repositories, address, offer)


@pytest.fixture
def rocky(workshop, served: Served, request: pytest.FixtureRequest) -> Iterator[str]:
    """A rig that passes for Rocky Linux 9 or 10, with two GPUs and no driver."""
    major = request.param
    rig = workshop.boot(f"el{major}", from_snapshot=served.el.snapshot, hardware="2x-rtx3090", driver="simulated")
    workshop.on(rig, served.el.become(served.address, major) + served.offer.use(served.address, major))
    yield rig
    workshop.lab.down([rig])


@pytest.mark.parametrize("rocky", [9], indirect=True)
def test_stream_holds_a_branch(workshop, rocky: str) -> None:
    """What is of no enabled stream is filtered out; that of 580 has no other version."""
    said = workshop.on(rocky, f"dnf --assumeno install {PACKAGES} 2>&1", check=False)
    assert "filtered out by modular filtering" in said
    workshop.on(rocky, "dnf -q -y module enable nvidia-driver:580-open")
    assert "Operation aborted" in workshop.on(rocky, f"dnf --assumeno install {PACKAGES} 2>&1", check=False)
    rows = workshop.on(rocky, "dnf -q list --showduplicates 'nvidia-driver*' 'kmod-nvidia*'").splitlines()
    assert {row.split()[1] for row in rows if "x86_64" in row} == {f"3:{NEWEST[580]}-1.el9"}
    workshop.on(rocky, f"dnf -q -y install {PACKAGES} nvidia-persistenced cuda-probe")
    kernel = workshop.on(rocky, "uname -r")
    assert workshop.on(rocky, "dkms status") == f"nvidia-open/{NEWEST[580]}, {kernel}, x86_64: installed"
    workshop.lab.reboot(rocky)
    assert workshop.on(rocky, "nvidia-modprobe -c0 -u; cuda-probe").startswith(
        "cuInit(0) = 0\nversion 13000, 2 devices"
    )
    workshop.on(rocky, "dnf -q -y module reset nvidia-driver; dnf -q -y module enable nvidia-driver:595-open")
    workshop.on(rocky, "dnf -q -y upgrade")
    assert workshop.on(rocky, "cuda-probe", check=False) == "cuInit(0) = 803"
    assert workshop.on(rocky, "dkms status") == f"nvidia-open/{NEWEST[595]}, {kernel}, x86_64: installed"


@pytest.mark.parametrize("rocky", [10], indirect=True)
def test_lock_holds_a_branch(workshop, served: Served, rocky: str) -> None:
    """Without streams the newest comes, or what a lock leaves; what another key signed does not."""
    said = workshop.on(rocky, f"dnf --assumeno install {PACKAGES} 2>&1", check=False)
    assert f"3:{NEWEST[595]}-1.el10" in said
    workshop.on(rocky, "dnf -q -y install python3-dnf-plugin-versionlock && dnf -q versionlock add '*nvidia*580*'")
    workshop.on(rocky, f"dnf -q -y install {PACKAGES}")
    assert f"nvidia-open/{NEWEST[580]}, " in workshop.on(rocky, "dkms status")
    foreign = served.el.offer("foreign", [NEWEST[595]], majors=[10], is_foreign=True)
    workshop.on(rocky, "rpm -e gpg-pubkey; dnf -q versionlock clear")
    said = workshop.on(rocky, f"{foreign.use(served.address, 10)}dnf -y upgrade 2>&1", check=False)
    assert "Public key for" in said and "is not installed" in said
    assert f"nvidia-open/{NEWEST[580]}, " in workshop.on(rocky, "dkms status")


@pytest.mark.parametrize("rocky", [9, 10], indirect=True)
def test_driver_is_planned_of_what_dnf_offers(workshop, rocky: str) -> None:
    """The rig passes for Rocky Linux to our own eyes too."""
    workshop.on(rocky, "dnf -q makecache")
    script = collection.script(everything=True, with_software=True)
    hardware = read_files(collection.read(workshop.on(rocky, script).splitlines()))
    assert hardware.os_id == "rocky" and hardware.os_version in ("9.7", "10.1")
    plan = plan_driver(hardware)
    assert (plan.verdict, plan.driver.branch, plan.driver.source) == ("install", 580, "nvidia"), plan
    assert "kmod-nvidia-open-dkms" in plan.driver.packages
