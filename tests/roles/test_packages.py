"""Packages come and go on a real apt in a folder: what the owner installed, marked or set is not ours to take."""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rigwright.resources import script

from .apt_box import AptBox, said

pytestmark = [
    pytest.mark.patience,
    pytest.mark.skipif(shutil.which("apt-get") is None, reason="apt is missing"),
]
_MANAGER = ("manager.sh", "apt.sh")


@pytest.fixture
def box(tmp_path: Path) -> AptBox:
    """A system with `base`; `tool` and `other` need `lib`."""
    box = AptBox.made(tmp_path / "box")
    box.offer("base")
    box.offer("lib")
    box.offer("tool", Depends="lib", conffile="x = 1\n")
    box.offer("other", Depends="lib")
    box.offer("lighttpd", conffile="port = 80\n")
    box.apt("update")
    box.apt("install", "base")
    return box


def install(box: AptBox, *names: str, **variables: str):
    """What a deploy runs."""
    return box.run(
        script("base", *_MANAGER, "bring.sh", "packages.sh", PACKAGES=" ".join(names), RECORD=str(box.record)),
        **variables,
    )


def remove(box: AptBox, *, asked: str = ""):
    """What a removal runs of packages."""
    text = script("base", *_MANAGER, "removal.sh", RECORD=str(box.record), ASKED=asked)
    return box.run(f'{text}\nremove_packages\n[ -z "$failed" ]')


@pytest.mark.runs("base/manager.sh", "base/apt.sh", "base/bring.sh", "base/packages.sh", "base/removal.sh")
def test_removal_takes_what_the_deploy_brought(box, each_sh):
    """By name, and what came along; the settings too."""
    done = install(box, "tool")
    assert (done.returncode, done.stderr) == (0, "")
    assert box.lines() == ["lib came purge", "tool asked purge"]
    assert remove(box).returncode == 0
    assert box.there() == {"base": "ii"} and not box.record.exists()


def test_what_the_owner_installs_between_two_runs_is_the_owners(box):
    """The first run fails and says to mend it with apt; what is then installed by hand is not ours."""
    failed = install(box, "tool", "nosuch")
    assert said(failed) == ["apt-get install failed: E: Unable to locate package nosuch; mend it with apt on the rig"]
    box.apt("install", "lighttpd", "other")
    (box.home / "etc/lighttpd.conf").write_text("port = 81\n")
    assert install(box, "tool").returncode == 0
    assert box.lines() == ["tool asked purge"]
    done = remove(box)
    assert done.returncode == 0, done.stdout
    assert box.there() == {"base": "ii", "lib": "ii", "lighttpd": "ii", "other": "ii"}
    assert (box.home / "etc/lighttpd.conf").read_text() == "port = 81\n"
    assert box.apt("-s", "autoremove") == ""


def test_what_another_program_installs_meanwhile_is_not_ours(box):
    """cloud-init, unattended-upgrades, the owner: between what was there before and what is there after."""
    folder = box.home / "tmp/bin"
    folder.mkdir()
    meanwhile = 'case " $* " in *" -y "*) /usr/bin/apt-get -qq -y install lighttpd >&2 ;; esac'
    (folder / "apt-get").write_text(f'#!/bin/sh\n{meanwhile}\nexec /usr/bin/apt-get "$@"\n')
    (folder / "apt-get").chmod(0o755)
    done = install(box, "tool", PATH=f"{folder}:{os.environ['PATH']}")
    assert done.returncode == 0, done.stdout
    assert box.there().keys() == {"base", "lib", "tool", "lighttpd"}
    assert box.lines() == ["lib came purge", "tool asked purge"]


def test_record_of_0_1_0_takes_no_package_that_somebody_installed_by_hand(box):
    """That version listed whatever had come in the meantime, and did not say what it had asked for by name."""
    box.apt("install", "tool", "lighttpd")
    box.record.write_text("lib\nlighttpd\ntool\n")
    done = remove(box, asked="tool")
    assert "these packages stay, somebody installed them by hand: lighttpd " in said(done, "progress")
    # Whose settings they are it did not say either.
    assert (done.returncode, box.there()) == (0, {"base": "ii", "lighttpd": "ii", "tool": "rc"})


