"""A deploy of the driver where dnf rules: Rocky Linux 9 with its streams, 10 without, by a real dnf in the lab."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from .conftest import Workshop
from .driver_repository import NEWEST, DriverRepositories
from .el_repository import ElRepositories
from .test_driver_deploy import VERSION

pytestmark = [
    pytest.mark.lab,
    pytest.mark.nvidia,
    pytest.mark.skipif(os.geteuid() != 0, reason="virtual rigs need root"),
]
PACKAGES = (
    "rpm -qa | grep -v ^gpg-pubkey | sort; dnf -q versionlock list 2>/dev/null; dnf -q module list --enabled 2>&1"
)


@pytest.fixture(params=[9, 10])
def rocky(
    workshop: Workshop,
    driver_repositories: DriverRepositories,
    el_repositories: ElRepositories,
    request: pytest.FixtureRequest,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """A rig that passes for Rocky Linux with two cards that nouveau drives, and what its inventory says."""
    major = request.param
    offer = el_repositories.offer("deploy", [NEWEST[580], NEWEST[595]], majors=[major])
    with driver_repositories.serve(workshop.host_address) as address:
        name = workshop.boot(
            f"el{major}", from_snapshot=el_repositories.snapshot, hardware="2x-rtx3090", driver="simulated"
        )
        workshop.on(name, el_repositories.become(address, major))
        nvidia = {"repository": address + offer.path, "key": offer.fingerprint, "reboot": "auto"}
        yield name, {"services": [], "nvidia": nvidia}
        workshop.lab.down([name])


def test_bare_machine_computes_after_one_run(workshop: Workshop, rocky: tuple[str, dict[str, Any]]) -> None:
    """Repository by its key, branch, modules, locks, reboot, proof; a second run changes nothing; all is given back."""
    name, spec = rocky
    before = workshop.on(name, PACKAGES, check=False)
    first = workshop.deploy(spec, name, deploy="nvidia")
    assert first.code == 0, first.output
    assert workshop.on(name, VERSION) == NEWEST[580], first.output
    assert "CUDA counts 2" in first.output

    second = workshop.deploy(spec, name, deploy="nvidia")
    assert (second.code, second.changed) == (0, set()), second.output

    gone = workshop.deploy(spec, name, deploy="remove")
    assert gone.code == 0, gone.output
    assert workshop.on(name, PACKAGES, check=False) == before
