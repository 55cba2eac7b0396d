"""Power that fails in the middle of an installation: whatever was under way, the next run brings it to its end."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from .apt_box import said
from .driver_box import DriverBox, role
from .test_driver_scripts import NEW, OLD, UPGRADE, WANTED, of, with_old

pytestmark = [
    pytest.mark.patience,
    pytest.mark.skipif(shutil.which("apt-get") is None, reason="apt is missing"),
]
# Each of their calls is a place at which it may end.
_TOOLS = ("apt-get", "apt-mark", "apt-cache", "dpkg", "dpkg-query", "dkms", "sync", "mv")
PINS = "Package: nvidia-* libcuda1\nPin: version 580.*\nPin-Priority: 1000\n"


def made(home: Path, breaks: str) -> DriverBox:
    """A rig that computes with its owner's driver, of which one package is held by us; and a newer one is offered."""
    box = DriverBox.made(home)
    for name in ("base", "linux-headers", "mine"):
        box.offer(name)
    box.apt("update")
    box.apt("install", "base", "mine")
    with_old(box)
    box.run("apt-mark hold libcuda1 mine")
    box.put("var/lib/rigwright/nvidia/held", "libcuda1\n")
    box.put("etc/apt/preferences.d/rigwright-nvidia", PINS)
    box.offer_driver(NEW, breaks=breaks)
    box.apt("update")
    return box


def cut_at(box: DriverBox, place: int) -> int:
    """An installation that ends with everything that it started; how often the tools were called."""
    kept = {name: box.home / "bin" / name for name in _TOOLS}
    texts = {name: path.read_text() for name, path in kept.items() if path.exists()}
    (box.home / "real").mkdir()
    for name in _TOOLS:
        real = shutil.which(name)
        if name in texts:
            real = str(kept[name].rename(box.home / "real" / name))
        count = f"n=$(($(cat {box.home}/count) + 1)); echo $n >{box.home}/count"
        box.tool(name, f'{count}; [ $n -lt {place} ] || kill -9 0; exec {real} "$@"')
    box.put("count", "0")
    text = box.placed(role("install.sh", **{**WANTED, **UPGRADE}))
    subprocess.run(
        ["sh", "-c", text], env=box.environment | {"PATIENCE": "5"}, start_new_session=True,
        stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=100,
    )  # fmt: skip
    for name, path in kept.items():
        path.unlink()
        if name in texts:
            (box.home / "real" / name).rename(path)
    return int(box.read("count"))


def again(box: DriverBox) -> subprocess.CompletedProcess[str]:
    """The next run, for which the plan counts what is there; and apt keeps to the branch that is planned."""
    box.put("etc/apt/preferences.d/rigwright-nvidia", PINS)
    is_whole = box.has() >= of(OLD) or box.has() >= of(NEW)
    return box.role("install.sh", **{**WANTED, **(UPGRADE if is_whole else {})})


@pytest.mark.parametrize("place", [3, 8, 14, 22, 27, 31, 38, 43])
def test_next_run_installs_what_was_cut(tmp_path, place):
    """With the hold, with the way back to the driver that computed, and with what came on the record."""
    box = made(tmp_path / "box", "")
    assert cut_at(box, place) == place
    done = again(box)
    assert (done.returncode, said(done)) == (0, []), done.stdout
    new = {"base=1", "mine=1", "linux-headers=1", "nvidia-driver-pinning-580=1"}
    assert box.has() == of(NEW) | new and set(box.there().values()) <= {"ii", "hi"}
    assert box.holds() == {"libcuda1", "mine"} and (box.state / "held").read_text() == "libcuda1\n"
    assert (box.state / "unproven").read_text() == f"{OLD}\n"
    assert f"libcuda1={OLD}\n" in (box.state / "previous/packages").read_text()
    record = box.read("var/lib/rigwright/packages.installed").split("\n")
    assert {line.split()[0] for line in record if line} == {"linux-headers", "nvidia-driver-pinning-580"}


@pytest.mark.parametrize("place", [36, 43, 48, 50, 51, 52, 55, 58, 60])
def test_next_run_finishes_a_way_back_that_was_cut(tmp_path, place):
    """The owner's driver is there, whole, held as before, and the owner's."""
    box = made(tmp_path / "box", "compile")
    assert cut_at(box, place) == place
    done = again(box)
    assert done.returncode == 1 and any(f"driver {OLD} is back" in line for line in said(done)), done.stdout
    assert box.has() - {"linux-headers=1"} == of(OLD) | {"base=1", "mine=1"}
    assert set(box.there().values()) <= {"ii", "hi", "rc"} and box.holds() == {"libcuda1", "mine"}
    assert {path.name for path in box.state.iterdir()} == {"held"}
    record = box.read("var/lib/rigwright/packages.installed").split("\n")
    assert not {line.split()[0] for line in record if line} & {name.split("=")[0] for name in of(OLD)}