def test_what_came_along_and_was_installed_by_hand_since_stays(box):
    """apt knows that somebody asked for it."""
    install(box, "tool")
    box.apt("install", "lib")
    done = remove(box)
    assert "these packages stay, somebody installed them by hand: lib " in said(done, "progress")
    assert box.there() == {"base": "ii", "lib": "ii"}


def test_what_others_need_stays(box):
    """A package of the owner's needs one of ours, and nobody marked it."""
    install(box, "tool")
    box.apt("install", "other")
    box.apt("remove", "other", "--no-auto-remove")
    box.apt("install", "other")
    assert remove(box).returncode == 0
    assert box.there() == {"base": "ii", "lib": "ii", "other": "ii"}


def test_what_nothing_needs_and_is_not_ours_stays_with_what_it_needs(box):
    """A package that apt itself would remove is still the owner's to remove."""
    box.offer("meta", Depends="middle")
    box.offer("middle", Depends="lib")
    box.apt("update")
    install(box, "tool")
    box.apt("install", "meta")
    box.apt("remove", "--no-auto-remove", "meta")
    assert remove(box).returncode == 0
    assert box.there() == {"base": "ii", "lib": "ii", "middle": "ii"}


def test_settings_that_were_changed_stay(box):
    """The program goes, the file that somebody edited does not."""
    install(box, "tool")
    (box.home / "etc/tool.conf").write_text("x = 2\n")
    done = remove(box)
    assert "/etc/tool.conf stay, they were changed here" in said(done, "progress")
    assert (done.returncode, box.there()) == (0, {"base": "ii", "tool": "rc"})
    assert (box.home / "etc/tool.conf").read_text() == "x = 2\n"


def test_settings_that_were_there_before_stay(box):
    """The owner had the package once, and took it off without its settings."""
    box.apt("install", "tool")
    box.apt("autoremove", "tool")
    assert box.there() == {"base": "ii", "tool": "rc"}
    install(box, "tool")
    assert box.lines() == ["lib came purge", "tool asked remove"]
    assert remove(box).returncode == 0
    assert box.there() == {"base": "ii", "tool": "rc"} and (box.home / "etc/tool.conf").exists()


def test_nothing_is_removed_to_make_room(box):
    """A package of the owner's that cannot be beside ours is named; the owner decides."""
    box.offer("ours", Conflicts="lighttpd")
    box.apt("update")
    box.apt("install", "lighttpd")
    done = install(box, "ours")
    assert done.returncode == 1
    assert [line for line in said(done) if "they need the room of lighttpd" in line], done.stdout
    assert box.there() == {"base": "ii", "lighttpd": "ii"} and box.lines() == []


def test_interrupted_installation_is_accounted_for(box):
    """What was about to come is noted before it comes; what never came is forgotten, what came stays known."""
    box.record.parent.mkdir(exist_ok=True)
    box.record.write_text("lib planned\nlighttpd planned\nother planned\n")
    box.apt("install", "other")
    assert install(box, "tool").returncode == 0
    assert box.lines() == ["lib planned", "other planned", "tool asked purge"]
    done = remove(box)
    # Nobody knows any more who installed it by name.
    assert "these packages stay, somebody installed them by hand: other " in said(done, "progress")
    assert box.there() == {"base": "ii", "lib": "ii", "other": "ii"}


def test_failed_removal_fails_and_can_be_run_again(box):
    """The reason is said, and the list is kept for the next run."""
    install(box, "tool")
    script = box.home / "var/lib/dpkg/info/tool.prerm"
    script.write_text("#!/bin/sh\necho the disk is on fire\nexit 1\n")
    script.chmod(0o755)
    done = remove(box)
    assert done.returncode == 1
    assert "the disk is on fire" in said(done)[0] and said(done)[0].endswith("mend it, then run again")
    assert box.lines() == ["lib came purge", "tool asked purge"]
    script.unlink()
    assert remove(box).returncode == 0
    assert box.there() == {"base": "ii"}


