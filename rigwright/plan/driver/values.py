"""What is wished of a driver, and the plan for it, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rigwright.hardware.software import Flavour
from rigwright.hardware.values import Problem

Verdict = Literal["ok", "install", "repair", "reboot", "refuse"]
Source = Literal["nvidia", "distro", "redhat", "factory", "host", "none"]
Effect = Literal["refuse", "repair", "reboot", "note"]
# The least and the most clock, in MHz.
Clocks = tuple[int, int]
CudaSource = Literal["nvidia", "distro", "pypi", "none"]


@dataclass(frozen=True)
class Need:
    """What an engine asks of the driver, and of the toolkit that builds it.

    driver: the least branch. is_built: it is compiled on this rig, so that it wants a toolkit. cuda: the least toolkit.
    """

    engine: str
    driver: int | None = None
    is_built: bool = False
    cuda: str | None = None


@dataclass(frozen=True)
class DriverWish:
    """What an inventory says; None leaves it to the plan.

    has_hold: packages stay until the next deploy. replaces_runfile: an installation by NVIDIA's own installer may go.
    power_watts, clocks_mhz: pairs of a GPU (UUID, PCI address, name, `*` for the others) and its value, None for a GPU
    that is left alone.
    """

    branch: int | None = None
    modules: Flavour | None = None
    source: Literal["nvidia", "distro"] | None = None
    has_hold: bool = True
    replaces_runfile: bool = False
    cuda_source: CudaSource | None = None
    cuda_version: str | None = None
    needs: tuple[Need, ...] = ()
    power_watts: tuple[tuple[str, int | None], ...] = ()
    clocks_mhz: tuple[tuple[str, Clocks | None], ...] = ()


ANYTHING = DriverWish()


@dataclass(frozen=True)
class Step:
    """One thing to be done, in its order: `kind` is stable, `what` is for people, `packages` those that come."""

    kind: str
    what: str
    packages: tuple[str, ...] = ()


@dataclass(frozen=True)
class Defect:
    """One, what it makes of the plan, and the step that mends it."""

    problem: Problem
    effect: Effect
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True)
class Driver:
    """The driver that the rig shall have. `packages` are those that have to come; none where it is there."""

    branch: int | None = None
    modules: Flavour | Literal["none"] = "none"
    source: Source = "none"
    version: str | None = None
    packages: tuple[str, ...] = ()
    is_built: bool = False


@dataclass(frozen=True)
class Cuda:
    """The toolkit that builds want; `none` where no engine is built here. `targets` are the rig's: `86`."""

    version: str | None = None
    source: CudaSource = "none"
    packages: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    path: str | None = None


@dataclass(frozen=True)
class PowerSetting:
    """The power limit and the clocks that a GPU shall have; None leaves that one as it is.

    gpu: how people call it. uuid: None while no driver tells it. current_watts: the limit that it has now.
    """

    gpu: str
    uuid: str | None = None
    pci_address: str | None = None
    watts: int | None = None
    clocks_mhz: Clocks | None = None
    current_watts: float | None = None

    @property
    def is_set(self) -> bool:
        """Whether the limit is there, within a watt; nobody tells of locked clocks."""
        return self.watts is None or (self.current_watts is not None and abs(self.current_watts - self.watts) <= 1)


@dataclass(frozen=True)
class DriverPlan:
    """What a deploy would do for the driver of a rig.

    verdict: `ok` nothing; `install`; `repair` what stands half done or misled; `reboot` that alone; `refuse`.
    problems: what the owner should know; those whose codes are in `refused` stop the deploy before it touches anything.
    assumed: what nobody asked the machine, and what the plan takes for granted instead.
    """

    verdict: Verdict
    driver: Driver = Driver()
    cuda: Cuda = Cuda()
    reboot: bool = False
    reboot_because: str = ""
    steps: tuple[Step, ...] = ()
    problems: tuple[Problem, ...] = ()
    refused: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    power: tuple[PowerSetting, ...] = ()
    download_bytes: int = 0
    disk_bytes: int = 0
    reasons: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
