"""Drivers come, go and come back on a real apt: what fails leaves the rig as it was, and says why."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from .apt_box import said
from .driver_box import KERNEL, DriverBox

pytestmark = [
    pytest.mark.patience,
    pytest.mark.skipif(shutil.which("apt-get") is None, reason="apt is missing"),
]
OLD, NEW = "550.163.01", "580.95.05"
NAMES = ("libcuda1", "nvidia-driver", "nvidia-kernel-dkms", "nvidia-smi")
WANTED = {"FIRST": "nvidia-driver-pinning-580", "HEADERS": "linux-headers", "DRIVER": "nvidia-driver", "GOING": ""} | {
    "REPLACED": "", "BRANCH": "580", "IS_BUILT": "yes"
}  # fmt: skip


@pytest.fixture
def box(tmp_path: Path) -> DriverBox:
    """A rig without a driver, with a package of its owner."""
    box = DriverBox.made(tmp_path / "box")
    box.offer("base")
    box.offer("linux-headers")
    box.apt("update")
    box.apt("install", "base")
    return box


def of(version: str) -> set[str]:
    """The packages of a driver."""
    return {f"{name}={version}" for name in NAMES}


def with_old(box: DriverBox) -> None:
    """A rig that computes with the branch before."""
    box.offer_driver(OLD)
    box.apt("update")
    box.apt("install", "nvidia-driver")
    box.run("modprobe nvidia; modprobe nvidia_uvm")


def install(box: DriverBox, **variables: str) -> subprocess.CompletedProcess[str]:
    """What a deploy runs."""
    return box.role("install.sh", **{**WANTED, **variables})


UPGRADE = {"REPLACED": " ".join(NAMES)}


@pytest.mark.runs("nvidia/driver.sh", "nvidia/driver-apt.sh", "nvidia/install.sh")
def test_driver_comes_to_a_blank_rig(each_sh, box):
    """With the branch's pin first and the headers; it is unproven; and what came is on the record."""
    box.offer_driver(NEW)
    box.apt("update")
    done = install(box)
    assert (done.returncode, done.stderr, said(done)) == (0, "", [])
    assert box.has() == of(NEW) | {"base=1", "linux-headers=1", "nvidia-driver-pinning-580=1"}
    assert f"driver {NEW} is installed" in said(done, "progress")
    assert (box.state / "unproven").read_text() == "nothing\n" and not (box.state / "previous").exists()
    record = box.read("var/lib/rigwright/packages.installed").splitlines()
    assert set(record) == {
        "libcuda1 came purge", "linux-headers asked purge", "nvidia-driver asked purge",
        "nvidia-driver-pinning-580 asked purge", "nvidia-kernel-dkms came purge", "nvidia-smi came purge",
    }  # fmt: skip
    again = install(box)
    assert again.returncode == 0 and box.has() >= of(NEW)


_FAILURES = {
    "modules do not compile": "dpkg: error processing package nvidia-kernel-dkms",
    "dkms does not try": f"the modules are not there for {KERNEL}: dkms says nvidia/{NEW}: added",
    "another branch comes": "branch 580 was asked for, and 590.10.01 came",
    "a package is broken": "dpkg: error processing",
    "cannot be resolved": "nothing-like-it",
    "headers cannot be resolved": "Unable to locate package linux-headers-6",
    "pin cannot be resolved": "Unable to locate package nvidia-driver-pinning-999",
    "an owner's package would go": "would take away base, which the plan does not; nothing was changed",
}


def offer_failing(box: DriverBox, case: str) -> dict[str, str]:
    """A driver that cannot be had, and what a plan then says otherwise."""
    breaks = {"modules do not compile": "compile", "dkms does not try": "added"}.get(case, "")
    if breaks == "added":
        (box.home / "broken").touch()
    box.offer_driver("590.10.01" if case == "another branch comes" else NEW, breaks=breaks)
    more = {}
    if case == "another branch comes":
        more = {"FIRST": "nvidia-driver-pinning-590"}
    elif case == "a package is broken":
        box.offer("nvidia-extra", postinst="echo broken here >&2; exit 3")
        more = {"DRIVER": "nvidia-driver nvidia-extra"}
    elif case == "cannot be resolved":
        box.offer("nvidia-late", Depends="nothing-like-it")
        more = {"DRIVER": "nvidia-driver nvidia-late"}
    elif case == "headers cannot be resolved":
        more = {"HEADERS": "linux-headers-6"}
    elif case == "pin cannot be resolved":
        more = {"FIRST": "nvidia-driver-pinning-999"}
    elif case == "an owner's package would go":
        box.offer("nvidia-jealous", Conflicts="base")
        more = {"DRIVER": "nvidia-driver nvidia-jealous"}
    box.apt("update")
    return more


