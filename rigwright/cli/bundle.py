"""`rigwright bundle`: all that the rigs of an inventory need of the internet, in one file."""

from __future__ import annotations

import fcntl
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from rigwright.cli.completion import captures
from rigwright.cli.machine import limit_option
from rigwright.cli.unanswered import tell_errors, tell_missing
from rigwright.errors import Refused, RigwrightError
from rigwright.units import format_bytes

if TYPE_CHECKING:
    from rigwright.hardware.values import Hardware
    from rigwright.inventory.rigs import Wished
    from rigwright.resolve.rigs import ResolvedRigs
    from rigwright.roles.bundle.gathering import Packages, Piece
    from rigwright.roles.bundle.needs import Needs

_OS_RELEASE = Path("/etc/os-release")


@click.command()
@click.argument("inventory", type=click.Path())
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="What is written; by default INVENTORY.bundle.tar.",
)
@click.option("--dry", is_flag=True, help="List what it would hold, with sizes; write nothing.")
@click.option(
    "--capture",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    shell_complete=captures,
    help="Recorded rigs, of `rigwright hardware --record DIR`, where the rigs are out of reach.",
)
@click.option(
    "--sources",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="Where apt finds packages of the rigs' distribution, like their /etc/apt/sources.list; by default this "
    "machine's own sources, where it runs the same one.",
)
@limit_option
def bundle(
    inventory: str,
    output: Path | None,
    dry: bool,
    capture: Path | None,
    sources: Path | None,
    limit: tuple[str, ...],
) -> None:
    """Gather all that the rigs of INVENTORY need of the internet: model files, llama.cpp, CUDA's wheels, packages.

    Run it where the internet is. Where it is not, say `"bundle": "FILE"` in the inventory: rigs are then deployed to
    from that file alone, each part held to its sum. It is made for the plan, the distribution and the architecture of
    the rigs, as they are or were recorded, and holds what a rig needs that has nothing yet. It holds no driver.
    """
    target = output or Path(inventory).with_suffix(".bundle.tar")
    _require_ours(target)
    rigs = _planned(inventory, capture, limit)

    from rigwright.bundle.archive import write
    from rigwright.roles.bundle.gathering import gather, packages_of, pieces_of
    from rigwright.roles.bundle.needs import needs_of

    needs = [
        needs_of(name, rigs.wishes[name].spec, rigs.found[name], rigs.planned.resolved[name]) for name in rigs.wishes
    ]
    with _stage(target, is_kept=not dry) as stage:
        pieces = pieces_of(needs)
        packages = packages_of(needs, stage, lambda one: _sources(one, sources))
        if dry:
            _list(pieces, packages)
            return
        gathered = gather(
            pieces,
            packages,
            stage,
            inventory=Path(inventory).name,
            rigs={one.rig: " ".join(one.system) for one in needs},
            lock=_lock(inventory, rigs),
            say=_say,
        )
        _say(f"writing {target}: {format_bytes(gathered.manifest.total_bytes)}")
        digest = write(target, gathered.manifest, gathered.files)
        shutil.rmtree(stage)
    count = len(gathered.manifest.contents)
    click.echo(
        f"{target}: {count} files, {format_bytes(target.stat().st_size)}; write in the inventory, beside services:"
    )
    click.echo(f'"bundle": {{"path": "{target.name}", "sha256": "{digest}"}}')


class _Rigs(NamedTuple):
    """What is wished of each rig, what it has, and its plan."""

    wishes: Mapping[str, Wished]
    found: Mapping[str, Hardware]
    planned: ResolvedRigs


def _planned(inventory: str, capture: Path | None, limit: tuple[str, ...]) -> _Rigs:
    """The plan of each rig, as a deploy of one that has nothing would make it."""
    from rigwright.hardware.capture import read_folder
    from rigwright.inventory.rigs import read_rigs, read_wishes
    from rigwright.plan.engines.installed import NOTHING
    from rigwright.records.values import NO_RECORDS, RigRecords
    from rigwright.resolve.rigs import RigRequest, look_at_models, resolve_all
    from rigwright.weights.lookup import Lookup

    wishes = read_wishes(inventory, limit=limit, opens_bundles=False)
    found: dict[str, Hardware] = {}
    records: Mapping[str, RigRecords] = {}
    if capture is None:
        answered = read_rigs(inventory, limit=limit, with_records=True)
        if answered.missing:
            tell_missing(answered.missing)
            _say("nothing was written; rigs that are out of reach are recorded there: rigwright hardware --record DIR")
            sys.exit(1)
        found, records = dict(answered.rigs), answered.records
    else:
        for name in wishes:
            own = capture / name
            found[name] = read_folder(own if own.is_dir() else capture)
    lookup = Lookup(say=lambda name: _say(f"reading {name}"))
    look_at_models({name: wish.spec for name, wish in wishes.items()}, lookup)
    bare = {name: replace(records.get(name, NO_RECORDS), installed=NOTHING) for name in wishes}
    asked = {
        name: RigRequest(one.spec, found[name], one.lock, bare[name], member=one.member) for name, one in wishes.items()
    }
    planned = resolve_all(asked, lookup, alternatives=0)
    if planned.errors:
        tell_errors(planned.errors)
        sys.exit(1)
    for name, resolved in planned.resolved.items():
        if asked[name].lock and not resolved.is_locked:
            _say("\n".join(f"{name}: {change}" for change in resolved.changes))
            renew = f"`rigwright plan {inventory} --replan` takes the new state"
            raise RigwrightError(f"{name}: {asked[name].lock} no longer matches; {renew}")
    return _Rigs(wishes, found, planned)


