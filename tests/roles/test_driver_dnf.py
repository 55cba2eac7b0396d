"""Drivers on Fedora and EL, over a stand-in of dnf: repositories, locks, and the way back."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .apt_box import said
from .dnf_stand_in import Dnf
from .driver_box import KERNEL, DriverBox, role
from .keys import Gpg, armored
from .mirror import Mirror, mirror

pytestmark = [
    pytest.mark.patience,
    pytest.mark.skipif(shutil.which("gpg") is None or shutil.which("apt-get") is None, reason="gpg or apt is missing"),
]
OLD, NEW = "570.211.01", "580.95.05"
NAMES = ("kmod-nvidia-open-dkms", "nvidia-driver-libs", "nvidia-open")
WANTED = {"FIRST": "", "HEADERS": "kernel-devel", "DRIVER": "nvidia-open", "GOING": "", "REPLACED": ""}
WANTED |= {"BRANCH": "580", "IS_BUILT": "yes"}
REPOSITORY, TRUSTED = "etc/yum.repos.d/rigwright-nvidia.repo", "etc/pki/rpm-gpg/rigwright-nvidia"


@pytest.fixture(scope="module")
def gpg() -> Iterator[Gpg]:
    """The key of the mirror, and a stranger's."""
    with tempfile.TemporaryDirectory(prefix="gpg-") as folder:
        gpg = Gpg.made(Path(folder) / "home")
        for name, kind in {"rsa@x": "rsa2048", "evil@x": "ed25519"}.items():
            gpg.make(name, kind)
        yield gpg
        gpg.close()


@pytest.fixture
def nvidia(tmp_path: Path, gpg: Gpg) -> Iterator[Mirror]:
    """A mirror of which only the key is asked: dnf is none."""
    with mirror(tmp_path / "mirror", gpg) as found:
        found.publish("")
        yield found


@pytest.fixture
def box(tmp_path: Path) -> DriverBox:
    """A rig with a package of its owner."""
    box = DriverBox.made(tmp_path / "box")
    (box.home / "etc/pki/rpm-gpg").mkdir(parents=True)
    (box.home / "etc/yum.repos.d").mkdir()
    return box


def set_up(box: DriverBox, found: Mirror, **variables: str) -> subprocess.CompletedProcess[str]:
    """What a deploy runs."""
    given = {"REPO": found.url, "KEY": "k.pub", "FINGERPRINT": found.gpg.fingerprint("rsa@x"), "COMPONENTS": ""}
    given |= {"PREFERENCES": "", "STREAM": "", "EPEL": "", **variables}
    done = box.role("key.sh", "source-dnf.sh", "repository.sh", manager="dnf", **given)
    assert done.stderr == ""
    return done


@pytest.mark.runs("nvidia/source-dnf.sh", "nvidia/driver-dnf.sh", "nvidia/repository.sh")
def test_repository_of_dnf(each_sh, box, nvidia, gpg):
    """By its key alone; what comes with EPEL and a stream of a module is said to dnf."""
    dnf = Dnf(box, offered={"epel-release": {"version": "9"}})
    done = set_up(box, nvidia)
    assert (done.returncode, said(done)) == (0, [])
    text = box.read(REPOSITORY)
    assert text.startswith(f"# Written by rigwright: {nvidia.url} by the key {gpg.fingerprint('rsa@x')}.\n")
    assert f"baseurl={nvidia.url}\nenabled=1\ngpgcheck=1\n" in text and "module_hotfixes=1\n" in text
    assert text.count("gpgkey=file://") == 1
    assert box.read(TRUSTED).startswith("# Written by rigwright") and box.read(TRUSTED).endswith(
        armored(gpg.key("rsa@x"))
    )
    assert set_up(box, nvidia, STREAM="nvidia-driver:580-open", EPEL="yes").returncode == 0
    assert "module_hotfixes=0\n" in box.read(REPOSITORY) and "epel-release" in dnf.state["there"]
    assert "dnf -q -y module enable nvidia-driver:580-open" in box.did()
    assert box.read("var/lib/rigwright/nvidia/stream") == "nvidia-driver\n"


