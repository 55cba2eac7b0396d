"""One GPU out of what several sources say of it, and whose word counts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, fields, replace
from enum import IntEnum
from typing import Any, TypeVar

from rigwright.hardware.models import architecture, find
from rigwright.hardware.reading import Reading
from rigwright.hardware.values import Gpu, GpuState, PcieLink, Problem

T = TypeVar("T")


class Precedence(IntEnum):
    """Whose word counts for a field of a GPU, and for the machine: less is more."""

    ERRORS = 0  # what nvidia-smi prints in place of rows
    XML = 1  # nvidia-smi -q -x
    LONG_TEXT = 2  # nvidia-smi -q
    CSV = 3  # nvidia-smi --query-gpu
    LIST = 4  # nvidia-smi -L
    TABLE = 5  # nvidia-smi
    MATRIX = 6  # nvidia-smi topo -m and -p2p, rocm-smi --json, system_profiler
    NVLINK = 7  # nvidia-smi nvlink -s, rocm-smi as text
    SYSFS = 8
    LSPCI = 9
    KERNEL = 10  # its log, the version of its module
    MACHINE = 11  # CPUs, NUMA nodes, memory, system


# These print the memory of every GPU: where one has none, there is something wrong.
PRINT_MEMORY = (Precedence.XML, Precedence.LONG_TEXT, Precedence.CSV, Precedence.TABLE)
_WORST: tuple[GpuState, ...] = ("lost", "error", "ok")
_PARTS = ("pcie", "slot", "power")
# Not the name: each tool has its own way to write it.
_COMPARED = ("uuid", "pci_address", "pci_id", "vram_bytes", "compute_capability", "numa_node", "mig")


@dataclass(frozen=True)
class Source:
    """One file and what it says."""

    name: str
    reading: Reading
    precedence: Precedence
    under_load: bool = False


def first(values: Iterable[T | None]) -> T | None:
    """The first value that is known."""
    return next((value for value in values if value is not None), None)


class Record:
    """What each source says of one GPU."""

    def __init__(self) -> None:
        self.said: list[tuple[Gpu, Source]] = []

    def known(self, field: str) -> Any:
        """The first value of a field, None where nobody knows it."""
        return first(getattr(gpu, field) for gpu, _ in self.said)

    def is_same(self, gpu: Gpu, masked: Set[str]) -> bool | None:
        """True or False where a name for the GPU decides, None where both have none in common.

        `masked` holds the UUIDs that a recording gave to several GPUs: they tell none from another.
        """
        mine = self.known("uuid")
        if gpu.uuid and mine and not {gpu.uuid, mine} & masked:
            return bool(gpu.uuid == mine)
        for field in ("pci_address", "index"):
            if (theirs := getattr(gpu, field)) is not None and (own := self.known(field)) is not None:
                return bool(theirs == own)
        return None

    def gpu(self) -> Gpu:
        """The GPU, each field by the first source that knows it, and by the catalogue where none does."""
        self.said.sort(key=lambda pair: (pair[1].under_load, pair[1].precedence))
        at_rest = [gpu for gpu, source in self.said if not source.under_load] or [gpu for gpu, _ in self.said]
        values = {field.name: self.known(field.name) for field in fields(Gpu)}
        values |= {name: _part([getattr(gpu, name) for gpu in at_rest]) for name in _PARTS}
        values["pcie"] = self._link(values["pcie"])
        states = [gpu.state for gpu, _ in self.said]
        values["state"] = first(state for state in _WORST if state in states)
        values["mig_devices"] = max((gpu.mig_devices for gpu, _ in self.said), key=len)
        names = [(gpu.name, gpu.is_name_cut) for gpu, _ in self.said if gpu.name]
        names.sort(key=lambda pair: pair[1])  # the plain table cuts names, another source may have the whole one
        values["name"], values["is_name_cut"] = names[0] if names else (None, False)
        has_memory = any(source.precedence in PRINT_MEMORY for _, source in self.said)
        return _from_catalogue(Gpu(**values), knows_memory=has_memory)

    def disagreements(self, masked: Set[str]) -> Iterator[Problem]:
        """Where a later source says something else than the first."""
        label = self.gpu().label
        for name in _COMPARED:
            said = [(getattr(gpu, name), source.name) for gpu, source in self.said if getattr(gpu, name) is not None]
            other = next(
                ((value, where) for value, where in said[1:] if not _is_as_said(name, value, said[0][0])), None
            )
            if other and not (name == "uuid" and {said[0][0], other[0]} & masked):
                what = f"{said[0][1]} says {name} {said[0][0]}, {other[1]} says {other[0]}; the first is used"
                do = "record the machine again in one go: the outputs are of different times or machines"
                yield Problem("sources_disagree", label, what, do)

    def _link(self, at_rest: PcieLink) -> PcieLink:
        """The link with its current state under load; without one, the fastest that was seen of one tool."""
        telling = [(gpu.pcie, source) for gpu, source in self.said if gpu.pcie.gen_current]
        best = min((source.precedence for _, source in telling), default=None)
        loaded = [pcie for pcie, source in telling if source.under_load]
        seen = loaded or [pcie for pcie, source in telling if source.precedence == best]
        return replace(
            at_rest,
            gen_current=max((pcie.gen_current or 0 for pcie in seen), default=at_rest.gen_current),
            width_current=max((pcie.width_current or 0 for pcie in seen), default=0) or at_rest.width_current,
        )


def _is_as_said(field: str, value: Any, said: Any) -> bool:
    """Whether two tools say the same: of memory one may leave out what is reserved (amd-smi: 30576 of 32624 MB)."""
    return value == said or (field == "vram_bytes" and 0.9 < value / said < 1 / 0.9)


def _part(said: list[Any]) -> Any:
    """A value of several fields, each by the first source that knows it."""
    return replace(
        said[0], **{field.name: first(getattr(part, field.name) for part in said) for field in fields(said[0])}
    )


def _from_catalogue(gpu: Gpu, *, knows_memory: bool) -> Gpu:
    """What the model of a card says where no source does; not its memory, where a driver prints none for it."""
    model = None if gpu.is_name_cut and not gpu.pci_id else find(gpu.name, gpu.pci_id, gpu.vram_bytes)
    kind, capability = architecture(gpu.pci_id) if gpu.pci_id else (None, None)
    if model:
        kind, capability = model.architecture or kind, model.compute_capability or capability
    return replace(
        gpu,
        name=gpu.name or (model.name if model else None),
        architecture=gpu.architecture or kind,
        compute_capability=gpu.compute_capability or capability,
        ram_share=model.ram_share if model else None,
        vram_bytes=gpu.vram_bytes or (model.vram_bytes if model and not knows_memory else None),
    )
