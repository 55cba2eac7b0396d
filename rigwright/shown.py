"""What strangers said as it may be shown or kept: it controls no terminal, and addresses give away no secret."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import parse_qsl, urlsplit

# Source: ECMA-48 5.4 and 5.6: control sequences, and strings such as a window's title.
_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?|\x1b[\]PX^_][^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)?|\x1b[ -/]*.?"
)
# Line breaks and tabs stay; what turns the direction of writing makes a text read as another one.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
# One line of a file: no control character, no tab either.
NOT_IN_A_LINE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
# Names of what a query must not show, and how long a value is that nobody types.
_KEY, _LONG = re.compile(r"token|sig|secret|auth|pass|credential|api.?key|^key$", re.IGNORECASE), 24
_ADDRESS = re.compile(r"\b(?:https?|ssh|git|ftp)://[^\s'\"<>]+", re.IGNORECASE)


def printable(text: str) -> str:
    """The text without what a terminal would obey."""
    return _CONTROL.sub("", _SEQUENCE.sub("", text)) if _CONTROL.search(text) else text


def on_a_line(text: str) -> str:
    """The text on one line, for messages."""
    return NOT_IN_A_LINE.sub(" ", text)


def without_secrets(url: str) -> str:
    """The address without user, password, query: what a message may show."""
    try:
        parts = urlsplit(url)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
    except ValueError:
        return "the model's address"


def holds_secret(text: str) -> bool:
    """Whether an address in the text gives away a password, a token or a signature."""
    for found in _ADDRESS.findall(text):
        try:
            parts = urlsplit(found)
        except ValueError:
            continue
        values = parse_qsl(parts.query)
        if "@" in parts.netloc or any(_KEY.search(name) or len(value) >= _LONG for name, value in values):
            return True
    return False


def redacted(text: str) -> str:
    """The text, its addresses without their secrets: what a program says of the address that it was given."""
    return _ADDRESS.sub(lambda found: without_secrets(found[0]), text) if "://" in text else text


def by_name(names: Iterable[str]) -> list[str]:
    """The names as people count: `rig2` before `rig10`."""
    return sorted(names, key=lambda name: [(part.zfill(20) if part.isdecimal() else part) for part in _parts(name)])


def _parts(name: str) -> list[str]:
    return re.split(r"([0-9]+)", name)


def alike(said: Mapping[str, str]) -> list[tuple[list[str], str]]:
    """What is said of several, once for all of whom the same is said: their names in order, and the text."""
    groups: dict[str, list[str]] = {}
    for name in by_name(said):
        groups.setdefault(said[name], []).append(name)
    return [(names, text) for text, names in groups.items()]


def few(files: Sequence[str], most: int = 12) -> str:
    """Files by name, with how many more there are."""
    rest = len(files) - most
    return ", ".join([*files[:most], *([f"{rest} more"] if rest > 0 else [])])
