"""What goes with what, as catalogue/drivers.yml has it: architectures, branches, kernels, toolkits, systems."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from rigwright.catalogue import load
from rigwright.hardware.software import Flavour
from rigwright.hardware.values import Hardware
from rigwright.plan.driver.values import Effect, Step

Version = tuple[int, ...]
Family = Literal["ubuntu", "debian", "el", "fedora"]


def version_of(text: str) -> Version:
    """`580.126.09` as numbers, past an epoch and before a revision: (580, 126, 9)."""
    found = re.match(r"(?:\d+:)?(\d{1,9}(?:\.\d{1,9})*)", text.strip())
    return tuple(int(part) for part in found[1].split(".")) if found else ()


def release_of(kernel: str) -> Version:
    """The numbers of a kernel's release, the build's too: `6.8.0-107-generic` comes after `6.8.0-90-generic`."""
    # `5.14.0-570.el9` comes before `5.14.0-570.7.1.el9_6`: what follows on the letters is no number of the build.
    return tuple(int(number) for number in re.findall(r"\d{1,9}", re.split(r"[a-zA-Z]", kernel)[0]))


def plain(version: str) -> str:
    """`580.95.05` of `3:580.95.05-0ubuntu1`, as NVIDIA writes it."""
    found = re.match(r"(?:\d+:)?(\d+(?:\.\d+)*)", version.strip())
    return found[1] if found else version


def branch_of(version: str | None) -> int | None:
    """The branch of a driver's version, None for what is none."""
    numbers = version_of(version or "")
    return numbers[0] if len(numbers) > 1 and 300 <= numbers[0] < 1000 else None


@dataclass(frozen=True)
class Limits:
    """Which drivers can drive a GPU: branches from `first` to `last` (None: still), and the flavours of its modules."""

    first: int
    last: int | None
    flavours: frozenset[Flavour]


@dataclass(frozen=True)
class Branch:
    """A branch of the driver: how long it lives, and the newest version that was seen."""

    number: int
    kind: str
    end: str
    newest: str


@dataclass(frozen=True)
class Toolkit:
    """A version of CUDA: capabilities that it makes code for, the least branch of the driver, the one it came with."""

    version: str
    targets: frozenset[int]
    driver: int
    bundled: int


@dataclass(frozen=True)
class System:
    """A release of a distribution."""

    key: str
    title: str
    family: Family
    version: str
    repository: str
    row: Mapping[str, Any]

    @property
    def prebuilt(self) -> tuple[int, ...]:
        """Branches of which the distribution has modules that it compiled and signed."""
        return tuple(self.row.get("prebuilt", ()))

    @property
    def distro(self) -> Mapping[str, Any]:
        """The driver of the distribution's own packages that dkms compiles; empty where it has none."""
        found: Mapping[str, Any] = self.row.get("distro", {})
        return found

    @property
    def glibc(self) -> str:
        """That of the release."""
        return str(self.row["glibc"])

    @property
    def distro_cuda(self) -> str | None:
        """The toolkit of the distribution's own packages."""
        found: str | None = self.row.get("distro_cuda")
        return found

    @property
    def seen_branches(self) -> tuple[int, ...]:
        """What NVIDIA's repository for this release was seen to offer; () where nobody looked."""
        return tuple(self.row.get("offers", {}).get("branches", ()))


def _data() -> dict[str, Any]:
    return load("drivers")


def limits(architecture: str, capability: str | None) -> Limits | None:
    """Of a GPU's architecture; None for one without a row."""
    row = _data()["architectures"].get(architecture)
    if not row:
        return None
    first = _data()["capabilities"].get(capability, {}).get("first", row["first"])
    return Limits(first, row["last"], frozenset(row["modules"]))


def old_architecture(pci_id: str | None) -> str | None:
    """What an id below Maxwell's is: `Kepler`, or `older than Kepler`."""
    found = re.fullmatch(r"10de:([0-9a-f]{4})", (pci_id or "").lower())
    if not found or found[1] >= "1340":
        return None
    low, high = _data()["kepler_ids"]
    return "Kepler" if low <= found[1] <= high or found[1] >= "1180" else "older than Kepler"


def architecture_of_name(name: str) -> str | None:
    """Of the chip or the series that a name holds: `GA102 [GeForce RTX 3090]`; None where it holds none."""
    found = (row["architecture"] for row in _data()["names"] if re.search(row["pattern"], name[:200]))
    return next(found, None)


