"""Bundles from both ends: what `rigwright bundle` gathers of a plan, and what a deploy makes of it; without a rig."""

from __future__ import annotations

import base64
import hashlib
import http.server
import io
import json
import os
import shutil
import subprocess
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from rigwright.bundle.archive import read_manifest, write
from rigwright.bundle.manifest import Content, Manifest, PackageSet, System
from rigwright.cli import main
from rigwright.errors import RigwrightError
from rigwright.hardware import Hardware
from rigwright.lab.tiny_model import write_tiny_model
from rigwright.lock.file import read_lock
from rigwright.plan.driver.wheels import Wheels, wheels
from rigwright.plan.engines.installed import NOTHING
from rigwright.plan.engines.llamacpp.archives import Prebuilt
from rigwright.plan.engines.llamacpp.settings import LlamacppSettings
from rigwright.roles.bundle import gathering
from rigwright.roles.bundle.needs import Needs
from rigwright.roles.cuda.archive import toolkit_archive
from rigwright.roles.llamacpp import operations, prebuilt
from rigwright.roles.llamacpp.archive import source_tree
from rigwright.roles.llamacpp.engine import ENGINE
from rigwright.roles.service.preflight import preflight_errors
from rigwright.spec.rig import parse_spec
from rigwright.weights.offline import source_sum

from .apt_box import AptBox

pytestmark = pytest.mark.patience

NOWHERE = "http://127.0.0.1:9"
# What `rigwright hardware --record` keeps of a machine without a GPU, as far as a plan reads it.
SYSTEM = (
    'ID=ubuntu\nVERSION_ID="22.04"\nKERNEL=6.8\nARCHITECTURE=x86_64\nMemTotal: 24684092 kB\nMemAvailable: 22385060 kB\n'
)


