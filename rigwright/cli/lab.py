"""`rigwright lab`: parsing and printing only."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from rigwright.errors import RigwrightError

if TYPE_CHECKING:
    from rigwright.lab.lab import Lab


def _lab(say: Callable[[str], None] = click.echo) -> Lab:
    from rigwright.lab.lab import Lab  # on first use: `--help` need not load it

    return Lab(say=say)


@click.group()
def lab() -> None:
    """Virtual rigs on this machine: real systemd, real sshd, a network of their own. Needs root."""


@lab.command()
@click.argument("names", nargs=-1, metavar="[NAME...]")
@click.option("--rigs", type=click.IntRange(1, 64), help="Boot rig1 to rigN.")
@click.option("--os", "os_name", metavar="RELEASE", help="trixie (default) or bookworm.")
@click.option("--hardware", metavar="NAME|DIR", help="Answer nvidia-smi and others as this recorded machine did.")
@click.option("--driver", metavar="simulated", help="Give those GPUs no driver but the one that is installed.")
@click.option("--from", "snapshot", metavar="SNAPSHOT", help="Start from a disk kept by `lab snapshot`.")
@click.option("--ssh-user", metavar="USER", help="Who logs in (default root); any other user gets sudo.")
@click.option("--no-sudo", is_flag=True, help="Give that user no sudo.")
@click.option("--disk", metavar="SIZE", help="Size of the rig's disk, e.g. 20G; taken from this machine as it fills.")
def up(
    names: Sequence[str],
    rigs: int | None,
    os_name: str | None,
    hardware: str | None,
    driver: str | None,
    snapshot: str | None,
    ssh_user: str | None,
    no_sudo: bool,
    disk: str | None,
) -> None:
    """Boot rigs and wait until they answer.

    Without names: the rigs that this lab has, or rig1. Rigs that are up stay as they are.
    """
    from rich.console import Console

    from rigwright.lab.wish import RigWish

    if names and rigs:
        raise RigwrightError("lab: both names and --rigs were given; use one of them")
    console = Console(highlight=False)
    here = _lab(console.print)
    chosen = names or ([f"rig{n}" for n in range(1, rigs + 1)] if rigs else here.names() or ["rig1"])
    size = None if disk is None else _size(disk)
    sudo = False if no_sudo else None
    with console.status(f"booting {' '.join(chosen)}"):  # silent when nobody watches
        booted = here.up(RigWish(name, os_name, hardware, snapshot, ssh_user, sudo, size, driver) for name in chosen)
    for rig in booted:
        click.echo(f"{rig.name}  {rig.address}  {rig.os}  {rig.ssh_user}")


@lab.command()
@click.argument("rigs", nargs=-1, metavar="[RIG...]")
def down(rigs: Sequence[str]) -> None:
    """End rigs (default: all) and delete their disks.

    Snapshots, base images and the compiler cache stay.
    """
    ended = _lab().down(rigs or None)
    for name in ended:
        click.echo(f"{name}: down")
    if not ended:
        click.echo("no rigs")


@lab.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(as_json: bool) -> None:
    """Show the rigs of this lab."""
    rows = _lab().status()
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    if not rows:
        click.echo("no rigs; run `rigwright lab up`")
    for row in rows:
        click.echo("  ".join(str(value) for value in row.values() if value is not None))


@lab.command()
@click.argument("rig")
def ssh(rig: str) -> None:
    """Log in to a rig."""
    command = _lab().rig(rig).ssh_command()
    os.execvp(command[0], command)


@lab.command("exec", context_settings={"ignore_unknown_options": True})
@click.argument("rig")
@click.argument("argv", nargs=-1, required=True, metavar="-- CMD...")
def exec_(rig: str, argv: Sequence[str]) -> None:
    """Run a command in a rig as root, without ssh."""
    command = _lab().enter(rig, argv)
    os.execvp(command[0], command)


@lab.command()
@click.argument("rig")
@click.option("--hard", is_flag=True, help="Cut the power instead of shutting down.")
def reboot(rig: str, hard: bool) -> None:
    """Boot a rig anew on its own disk."""
    _lab().reboot(rig, hard=hard)


@lab.command()
@click.argument("rig")
@click.argument("name")
def snapshot(rig: str, name: str) -> None:
    """Keep a copy of the disk of a rig, which is restarted for it.

    `lab up --from NAME` starts new rigs from it.
    """
    _lab().snapshot(rig, name)
    click.echo(f"{rig}: kept as {name}; start another with `rigwright lab up --from {shlex.quote(name)} NAME`")


@lab.command()
@click.argument("name")
def forget(name: str) -> None:
    """Delete a snapshot."""
    _lab().forget_snapshot(name)
    click.echo(f"{name}: deleted")


@lab.command()
@click.argument("rig")
@click.argument("name", metavar="FAULT")
def fault(rig: str, name: str) -> None:
    """Break something in a rig, or undo all of it with `clear`.

    FAULT is disk-full, ssh-drop, no-network, slow-network, kill-service[=UNIT] or no-boot; in a rig with a simulated
    driver also driver-missing, driver-late[=SECONDS], driver-mismatch or gpu-lost.
    """
    click.echo(f"{rig}: {_lab().fault(rig, name)}")


def _size(text: str) -> int:
    from rigwright.units import parse_bytes

    try:
        return parse_bytes(text)
    except ValueError as wrong:
        raise RigwrightError(f"lab: --disk: {wrong}") from None
