"""A driver is kept, loaded and proven, and the rig rebooted: what scripts tell the kernel, and when they leave it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rigwright.resources import role_text, script

from .apt_box import said
from .driver_box import KERNEL, DriverBox

pytestmark = [
    pytest.mark.patience,
    pytest.mark.skipif(shutil.which("apt-get") is None, reason="apt is missing"),
]
OLD, NEW = "550.163.01", "580.95.05"
MODPROBE = "# Written by rigwright: x.\nblacklist nouveau\n"
KEPT = {"HELD": "libcuda1 nvidia-driver", "MODPROBE": MODPROBE, "UNATTENDED": "# Written by rigwright.\n"} | {
    "DEVICES": "# Written by rigwright.\n[Unit]\n", "DEVICES_UNIT": "rigwright.devices.service", "STALE": "", "CDI": "",
}  # fmt: skip
ALL_MODULES = ("nvidia_drm", "nvidia_modeset", "nvidia_uvm", "nvidia")


@pytest.fixture
def box(tmp_path: Path) -> DriverBox:
    """A rig with a driver that nobody has loaded."""
    box = DriverBox.made(tmp_path / "box")
    box.offer_driver(NEW)
    box.offer("mine")
    box.apt("update")
    box.apt("install", "nvidia-driver", "mine")
    return box


def keep(box: DriverBox, **variables: str) -> subprocess.CompletedProcess[str]:
    """What a deploy runs once the packages are there."""
    done = box.role("keep.sh", **{**KEPT, **variables})
    assert done.stderr == ""
    return done


def written(box: DriverBox) -> dict[str, tuple[str, int]]:
    """The files that the role may write, with the times at which that was."""
    found = [*(box.home / "etc").rglob("*rigwright*"), *box.state.rglob("*")]
    return {str(path): (path.read_text(), path.stat().st_mtime_ns) for path in found if path.is_file()}


@pytest.mark.runs("nvidia/keep.sh")
def test_driver_is_kept(each_sh, box):
    """Held, without nouveau, with its device files at boot; a second run writes nothing and starts nothing."""
    box.run("apt-mark hold mine nvidia-driver")
    assert keep(box).returncode == 0
    assert box.holds() == {"libcuda1", "mine", "nvidia-driver"}
    # Of the owner's holds none is ours.
    assert (box.state / "held").read_text() == "libcuda1\n"
    assert box.read("etc/modprobe.d/rigwright-nvidia.conf") == MODPROBE
    assert box.read("etc/apt/apt.conf.d/52rigwright-nvidia") == KEPT["UNATTENDED"]
    assert box.read("etc/systemd/system/rigwright.devices.service") == KEPT["DEVICES"]
    enabled = "systemctl enable -q rigwright.devices.service"
    assert box.did() == ["update-initramfs -u -k all", "systemctl daemon-reload", enabled]
    before = written(box)
    assert keep(box).stdout == "" and box.did() == []
    assert written(box) == before


def test_what_is_not_wanted_any_more_is_let_go(each_sh, box):
    """Holds of ours, files of ours; a unit of device files stays, which services want on any driver."""
    box.run("apt-mark hold mine")
    keep(box)
    box.did()
    assert keep(box, HELD="", MODPROBE="", UNATTENDED="", DEVICES="").returncode == 0
    assert box.holds() == {"mine"} and (box.state / "held").read_text() == ""
    assert set(written(box)) == {f"{box.state}/held", f"{box.home}/etc/systemd/system/rigwright.devices.service"}
    assert box.did() == ["update-initramfs -u -k all"]


def test_holds_move_with_the_names(each_sh, box):
    """What the owner let go of is held again; what is gone is let go of."""
    keep(box, HELD="libcuda1 nvidia-smi")
    box.run("apt-mark unhold libcuda1")
    assert "holding libcuda1 nvidia-driver" in keep(box, HELD="libcuda1 nvidia-driver").stdout
    assert box.holds() == {"libcuda1", "nvidia-driver"}
    assert (box.state / "held").read_text().split() == ["libcuda1", "nvidia-driver"]


def test_initramfs_that_cannot_be_made_is_made_by_the_next_run(each_sh, box):
    """It fails, and what tells the next run that something is to be done is not there."""
    (box.home / "no-initramfs").touch()
    done = keep(box)
    assert done.returncode == 1
    assert said(done) == [
        "update-initramfs failed: No space left on device; the next boot may load what was there before"
    ]
    assert box.read("etc/modprobe.d/rigwright-nvidia.conf") == ""
    (box.home / "no-initramfs").unlink()
    box.did()
    assert keep(box).returncode == 0 and "update-initramfs -u -k all" in box.did()
    assert keep(box, STALE="yes").returncode == 0 and box.did() == ["update-initramfs -u -k all"]
    # dracut, where that is what the rig has.
    (box.home / "bin/update-initramfs").unlink()
    box.tool("dracut", f'echo "dracut $*" >>{box.home}/did')
    if not shutil.which("update-initramfs"):
        assert keep(box, STALE="yes").returncode == 0 and box.did() == ["dracut --regenerate-all --force"]


def test_file_that_cannot_be_written_is_no_success(each_sh, box):
    """A folder that nobody may write to, a name that is a folder."""
    (box.home / "etc/modprobe.d/rigwright-nvidia.conf/x").mkdir(parents=True)
    done = box.role("keep.sh", **KEPT)
    assert done.returncode == 1 and "/etc/modprobe.d/rigwright-nvidia.conf cannot be written" in said(done)[0]


def loaded(box: DriverBox, version: str, *modules: str) -> None:
    """A module that runs."""
    box.put("proc/driver/nvidia/version", f"NVRM version: NVIDIA UNIX x86_64 Kernel Module  {version}  Release Build\n")
    box.put("proc/modules", "".join(f"{name} 1 0\n" for name in (*modules, "xfs")))


def load(box: DriverBox, may_unload: str = "yes") -> subprocess.CompletedProcess[str]:
    """What a deploy runs then."""
    done = box.role("load.sh", MAY_UNLOAD=may_unload)
    assert (done.returncode, done.stderr, said(done)) == (0, "", [])
    return done


@contextmanager
def user_of(box: DriverBox, name: str = "gpu-burn") -> Iterator[int]:
    """A program that has a GPU open."""
    path = box.put("dev/nvidia0", "")
    text = "import sys, time; f = open(sys.argv[1]); open('/proc/self/comm', 'w').write(sys.argv[2])"
    text += "; print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", text, str(path), name], stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        program.stdout.readline()
        try:
            yield program.pid
        finally:
            program.terminate()


def running(box: DriverBox) -> str:
    """The version that is loaded."""
    return next((word for word in box.read("proc/driver/nvidia/version").split() if word[0].isdigit()), "")


@pytest.mark.runs("nvidia/load.sh")
def test_driver_is_loaded_in_place(each_sh, box):
    """Where none is; where an older one runs that nobody uses, in the order in which modules hang on each other."""
    box.put("units", "nvidia-persistenced\n")
    done = load(box)
    assert f"driver {NEW} is loaded" in said(done, "progress") and running(box) == NEW
    assert {line.split()[0] for line in box.read("proc/modules").splitlines()} == {"nvidia", "nvidia_uvm"}
    assert "systemctl restart nvidia-persistenced" in box.did()
    loaded(box, OLD, *ALL_MODULES)
    box.put("active", "nvidia-persistenced\nnvidia-dcgm\n")
    done = load(box)
    assert running(box) == NEW
    did = box.did()
    assert [line for line in did if line.startswith("rmmod")] == [f"rmmod {name}" for name in ALL_MODULES]
    stops = [did.index(f"systemctl stop {unit}") for unit in ("nvidia-persistenced", "nvidia-dcgm")]
    assert max(stops) < did.index("rmmod nvidia_drm")
    # Who was stopped runs again, and a screen has its modules.
    assert set(box.read("active").split()) == {"nvidia-persistenced", "nvidia-dcgm"}
    assert {line.split()[0] for line in box.read("proc/modules").splitlines()} == {*ALL_MODULES, "xfs"}
    assert "rmmod" not in load(box).stdout and not any("rmmod" in line for line in box.did())


def test_users_of_the_gpus_are_named_and_left_alone(each_sh, box):
    """Daemons of the driver's own do not count; where nothing may be unloaded nothing is tried."""
    loaded(box, OLD, *ALL_MODULES)
    with user_of(box) as pid:
        done = load(box)
    assert said(done, "progress") == [f"driver {OLD} stays loaded: gpu-burn (pid {pid}) use the GPUs"]
    assert running(box) == OLD and not any("rmmod" in line or "stop" in line for line in box.did())
    with user_of(box, "nv-hostengine"):
        load(box, "")
        assert running(box) == OLD and not any("rmmod" in line for line in box.did())
        load(box)
        assert running(box) == NEW