class Server:
    """A web server of one folder that goes on where a file ended, and breaks off when it is told to."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.asked, self.breaks_at = folder, list[tuple[str, str]](), 0
        self.is_broken = False
        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, self))
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.http.server_address[1]}"


class _Handler(http.server.BaseHTTPRequestHandler):
    def __init__(self, server: Server, *arguments: Any) -> None:
        self.of = server
        super().__init__(*arguments)

    def do_GET(self) -> None:
        data = (self.of.folder / self.path.partition("?")[0].lstrip("/")).read_bytes()
        given = self.headers.get("Range") or ""
        if self.of.is_broken:
            self.send_error(500)
            return
        at, end = (int(part) if part else None for part in (given.removeprefix("bytes=") or "0-").split("-"))
        sent = data[at : end + 1 if end is not None else None]
        self.send_response(206 if given else 200)
        self.send_header("Content-Length", str(len(sent)))
        self.send_header("ETag", f'"{len(data)}"')
        if given:
            self.send_header("Content-Range", f"bytes {at}-{at + len(sent) - 1}/{len(data)}")
        self.end_headers()
        if self.command == "GET":
            self.of.asked.append((self.path, given))
            if self.of.breaks_at and not given:
                sent, self.of.is_broken = sent[: self.of.breaks_at], True
            self.wfile.write(sent)

    do_HEAD = do_GET

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """With a model of 4 MB."""
    (tmp_path / "www").mkdir()
    write_tiny_model(tmp_path / "www/m.gguf")
    found = Server(tmp_path / "www")
    yield found
    found.http.shutdown()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's directory."""
    (tmp_path / "here").mkdir()
    (tmp_path / "recorded").mkdir()
    (tmp_path / "recorded/system.txt").write_text(SYSTEM)
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.fixture
def source(tmp_path: Path) -> dict[str, str]:
    """A source archive on this machine."""
    path = tmp_path / "llama.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        member = tarfile.TarInfo("llama/CMakeLists.txt")
        member.size = 4
        tar.addfile(member, io.BytesIO(b"make"))
    return {"path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def inventory(here: Path, *models: Any, **keys: Any) -> dict[str, Any]:
    """An inventory of one rig that serves these from its CPU; its `rig` data."""
    services = [
        {"name": f"s{n}", "model": one, "port": 8080 + n, "context": 2048, "gpu": "none"}
        for n, one in enumerate(models)
    ]
    rig = {"services": services, "base": {"install_packages": False}, **keys}
    (here / "rig.py").write_text(f"rigs = ([('rig1', {{'ssh_hostname': '192.0.2.1'}})], {{'rig': {rig!r}}})\n")
    return rig


def bundle(*words: str) -> Result:
    """The command; its rig is a recorded one."""
    return CliRunner().invoke(main, ["bundle", "rig.py", "--capture", "../recorded", *words])


def test_bundle_holds_what_the_plan_names(here, server, source):
    """A file of an address and one of this machine, the source; found again by a site that has none of these."""
    own = write_tiny_model(here / "own.gguf", seed=3)
    address = f"{server.address}/m.gguf?sig=secret"
    rig = inventory(here, address, "own.gguf", llamacpp={"archive": source})
    done = bundle("-o", "site.tar")
    assert done.exit_code == 0, done.output
    manifest, digest = read_manifest(here / "site.tar")
    assert json.loads(f"{{{done.stdout.splitlines()[-1]}}}") == {"bundle": {"path": "site.tar", "sha256": digest}}
    assert [(one.kind, one.name) for one in manifest.contents] == [
        ("model file", "m.gguf"),
        ("model file", "own.gguf"),
        ("source", "llama.tar.gz"),
    ]
    assert manifest.rigs == {"rig1": "ubuntu 22.04 x86_64"} and manifest.systems == ()
    (here / "plan.lock.yml").write_text(manifest.lock)
    assert set(read_lock(here / "plan.lock.yml").rigs["rig1"].services) == {"s0", "s1"}
    # An address may give away a signature: it is nowhere.
    assert b"secret" not in (here / "site.tar").read_bytes() and "secret" not in done.output
    assert sorted(path.name for path in here.iterdir()) == ["own.gguf", "plan.lock.yml", "rig.py", "site.tar"]

    server.http.shutdown()
    own.unlink()
    Path(source["path"]).unlink()
    # The cache of the machine that gathered stays behind, too.
    shutil.rmtree(os.environ["XDG_CACHE_HOME"])
    from rigwright.roles.service.context import make_context

    context = make_context("rig1", rig | {"bundle": "site.tar"}, inventory="rig.py")
    sums = [context.lookup.model(one.model, context.spec.weights).sha256 for one in context.spec.services]
    assert sums == [one.sha256 for one in manifest.contents[:2]]
    archive = context.spec.llamacpp.archive
    with tarfile.open(source_tree(archive, context.find)) as tar:
        assert tar.getnames() == ["CMakeLists.txt"]


def test_dry_run_lists_and_writes_nothing(here, server, source):
    """Sizes as far as they are known before."""
    inventory(here, f"{server.address}/m.gguf", llamacpp={"archive": source})
    done = bundle("--dry")
    assert done.exit_code == 0, done.output
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["model", "file", "4.2", "MiB", "m.gguf"],
        ["source", f"{Path(source['path']).stat().st_size}", "B", "llama.tar.gz"],
        ["together", "4.2", "MiB;", "nothing", "was", "written"],
    ]
    assert [path.name for path in here.iterdir()] == ["rig.py"]


def test_gathering_that_was_cut_goes_on_where_it_ended(here, server, source):
    """What came is there for the next run, and its folder goes with the last."""
    data = (server.folder / "m.gguf").read_bytes()
    model = {"url": f"{server.address}/m.gguf", "sha256": hashlib.sha256(data).hexdigest()}
    inventory(here, model, llamacpp={"archive": source})
    server.breaks_at = 100_000
    first = bundle("-o", "site.tar")
    assert first.exit_code == 1 and "m.gguf: curl: " in first.output and "run again" in first.output, first.output
    assert not (here / "site.tar").exists()
    part = next((here / ".site.tar.parts").glob("*.part")).stat().st_size
    assert part == 100_000
    server.breaks_at, server.is_broken, server.asked = 0, False, []
    assert bundle("-o", "site.tar").exit_code == 0
    assert ("/m.gguf", f"bytes={part}-") in server.asked
    assert not (here / ".site.tar.parts").exists()


