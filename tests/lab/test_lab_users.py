"""The lab and the other users of its host: they get nothing of it, and its own user gets the key."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rigwright.errors import RigwrightError
from rigwright.lab import Lab, RigWish
from rigwright.lab.forwarding import RUNTIME
from rigwright.lab.inventory import host_data
from rigwright.lab.mounts import mounts_below

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="virtual rigs need root"),
]

# Two accounts of this host: nobody, since ssh looks for a name; for all else a number is one.
USER, STRANGER = 65534, 31002
PLACE = "usr/local/bin"


def plant(lab: Lab) -> tuple[Path, Path]:
    """As a rig's root may: programs that make root of everybody, and a way to a disk of the machine; both from here."""
    place = lab.paths.rig("rig1").root / PLACE
    shutil.copy("/usr/bin/id", place / "become")
    (place / "become").chmod(0o4755)
    lab.exec("rig1", ["sh", "-c", f"cd /{PLACE}; rm -f disk; install -m 4755 /usr/bin/id own; mknod -m 666 disk b 7 0"])
    return place / "become", place / "disk"


def become(user: int, function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function returns when another account calls it, or the error that it raises."""
    ours, theirs = multiprocessing.get_context("fork").Pipe(duplex=False)

    def child() -> None:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
        try:
            theirs.send(function(*arguments))
        except (OSError, RigwrightError, subprocess.SubprocessError) as error:  # the test looks at it
            theirs.send(error)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    answer = ours.recv()
    process.join()
    return answer


def open_to(paths: list[Path]) -> set[Path]:
    """What of these the calling account may read or write."""
    found = set()
    for path in paths:
        for mode in (os.O_RDONLY, os.O_WRONLY):
            try:
                os.close(os.open(path, mode | os.O_NONBLOCK))
                found.add(path)
            except OSError:
                pass
    return found


def own(lab: Lab) -> list[Path]:
    """Everything below the lab's directory, and some of what labs share."""
    shared = lab.paths.shared
    listed = [path for part in (lab.paths.home, shared / "snapshots", shared / "cache") for path in part.rglob("*")]
    listed += [*(shared / "locks").iterdir(), *RUNTIME.iterdir()]
    return [lab.paths.home, shared / "images", *(shared / "images").glob("*/*"), *listed]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A lab that a user made with sudo, with a rig whose root has bad intentions."""
    lab = Lab("t-users")
    lab.down()
    umask = os.umask(0o077)  # as on a hardened host
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SUDO_UID", str(USER))
        patch.setenv("SUDO_GID", str(USER))
        lab.up([RigWish("rig1", ssh_user="ada", hardware="1x-h100-capture")])
    os.umask(umask)
    yield lab
    lab.down()


def test_stranger_gets_nothing_but_names(lab: Lab) -> None:
    """No disk, root, snapshot, image, cache, lock or console opens, for reading or for writing."""
    program, _ = plant(lab)
    paths = own(lab)
    assert {program, lab.paths.rig("rig1").disk_image} < set(paths)
    names = {lab.paths.key.with_suffix(".pub"), lab.paths.known_hosts, lab.paths.record, lab.paths.rig_list}
    assert become(STRANGER, open_to, paths) == names


def test_setuid_programs_and_devices_of_a_rig_have_no_effect_on_the_host(lab: Lab) -> None:
    """Even with all its directories open, a rig's root gives nobody rights here; in the rig it does as it should."""
    program, device = plant(lab)
    directories = (lab.paths.rigs, lab.paths.rig("rig1").home)
    for directory in directories:
        directory.chmod(0o755)
    try:
        said = become(STRANGER, subprocess.check_output, [program])
        assert b"euid" not in said and f"uid={STRANGER}".encode() in said
        assert isinstance(become(STRANGER, os.open, device, os.O_RDONLY), PermissionError)
    finally:
        for directory in directories:
            directory.chmod(0o700)
    assert "euid=0(root)" in lab.exec("rig1", ["runuser", "-u", "ada", f"/{PLACE}/own"]).stdout
    assert "H100" in lab.exec("rig1", ["runuser", "-u", "ada", "--", "nvidia-smi", "-L"]).stdout
    assert lab.exec("rig1", ["runuser", "-u", "ada", "--", "sudo", "-n", "id", "-u"]).stdout == "0\n"


def test_user_of_the_lab_logs_in_with_its_key_and_owns_nothing_else(lab: Lab) -> None:
    """Who called sudo finds the rigs and gets in without it; root works in no directory of theirs."""
    rig = become(USER, lab.rigs)[0]
    assert host_data(rig)["ssh_hostname"] == rig.address
    done = become(USER, subprocess.run, [*rig.ssh_command(), "hostname"], -1, None, None, -1)
    assert done.stdout == b"rig1\n"
    assert {path for path in own(lab) if path.lstat().st_uid == USER} == {lab.paths.key}
    assert become(USER, open_to, own(lab)) - become(STRANGER, open_to, own(lab)) == {lab.paths.key}


def test_up_closes_what_an_older_version_left_open() -> None:
    """Open directories, disks, caches and mounts, and a home of the user's own, of a lab that is up or off."""
    lab = Lab("t-old")
    lab.down()
    try:
        paths = lab.up([RigWish("rig1")]) and lab.paths
        root, disk = paths.rig("rig1").root, paths.rig("rig1").disk_image
        program, _ = plant(lab)
        for path in (paths.shared / "cache", paths.images, paths.snapshots, paths.home, paths.rigs, root.parent):
            path.chmod(0o755)
        disk.chmod(0o644)
        paths.rig_list.unlink()
        os.chown(paths.home, USER, USER)
        for point in mounts_below(paths.home):
            subprocess.run(["mount", "-o", "remount,bind,suid,dev", point], check=True)
        assert {disk, program} < become(STRANGER, open_to, own(lab))
        assert b"euid=0(root)" in become(STRANGER, subprocess.check_output, [program])

        before = lab.exec("rig1", ["cat", "/proc/sys/kernel/random/boot_id"]).stdout
        lab.up([RigWish("rig1")])
        assert before == lab.exec("rig1", ["cat", "/proc/sys/kernel/random/boot_id"]).stdout
        assert not {disk, program, paths.shared / "cache", paths.home} & become(STRANGER, open_to, own(lab))
        assert paths.home.stat().st_uid == 0
        root.parent.parent.chmod(0o755)
        assert b"euid" not in become(STRANGER, subprocess.check_output, [program])

        os.chown(paths.home, USER, USER)
        become(USER, os.symlink, "/etc", paths.home / "planted")
        with pytest.raises(RigwrightError, match=r"t-old/planted was not made by the lab, .* delete it"):
            lab.up([RigWish("rig1")])
    finally:
        lab.down()


def test_rig_whose_home_moved_to_another_disk_boots_and_the_host_is_left_alone(lab: Lab) -> None:
    """What the lab writes before a boot lies in the rig, where the rig's own links lead."""
    place = f"/srv/{lab.paths.mark}"
    moved = f"mkdir -p {place}; mv /home {place}/home; ln -s {place}/home /home; rm -r {place}/home/ada/.ssh"
    lab.exec("rig1", ["sh", "-ec", moved])
    rig = lab.reboot("rig1")
    assert not Path(place).exists()
    done = subprocess.run([*rig.ssh_command(), "realpath .ssh"], capture_output=True, text=True, check=False)
    assert done.stdout == f"{place}/home/ada/.ssh\n"


def test_root_works_in_no_directory_that_others_may_change(tmp_path: Path) -> None:
    """A lab below a user's directory is refused before anything is made there."""
    place = tmp_path / "home"
    place.mkdir()
    os.chown(place, USER, USER)
    with pytest.raises(RigwrightError, match=rf"{place} may be changed by user {USER}, and root works in it; set RIGW"):
        Lab("t-users", root=place / "lab").up([RigWish("rig1")])
    assert not list(place.iterdir())
    os.chown(place, 0, 0)
    (place / "images").mkdir(mode=0o755)
    with pytest.raises(RigwrightError, match=f"{place}/images is there already and was not made by the lab"):
        Lab("t-users", root=place).up([RigWish("rig1")])
    assert (place / "images").stat().st_mode & 0o777 == 0o755
    place.chmod(0o777)
    with pytest.raises(RigwrightError, match=f"{place} may be changed by others than root"):
        Lab("t-users", root=place / "lab").up([RigWish("rig1")])
