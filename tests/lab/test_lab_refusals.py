"""What the lab refuses, in one line and before anything was made."""

from __future__ import annotations

import os
import shutil

import pytest
from click.testing import CliRunner, Result

from rigwright.cli.lab import lab

pytestmark = pytest.mark.lab
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="virtual rigs need root")


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lab that nobody else uses."""
    monkeypatch.setenv("RIGWRIGHT_LAB", "t-refusals")


def invoke(*argv: str) -> Result:
    return CliRunner().invoke(lab, argv)


def test_without_root_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who forgot sudo reads what to do."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    done = invoke("up")
    assert (done.exit_code, done.output) == (1, "Error: lab: virtual rigs need root; run it again with sudo\n")


@needs_root
def test_missing_tools_are_named_by_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line lists every package, not one per attempt."""
    have = shutil.which
    monkeypatch.setattr(
        shutil, "which", lambda tool, path=None: None if tool in ("nft", "mmdebstrap") else have(tool, path=path)
    )
    wanted = "Error: lab: this machine lacks mmdebstrap nftables; apt-get install mmdebstrap nftables\n"
    assert invoke("up").output == wanted


@needs_root
@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["up", "--rigs", "2", "rig1"], "lab: both names and --rigs were given; use one of them"),
        (["up", "Rig_1"], "lab: bad rig name 'Rig_1'; use 1 to 12 of a-z, 0-9 and -, not - first"),
        (["up", "--disk", "much"], "lab: --disk: 'much' is no size; write for example 20G or 512M"),
        (["up", "--disk", "1M"], "lab: rig1: a disk of 1.0 MiB is too small; ask for 256 MiB or more"),
        (["up", "--os", "sid"], "lab: unknown OS 'sid'; use trixie or bookworm"),
        (["up", "--ssh-user", "a b"], "lab: rig1: bad user name 'a b'; use a-z, 0-9, _ and -"),
        (["up", "--from", "nosuch"], "lab: no snapshot is called 'nosuch'; there is "),
        (["down", "../.."], "lab: bad rig name '../..'; use 1 to 12 of a-z, 0-9 and -, not - first"),
        (["down", "nosuch"], "lab: no rig is called 'nosuch'; this lab has no rigs"),
        (["ssh", "nosuch"], "lab: no rig is called 'nosuch'; this lab has no rigs"),
        (["exec", "nosuch", "--", "true"], "lab: no rig is called 'nosuch'; this lab has no rigs"),
        (["fault", "nosuch", "clear"], "lab: no rig is called 'nosuch'; this lab has no rigs"),
    ],
)
def test_wrong_words_are_refused_in_one_line(argv: list[str], says: str) -> None:
    """Each says what is wrong and what to do, and exits with 1."""
    done = invoke(*argv)
    assert done.exit_code == 1
    assert done.output.startswith(f"Error: {says}") and done.output.count("\n") == 1