def test_file_that_is_another_one_is_no_part(here, server, source):
    """The sum of the inventory decides; what came is thrown away."""
    inventory(here, {"url": f"{server.address}/m.gguf", "sha256": "ab" * 32}, llamacpp={"archive": source})
    done = bundle("-o", "site.tar")
    assert done.exit_code == 1 and "m.gguf: its sha256 is" in done.output and "it should be abab" in done.output
    assert list((here / ".site.tar.parts").glob("*.part")) == [] and not (here / "site.tar").exists()


def test_what_is_no_bundle_is_not_written_over(here, source):
    """Nor a folder of somebody else's; a bundle is."""
    write_tiny_model(here / "own.gguf")
    inventory(here, "own.gguf", llamacpp={"archive": source})
    (here / "site.tar").write_text("mine")
    done = bundle("-o", "site.tar")
    assert done.exit_code == 1 and "site.tar: is there, and no bundle; name another file with -o" in done.output
    assert (here / "site.tar").read_text() == "mine"
    (here / ".other.tar.parts").mkdir()
    done = bundle("-o", "other.tar")
    assert done.exit_code == 1 and ".other.tar.parts: is not ours; move it away" in done.output
    (here / ".other.tar.parts").rmdir()
    for _ in range(2):
        assert bundle("-o", "other.tar").exit_code == 0
    assert "x/y.tar: x is no directory" in bundle("-o", "x/y.tar").output


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"llamacpp": {"ref": "latest"}}, "rig1: rig.llamacpp.ref: latest is another release tomorrow; name a tag"),
        ({"llamacpp": {"ref": "latest", "source": "prebuilt"}}, "latest is another release tomorrow; name a tag"),
        (
            {"base": {}},
            "rig1: it runs ubuntu 22.04, this machine debian 12; name a file like the rig's /etc/apt/sources",
        ),
        ({"llamacpp": {"archive": {"path": "/x", "sha256": "ab" * 32}}}, "rig.llamacpp.archive: /x is not there"),
        ({"llamacpp": {"git": "file:///nowhere"}}, "rig.llamacpp.git: "),
        (
            {"llamacpp": {"source": "distro"}},
            "rig1: llama.cpp's packages of the distribution are not bundled; set source",
        ),
    ],
)
def test_what_cannot_be_gathered_is_one_line(here, keys, says, monkeypatch, tmp_path):
    """And nothing is written."""
    (tmp_path / "os-release").write_text('ID=debian\nVERSION_ID="12"\n')
    monkeypatch.setattr("rigwright.cli.bundle._OS_RELEASE", tmp_path / "os-release")
    write_tiny_model(here / "own.gguf")
    inventory(here, "own.gguf", **keys)
    done = bundle("-o", "site.tar")
    assert done.exit_code == 1 and says in done.stderr.splitlines()[-1], done.output
    assert not (here / "site.tar").exists()


@pytest.mark.skipif(shutil.which("apt-get") is None, reason="apt is missing")
def test_packages_are_those_of_the_rigs_distribution(here, source, tmp_path):
    """Of its sources, with what they need, each file once; by what a deploy asks for at a time."""
    mirror = AptBox.made(tmp_path / "mirror")
    mirror.offer("libc")
    binaries = ("ca-certificates", "curl", "libgomp1", "libssl3")
    for name in {*BUILD, *binaries}:
        mirror.offer(name, Depends="libc")
    write_tiny_model(here / "own.gguf")
    inventory(here, "own.gguf", llamacpp={"archive": source}, base={})
    sources = str(mirror.home / "etc/apt/sources.list")
    dry = bundle("--dry", "--sources", sources)
    assert "12 packages of ubuntu 22.04 x86_64" in dry.stdout, dry.output
    done = bundle("-o", "site.tar", "--sources", sources)
    assert done.exit_code == 0, done.output
    manifest, _ = read_manifest(here / "site.tar")
    (system,) = manifest.systems
    assert str(system) == "ubuntu 22.04 x86_64"
    names = {one.sha256: one.name.partition("_")[0] for one in manifest.contents if one.kind == "package"}
    assert [sorted(names[file] for file in one.files) for one in system.sets] == [
        sorted((*binaries, "libc")),
        sorted((*BUILD, "libc")),
    ]