@pytest.mark.parametrize("had", [False, True], ids=["new", "there"])
def test_repository_that_dnf_refuses_goes_again(each_sh, box, nvidia, had):
    """A key of another, a list that cannot be read; a broken repository of the owner's is another matter."""
    dnf = Dnf(box)
    there = {REPOSITORY: "# Written by rigwright: x\n", TRUSTED: "# Written by rigwright: y\n"} if had else {}
    for path, text in there.items():
        box.put(path, text)
    now = {path: box.read(path) for path in (REPOSITORY, TRUSTED)}
    nvidia.publish("", key="evil@x")
    done = set_up(box, nvidia)
    assert done.returncode == 1 and "is the one to be trusted" in said(done)[0]
    assert {path: box.read(path) for path in now} == now
    nvidia.publish("")
    dnf.change(broken=["rigwright-cuda-debian13-x86_64"])
    done = set_up(box, nvidia)
    assert done.returncode == 1 and "Cannot download repomd.xml" in said(done)[0]
    assert {path: box.read(path) for path in now} == now
    dnf.change(broken=["mine"])
    done = set_up(box, nvidia)
    assert (done.returncode, said(done)) == (0, []) and nvidia.url in box.read(REPOSITORY)


def install(box: DriverBox, **variables: str) -> subprocess.CompletedProcess[str]:
    """What a deploy runs."""
    done = box.role("install.sh", manager="dnf", **{**WANTED, **variables})
    assert done.stderr == ""
    return done


def with_old(box: DriverBox) -> Dnf:
    """A rig that computes with the branch before, and a lock of the owner's beside ours."""
    dnf = Dnf(box)
    dnf.offer_driver(OLD)
    box.run(f"dnf -y install {NAMES[-1]}")
    dnf.install(mine="1")
    dnf.change(locks=["mine", "nvidia-open"])
    box.put("var/lib/rigwright/nvidia/held", "nvidia-open\n")
    return dnf


@pytest.mark.runs("nvidia/driver-dnf.sh", "nvidia/install.sh")
def test_driver_comes_by_dnf(each_sh, box):
    """What came is on the record."""
    dnf = Dnf(box)
    dnf.offer_driver(NEW)
    dnf.install(mine="1")
    done = install(box)
    assert (done.returncode, said(done)) == (0, []), done.stdout
    assert dnf.state["there"] == {"mine": "1", "kernel-devel": "6.12", **dict.fromkeys(NAMES, NEW)}
    assert set(box.read("var/lib/rigwright/packages.installed").splitlines()) == {
        "kernel-devel asked purge", "kmod-nvidia-open-dkms came purge", "nvidia-driver-libs came purge",
        "nvidia-open asked purge",
    }  # fmt: skip


def test_version_of_a_name_is_no_pattern_of_files(each_sh, box, tmp_path):
    """Whatever lies where root logs in."""
    dnf = Dnf(box)
    dnf.offer_driver(NEW)
    (tmp_path / "nvidia-open-580.run").touch()
    text = role("install.sh", manager="dnf", **{**WANTED, "DRIVER": "nvidia-open-580.*"})
    done = box.run(f"cd {tmp_path}\n{text}")
    assert (done.returncode, done.stderr, said(done)) == (0, "", [])
    assert dnf.state["there"].items() >= dict.fromkeys(NAMES, NEW).items()
    assert "nvidia-open asked purge" in box.read("var/lib/rigwright/packages.installed")


