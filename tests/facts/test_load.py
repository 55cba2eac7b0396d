"""The load script, against a driver library of our own that copies in RAM: no GPU here, but the same calls."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rigwright.hardware import collection
from rigwright.hardware.capture import read_files
from rigwright.resources import role_text

HERE = Path(__file__).parent
pytestmark = [
    pytest.mark.patience,
    pytest.mark.skipif(not shutil.which("gcc"), reason="no gcc, which `make test` installs: no library to copy with"),
]

# Two GPUs with room, one that a service fills.
SMI = """#!/bin/sh
head='index, pcie.link.gen.current, pcie.link.width.current, pcie.link.gen.max, pcie.link.width.max'
case $1 in
--query-gpu=index,pci.bus_id,*)
    printf '%s\\n' '0, 00000000:01:00.0, 23000' '1, 00000000:07:00.0, 23000' '2, 00000000:08:00.0, 300' \
        '3, 0000000F:01:00.0, [N/A]' ;;
--id=00000000:01:00.0) sleep 0.2; echo "$head"; echo '0, 4, 16, 4, 16' ;;
--id=00000000:07:00.0) sleep 0.2; echo "$head"; echo '1, 3, 8, 4, 16' ;;
*) exit 64 ;;
esac
"""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the library and an nvidia-smi."""
    folder = tmp_path_factory.mktemp("load")
    build = ["gcc", "-shared", "-fPIC", "-Wall", "-Werror", "-o", "libcuda.so.1", str(HERE / "fake_libcuda.c")]
    subprocess.run(build, check=True, cwd=folder)
    (folder / "nvidia-smi").write_text(SMI)
    (folder / "nvidia-smi").chmod(0o755)
    (folder / "python3").symlink_to(sys.executable)
    return folder


def load(machine: Path, *, library: bool = True, **settings: str) -> tuple[dict[str, str], str]:
    """The files of a reading under load, and what the library held after each GPU."""
    log = machine / "log"
    log.write_text("")
    environment = os.environ | {"PATH": f"{machine}:{os.environ['PATH']}", "FAKE_LOG": str(log)} | settings
    if library:
        environment["LD_LIBRARY_PATH"] = str(machine)
    script = collection.script(under_load=True)
    if settings:
        script = script.replace("GPU_SECONDS = 40", "GPU_SECONDS = 1")
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, env=environment, timeout=100)
    return collection.read(done.stdout.split("\n")), log.read_text()


def test_each_gpu_is_copied_to_and_its_link_read_meanwhile(machine: Path) -> None:
    """The files are those that a recording of a working GPU has; all that was taken is given back."""
    files, log = load(machine)
    rows = [line.split(", ") for line in files["transfer.csv"].splitlines()]
    assert rows[0] == ["index", "host_to_device_gbytes_per_second", "device_to_host_gbytes_per_second"]
    assert [row[0] for row in rows[1:]] == ["0", "1"]
    assert all(float(rate) > 0.1 for row in rows[1:] for rate in row[1:])
    assert files["query-load.csv"].splitlines()[1:] == ["0, 4, 16, 4, 16", "1, 3, 8, 4, 16"]
    assert log == "0 held\n0 held\n"
    gpus = {gpu.index: gpu for gpu in read_files(files).gpus}
    assert (gpus[1].pcie.gen_current, gpus[1].pcie.width_current) == (3, 8)


def test_gpu_that_is_in_use_is_left_alone(machine: Path) -> None:
    """What runs on it keeps its memory; so it is where nobody knows how much there is, and that is said."""
    files, _ = load(machine)
    lines = files["load.txt"].splitlines()
    assert lines[0] == "GPU 2: in use: 300 MiB are free, 1024 MiB are needed; stop what runs on it"
    assert lines[1:] == ["GPU 3: nvidia-smi does not say how much of its memory is free"]


def test_gpu_without_memory_says_so(machine: Path) -> None:
    """The driver's own words."""
    files, _ = load(machine, FAKE_CUDA="oom")
    assert "GPU 0: cuCtxCreate_v2 failed: out of memory (2)\n" in files["load.txt"]
    assert "transfer.csv" not in files


def test_gpu_that_hangs_does_not_hang_the_reading(machine: Path) -> None:
    """A limit per GPU."""
    files, _ = load(machine, FAKE_CUDA="hang")
    assert files["load.txt"].startswith("GPU 0: no answer within 1 s\nGPU 1: no answer within 1 s\n")


def test_missing_library_is_named(machine: Path) -> None:
    """A driver without CUDA."""
    files, _ = load(machine, library=False)
    assert "GPU 0: the driver's CUDA library cannot be loaded: libcuda.so.1" in files["load.txt"]


def test_script_runs_on_old_rigs() -> None:
    """Debian 10 and Ubuntu 18.04 have Python 3.7 and 3.6."""
    ast.parse(role_text("hardware", "load.py"), feature_version=(3, 6))


@pytest.mark.skipif(bool(shutil.which("nvidia-smi")), reason="a driver is here: nvidia-smi cannot be hidden from PATH")
def test_machine_without_a_driver_is_not_put_under_load() -> None:
    """One line, no traceback."""
    done = subprocess.run(["sh", "-c", collection.script(under_load=True)], capture_output=True, text=True, timeout=100)
    assert collection.read(done.stdout.split("\n"))["load.txt"].startswith("no NVIDIA driver answers")