@pytest.mark.parametrize("case", _FAILURES)
def test_what_fails_on_a_blank_rig_leaves_nothing(each_sh, box, case):
    """No package of it, nothing half there, no mark of a change; its reason first, and the compiler's words."""
    more = offer_failing(box, case)
    done = install(box, **more)
    assert (done.returncode, done.stderr) == (1, "")
    assert any(_FAILURES[case] in line for line in said(done)), said(done)
    assert box.has() == {"base=1"} and set(box.there().values()) <= {"ii", "rc"}
    assert not (box.state / "unproven").exists() and not (box.state / "previous").exists()
    assert ("too few arguments to pci_resize_resource" in "\n".join(said(done))) == (
        case in ("modules do not compile", "dkms does not try")
    )
    assert box.holds() == set()


@pytest.mark.parametrize("case", _FAILURES)
def test_what_fails_brings_the_driver_before_back(box, case):
    """Its packages, its module, and the holds of ours; the owner's stay where they were."""
    with_old(box)
    box.offer("mine")
    box.apt("update")
    box.apt("install", "mine")
    box.run("apt-mark hold libcuda1 nvidia-driver mine")
    box.put("var/lib/rigwright/nvidia/held", "libcuda1\nnvidia-driver\nnvidia-gone\n")
    box.put("etc/apt/preferences.d/rigwright-nvidia", "Package: nvidia-*\nPin: version 580.*\nPin-Priority: 1000\n")
    more = offer_failing(box, case)
    done = install(box, **UPGRADE, **more)
    assert (done.returncode, done.stderr) == (1, "")
    text = "\n".join(said(done))
    assert _FAILURES[case] in text and f"driver {OLD} is back" in text, text
    assert box.has() == of(OLD) | {"base=1", "mine=1"}
    assert box.holds() == {"libcuda1", "nvidia-driver", "mine"}
    assert (box.state / "held").read_text().split() == ["libcuda1", "nvidia-driver", "nvidia-gone"]
    assert box.read(f"lib/modules/{KERNEL}/nvidia.ko") == f"{OLD}\n"
    assert not (box.state / "unproven").exists() and not (box.state / "previous").exists()


def test_upgrade_keeps_the_way_back_until_it_is_proven(each_sh, box):
    """A second run before the proof keeps the driver that did compute, and not the one that nobody has seen compute."""
    with_old(box)
    box.put("var/lib/rigwright/nvidia/held", "libcuda1\n")
    box.run("apt-mark hold libcuda1")
    box.offer_driver(NEW)
    box.offer_driver("590.10.01")
    box.put(
        "etc/apt/preferences.d/rigwright-nvidia", "Package: nvidia-* libcuda1\nPin: version 580.*\nPin-Priority: 1000\n"
    )
    box.apt("update")
    assert install(box, **UPGRADE).returncode == 0
    assert box.has() >= of(NEW) and box.holds() == {"libcuda1"}
    kept = (box.state / "previous/packages").read_text()
    assert kept == "".join(f"{name}={OLD}\n" for name in NAMES) and (box.state / "unproven").read_text() == f"{OLD}\n"
    (box.home / "etc/apt/preferences.d/rigwright-nvidia").unlink()
    assert install(box, **UPGRADE, FIRST="nvidia-driver-pinning-590", BRANCH="590", GOING="").returncode == 0
    assert box.has() >= of("590.10.01")
    assert (box.state / "previous/packages").read_text() == kept
    assert (box.state / "unproven").read_text() == f"{OLD}\n"
    came = " ".join((*NAMES, "nvidia-driver-pinning-590", "never-heard-of"))
    done = box.role("prove.sh", COUNT=1, FABRIC="", CAME=came)
    assert done.returncode == 1 and f"driver {OLD} is back" in said(done)[0]
    assert box.has() >= of(OLD) and box.holds() == {"libcuda1"}


def test_driver_whose_packages_nobody_has_any_more_has_no_way_back(each_sh, box):
    """Which is said, and no reason against the change."""
    with_old(box)
    for file in (box.home / "repository").glob("*550*.deb"):
        file.unlink()
    box.put("repository/Packages", "")
    box.offer("linux-headers2")
    box.offer_driver(NEW)
    box.apt("update")
    done = install(box, **UPGRADE, HEADERS="linux-headers2")
    assert done.returncode == 0, done.stdout
    assert any(line.startswith("no way back: ") for line in said(done, "progress"))
    assert box.has() >= of(NEW) and not (box.state / "previous").exists()


def mend(box: DriverBox, runfile: str = "") -> subprocess.CompletedProcess[str]:
    """What a deploy runs first."""
    return box.role("mend.sh", RUNFILE=runfile)


def broken_off(box: DriverBox, name: str = "nvidia-kernel-dkms") -> None:
    """A rig on which apt was left with modules that do not compile."""
    box.offer_driver(NEW, breaks="compile")
    if name != "nvidia-kernel-dkms":
        box.offer(name, Version=NEW, postinst="exit 10")
        box.offer("nvidia-driver-580-open", Version=NEW, Depends=f"{name} (= {NEW}), libcuda1 (= {NEW})")
    box.apt("update")
    top = "nvidia-driver" if name == "nvidia-kernel-dkms" else "nvidia-driver-580-open"
    done = subprocess.run(["apt-get", "-y", "install", top], env=box.environment, capture_output=True, check=False)
    assert done.returncode != 0 and "iF" in box.there().values()


