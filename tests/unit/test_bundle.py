"""The file of a bundle: what is written comes back, and what is damaged or made by an enemy does not."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rigwright.bundle.archive import write
from rigwright.bundle.manifest import Content, Manifest, PackageSet, System, Tree
from rigwright.bundle.opened import open_bundle, with_bundle
from rigwright.errors import RigwrightError, WrongSpec
from rigwright.hardware import Hardware
from rigwright.lab.tiny_model import write_tiny_model
from rigwright.plan.engines.llamacpp.settings import LlamacppSettings
from rigwright.plan.source import ModelSource
from rigwright.spec.bundle import BundleSettings
from rigwright.spec.rig import parse_spec
from rigwright.weights.local import inspect_model
from rigwright.weights.offline import source_sum

MODEL, DEB = b"model" * 999, b"package"
COMMIT = "c0ffee" + "0" * 34


def total(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing is unpacked yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/rigwright/bundles"


def manifest(*parts: bytes, **changes: Any) -> Manifest:
    contents = [
        Content(kind="model file", name=f"{len(one)}.gguf", sha256=total(one), size_bytes=len(one)) for one in parts
    ]
    given: dict[str, Any] = {"rigwright": "1", "inventory": "rig.py", "rigs": {"rig1": "debian 13 x86_64"}}
    return Manifest.model_validate({**given, "contents": contents, **changes})


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., Path]:
    """A bundle of these parts."""

    def make(*parts: bytes, name: str = "site.tar", **changes: Any) -> Path:
        for one in parts:
            (tmp_path / total(one)).write_bytes(one)
        write(tmp_path / name, manifest(*parts, **changes), {total(one): tmp_path / total(one) for one in parts})
        return tmp_path / name

    return make


def opened(path: Path, said: list[str] | None = None, **settings: str) -> Any:
    return open_bundle(BundleSettings(path=str(path), **settings), (said if said is not None else []).append)


def test_parts_come_back_by_their_sums(made, cache):
    """And are unpacked once for all runs, until one of them is gone."""
    path, said = made(MODEL, DEB), list[str]()
    bundle = opened(path, said)
    assert [bundle.find(total(one)).read_bytes() for one in (MODEL, DEB)] == [MODEL, DEB]
    assert bundle.find(total(b"other")) is None and repr(bundle) == f"Bundle({path})"
    assert len(said) == 1 and said[0].startswith(f"unpacking {path}: ")
    os.utime(path, (1, 1))  # another copy of the same
    assert opened(path, said).directory == bundle.directory and len(said) == 1
    bundle.find(total(DEB)).unlink()
    os.utime(path, (2, 2))
    assert opened(path, said).find(total(DEB)).read_bytes() == DEB and len(said) == 2
    assert sorted(one.name for one in cache.iterdir()) == sorted(["lock", bundle.directory.name])


def test_what_was_not_used_for_a_day_goes(made, cache):
    """A bundle may be as large as the disk; one of an hour ago may be in use."""
    old, recent = opened(made(b"1", name="1.tar")), opened(made(b"2", name="2.tar"))
    os.utime(old.directory, (1, 1))
    opened(made(b"3", name="3.tar"))
    assert not old.directory.exists() and recent.directory.exists()


def test_sum_of_the_inventory_decides(made):
    """Another bundle in its place is refused; what the command prints is what the inventory takes."""
    path = made(MODEL)
    with tarfile.open(path) as found:
        digest = total(found.extractfile("manifest.json").read())
    assert opened(path, sha256=digest).manifest == manifest(MODEL)
    with pytest.raises(
        RigwrightError, match=rf"its sha256 is {digest}, the inventory says abab.*; correct one of them"
    ):
        opened(path, sha256="ab" * 32)


def tar(*members: tuple[str, bytes] | tarfile.TarInfo, form: int = tarfile.GNU_FORMAT) -> bytes:
    """A tar as an enemy writes it."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as out:
        for one in members:
            if isinstance(one, tarfile.TarInfo):
                out.addfile(one)
                continue
            member = tarfile.TarInfo(one[0])
            member.size = len(one[1])
            out.addfile(member, io.BytesIO(one[1]))
    return file.getvalue()


def of_type(name: str, kind: bytes, link: str = "", **changes: Any) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    for key, value in changes.items():
        setattr(member, key, value)
    return member


