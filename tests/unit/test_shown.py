"""What strangers say, as it is shown: it controls no terminal, and addresses give away no secret."""

from __future__ import annotations

import subprocess

import pytest

from rigwright.errors import RigwrightError
from rigwright.roles.base.channel import shown
from rigwright.roles.base.facts import one_line
from rigwright.shown import printable, redacted
from rigwright.spec.keys import read_keys


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("::progress 5 %\x1b]0;owned\x07", "::progress 5 %"),
        ("\x1b[2J\x1b[1;31mred\x1b[0m", "red"),
        ("\x9b31mred", "red"),
        ("a\x1bPq#0\x1b\\b", "ab"),
        ("a\rb\x08\x7f\x00c", "abc"),
        ("\u202egnp.exe", "gnp.exe"),
        ("größe 5 µs\tß", "größe 5 µs\tß"),
        ("curl: https://me:pw@h/m.gguf?X-Amz-Signature=abc failed", "curl: https://h/m.gguf failed"),
        ("x" * 9000, "x" * 4000),
    ],
)
def test_line_of_a_rig_is_shown_without_what_a_terminal_obeys(said, expected):
    """Titles, colours, cursors, and the queries of addresses, go; what is text stays."""
    assert shown(said) == expected


def test_filters_take_time_in_proportion():
    """Half a megabyte of beginnings of sequences: no pattern looks at it twice."""
    for unit in ("\x1b[", "\x1b]", "\x1bP", "http://", "\x9b0;"):
        assert len(redacted(printable(unit * 100_000))) <= 700_000


def test_messages_hold_no_sequences():
    """Names from strangers' files stand in errors."""
    assert RigwrightError("m\x1b]0;owned\x07.gguf: is damaged\nn: too").message == "m.gguf: is damaged\nn: too"


@pytest.mark.parametrize("key", ['a"b', "a\\b", "schlüssel"])
def test_key_that_would_not_arrive_whole_is_refused(tmp_path, key):
    """curl's configuration cut it at the quote: the proof failed, and the old release came back."""
    path = tmp_path / "keys"
    path.write_text(f"good\n{key}\n")
    path.chmod(0o600)
    with pytest.raises(RigwrightError, match="holds a key with a quote, a backslash") as found:
        read_keys("rig1: services.0", path)
    assert key not in found.value.message


@pytest.mark.parametrize("shell", [["sh"], ["bash"], ["bash", "--posix"]])
def test_question_is_one_line_for_any_shell(shell):
    """No quote, no line break, nothing that csh or another shell would read in its own way."""
    line = one_line("echo 'a b'\nprintf '%s\\n' \"$((1 + 1))\" # it's\nexit 0")
    assert "\n" not in line and "'" not in line
    assert subprocess.run([*shell, "-c", line], capture_output=True, text=True, check=True).stdout == "a b\n2\n"
