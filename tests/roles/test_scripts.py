"""What holds for every script that root runs on a rig."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from rigwright.resources import role_text

SCRIPTS = sorted((Path(__file__).parents[2] / "roles").glob("*/*.sh"))
# The build's steps are the one script that root does not run: it hands them to a unit of the builder's.
SLOW = pytest.mark.patience
# A builder's account runs the one, a service's own the other.
ROOTS = [path for path in SCRIPTS if path.name not in ("steps.sh", "model.sh")]


@pytest.mark.parametrize("path", ROOTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_other_accounts_get_units_and_no_children_of_root(path: Path) -> None:
    """A child of root's shell would hold its lock, its terminal and its environment; a transient unit has none."""
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    others = [line for line in lines if re.search(r"\b(runuser|setpriv|sudo|su|chroot)\s+-", line)]
    # A program of the system that reads some bytes is no such thing, where it holds neither the lock nor the terminal.
    assert [line for line in others if " head -c 4 " not in line or "9>&- </dev/null" not in line] == []
    # And units are started by the functions that shut them in; one that runs `true` needs no walls.
    units = [line for line in lines if re.search(r"\bsystemd-run\b", line) and not line.endswith('" true')]
    assert path.name == "prelude.sh" or units == []


@pytest.mark.parametrize("path", ROOTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_root_starts_no_program_of_a_release(path: Path) -> None:
    """It was built from what strangers wrote: it runs within walls."""
    named = [line for line in path.read_text().splitlines() if re.search(r"(RELEASE|TREE|stage)\S*/bin/\w", line)]
    # prove.sh starts a compiler, within walls; what is only looked at is started by nobody.
    walled = ("in_sandbox", "[ ! -x ", "[ -e ", "[ -f ", "chmod 755 ", "cuda_code ", "has_code ", "prove ", "tried ")
    walled += ("readlink ", "! -path ", "| write ")
    assert [line for line in named if not any(word in line for word in walled)] == []


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_curl_reads_no_settings_of_the_rig(path: Path) -> None:
    """A ~/.curlrc says what it likes; and the rig's proxy is not asked for its own service, whose keys it would get."""
    text = "\n".join(line for line in path.read_text().splitlines() if not line.lstrip().startswith(("#", "echo ")))
    calls = re.findall(r"(?<![\w/.-])curl ((?:-[^#\n]*)(?:\\\n.*)*)", text)
    assert [call for call in calls if not call.startswith(("-q ", "--disable "))] == []
    own = [
        call
        for call in calls
        if "$HEALTH" in call
        or "$URL$ASK" in call
        or '"$url"' in call
        or path.name in ("drain.sh", "watch.sh", "model.sh")
    ]
    assert [call for call in own if "--noproxy '*'" not in call] == []
    counts = {
        "switch.sh": 2,
        "deployed.sh": 1,
        "download.sh": 1,
        "fetch.sh": 2,
        "nvidia/key.sh": 1,
        "drain.sh": 2,
        "watch.sh": 1,
        "service/group.sh": 1,
        "serve.sh": 1,
        "ollama/model.sh": 1,
    }
    name = f"{path.parent.name}/{path.name}"
    assert len(calls) == counts.get(name, counts.get(path.name, 0))


@pytest.mark.parametrize("sync", ["sleep 0.3; echo last >>said", "exit 1", pytest.param("sleep 60", marks=SLOW)])
def test_last_words_are_waited_for_and_never_for_long(tmp_path: Path, sync: str) -> None:
    """The journal has what a unit printed a moment after the unit ended; one that is masked answers nothing."""
    (tmp_path / "said").write_text("first\n")
    tool = tmp_path / "journalctl"
    tool.write_text(f"#!/bin/sh\ncase $1 in --sync) {sync} ;; *) cat said ;; esac\n")
    tool.chmod(0o755)
    text = f"PATH=$PWD:$PATH\n{role_text('base', 'prelude.sh')}\njournal -u x | tail -n1"
    done = subprocess.run(["sh", "-c", text], cwd=tmp_path, capture_output=True, text=True, timeout=20)
    assert done.stdout == ("last\n" if "last" in sync else "first\n")


# What asks, what only defines functions, what another script runs under its lock, and an upload, which holds its file.
NO_LOCK = {
    *(
        f"base/{name}.sh"
        for name in (
            "apt",
            "bring",
            "dnf",
            "drain",
            "manager",
            "ours",
            "own-unit",
            "owner",
            "prelude",
            "removal",
            "remove-own",
            "remove-unit",
            "upload",
        )
    ),
    *(
        "base/deployed.sh",
        "hardware/collect.sh",
        "hardware/software.sh",
        "service/answer.sh",
        "service/sandbox.sh",
        "service/watch-set.sh",
        # A unit of its own runs them; they take the lock where they restart.
        "service/watch.sh",
        "service/group.sh",
        "weights/directory.sh",
        "cuda/prove.sh",
    ),
    *("weights/accept.sh", "weights/config.sh", "weights/place.sh", "weights/fetch.sh", "llamacpp/steps.sh"),
    "weights/spare.sh",
    # A Mac has no flock.
    "mlx/serve.sh",
    # The first is run by a unit of the builder's, the second writes one file of its service, in one step.
    *("vllm/steps.sh", "vllm/check.sh"),
    # Units of their own: one per connection, which writes nothing, and one that takes away what its own unit offered.
    *("weights/share.sh", "weights/hand.sh", "weights/linger.sh"),
    *(f"nvidia/{name}.sh" for name in ("driver", "driver-apt", "driver-dnf", "key", "source-apt", "source-dnf")),
    # A question: what it writes is a folder of its own, gone afterwards.
    "nvidia/ask.sh",
    # A unit of its own runs it at each boot, and it writes nothing.
    "nvidia/power.sh",
    # So it is with this one, which notes what it found for when it stops, and what reads it.
    *("service/tuning.sh", "service/tuning-state.sh"),
    # They write a file in one step, of their own service, ref or archive.
    *("llamacpp/estimate.sh", "llamacpp/resolve.sh", "llamacpp/sums.sh"),
    *("llamacpp/fatbins.sh", "llamacpp/settle.sh", "llamacpp/proof.sh", "cuda/host.sh"),
    # A question to apt, and functions of a switch, which holds it.
    *("llamacpp/offered.sh", "service/hold.sh"),
    # A store has its own: one run makes a service's model, which changes nothing else.
    *("ollama/prepare.sh", "ollama/model.sh"),
}


def test_what_changes_a_rig_holds_its_lock():
    """Two runs at once, of one controller or of two: one after the other."""
    without = {
        f"{path.parent.name}/{path.name}"
        for path in SCRIPTS
        if not re.search(r"^\s*lock$", path.read_text(), re.MULTILINE)
    }
    assert without == NO_LOCK


def test_what_scripts_make_can_be_read_whatever_umask_root_has(tmp_path: Path, each_sh: str) -> None:
    """H4: a hardened rig closes all that root makes, and services are nobody's accounts."""
    text = f"umask 077\n{role_text('base', 'prelude.sh')}\nmkdir made\n: >made/file\nstat -c %a made made/file"
    done = subprocess.run(["sh", "-c", text], cwd=tmp_path, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("755\n644\n", "")


LOGS = {
    "[17/220] Building": "built 5 % of 220 steps",
    "[220/220] Linking": "built 100 % of 220 steps",
    "[1/0] x": "[1/0] x",
    "[/] x": "[/] x",
    "[08/09] x": "[08/09] x",
    "[1/99999999999999999999] x": "[1/99999999999999999999] x",
    "[1/PATH[$(touch planted)]] x": "[1/PATH[$(touch planted)]] x",
}


@pytest.mark.parametrize("shell", ["dash", "bash"])
@pytest.mark.parametrize("line", LOGS)
def test_numbers_of_a_build_log_are_numbers(tmp_path: Path, shell: str, line: str) -> None:
    """What a build prints is never calculated with unless it is what ninja prints."""
    function = re.search(r"^progress\(\) \{.*?^\}", role_text("llamacpp", "build.sh"), re.MULTILINE | re.DOTALL)[0]
    (tmp_path / "log").write_text(f"-- Configuring done\n{line}\n")
    text = f"set -eu\nWORK=.\n{function}\nprogress\necho alive\n"
    done = subprocess.run([shell, "-c", text], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{LOGS[line]}\nalive\n", "")
    assert not (tmp_path / "planted").exists()
