"""The dry run before a switch: what a GPU cannot hold is refused while what serves still serves."""

from __future__ import annotations

import os
import re
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


def dry_run(
    tmp_path: Path, program: str, room: str = "", planned: str = "", formula: str = "", on_gpus: str = "", **said: str
) -> subprocess.CompletedProcess[str]:
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
        FORMULA=formula,
        ON_GPUS=on_gpus,
        **{"EXPLAINED": "", "MOST": "", "BUFFERS_OF": "", "MOST_LINES": "32", "LOCKED": ""} | said,
    )
    text = text.replace("/var/lib/rigwright/services", str(tmp_path / "state"))
    for place in ("/proc/driver/nvidia/", "/dev/nvidia-uvm"):
        text = text.replace(place, f"{tmp_path}{place}")
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


# What the plan of these has for the buffers, what explains more, and what is believed: 500 MiB are said of each.
KNOWN = {"planned": "300 300", "EXPLAINED": "310 450", "MOST": "9000 9000", "BUFFERS_OF": "b1 0f 4096 whole"}
NOTED = "b1 0f 4096 whole 500 500"


@pytest.mark.runs("llamacpp/estimate.sh")
@pytest.mark.parametrize(
    ("room", "changes", "code", "lines"),
    [
        ("24124 24124", {}, 0, []),  # there is room: nothing is wrong with the plan
        ("22399 24124", {}, 1, [NOTED]),
        ("22199 24124", {"EXPLAINED": "310 600"}, 1, ["b1 0f 4096 whole 500 0"]),
        ("22199 24124", {"EXPLAINED": "500 600"}, 1, []),  # logits, and still too small
        ("22399 24124", {"MOST": "400 9000"}, 0, []),  # no engine takes so much: it counts as the plan has it
        ("22199 24124", {"MOST": "400 400"}, 1, []),
        ("21199 24124", {"BUFFERS_OF": ""}, 1, []),
        ("22399 24124", {"EXPLAINED": "310 450 100"}, 1, [f"{NOTED} 0"]),  # a GPU of which nothing was said
    ],
    ids=["room", "short", "one-is-logits", "logits", "too-much", "too-much-and-short", "no-header", "silent"],
)
def test_buffer_that_refuses_is_noted(
    tmp_path: Path, each_sh: str, room: str, changes: dict[str, str], code: int, lines: list[str]
) -> None:
    """With what was asked, for later plans; a second time it is no news, and the plan knew it."""
    known, file = KNOWN | changes, tmp_path / "state/chat/buffers"
    for attempt in range(2):
        done = dry_run(tmp_path, printing(GPUS), room, **known)
        assert done.returncode == (is_short := code == 1)
        assert ("the next deploy plans with it" in done.stdout) == (bool(lines) and not attempt)
        assert ("lower context, or leave" in done.stdout) == (is_short and (not lines or attempt == 1))
        assert (file.read_text().splitlines() if file.exists() else []) == lines
        assert not list(tmp_path.rglob("*.rigwright-new"))


def test_refusal_says_what_is_new(tmp_path: Path) -> None:
    """The buffer and what the plan has, and what to do; a lock would keep the next plan as it is."""
    said = "chat: by llama.cpp's own dry run CUDA0 would need 22400 MiB and has 22399, "
    said += "as its compute buffer is 500 MiB, not 300"
    done = dry_run(tmp_path, printing(GPUS), "22399 24124", **KNOWN)
    assert done.stdout == f"::error {said}; that is noted, the next deploy plans with it\n"
    for _ in range(2):
        done = dry_run(tmp_path, printing(GPUS), "22399 24124", **KNOWN, LOCKED="yes")
        assert "the lock holds the plan without it: write it anew with rigwright plan --write" in done.stdout


@pytest.mark.runs("llamacpp/estimate.sh")
def test_notes_have_an_end(tmp_path: Path, each_sh: str) -> None:
    """Whatever a program says each time: after so many lines no deploy promises another plan; other releases' go."""
    file = tmp_path / "state/chat/buffers"
    file.parent.mkdir(parents=True)
    file.write_text("b0 0f 4096 whole 9 9\n" * 4)
    promised = []
    for mib in range(500, 506):
        said = GPUS.replace("500", str(mib))
        done = dry_run(tmp_path, printing(said), "22399 24124", **KNOWN, MOST_LINES="4")
        promised.append("the next deploy plans with it" in done.stdout)
    assert promised == [True] * 4 + [False] * 2
    assert [line.split()[0] for line in file.read_text().splitlines()] == ["b1"] * 4


@pytest.mark.parametrize("said", ["9" * 30, "00000500", "1e9", "-5", "0x500", "500;id"])
def test_hostile_number_writes_no_line_of_its_own(tmp_path: Path, said: str) -> None:
    """What is noted are numbers within bounds."""
    dry_run(tmp_path, printing(GPUS.replace("500\nCUDA1", f"{said}\nCUDA1")), "22199 20000", **KNOWN)
    file = tmp_path / "state/chat/buffers"
    lines = file.read_text().splitlines() if file.exists() else []
    assert all(re.fullmatch(r"b1 0f 4096 whole( \d{1,4}){2}", line) for line in lines)