LIST = ("manifest.json", manifest(MODEL, DEB).model_dump_json().encode())
FIRST, SECOND = (f"parts/{total(MODEL)}", MODEL), (f"parts/{total(DEB)}", DEB)
WHOLE = tar(LIST, FIRST, SECOND)
HOSTILE = {
    "empty": (b"", "no bundle, or not whole"),
    "no tar": (b"x" * 99999, "no bundle, or not whole"),
    "compressed": (b"\x1f\x8b\x08" + bytes(999), "no bundle, or not whole"),
    "no list": (tar(FIRST, SECOND), "it is no bundle"),
    "list behind": (tar(FIRST, LIST, SECOND), "it is no bundle"),
    "list of nonsense": (tar(("manifest.json", b"[" * 99999)), r"its manifest\.json"),
    "list of another form": (tar(("manifest.json", LIST[1].replace(b'"version":1', b'"version":2'))), "version"),
    "key that is unknown": (tar(("manifest.json", LIST[1].replace(b'"rigs"', b'"rgs"'))), "its manifest"),
    "huge list": (tar(of_type("manifest.json", tarfile.REGTYPE, size=1 << 33)), "it is no bundle"),
    "endless part": (tar(LIST, of_type(FIRST[0], tarfile.REGTYPE, size=1 << 50)), "no plain file"),
    "damaged": (tar(LIST, (FIRST[0], MODEL[:-1] + b"!"), SECOND), r"4995\.gguf in it is damaged"),
    "longer": (tar(LIST, (FIRST[0], MODEL + b"!"), SECOND), "is none of what it lists"),
    "missing": (tar(LIST, FIRST), r"it ends before 7\.gguf"),
    "twice": (tar(LIST, FIRST, FIRST, SECOND), "is none of what it lists"),
    "unlisted": (tar(LIST, FIRST, SECOND, (f"parts/{'ab' * 32}", b"")), "is none of what it lists"),
    "leads out": (tar(LIST, ("parts/../../out", MODEL)), "is none of what it lists"),
    "absolute": (tar(LIST, ("/tmp/out", MODEL)), "is none of what it lists"),
    "link": (tar(LIST, of_type(FIRST[0], tarfile.SYMTYPE, "/etc/passwd")), "no plain file"),
    "hard link": (tar(LIST, of_type(FIRST[0], tarfile.LNKTYPE, "/etc/passwd")), "no plain file"),
    "folder": (tar(LIST, of_type("parts", tarfile.DIRTYPE)), "no plain file"),
    "device": (tar(LIST, of_type(FIRST[0], tarfile.CHRTYPE)), "no plain file"),
    "sparse": (tar(LIST, of_type(FIRST[0], tarfile.GNUTYPE_SPARSE)), "no plain file"),
    "further headers": (tar(LIST, of_type("x" * 300, tarfile.REGTYPE), form=tarfile.PAX_FORMAT), "no plain file"),
    "long name": (tar(LIST, of_type("x" * 300, tarfile.REGTYPE)), "no plain file"),
    **{f"cut at {end}": (WHOLE[:end], ".") for end in range(1, len(WHOLE.rstrip(b"\0")), 333)},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_damaged_or_hostile_bundle_is_one_line(tmp_path, cache, name):
    """What is wrong, and nothing of it stays."""
    data, says = HOSTILE[name]
    (tmp_path / "site.tar").write_bytes(data)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(RigwrightError, match=says) as caught:
        opened(tmp_path / "site.tar")
    assert str(tmp_path / "site.tar") in caught.value.message and "\n" not in caught.value.message
    assert "; make it anew" in caught.value.message
    assert [one.name for one in cache.iterdir()] in ([], ["lock"]) if cache.exists() else True
    assert [one for one in sorted(tmp_path.iterdir()) if one.name != "cache"] == before


def test_what_is_no_file_is_not_opened(tmp_path):
    """A pipe would be waited for."""
    os.mkfifo(tmp_path / "pipe")
    for path, says in ((tmp_path / "pipe", "is no file"), (tmp_path, "is no file"), (tmp_path / "x", "No such file")):
        with pytest.raises(RigwrightError, match=says):
            opened(path)


def test_disk_that_cannot_hold_it_is_named(made, monkeypatch):
    """Before anything is written there."""
    path = made(MODEL)
    monkeypatch.setattr("shutil.disk_usage", lambda at: type("Disk", (), {"free": 1000})())
    with pytest.raises(RigwrightError, match=r"unpacking it needs 256 MiB in .*, the disk has 1000 B; free some"):
        opened(path)


def system(**changes: Any) -> dict[str, Any]:
    sets = [PackageSet(names=("curl",), files=(total(DEB),))]
    given = {"os_id": "debian", "os_version": "13", "architecture": "x86_64", "sets": sets}
    return given | {"index": {total(DEB): "Package: curl\nVersion: 1"}} | changes


PACKAGE = Content(kind="package", name="curl_1_all.deb", sha256=total(DEB), size_bytes=len(DEB))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"contents": (PACKAGE, PACKAGE)}, "a part is listed twice"),
        ({"contents": ()}, "packages of debian 13 x86_64 are not all there"),
        ({"contents": (PACKAGE.model_copy(update={"kind": "wheel"}),)}, "are not all there"),
        ({"systems": (system(index={}),)}, "are not all there"),
        ({"systems": (system(index={total(DEB): "Package: x\n\nPackage: y"}),)}, "what only its part can say"),
        ({"systems": (system(index={total(DEB): "Package: x\nFilename: /etc/shadow"}),)}, "what only its part"),
        ({"systems": (system(index={total(DEB): "Package: x\nsha256: 0"}),)}, "what only its part can say"),
        (
            {
                "contents": [
                    Content(kind="model file", name="m", sha256=one * 64, size_bytes=1, sources=("a" * 64,))
                    for one in "bc"
                ],
                "systems": (),
            },
            "two model files are called alike",
        ),
    ],
)
def test_list_that_contradicts_itself_is_refused(changes, says):
    """What a run goes by hangs together."""
    whole = {"contents": (PACKAGE,), "systems": (system(),)}
    assert manifest(**whole)
    with pytest.raises(ValueError, match=says):
        manifest(**whole | changes)


