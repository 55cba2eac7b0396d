"""The rigs to plan for: what each has, and what it shall serve."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import click

from rigwright.bundle.opened import with_bundle
from rigwright.errors import RigwrightError, WrongSpec
from rigwright.hardware.values import Hardware
from rigwright.inventory.live import LOCAL, collect
from rigwright.inventory.program import Pyinfra
from rigwright.inventory.rows import read_rows
from rigwright.lock.file import lock_file
from rigwright.records.values import RigRecords
from rigwright.spec.cluster import Membership, memberships, own_spec, with_cluster
from rigwright.spec.keys import keys_of
from rigwright.spec.rig import RigSpec


class Found(NamedTuple):
    """The rigs that answered or were recorded, for each that did not why, and what is deployed on them."""

    rigs: Mapping[str, Hardware]
    missing: Mapping[str, str]
    records: Mapping[str, RigRecords]


class Wished(NamedTuple):
    """What an inventory says of one rig, where the lock file of its deploys lies, and the cluster that it is in."""

    spec: RigSpec
    lock: Path | None = None
    member: Membership | None = None


def read_rigs(
    inventory: str | None,
    *,
    capture: Path | None = None,
    limit: tuple[str, ...] = (),
    with_records: bool = False,
    with_software: bool = False,
    started: Pyinfra | None = None,
) -> Found:
    """What the rigs have: one remote command each, or a recorded folder; the rest is `collect`'s.

    Raises:
        RigwrightError: there is nothing to read.
    """
    from rigwright.hardware.capture import read_files, read_folder  # 30 ms, which machines in words do not need

    if capture is not None:
        return Found({folder_name(capture): read_folder(capture)}, {}, {})
    found = collect(
        inventory or LOCAL, limit=limit, with_records=with_records, with_software=with_software, started=started
    )
    return Found({name: read_files(files) for name, files in found.files.items()}, found.missing, found.records)


def folder_name(folder: Path) -> str:
    """The name of a recorded machine, of `--capture .` too."""
    return folder.name if folder.name not in ("", "..") else folder.resolve().name


def read_wishes(
    inventory: str,
    *,
    limit: tuple[str, ...] = (),
    started: Pyinfra | None = None,
    opens_bundles: bool = True,
) -> dict[str, Wished]:
    """What an inventory wishes of each rig, by name; `started` is the pyinfra that reads it.

    Model files come from the bundle that it names, unless that one is only about to be made.

    Raises:
        WrongSpec: a line for each thing that is wrong on any of them.
    """
    wishes, wrong = {}, []
    rows = read_rows(inventory, limit=limit, started=started)
    whole = rows
    if limit and any(row["data"].get("cluster") for row in rows):
        whole = read_rows(inventory, started=started)
    members = memberships((row["name"], row["data"].get("cluster")) for row in whole)
    for row in rows:
        name, data = row["name"], row["data"]
        try:
            lock = lock_file(name, data.get("rig_lock"), inventory)
            spec = with_cluster(name, own_spec(name, data, inventory), members.get(name))
            if opens_bundles:
                spec, _ = with_bundle(spec, name, _tell)
            wishes[name] = Wished(spec, lock, members.get(name))
            keys_of(name, wishes[name].spec)  # a deploy would refuse what is wrong with them, too
        except RigwrightError as error:
            wrong.append(error.message)
    if wrong:
        raise WrongSpec("\n".join(wrong))
    return wishes


def _tell(line: str) -> None:
    click.echo(line, err=True)
