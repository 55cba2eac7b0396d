"""`dpkg -s`, `apt show`, `apt-cache show`, `dnf info`, `rpm -qi`: packages as blocks of `key: value`.

Source: printed by dpkg 1.22, apt 2.6 and 3.0, dnf 4.14 and 5.2, rpm 4.16.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from rigwright.hardware.reading import Reading
from rigwright.hardware.software import Offer, Package
from rigwright.hardware.sources import cells, dpkg, rpm, software_text

_FIELD = re.compile(r"\s{0,8}(?P<key>[A-Z][A-Za-z -]{1,30}?)\s*: (?P<value>\S.*?)\s*")
_FIRST = ("package", "name")
_SOURCE = re.compile(r"(?P<url>[a-z+]{2,20}:/\S+)(?: (?P<suite>[^\s/]+))?")


def read(text: str) -> Reading:
    """Those that are installed, and what repositories offer of the others."""
    packages, offers = [], []
    for block in _blocks(cells.lines(text)):
        name = block.get("package") or block.get("name", "")
        version = block["version"] + (f"-{block['release']}" if "release" in block else "")
        epoch = block.get("epoch", "0")
        version = f"{epoch}:{version}" if epoch not in ("0", "(none)") else version
        state = dpkg.state(block.get("status", ""))
        if state or any(key in block for key in ("from repo", "install date", "apt-manual-installed")):
            packages.append(Package(name, version, state or "installed", _origin(block)))
        elif "status" not in block and (origin := _origin(block)):
            offers.append(Offer(name, version, origin))
    lists = [name for name, found in (("packages", packages), ("offers", offers)) if found]
    if not lists:
        return Reading()
    return software_text.answer(
        *lists,
        partial=lists,
        packages=tuple(one for one in packages if software_text.is_relevant(one.name)),
        offers=tuple(one for one in offers if software_text.is_relevant(one.name)),
    )


def _blocks(lines: list[str]) -> Iterator[Mapping[str, str]]:
    """The blocks that name a package and its version."""
    block: dict[str, str] = {}
    for line in [*lines, "Package: "]:
        found = _FIELD.fullmatch(line)
        key = found["key"].strip().lower() if found else line.partition(":")[0].strip().lower()
        if key in _FIRST and not (key == "name" and "package" in block):
            if "version" in block:
                yield block
            block = {}
        if found and (block or key in _FIRST):
            block.setdefault(key, found["value"])


def _origin(block: Mapping[str, str]) -> str:
    """Whose the package is: by address with apt, by the name of the repository with dnf."""
    if found := _SOURCE.match(block.get("apt-sources", "")):
        return software_text.origin(found["url"], found["suite"] or "")
    return rpm.origin(block.get("from repo") or block.get("repository") or block.get("repo") or "")
