"""`rigwright verify` logs in as the deploy does, or says in one line why not; rigs that do not answer cost little."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rigwright.inventory.unreachable import with_way_out
from rigwright.lab.inventory import host_data

from .conftest import wait_healthy

pytestmark = pytest.mark.lab

NAME = "logins"
PASSWORD = "it's $HOME; echo harm >/tmp/harm #"

# Accounts that log in with the lab's key: shells that talk and are no POSIX shell, a home that is missing, and each way
# to root. The keys lie outside of homes; `jump` is where ssh goes through the rig to the rig.
SETUP = r"""
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update </dev/null
apt-get -qq install -y --no-install-recommends tcsh opendoas >/dev/null </dev/null
mkdir -p /etc/ssh/keys
cat /root/.ssh/authorized_keys >/etc/ssh/keys/all
cat >>/etc/ssh/keys/all
chmod 644 /etc/ssh/keys/all
cat >/etc/ssh/sshd_config.d/05-logins.conf <<END
AuthorizedKeysFile /etc/ssh/keys/all
PasswordAuthentication yes
END
systemctl restart ssh
account() { useradd -m -s "$2" "$1"; printf '%s:%s\n' "$1" "$PASSWORD" | chpasswd; }
account ada /bin/bash; account csh /bin/tcsh; account lost /bin/bash; account doas /bin/sh
account out /usr/sbin/nologin; account plain /bin/sh
printf 'root:%s\n' "$PASSWORD" | chpasswd
rm -r /home/lost
printf 'echo 0; echo GGUF; echo "welcome back" >&2\n' | tee /home/ada/.bashrc >/home/csh/.tcshrc
cat >/etc/sudoers.d/logins <<END
Defaults lecture=always
ada ALL=(ALL) ALL
csh,lost ALL=(ALL) NOPASSWD: ALL
END
printf 'permit nopass doas as root\n' >/etc/doas.conf
"""


def row(shop: Any) -> dict[str, Any]:
    """The host data of the rig."""
    return host_data(next(one for one in shop.lab.rigs() if one.name == NAME))


@pytest.fixture(scope="module")
def shop(workshop: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A directory of its own."""
    directory = tmp_path_factory.mktemp("logins")
    (directory / "tiny.gguf").symlink_to(workshop.directory / "tiny.gguf")
    return type(workshop)(workshop.lab, directory)


@pytest.fixture(scope="module")
def rig(shop: Any, workshop: Any, trixie: Any) -> Iterator[dict[str, Any]]:
    """How to log in to a rig that serves, and on which many may log in."""
    shop.boot(NAME, from_snapshot=trixie.snapshot)
    key = shop.directory / "locked-key"
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", PASSWORD, "-f", str(key)]
    subprocess.run(command, check=True)
    setup = f"PASSWORD={json.dumps(PASSWORD).replace('$', chr(92) + '$')}\n{SETUP}"
    shop.lab.exec(NAME, ["sh", "-eu", "-c", setup], input=key.with_name("locked-key.pub").read_text())
    wait_healthy(shop, NAME)
    yield row(shop)
    shop.lab.down([NAME])


def verify(shop: Any, rigs: dict[str, dict[str, Any]]) -> Any:
    """The outcome of a run for rigs that shall serve the same."""
    spec = shop.spec(model=str((shop.directory / "tiny.gguf").resolve()))
    path: Path = shop.directory / "inventory.py"
    path.write_text(f"rigs = {[(name, {'rig': spec} | data) for name, data in rigs.items()]!r}\n")
    return shop.rigwright("verify", str(path))


