"""`systemctl list-units`, `status`, `show`: the states of the services around a driver."""

from __future__ import annotations

import re

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
_COMMAND = re.compile(rf"systemctl is-active {_UNIT}(?:\.service)?")
# It is on every machine with systemd: where it is listed, what is not listed is not there.
_WITNESS = "systemd-modules-load"


def read(text: str) -> Reading:
    """States by name: `active`, `failed`, `not-found`."""
    found: dict[str, str] = {}
    title = asked = ""
    shown: dict[str, str] = {}
    for line in [*cells.lines(text), ""]:
        if asked and line.strip() in ("active", "inactive", "failed", "activating", "unknown"):
            found.setdefault(asked, line.strip())
        command = next((_COMMAND.fullmatch(one.strip()) for one in software_text.commands(line)), None)
        asked = command["unit"] if command else ""
        if row := _LISTED.fullmatch(line):
            found.setdefault(row["unit"], row["load"] if row["load"] != "loaded" else row["state"])
        elif row := _MISSING.fullmatch(line):
            found.setdefault(row["unit"], "not-found")
        elif row := _JOURNAL.fullmatch(line):
            found[row["unit"]] = _WORDS[row["word"]]
        elif row := _TITLE.fullmatch(line):
            title = row["unit"]
        elif (row := _ACTIVE.fullmatch(line)) and title:
            found.setdefault(title, row["state"])
            title = ""
        elif row := _SHOWN.fullmatch(line):
            if row["key"] == "Id" and shown.get("Id"):
                _keep(shown, found)
                shown = {}
            shown[row["key"]] = row["value"]
        elif not line.strip():
            _keep(shown, found)
            shown = {}
    if not found:
        return Reading()
    return software_text.answer(
        "units", partial=[] if _WITNESS in found else ["units"], units=tuple(sorted(found.items()))
    )


def _keep(shown: dict[str, str], found: dict[str, str]) -> None:
    """The state of a block of `systemctl show`."""
    unit, state = shown.get("Id", "").removesuffix(".service"), shown.get("ActiveState")
    if state and re.fullmatch(_UNIT, unit):
        found.setdefault(unit, "not-found" if shown.get("LoadState") == "not-found" else state)
