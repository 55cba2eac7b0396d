"""`systemctl list-units`, `status`, `show`: the states of the services around a driver."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from rigwright.hardware.reading import Reading
from rigwright.hardware.sources import cells, software_text

_UNIT = (
    r"(?P<unit>nvidia-[\w@.-]+?|nvlsm|nv-fabricmanager|dcgm|systemd-modules-load|rigwright-gpu|gdm3?|sddm|lightdm"
    r"|display-manager)"
)
_STATES = r"(?P<state>active|inactive|failed|activating|deactivating|reloading)"
_LISTED = re.compile(
    rf"[*\u25cf\u25cb\u00d7x?\s]*{_UNIT}\.service\s+(?P<load>loaded|not-found|masked|bad-setting|error)\s+{_STATES}\s+\S+(?:\s.*)?"
)
_TITLE = re.compile(rf"[*\u25cf\u25cb\u00d7x?\s]*{_UNIT}\.service(?: - .*)?\s*")
_ACTIVE = re.compile(rf"\s*Active: {_STATES}\b.*")
_SHOWN = re.compile(r"\s*(?P<key>Id|LoadState|ActiveState|SubState|UnitFileState)=(?P<value>\S*)\s*")
_MISSING = re.compile(rf".*Unit {_UNIT}\.service (?:could not be found|not found).*")
# Of the journal: the last word counts.
_JOURNAL = re.compile(rf"(?:^|.*\s){_UNIT}\.service: (?P<word>Failed with result|Succeeded|Deactivated successfully).*")
_WORDS = {"Failed with result": "failed", "Succeeded": "inactive", "Deactivated successfully": "inactive"}
# Of a start whose condition was not met: nothing starts the unit again. Source: systemd 249 to 258.
_SKIPPED = re.compile(
    rf".*\b{_UNIT}\.service(?: -.*)? (?:was )?skipped(?:,| because of an) unmet condition.*"
    r"|.*Condition check resulted in (?P<title>NVIDIA Persistence Daemon) being skipped.*"
)
_UNMET = re.compile(r"\s*Condition: start condition (?:unmet|failed)\b.*")
_COMMAND = re.compile(rf"systemctl is-active {_UNIT}(?:\.service)?")
# It is on every machine with systemd: where it is listed, what is not listed is not there.
_WITNESS = "systemd-modules-load"


def read(text: str) -> Reading:
    """States by name: `active`, `failed`, `not-found`, and `skipped` where a condition kept it from starting."""
    lines = cells.lines(text)
    found = dict(_shown(lines)) | dict(_asked(lines)) | dict(_said(lines))
    if not found:
        return Reading()
    partial = [] if _WITNESS in found else ["units"]
    return software_text.answer("units", partial=partial, units=tuple(sorted(found.items())))


def _said(lines: list[str]) -> Iterator[tuple[str, str]]:
    """The rows of a list, the blocks of `status`, and of a journal the last word."""
    title = ""
    for line in lines:
        if row := _LISTED.fullmatch(line):
            yield row["unit"], row["load"] if row["load"] != "loaded" else row["state"]
        elif row := _MISSING.fullmatch(line):
            yield row["unit"], "not-found"
        elif row := _JOURNAL.fullmatch(line):
            yield row["unit"], _WORDS[row["word"]]
        elif row := _SKIPPED.fullmatch(line):
            yield row["unit"] or "nvidia-persistenced", "skipped"
        elif row := _TITLE.fullmatch(line):
            title = row["unit"]
        elif (row := _ACTIVE.fullmatch(line)) and title:
            yield title, row["state"]
            title = title if row["state"] == "inactive" else ""
        elif _UNMET.fullmatch(line) and title:
            yield title, "skipped"
            title = ""


def _asked(lines: list[str]) -> Iterator[tuple[str, str]]:
    """The word below `systemctl is-active UNIT`."""
    for line, after in pairwise(lines):
        command = next((_COMMAND.fullmatch(one.strip()) for one in software_text.commands(line)), None)
        if command and after.strip() in ("active", "inactive", "failed", "activating", "unknown"):
            yield command["unit"], after.strip()


def _shown(lines: list[str]) -> Iterator[tuple[str, str]]:
    """The blocks of `systemctl show`, which begin with Id."""
    block: dict[str, str] = {}
    for line in [*lines, "Id="]:
        row = _SHOWN.fullmatch(line)
        if not row:
            continue
        unit = block.get("Id", "").removesuffix(".service")
        if row["key"] == "Id" and "ActiveState" in block and re.fullmatch(_UNIT, unit):
            yield unit, "not-found" if block.get("LoadState") == "not-found" else block["ActiveState"]
        block = {} if row["key"] == "Id" else block
        block[row["key"]] = row["value"]
