"""`rpm -qa`, `dnf list`, `dnf repoquery`, `dnf module list`, `dnf versionlock list`: packages, offers, streams, holds.

Source: printed by rpm 4.16 to 4.19, dnf 4.14 and 5.2 as public issues of yum-packaging-precompiled-kmod show it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from rigwright.hardware.reading import Reading
from rigwright.hardware.software import Offer, Package
from rigwright.hardware.sources import cells, software_text

_ARCH = r"(?:x86_64|noarch|aarch64|i[3-6]86|ppc64le|s390x|\(none\))"
_EVR = r"(?:(?P<epoch>[0-9]+):)?(?P<version>[\w.+~^]+)-(?P<release>[\w.+~^]+)"
_NEVRA = re.compile(rf"\s*(?P<name>[A-Za-z0-9][\w.+-]*?)-{_EVR}\.{_ARCH}(?:\s.*)?")
_ROW = re.compile(rf"\s*(?P<name>[A-Za-z0-9][\w.+-]*)\.{_ARCH}\s+{_EVR}\s+(?P<repo>@{{0,2}}[\w.:+-]+)\s*")
_NAME_ALONE = re.compile(rf"[A-Za-z0-9][\w.+-]*\.{_ARCH}(?:\s+{_EVR})?")
_SECTION = re.compile(r"\s*(?P<what>Installed|Available|Upgraded|Upgrades|Obsoleting) [Pp]ackages\s*")
_STREAM = re.compile(
    r"(?P<name>nvidia-[\w-]+)\s+(?P<stream>[\w.-]+)(?P<marks>(?: ?\[[dexia]\]){0,3})\s+(?:\S.{0,60}\b)?default\b.*"
)
_REPOSITORY = re.compile(r"[\w.:+-]+")
# nvidia-driver-3:580.95.05-1.el9.* · of dnf 5: `Package name: nvidia-driver`
_LOCKED = re.compile(r"(?P<name>[A-Za-z0-9][\w.+-]*?)-(?:[0-9]+:)?[\w.+~^]+-[\w.+~^]+\.\*")
_LOCKED_5 = re.compile(r"Package name: (?P<name>\S+)")
_NVIDIAS = re.compile(
    r"(?:rigwright-)?cuda-(?P<release>(?:rhel|fedora|sles|opensuse|amzn|cm|azl|kylin)[0-9]+)(?:-\w+)?"
)
_KERNELS = ("kernel", "kernel-core", "kernel-uek-core", "kernel-rt-core")


def read(text: str) -> Reading:
    """Packages with the repository that they came from, what repositories offer, and locks.

    A stream of a module is the offer `module:nvidia-driver` with the stream as its version; one that is enabled is a
    package of that name.
    """
    lines = _unwrapped(cells.lines(text))
    installed, offers = _listed(lines)
    names = {package.name for package in installed}
    streams = list(_streams(lines))
    enabled = [Package(one.name, one.version, origin=one.origin) for one, is_enabled in streams if is_enabled]
    packages = [one for one in installed if software_text.is_relevant(one.name)] + enabled
    offered = [one for one in offers if software_text.is_relevant(one.name)] + [one for one, _ in streams]
    found = (_LOCKED.fullmatch(line.strip()) or _LOCKED_5.fullmatch(line.strip()) for line in lines)
    locks = [match["name"] for match in found if match]
    lists = [
        name for name, is_there in (("packages", names or enabled), ("offers", offers or streams), ("holds", locks))
        if is_there
    ]  # fmt: skip
    if not lists:
        return Reading()
    return software_text.answer(
        *lists,
        partial=[name for name in ("packages", "offers") if name in lists and not software_text.is_whole_list(names)],
        packages=tuple(dict.fromkeys(packages)),
        offers=tuple(dict.fromkeys(offered)),
        holds=tuple(dict.fromkeys(locks)),
        kernels=tuple(dict.fromkeys(_kernels(text, installed))),
        glibc=next((re.split("[-:]", one.version)[0] for one in packages if one.name == "glibc"), None),
    )


def _unwrapped(lines: list[str]) -> list[str]:
    """The lines, with rows joined that dnf broke on a narrow terminal."""
    joined: list[str] = []
    for line in lines:
        if joined and _NAME_ALONE.fullmatch(joined[-1].strip()) and line[:1] in (" ", "\t") and line.strip():
            joined[-1] += line
        else:
            joined.append(line)
    return joined


def _listed(lines: list[str]) -> tuple[list[Package], list[Offer]]:
    packages, offers = [], []
    section = ""
    for line in lines:
        if found := _SECTION.fullmatch(line):
            section = found["what"]
        elif row := _ROW.fullmatch(line):
            repository = origin(row["repo"])
            if row["repo"].startswith("@") or section == "Installed":
                packages.append(Package(row["name"], _version(row), origin=repository))
            else:
                offers.append(Offer(row["name"], _version(row), repository))
        elif row := _NEVRA.fullmatch(line):
            # rpm names no epoch, dnf's repoquery names each: that asks repositories.
            if row["epoch"] is None:
                packages.append(Package(row["name"], _version(row)))
            else:
                offers.append(Offer(row["name"], _version(row)))
    return packages, offers


def origin(repository: str) -> str:
    """The repository of a package; NVIDIA's own by its address, as apt has it: `cuda-rhel9-x86_64` is its name."""
    found = _NVIDIAS.fullmatch(repository.lstrip("@"))
    return f"{software_text.NVIDIAS_REPOSITORIES}/{found['release']}" if found else repository.lstrip("@")


def _version(row: re.Match[str]) -> str:
    epoch = f"{row['epoch']}:" if row["epoch"] not in (None, "0") else ""
    return f"{epoch}{row['version']}-{row['release']}"


def _kernels(text: str, installed: list[Package]) -> Iterator[str]:
    """The releases of installed kernels, which end in the architecture."""
    arch = next((arch for arch in ("aarch64", "ppc64le", "x86_64") if arch in text), "")
    for package in installed:
        if package.name in _KERNELS and arch:
            yield f"{package.version.partition(':')[2] or package.version}.{arch}"


def _streams(lines: list[str]) -> Iterator[tuple[Offer, bool]]:
    """The streams of NVIDIA's modules below the name of their repository, and whether they are enabled."""
    repository = ""
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        if re.match(r"\s*Name\s+Stream\s+Profiles", after) and _REPOSITORY.fullmatch(line.strip()):
            repository = line.strip()
        elif found := _STREAM.fullmatch(line.strip()):
            yield Offer(f"module:{found['name']}", found["stream"], origin(repository)), "[e]" in found["marks"]