@cache
def branches() -> dict[int, Branch]:
    """All that are known, by number."""
    rows = _data()["branches"].items()
    return {number: Branch(number, row["kind"], row["eol"], str(row["newest"])) for number, row in rows}


def preferred_branches() -> Sequence[int]:
    """In the order in which they are tried."""
    found: list[int] = _data()["preferred"]
    return found


def has_flavour(branch: int, flavour: Flavour) -> bool:
    """Whether a branch has such modules, ready for every card that they drive."""
    if flavour == "open":
        return branch >= 515
    return branch <= int(_data()["proprietary_last"]["branch"])


def default_flavour(branch: int) -> Flavour:
    """What NVIDIA installs by default where a card takes both."""
    return "open" if branch >= int(_data()["open_first"]["branch"]) else "proprietary"


def kernel_problem(kernel: str, version: str, flavour: Flavour) -> str | None:
    """Why modules of this version do not compile for a kernel; None where nothing is known against it."""
    running, driver = version_of(kernel)[:3], version_of(version)
    for row in _data()["kernels"]:
        least = version_of(row["kernel"])
        is_of_series = not row.get("in_series") or running[:2] == least[:2]
        if not is_of_series or running < least or flavour not in row["flavours"]:
            continue
        if driver[:1] and driver[0] in row.get("never", ()):
            return f"{row['because']} in Linux {row['kernel']}, which branch {driver[0]} never learned"
        if driver < version_of(str(row["driver"])):
            return f"{row['because']} in Linux {row['kernel']}, which {flavour} modules know from {row['driver']} on"
    return None


@cache
def toolkits() -> dict[str, Toolkit]:
    """All that are known, by version."""
    return {
        version: Toolkit(version, frozenset(row["targets"]), row["driver"], row["bundled"])
        for version, row in _data()["cuda"].items()
    }


def preferred_cuda() -> Sequence[str]:
    """In the order in which they are tried."""
    found: list[str] = _data()["preferred_cuda"]
    return found


def least_cuda_for_glibc(glibc: str) -> str | None:
    """The first toolkit whose headers go with such a glibc; None where every one does."""
    row = _data()["glibc"]
    return row["cuda"] if version_of(glibc) >= version_of(row["version"]) else None


def system_of(hardware: Hardware) -> System | None:
    """The release that a machine runs; None for one that is not known."""
    found, version = hardware.os_id.lower(), hardware.os_version
    ancestor = _data()["like"].get(found, found)
    major = version.partition(".")[0]
    for key in (f"{ancestor}-{version}", f"{ancestor}-{major}"):
        if row := _data()["systems"].get(key):
            title = row["title"] if ancestor == found else f"{hardware.os_id} {version}"
            return System(key, title, row["family"], version, row["repository"], row)
    return None


def system_titles() -> list[str]:
    """The releases that are known, for a message."""
    return [row["title"] for row in _data()["systems"].values()]


@dataclass(frozen=True)
class FailureRow:
    """What a known sentence makes of a plan."""

    effect: Effect
    do: str
    steps: tuple[Step, ...] = ()


def failure_row(code: str) -> FailureRow | None:
    """Of a failure by its code; None for one that only says what a plan sees itself."""
    row = _data()["failures"].get(code)
    if not row:
        return None
    steps = (Step(row["step"], row["do"]),) if "step" in row else ()
    return FailureRow(row["effect"], row["do"], steps)


def engine_driver(engine: str) -> int | None:
    """The least branch that an engine's release asks for."""
    row = _data()["engines"].get(engine)
    return int(row["driver"]) if row else None


def size(name: str, key: str) -> int:
    """`download` or `disk` of a set of packages, in bytes."""
    return int(_data()["sizes"][name].get(key, 0))


def needs_newer_dkms(system: System, version: str, dkms: str) -> str | None:
    """The dkms that NVIDIA's packages of this version want, where the release's own is older."""
    row = _data()["nvidia_dkms"]
    own = dkms or str(system.row.get("dkms", ""))
    if version_of(version) >= version_of(row["driver"]) and own and version_of(own) < version_of(row["dkms"]):
        return str(row["dkms"])
    return None


def is_signed_by_redhat(hardware: Hardware) -> bool:
    """Whether Red Hat has signed modules for this release."""
    row = _data()["redhat_signed"]
    return hardware.os_id == row["system"] and version_of(hardware.os_version) >= version_of(row["version"])