def test_package_that_does_not_configure_is_named_with_its_reason(box):
    """What its script said, not only that dpkg failed: when it comes, and when an interruption left it."""
    box.offer("kaputt", postinst="echo no space for my cat; exit 3")
    box.apt("update")
    done = install(box, "kaputt")
    expected = "no space for my cat dpkg: error processing package kaputt (--configure):"
    assert said(done)[0].startswith(f"apt-get install failed: {expected}")
    assert box.lines() == ["kaputt asked purge"]
    done = install(box, "tool")
    assert said(done)[0].startswith(f"dpkg --configure -a failed: {expected}")


@pytest.fixture
def held(box: AptBox) -> Iterator[Path]:
    """The lock of apt's lists, as `apt-daily` holds it after a boot."""
    path = box.home / "var/lib/apt/lists/lock"
    with path.open("w") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        release = threading.Timer(2, fcntl.lockf, (file, fcntl.LOCK_UN))
        release.start()
        yield path
        release.cancel()


def test_lock_of_the_lists_is_waited_for(box, held):
    """The first deploy after a boot waits for what holds it, and says so."""
    done = install(box, "tool")
    assert done.returncode == 0, done.stdout
    waiting = [
        line for line in said(done, "progress") if "waiting for another package manager: Could not get lock" in line
    ]
    assert len(waiting) == 1 and str(held) in waiting[0]


def test_lock_that_is_never_given_back_is_named(box, held):
    """After ten minutes: here at once."""
    done = install(box, "tool", PATIENCE="0")
    assert done.returncode == 1
    assert said(done)[0].startswith(f"apt is in use for ten minutes: Could not get lock {held}")


_BROKEN = {
    "no signature": (
        "deb file:{home}/unsigned ./",
        "E: The repository 'file:{home}/unsigned ./ Release' does not have",
    ),
    "not there": (
        "deb [trusted=yes] file:{home}/gone ./",
        "E: Failed to fetch file:{home}/gone/./Packages",
    ),
}


@pytest.mark.parametrize("case", _BROKEN)
def test_broken_source_of_a_stranger_stops_nothing(box, case):
    """It is named, and ours come from elsewhere."""
    line, expected = (text.format(home=box.home) for text in _BROKEN[case])
    (box.home / "etc/apt/sources.list.d/foreign.list").write_text(f"{line}\n")
    (box.home / "unsigned").mkdir()
    (box.home / "unsigned/Packages").touch()
    done = install(box, "tool")
    assert done.returncode == 0, done.stdout
    warned = [line for line in said(done, "progress") if line.startswith("a package source does not work")]
    assert len(warned) == 1 and expected in warned[0]
    missing = install(box, "nosuch")
    assert "Unable to locate package nosuch" in said(missing)[0]
    assert expected in said(missing)[0] and said(missing)[0].endswith("check the rig's network and sources")


_UNREADABLE = {
    "foreign.list": "deb http://x\n",
    "type.list": "rpm http://x ./\n",
    "foreign.sources": "Types: deb\nURIs: http://x\n",
}


@pytest.mark.parametrize("names", [(one,) for one in _UNREADABLE] + [tuple(_UNREADABLE)], ids=str)
def test_sources_that_apt_cannot_read_stop_nothing(box, names):
    """They are named and left out; what the others offer comes, and goes again. They stay as they are."""
    folder = box.home / "etc/apt/sources.list.d"
    for name in names:
        (folder / name).write_text(_UNREADABLE[name])
    done = install(box, "tool")
    assert done.returncode == 0, done.stdout
    assert {line.split()[3].rstrip(",") for line in said(done, "progress") if "cannot read" in line} == set(names)
    assert box.lines() == ["lib came purge", "tool asked purge"]
    done = remove(box)
    assert done.returncode == 0, done.stdout
    assert box.there() == {"base": "ii"}
    assert {path.name: path.read_text() for path in folder.iterdir()} == {name: _UNREADABLE[name] for name in names}


def test_malformed_list_of_the_system_is_named(box):
    """Nothing comes from anywhere without it."""
    (box.home / "etc/apt/sources.list").write_text("deb http://x\n")
    done = install(box, "tool")
    assert done.returncode == 1
    assert "Malformed entry 1 in list file" in said(done)[0] and "sources.list" in said(done)[0]