def test_commit_travels_as_an_archive(here, tmp_path):
    """A tag of git is what it was when it was gathered, and the rig is told: no git host is asked."""
    git = tmp_path / "git"
    run = partial(subprocess.run, cwd=git, check=True, capture_output=True, text=True)
    git.mkdir()
    run(["git", "init", "-q", "."])
    (git / "CMakeLists.txt").write_text("make")
    run(["git", "add", "."])
    run(["git", "-c", "user.name=x", "-c", "user.email=x@x", "commit", "-q", "-m", "x"])
    run(["git", "tag", "b1"])
    commit = run(["git", "rev-parse", "HEAD"]).stdout.strip()
    write_tiny_model(here / "own.gguf")
    rig = inventory(here, "own.gguf", llamacpp={"git": f"file://{git}", "ref": "b1"})
    done = bundle("-o", "site.tar")
    assert done.exit_code == 0, done.output
    shutil.rmtree(git)
    from rigwright.roles.llamacpp.bundled import bundled_tree
    from rigwright.roles.service.context import make_context

    context = make_context("rig1", rig | {"bundle": "site.tar"}, inventory="rig.py")
    settings = context.spec.llamacpp
    assert settings.commit({}) == commit
    with tarfile.open(bundled_tree(settings, context)) as tar:
        assert tar.getnames() == ["CMakeLists.txt"]


BUILD = (
    "build-essential",
    "ca-certificates",
    "ccache",
    "cmake",
    "curl",
    "git",
    "libssl-dev",
    "ninja-build",
    "pkg-config",
)
BINARIES = ("ca-certificates", "curl", "libgomp1", "libssl3t64")


@pytest.fixture
def site(tmp_path: Path) -> Callable[..., str]:
    """A bundle with parts of nothing: model files by what they are called, other parts by their sums."""

    def make(*sums: str, source: str = "", packages: tuple[tuple[str, ...], ...] = ()) -> str:
        data = write_tiny_model(tmp_path / "m.gguf").read_bytes()
        deb = b"package"
        contents, files = [], {}
        for kind, name, content, sources in (
            ("model file", "m.gguf", data, (source,) if source else ()),
            ("package", "x.deb", deb, ()),
        ):
            digest = hashlib.sha256(content).hexdigest()
            (tmp_path / digest).write_bytes(content)
            files[digest] = tmp_path / digest
            contents.append(
                Content(kind=kind, name=name, sha256=digest, size_bytes=len(content), sources=sources)  # type: ignore[arg-type]
            )
        digest = hashlib.sha256(deb).hexdigest()
        sets = [PackageSet(names=names, files=(digest,)) for names in packages]
        system = System(os_id="debian", os_version="13", architecture="x86_64", index={digest: "Package: x"}, sets=sets)
        manifest = Manifest(rigwright="1", inventory="x", rigs={}, contents=tuple(contents), systems=(system,))
        write(tmp_path / "site.tar", manifest, files)
        return str(tmp_path / "site.tar")

    return make


def test_what_a_bundle_lacks_is_told_before_anything_changes(blank, context, site, cards):
    """Model files and packages in one line; what a build is made of in the next."""
    url = f"{NOWHERE}/m.gguf"
    empty = context({"name": "chat", "model": url}, bundle=site(), llamacpp={"archive": "pinned"})
    lines = [*preflight_errors(blank(), empty, (ENGINE,))]
    assert [line.partition(", which this rig needs; ")[0].partition(" lacks ")[2] for line in lines] == [
        f"m.gguf; packages of debian 13 x86_64 ({' '.join(BINARIES)})",
        f"llama.cpp b11434; packages of debian 13 x86_64 ({' '.join(BUILD)})",
    ]
    assert lines[0].endswith(
        "make another one with `rigwright bundle INVENTORY -o " + empty.bundle.path + "` where the internet is"
    )


def test_bundle_is_no_source_of_llamacpps_packages(blank, context, site):
    """They are those of the rig's own sources."""
    own = context({"name": "chat", "model": f"{NOWHERE}/m.gguf"}, bundle=site(), llamacpp={"source": "distro"})
    lines = [*preflight_errors(blank(), own, (ENGINE,))]
    assert lines[-1].startswith("rig.llamacpp.source: distro asks the rig's own sources, a bundle has none"), lines


