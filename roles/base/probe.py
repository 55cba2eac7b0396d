"""Which questions RigState asks a rig: the union of what every role wants to know, as one shell script."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, fields
from typing import Self


@dataclass(frozen=True, repr=False)
class Probe:
    """Questions to a rig. Two probes add up; asking twice costs nothing.

    packages: names for dpkg; files: paths whose content (up to 64 KiB) is read; stats: paths of which only size and
    times are read; directories: paths to list; disks: paths whose file system is measured; units: systemd units with
    their main process; unit_glob: further units, `rigwright-*.service`; ports: TCP ports whose listener is named;
    health: addresses asked for their HTTP status; scripts: further (section, shell) pairs.
    """

    packages: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    stats: tuple[str, ...] = ()
    directories: tuple[str, ...] = ()
    disks: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    health: tuple[str, ...] = ()
    scripts: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        """Short: pyinfra prints the arguments of a fact that failed."""
        return "Probe(…)"

    def __or__(self, other: Self) -> Self:
        union = {f.name: tuple(dict.fromkeys(getattr(self, f.name) + getattr(other, f.name))) for f in fields(self)}
        return type(self)(**union)

    def script(self) -> str:
        """The questions as one POSIX shell script; `rigwright.roles.base.facts` reads its answer."""
        parts = [_PRELUDE]
        if self.packages:
            form = "${db:Status-Abbrev}|${Package}|${Version}\\n"
            parts.append(f"section packages; dpkg-query -W -f='{form}' {_words(self.packages)} 2>/dev/null")
        for index, path in enumerate(self.files):
            parts.append(f"file {index} {shlex.quote(path)}")
        for index, path in enumerate(self.stats):
            parts.append(f"section stat {index}; stat -Lc '%s|%Y|%a|%U' -- {shlex.quote(path)} 2>/dev/null")
        for index, path in enumerate(self.directories):
            parts.append(f"section directory {index}; ls -1A -- {shlex.quote(path)} 2>/dev/null")
        for index, path in enumerate(self.disks):
            parts.append(f"disk {index} {shlex.quote(path)}")
        for index, unit in enumerate(self.units):
            parts.append(f"unit {index} {shlex.quote(unit)}")
        if self.ports:
            wanted = " or ".join(f"sport = :{port}" for port in self.ports)
            parts.append(f"section listeners; ss -Hltnp '( {wanted} )' 2>/dev/null")
        for index, url in enumerate(self.health):
            parts.append(
                f"section health {index}; curl -sm 5 -o /dev/null -w '%{{http_code}}\\n' {shlex.quote(url)} 2>/dev/null"
            )
        parts += [f"section {name}\n{body}" for name, body in self.scripts]
        return "\n".join([*parts, "section end", "exit 0"])


def _words(names: tuple[str, ...]) -> str:
    return " ".join(shlex.quote(name) for name in names)


# Every answer starts with a line "@rigwright <section> [index]"; file contents travel as base64, so no content can
# pretend to be a section. The unit's process is read from /proc: what runs is not always what the unit file says.
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
disk() {
  section disk "$1"; at=$2
  while [ ! -e "$at" ]; do at=$(dirname -- "$at"); done
  df -PB1 -- "$at" | tail -n1
}
unit() {
  section unit "$1"
  wanted=ActiveState,SubState,UnitFileState,MainPID,FragmentPath,ExecMainStartTimestamp
  shown=$(systemctl show -p "$wanted" -- "$2" 2>/dev/null)
  printf '%s\n' "$shown"
  pid=$(printf '%s\n' "$shown" | sed -n 's/^MainPID=//p')
  if [ "${pid:-0}" -gt 0 ] 2>/dev/null; then
    echo "exe=$(readlink "/proc/$pid/exe")"
    echo "since=$(date -d "$(printf '%s\n' "$shown" | sed -n 's/^ExecMainStartTimestamp=//p')" +%s 2>/dev/null)"
    tr '\0' '\n' <"/proc/$pid/environ" 2>/dev/null | grep '^RIGWRIGHT_' | sed 's/^/env./'
    echo "argv=$(base64 -w0 <"/proc/$pid/cmdline")"
  fi
}
section identity
echo "uid=$(id -u)"
echo "init=$(test -d /run/systemd/system && echo systemd || cat /proc/1/comm)"
""".strip()