def test_every_login_of_a_deploy_is_one_of_verify(shop: Any, rig: dict[str, Any]) -> None:
    """Sudo with and without a password, doas, su, passphrase, IPv6, a jump host; shells that talk, no home."""
    link = next(iter(json.loads(_ip("-j", "route", "get", rig["ssh_hostname"]))))["dev"]
    _ip("-6", "address", "replace", "fd77::1/64", "dev", link, "nodad")
    shop.on(NAME, "sysctl -qw net.ipv6.conf.host0.disable_ipv6=0; ip -6 address replace fd77::2/64 dev host0 nodad")
    known = {"ssh_known_hosts_file": str(shop.directory / "known"), "ssh_strict_host_key_checking": "accept-new"}
    config = shop.directory / "ssh_config"
    config.write_text(
        f"Host inside gate\n IdentityFile {rig['ssh_key']}\n IdentitiesOnly yes\n StrictHostKeyChecking accept-new\n"
        f" UserKnownHostsFile {shop.directory / 'known'}\n User root\n"
        "Host inside\n RemoteCommand tmux\n RequestTTY force\n LocalForward 22 127.0.0.1:22\n LogLevel QUIET\n"
        f" HostName 127.0.0.1\n ProxyJump gate\nHost gate\n HostName {rig['ssh_hostname']}\n"
    )
    jump = {"ssh_hostname": "inside", "ssh_config_file": str(config), "ssh_strict_host_key_checking": "accept-new"}
    rigs = {
        "root": rig,
        "asked": rig | {"ssh_user": "ada", "_sudo": True, "_sudo_password": PASSWORD},
        "csh": rig | {"ssh_user": "csh", "_sudo": True},
        "unasked": rig | {"ssh_user": "csh", "_sudo": True, "_sudo_password": PASSWORD},
        "homeless": rig | {"ssh_user": "lost", "_sudo": True},
        "doas": rig | {"ssh_user": "doas", "_doas": True},
        "su": rig | {"_su_user": "root"},
        "su-password": rig | {"ssh_user": "plain", "_su_user": "root", "_su_password": PASSWORD},
        "passphrase": rig | {"ssh_key": str(shop.directory / "locked-key"), "ssh_key_password": PASSWORD},
        "password": {k: v for k, v in rig.items() if k != "ssh_key"}
        | {"ssh_user": "ada", "ssh_password": PASSWORD, "_sudo": True, "_sudo_password": PASSWORD},
        "ipv6": rig | known | {"ssh_hostname": "fd77::2"},
        "jump": jump,
    }
    told = verify(shop, rigs)
    _ip("-6", "address", "delete", "fd77::1/64", "dev", link)
    assert told.code == 0, told.output
    lines = [line for line in told.output.splitlines() if re.match(r"[\w-]+: \d+ passed", line)]
    assert [line.partition(":")[0] for line in lines] == [*rigs, "verify"]
    assert len({line.partition(":")[2] for line in lines[:-1]}) == 1
    assert PASSWORD not in told.output
    assert shop.on(NAME, "ls /tmp/harm", check=False) == ""


@pytest.mark.faults
def test_a_login_that_cannot_be_is_one_line_and_silence_costs_little(shop: Any, rig: dict[str, Any]) -> None:
    """Two good rigs, two silent ones, one refused, and logins that fail: each is one line, in the time of one."""
    silent = [rig["ssh_hostname"].rpartition(".")[0] + f".{number}" for number in (240, 241)]
    link = next(iter(json.loads(_ip("-j", "route", "get", rig["ssh_hostname"]))))["dev"]
    for address in silent:
        _ip("neigh", "replace", address, "lladdr", "02:00:00:00:00:01", "dev", link)
    denied = f"root@{rig['ssh_hostname']}: Permission denied (publickey,password)."
    lines = {
        "silent1": ({"ssh_hostname": silent[0]}, f"ssh: connect to host {silent[0]} port 22: Connection timed out"),
        "silent2": ({"ssh_hostname": silent[1]}, f"ssh: connect to host {silent[1]} port 22: Connection timed out"),
        "refused": ({"ssh_port": 9}, f"ssh: connect to host {rig['ssh_hostname']} port 9: Connection refused"),
        "out": ({"ssh_user": "out"}, "This account is currently not available."),
        "plain": (
            {"ssh_user": "plain"},
            "the SSH user is not root; set _sudo=True in the host data, or ssh_user='root'",
        ),
        "no-password": (
            {"ssh_user": "ada", "_sudo": True},
            "sudo: a password is required; verify does not ask for one, set _sudo_password in the host data",
        ),
        "wrong-password": (
            {"ssh_user": "ada", "_sudo": True, "_sudo_password": "wrong"},
            "sudo: 1 incorrect password attempt",
        ),
        "wrong-phrase": ({"ssh_key": str(shop.directory / "locked-key"), "ssh_key_password": "wrong"}, denied),
        "other-key": ({"ssh_known_hosts_file": "/dev/null"}, "Host key verification failed."),
    }
    rigs = {"good1": rig, "good2": rig} | {name: rig | data for name, (data, _) in lines.items()}
    told = verify(shop, rigs)
    assert told.code == 1 and "Traceback" not in told.output
    assert told.seconds < 60
    expected = [f"{name}: unreachable: {with_way_out(why)}" for name, (_, why) in lines.items()]
    assert [line for line in told.output.splitlines() if "unreachable" in line] == expected
    assert len(re.findall(r"^good\d: \d+ passed, \d skipped$", told.output, re.MULTILINE)) == 2
    assert re.search(rf"^verify: \d+ passed, {len(lines)} failed, \d+ skipped$", told.output, re.MULTILINE)


def _ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout
