"""What makes one rig differ from the next: its name, its keys, its address, its user."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from rigwright.lab.access import callers_ids
from rigwright.lab.host import run, write_text
from rigwright.lab.layout import LabPaths, RigPaths
from rigwright.lab.mounts import within
from rigwright.lab.network import address, gateway
from rigwright.lab.state import Record, load_rigs

HOST_KEY = Path("etc/ssh/ssh_host_ed25519_key")
# What systemd-resolved keeps for others comes first: its own listens on loopback, which no rig can reach.
RESOLVERS = (Path("/run/systemd/resolve/resolv.conf"), Path("/etc/resolv.conf"))


def make_lab_key(paths: LabPaths) -> None:
    """Make the key that opens the rigs of this lab; it alone belongs to whoever called sudo."""
    if paths.key.exists():
        return
    make_key(paths.key, comment=f"rigwright-lab-{paths.name}")
    os.chown(paths.key, *callers_ids())


def make_key(path: Path, *, comment: str) -> str:
    """Make an ed25519 key pair; returns the public half without its comment."""
    for left in (path, path.with_suffix(".pub")):
        left.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", path])
    return " ".join(path.with_suffix(".pub").read_text().split()[:2])


def write_birth(root: Path, record: Record, *, host_key: Path) -> None:
    """Write what a rig keeps for life: machine id, host key, user. `root` is its mounted `/`."""
    for name in (HOST_KEY, HOST_KEY.with_suffix(".pub")):
        key = host_key.with_suffix(name.suffix)
        write_text(within(root, name.parent) / name.name, key.read_text(), mode=0o644 if name.suffix else 0o600)
        key.unlink()
    write_text(within(root, "etc") / "machine-id", uuid.uuid4().hex + "\n", mode=0o444)
    user = record.settled.ssh_user
    if user != "root":
        _add_user(root, user, sudo=record.settled.sudo)


def write_place(root: Path, paths: LabPaths, record: Record, *, subnet: int) -> None:
    """Write what may change between two boots: names and addresses, the key that opens it."""
    own, etc = address(subnet, record.number), within(root, "etc")
    write_text(etc / "hostname", f"{record.name}\n")
    write_text(etc / "hosts", f"127.0.0.1 localhost\n::1 localhost\n{own} {record.name}\n")
    # The name sorts before systemd's own 80-container-host0.network, which gives a link-local address only.
    write_text(
        within(root, "etc/systemd/network") / "10-host0.network",
        f"[Match]\nName=host0\n\n[Network]\nAddress={own}/24\nGateway={gateway(subnet)}\nDHCP=no\n"
        "LinkLocalAddressing=no\nIPv6AcceptRA=no\n",
    )
    resolver = next((file for file in RESOLVERS if file.exists()), None)
    if resolver:
        write_text(etc / "resolv.conf", resolver.read_text())
    _authorise(root, record.settled.ssh_user, paths.key.with_suffix(".pub").read_text())


def write_known_hosts(paths: LabPaths, *, subnet: int) -> None:
    """Write the host keys of all rigs of the lab: known before the first connection."""
    lines = [f"{address(subnet, record.number)} {record.host_key}\n" for record in load_rigs(paths)]
    write_text(paths.known_hosts, "".join(lines))


def host_key_draft(paths: RigPaths) -> Path:
    """Where a host key is made before the rig has a disk to keep it on."""
    return paths.home / "host_key"


def _add_user(root: Path, user: str, *, sudo: bool) -> None:
    names = {line.split(":")[0] for line in within(root, "etc/passwd").read_text().splitlines()}
    if user not in names:
        run(["chroot", root, "useradd", "--create-home", "--shell", "/bin/bash", user])
    rights = within(root, "etc/sudoers.d") / f"90-lab-{user}"
    if sudo:
        write_text(rights, f"{user} ALL=(ALL:ALL) NOPASSWD: ALL\n", mode=0o440)
    else:
        rights.unlink(missing_ok=True)


def _authorise(root: Path, user: str, public_key: str) -> None:
    entries = (line.split(":") for line in within(root, "etc/passwd").read_text().splitlines())
    uid, gid, home = next((int(entry[2]), int(entry[3]), entry[5]) for entry in entries if entry[0] == user)
    folder = within(root, f"{home}/.ssh")
    folder.mkdir(mode=0o700, exist_ok=True)
    write_text(folder / "authorized_keys", public_key, mode=0o600)
    for path in (folder, folder / "authorized_keys"):
        os.chown(path, uid, gid)
