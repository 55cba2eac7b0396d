"""`dpkg -l`, `dpkg-query -W` in any form, `dpkg --get-selections`, `dpkg --audit`: packages and their states.

Source: dpkg(1), dpkg-query(1); printed by dpkg 1.21 and 1.22.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from rigwright.hardware.reading import Reading
from rigwright.hardware.software import Package, PackageState
from rigwright.hardware.sources import cells, software_text

_NAME = r"(?P<name>[a-z0-9][a-z0-9+.-]+)(?::(?:amd64|arm64|i386|armhf|ppc64el|s390x|riscv64|all|any))?"
_VERSION = r"(?P<version>(?:[0-9]+:)?[0-9][\w.+~:-]*)"
# ii, hi, iF, iU, iW, rc, and what stands for an error; `un` was never there.
_ABBREVIATION = re.compile(r"(?P<want>[uihrp])(?P<is>[ncHUFWti])(?P<error>R)?")
_WORDS = re.compile(
    r"(?P<want>unknown|install|hold|deinstall|purge) (?P<error>ok|reinstreq) "
    r"(?P<is>not-installed|config-files|half-installed|unpacked|half-configured|triggers-awaited|triggers-pending"
    r"|installed)"
)
_STATES: dict[str, PackageState] = {
    "i": "installed", "c": "removed", "H": "half", "U": "half", "F": "half", "W": "half", "t": "half",
    "installed": "installed", "config-files": "removed", "half-installed": "half", "unpacked": "half",
    "half-configured": "half", "triggers-awaited": "half", "triggers-pending": "half",
}  # fmt: skip
_ROW = re.compile(rf"\s*(?P<state>[uihrp][ncHUFWti]R?)\s+{_NAME}\s+{_VERSION}(?:\s.*)?")
_QUERIED = re.compile(rf"\s*{_NAME}(?:\s+|\s?[=|,;]\s?)(?=\S*[.-]){_VERSION}\s*[|,;]?(?P<rest>.*)")
_SELECTION = re.compile(rf"\s*{_NAME}\s+(?P<want>install|hold|deinstall|purge)\s*")
_AUDIT = re.compile(
    r"The following packages (?:are|have) (?:only half configured|in a mess due to|been unpacked but not|only half inst"
    r"|missing the list|awaiting processing|been triggered)"
)
_AUDITED = re.compile(rf" {_NAME}(?:\s.*)?")
_KERNEL = re.compile(r"linux-image-(?:unsigned-)?(?P<release>[0-9]+\.[0-9]+\.[0-9]+-\S+?)(?:-dbg)?")
_GLIBC = re.compile(r"(?:[0-9]+:)?([0-9]+\.[0-9]+)")


def read(text: str) -> Reading:
    """The packages that count, with their states; `hi` and `hold` are holds. Nothing else of a whole list is kept.

    A file of this name that holds nothing is the answer of `dpkg --audit` on a machine that is well.
    """
    lines = cells.lines(text)
    found = list(_rows(lines))
    names = {package.name for package, _ in found}
    audited = list(_audited(lines))
    # A name and a version beside each other are many things; those of packages have one that counts among them.
    if not any(map(software_text.is_relevant, names)) and not audited and text.strip():
        return Reading()
    is_whole = software_text.is_whole_list(names)
    packages = [package for package, _ in found if software_text.is_relevant(package.name)]
    installed = [package for package in packages if package.state != "removed"]
    kernels = [match["release"] for one in installed if (match := _KERNEL.fullmatch(one.name))]
    libc = next((one.version for one in installed if one.name == "libc6"), "")
    version = _GLIBC.match(libc)
    tells_holds = any(is_held is not None for _, is_held in found)
    lists = ("packages", "holds") if tells_holds else ("packages",)
    return software_text.answer(
        *lists,
        partial=() if is_whole else lists,
        packages=tuple(dict.fromkeys((*packages, *audited))),
        holds=tuple(dict.fromkeys(package.name for package, is_held in found if is_held)),
        kernels=tuple(dict.fromkeys(kernels)),
        glibc=version[1] if version else None,
    )


def _rows(lines: list[str]) -> Iterator[tuple[Package, bool | None]]:
    """Each package of a list, and whether it is held; None where the list does not tell."""
    for line in lines:
        if row := _ROW.fullmatch(line):
            state = _ABBREVIATION.fullmatch(row["state"])
            if state and state["is"] != "n":
                yield Package(row["name"], row["version"], _state(state)), state["want"] == "h"
        elif found := _SELECTION.fullmatch(line):
            if found["want"] in ("install", "hold"):
                yield Package(found["name"]), found["want"] == "hold"
        elif queried := _query(line):
            yield queried


def _query(line: str) -> tuple[Package, bool | None] | None:
    """A row of `dpkg-query -W -f…`: name and version, the state before or behind them, or none."""
    words = _WORDS.search(line)
    rest = (line[: words.start()] + " " + line[words.end() :]).strip(" \t|,;=") if words else line
    row = _QUERIED.fullmatch(rest)
    if not row or (not words and row["rest"].strip()):
        return None
    if words and words["is"] == "not-installed":
        return None
    state = _state(words) if words else "installed"
    return Package(row["name"], row["version"], state), words["want"] == "hold" if words else None


def state(said: str) -> PackageState | None:
    """The state that `install ok half-configured` names; None of what was never there, or of other words."""
    found = _WORDS.fullmatch(said)
    return _state(found) if found and found["is"] != "not-installed" else None


def _state(found: re.Match[str]) -> PackageState:
    broken = found["error"] in ("R", "reinstreq")
    return "half" if broken else _STATES[found["is"]]


def _audited(lines: list[str]) -> Iterator[Package]:
    """The packages that `dpkg --audit` names, below the sentence that says what is wrong with them."""
    inside = False
    for line in lines:
        if _AUDIT.match(line):
            inside = True
        elif inside and (row := _AUDITED.fullmatch(line)):
            yield Package(row["name"], state="half")
        elif not line.strip():
            inside = False
