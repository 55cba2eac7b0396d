"""`rigwright weights`: what it prints of the files of a rig, and what it refuses."""

from __future__ import annotations

from click.testing import CliRunner
from rich.console import Console

from rigwright.cli import main
from rigwright.view.answers.weights import weights_answer
from rigwright.view.weights_table import show

FOLDER = "/var/lib/rigwright/weights"
USER = {"name": "chat@1", "owner": "home"}
FILES = [
    {
        "path": f"{FOLDER}/a.gguf",
        "size_bytes": 3 << 30,
        "state": "used",
        "services": [USER, {"name": "x", "owner": ""}],
    },
    {"path": f"{FOLDER}/.rigwright/0123abcd-a.gguf", "size_bytes": 2 << 30, "state": "kept", "services": [USER]},
    {"path": f"{FOLDER}/z.gguf", "size_bytes": 1 << 30, "state": "spare", "services": []},
    {"path": f"{FOLDER}/\x1b[31my.gguf", "size_bytes": 5, "state": "young", "services": []},
    {"path": "/srv/own.gguf", "size_bytes": 6 << 30, "state": "found", "services": [USER]},
]


def test_line_of_a_file_says_who_wants_it(capsys):
    """The spare ones first, whole paths, no code of a terminal from a name; the sums in the line of the rig."""
    rigs = {"rig1": weights_answer(FILES), "rig2": weights_answer([])}
    show(Console(width=60, color_system=None), rigs)
    assert capsys.readouterr().out.splitlines() == [
        "rig1  5 model files, 12.0 GiB, 1.0 GiB spare",
        f"    1.0 GiB  {FOLDER}/z.gguf  no service wants it",
        "    6.0 GiB  /srv/own.gguf  it was there before rigwright; chat@1 of home",
        f"        5 B  {FOLDER}/ [31my.gguf  no service wants it yet, it came within a day",
        f"    2.0 GiB  {FOLDER}/.rigwright/0123abcd-a.gguf  for the way back of chat@1 of home",
        f"    3.0 GiB  {FOLDER}/a.gguf  chat@1 of home, x",
        "rig2  no model files",
    ]
    assert (rigs["rig1"].size_bytes, rigs["rig1"].spare_bytes) == ((12 << 30) + 5, 1 << 30)


def test_list_and_removal_are_two_answers(tmp_path):
    """JSON is of what lies there; a removal tells what it does."""
    (tmp_path / "rig.py").touch()
    done = CliRunner().invoke(main, ["weights", str(tmp_path / "rig.py"), "--json", "--prune"])
    assert done.exit_code != 0 and "--json lists and --prune removes; leave one of them out" in done.output
