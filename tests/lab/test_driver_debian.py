"""Debian's own driver on real rigs: its packages, its dkms, its kernel's headers; installed, kept, given back.

The long form, `make lab-nvidia`: it fetches some 200 MB for each release and compiles NVIDIA's modules, minutes on two
cores.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import Outcome, Workshop

pytestmark = [
    pytest.mark.nvidia,
    pytest.mark.skipif(os.geteuid() != 0, reason="virtual rigs need root"),
]
BARE = Path(__file__).parents[1] / "unit/data/machines/bare-3090"
APT = "export DEBIAN_FRONTEND=noninteractive; apt-get -qq -y --no-install-recommends install"
# NVIDIA's repository is not asked, as no rig of a lab can reach it.
SPEC: dict[str, Any] = {"services": [], "nvidia": {"source": "distro"}}
VERSIONS = {"trixie": "550.163.01", "bookworm": "535.309.01"}
# The account of nvidia-persistenced stays, as Debian's packages leave theirs.
_PACKAGES = (
    "dpkg-query -W -f='${db:Status-Abbrev} ${Package}\\n' | sort; apt-mark showhold;"
    " { getent passwd; getent group; } | grep -v ^nvpd"
)
_FILES = (
    "find /etc /usr/lib/modules /boot /opt /var/lib/rigwright -newer /root/before ! -type d ! -name '*.cache'"
    " ! -name 'initrd.img*' ! -name 'ld.so*' ! -name '*-' ! -name 'modules.*'"
    " ! -name passwd ! -name group ! -name '*shadow'"
    " 2>/dev/null | sort"
)


@pytest.fixture(params=["trixie", "bookworm"], scope="module")
def owned(workshop: Workshop, request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """A rig with a card that nothing drives, and a kernel of the distribution for the next boot; and its release."""
    name = workshop.boot(f"nv-{request.param[:4]}", os=request.param, hardware=str(BARE), disk_bytes=12 << 30)
    workshop.on(name, f"apt-get -qq update; {APT} linux-image-amd64 >/dev/null 2>&1; touch /root/before; sleep 1")
    yield name, request.param
    workshop.lab.down([name])


def deploy(workshop: Workshop, name: str, spec: dict[str, Any] = SPEC, **options: Any) -> Outcome:
    return workshop.deploy(spec, name, deploy="nvidia", **options)


def test_debians_driver_comes_is_kept_and_goes(workshop: Workshop, owned: tuple[str, str]) -> None:
    """Packages, modules for the kernel that boots next, holds; a second run changes nothing; removal gives all back."""
    name, release = owned
    before = workshop.on(name, _PACKAGES)

    dry = deploy(workshop, name, arguments=("--dry",))
    assert dry.code == 0 and "nvidia-kernel-dkms" in dry.output and "fetches" in dry.output, dry.output
    assert workshop.on(name, _PACKAGES) == before
    assert workshop.on(name, _FILES) == ""

    first = deploy(workshop, name)
    assert first.code == 0, first.output
    assert f"driver {VERSIONS[release]} is installed" in first.output
    assert "a reboot is needed" in first.output
    status = workshop.on(name, "dkms status")
    assert status.startswith(f"nvidia-current/{VERSIONS[release]}, ") and status.endswith(": installed"), status
    held = workshop.on(name, "apt-mark showhold").split()
    assert {"libcuda1", "nvidia-kernel-dkms", "nvidia-smi"} <= set(held)
    assert workshop.on(name, "systemctl is-system-running", check=False) == "running"

    second = deploy(workshop, name)
    assert (second.code, second.changed) == (0, set()), second.output

    gone = workshop.deploy(SPEC, name, deploy="remove")
    assert gone.code == 0, gone.output
    assert workshop.on(name, _PACKAGES) == before
    assert workshop.on(name, _FILES) == ""
    again = workshop.deploy(SPEC, name, deploy="remove")
    assert (again.code, again.changed) == (0, set())


def test_broken_open_modules_are_mended(workshop: Workshop, owned: tuple[str, str]) -> None:
    """Debian's open modules do not compile and leave apt half-way: the plan says so, and the deploy gets out of it."""
    name, release = owned
    if release == "bookworm":
        pytest.skip("there they cannot even be installed")
    workshop.on(name, f"{APT} linux-headers-amd64 gcc libc6-dev nvidia-open-kernel-dkms >/dev/null 2>&1", check=False)
    assert workshop.on(name, "dpkg --audit") != ""

    outcome = deploy(workshop, name)
    assert outcome.code == 0, outcome.output
    assert "taking out what does not compile: nvidia-open-kernel-dkms" in outcome.output
    assert "pci_resize_resource" in outcome.output
    assert workshop.on(name, "dpkg --audit") == ""
    assert workshop.on(name, "dkms status").endswith(": installed")
    assert deploy(workshop, name).changed == set()
