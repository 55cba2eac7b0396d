"""The packages of the tests' repositories on a rig with the lab's simulated driver: both follow one contract."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .driver_repository import NEWEST, DriverRepositories

pytestmark = [pytest.mark.lab, pytest.mark.nvidia]

INSTALL = "DEBIAN_FRONTEND=noninteractive apt-get -qq --no-install-recommends -o Dpkg::Use-Pty=0 -y install"
DRIVER = "nvidia-driver-cuda nvidia-kernel-open-dkms nvidia-persistenced"


def cuda(workshop, rig: str) -> tuple[int, int]:
    """The code of cuInit, and how many devices there are."""
    said = workshop.on(rig, "cuda-probe", check=False)
    return int(said.split()[2]), said.count("\n0000:")


@pytest.fixture(scope="module")
def rig(workshop, driver_repositories: DriverRepositories) -> Iterator[str]:
    """Two RTX 3090 with driver 580 installed over nouveau, not yet rebooted."""
    name = workshop.boot("meets", hardware="2x-rtx3090", driver="simulated")
    offer = driver_repositories.offer("meets", [NEWEST[580], NEWEST[595]], systems=["debian13"])
    with driver_repositories.serve(workshop.host_address) as address:
        workshop.on(name, driver_repositories.use_distribution(address, "trixie", alone=True))
        workshop.on(name, offer.use(address, "debian13") + "apt-get -qq update")
        workshop.on(name, f"{INSTALL} nvidia-driver-pinning-580 linux-headers-$(uname -r) gcc libc6-dev dkms")
        workshop.on(name, f"{INSTALL} {DRIVER} cuda-probe")
        yield name
    workshop.lab.down([name])


def test_driver_and_cuda_agree_at_each_step(workshop, rig: str) -> None:
    """Nouveau, no device, no device file, all well, another version."""
    assert workshop.on(rig, "modprobe nvidia 2>&1", check=False).endswith("could not insert 'nvidia': No such device")
    assert cuda(workshop, rig) == (100, 0)
    workshop.on(rig, "echo blacklist nouveau >/etc/modprobe.d/nouveau.conf")
    workshop.lab.reboot(rig)
    assert cuda(workshop, rig) == (999, 0)
    assert workshop.on(rig, "systemctl is-active nvidia-persistenced", check=False) == "failed"
    workshop.on(rig, "nvidia-modprobe -c 0 -c 1 -u; systemctl restart nvidia-persistenced")
    assert cuda(workshop, rig) == (0, 2)
    assert NEWEST[580] in workshop.on(rig, "nvidia-smi; modinfo -F version nvidia")
    workshop.on(rig, f"{INSTALL} --allow-downgrades nvidia-driver-pinning-595")
    workshop.on(rig, f"{INSTALL} {DRIVER}")
    assert cuda(workshop, rig) == (803, 0)
    assert "Driver/library version mismatch" in workshop.on(rig, "nvidia-smi", check=False)
    workshop.on(rig, "rmmod nvidia_uvm nvidia_modeset nvidia; nvidia-modprobe -c 0 -c 1 -u")
    assert cuda(workshop, rig) == (0, 2)
    workshop.lab.fault(rig, "gpu-lost")
    assert cuda(workshop, rig) == (0, 1)
    workshop.lab.fault(rig, "clear")
