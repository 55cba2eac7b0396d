"""The scripts that bring and place model files, run for real: nothing is lost or led astray, whoever else works."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from rigwright.resources import script

from .test_switch import bench, versions  # noqa: F401  # fixtures

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="files are given to root: needs root")

ONE, TWO = b"GGUF one", b"GGUF two!"


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass
class Disk:
    """A directory of model files, and the scripts of the role on it."""

    home: Path

    @property
    def dest(self) -> Path:
        """The model file."""
        return self.home / "w" / "m.gguf"

    def text(self, role: str, *names: str, tail: str = "", **variables: str | int) -> str:
        """Scripts as they travel; the state of the rig lies in a folder of the test's own."""
        given = {
            "DEST": self.dest, "STAMP": self.dest.with_name(".m.gguf.rigwright"), "PART": f"{self.dest}.part",
            "ORIGIN": "upload", "SHA256": "", "RECORD": self.home / "brought", "HIDDEN": "", **variables,
        }  # fmt: skip
        text = script(role, *names, **{key: str(value) for key, value in given.items()}) + "\n" + tail
        text = text.replace("/var/lib/rigwright/weights.brought", str(self.home / "brought"))
        return text.replace("/etc/systemd/system", f"{self.home}/units").replace("/var/lib/rigwright/services", "/none")

    def start(self, *arguments: str, **variables: str | int) -> subprocess.Popen[bytes]:
        """The scripts on their way."""
        return subprocess.Popen(
            ["sh", "-c", self.text(*arguments, **variables)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=self.home,
        )  # fmt: skip

    def run(self, *arguments: str, stdin: bytes = b"", code: int = 0, **variables: str | int) -> str:
        """What they say."""
        process = self.start(*arguments, **variables)
        said, _ = process.communicate(stdin, timeout=30)
        assert process.returncode == code, said.decode()
        return said.decode()

    def upload(self, content: bytes, **options: int) -> str:
        """upload.sh."""
        return self.run("base", "upload.sh", stdin=content, TOTAL=len(content), QUIET=60, **options)

    def bring(self, content: bytes, *, code: int = 0) -> str:
        """Uploaded and installed."""
        self.upload(content)
        names = "place.sh", "accept.sh", "install.sh"
        return self.run("weights", *names, SHA256=sha(content), code=code)

    def place(self, unit: str) -> str:
        """What a switch to a unit does with its model files; the names of those that are gone."""
        return self.run("weights", "place.sh", tail="place", stdin=unit.encode())


@pytest.fixture
def disk(tmp_path: Path, each_sh: str) -> Iterator[Disk]:
    """An empty directory of root's."""
    (tmp_path / "w").mkdir()
    (tmp_path / "units").mkdir()
    return Disk(tmp_path)


def unit_of(disk: Disk, content: bytes) -> str:
    """A unit that names a content."""
    return f"[Service]\n# weights {sha(content)} {disk.dest}\n"


def test_file_is_installed_with_its_stamp(disk):
    """Root's, readable for all, and known."""
    disk.bring(ONE)
    status = disk.dest.stat()
    assert (disk.dest.read_bytes(), status.st_uid, status.st_mode & 0o777) == (ONE, 0, 0o644)
    stamp = disk.dest.with_name(".m.gguf.rigwright").read_text().split()
    assert stamp == [sha(ONE), str(len(ONE)), str(int(status.st_mtime)), "upload"]
    assert str(disk.dest) in (disk.home / "brought").read_text().splitlines()


def test_file_of_a_whole_repository_goes_by_its_sum(disk):
    """It need not be GGUF, but its sum must be known, and be that of what came."""
    names, config = ("place.sh", "accept.sh", "install.sh"), b"{}"
    for sum_of, code in (("", 1), (sha(ONE), 1), (sha(config), 0)):
        disk.upload(config)
        disk.run("weights", *names, SHA256=sum_of, WHOLE="yes", code=code)
        assert disk.dest.exists() == (code == 0)
    os.utime(disk.dest, (1, 1))
    disk.run("weights", "place.sh", "accept.sh", "adopt.sh", SHA256=sha(config), WHOLE="yes")
    disk.upload(config)
    assert "no GGUF" in disk.run("weights", *names, SHA256=sha(config), code=1)


@pytest.mark.runs("base/upload.sh", "weights/install.sh", "weights/adopt.sh", "weights/place.sh", "weights/accept.sh")
def test_other_content_waits_for_the_unit_that_names_it(disk):
    """B5: a name changes hands with the unit, there and back; nothing is copied, nothing is lost."""
    disk.bring(ONE)
    os.utime(disk.dest, (1, 1))
    disk.run("weights", "place.sh", "accept.sh", "adopt.sh", SHA256=sha(ONE))
    disk.bring(TWO)
    assert disk.dest.read_bytes() == ONE
    assert disk.place(unit_of(disk, TWO)) == "" and disk.dest.read_bytes() == TWO
    assert disk.place(unit_of(disk, TWO)) == ""
    assert disk.place(unit_of(disk, ONE)) == "" and disk.dest.read_bytes() == ONE
    assert disk.place(unit_of(disk, TWO)) == "" and disk.dest.read_bytes() == TWO
    assert disk.place(unit_of(disk, b"GGUF never")) == "m.gguf\n" and disk.dest.read_bytes() == TWO


def test_unit_of_0_1_gets_its_content_back(disk):
    """It names its model and the first digits of the sum."""
    disk.bring(ONE)
    os.utime(disk.dest, (1, 1))
    disk.run("weights", "place.sh", "accept.sh", "adopt.sh", SHA256=sha(ONE))
    disk.bring(TWO)
    disk.place(unit_of(disk, TWO))
    old = f"ExecStart=/x \\\n  --model {disk.dest} \\\n  --alias a\nEnvironment=RIGWRIGHT_WEIGHTS={sha(ONE)[:16]}\n"
    assert disk.place(old) == "" and disk.dest.read_bytes() == ONE


@pytest.mark.parametrize("cut", ["mv -fT", "write", "install -d"])
def test_cut_anywhere_is_made_good_by_the_next_switch(disk, cut):
    """A power cut between two steps: the same unit again, or the one before, has its file."""
    disk.bring(ONE)
    os.utime(disk.dest, (1, 1))
    disk.run("weights", "place.sh", "accept.sh", "adopt.sh", SHA256=sha(ONE))
    disk.bring(TWO)
    whole = disk.text("weights", "place.sh", tail="place")
    start = whole.index("place() {")
    for number in range(whole[start:].count(cut)):
        pieces = whole[start:].split(cut)
        text = (
            whole[:start] + cut.join(pieces[: number + 1]) + f"kill -9 -- -$$; {cut}" + cut.join(pieces[number + 1 :])
        )
        for content in (TWO, ONE, TWO):
            subprocess.run(["sh", "-c", text], input=unit_of(disk, content).encode(), start_new_session=True)
            assert disk.place(unit_of(disk, content)) == ""
            assert disk.dest.read_bytes() == content


def test_contents_that_nobody_would_go_back_to_are_deleted(disk):
    """What a unit names stays, and what another run brought within the hour."""
    for content in (ONE, TWO, b"GGUF three"):
        disk.bring(content)
        os.utime(disk.dest, (1, 1))
        disk.run("weights", "place.sh", "accept.sh", "adopt.sh")
        disk.place(unit_of(disk, content))
    (disk.home / "units/rigwright-other.service").write_text(unit_of(disk, TWO))
    kept = disk.dest.parent / ".rigwright"
    forget = {"tail": "forget_kept", "stdin": unit_of(disk, b"GGUF three").encode()}
    disk.run("weights", "place.sh", **forget)
    assert (kept / f"{sha(ONE)[:8]}-m.gguf").exists()
    for file in kept.glob(".*.rigwright"):
        os.utime(file, (1, 1))
    disk.run("weights", "place.sh", **forget)
    assert [file.name for file in kept.glob("[!.]*")] == [f"{sha(TWO)[:8]}-m.gguf"]


def test_file_of_ours_that_was_touched_stays_ours(disk):
    """M8: a restore or rsync changes the time, not the owner; the next version may take its name."""
    disk.bring(ONE)
    os.utime(disk.dest, (7, 7))
    disk.run("weights", "place.sh", "accept.sh", "adopt.sh", SHA256=sha(TWO))
    assert disk.dest.with_name(".m.gguf.rigwright").read_text().split() == [sha(ONE), str(len(ONE)), "7", "upload"]
    assert str(disk.dest) in (disk.home / "brought").read_text().splitlines()


def test_file_of_the_owner_is_taken_as_it_is_and_stays_his(disk):
    """Also where ours was called so before: what he put there is never on the list of what removal takes."""
    disk.bring(ONE)
    disk.dest.write_bytes(TWO)
    said = disk.run("weights", "place.sh", "accept.sh", "adopt.sh", SHA256=sha(ONE), code=1)
    assert "move it away, it was not touched" in said and disk.dest.read_bytes() == TWO
    disk.run("weights", "place.sh", "accept.sh", "adopt.sh", SHA256=sha(TWO), HIDDEN="yes")
    assert disk.dest.with_name(".m.gguf.rigwright").read_text().endswith(" found\n")
    assert str(disk.dest) not in (disk.home / "brought").read_text().splitlines()


def test_file_that_nobody_can_read_is_told_before_the_switch(disk):
    """M13: the service is nobody's account."""
    disk.dest.write_bytes(ONE)
    disk.dest.chmod(0o600)
    said = disk.run("weights", "place.sh", "accept.sh", "adopt.sh", code=1)
    assert "cannot be read by the service's account; chmod o+r it" in said


def test_planted_links_are_not_followed(disk):
    """A7: root writes through no link that lies where a part, a stamp or a record is made."""
    secret = disk.home / "shadow"
    secret.write_text("root:x\n")
    secret.chmod(0o600)
    before = secret.stat()
    Path(f"{disk.dest}.part").symlink_to(secret)
    disk.dest.with_name(".m.gguf.rigwright.rigwright-new").symlink_to(secret)
    (disk.home / "brought.rigwright-new").symlink_to(secret)
    disk.bring(ONE)
    after = secret.stat()
    assert (secret.read_text(), after.st_mode, after.st_uid) == ("root:x\n", before.st_mode, before.st_uid)
    assert disk.dest.read_bytes() == ONE and not disk.dest.is_symlink()
    os.link(secret, f"{disk.dest}.part")
    disk.upload(TWO)
    assert secret.read_text() == "root:x\n"


def test_sum_that_could_not_be_had_is_never_accepted(disk):
    """A disk that cannot be read to the end gives no sum, which is none."""
    disk.upload(ONE)
    tool = disk.home / "sha256sum"
    tool.write_text("#!/bin/sh\nexit 1\n")
    tool.chmod(0o755)
    names = "place.sh", "accept.sh", "install.sh"
    text = (
        disk.text("weights", *names).replace("LC_ALL=C", f"LC_ALL=C PATH={disk.home}:$PATH").replace(' PATH="', ' X="')
    )
    done = subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "cannot be read to its end" in done.stdout
    assert not disk.dest.exists()


def test_upload_goes_on_where_it_ended(disk):
    """The rig says from which byte on; what is longer than the file is none of it."""
    Path(f"{disk.dest}.part").write_bytes(ONE[:5])
    said = disk.run("base", "upload.sh", stdin=ONE[5:], TOTAL=len(ONE), QUIET=60)
    assert said == "::offset 5\n" and Path(f"{disk.dest}.part").read_bytes() == ONE
    said = disk.run("base", "upload.sh", stdin=b"GGUF", TOTAL=4, QUIET=60)
    assert said == "::offset 0\n" and Path(f"{disk.dest}.part").read_bytes() == b"GGUF"


def test_second_upload_of_a_file_is_told_at_once(disk):
    """H5, B16: one writes, the other does not; what was checked is never written to again."""
    first = disk.start("base", "upload.sh", TOTAL=len(ONE), QUIET=60)
    assert first.stdout and first.stdin and first.stdout.readline() == b"::offset 0\n"
    first.stdin.write(ONE[:5])
    first.stdin.flush()
    while Path(f"{disk.dest}.part").stat().st_size < 5:
        time.sleep(0.01)
    said = disk.run("base", "upload.sh", stdin=TWO, TOTAL=len(TWO), QUIET=60, code=1)
    assert "another run is uploading m.gguf.part right now" in said
    names = "place.sh", "accept.sh", "install.sh"
    assert "another run is uploading" in disk.run("weights", *names, code=1, SHA256=sha(ONE), PATIENCE=1)
    first.communicate(ONE[5:], timeout=10)
    disk.run("weights", *names, SHA256=sha(ONE))
    assert disk.dest.read_bytes() == ONE


def test_file_that_another_run_finished_meanwhile_is_none_of_ours(disk):
    """Who waited for the part holds a file that has its name by now: it is neither checked nor named again."""
    disk.upload(ONE)
    part = Path(f"{disk.dest}.part")
    with part.open("r+b") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        waiting = disk.start("weights", "place.sh", "accept.sh", "install.sh", SHA256=sha(ONE))
        time.sleep(1)
        part.rename(disk.dest)
    said, _ = waiting.communicate(timeout=20)
    assert waiting.returncode == 1 and b"another run has uploaded m.gguf meanwhile; run again" in said
    assert disk.dest.read_bytes() == ONE


def test_upload_that_nobody_feeds_any_more_is_taken_over(disk):
    """A laptop that sleeps holds no file for ever; when it wakes, it writes nothing."""
    first = disk.start("base", "upload.sh", TOTAL=len(ONE), QUIET=60)
    assert first.stdout and first.stdin and first.stdout.readline() == b"::offset 0\n"
    said = disk.run("base", "upload.sh", stdin=ONE, TOTAL=len(ONE), QUIET=0)
    assert "::offset" in said and Path(f"{disk.dest}.part").read_bytes() == ONE
    assert first.wait(timeout=10) != 0


def test_reason_of_the_disk_is_told(disk):
    """M9: what the rig said, not that a socket is closed."""
    place = disk.home / "full"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,nr_inodes=3", "tmpfs", str(place)], check=True)
    try:
        where = {"TOTAL": 1 << 20, "QUIET": 60, "PART": f"{place}/m.part"}
        assert "No space left on device" in disk.run("base", "upload.sh", stdin=bytes(1 << 20), code=1, **where)
        (place / "m.part").unlink()
        for name in ("a", "b"):
            (place / name).touch()
        assert "m.part: no inodes left" in disk.run("base", "upload.sh", stdin=b"x", code=1, **where)
        (place / "a").unlink()
        subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        assert "m.part: Read-only file system" in disk.run("base", "upload.sh", stdin=b"x", code=1, **where)
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_version_that_fails_gives_its_model_file_back(bench):  # noqa: F811  # the fixture
    """B5: the same name, another content, a start that fails: what serves again has the content that it had."""
    one = bench("")
    folder = one.rig.path("/var/lib/rigwright/weights")
    (folder / ".rigwright").mkdir(parents=True)
    path, kept = folder / "m.gguf", folder / ".rigwright" / f"{sha(TWO)[:8]}-m.gguf"
    for file, content in ((path, ONE), (kept, TWO)):
        file.write_bytes(content)
        stamp = f"{sha(content)} {len(content)} {int(file.stat().st_mtime)} upload\n"
        file.with_name(f".{file.name}.rigwright").write_text(stamp)
    for letter, content in (("A", ONE), ("X", TWO), ("B", TWO)):
        version = one.versions[letter]
        unit = version.unit.replace("Restart=always", f"# weights {sha(content)} {path}\nRestart=always")
        one.versions[letter] = replace(version, unit=unit)
    assert one.deploy("A").returncode == 0
    done = one.deploy("X")
    assert "the previous release is back and serving" in done.stdout and path.read_bytes() == ONE
    assert one.deploy("B").returncode == 0 and path.read_bytes() == TWO
    assert one.rollback().returncode == 0 and path.read_bytes() == ONE