def test_driver_that_does_not_unload_stays_whole(each_sh, box):
    """What went before it comes back, daemons too; a reboot is for the plan to decide."""
    loaded(box, OLD, *ALL_MODULES)
    box.put("active", "nvidia-persistenced\nnvidia-powerd\n")
    box.put("units", "nvidia-persistenced\n")
    (box.home / "in-use").touch()
    done = load(box)
    assert f"driver {OLD} does not unload" in said(done, "progress")
    assert running(box) == OLD
    assert {line.split()[0] for line in box.read("proc/modules").splitlines()} == {*ALL_MODULES, "xfs"}
    assert set(box.read("active").split()) == {"nvidia-persistenced", "nvidia-powerd"}


@pytest.mark.parametrize("state", ["idle", "busy", "never"])
def test_nouveau_goes_first_where_it_may(each_sh, box, state):
    """With it loaded NVIDIA's does not load; in use, or where nothing may be unloaded, it stays, and nothing fails."""
    box.put("proc/modules", "nouveau 1 0\n")
    if state == "busy":
        (box.home / "busy").touch()
    done = load(box, "" if state == "never" else "yes")
    assert running(box) == (NEW if state == "idle" else "")
    assert ("nouveau is in use: a reboot takes it away" in done.stdout) == (state == "busy")