@pytest.mark.runs("llamacpp/estimate.sh")
@pytest.mark.parametrize(
    ("formula", "said"),
    [
        ("19010 2600 400\n17000 2400 500\n500 0 20", "dry run has 20900 MiB on CUDA1, the plan 19900; see "),
        ("19010 2600 400\n18000 2400 500\n900 0 20", "dry run has 520 MiB on Host, the plan 920; see "),
        ("19010 2600 400\n18000 2400 500\n700 0 20", ""),  # a quarter, but 200 MiB
        ("18400 2400 400\n18000 2400 500\n500 0 20", ""),  # 800 MiB, but 4 %
        ("", ""),
    ],
)
def test_difference_to_the_plan_is_kept(tmp_path: Path, each_sh: str, formula: str, said: str) -> None:
    """By device and part; what is large is said. Logits that no server reserves are no difference."""
    done = dry_run(tmp_path, printing(GPUS), "", "400 500", formula)
    assert done.returncode == 0 and done.stderr == ""
    lines = [line for line in done.stdout.splitlines() if "the plan" in line]
    assert len(lines) == bool(said) and said in "".join(lines)
    kept = (tmp_path / "state/chat/difference").read_text().splitlines()
    planned = [word for row in formula.splitlines() for word in row.split()]
    found = [word for row in GPUS.splitlines() for word in row.split()[1:]]
    names = [f"{device} {part}" for device in ("CUDA0", "CUDA1", "Host") for part in ("model", "context", "compute")]
    rows = zip(names, found, planned, strict=True) if planned else ()
    assert kept == [" ".join(row) for row in rows]


@pytest.mark.parametrize(
    ("said", "on_gpus", "code"),
    [(CPU, "yes", 1), (CPU, "", 0), (GPUS, "yes", 0), ("hello", "yes", 0)],
    ids=["fallen-back", "cpu", "gpus", "words"],
)
@pytest.mark.runs("llamacpp/estimate.sh")
def test_cpu_in_place_of_gpus_is_refused(tmp_path: Path, each_sh: str, said: str, on_gpus: str, code: int) -> None:
    """An engine that takes the CPU where it finds no GPU calls itself healthy."""
    done = dry_run(tmp_path, printing(said), on_gpus=on_gpus)
    assert done.returncode == code
    (tmp_path / "proc/driver/nvidia").mkdir(parents=True)
    (tmp_path / "proc/driver/nvidia/version").touch()
    assert dry_run(tmp_path, printing(said), on_gpus=on_gpus).returncode == 0
    assert ("no GPU has a part of it, the CPU would serve; see rigwright verify" in done.stdout) == bool(code)


# As llama-fit-params of b11434 says it on a rig without a GPU: by Debian's libcuda 550, and where that is too old.
NO_DEVICE = """#!/bin/sh
cat >&2 <<'X'
0.00.196.517 E ggml_cuda_init: failed to initialize CUDA: {why}
error while handling argument "--device": invalid device: CUDA0

usage:
-dev,  --device <dev1,dev2,..>          comma-separated list of devices to use for offloading (none = don't
                                        offload)


to show complete usage, run with -h
X
exit 1
"""
NONE, OLD = "no CUDA-capable device is detected", "CUDA driver version is insufficient for CUDA runtime version"


@pytest.mark.parametrize(
    ("why", "there", "refused"),
    [
        (NONE, [], True),
        (OLD, ["proc/driver/nvidia/version", "dev/nvidia-uvm"], True),
        (NONE, ["proc/driver/nvidia/version"], False),
        ("unknown error", ["proc/driver/nvidia/version", "dev/nvidia-uvm"], False),
        ("", [], True),
    ],
    ids=["no-driver", "old-driver", "no-files-yet", "other", "no-libcuda"],
)
@pytest.mark.runs("llamacpp/estimate.sh")
def test_gpu_that_cuda_does_not_have_is_refused(
    tmp_path: Path, each_sh: str, why: str, there: list[str], refused: bool
) -> None:
    """Before anything stops; not where only the files of its devices may be missing, which the service has made."""
    for path in there:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    said = NO_DEVICE.replace("{why}", why) if why else NO_DEVICE.replace("0.00.196.517 E ggml_cuda_init", "#")
    done = dry_run(tmp_path, said)
    why = why or "no driver of NVIDIA's is loaded"
    assert done.returncode == refused
    if refused:
        does = "see rigwright verify and driver, what runs goes on running"
        assert done.stdout == f"::error chat: llama.cpp finds no CUDA0: {why}; {does}\n"
    else:
        assert done.stdout.startswith("::progress chat: llama.cpp's dry run failed (exit-code)")


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


def test_each_device_differs_once(tmp_path: Path) -> None:
    """Whatever a program of others prints, and however often: a GPU that no plan has is none either."""
    rows = "\n".join(["CUDA0 1000 0 0", "CUDA1 9000 0 0", *["Host 9000 0 0"] * 50])
    done = dry_run(tmp_path, printing(rows), "", "", "1000 0 0\n0 0 0")
    assert done.stdout.count("the plan 0; see") == 1 and "CUDA1, the plan" not in done.stdout
    assert len((tmp_path / "state/chat/difference").read_text().splitlines()) == 6


def test_logits_that_no_server_reserves_are_no_difference(tmp_path: Path) -> None:
    """Of the compute buffer no more counts than the plan has with its margin, 400 MiB here, but all is kept."""
    done = dry_run(tmp_path, printing("CUDA0 1000 0 2000\nHost 0 0 0"), "", "400", "1000 0 300\n0 0 0")
    assert "the plan" not in done.stdout
    assert "CUDA0 compute 2000 300" in (tmp_path / "state/chat/difference").read_text().splitlines()
