"""Where the sources come from: archives that are fetched, checked and cut, and those of strangers."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import tarfile
import threading
import time
import zipfile
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from rigwright.errors import RigwrightError
from rigwright.plan.engines.llamacpp.archives import Archive
from rigwright.roles.llamacpp.archive import source_tree


@pytest.fixture
def tarball(tmp_path, monkeypatch):
    """An archive shaped like a source distribution."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "engine-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name in (
            "engine-1.0/PKG-INFO",
            "engine-1.0/vendor/llama.cpp/CMakeLists.txt",
            "engine-1.0/vendor/llama.cpp/.git",
        ):
            member = tarfile.TarInfo(name)
            member.size = 2
            archive.addfile(member, io.BytesIO(b"x\n"))
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


def test_archive_is_cut_down_to_the_tree(tarball):
    """Only what is built is sent to rigs; git's own files stay out; a second call reads the cache."""
    path, sha256 = tarball
    wanted = Archive(path=str(path), sha256=sha256, subdirectory="vendor/llama.cpp")
    tree = source_tree(wanted)
    with tarfile.open(tree) as archive:
        assert archive.getnames() == ["CMakeLists.txt"]
    path.unlink()
    assert source_tree(wanted) == tree


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"sha256": "0" * 64}, "the inventory says 000"),
        ({"path": "/nowhere.tar.gz"}, "/nowhere.tar.gz is not there"),
        ({"subdirectory": "vendor/other"}, "vendor/other is not in it"),
    ],
)
def test_wrong_archive_is_refused(tarball, change, line):
    """Nothing that was not asked for is ever built."""
    path, sha256 = tarball
    wanted = {"path": str(path), "sha256": sha256, "subdirectory": "vendor/llama.cpp"} | change
    with pytest.raises(RigwrightError, match=line):
        source_tree(Archive(**wanted))


def hostile(tmp_path, *members):
    """An archive with these members, as somebody else may make it."""
    path = tmp_path / "hostile.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for member in members:
            member.size = 2 if member.isreg() else 0
            archive.addfile(member, io.BytesIO(b"x\n") if member.isreg() else None)
    return Archive(path=str(path), sha256=hashlib.sha256(path.read_bytes()).hexdigest(), subdirectory="vendor")


def member(name, kind=tarfile.REGTYPE, link=""):
    found = tarfile.TarInfo(name)
    found.type, found.linkname = kind, link
    return found


def test_file_with_a_long_name_is_where_it_was(tmp_path, monkeypatch):
    """Its name stands twice in an archive. Of the pinned one 300 files lay elsewhere, and no build for CUDA began."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    inside = f"ggml/{'template-instances/' * 5}fattn-vec-instance-f16-f16.cu"
    wanted = hostile(tmp_path, member(f"engine-1.0/vendor/{inside}"), member("engine-1.0/vendor/ü"))
    with tarfile.open(source_tree(wanted)) as tree:
        assert tree.getnames() == [inside, "ü"]


def test_hard_links_of_an_archive_are_files(tmp_path, monkeypatch):
    """What a link names may lie outside of the tree that is sent: the content goes along."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    wanted = hostile(tmp_path, member("e/LICENSE"), member("e/vendor/LICENSE", tarfile.LNKTYPE, "e/LICENSE"))
    with tarfile.open(source_tree(wanted)) as tree:
        assert [(one.name, one.isreg(), one.size) for one in tree] == [("LICENSE", True, 2)]
        assert tree.extractfile("LICENSE").read() == b"x\n"