def test_module_that_does_not_load_says_why(each_sh, box):
    """And fails nothing: the rig is read again."""
    (box.home / "no-device").touch()
    done = load(box)
    assert said(done, "progress") == [
        "the module does not load: modprobe: ERROR: could not insert 'nvidia': No such device"
    ]
    shutil.rmtree(box.home / f"lib/modules/{KERNEL}")
    (box.home / f"lib/modules/{KERNEL}").mkdir()
    assert load(box).stdout == ""


def prove(box: DriverBox, count: int = 2, fabric: str = "", came: str = "") -> subprocess.CompletedProcess[str]:
    """What a deploy runs last."""
    box.tool("sleep", 'case $1 in 0.*) exec /bin/sleep "$1" ;; esac')
    done = box.role("prove.sh", COUNT=count, FABRIC=fabric, CAME=came)
    assert done.stderr == ""
    return done


def unproven(box: DriverBox, cuda: str = "0 2\n") -> None:
    """A driver that was brought, and what CUDA says."""
    box.put("var/lib/rigwright/nvidia/unproven", "nothing\n")
    loaded(box, NEW, "nvidia", "nvidia_uvm")
    box.put("cuda", cuda)


@pytest.mark.runs("nvidia/prove.sh")
def test_driver_is_proven_by_cuda(each_sh, box):
    """Once; where nothing was changed nothing is asked."""
    assert prove(box).stdout == ""
    unproven(box)
    done = prove(box)
    assert (done.returncode, said(done)) == (0, [])
    assert f"driver {NEW} computes: CUDA counts 2" in said(done, "progress")
    assert not (box.state / "unproven").exists()
    unproven(box, "")
    box.put("gpus", "GPU 0: A (UUID: x)\nGPU 1: B (UUID: y)\n")
    done = prove(box)
    assert done.returncode == 0 and "what nvidia-smi counts is taken" in said(done)[0]


