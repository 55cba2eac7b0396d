"""A deploy of the driver, over SSH: from a bare machine to one whose GPUs compute, on rigs with a simulated driver.

Packages come from repositories of NVIDIA's layout, by a real apt.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from .conftest import LAB_NAME, Outcome, Workshop
from .driver_repository import NEWEST, DriverRepositories, Offer

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="virtual rigs need root"),
]
VERSION = "sed -n 's/.*Module for x86_64  *\\([0-9.]*\\) .*/\\1/p' /proc/driver/nvidia/version 2>/dev/null"
PACKAGES = "dpkg-query -W -f='${db:Status-Abbrev} ${Package}\\n' | sort; apt-mark showhold"


SHELF = f"{LAB_NAME}-shelf"


class Shop:
    """Repositories on this machine, and rigs that buy there."""

    def __init__(self, workshop: Workshop, repositories: DriverRepositories, address: str) -> None:
        self.workshop, self.repositories, self.address = workshop, repositories, address

    def offer(self, name: str, *branches: int, **options: Any) -> Offer:
        return self.repositories.offer(name, [NEWEST[branch] for branch in branches], systems=("debian13",), **options)

    def spec(self, offer: Offer, **nvidia: Any) -> dict[str, Any]:
        where = {"repository": self.address + offer.path, "key": offer.fingerprint}
        return {"services": [], "nvidia": where | nvidia}

    def boot(self, name: str) -> str:
        """A machine with two cards that nouveau drives."""
        self.workshop.boot(name, from_snapshot=SHELF)
        self.workshop.on(name, self.repositories.use_distribution(self.address, "trixie", alone=True))
        return name

    def deploy(self, name: str, spec: dict[str, Any], **options: Any) -> Outcome:
        return self.workshop.deploy(spec, name, deploy="nvidia", **options)

    def on(self, name: str, script: str) -> str:
        return self.workshop.on(name, script, check=False)


@pytest.fixture(scope="module")
def shop(workshop: Workshop, driver_repositories: DriverRepositories) -> Iterator[Shop]:
    """Rigs start from one disk: with python3 for CUDA's sake, which the small distribution lacks."""
    name = workshop.boot("shelf", hardware="2x-rtx3090", driver="simulated")
    workshop.on(name, "apt-get -qq update && apt-get -qq -y --no-install-recommends install python3 >/dev/null 2>&1")
    if workshop.lab.has_snapshot(SHELF):
        workshop.lab.forget_snapshot(SHELF)
    workshop.lab.snapshot(name, SHELF)
    with driver_repositories.serve(workshop.host_address) as address:
        yield Shop(workshop, driver_repositories, address)
    workshop.lab.down([name])
    workshop.lab.forget_snapshot(SHELF)


def test_bare_machine_computes_after_one_run(shop: Shop) -> None:
    """Repository, pin, modules, reboot, proof; a second run changes nothing; removal gives all back."""
    name = shop.boot("bare")
    offer = shop.offer("three", 580, 590, 595)
    spec = shop.spec(offer, reboot="auto")
    before = shop.on(name, PACKAGES)

    dry = shop.deploy(name, spec, arguments=("--dry",))
    assert dry.code == 0 and "580" in dry.output, dry.output
    assert shop.on(name, PACKAGES) == before

    first = shop.deploy(name, spec)
    assert first.code == 0, first.output
    assert shop.on(name, VERSION) == NEWEST[580], first.output
    assert "CUDA counts 2" in first.output

    second = shop.deploy(name, spec)
    assert (second.code, second.changed) == (0, set()), second.output

    gone = shop.workshop.deploy(spec, name, deploy="remove")
    assert gone.code == 0, gone.output
    assert shop.on(name, PACKAGES) == before
    shop.workshop.lab.down([name])