@pytest.mark.parametrize(
    ("name", "kind"),
    [("e/vendor/../../x", tarfile.REGTYPE), ("e/vendor//etc/x", tarfile.REGTYPE), ("e/vendor/null", tarfile.CHRTYPE)],
)
def test_member_that_leads_out_of_the_tree_is_refused(tmp_path, monkeypatch, name, kind):
    """The rig's tar refuses it too; said here, it is a line before anything is sent."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(RigwrightError, match=r"^rig\.llamacpp\.archive: its member .* is none of a tree; use another$"):
        source_tree(hostile(tmp_path, member("e/vendor/CMakeLists.txt"), member(name, kind)))


def test_archive_that_is_none_is_one_line(tmp_path, monkeypatch):
    """With the right sum, too."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "page.tar.gz"
    path.write_text("<html>")
    wanted = Archive(path=str(path), sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.raises(RigwrightError, match="is no tar archive that can be read"):
        source_tree(wanted)


@pytest.mark.parametrize(
    "origin",
    [
        {"pypi": "--log=/tmp/x"},
        {"pypi": "engine"},
        {"pypi": "engine==1 --index-url=http://h"},
        {"pypi": "engine==1\n--index-url=http://h"},
        {"pypi": "engine @ http://h/x"},
        {"url": "file:///etc/shadow"},
        {"url": "ftp://h/x"},
        {"url": "http://h/x y"},
    ],
)
def test_origin_of_an_archive_is_what_it_says(origin):
    """No option of pip, no file of this machine."""
    with pytest.raises(ValueError, match="pattern"):
        Archive(sha256="0" * 64, **origin)


PROJECT = {
    "PKG-INFO": "Metadata-Version: 2.1\nName: engine-of-a-stranger\nVersion: 1.0\n",
    "pyproject.toml": '[build-system]\nrequires = ["only-a-wheel"]\nbuild-backend = "backend"\nbackend-path = ["."]\n',
    "backend.py": "open({trace!r}, 'w').write('code ran')\n",
    "vendor/CMakeLists.txt": "x\n",
}

WHEEL = {
    "METADATA": "Metadata-Version: 2.1\nName: only-a-wheel\nVersion: 1.0\n",
    "WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "RECORD": "",
}


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A package index with one source distribution whose code leaves a trace; its sum, and where the trace would be.

    What its hooks want is there as a wheel alone, as compilers and cmake are in fact.
    """
    trace = tmp_path / "trace"
    folder = tmp_path / "index" / "engine-of-a-stranger"
    folder.mkdir(parents=True)
    path = folder / "engine_of_a_stranger-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, text in PROJECT.items():
            data = text.replace("{trace!r}", repr(str(trace))).encode()
            entry = tarfile.TarInfo(f"engine_of_a_stranger-1.0/{name}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    (folder / "index.html").write_text(f'<a href="{path.name}">{path.name}</a>')
    wheel = folder.parent / "only-a-wheel" / "only_a_wheel-1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as content:
        for name, text in WHEEL.items():
            content.writestr(f"only_a_wheel-1.0.dist-info/{name}", text)
    (wheel.parent / "index.html").write_text(f'<a href="{wheel.name}">{wheel.name}</a>')
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder.parent))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield hashlib.sha256(path.read_bytes()).hexdigest(), trace
    server.shutdown()
    server.server_close()


def test_code_of_a_wrong_package_never_runs(index):
    """pip runs a package's own code to read its metadata: not before its sum is the one of the inventory."""
    sha256, trace = index
    wanted = {"pypi": "engine-of-a-stranger==1.0", "subdirectory": "vendor"}
    with pytest.raises(RigwrightError, match=f"its sha256 is {sha256}, the inventory says 000"):
        source_tree(Archive(sha256="0" * 64, **wanted))
    assert not trace.exists()
    with contextlib.suppress(RigwrightError):  # its code builds nothing
        source_tree(Archive(sha256=sha256, **wanted))
    assert trace.read_text() == "code ran"


def test_address_that_never_ends_is_cut(tmp_path, monkeypatch):
    """What is too large for a source archive does not fill the disk."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("rigwright.roles.llamacpp.archive._LARGEST_BYTES", 1 << 20)
    (tmp_path / "large.tar.gz").write_bytes(bytes(3 << 20))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with pytest.raises(RigwrightError, match=r"large\.tar\.gz has more than 1\.0 MiB; fetch it by hand, and set path"):
        source_tree(Archive(url=f"http://127.0.0.1:{server.server_port}/large.tar.gz", sha256="0" * 64))
    server.shutdown()
    server.server_close()
    assert [path.suffix for path in (tmp_path / "cache/rigwright/sources").iterdir()] == [".lock"]


def test_server_that_drips_is_not_waited_for(tmp_path, monkeypatch):
    """A byte now and then keeps every connection alive; the message shows no secret of the address."""

    class Drip(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):
                for _ in range(200):
                    self.wfile.write(b"x")
                    time.sleep(0.05)

        def log_message(self, *arguments: object) -> None:
            pass

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("rigwright.roles.llamacpp.archive._SILENCE_SECONDS", 0.3)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Drip)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    began = time.monotonic()
    with pytest.raises(
        RigwrightError, match=r"/a\.tar\.gz sent \d+ B in \d s; fetch it by hand, and set path"
    ) as refusal:
        source_tree(Archive(url=f"http://127.0.0.1:{server.server_port}/a.tar.gz?token=s3cret", sha256="0" * 64))
    assert time.monotonic() - began < 5
    assert "s3cret" not in str(refusal.value)
    server.shutdown()
    server.server_close()


def test_cache_that_cannot_be_made_is_one_line(tmp_path, monkeypatch):
    """A home that is read-only, for one."""
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nope")
    with pytest.raises(RigwrightError, match=r"^/proc/nope/rigwright/sources: cannot be made: .*; set XDG_CACHE_HOME$"):
        source_tree(hostile(tmp_path, member("e/vendor/x")))