def _say(line: str) -> None:
    click.echo(line, err=True)


def _sources(needs: Needs, given: Path | None) -> Path | None:
    """The sources for a rig's packages; None for this machine's own.

    Raises:
        RigwrightError: this machine runs something else, and no file was given.
    """
    text = _OS_RELEASE.read_text("utf-8", "replace") if _OS_RELEASE.exists() else ""
    own = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    mine = tuple(own.get(key, "").strip("\"'") for key in ("ID", "VERSION_ID"))
    if given or mine == needs.system[:2]:
        return given
    raise RigwrightError(
        f"{needs.rig}: it runs {' '.join(needs.system[:2])}, this machine {' '.join(mine)}; name a file like the rig's "
        "/etc/apt/sources.list with --sources"
    )


def _lock(inventory: str, rigs: _Rigs) -> str:
    """What was planned, as a lock file; without a rig whose GPUs cannot be told apart yet."""
    from rigwright.lock.file import Lock, render_lock
    from rigwright.resolve.pin import pin

    locked = {}
    for name, resolved in rigs.planned.resolved.items():
        try:
            locked[name], _ = pin(resolved, rigs.wishes[name].spec, rigs.found[name], rig=name)
        except Refused as error:
            _say(error.message)
    return render_lock(Lock(rigs=locked), Path(inventory).name)


def _require_ours(target: Path) -> None:
    """Refuse to write over what is no bundle.

    Raises:
        RigwrightError: it is none.
    """
    from rigwright.bundle.archive import read_manifest

    if not target.parent.is_dir():
        raise RigwrightError(f"{target}: {target.parent} is no directory; make it, or name another file with -o")
    if target.exists():
        try:
            read_manifest(target)
        except RigwrightError:
            raise RigwrightError(f"{target}: is there, and no bundle; name another file with -o") from None


@contextmanager
def _stage(target: Path, *, is_kept: bool) -> Iterator[Path]:
    """The folder in which parts wait, beside the bundle: what an interrupted run fetched is there for the next one."""
    if not is_kept:
        with tempfile.TemporaryDirectory() as scratch:
            yield Path(scratch)
        return
    stage = target.absolute().with_name(f".{target.name}.parts")
    mark = stage / "of-rigwright"
    if stage.is_symlink() or (stage.exists() and not mark.is_file()):
        raise RigwrightError(f"{stage}: is not ours; move it away")
    try:
        stage.mkdir(mode=0o700, exist_ok=True)
        with mark.open("w") as held:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RigwrightError(f"{target}: another run is gathering it; wait for that one") from None
            yield stage
    except OSError as error:
        raise RigwrightError(
            f"{stage}: {error.strerror or error}; free some of its disk, or name another file"
        ) from None


def _list(pieces: Sequence[Piece], packages: Sequence[Packages]) -> None:
    """What would come, a line each."""
    rows = [(str(one.kind), one.name, one.size_bytes) for one in pieces if one.kind != "wheel"]
    # How large each is the catalogue does not say.
    if made := [one for one in pieces if one.kind == "wheel"]:
        rows.append(
            ("wheels", f"{len(made)} of CUDA's compiler and libraries", sum(one.size_bytes or 0 for one in made))
        )
    rows += [("packages", str(one), sum(one.sizes.values())) for one in packages]
    wide = max(len(kind) for kind, _, _ in rows)
    for kind, name, size in rows:
        click.echo(f"{kind:{wide}}  {format_bytes(size) if size is not None else 'unknown':>8}  {name}")
    more = " and what is unknown" if any(size is None for _, _, size in rows) else ""
    known = sum(size for _, _, size in rows if size is not None)
    click.echo(f"together {format_bytes(known)}{more}; nothing was written")
