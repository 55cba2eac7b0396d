"""The files of a seed in a folder, and as the image of a stick."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from rigwright.errors import RigwrightError
from rigwright.seed.debian import preseed
from rigwright.seed.machine import BareMachine
from rigwright.seed.ubuntu import HEAD, ubuntu_files

LABEL = "CIDATA"
_STICK = ("user-data", "meta-data", "network-config")


def write(machine: BareMachine, out: Path) -> Path:
    """The folder of a machine, with its files; what is not ours there is not overwritten.

    Raises:
        RigwrightError: a file of somebody else's is in the way, or nothing can be written.
    """
    folder = out / machine.rig
    files = ubuntu_files(machine) | {"preseed.cfg": preseed(machine)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in files:
            path = folder / name
            if (path.exists() or path.is_symlink()) and HEAD not in path.read_text("utf-8", "replace")[:200]:
                raise RigwrightError(
                    f"{path}: was not written by rigwright seed; move it away, or choose another --out"
                )
        for name, text in files.items():
            (folder / name).write_text(text, "utf-8")
    except OSError as error:
        raise RigwrightError(f"{folder}: cannot be written: {error.strerror}; choose another --out") from None
    return folder


def make_image(folder: Path) -> Path:
    """The image of a stick with the files for Ubuntu: a FAT of 1.4 MB.

    Raises:
        RigwrightError: its tools are missing, or fail.
    """
    for tool, package in (("mkfs.vfat", "dosfstools"), ("mcopy", "mtools")):
        if not shutil.which(tool, path=_path()):
            raise RigwrightError(f"--image: no {tool}; apt-get install {package}, or copy the files to a stick")
    image = folder / "seed.img"
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        new = Path(scratch) / "seed.img"
        for command in (
            ["mkfs.vfat", "-C", "-n", LABEL, str(new), "1440"],
            ["mcopy", "-i", str(new), *(str(folder / name) for name in _STICK), "::"],
        ):
            done = subprocess.run(
                [shutil.which(command[0], path=_path()) or command[0], *command[1:]], capture_output=True, text=True
            )
            if done.returncode:
                raise RigwrightError(f"--image: {command[0]} failed: {(done.stderr or done.stdout).strip()[:200]}")
        new.replace(image)
    return image


def _path() -> str:
    """Where mkfs lies is on the path of root alone."""
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
