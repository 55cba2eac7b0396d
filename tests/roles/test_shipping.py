"""Releases that several rigs want: who builds, what may travel, what is kept."""

from __future__ import annotations

import hashlib
import io
import tarfile
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


PROGRAM = regular("0123/bin/llama-server", b"program")


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
        ((PROGRAM,), f"{'0' * 64}  ./bin/llama-server\n", "bin/llama-server is not as it was built"),
        ((PROGRAM,), "", "bin/llama-server is not as it was built"),
        ((PROGRAM,), f"{hashlib.sha256(b'program').hexdigest()}  ./bin/llama-server\n{'0' * 64}  ./gone\n", "gone is"),
        ((), "", "all of it is not as it was built"),
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


def test_kept_archive_is_found_until_it_is_damaged(tmp_path):
    """By its sum: a disk of the controller's fails too. The sixth is the last that stays."""
    kept = Kept(tmp_path, "0123")
    assert kept.find() is None
    kept.part.write_bytes(b"release")
    kept.keep(kept.part)
    assert kept.find() == (kept.archive, hashlib.sha256(b"release").hexdigest())
    kept.archive.write_bytes(b"releasE")
    assert kept.find() is None and not kept.archive.exists()
    for number in range(8):
        one = Kept(tmp_path, f"{number}")
        one.part.write_bytes(b"x")
        one.keep(one.part)
    assert len(list(tmp_path.glob("*.tar.gz"))) == 6


def test_inventories_share_nothing(tmp_path, monkeypatch):
    """A rig of one is no rig of another: what it built is not trusted there."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert Kept.of("a.py", "0123").archive != Kept.of("b.py", "0123").archive
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
