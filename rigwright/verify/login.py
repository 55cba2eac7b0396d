"""How the commands of checks reach a rig: logged in as pyinfra logs in for a deploy, from the same host data."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rigwright.errors import RigwrightError

# `ssh` asks this program, which answers from the environment: no secret is in a process list.
_ASKPASS = """#!/bin/sh
case $1 in *assphrase*) printf '%s\\n' "$RIGWRIGHT_PASSPHRASE" ;; *) printf '%s\\n' "$RIGWRIGHT_PASSWORD" ;; esac
"""
_CONNECT_SECONDS = 20
# What `data` may say of a login that ssh itself has no word for.
_NOT_HERE = {
    "ssh_paramiko_connect_kwargs": "verify connects with ssh; say the same in ~/.ssh/config, or in an ssh_config_file"
}
# pyinfra's other connectors, and the command that runs a shell where they lead.
_CONTAINERS = ("docker", "podman")


@dataclass(frozen=True)
class Login:
    """The way to a root shell.

    command: runs `sh` on the rig, which reads a script on its standard input. become: words before `sh -c SCRIPT`, or
    before SCRIPT alone where `is_su`. password: what they ask for. environment: further variables of `command`. stop:
    ends what `command` shares.
    """

    command: tuple[str, ...]
    become: tuple[str, ...] = ()
    is_su: bool = False
    password: str | None = field(default=None, repr=False)
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    stop: tuple[str, ...] = ()


def login(name: str, data: Mapping[str, Any], directory: Path) -> Login:
    """The way to a rig; its sockets and programs are kept in `directory`, whose path must be short.

    Raises:
        RigwrightError: `data` says what verify cannot do.
    """
    connector, _, rest = name[1:].partition("/") if name.startswith("@") else ("ssh", "", name)
    if connector == "local":
        return Login(("sh",), **_become(name, data))
    if connector in _CONTAINERS:
        return Login((connector, "exec", "-i", rest, "sh"), **_become(name, data))
    if connector != "ssh":
        raise RigwrightError(f"{name}: verify knows no connector @{connector}; use SSH, @local, @docker or @podman")
    for key, advice in _NOT_HERE.items():
        if data.get(key):
            raise RigwrightError(f"{name}: {key} cannot be taken over; {advice}")
    secrets = {"RIGWRIGHT_PASSPHRASE": data.get("ssh_key_password"), "RIGWRIGHT_PASSWORD": data.get("ssh_password")}
    environment = {key: str(text) for key, text in secrets.items() if text}
    if environment:
        environment |= {"SSH_ASKPASS": str(_askpass(directory)), "SSH_ASKPASS_REQUIRE": "force", "DISPLAY": ":0"}
    socket = directory / str(sum(1 for _ in directory.iterdir()))
    socket.touch()  # the name is taken
    options = [*_options(data, asks=bool(environment)), "-o", f"ControlPath={socket}.s"]
    address = str(data.get("ssh_hostname") or rest)
    return Login(
        ("ssh", "-T", *options, "--", address, "sh"),
        **_become(name, data),
        environment=environment,
        stop=("ssh", *options, "-O", "exit", "--", address),
    )


def _options(data: Mapping[str, Any], *, asks: bool) -> Iterator[str]:
    """Those of `ssh`. The connection is shared by all commands of a run, and outlives none."""
    strict = data.get("ssh_strict_host_key_checking") or "accept-new"
    settings = {
        "ConnectTimeout": _CONNECT_SECONDS,
        "ServerAliveInterval": 15,
        "ServerAliveCountMax": 2,
        "ControlMaster": "auto",
        "ControlPersist": 60,
        "BatchMode": "no" if asks else "yes",
        "NumberOfPasswordPrompts": 1,
        # What a person's own settings may ask for, for a person.
        "RemoteCommand": "none",
        "ClearAllForwardings": "yes",
        "PermitLocalCommand": "no",
        "LogLevel": "INFO",
        "StrictHostKeyChecking": {"off": "no", "ask": "yes"}.get(str(strict), str(strict)),
        "UserKnownHostsFile": _path(data.get("ssh_known_hosts_file")),
        "User": data.get("ssh_user"),
        "Port": data.get("ssh_port"),
        # The key that is named, and not first all those of an agent: servers count the tries.
        "IdentityFile": _path(data.get("ssh_key")),
        "IdentitiesOnly": "yes" if data.get("ssh_key") else None,
    }
    if config := data.get("ssh_config_file"):
        yield from ("-F", str(Path(str(config)).expanduser()))
    for key, value in settings.items():
        if value:
            yield from ("-o", f"{key}={value}")


def _path(value: object) -> str | None:
    """A path as ssh reads it in an option: quoted, with its own percent signs kept."""
    if not value:
        return None
    text = str(Path(str(value)).expanduser()).replace("%", "%%")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _become(name: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """The words that pyinfra puts before a command for `_sudo`, `_doas`, `_dzdo` and `_su_user`."""
    words: list[str] = []
    password = None
    if data.get("_doas"):
        words += ["doas", "-n", *_user(data, "_doas_user")]
    if data.get("_dzdo"):
        words += ["dzdo", "-H", "-n", *_user(data, "_dzdo_user")]
    if data.get("_sudo"):
        password = data.get("_sudo_password")
        # With a password it is always asked for: what is left on standard input is nobody's command.
        words += ["sudo", "-H", *(["-S", "-k", "-p", ""] if password else ["-n"])]
        words += ["-i"] if data.get("_use_sudo_login") else []
        words += _user(data, "_sudo_user")
    if user := data.get("_su_user"):
        if password and data.get("_su_password"):
            raise RigwrightError(f"{name}: verify cannot give both _sudo_password and _su_password; use one of them")
        password = password or data.get("_su_password")
        words += ["su", *(["-l"] if data.get("_use_su_login") else [])]
        words += ["-s", str(data["_su_shell"])] if data.get("_su_shell") else []
        words += [str(user), "-c"]
    return {"become": tuple(words), "is_su": bool(user), "password": str(password) if password else None}


def _user(data: Mapping[str, Any], key: str) -> list[str]:
    return ["-u", str(data[key])] if data.get(key) else []


def _askpass(directory: Path) -> Path:
    path = directory / "askpass"
    path.write_text(_ASKPASS)
    path.chmod(0o700)
    return path


def wrap(to: Login, command: str, mark: str) -> str:
    """The script that runs `command` on the rig: what it says stands between lines that are `mark`.

    Login shells, sudo and su say things of their own before and after, on both outputs.
    """
    inner = (
        f"exec </dev/null; export LC_ALL=C PATH=\"$PATH:/usr/local/sbin:/usr/sbin:/sbin\"; printf '\\n{mark}\\n';"
        f" printf '\\n{mark}\\n' >&2; (eval {shlex.quote(command)}); printf '\\n{mark} %s\\n' $?;"
        f" printf '\\n{mark}\\n' >&2"
    )
    shell = f"sh -c {shlex.quote(inner)}"
    if to.become:
        shell = f"{shlex.join(to.become)} {shlex.quote(shell) if to.is_su else shell}"
    if to.password:
        shell = f"printf '%s\\n' {shlex.quote(to.password)} | {shell}"
    # A group is read to its end before any of it runs: nothing eats the rest of the script.
    return f"{{ {shell}; exit; }}\n"


def socket_directory() -> tempfile.TemporaryDirectory[str]:
    """A directory for sockets, whose names may have 104 characters."""
    parent = tempfile.gettempdir()
    return tempfile.TemporaryDirectory(prefix="rw", dir=parent if len(parent) < 50 else "/tmp")
