"""The machine that carries the lab: its commands, its locks, its small files."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rigwright.errors import RigwrightError

PACKAGES = {
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "nft": "nftables",
    "ip": "iproute2",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "unshare": "util-linux",
    "losetup": "util-linux",
    "mkfs.ext4": "e2fsprogs",
}
DEBIAN_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def require_tools() -> None:
    """Refuse early when the lab cannot work here.

    Raises:
        RigwrightError: not root, or a command is missing; names the Debian packages.
    """
    if os.geteuid() != 0:
        raise RigwrightError("lab: virtual rigs need root; run it again with sudo")
    missing = {package for tool, package in PACKAGES.items() if not shutil.which(tool, path=SEARCH_PATH)}
    if not DEBIAN_KEYRING.exists():
        missing.add("debian-archive-keyring")
    if missing:
        names = " ".join(sorted(missing))
        raise RigwrightError(f"lab: this machine lacks {names}; apt-get install {names}")


def run(
    argv: Sequence[str | Path], *, input: str | None = None, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run a command of the host and keep what it says.

    Raises:
        RigwrightError: it failed, with the last line that it printed.
    """
    command = [str(word) for word in argv]
    env = {**os.environ, "PATH": SEARCH_PATH, "LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, input=input, capture_output=True, text=True, env=env, check=False, umask=0o022)
    if check and done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()[-1]
        raise RigwrightError(f"lab: `{' '.join(command[:6])}` failed: {said}")
    return done


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock that dies with its holder, so that no crash leaves it behind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.parent.chmod(0o700)  # whoever can open it can hold it, for ever
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write_json(path: Path, value: Any) -> None:
    """Write a record so that a reader sees the old one or the new one, never half of it."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def write_text(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Write a small file whole or not at all."""
    write_bytes(path, text.encode(), mode=mode)


def write_bytes(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write a small file whole or not at all, whatever our umask, and in place of a link, never through it."""
    for parent in reversed([parent for parent in path.parents if not parent.exists()]):
        parent.mkdir(exist_ok=True)
        parent.chmod(0o755)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(data)
    Path(name).replace(path)
