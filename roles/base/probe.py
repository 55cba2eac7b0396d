"""Which questions RigState asks a rig: the union of what every role wants to know, as one shell script."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, fields
from typing import Self

from rigwright.records.reading import script as records_script


@dataclass(frozen=True, repr=False)
class Probe:
    """Questions to a rig. Two probes add up; asking twice costs nothing.

    packages: names for the package manager; files: paths whose content (up to 64 KiB) is read; stats: paths of which
    only size and times are read; directories: paths to list; disks: paths whose file system is measured; scripts:
    further (section, shell) pairs. Every listener is named, and what rigwright deployed is told (`deployed.sh`):
    services are names that an inventory wishes.
    """

    packages: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    stats: tuple[str, ...] = ()
    directories: tuple[str, ...] = ()
    disks: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    scripts: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        """Short: pyinfra prints the arguments of a fact that failed."""
        return "Probe(…)"

    def __or__(self, other: Self) -> Self:
        union = {f.name: tuple(dict.fromkeys(getattr(self, f.name) + getattr(other, f.name))) for f in fields(self)}
        return type(self)(**union)

    def script(self) -> str:
        """The questions as one POSIX shell script; `rigwright.roles.base.facts` reads its answer."""
        first = ["section identity", _IDENTITY, records_script(self.services)]
        first += [f"file {index} {shlex.quote(path)}" for index, path in enumerate(self.files)]
        first += [f"status {index} {shlex.quote(path)}" for index, path in enumerate(self.stats)]
        first += [f"list {index} {shlex.quote(path)}" for index, path in enumerate(self.directories)]
        second = [f"section packages; packages {_words(self.packages)}"] if self.packages else []
        second += [f"disk {index} {shlex.quote(path)}" for index, path in enumerate(self.disks)]
        second += ["section listeners; ss -Hltnp 2>/dev/null"]
        second += [f"section {name}\n{body}" for name, body in self.scripts]
        # Both halves are asked at the same time. The second, slow tools among it, prints as it goes; the first is
        # printed when all is said, so that no line lands inside another.
        beside = ["{", *second, "} &", "answer=$(", *first, ")", "wait", "printf '%s\\n' \"$answer\""]
        return "\n".join([_PRELUDE, *beside, "section end", "exit 0"])


def _words(names: tuple[str, ...]) -> str:
    return " ".join(shlex.quote(name) for name in names)


# Every answer starts with a line "@rigwright <section> [index]"; file contents travel as base64, so no content can
# pretend to be a section.
_PRELUDE = r"""
export LC_ALL=C PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
section() { printf '@rigwright %s\n' "$*"; }
file() {
  section file "$1"
  if [ -L "$2" ]; then printf 'link|%s\n' "$(readlink -- "$2")"
  elif [ -f "$2" ]; then stat -c 'file|%s|%Y|%a|%U' -- "$2"; head -c 65536 -- "$2" | base64 -w0; echo
  elif [ -e "$2" ]; then echo other
  fi
}
list() { section directory "$1"; ls -1A -- "$2" 2>/dev/null; }
status() { section stat "$1"; [ ! -e "$2" ] || stat -Lc '%s|%Y|%a|%U' -- "$2" 2>/dev/null; }
disk() {
  section disk "$1"; at=$2
  while [ ! -e "$at" ]; do at=${at%/*}; at=${at:-/}; done
  df -PB1 -- "$at"
}
packages() { # the installed ones among these, `name|version`
  if command -v dpkg-query >/dev/null; then
    dpkg-query -W -f='${db:Status-Abbrev}|${Package}|${Version}\n' "$@" 2>/dev/null | sed -n 's/^ii *|//p'
  elif command -v rpm >/dev/null; then
    rpm -q --qf '%{NAME}|%{VERSION}-%{RELEASE}\n' "$@" 2>/dev/null | grep '|'
  fi
}
""".strip()
_IDENTITY = r"""
echo "uid=$(id -u)"
echo "init=$(if test -d /run/systemd/system; then echo systemd; else cat /proc/1/comm; fi)"
""".strip()
