"""Releases that several rigs want: who builds, what may travel, what is kept."""

from __future__ import annotations

import gzip
import hashlib
import io
import itertools
import os
import tarfile
import time
import tracemalloc
from types import SimpleNamespace

import pytest

from rigwright.errors import RigwrightError
from rigwright.roles.service import shipping
from rigwright.roles.service.kept_releases import Kept, check_release
from rigwright.roles.service.shipping import Yard


def regular(name, data=b"x", **changes):
    """A member of an archive, with its content."""
    member = tarfile.TarInfo(name)
    member.size = len(data)
    for key, value in changes.items():
        setattr(member, key, value)
    return member, data


def written(path, *members, sums=None):
    """An archive of these members below `0123`, with their sums."""
    lines = {name.name.removeprefix("0123/"): hashlib.sha256(data).hexdigest() for name, data in members if data}
    text = "".join(f"{digest}  ./{name}\n" for name, digest in lines.items()) if sums is None else sums
    with tarfile.open(path, "w:gz") as tar:
        for member, data in (*members, regular("0123/sums.txt", text.encode())):
            tar.addfile(member, io.BytesIO(data))
    return path


def link(name, leads_to="x"):
    """A symbolic link in it."""
    return regular(f"0123/{name}", b"", type=tarfile.SYMTYPE, linkname=leads_to)


PROGRAM = regular("0123/bin/llama-server", b"program")
GOOD = f"{hashlib.sha256(b'program').hexdigest()}  ./bin/llama-server\n"


def test_release_as_it_was_built_may_travel(tmp_path):
    """Files, folders, links beside them."""
    link = regular("0123/bin/libx.so", b"", type=tarfile.SYMTYPE, linkname="libx.so.0")
    folder = regular("0123/bin", b"", type=tarfile.DIRTYPE)
    check_release(written(tmp_path / "a", folder, PROGRAM, link), "0123")


@pytest.mark.parametrize(
    ("members", "sums", "said"),
    [
        ((PROGRAM, regular("/etc/passwd")), None, "'/etc/passwd' lies outside of it"),
        ((PROGRAM, regular("0123/../../etc/passwd")), None, "lies outside of it"),
        ((PROGRAM, regular("01234/x")), None, "lies outside of it"),
        ((PROGRAM, regular("0123/x", b"", type=tarfile.SYMTYPE, linkname="/etc/shadow")), None, "neither a file nor"),
        ((PROGRAM, regular("0123/x", b"", type=tarfile.LNKTYPE, linkname="0123/y")), None, "neither a file nor"),
        ((PROGRAM, regular("0123/x", b"", type=tarfile.CHRTYPE)), None, "neither a file nor a link within it"),
        ((PROGRAM,), f"{'0' * 64}  ./bin/llama-server\n", "'bin/llama-server' is not as it was built"),
        ((PROGRAM,), "", "'bin/llama-server' is not as it was built"),
        (
            (PROGRAM,),
            f"{GOOD}{'0' * 64}  ./gone\n",
            "'gone' is",
        ),
        ((), "", "all of it is not as it was built"),
        # sha256sum on the rig would read a device without an end: names of nothing, and other kinds of lines.
        ((PROGRAM, link("/dev/zero")), f"{GOOD}x  /dev/zero\n", "'0123//dev/zero' lies outside of it"),
        ((PROGRAM, link("SHA256 (/dev/zero) = 00")), f"{GOOD}  SHA256 (/dev/zero) = 00\n", "'sums.txt' is not as"),
        ((PROGRAM, link("x", "..")), None, "'x' is neither a file nor"),
        ((PROGRAM,), f"{GOOD}{'0' * 64}  ./\x1b[2Jgone\n", r"'\\x1b\[2Jgone' is not as it was built"),
        ((PROGRAM, regular("0123/x", b"", type=tarfile.GNUTYPE_SPARSE)), None, "'0123/x' is neither a file nor"),
        ((PROGRAM, regular("0123/x", b"", type=tarfile.XHDTYPE)), None, "'0123/x' is neither a file nor"),
        (tuple(regular(f"0123/{number}", b"") for number in range(10_001)), None, "or more than 10000 files"),
        (tuple(regular("x", b"0123/x", type=b"L") for _ in range(2000)), None, "did not arrive whole"),
    ],
)
def test_archive_of_a_hostile_rig_goes_no_further(tmp_path, members, sums, said):
    """What another rig sends is held to its own sums, and to what a release may be."""
    with pytest.raises(RigwrightError, match=said):
        check_release(written(tmp_path / "a", *members, sums=sums), "0123")


