"""Packages of a bundle on a real apt in a folder: the system's own sources are not asked, and stay as they were."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from rigwright.bundle.archive import write
from rigwright.bundle.manifest import Content, Manifest, PackageSet, System
from rigwright.bundle.opened import Bundle, open_bundle
from rigwright.hardware import Hardware
from rigwright.resources import script
from rigwright.roles.base.packages import PackageManager
from rigwright.roles.base.sent import sent_packages
from rigwright.roles.bundle.apt import Apt, stanza
from rigwright.spec.bundle import BundleSettings

from .apt_box import AptBox, said

pytestmark = [
    pytest.mark.patience,
    pytest.mark.skipif(shutil.which("apt-get") is None, reason="apt is missing"),
]
HARDWARE = Hardware(os_id="debian", os_version="13", architecture="x86_64")


@pytest.fixture
def mirror(tmp_path: Path) -> AptBox:
    """Where the internet is: `tool` needs `lib`."""
    box = AptBox.made(tmp_path / "mirror")
    box.offer("lib", Version="2:1.0~x+1")
    box.offer("tool", Depends="lib (>= 2:1.0~x+1)")
    box.offer("other")
    return box


@pytest.fixture
def rig(tmp_path: Path) -> AptBox:
    """A system with `base` of its own sources, which answer no more."""
    box = AptBox.made(tmp_path / "rig")
    box.offer("base")
    box.apt("update")
    box.apt("install", "base")
    (box.home / "etc/apt/sources.list").write_text("deb http://127.0.0.1:9/debian x main\n")
    return box


def gathered(mirror: AptBox, tmp_path: Path, *names: str) -> Bundle:
    """What `rigwright bundle` takes of that mirror."""
    apt = Apt(tmp_path / "apt", architecture="x86_64", sources=mirror.home / "etc/apt/sources.list")
    files = apt.fetch(names, print)
    sums = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
    contents = [
        Content(kind="package", name=name, sha256=sums[name], size_bytes=path.stat().st_size)
        for name, path in files.items()
    ]
    index = {sums[name]: stanza(path) for name, path in files.items()}
    sets = [PackageSet(names=names, files=tuple(sums.values()))]
    system = System(os_id="debian", os_version="13", architecture="x86_64", index=index, sets=sets)
    manifest = Manifest(rigwright="1", inventory="x", rigs={}, contents=tuple(contents), systems=(system,))
    write(tmp_path / "site.tar", manifest, {sums[name]: path for name, path in files.items()})
    return open_bundle(BundleSettings(path=str(tmp_path / "site.tar")), print)


def install(rig: AptBox, bundle: Bundle, *names: str, damage: Any = None) -> subprocess.CompletedProcess[str]:
    """What a deploy runs: room, upload, and the script."""
    sent = sent_packages(bundle, HARDWARE, names)
    assert sent
    archive = rig.home / f"state/packages-{sent.id}.tar"
    done = rig.run(script("base", "room.sh", ARCHIVE=str(archive), NEED=2 * sent.size_bytes))
    assert done.returncode == 0, done.stderr
    shutil.copy(sent.archive(), archive)
    if damage:
        damage(archive)
    manager = PackageManager("apt")
    return rig.run(
        manager.install_sent(names, record=str(rig.record), archive=str(archive), sums=sent.sums), PATIENCE="3"
    )


def owners(rig: AptBox) -> dict[str, bytes]:
    """What apt knows of the owner's sources."""
    found = (
        *rig.home.glob("etc/apt/**/*"),
        *rig.home.glob("var/lib/apt/lists/*"),
        *rig.home.glob("var/cache/apt/*.bin"),
    )
    return {str(path): path.read_bytes() for path in found if path.is_file()}


@pytest.mark.runs("base/manager.sh", "base/apt.sh", "base/bring.sh", "base/sent.sh", "base/room.sh")
def test_packages_come_from_what_was_sent(mirror, rig, tmp_path, each_sh):
    """With what they need, by the record of removal; nothing of the way stays, and no list of the owner's is read."""
    bundle, before = gathered(mirror, tmp_path, "tool"), owners(rig)
    (rig.home / "state").mkdir(exist_ok=True)
    (rig.home / "state/packages-000000000000.tar").write_text("of another bundle")
    done = install(rig, bundle, "tool")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert rig.there() == {"base": "ii", "lib": "ii", "tool": "ii"}
    assert rig.lines() == ["lib came purge", "tool asked purge"]
    assert owners(rig) == before
    assert [path.name for path in (rig.home / "state").iterdir()] == ["packages.installed"]


def cut(archive: Path) -> None:
    archive.write_bytes(archive.read_bytes()[:-20000])


def other(archive: Path) -> None:
    data = archive.read_bytes()
    assert b"usr/share/tool" in data
    archive.write_bytes(data.replace(b"usr/share/tool", b"usr/share/fool"))


def more(archive: Path) -> None:
    with tarfile.open(archive, "a") as tar:
        tar.add(__file__, "extra.deb")


@pytest.mark.parametrize(
    ("damage", "says"), [(cut, "arrived damaged"), (other, "arrived damaged"), (more, "more was sent than packages")]
)
def test_what_arrived_damaged_is_not_installed(mirror, rig, tmp_path, damage, says):
    """Nothing changes, and nothing of it stays."""
    done = install(rig, gathered(mirror, tmp_path, "tool"), "tool", damage=damage)
    assert done.returncode == 1
    assert len(said(done)) == 1 and says in said(done)[0], done.stdout
    assert rig.there() == {"base": "ii"} and list((rig.home / "state").iterdir()) == []


def test_rig_with_newer_packages_is_refused_before_anything_changes(mirror, rig, tmp_path):
    """What is there is not taken back for what was sent: the line says what to do."""
    mirror.offer("strict", Depends="base (= 0.5)")
    done = install(rig, gathered_of(mirror, rig, tmp_path), "strict")
    assert done.returncode == 1 and rig.there() == {"base": "ii"}
    (line,) = said(done)
    assert "strict : Depends: base (= 0.5)" in line, line
    assert line.endswith(
        "the bundle has none that fit what is installed here; make it anew, or bring this rig up to date"
    )


def gathered_of(mirror: AptBox, rig: AptBox, tmp_path: Path) -> Bundle:
    """A bundle that was made when `base` was older."""
    mirror.offer("base", Version="0.5")
    return gathered(mirror, tmp_path, "strict")


def test_packages_are_those_of_a_system_that_has_nothing(mirror, tmp_path):
    """Whatever this machine has installed; one that is not there is told by name, and so is what does not answer."""
    sources = mirror.home / "etc/apt/sources.list"
    apt = Apt(tmp_path / "apt", architecture="x86_64", sources=sources)
    assert sorted(one.name for one in apt.listed(["tool"])) == ["lib_2%3a1.0~x+1_all.deb", "tool_1_all.deb"]
    with pytest.raises(Exception, match=r"packages: apt says: E: Unable to locate package nothing; check the sources"):
        apt.listed(["nothing"])
    sources.write_text("deb [trusted=yes] http://127.0.0.1:9/ ./\n")
    with pytest.raises(Exception, match=r"packages: apt says: .*127\.0\.0\.1.*; check the sources and the network"):
        Apt(tmp_path / "apt2", architecture="x86_64", sources=sources)