def test_what_the_plan_replaces_goes_first_and_nothing_else(each_sh, box):
    """After it is known that the new one can come."""
    dnf = Dnf(box)
    dnf.offer_driver(NEW)
    dnf.install(kmod_nvidia_latest_dkms=OLD, mine="1")
    done = install(box)
    assert done.returncode == 1
    assert "would take away kmod-nvidia-latest-dkms, which the plan does not" in said(done)[0]
    assert dnf.state["there"] == {"kmod-nvidia-latest-dkms": OLD, "mine": "1"}
    assert install(box, GOING="kmod-nvidia-latest-dkms", DRIVER="never-heard-of").returncode == 1
    assert dnf.state["there"] == {"kmod-nvidia-latest-dkms": OLD, "mine": "1"}
    done = install(box, GOING="kmod-nvidia-latest-dkms")
    assert (done.returncode, said(done)) == (0, [])
    assert dnf.state["there"] == {"kernel-devel": "6.12", "mine": "1", **dict.fromkeys(NAMES, NEW)}


@pytest.mark.parametrize("case", ["modules", "transaction", "name"])
def test_what_dnf_cannot_do_brings_the_driver_before_back(each_sh, box, case):
    """Its packages, its module, and the lock of ours."""
    dnf = with_old(box)
    dnf.offer_driver(NEW, breaks="added" if case == "modules" else "")
    if case == "transaction":
        dnf.change(failing=["nvidia-driver-libs"])
    done = install(
        box, REPLACED=" ".join(NAMES), DRIVER="nvidia-open never-heard-of" if case == "name" else "nvidia-open"
    )
    assert done.returncode == 1
    if case != "transaction":  # which fails on the way back too
        assert f"driver {OLD} is back" in said(done)[0]
    assert dnf.state["there"] == {"mine": "1", **dict.fromkeys(NAMES, OLD)}
    assert dnf.state["locks"] == ["mine", "nvidia-open"]
    assert box.read(f"lib/modules/{KERNEL}/nvidia.ko") == f"{OLD}\n"
    expected = {
        "modules": "the modules are not there",
        "transaction": "dnf install failed",
        "name": "Unable to find a match",
    }
    assert expected[case] in "\n".join(said(done))


def test_driver_that_does_not_compute_goes_back_by_dnf(each_sh, box):
    """And its lock comes again; a version that no repository has any more has no way back."""
    dnf = with_old(box)
    dnf.offer_driver(NEW)
    assert install(box, REPLACED=" ".join(NAMES)).returncode == 0
    box.put("proc/driver/nvidia/version", f"NVRM version: NVIDIA UNIX x86_64 Kernel Module  {NEW}  Release Build\n")
    box.put("cuda", "999 0\n")
    done = box.role("prove.sh", manager="dnf", COUNT=1, FABRIC="", CAME=" ".join(NAMES))
    assert done.returncode == 1 and said(done) == [f"driver {NEW} is loaded, and cuInit says 999; driver {OLD} is back"]
    assert dnf.state["there"].items() >= dict.fromkeys(NAMES, OLD).items() and dnf.state["locks"] == [
        "mine",
        "nvidia-open",
    ]
    dnf.change(lost=[OLD])
    done = install(box, REPLACED=" ".join(NAMES))
    assert done.returncode == 0 and "no way back: " in done.stdout


@pytest.mark.parametrize("is_dnf5", [False, True], ids=["dnf4", "dnf5"])
@pytest.mark.runs("nvidia/keep.sh")
def test_driver_is_locked(each_sh, box, is_dnf5):
    """As both dnf list it; the owner's locks stay the owner's."""
    dnf = Dnf(box, is_dnf5=is_dnf5, locks=["mine", "nvidia-open"])
    given = {"MODPROBE": "", "UNATTENDED": "", "DEVICES": "", "DEVICES_UNIT": "x", "STALE": "", "CDI": ""}
    for _ in range(2):
        done = box.role("keep.sh", manager="dnf", HELD="kmod-nvidia-open-dkms nvidia-open", **given)
        assert (done.returncode, done.stderr) == (0, "")
        assert dnf.state["locks"] == ["kmod-nvidia-open-dkms", "mine", "nvidia-open"]
        assert (box.state / "held").read_text() == "kmod-nvidia-open-dkms\n"
    assert done.stdout == ""
    assert box.role("keep.sh", manager="dnf", HELD="", **given).returncode == 0
    assert dnf.state["locks"] == ["mine", "nvidia-open"]
