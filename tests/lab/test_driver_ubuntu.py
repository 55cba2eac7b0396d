"""A deploy of the driver from branch to branch where names have the branch in them: what passes for Ubuntu 24.04."""

from __future__ import annotations

import os

import pytest

from . import test_driver_deploy as driver
from .driver_repository import NEWEST

pytestmark = [
    pytest.mark.lab,
    pytest.mark.nvidia,
    pytest.mark.skipif(os.geteuid() != 0, reason="virtual rigs need root"),
]
shop = driver.shop


@pytest.mark.parametrize(
    ("steps", "held"),
    [
        # NVIDIA's names lose the branch at 590, and have it again on the way back.
        ([("nvidia", 580), ("nvidia", 590), ("nvidia", 580)], ("nvidia-dkms-580-open", "nvidia-dkms-open")),
        # Canonical's always have it; and from the one source to the other.
        (
            [("distro", 580), ("distro", 595), ("nvidia", 595)],
            ("nvidia-dkms-580-server-open", "nvidia-dkms-595-server-open"),
        ),
    ],
    ids=["nvidia", "canonical"],
)
def test_branch_is_changed_with_its_names(
    shop: driver.Shop, steps: list[tuple[str, int]], held: tuple[str, str]
) -> None:
    """Packages of the other branch go in the same step; nothing of them stays, and removal gives all back."""
    workshop, repositories, name = shop.workshop, shop.repositories, "ubuntu"
    workshop.boot(name, from_snapshot=driver.SHELF)
    workshop.on(name, driver.UBUNTU + repositories.use_distribution(shop.address, "noble", alone=True))
    before = shop.on(name, driver.PACKAGES)
    offer = repositories.offer("ubuntu", [NEWEST[branch] for branch in (580, 590, 595)], systems=("ubuntu2404",))
    for number, (source, branch) in enumerate(steps):
        spec = shop.spec(offer, reboot="auto", source=source, branch=branch)
        done = shop.deploy(name, spec)
        assert done.code == 0 and "CUDA counts 2" in done.output, done.output
        assert shop.on(name, driver.VERSION) == NEWEST[branch], done.output
        there = shop.on(name, "dpkg-query -W | grep nvidia").splitlines()
        assert {line.split()[1].partition("-")[0] for line in there} == {NEWEST[branch]}, there
        if number < 2:
            assert held[number] in shop.on(name, "apt-mark showhold").split()
    assert shop.deploy(name, spec).changed == set()
    gone = workshop.deploy(spec, name, deploy="remove")
    assert gone.code == 0, gone.output
    assert shop.on(name, driver.PACKAGES) == before
    workshop.lab.down([name])