_UNPROVEN = {
    "nothing loaded": "no driver is loaded: modprobe: ERROR: could not insert 'nvidia': No such device",
    "mismatch": f"module {OLD} runs, and the libraries are {NEW}",
    "cuInit": f"driver {NEW} is loaded, and cuInit says 999",
    "a GPU fewer": "2 GPUs are on the PCI bus, and CUDA counts 1: see `rigwright hardware`",
    "nobody counts": "2 GPUs are on the PCI bus, and CUDA counts 0: see `rigwright hardware`",
    "fabric": "Fabric Manager does not come to an end: In Progress; see journalctl -u nvidia-fabricmanager",
}


@pytest.mark.parametrize("case", _UNPROVEN)
def test_driver_that_does_not_compute_is_no_success(each_sh, box, case):
    """Without a way back it stays, unproven, and the next run asks again."""
    unproven(box, {"cuInit": "999 0\n", "a GPU fewer": "0 1\n", "nobody counts": ""}.get(case, "0 2\n"))
    if case == "nothing loaded":
        shutil.rmtree(box.home / "proc/driver/nvidia")
        (box.home / "no-device").touch()
    elif case == "mismatch":
        loaded(box, OLD, "nvidia")
    elif case == "fabric":
        box.put("gpus", "    Fabric\n        State                             : In Progress\n")
    done = prove(box, fabric="yes" if case == "fabric" else "")
    assert done.returncode == 1 and said(done)[-1] == _UNPROVEN[case]
    assert (box.state / "unproven").exists()


def test_fabric_that_comes_to_its_end(each_sh, box):
    """It is waited for."""
    unproven(box)
    count = f"n=$(cat {box.home}/n 2>/dev/null); echo $((n + 1)) >{box.home}/n; state='In Progress'"
    said_once = "printf '    Fabric\\n        State  : %s\\n' \"$state\""
    box.tool("nvidia-smi", f'{count}\n[ "$n" != 2 ] || state=Completed\n{said_once}')
    done = prove(box, fabric="yes")
    assert done.returncode == 0 and done.stdout.count("waiting for Fabric Manager: In Progress") == 2


@pytest.mark.runs("nvidia/reboot.sh", "base/drain.sh")
def test_rig_is_rebooted_when_it_is_quiet(each_sh, box):
    """A service at work is waited for, named, and never cut."""
    box.tool("curl", f"cat {box.home}/slots 2>/dev/null && printf '\n200\n' || printf '\n404\n'")
    box.put("active", "rigwright-chat.service\nrigwright-code@1.service\n")
    box.tool("ss", f"cat {box.home}/connections")
    box.put("connections", "")
    lines = [
        f"rigwright-{name}.service 1 {port} http://127.0.0.1:{port}/health http://127.0.0.1:{port}/slots is_busy.:true"
        for name, port in (("chat", 8080), ("code@1", 8081))
    ]
    drain = role_text("base", "drain.sh")
    text = script("nvidia", "reboot.sh", before=drain, DRAINS="\n".join(lines))
    reboot = "systemd-run -q --on-active=1 --timer-property=AccuracySec=100ms -- systemctl reboot"
    done = box.run(text)
    assert (done.returncode, done.stderr, box.did()) == (0, "", [reboot])
    for name, busy in {
        "connections": "ESTAB 0 0 a b\n",
        "slots": '[{"is_busy":true},{"is_busy":false}]',
    }.items():
        box.put(name, busy)
        done = box.run(text)
        assert (done.returncode, done.stderr, box.did()) == (1, "", [])
        assert said(done) == [
            "rigwright-chat.service is at work, so this rig was not rebooted; deploy again when it is quiet, or stop it"
        ]
        box.put(name, "[]" if name == "slots" else "")
    assert box.run(script("nvidia", "reboot.sh", before=drain, DRAINS="")).returncode == 0 and box.did() == [reboot]
