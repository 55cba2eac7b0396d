"""Differences, one line each: what comes, what goes, what is otherwise; the marks are those of Terraform and diff."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

from rigwright.shown import on_a_line, printable

Mark = Literal["+", "~", "-"]


class Change(NamedTuple):
    """One difference. `where` is a key or a name; `note` says what values cannot."""

    mark: Mark
    where: str
    old: str = ""
    new: str = ""
    note: str = ""

    def __str__(self) -> str:
        """`~ services.chat.context: 2048 -> 1024`, `+ services.chat.flags: --temp 0.5`, `- GPU 1: is not there`."""
        values = f"{self.old} -> {self.new}" if self.mark == "~" and (self.old or self.new) else self.old or self.new
        text = " ".join(filter(None, (values, f"({self.note})" if values and self.note else self.note)))
        # What is on the rig stands in it, as the rig says it.
        return on_a_line(printable(f"{self.mark} {self.where}" + (f": {text}" if text else "")))


def changed(where: str, old: object, new: object) -> Change:
    """A value that comes, goes or becomes another; None is nothing."""
    mark: Mark = "+" if old is None else "-" if new is None else "~"
    return Change(mark, where, _text(old), _text(new))


def differences(where: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    """The keys of two tables that differ, in the order of the old one."""
    for key in [*old, *(key for key in new if key not in old)]:
        if old.get(key) != new.get(key):
            yield changed(f"{where}.{key}", old.get(key), new.get(key))


def _text(value: object) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
