"""The dry run before a switch: what a GPU cannot hold is refused while what serves still serves."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from rigwright.resources import role_text, script

# What llama-fit-params --fit-print on printed for a tiny model on the CPU, and the same form for two GPUs.
CPU = "Host 4 4 7 "
GPUS = "CUDA0 19000 2600 500\nCUDA1 18000 2400 500\nHost 500 0 20"
# As systemd's own: it says on standard error how it went, and takes $$ for $.
SYSTEMD_RUN = """#!/bin/sh
printf '%s\\n' "$@" >{home}/systemd-run.asked
while [ "$1" != -- ]; do shift; done
shift
for word; do shift; set -- "$@" "$(printf %s "$word" | sed 's/\\$\\$/$/g')"; done
echo "Running as unit: run-u1.service" >&2
"$@" && exit
code=$?
echo "Finished with result: $([ $code -lt 128 ] && echo exit-code || echo core-dump)" >&2
exit $code
"""


def dry_run(tmp_path: Path, program: str, room: str = "", planned: str = "") -> subprocess.CompletedProcess[str]:
    """Runs estimate.sh with stand-ins for the binary and for systemd-run: rigs of tests/lab have the real one."""
    for path, text in {"bin/llama-fit-params": program, "path/systemd-run": SYSTEMD_RUN}.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        if text:
            (tmp_path / path).write_text(text.replace("{home}", str(tmp_path)))
            (tmp_path / path).chmod(0o755)
    text = script(
        "llamacpp",
        "estimate.sh",
        before=role_text("service", "sandbox.sh"),
        RELEASE=str(tmp_path),
        NAME="chat",
        SANDBOX=shlex.join(["-p", "ProtectSystem=strict", "-p", 'BindReadOnlyPaths="/home/a b/it\'s.gguf"']),
        FIT="--model '/w/a b${HOME}.gguf' --ctx-size 4096",
        VISIBLE="GPUS=0,1",
        LIMIT=60,
        ROOM=room,
        PLANNED=planned,
    )
    text = text.replace("/var/lib/rigwright/services", str(tmp_path / "state"))
    path = f"{tmp_path}/path:{os.environ['PATH']}"
    return subprocess.run(["sh", "-c", text], capture_output=True, text=True, env={**os.environ, "PATH": path})


def printing(text: str) -> str:
    """A program that prints this."""
    return f"#!/bin/sh\nprintf '%s\\n' \"$*\" \"$GPUS\" >{{home}}/asked\ncat <<'X'\n{text}\nX\n"


@pytest.mark.runs("llamacpp/estimate.sh", "service/sandbox.sh")
def test_dry_run_is_told(tmp_path: Path, each_sh: str) -> None:
    """What llama.cpp estimates is shown and kept, with the arguments and the environment of the service."""
    done = dry_run(tmp_path, printing(CPU))
    assert (done.returncode, done.stdout) == (0, "::progress chat: llama.cpp's dry run takes Host 15 MiB\n")
    assert (tmp_path / "asked").read_text() == "--fit-print on --model /w/a b${HOME}.gguf --ctx-size 4096\n0,1\n"
    assert (tmp_path / "state/chat/estimate").read_text().strip() == CPU.strip()


def test_dry_run_is_shut_in(tmp_path: Path) -> None:
    """It gets the walls of the service's unit, each as one word, and beyond them no network and no long life."""
    dry_run(tmp_path, printing(CPU))
    asked = (tmp_path / "systemd-run.asked").read_text().splitlines()
    options = asked[: asked.index("--")]
    assert {"ProtectSystem=strict", 'BindReadOnlyPaths="/home/a b/it\'s.gguf"'} <= set(options)
    assert {"PrivateNetwork=yes", "RuntimeMaxSec=60", "LimitFSIZE=1M", "--pipe", "--wait"} <= set(options)


@pytest.mark.parametrize(("room", "code"), [("24124 24124", 0), ("24124 21199", 1), ("22399 24124", 1), ("", 0)])
def test_gpu_that_is_too_small_is_refused(tmp_path: Path, room: str, code: int) -> None:
    """A GPU must hold what is estimated and 300 MiB for CUDA: 22,400 and 21,200 MiB here."""
    done = dry_run(tmp_path, printing(GPUS), room)
    assert done.returncode == code
    assert ("::error chat: by llama.cpp's own dry run CUDA" in done.stdout) == bool(code)


@pytest.mark.parametrize(("planned", "code"), [("", 1), ("400 500", 1), ("399 499", 0), ("999 999", 1)])
def test_logits_that_no_server_reserves_do_not_refuse(tmp_path: Path, planned: str, code: int) -> None:
    """Of the compute buffer no more counts than the plan has with its margin: 22,299 and 21,199 MiB are needed then."""
    assert dry_run(tmp_path, printing(GPUS), "22299 21199", planned).returncode == code


FAILURES = [
    ("", "its release has no llama-fit-params, there is no dry run"),
    ("#!/bin/sh\necho no such model >&2\nexit 3\n", "failed (exit-code): no such model; it goes on without, see"),
    ("#!/bin/sh\nkill -SEGV $$\n", "failed (core-dump)"),
    ("#!/bin/sh\necho hello\n", "said nothing that is known here; see"),
]


@pytest.mark.parametrize(("program", "said"), FAILURES, ids=["absent", "error", "crash", "words"])
def test_dry_run_that_fails_is_said_and_stops_nothing(tmp_path: Path, program: str, said: str) -> None:
    """A dry run is a help, not a gate; but nobody shall think that it passed."""
    done = dry_run(tmp_path, program, "1 1")
    assert done.returncode == 0, done
    assert said in done.stdout and done.stdout.startswith("::progress chat: ") and "takes" not in done.stdout
