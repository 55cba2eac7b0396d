"""The dry run before a switch: what a GPU cannot hold is refused while what serves still serves."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from rigwright.resources import script

# What llama-fit-params --fit-print on printed for a tiny model on the CPU, and the same form for two GPUs.
CPU = "Host 4 4 7 "
GPUS = "CUDA0 19000 2600 500\nCUDA1 18000 2400 500\nHost 500 0 20"


def dry_run(tmp_path: Path, printed: str, room: str) -> subprocess.CompletedProcess[str]:
    """Runs estimate.sh with a stand-in for the binary that prints what a real one did."""
    binary = tmp_path / "bin/llama-fit-params"
    binary.parent.mkdir()
    binary.write_text(f"#!/bin/sh\nprintf '%s\\n' \"$*\" \"$GPUS\" >{tmp_path}/asked\ncat <<'X'\n{printed}\nX\n")
    binary.chmod(0o755)
    text = script(
        "llamacpp",
        "estimate.sh",
        RELEASE=str(tmp_path),
        NAME="chat",
        FIT="--model '/w/a b.gguf' --ctx-size 4096",
        VISIBLE="GPUS=0,1",
        ROOM=room,
    )
    text = text.replace("/var/lib/rigwright/services", str(tmp_path / "state"))
    return subprocess.run(["sh", "-c", text], capture_output=True, text=True)


def test_dry_run_is_told(tmp_path: Path) -> None:
    """What llama.cpp estimates is shown and kept, with the arguments and the environment of the service."""
    done = dry_run(tmp_path, CPU, "")
    assert (done.returncode, done.stdout) == (0, "::progress chat: llama.cpp's dry run takes Host 15 MiB\n")
    assert (tmp_path / "asked").read_text() == "--fit-print on --model /w/a b.gguf --ctx-size 4096\n0,1\n"
    assert (tmp_path / "state/chat/estimate").read_text().strip() == CPU.strip()


@pytest.mark.parametrize(("room", "code"), [("24124 24124", 0), ("24124 21199", 1), ("22399 24124", 1), ("", 0)])
def test_gpu_that_is_too_small_is_refused(tmp_path: Path, room: str, code: int) -> None:
    """A GPU must hold what is estimated and 300 MiB for CUDA: 22,400 and 21,200 MiB here."""
    done = dry_run(tmp_path, GPUS, room)
    assert done.returncode == code
    assert ("::error chat: by llama.cpp's own dry run CUDA" in done.stdout) == bool(code)


def test_release_without_the_tool_goes_on(tmp_path: Path) -> None:
    """No binary, or one that fails, stops nothing."""
    text = script("llamacpp", "estimate.sh", RELEASE=str(tmp_path), NAME="chat", FIT="", VISIBLE="", ROOM="1 1")
    text = text.replace("/var/lib/rigwright/services", str(tmp_path / "state"))
    done = subprocess.run(["sh", "-c", text], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
