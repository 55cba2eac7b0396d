"""What a tool's output may be encoded as: a page, a JSON value, a program's string, a list of strings, a mail.

Each decoder gives what is inside, and nothing where a text is not of its kind.
"""

from __future__ import annotations

import html
import json
import quopri
import re
from collections.abc import Callable, Iterator
from typing import Any

_TAGS = (
    "html|head|body|title|meta|link|main|article|section|div|span|pre|code|samp|tt|font|p|a|b|i|u|em|strong|ul|ol|li"
    "|table|thead|tbody|tr|td|th|br|hr|h[1-6]|blockquote|details|summary"
)
TAG = re.compile(rf"</?(?:{_TAGS})\b[^<>]{{0,400}}>", re.IGNORECASE)
_NEW_LINE = re.compile(
    r"<br\b[^<>]{0,40}>\n?|</?(?:p|div|li|tr|h[1-6]|pre|table|ul|ol|body|head|title|section|article|blockquote|details"
    r"|summary)\b[^<>]{0,400}>",
    re.IGNORECASE,
)
_NEW_CELL = re.compile(r"</t[dh]>\s*(?=<t[dh])", re.IGNORECASE)
_HIDDEN = re.compile(r"<(script|style)\b.*?</\1>", re.IGNORECASE | re.DOTALL)
_ENTITY = re.compile(r"&(?:lt|gt|amp|quot|apos|nbsp|#[0-9]{1,6}|#x[0-9a-f]{1,5});", re.IGNORECASE)
_WRITTEN = {r"\n": "\n", r"\t": "\t", r"\r": "", r"\"": '"', r"\'": "'", "\\\\": "\\", r"\/": "/"}
_WRITTEN_MARK = re.compile(r"""\\(?:[ntr"'/\\]|u[0-9a-f]{4})""")
_STRING_ENDS = re.compile(
    r"""["'][,\s\]})]*$|^[\s\[{(,-]*(?:["']?[\w.-]{1,40}["']?\s*[:=]>?\s*)?[ub]?["'](?=.)""", re.MULTILINE
)
_LITERAL = re.compile(r"""\s*(?:[\w.-]{1,40}\s*[:=]\s*)?[ub]?(?P<quote>["'])(?P<inside>[^\n]*)(?P=quote)[,;)]?\s*""")
# Where logs keep the line that was printed: docker, journalctl -o json, Loki, CloudWatch, Stackdriver, GELF, zap.
_LOG_KEYS = (
    "log", "stdout", "output", "MESSAGE", "message", "msg", "line", "text", "content", "body", "textPayload",
    "@message", "short_message",
)  # fmt: skip
_MOST_DEPTH = 64


def _from_page(text: str) -> str:
    """What a browser shows of a page, nothing where it is none: `<nvidia_smi_log>` and `<inactive>` are no page's."""
    if not TAG.search(text) and not _ENTITY.search(text):
        return ""
    text = _NEW_CELL.sub("\t", _HIDDEN.sub("", text))
    return html.unescape(TAG.sub("", _NEW_LINE.sub("\n", text))).replace("\xa0", " ")


def _from_json(text: str) -> str:
    """The outputs that a JSON value keeps as strings, or as lists of lines: Ansible, kubectl, a notebook."""
    for found in list(re.finditer(r"(?:^|=>|:)\s*([\[{\"])", text))[:20]:
        value = _decoded(text, found.start(1))
        if value is not None:
            return "\n".join(dict.fromkeys(_outputs(value)))
    return ""


def _outputs(value: Any, key: str = "", depth: int = 0) -> Iterator[str]:
    if isinstance(value, str):
        if "\n" in value.strip() or key in _LOG_KEYS or not depth:
            yield value.strip("\n")
    elif isinstance(value, list) and len(value) > 1 and all(isinstance(item, str) for item in value):
        yield "\n".join(item.rstrip("\n") for item in value)
    elif isinstance(value, dict | list) and depth < _MOST_DEPTH:
        for name, item in value.items() if isinstance(value, dict) else ((key, item) for item in value):
            yield from _outputs(item, name, depth + 1)


def _from_json_lines(text: str) -> str:
    """A log with a JSON object for each line."""
    lines = [line for line in text.split("\n") if line.strip()]
    found: list[str] = []
    for line in lines[:10_000]:
        start = line.find("{")
        value = _decoded(line, start) if start >= 0 else None
        said = [value[key] for key in _LOG_KEYS if isinstance(value.get(key), str)] if isinstance(value, dict) else []
        found += [said[0].rstrip("\r\n")] if said else []
    return "\n".join(found) if len(found) > 1 and len(found) * 2 > len(lines) else ""


def _decoded(text: str, start: int) -> Any:
    """The JSON value that begins there, None where none does, or one too deep for the decoder, which recurses."""
    depth = 0
    for mark in re.findall(r"[\[\]{}]", text[start:]):
        depth = depth + 1 if mark in "[{" else depth - 1
        if depth > _MOST_DEPTH:
            return None
    try:
        return json.JSONDecoder(strict=False, parse_int=str).raw_decode(text, start)[0]
    except (json.JSONDecodeError, RecursionError):
        return None


def _from_written(text: str) -> str:
    r"""A text in which line breaks and tabs are written as `\n` and `\t`: a string copied out of a program."""
    if len(re.findall(r"\\[nt]", text)) < 2:
        return ""

    def meant(found: re.Match[str]) -> str:
        return chr(int(found[0][2:], 16)) if found[0][1] == "u" else _WRITTEN[found[0]]

    if literal := _LITERAL.fullmatch(text):  # the quotes within it are its own
        return _WRITTEN_MARK.sub(meant, literal["inside"])
    return _STRING_ENDS.sub("", _WRITTEN_MARK.sub(meant, text))


def _from_quoted_lines(text: str) -> str:
    """The strings of a list in YAML or JSON, of which each has a line."""
    lines = [line for line in text.split("\n") if line.strip()]
    found = [match[1] for line in lines if (match := re.fullmatch(r"\s*(?:- )?(\".*\")\s*,?\s*", line))]
    values = [value for line in found if isinstance(value := _decoded(line, 0), str)]
    return "\n".join(values) if len(values) > 1 and len(values) * 2 > len(lines) else ""


def _from_mail(text: str) -> str:
    """Quoted-printable, as mails are stored."""
    if not re.search(r"=09|=20(?:=20|$)|=3D|=$", text, re.MULTILINE):
        return ""
    return quopri.decodestring(text.encode("utf-8", "replace")).decode("utf-8", "replace")


DECODERS: tuple[Callable[[str], str], ...] = (
    _from_json_lines, _from_json, _from_quoted_lines, _from_page, _from_written, _from_mail,
)  # fmt: skip
