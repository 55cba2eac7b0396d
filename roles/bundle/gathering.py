"""Pieces of a bundle: each listed first, with its size where it is known, then fetched and held to its sum."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rigwright import __version__
from rigwright.bundle.archive import Say
from rigwright.bundle.manifest import Content, Kind, Manifest, PackageSet, System, Tree
from rigwright.catalogue import load
from rigwright.errors import RigwrightError
from rigwright.plan.driver.wheels import Wheels
from rigwright.plan.engines.llamacpp.archives import Archive, Prebuilt
from rigwright.plan.engines.vllm.release import Release
from rigwright.plan.engines.vllm.requirements import Pin
from rigwright.roles.base.fetching import nowhere
from rigwright.roles.bundle.apt import Apt, stanza
from rigwright.roles.bundle.download import download, facts_of
from rigwright.roles.bundle.needs import Git, Needs
from rigwright.roles.cuda.archive import fetch_wheels
from rigwright.roles.llamacpp.archive import check, fetch
from rigwright.roles.llamacpp.published import downloads, published_sums
from rigwright.roles.vllm.wheels import fetch_wheel, uv_sum, uv_wheel
from rigwright.shown import printable, redacted, without_secrets
from rigwright.weights.local import LocalModel, file_sha256
from rigwright.weights.offline import source_sum


@dataclass(frozen=True)
class Piece:
    """One part that is to come. `fetch` brings it into a folder, or says where it lies already."""

    kind: Kind
    name: str
    size_bytes: int | None
    sha256: str | None
    fetch: Callable[[Path, Say], Path]
    sources: tuple[str, ...] = ()
    tree: Callable[[], Tree] | None = None


@dataclass(frozen=True)
class Packages:
    """The packages for one system; `names` are those that are asked for at a time, `sizes` those of their files."""

    system: tuple[str, str, str]
    apt: Apt
    names: tuple[tuple[str, ...], ...]
    sizes: dict[str, int]

    def __str__(self) -> str:
        """`133 packages of debian 13 x86_64`."""
        return f"{len(self.sizes)} packages of {' '.join(self.system)}"


def pieces_of(needs: Sequence[Needs]) -> list[Piece]:
    """What rigs need beside packages, each once.

    Raises:
        RigwrightError: a hub says that a file is not there, or not for this user.
    """
    found: dict[object, Piece] = {}
    for one in needs:
        for file in one.files:
            found.setdefault(file.source.identity, _model_piece(file, one.hub))
        for archive in one.archives:
            found.setdefault(archive.sha256, _archive_piece(archive))
        if one.git:
            found.setdefault(one.git, _git_piece(one.git))
        if one.upstream:
            sums = published_sums(one.upstream, one.upstream.taken)
            for name, archive in zip(sums, downloads(one.upstream, sums), strict=True):
                found.setdefault(archive.sha256, _archive_piece(archive, name=name))
        for made in one.wheels:
            for requirement, digest in made.sums.items():
                found.setdefault(digest, _wheel_piece(made, requirement, digest))
        if one.vllm:
            found.setdefault(uv_sum(one.vllm.machine), _uv_piece(one.vllm.machine))
            found |= {pin: _pin_piece(pin, one.vllm) for pin in one.vllm.pins}
    return list(found.values())


def packages_of(needs: Sequence[Needs], scratch: Path, sources: Callable[[Needs], Path | None]) -> list[Packages]:
    """The packages of each system, by what apt says of them.

    Raises:
        RigwrightError: apt cannot say it.
    """
    found: list[Packages] = []
    wanted: dict[tuple[str, str, str], dict[tuple[str, ...], None]] = {}
    first: dict[tuple[str, str, str], Needs] = {}
    for one in needs:
        first.setdefault(one.system, one)
        wanted.setdefault(one.system, {}).update(dict.fromkeys(one.names))
    for number, (system, names) in enumerate(wanted.items()):
        if not names:
            continue
        apt = Apt(scratch / f"apt-{number}", architecture=system[2], sources=sources(first[system]))
        listed = {one: apt.listed(one) for one in names}
        sizes = {file.name: file.size_bytes for files in listed.values() for file in files}
        found.append(Packages(system, apt, tuple(names), sizes))
    return found


@dataclass
class Gathered:
    """What came: the list of contents, and the files by their sums."""

    manifest: Manifest
    files: dict[str, Path]


def gather(
    pieces: Iterable[Piece],
    packages: Iterable[Packages],
    stage: Path,
    *,
    inventory: str,
    rigs: dict[str, str],
    lock: str,
    say: Say,
) -> Gathered:
    """Fetch all of it into a folder; what lies there from an earlier run is not fetched again.

    Raises:
        RigwrightError: a part does not come, or is another one.
    """
    contents: dict[str, Content] = {}
    files: dict[str, Path] = {}

    def take(content: Content, path: Path) -> None:
        known = contents.get(content.sha256)
        if known:
            content = known.model_copy(update={"sources": tuple(dict.fromkeys((*known.sources, *content.sources)))})
        contents[content.sha256], files[content.sha256] = content, path

    for piece in pieces:
        path = _fetched(piece, stage, say)
        digest = file_sha256(path)
        if piece.sha256 not in (None, digest):
            raise RigwrightError(f"{piece.name}: its sha256 is {digest}, it should be {piece.sha256}; run again")
        tree = piece.tree() if piece.tree else None
        size = path.stat().st_size
        take(
            Content(kind=piece.kind, name=piece.name, sha256=digest, size_bytes=size, sources=piece.sources, tree=tree),
            path,
        )
    systems = [_system(one, take, say) for one in packages]
    manifest = Manifest(
        rigwright=__version__,
        inventory=inventory,
        rigs=rigs,
        lock=lock,
        contents=tuple(contents.values()),
        systems=tuple(systems),
    )
    return Gathered(manifest, files)


def _fetched(piece: Piece, stage: Path, say: Say) -> Path:
    at = stage / (piece.sha256 or "none")
    if at.is_file() and file_sha256(at) == piece.sha256:
        return at
    say(f"{piece.kind}: {piece.name}")
    path = piece.fetch(stage, say)
    # What was fetched goes by its sum; what lies elsewhere on this machine stays there.
    return path.replace(stage / file_sha256(path)) if stage in path.parents else path


def _system(packages: Packages, take: Callable[[Content, Path], None], say: Say) -> System:
    index: dict[str, str] = {}
    sets = []
    say(str(packages))
    for names in packages.names:
        digests = []
        for name, path in packages.apt.fetch(names, say).items():
            digests.append(digest := file_sha256(path))
            if digest not in index:
                index[digest] = stanza(path)
                take(Content(kind="package", name=name, sha256=digest, size_bytes=path.stat().st_size), path)
        sets.append(PackageSet(names=names, files=tuple(digests)))
    os_id, version, architecture = packages.system
    return System(os_id=os_id, os_version=version, architecture=architecture, index=index, sets=tuple(sets))


def _model_piece(local: LocalModel, hub: str) -> Piece:
    name, sources = local.source.file_name, (source_sum(local.source),)
    if path := local.path:
        return Piece("model file", name, local.size_bytes, local.sha256, lambda stage, say: path, sources)
    facts = facts_of(local, hub)
    sha256 = local.sha256 or facts.sha256

    def bring(stage: Path, say: Say) -> Path:
        part = stage / f"{sha256 or sources[0]}.part"
        download(local, facts, part, hub=hub, say=say)
        if facts.size_bytes is not None and part.stat().st_size != facts.size_bytes:
            raise RigwrightError(f"{local.source}: {part.stat().st_size} of {facts.size_bytes} bytes came; run again")
        return part

    return Piece("model file", name, facts.size_bytes, sha256, bring, sources)


def _archive_piece(archive: Archive | Prebuilt, *, name: str = "") -> Piece:
    is_source = isinstance(archive, Archive)
    package = archive.pypi if isinstance(archive, Archive) else None
    shown = package or (without_secrets(archive.url) if archive.url else archive.path) or ""
    where = "rig.llamacpp.archive" if is_source else "rig.llamacpp.prebuilt"
    own = Path(archive.path).expanduser() if archive.path else None

    def bring(stage: Path, say: Say) -> Path:
        with tempfile.TemporaryDirectory(dir=stage) as scratch:
            path = fetch(archive, Path(scratch), where=where)
            check(path, archive, where=where)
            return path if archive.path else path.replace(stage / archive.sha256)

    size = own.stat().st_size if own and own.is_file() else None
    if isinstance(archive, Archive) and archive.is_pinned:
        size = load("engines")["llamacpp"]["archive_bytes"]
    kind: Kind = "source" if is_source else "binaries"
    return Piece(kind, name or shown.rpartition("/")[2][:200] or "archive", size, archive.sha256, bring)


def _wheel_piece(made: Wheels, requirement: str, digest: str) -> Piece:
    def bring(stage: Path, say: Say) -> Path:
        with tempfile.TemporaryDirectory(dir=stage) as scratch:
            for path in fetch_wheels(made, Path(scratch)):
                path.replace(stage / file_sha256(path))
        return stage / digest

    return Piece("wheel", requirement, made.fetched_bytes // len(made.sums), digest, bring)


def _uv_piece(machine: str) -> Piece:
    digest = uv_sum(machine)
    return Piece("wheel", f"uv for {machine}", None, digest, lambda stage, say: uv_wheel(machine, nowhere, None))


def _pin_piece(pin: Pin, release: Release) -> Piece:
    (digest,) = pin.sums if len(pin.sums) == 1 else (None,)

    def bring(stage: Path, say: Say) -> Path:
        with tempfile.TemporaryDirectory(dir=stage) as scratch:
            path = fetch_wheel(pin, release, Path(scratch))
            return path.replace(stage / path.name)

    return Piece("wheel", pin.file or str(pin), None, digest, bring)


def _git_piece(git: Git) -> Piece:
    known: list[str] = []

    def bring(stage: Path, say: Say) -> Path:
        with tempfile.TemporaryDirectory(dir=stage) as scratch:
            wanted = git.commit or git.ref
            named = wanted if len(wanted) == 40 else f"refs/tags/{wanted}"
            _git(scratch, "init", "-q", ".")
            _git(scratch, "fetch", "-q", "--depth", "1", git.address, named)
            known.append(_git(scratch, "rev-parse", "FETCH_HEAD^{commit}").strip())
            if git.commit not in (None, known[-1]):
                raise RigwrightError(f"{git.address}: {git.ref} is not {git.commit} any more; lock the plan anew")
            target = Path(scratch) / "tree.tar.gz"
            _git(scratch, "archive", "--format=tar.gz", "-o", str(target), known[-1])
            return target.replace(stage / f"{known[-1]}.tar.gz")

    def tree() -> Tree:
        return Tree(git=git.address, ref=git.ref, commit=known[-1])

    return Piece("source", f"{git.address} at {git.ref}"[-200:], None, None, bring, tree=tree)


def _git(where: str, *arguments: str) -> str:
    if not shutil.which("git"):
        raise RigwrightError("rig.llamacpp.git: this machine has no git; install it, or set rig.llamacpp.archive")
    done = subprocess.run(
        ["git", "-C", where, *arguments],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        said = redacted(printable((done.stderr.strip().splitlines() or ["no word"])[-1]))[:300]
        raise RigwrightError(f"rig.llamacpp.git: {said}; check git and ref")
    return done.stdout
