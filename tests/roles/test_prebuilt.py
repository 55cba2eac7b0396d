"""Binaries that somebody else has built: what is taken of their archives, and what is refused."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zipfile

import pytest

from rigwright.errors import RigwrightError
from rigwright.plan.engines.llamacpp.release import plan_release
from rigwright.plan.engines.llamacpp.settings import LlamacppSettings
from rigwright.roles.llamacpp.prebuilt import prebuilt_release
from rigwright.roles.service.kept_releases import check_release

from ..unit.test_release import RIG


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def archive(path, files):
    """A tar with these files, or links where the content is text."""
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            if isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
                tar.addfile(member)
                continue
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return {"path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


PROGRAMS = {
    "llama-b1/llama-server": b"program",
    "llama-b1/libllama.so.0": b"library",
    "llama-b1/libllama.so": "libllama.so.0",
    "llama-b1/README.md": b"read me",
    "llama-b1/docs/x": b"elsewhere",
}


def release_of(*archives):
    settings = LlamacppSettings(prebuilt=list(archives))
    release = plan_release(settings, RIG, identity="a" * 64, cuda_version=None)
    return prebuilt_release(lambda: settings.prebuilt, release), release


def test_archives_of_upstream_become_a_release(tmp_path):
    """What lies beside llama-server, and the libraries of a second archive; in the form of what a rig has built."""
    first = archive(tmp_path / "a.tgz", PROGRAMS)
    second = archive(tmp_path / "b.tgz", {"cudart/libcudart.so.13": b"cuda", "cudart/EULA.txt": b"words"})
    (made, digest), release = release_of(first, second)
    assert digest == hashlib.sha256(made.read_bytes()).hexdigest()
    check_release(made, release.id)
    with tarfile.open(made) as tar:
        names = {member.name.removeprefix(f"{release.id}/") for member in tar}
        manifest = json.load(tar.extractfile(f"{release.id}/release.json"))
        sums = tar.extractfile(f"{release.id}/sums.txt").read().decode()
    # A link has the sum of what it leads to, as on the rig that builds.
    assert f"{hashlib.sha256(b'library').hexdigest()}  ./bin/libllama.so\n" in sums
    own = {"release.json", "receipt.json", "sums.txt"}
    assert names - own == {
        *("bin/llama-server", "bin/libllama.so.0", "bin/libllama.so", "bin/README.md", "bin/libcudart.so.13")
    }
    assert manifest["id"] == release.id and manifest["options"] == ["prebuilt"]
    # Fetched once: the second rig gets what is kept.
    (tmp_path / "a.tgz").unlink()
    assert release_of(first, second)[0] == (made, digest)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"x/llama-cli": b"x"}, "there is no llama-server in it; name an archive of llama.cpp's programs"),
        ({"x/llama-server": "/etc/passwd"}, "there is no llama-server in it"),
        ({**PROGRAMS, "llama-b1/a\nb.so": b"x"}, "is no name of a program; use another"),
        ({**PROGRAMS, "llama-b1/-rf": b"x"}, "'-rf' in it is no name of a program"),
    ],
)
def test_archive_that_is_none_is_refused(tmp_path, files, said):
    """One line, before anything goes to a rig."""
    with pytest.raises(RigwrightError, match=f"^rig.llamacpp.prebuilt: .*{said}"):
        release_of(archive(tmp_path / "a.tgz", files))


def test_sum_and_form_are_held_to(tmp_path):
    """Another file than was named; text that is no tar."""
    named = archive(tmp_path / "a.tgz", PROGRAMS)
    with pytest.raises(RigwrightError, match=r"its sha256 is .*, the inventory says 0000"):
        release_of(named | {"sha256": "0" * 64})
    (tmp_path / "b.tgz").write_text("<html>")
    other = {"path": str(tmp_path / "b.tgz"), "sha256": hashlib.sha256(b"<html>").hexdigest()}
    with pytest.raises(RigwrightError, match=r"is no tar or zip archive that can be read: [^\n]*; use another$"):
        release_of(other)


def wheel(path, files):
    """The same as a zip, which has no links."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as whole:
        for name, content in files.items():
            whole.writestr(name, content)
    return {"path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def test_wheel_becomes_a_release(tmp_path):
    """As a tar does; what is in it under several names is there once."""
    files = {f"maker/bin/{name}": b"library" for name in ("libllama.so", "libllama.so.0", "libllama.so.0.1")}
    files |= {"maker/bin/llama-server": b"program", "maker/__init__.py": b"python", "maker-1.dist-info/RECORD": b"sums"}
    (made, _), release = release_of(wheel(tmp_path / "a.whl", files))
    check_release(made, release.id)
    with tarfile.open(made) as tar:
        found = {member.name.removeprefix(f"{release.id}/bin/"): member for member in tar if "/bin/" in member.name}
        assert {name: member.linkname for name, member in found.items()} == {
            "libllama.so": "",
            "libllama.so.0": "libllama.so",
            "libllama.so.0.1": "libllama.so",
            "llama-server": "",
        }
        assert {member.mode for member in found.values()} == {0o755}
        assert tar.extractfile(f"{release.id}/bin/llama-server").read() == b"program"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"x/llama-cli": b"x"}, "there is no llama-server in it"),
        ({"../llama-server": b"x", "../-rf": b"x"}, "'-rf' in it is no name of a program"),
    ],
)
def test_wheel_that_is_none_is_refused(tmp_path, files, said):
    """As an archive is."""
    with pytest.raises(RigwrightError, match=f"^rig.llamacpp.prebuilt: .*{said}"):
        release_of(wheel(tmp_path / "a.whl", files))


def test_damaged_and_encrypted_wheels_are_told_in_one_line(tmp_path):
    """Whatever the library says of it."""
    named = wheel(tmp_path / "a.whl", {"b/llama-server": b"program" * 99})
    whole = (tmp_path / "a.whl").read_bytes()
    encrypted = whole.replace(b"PK\x03\x04\x14\x00\x00", b"PK\x03\x04\x14\x00\x01").replace(
        b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01"
    )
    damaged = whole[:50] + bytes(9) + whole[59:]
    for content in (encrypted, damaged):
        assert content != whole
        (tmp_path / "a.whl").write_bytes(content)
        with pytest.raises(RigwrightError, match=r"^rig.llamacpp.prebuilt: is no .* read: [^\n]*; use another$"):
            release_of(named | {"sha256": hashlib.sha256(content).hexdigest()})


def test_link_that_leads_out_is_left_out(tmp_path):
    """A library that is somewhere else on the maker's machine."""
    links = {"libx.so": "/usr/lib/libx.so", "liby.so": "gone.so", "libz.so": "libz.so"}
    files = PROGRAMS | {f"llama-b1/{name}": to for name, to in links.items()}
    (made, _), release = release_of(archive(tmp_path / "a.tgz", files))
    check_release(made, release.id)
    with tarfile.open(made) as tar:
        assert not {f"{release.id}/bin/{name}" for name in links} & set(tar.getnames())


def test_name_that_comes_twice_is_the_last(tmp_path):
    """As tar has it; no other file gets its content."""
    path = tmp_path / "a.tgz"
    with tarfile.open(path, "w:gz") as tar:
        for name, content in (("llama-server", b"1"), ("llama-server", b"2"), ("libx.so", b"3")):
            member = tarfile.TarInfo(f"b1/{name}")
            member.size = 1
            tar.addfile(member, io.BytesIO(content))
    (made, _), release = release_of({"path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()})
    with tarfile.open(made) as tar:
        assert tar.extractfile(f"{release.id}/bin/llama-server").read() == b"2"
