"""apt on the controller, for another system than its own: a folder with nothing installed, and that one's sources."""

from __future__ import annotations

import getpass
import re
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from rigwright.bundle.archive import Say
from rigwright.errors import RigwrightError
from rigwright.shown import redacted
from rigwright.units import format_bytes

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "ppc64le": "ppc64el"}
# What the system's own settings would have done after it, for its own lists, is not done for these.
_CONFIG = """
#clear APT::Update;
#clear APT::Architectures;
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Sandbox::User "{user}";
APT::Default-Release "";
Acquire::Languages "none";
Debug::NoLocking "true";
Dir::State "{root}/state";
Dir::State::status "{root}/status";
Dir::Cache "{root}/cache";
"""
_OTHER_SOURCES = """
Dir::Etc::SourceList "{sources}";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
"""
_URI = re.compile(r"'(?P<uri>[^']+)' (?P<name>[^\s/]+\.deb) (?P<size>\d+) \S*")
# Of what a package says of itself all that apt needs to choose and to order; a description of it is not.
_LEFT_OUT = re.compile(r"^(?:Description|Maintainer|Homepage|Original-Maintainer|Bugs|Tag)(?:-\w+)?:", re.IGNORECASE)


class Deb(NamedTuple):
    """The file of a package, as apt names it, and where it is to be had."""

    name: str
    size_bytes: int
    uri: str

    @property
    def here(self) -> Path | None:
        """Where it lies on this machine, where its source does."""
        return Path(unquote(self.uri.removeprefix("file:"))) if self.uri.startswith("file:") else None


class Apt:
    """The folder: apt reads the lists of the sources, and holds them and what it fetches to their signatures."""

    def __init__(self, root: Path, *, architecture: str, sources: Path | None) -> None:
        """`sources` is a file like /etc/apt/sources.list; None for this machine's own sources.

        Raises:
            RigwrightError: apt is not here, or cannot read the lists.
        """
        root = root.absolute()
        named = _ARCHITECTURES.get(architecture, architecture)
        for folder in ("state/lists/partial", "cache/archives/partial"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        (root / "status").touch()
        text = _CONFIG.format(root=root, architecture=named, user=getpass.getuser())
        if sources:
            text += _OTHER_SOURCES.format(sources=sources.absolute())
        self._root, self._config = root, root / "apt.conf"
        self._config.write_text(text)
        self._run("update", "-o", "APT::Update::Error-Mode=any")

    def listed(self, names: Sequence[str]) -> list[Deb]:
        """The files that installing packages takes where there are none.

        Raises:
            RigwrightError: there is no such package, or what it needs is not there.
        """
        said = self._run("install", "--print-uris", "--yes", *names, "-o", f"Dir::Cache::archives={self._root}/none")
        found = (_URI.fullmatch(line) for line in said.splitlines())
        return [Deb(one["name"], int(one["size"]), one["uri"]) for one in found if one]

    def fetch(self, names: Sequence[str], say: Say) -> dict[str, Path]:
        """Have these files, as their archive signed them; by their names, where each lies.

        Raises:
            RigwrightError: one does not come.
        """
        wanted = {one.name: one for one in self.listed(names)}
        total, archives = sum(one.size_bytes for one in wanted.values()), self._root / "cache/archives"

        def told() -> str:
            there = (*archives.glob("*.deb"), *archives.glob("partial/*.deb"))
            size = min(total, sum(file.stat().st_size for file in there if file.name in wanted))
            return f"packages: {size * 100 // max(1, total)} % of {format_bytes(total)}"

        self._run("install", "--download-only", "--yes", *names, say=say, told=told)
        # What lies on this machine already, apt does not copy.
        return {name: one.here or archives / name for name, one in wanted.items()}

    def _run(self, *arguments: str, say: Say | None = None, told: object = None) -> str:
        command = ["apt-get", "-qq", "-c", str(self._config), "--no-install-recommends", *arguments]
        try:
            with subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            ) as process:
                spoke = time.monotonic()
                while True:
                    try:
                        out, err = process.communicate(timeout=0.5)
                        break
                    except subprocess.TimeoutExpired:
                        if say and callable(told) and time.monotonic() - spoke > 5:
                            spoke = time.monotonic()
                            say(told())
        except FileNotFoundError:
            raise RigwrightError(
                "packages: this machine has no apt-get; make the bundle on Debian or Ubuntu, or in a container of one"
            ) from None
        if process.returncode:
            lines = [line for line in err.splitlines() if line.startswith(("E:", "W:"))] or err.splitlines()
            told_by = redacted(" ".join(lines[:3]))[:400] or "no word"
            raise RigwrightError(f"packages: apt says: {told_by}; check the sources and the network")
        return out


def stanza(package: Path) -> str:
    """What a package says of itself, as far as apt's list of packages needs it.

    Raises:
        RigwrightError: it is none.
    """
    done = subprocess.run(["dpkg-deb", "--field", str(package)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RigwrightError(f"packages: {package.name} is none: {done.stderr.strip()[:200]}; run again")
    lines, is_left_out = [], False
    for line in done.stdout.splitlines():
        if not line.startswith(" "):
            is_left_out = bool(_LEFT_OUT.match(line))
        if line.strip() and not is_left_out:
            lines.append(line)
    return "\n".join(lines)