@pytest.mark.runs("nvidia/mend.sh", "nvidia/driver-apt.sh")
@pytest.mark.parametrize("name", ["nvidia-kernel-dkms", "nvidia-dkms-580-open"])
def test_modules_that_do_not_compile_are_taken_out(each_sh, box, name):
    """In NVIDIA's names and in Ubuntu's; what else was half there is brought to its end, and apt works again."""
    broken_off(box, name)
    box.offer("late", postinst=f"[ -e {box.home}/now ]")
    box.apt("update")
    subprocess.run(["apt-get", "-y", "install", "late"], env=box.environment, capture_output=True, check=False)
    (box.home / "now").touch()
    done = mend(box)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert f"taking out what does not compile: {name}" in done.stdout
    assert "late=1" in box.has() and set(box.there().values()) <= {"ii", "rc"}
    assert not any(one.startswith((name, "nvidia-driver=", "nvidia-driver-580-open=")) for one in box.has())
    box.offer("next")
    box.apt("update")
    box.apt("install", "next")
    assert mend(box).stdout == ""


def test_package_of_another_that_cannot_be_finished_is_named(each_sh, box):
    """It is not ours to take out."""
    box.offer("mine", postinst="echo no disk here; exit 1")
    box.apt("update")
    subprocess.run(["apt-get", "-y", "install", "mine"], env=box.environment, capture_output=True, check=False)
    done = mend(box)
    assert done.returncode == 1 and box.there()["mine"] == "iF"
    (line,) = said(done)
    assert line.startswith("dpkg --configure -a failed: ") and "no disk here" in line and "mend it on the rig" in line


@pytest.mark.parametrize("tool", ["nvidia-uninstall", "nvidia-installer"])
def test_driver_of_nvidias_own_installer_goes(each_sh, box, tool):
    """By its own uninstaller, with nobody to answer questions; units of it are stopped first."""
    box.put("active", "nvidia-persistenced\n")
    path = box.home / "bin" / tool
    box.tool(tool, f'echo "{tool} $*" >>{box.home}/did; read -r line && exit 9; rm -f {path}')
    assert mend(box).returncode == 0 and path.exists()
    done = mend(box, "yes")
    assert (done.returncode, said(done), done.stderr) == (0, [], "")
    options = (
        "--silent"
        if tool == "nvidia-uninstall"
        else "--uninstall --no-questions --no-runlevel-check --no-x-check --ui=none"
    )
    assert [line for line in box.did() if line.startswith("nvidia")] == [f"{tool} {options}"]
    assert box.read("active") == "" and not path.exists()


_UNINSTALLERS = {
    "echo 'ERROR: in use'; exit 1": "nvidia-uninstall failed: ERROR: in use; nothing else was changed",
    "exit 0": "says that it is done, and is still there; take NVIDIA's own driver away by hand",
    "": "nvidia-uninstall is not there; take NVIDIA's own driver away by hand",
}


@pytest.mark.parametrize("text", _UNINSTALLERS)
def test_uninstaller_that_does_not_do_it(each_sh, box, text):
    """One line, and no package is touched."""
    if text:
        box.tool("nvidia-uninstall", text)
    done = mend(box, "yes")
    (line,) = said(done)
    assert done.returncode == 1 and line.endswith(_UNINSTALLERS[text])


@pytest.mark.runs("nvidia/rebuild.sh")
def test_modules_are_compiled_for_the_kernel_that_lacks_them(each_sh, box):
    """With headers that come first; where they do not compile, what runs stays and the compiler's words are shown."""
    box.offer_driver(NEW)
    box.apt("update")
    box.apt("install", "nvidia-driver")
    assert box.role("rebuild.sh", HEADERS="").returncode == 0 and box.did() == []
    box.put("dkms", f"nvidia/{NEW}: added\n")
    done = box.role("rebuild.sh", HEADERS="linux-headers")
    assert (done.returncode, done.stderr, said(done)) == (0, "", [])
    assert "linux-headers=1" in box.has() and f"dkms autoinstall -k {KERNEL}" in box.did()
    # Of another version they are of no use.
    box.put("dkms", f"nvidia/{OLD}, {KERNEL}, x86_64: installed\nnvidia/{NEW}: added\n")
    box.put(f"var/lib/dkms/nvidia/{NEW}/build/make.log", "x.c:1: error: no member named 'y'\nmake: *** [all] Error 2\n")
    (box.home / "broken").touch()
    done = box.role("rebuild.sh", HEADERS="")
    assert done.returncode == 1
    assert said(done) == [
        "x.c:1: error: no member named 'y'",
        f"the modules do not compile for {KERNEL}; what runs goes on running",
    ]
    assert box.has() >= of(NEW)
    assert box.role("rebuild.sh", HEADERS="linux-headers-6").returncode == 1
