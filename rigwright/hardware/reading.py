"""What one source says of a machine. Every parser in `sources` turns text into a Reading and never raises."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from rigwright.hardware.software import NOBODY_ASKED, Software, known_answers
from rigwright.hardware.values import Cpu, Gpu, Nic, NumaNode, Problem, Vendor

Pair = tuple[int, int]


@dataclass(frozen=True)
class Reading:
    """What one source says; what it does not say is empty or None.

    gpus: what it says of each GPU, only the fields that it names. A GPU is never invented: it takes a row of its own.
    kinds, p2p: by pair of GPU indexes `(i, j)`, i < j. xgmi is told as kind `XGMI`.
    weights: how far apart two GPUs are, where a tool weighs it (rocm-smi: 15 for a hop over XGMI, 40 over PCIe).
    nvlinks: per GPU index the speed of each active link, GB/s one direction; `()` where the source says there is none.
    nvlinks_down: per GPU index the numbers of links that exist and are inactive.
    is_driver_list: the source is a driver's list of its GPUs (nvidia-smi, rocm-smi): its GPUs are those that count.
    is_whole: False where the source was cut, or an error stands in place of a list.
    is_bus: the source lists a PCI bus: what is not in it is not in the machine.
    is_quiet: the source was understood and has nothing to tell: a kernel log without an event of a GPU.
    unread: the parts that were seen and not understood: `network adapters`.
    attached: how many GPUs the driver says it has, where it lists fewer.
    software: packages, repositories, modules and what else stands around the driver.
    """

    gpus: tuple[Gpu, ...] = ()
    kinds: Mapping[Pair, str] = field(default_factory=dict)
    p2p: Mapping[Pair, str] = field(default_factory=dict)
    weights: Mapping[Pair, int] = field(default_factory=dict)
    nvlinks: Mapping[int, tuple[float, ...]] = field(default_factory=dict)
    nvlinks_down: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    nics: tuple[Nic, ...] = ()
    numa: tuple[NumaNode, ...] = ()
    cpu: Cpu | None = None
    ram_bytes: int | None = None
    os: Mapping[str, str] = field(default_factory=dict)
    vendor: Vendor | None = None
    driver_version: str | None = None
    kernel_module_version: str | None = None
    chip: str | None = None
    chip_gpu_cores: int | None = None
    is_driver_list: bool = False
    is_whole: bool = True
    is_bus: bool = False
    is_quiet: bool = False
    unread: tuple[str, ...] = ()
    attached: int | None = None
    problems: tuple[Problem, ...] = ()
    software: Software = NOBODY_ASKED


def is_empty(reading: Reading) -> bool:
    """Whether nothing was understood."""
    return replace(reading, is_driver_list=False, is_whole=True, vendor=None, unread=()) == Reading()


def known_values(reading: Reading) -> int:
    """How much a reading tells: values of GPUs, links, adapters, nodes, problems; less what it could not read."""
    gpus = sum(_known(gpu) for gpu in reading.gpus)
    nics = sum(3 + len(nic.kinds) for nic in reading.nics)
    links = 3 * len(reading.kinds) + len(reading.p2p) + len(reading.weights) + len(reading.nvlinks)
    rest = (reading.cpu, reading.ram_bytes, reading.driver_version, reading.kernel_module_version, reading.chip)
    others = (
        len(reading.numa)
        + len(reading.os)
        + len(reading.problems)
        + known_answers(reading.software)
        + sum(value is not None for value in rest)
    )
    whole = 10 if reading.is_driver_list and reading.is_whole and reading.gpus else 0
    return gpus + nics + links + others + whole + reading.is_bus + reading.is_quiet - 2 * len(reading.unread)


def _known(gpu: Gpu) -> int:
    """How many values of a GPU are known; its links and limits count by theirs."""
    empty = Gpu()
    values = [(value, getattr(empty, name)) for name, value in vars(gpu).items()]
    parts = [(value, part) for own, known in values if hasattr(own, "__dict__") for value, part in _pairs(own, known)]
    return sum(value != known for value, known in (*values, *parts))


def _pairs(own: object, known: object) -> list[tuple[object, object]]:
    return [(value, getattr(known, name)) for name, value in vars(own).items()]


Parser = Callable[[str], Reading]
