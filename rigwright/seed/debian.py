"""Debian's preseed.cfg: the answers to the questions of its installer.

Source: the installation guide of Debian 13, appendix B; debconf-set-selections(1).
"""

from __future__ import annotations

import shlex

from rigwright.errors import WrongSpec
from rigwright.seed.machine import BareMachine
from rigwright.seed.ubuntu import HEAD
from rigwright.shown import NOT_IN_A_LINE

_DISK = "/dev/disk/by-id/"
# The questions whose answer it is.
_ASKED = "partman-auto/disk grub-installer/bootdev"


def preseed(machine: BareMachine) -> str:
    """The file; its user has no password, and is asked for none by sudo."""
    wish = machine.settings
    rows = [
        ("d-i", "debian-installer/locale", "string", wish.locale),
        ("d-i", "keyboard-configuration/xkb-keymap", "select", wish.keyboard),
        ("d-i", "netcfg/choose_interface", "select", "auto"),
        ("d-i", "netcfg/get_hostname", "string", machine.hostname),
        ("d-i", "netcfg/hostname", "string", machine.hostname),
        ("d-i", "passwd/root-login", "boolean", "false"),
        ("d-i", "passwd/user-fullname", "string", machine.user),
        ("d-i", "passwd/username", "string", machine.user),
        # No text has this as its hash.
        ("d-i", "passwd/user-password-crypted", "password", "!"),
        ("d-i", "clock-setup/utc", "boolean", "true"),
        ("d-i", "time/zone", "string", "Etc/UTC" if wish.timezone == "UTC" else wish.timezone),
        ("d-i", "partman/early_command", "string", _choose_disk(wish.disk)),
        # A question that has no answer here is asked: that of the passphrase.
        ("d-i", "partman-auto/method", "string", "crypto" if wish.encrypt else "lvm"),
        # Hours of writing, to hide how much is written.
        *([("d-i", "partman-auto-crypto/erase_disks", "boolean", "false")] if wish.encrypt else []),
        ("d-i", "partman-auto-lvm/guided_size", "string", "max"),
        ("d-i", "partman-auto/choose_recipe", "select", "atomic"),
        ("d-i", "partman-partitioning/choose_label", "select", "gpt"),
        ("d-i", "partman-partitioning/default_label", "string", "gpt"),
        ("d-i", "partman-lvm/device_remove_lvm", "boolean", "true"),
        ("d-i", "partman-lvm/confirm", "boolean", "true"),
        ("d-i", "partman-lvm/confirm_nooverwrite", "boolean", "true"),
        ("d-i", "partman-partitioning/confirm_write_new_label", "boolean", "true"),
        ("d-i", "partman/choose_partition", "select", "finish"),
        ("d-i", "partman/confirm", "boolean", "true"),
        ("d-i", "partman/confirm_nooverwrite", "boolean", "true"),
        ("tasksel", "tasksel/first", "multiselect", "standard"),
        ("d-i", "pkgsel/include", "string", "openssh-server sudo"),
        ("popularity-contest", "popularity-contest/participate", "boolean", "false"),
        ("d-i", "grub-installer/only_debian", "boolean", "true"),
        ("d-i", "finish-install/reboot_in_progress", "note", ""),
        ("d-i", "preseed/late_command", "string", _finish(machine)),
    ]
    return "".join([f"{HEAD}\n", *(_row(*row) for row in rows)])


def _row(owner: str, question: str, kind: str, value: str) -> str:
    # A backslash at the end goes on with the next line.
    if NOT_IN_A_LINE.search(value) or value.endswith("\\"):
        raise WrongSpec(f"{question}: {value[:40]!r} cannot be an answer of a preseed file; write it on one line")
    return f"{owner} {question} {kind} {value}".rstrip() + "\n"


def _choose_disk(disk: str) -> str:
    """Shell of the installer: the disk as it is called today; without it the installation stops, with a red page."""
    found = f'disk="$(readlink -f {shlex.quote(_DISK + disk)})"; test -b "$disk"'
    return f'{found} && for one in {_ASKED}; do debconf-set "$one" "$disk"; done'


def _finish(machine: BareMachine) -> str:
    """Shell of the installer: the keys, sudo without a password, and an address of one's own."""
    user, keys = machine.user, " ".join(map(shlex.quote, machine.keys))
    own = [
        "set -e",
        f"install -d -m 700 -o {user} -g {user} /home/{user}/.ssh",
        f"printf '%s\\n' {keys} >/home/{user}/.ssh/authorized_keys",
        f"chown {user}:{user} /home/{user}/.ssh/authorized_keys",
        f"chmod 600 /home/{user}/.ssh/authorized_keys",
        f"printf '%s\\n' '{user} ALL=(ALL) NOPASSWD:ALL' >/etc/sudoers.d/90-rigwright-seed",
        "chmod 440 /etc/sudoers.d/90-rigwright-seed",
    ]
    command = f"in-target sh -c {shlex.quote('; '.join(own))}"
    return f"{command} && {_address(machine)}" if machine.settings.address != "dhcp" else command


def _address(machine: BareMachine) -> str:
    """Shell of the installer: its network came by DHCP, since this file did; the rig's is its own."""
    wish = machine.settings
    kind = "inet6" if ":" in wish.address else "inet"
    lines = ["auto lo", "iface lo inet loopback", "auto $card", f"iface $card {kind} static"]
    lines += [f"    address {wish.address}", f"    gateway {wish.gateway}"]
    text = "\\n".join(lines)
    names = "".join(f"nameserver {one}\\n" for one in wish.nameservers or (wish.gateway,))
    return (
        f'card=; for at in /sys/class/net/*; do [ "$(cat $at/address)" != {wish.mac} ] || card=${{at##*/}}; done; '
        f'test -n "$card" && printf "{text}\\n" >/target/etc/network/interfaces && '
        f'printf "{names}" >/target/etc/resolv.conf'
    )