def test_bundle_that_has_all_is_no_objection(blank, context, site, serving):
    """Nor is one that has little, on a rig that has the rest."""
    url = f"{NOWHERE}/m.gguf"
    source = source_sum(parse_spec("x", {"services": [{"name": "chat", "model": url}]}).services[0].model)
    whole = context({"name": "chat", "model": url}, bundle=site(source=source, packages=(BINARIES, BUILD)))
    (line,) = preflight_errors(blank(), whole, (ENGINE,))
    assert "lacks https://github.com/ggml-org/llama.cpp at b11434, which" in line
    there = blank(packages=frozenset((*BINARIES, *BUILD)))
    bare = context({"name": "chat", "model": url}, bundle=site(source=source), llamacpp={"archive": "pinned"})
    assert [*preflight_errors(serving(bare, there), bare, (ENGINE,))] == []


def test_model_of_the_catalogue_is_planned_without_a_hub(blank, context, site):
    """The plan chooses the file that it chose where the internet was, and that is held to its sum."""
    known = {"model": "qwen3-8b:Q4_K_M", "gpu": "none"}
    asked = context({"name": "chat", **known}, weights={"hugging_face": NOWHERE})
    (planned,) = asked.resolved(blank()).models.values()
    assert planned.url
    source = source_sum(planned.source)
    there = context({"name": "chat", **known}, weights={"hugging_face": NOWHERE}, bundle=site(source=source))
    with pytest.raises(
        RigwrightError, match=rf"source-{source}: its sha256 is .* says {planned.sha256}; fetch it again"
    ):
        there.resolved(blank())


def test_wheels_of_a_toolkit_are_among_what_is_needed(blank, context, site, cards):
    """A rig with GPUs builds with nvcc."""
    rig = blank(cards(1))
    rig = replace(rig, records=replace(rig.records, installed=NOTHING))
    lines = [*preflight_errors(rig, context({"name": "chat"}, bundle=site(packages=(BINARIES,))), (ENGINE,))]
    assert wheels("13.0", "x86_64") and "the wheels of CUDA 13.0" in lines[-1], lines


def test_upstreams_binaries_are_gathered_by_their_names(tmp_path, monkeypatch):
    """As a plan takes them, with the sums that their release tells; a deploy lays out what is at hand."""
    name, data = "llama-b11434-bin-ubuntu-x64.tar.gz", b"an archive"
    (tmp_path / "here").write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    monkeypatch.setattr(gathering, "published_sums", lambda settings, names: dict.fromkeys(names, digest))
    archive = Prebuilt(path=str(tmp_path / "here"), sha256=digest)
    monkeypatch.setattr(gathering, "downloads", lambda settings, sums: [archive for _ in sums])
    settings = LlamacppSettings().taking([name])
    needs = Needs("rig1", Hardware(), (), (), settings, None, (), (), NOWHERE)
    (piece,) = gathering.pieces_of([needs])
    assert (piece.kind, piece.name, piece.sha256) == ("binaries", name, digest)

    taken = []
    monkeypatch.setattr(prebuilt, "prebuilt_release", lambda wanted, release: taken.extend(wanted()))
    settings = settings.bundled({}, {name: digest})
    operations._prebuilt(settings, None, {}, {digest: tmp_path / "here"}.get)
    assert taken == [archive]


def test_toolkit_is_made_of_wheels_that_are_at_hand(tmp_path, monkeypatch):
    """No index is asked, and what each wheel says of its files holds."""
    content = b"a compiler"
    summed = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
    with zipfile.ZipFile(tmp_path / "part", "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr("nvidia/cu13/bin/nvcc", content)
        wheel.writestr("x-1.dist-info/RECORD", f"nvidia/cu13/bin/nvcc,sha256={summed},{len(content)}\n")
    digest = hashlib.sha256((tmp_path / "part").read_bytes()).hexdigest()
    made = Wheels("13.0", "x86_64", {"x==1": digest}, 1, 1, 1)
    monkeypatch.setattr("rigwright.roles.cuda.archive.fetch_wheels", lambda *given: pytest.fail("an index was asked"))
    with tarfile.open(toolkit_archive(made, {digest: tmp_path / "part"}.get)) as tar:
        assert tar.extractfile("bin/nvcc").read() == content
