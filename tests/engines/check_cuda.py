"""What the catalogue says of CUDA's targets, against the ptxas of the very toolkits: their wheels on PyPI, 200 MB."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import click

from rigwright.plan.driver.tables import toolkits

# The wheel with ptxas of each version that the catalogue lists; None where PyPI has none.
WHEELS = {
    "11.5": None,
    "11.8": "nvidia-cuda-nvcc-cu11==11.8.*",
    "12.0": "nvidia-cuda-nvcc-cu12==12.0.*",
    "12.4": "nvidia-cuda-nvcc-cu12==12.4.*",
    "12.8": "nvidia-cuda-nvcc-cu12==12.8.*",
    "12.9": "nvidia-cuda-nvcc-cu12==12.9.*",
    "13.0": "nvidia-cuda-nvcc==13.0.*",
    "13.1": "nvidia-cuda-nvcc==13.1.*",
    "13.2": "nvidia-cuda-nvcc==13.2.*",
}


def targets(requirement: str, folder: Path) -> set[int]:
    """The capabilities for which the ptxas of a wheel makes code."""
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder), requirement]
    subprocess.run(command, check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as files:
        name = next(name for name in files.namelist() if name.endswith("bin/ptxas"))
        ptxas = Path(files.extract(name, folder))
    ptxas.chmod(0o755)
    said = subprocess.run([ptxas, "--help"], capture_output=True, text=True, check=True).stdout
    return {int(number) for number in re.findall(r"'sm_(\d+)[af]?'", said)}


def main() -> int:
    """0 where all agree."""
    known, wrong = toolkits(), 0
    assert set(known) == set(WHEELS), "a version without a wheel to check it against"
    for version, requirement in WHEELS.items():
        if requirement is None:
            click.echo(f"CUDA {version}: not checked, PyPI has no wheel of it")
            continue
        with tempfile.TemporaryDirectory() as folder:
            found = targets(requirement, Path(folder))
        listed = known[version].targets
        wrong += found != listed
        click.echo(
            f"CUDA {version}: {'agrees' if found == listed else f'catalogue {sorted(listed)}, ptxas {sorted(found)}'}"
        )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