def test_half_of_an_archive_is_none(tmp_path):
    """A connection that ends."""
    whole = written(tmp_path / "a", PROGRAM, regular("0123/big", bytes(range(256)) * 1000)).read_bytes()
    for length in (0, 100, len(whole) // 2, len(whole) - 100):
        (tmp_path / "b").write_bytes(whole[:length])
        with pytest.raises(RigwrightError):
            check_release(tmp_path / "b", "0123")


def test_bomb_is_not_unpacked(tmp_path):
    """Headers, longer than memory, of a few bytes each; and what would be read for days."""
    kinds = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.REGTYPE)
    for kind, size in itertools.product(kinds, (1 << 40, 9 << 30)):
        header = tarfile.TarInfo("0123/x")
        header.type, header.size = kind, size
        with gzip.open(tmp_path / "a", "wb", compresslevel=1) as file:
            file.write(header.tobuf(tarfile.GNU_FORMAT))
            file.write(bytes(64 << 20))
        tracemalloc.start()
        with pytest.raises(RigwrightError, match="is neither a file nor"):
            check_release(tmp_path / "a", "0123")
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
        tracemalloc.stop()


def test_kept_archive_is_found_until_it_is_damaged(tmp_path):
    """By its sum: a disk of the controller's fails too. What comes in its place from another run stays."""
    kept = Kept(tmp_path, "0123")
    assert kept.find() is None
    kept.part.write_bytes(b"release")
    kept.keep(kept.part)
    archive, digest = kept.find()
    assert digest == hashlib.sha256(b"release").hexdigest() and archive.read_bytes() == b"release"
    kept.part.write_bytes(b"another")
    kept.keep(kept.part)
    archive.write_bytes(b"releasE")
    assert kept.find()[1] == hashlib.sha256(b"another").hexdigest()
    kept.find()[0].write_bytes(b"")
    assert kept.find() is None and not list(tmp_path.glob("*.tar.gz"))


def test_six_that_were_used_last_are_kept(tmp_path):
    """And those of the last hour: another run may be about to send them."""
    for number in range(8):
        one = Kept(tmp_path, f"{number}")
        one.part.write_bytes(b"x")
        one.keep(one.part)
    found = sorted(tmp_path.glob("*.tar.gz"))
    assert len(found) == 8
    for path in found:
        os.utime(path, (time.time() - 5000, time.time() - 5000 + int(path.name[0])))
    assert Kept(tmp_path, "0").find()
    last = Kept(tmp_path, "8")
    last.part.write_bytes(b"x")
    last.keep(last.part)
    assert sorted(path.name[0] for path in tmp_path.glob("*.tar.gz")) == ["0", "4", "5", "6", "7", "8"]


def test_inventories_share_nothing(tmp_path, monkeypatch):
    """A rig of one is no rig of another: what it built is not trusted there."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert Kept.of("a.py", "0123").directory != Kept.of("b.py", "0123").directory
    assert Kept.of("a.py", "0123") == Kept.of("./a.py", "0123")


@pytest.fixture
def run(monkeypatch):
    """Three hosts of a run, all at it at once."""

    class Host(SimpleNamespace):
        __hash__ = object.__hash__
        __eq__ = object.__eq__

    hosts = [Host(name=f"rig{number}") for number in range(3)]
    state = SimpleNamespace(inventory=hosts, turns=False, failed=set())
    monkeypatch.setattr(shipping, "has_failed", lambda host: host in state.failed)
    monkeypatch.setattr(shipping, "takes_turns", lambda state: state.turns)
    monkeypatch.setattr(shipping, "executes", lambda state: True)
    monkeypatch.setattr(shipping, "ssh_client", lambda host: host)
    return state


def test_first_rig_of_the_inventory_builds(run):
    """Whatever order they arrive in; the next one where it is out of the run, and none for the one that has it."""
    first, second, third = run.inventory
    yard = Yard()
    for host in (third, second, first):
        yard.register(host, has=False)
    assert [yard.is_mine(host, run) for host in run.inventory] == [True, False, False]
    run.failed.add(first)
    assert [yard.is_mine(host, run) for host in (second, third)] == [True, False]
    yard.register(second, has=True)
    assert yard.giver(third) is second and yard.giver(second) is None
    run.failed.add(second)
    assert yard.giver(third) is None


def test_rig_whose_turn_comes_first_builds(run):
    """With --serial, the one that should build may come after this one: exactly one takes its place."""
    run.turns = True
    yard = Yard()
    for host in run.inventory:
        yard.register(host, has=False)
    first, second, third = run.inventory
    yard.arrived.add(third)
    assert yard.is_mine(third, run)
    yard.arrived.add(first)
    assert not yard.is_mine(first, run) and not yard.is_mine(second, run)
