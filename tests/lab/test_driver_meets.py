"""The packages of the tests' repositories on a rig with the lab's simulated driver: both follow one contract."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from .driver_repository import NEWEST, DriverRepositories

pytestmark = pytest.mark.lab

INSTALL = "DEBIAN_FRONTEND=noninteractive apt-get -qq --no-install-recommends -o Dpkg::Use-Pty=0 -y install"
DRIVER = "nvidia-driver-cuda nvidia-kernel-open-dkms nvidia-persistenced"
# The codes of cuInit and cuDeviceGetCount, and the count. A bare rig's Python has no ctypes.
PROBE = r"""
#include <dlfcn.h>
#include <stdio.h>
int main(void)
{
    void *cuda = dlopen("libcuda.so.1", RTLD_NOW);
    int count = 0, (*init)(unsigned) = dlsym(cuda, "cuInit"), (*get)(int *) = dlsym(cuda, "cuDeviceGetCount");
    int code = init(0), counted = get(&count);
    return printf("%d %d %d\n", code, counted, count) < 0;
}
"""
CUDA = "/usr/local/bin/cuda-probe"


@pytest.fixture(scope="module")
def rig(workshop, driver_repositories: DriverRepositories) -> Iterator[str]:
    """Two RTX 3090 with driver 580 installed over nouveau, not yet rebooted."""
    name = workshop.boot("meets", hardware="2x-rtx3090", driver="simulated")
    offer = driver_repositories.offer("meets", [NEWEST[580], NEWEST[595]], systems=["debian13"])
    with driver_repositories.serve(workshop.host_address) as address:
        workshop.on(name, driver_repositories.use_distribution(address, "trixie", alone=True))
        workshop.on(name, offer.use(address, "debian13") + "apt-get -qq update")
        workshop.on(name, f"{INSTALL} nvidia-driver-pinning-580 linux-headers-$(uname -r) gcc libc6-dev dkms")
        workshop.on(name, f"{INSTALL} {DRIVER}")
        target = workshop.lab.paths.rig(name).root / CUDA.lstrip("/")
        subprocess.run(["gcc", "-xc", "-", "-o", str(target)], input=PROBE, text=True, check=True)
        yield name
    workshop.lab.down([name])


def test_driver_and_cuda_agree_at_each_step(workshop, rig: str) -> None:
    """Nouveau, no device, no device file, all well, another version."""
    assert workshop.on(rig, "modprobe nvidia 2>&1", check=False).endswith("could not insert 'nvidia': No such device")
    assert workshop.on(rig, CUDA) == "100 3 0"
    workshop.on(rig, "echo blacklist nouveau >/etc/modprobe.d/nouveau.conf")
    workshop.lab.reboot(rig)
    assert workshop.on(rig, CUDA) == "999 3 0"
    assert workshop.on(rig, "systemctl is-active nvidia-persistenced", check=False) == "failed"
    workshop.on(rig, "nvidia-modprobe -c 0 -c 1 -u; systemctl restart nvidia-persistenced")
    assert workshop.on(rig, CUDA) == "0 0 2"
    assert NEWEST[580] in workshop.on(rig, "nvidia-smi; modinfo -F version nvidia")
    workshop.on(rig, f"{INSTALL} --allow-downgrades nvidia-driver-pinning-595")
    workshop.on(rig, f"{INSTALL} {DRIVER}")
    assert workshop.on(rig, CUDA) == "803 3 0"
    assert "Driver/library version mismatch" in workshop.on(rig, "nvidia-smi", check=False)
    workshop.on(rig, "rmmod nvidia_uvm nvidia_modeset nvidia; nvidia-modprobe -c 0 -c 1 -u")
    assert workshop.on(rig, CUDA) == "0 0 2"
    workshop.lab.fault(rig, "gpu-lost")
    assert workshop.on(rig, CUDA) == "0 0 1"
    workshop.lab.fault(rig, "clear")