def test_smallest_set_of_packages_is_taken():
    """A rig that lacks curl alone is not sent compilers."""
    small, large = (
        PackageSet(names=("curl",), files=("a" * 64,)),
        PackageSet(names=("curl", "g++"), files=("a" * 64, "b" * 64)),
    )
    found = System.model_validate(system(sets=(large, small)))
    assert found.files(["curl"]) == small.files
    assert found.files(["g++"]) == large.files
    assert found.files(["git"]) is None


def spec(path: Path, **keys: Any) -> Any:
    services = [{"name": "chat", "model": keys.pop("model", "hf:org/m@main:m.gguf")}]
    return parse_spec("rig1", {"services": services, "bundle": str(path), **keys})


@pytest.mark.parametrize("model", ["hf:org/m@main:m.gguf", "http://127.0.0.1:9/m.gguf?sig=secret", "models/m.gguf"])
def test_model_file_is_found_by_what_the_inventory_calls_it(tmp_path, made, model):
    """Whatever it comes from: no hub is asked, and a file that is not on this machine is in the bundle."""
    data = write_tiny_model(tmp_path / "tiny.gguf").read_bytes()
    source = ModelSource.model_validate(model)
    content = Content(
        kind="model file", name="m.gguf", sha256=total(data), size_bytes=len(data), sources=(source_sum(source),)
    )
    own, bundle = with_bundle(spec(made(data, contents=(content,)), model=model), "rig1", print)
    local = inspect_model(source, own.weights)
    assert (local.url, local.sha256, local.origin) == (None, total(data), "upload")
    assert local.path.read_bytes() == data and local.model and bundle.find(total(data))
    assert "secret" not in str(bundle.manifest)


def test_tag_is_the_commit_that_was_gathered(made):
    """A rig that reaches no git host is told; another tag has none that is known, and no lock is broken."""
    git = LlamacppSettings().git
    tree = Tree(git=git, ref="b11434", commit=COMMIT)
    content = Content(kind="source", name="tree", sha256=total(DEB), size_bytes=len(DEB), tree=tree)
    path = made(DEB, contents=(content,))
    assert with_bundle(spec(path), "rig1", print)[0].llamacpp.commit({}) == COMMIT
    assert with_bundle(spec(path), "rig1", print)[0].llamacpp.stated() == {}
    assert with_bundle(spec(path, llamacpp={"ref": "b2"}), "rig1", print)[0].llamacpp.commit({}) is None


def test_sums_of_upstreams_binaries_are_those_that_were_gathered(made):
    """By the names that a plan takes: nobody asks the host of its releases."""
    name = "llama-b11434-bin-ubuntu-cuda-13.4-x64.tar.gz"
    content = Content(kind="binaries", name=name, sha256=total(DEB), size_bytes=len(DEB))
    own, _ = with_bundle(spec(made(DEB, contents=(content,))), "rig1", print)
    assert own.llamacpp.narrowed(own.services).taking((name,)).sums({}) == {name: total(DEB)}


def test_inventory_without_a_bundle_stays_as_it_is(made):
    """And one with two places for model files is refused, as is a file that is none, by its key."""
    plain = parse_spec("rig1", {"services": []})
    assert with_bundle(plain, "rig1", print) == (plain, None)
    with pytest.raises(WrongSpec, match=r"^rig1: rig\.weights\.offline: model files come from rig\.bundle; leave one"):
        with_bundle(spec(made(DEB), weights={"offline": "/x"}), "rig1", print)
    with pytest.raises(WrongSpec, match=r"^rig1: rig\.bundle: /x/y: cannot be read: No such file"):
        with_bundle(spec(Path("/x/y")), "rig1", print)


def test_system_of_a_rig_is_told_by_three_things(made):
    """Packages of another version, or another processor, are none for it."""
    bundle = opened(made(DEB, contents=(PACKAGE,), systems=(system(),)))
    assert bundle.system(Hardware(os_id="debian", os_version="13", architecture="x86_64"))
    for changes in ({"os_id": "ubuntu"}, {"os_version": "12"}, {"architecture": "aarch64"}):
        given = {"os_id": "debian", "os_version": "13", "architecture": "x86_64"} | changes
        assert bundle.system(Hardware(**given)) is None
