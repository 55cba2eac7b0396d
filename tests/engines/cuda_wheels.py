"""Print the rows of rigwright/catalogue/cuda_wheels.yml: what NVIDIA's package `cuda-toolkit` names, with sums.

Usage: cuda_wheels.py 13.0.2 13.1.2 13.2.2   (each takes 1 GB of downloads, in a folder that goes again)
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import click

from rigwright.roles.cuda.archive import is_wanted, platforms

PARTS = ("cuda-nvcc", "cuda-crt", "nvvm", "cuda-runtime", "cuda-cccl", "cublas")


def download(folder: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    subprocess.run([*command, "--dest", str(folder), *arguments], check=True)


def pins(version: str, folder: Path) -> dict[str, str]:
    """The version of each part."""
    download(folder, f"cuda-toolkit=={version}")
    with zipfile.ZipFile(next(folder.glob("cuda_toolkit-*.whl"))) as wheel:
        text = wheel.read(next(name for name in wheel.namelist() if name.endswith("/METADATA"))).decode()
    found = dict(re.findall(r"^Requires-Dist: ([\w-]+)==([\d.]+)\.\*; .*extra == 'all'$", text, re.MULTILINE))
    return {name: found[name] for name in (f"nvidia-{part}" for part in PARTS)}


def main(versions: list[str]) -> None:
    for version in versions:
        click.echo(f'"{".".join(version.split(".")[:2])}":')
        for architecture in ("x86_64", "aarch64"):
            with tempfile.TemporaryDirectory() as scratch:
                folder = Path(scratch)
                wanted = [f"{name}=={number}" for name, number in pins(version, folder).items()]
                download(folder, *(f"--platform={tag}" for tag in platforms(architecture)), *wanted)
                files = {one.name.partition("-")[0].replace("_", "-"): one for one in folder.glob("nvidia*.whl")}
                members = [one for path in files.values() for one in zipfile.ZipFile(path).infolist()]
                disk = sum(one.file_size for one in members if is_wanted(one.filename))
                sent = sum(one.compress_size for one in members if is_wanted(one.filename))
                fetched = sum(path.stat().st_size for path in files.values())
                click.echo(
                    f"  {architecture}:\n    bytes: {{fetched: {fetched}, sent: {sent}, disk: {disk}}}\n    wheels:"
                )
                for one in wanted:
                    digest = hashlib.sha256(files[one.partition("==")[0]].read_bytes()).hexdigest()
                    click.echo(f"      {one}: {digest}")


if __name__ == "__main__":
    main(sys.argv[1:])
