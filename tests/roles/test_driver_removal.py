"""Removal takes the driver that came with us: packages, holds, files, and what the next boot loads by."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from rigwright.resources import script
from rigwright.roles.base.account import COMMENT
from rigwright.roles.base.removal import REMOVAL

from .apt_box import said
from .driver_box import KERNEL, DriverBox
from .test_driver_running import KEPT
from .test_driver_scripts import NAMES, NEW, OLD, WANTED, of
from .test_driver_sources import FILE, PREFERENCES

pytestmark = [
    pytest.mark.patience,
    pytest.mark.skipif(shutil.which("apt-get") is None, reason="apt is missing"),
]
STATE = "/var/lib/rigwright"
_FILES = (
    FILE,
    "etc/apt/preferences.d/rigwright-nvidia",
    "etc/apt/sources.list.d/rigwright-components.list",
    "etc/apt/sources.list.d/rigwright-components.sources",
)
_DNF = ("etc/yum.repos.d/rigwright-nvidia.repo", "etc/pki/rpm-gpg/rigwright-nvidia")


@pytest.fixture
def box(tmp_path: Path) -> DriverBox:
    """A rig to which a driver came, with packages and holds of its owner."""
    box = DriverBox.made(tmp_path / "box")
    for name in ("base", "mine", "linux-headers"):
        box.offer(name)
    box.offer_driver(NEW)
    box.apt("update")
    box.apt("install", "base", "mine")
    box.run("apt-mark hold mine")
    return box


def remove(box: DriverBox, packages: str = "yes") -> subprocess.CompletedProcess[str]:
    """What `deploys/remove.py` runs."""
    given = {"STATE": STATE, "CONFIG": "/etc/rigwright", "RECORD": f"{STATE}/packages.installed", "ASKED": ""}
    given |= {
        "BROUGHT": f"{STATE}/weights.brought",
        "BUILDER": "rw-nobody",
        "COMMENT": COMMENT,
        "OWNERS": "a",
        "DRAINS": "",
    }
    names = (
        "manager.sh",
        "apt.sh",
        *REMOVAL,
    )
    done = box.run(script("base", *names, WEIGHTS="", PACKAGES=packages, **given))
    assert done.stderr == ""
    return done


def files(box: DriverBox) -> set[str]:
    """What of ours lies there."""
    places = [box.home / place for place in ("etc", "var/lib", "opt")]
    return {str(path.relative_to(box.home)) for place in places for path in place.rglob("*rigwright*")}


@pytest.mark.runs("base/ours.sh", "base/removal.sh", "base/remove.sh", "base/apt.sh")
def test_driver_that_came_goes_with_all_that_it_brought(each_sh, box):
    """The rig is as it was, its owner's hold too."""
    assert box.role("install.sh", **WANTED).returncode == 0
    assert box.role("keep.sh", **KEPT).returncode == 0
    for path in (*_FILES, *_DNF):
        box.put(path, "# Written by rigwright: x.\n")
    box.put(_FILES[1], PREFERENCES)
    box.put("etc/apt/sources.list.d/rigwright-mine.list", "# of mine\n")
    # A name that apt does not know must not keep the others held.
    with (box.state / "held").open("a") as held:
        held.write("nvidia-driver-pinning-999\n")
    box.did()
    done = remove(box)
    assert (done.returncode, said(done)) == (0, []), done.stdout
    assert box.has() == {"base=1", "mine=1"} and set(box.there().values()) <= {"ii", "hi"}
    assert box.holds() == {"mine"}
    assert files(box) == {"etc/apt/sources.list.d/rigwright-mine.list"}
    assert box.did().count("update-initramfs -u -k all") == 1
    assert box.read(f"lib/modules/{KERNEL}/nvidia.ko") == ""
    assert remove(box).returncode == 0


def test_packages_may_stay(each_sh, box):
    """Without holds and files of ours; the list stays for the next time."""
    assert box.role("install.sh", **WANTED).returncode == 0
    assert box.role("keep.sh", **KEPT).returncode == 0
    done = remove(box, packages="")
    assert (done.returncode, said(done)) == (0, [])
    assert box.has() >= of(NEW) and box.holds() == {"mine"}
    assert files(box) == {"var/lib/rigwright"}
    assert {path.name for path in (box.home / "var/lib/rigwright").iterdir()} == {"packages.installed"}
    assert remove(box).returncode == 0 and box.has() == {"base=1", "mine=1"} and files(box) == set()


def test_driver_of_the_owner_stays(each_sh, box):
    """What was there before us is not ours, though we upgraded it, and held it."""
    box.offer_driver(OLD)
    box.apt("update")
    box.apt("install", *(f"{name}={OLD}" for name in NAMES))
    assert (
        box.role(
            "install.sh",
            **WANTED,
        ).returncode
        == 0
    )
    assert box.role("keep.sh", **KEPT).returncode == 0
    done = remove(box)
    assert (done.returncode, said(done)) == (0, [])
    assert box.has() == of(NEW) | {"base=1", "mine=1"} and box.holds() == {"mine"}


def test_driver_that_something_of_the_owner_needs_stays(each_sh, box):
    """And is named, as far as it is needed."""
    assert box.role("install.sh", **WANTED).returncode == 0
    box.offer("needs-cuda", Depends="libcuda1")
    box.apt("update")
    box.apt("install", "needs-cuda")
    assert box.role("keep.sh", **KEPT).returncode == 0
    done = remove(box)
    assert (done.returncode, said(done)) == (0, [])
    assert box.has() == {"base=1", "mine=1", "needs-cuda=1", f"libcuda1={NEW}"} and box.holds() == {"mine"}


def test_initramfs_that_cannot_be_made_is_said(each_sh, box):
    """A rig that may boot without nouveau and without NVIDIA's driver is no success."""
    keep = {**KEPT, "HELD": ""}
    assert box.role("keep.sh", **keep).returncode == 0
    (box.home / "no-initramfs").touch()
    done = remove(box)
    assert done.returncode == 1 and said(done) == ["update-initramfs failed: No space left on device"]
