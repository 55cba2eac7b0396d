"""What the readers of software share: which packages count, whose repository a URL is, what a session asked."""

from __future__ import annotations

import re
from collections.abc import Iterable

from rigwright.hardware.reading import Reading
from rigwright.hardware.software import Software
from rigwright.hardware.sources import cells

# Packages of drivers, CUDA, kernels, headers, dkms and compilers.
_RELEVANT = re.compile(
    r"nvidia|cuda|cudnn|nccl|cublas|nvlsm|fabric-?manager|nouveau|dkms"
    r"|^(?:lib(?:nvoptix|nvcuvid|nvfbc|nscq)|linux-(?:image|headers|modules|objects|signatures|kbuild|generic|aws|azure"
    r"|gcp|oracle|server|lowlatency|virtual|hwe)|(?:proxmox|pve)-(?:kernel|headers)|kernel(?:-|$)|k?mod-|akmod"
    r"|gcc(?:-[0-9]+|-toolset.*|-c\+\+)?$|g\+\+(?:-[0-9]+)?$|clang(?:-[0-9]+)?$|make$|libc6(?:-dev)?$|glibc(?:-devel)?$"
    r"|mokutil$|shim|nvtop$|unattended-upgrades$|dnf-automatic$|elfutils-libelf-devel$|zstd$)"
)
# A whole list of packages has these, of every Debian and of every RPM system; a grep for a driver has none of them.
_WITNESSES = ({"dpkg", "base-files"}, {"filesystem", "setup"})
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]{1,200}@")
_SUITE_AWAY = re.compile(r"backports|experimental|proposed|^(?:sid|unstable|testing)$")
_ARCHITECTURE = re.compile(r"/(?:x86_64|sbsa|arm64|aarch64|amd64|ppc64le|cross-linux-[a-z0-9]{1,10})$")
NVIDIAS_REPOSITORIES = "developer.download.nvidia.com/compute/cuda/repos"
# Its own, a mirror of it, and the one that a package of NVIDIA's put on the disk.
_NVIDIAS = re.compile(
    r"/compute/cuda/repos/(?P<release>[a-z]+[0-9]+)\b|(?:cuda-repo|nvidia-driver-local-repo)-(?P<local>[a-z]+[0-9]+)-"
)
_PROMPT = re.compile(r"(?:.{0,80}[$#%>\u276f\u279c] ?|\+ )(?:sudo (?:-\w )*)?(?P<command>[\w./-]+(?: .*)?)$")


def is_relevant(package: str) -> bool:
    """Whether a package is one that a driver plan asks for."""
    return bool(_RELEVANT.search(package))


def is_whole_list(names: Iterable[str]) -> bool:
    """Whether a list of packages is that of a machine, not what a grep left of it."""
    found = set(names)
    return any(found >= witnesses for witnesses in _WITNESSES)


def without_credentials(url: str) -> str:
    """An address without the user and password in it."""
    return _CREDENTIALS.sub("", url)


def origin(url: str, suite: str = "") -> str:
    """Whose repository a URL is: `Debian`, `Ubuntu` and NVIDIA's of any mirror, else the address without architecture.

    Suites whose packages are of another release are told with it: `Debian trixie-backports`.
    """
    place = re.sub(r"^[a-z+]{2,20}:/{0,3}", "", without_credentials(url)).rstrip("/")
    if found := _NVIDIAS.search(place):
        return f"{NVIDIAS_REPOSITORIES}/{found['release'] or found['local']}"
    host, _, path = place.partition("/")
    if "launchpad" not in host:
        for word, name in (("debian", "Debian"), ("ubuntu", "Ubuntu")):
            if re.fullmatch(rf"(?:[\w./-]*/)?{word}(?:-security|-ports|-archive)?", path) or (
                not path and host in (f"security.{word}.org", f"deb.{word}.org")
            ):
                return f"{name} {suite}" if _SUITE_AWAY.search(suite) else name
    return _ARCHITECTURE.sub("", re.sub(r"/ubuntu$", "", place) if "launchpad" in host else place)


def commands(text: str) -> tuple[str, ...]:
    """The commands behind prompts, in a text that is a terminal's session."""
    return tuple(found["command"] for line in cells.lines(text) if (found := _PROMPT.fullmatch(line.rstrip())))


def is_prompt(line: str) -> bool:
    """Whether a line of a session is a prompt with a command."""
    return bool(_PROMPT.fullmatch(line.rstrip()))


def asked(text: str, pattern: str) -> str | None:
    """The first command of a session that begins so, None where there is none."""
    return next((command for command in commands(text) if re.match(pattern, command)), None)


def has_filter(command: str | None) -> bool:
    """Whether a command filters what it lists."""
    return bool(command and re.search(r"\|\s*(?:[ef]?grep|rg|ag|awk|sed|head|tail)\b", command))


def answer(*names: str, partial: Iterable[str] = (), **values: object) -> Reading:
    """A reading that answers these questions of software, with these values."""
    told = {"answered": frozenset(names), "is_partial": frozenset(partial), **values}
    software = Software(**told)  # type: ignore[arg-type]  # parsers name fields and give their types
    return Reading(software=software)
