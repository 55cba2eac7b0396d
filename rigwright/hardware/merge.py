"""One machine from the readings of its sources.

Each field of a GPU comes from the first source that knows it, in the order of `Precedence`, and at last from the
catalogue. What a later source says differently becomes a Problem. Two exceptions: the current PCIe link is the one
under load where that was recorded, and a GPU that any source calls lost is lost.

GPUs of two sources are one GPU when they share the UUID, else the PCI address, else the index. One that failed, and
whose address alone is told, is the GPU that the matrix still counts and no list names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from rigwright.hardware.reading import Pair, Reading, is_empty
from rigwright.hardware.software import Software, joined
from rigwright.hardware.sources import software_text
from rigwright.hardware.sources.lscpu import cpu_list
from rigwright.hardware.statements import Record, Source, first
from rigwright.hardware.values import Cpu, Gpu, Hardware, Link, Nic, NumaNode, Problem, Vendor

# A machine is that of its strongest vendor: the graphics part of a CPU beside a card is no GPU to serve from.
VENDORS: tuple[Vendor, ...] = ("NVIDIA", "AMD", "Apple", "Intel")
# What the driver was asked and not there to answer: then the PCI bus counts.
NOT_ASKED = {"driver_missing"}
_FAILED = ("lost", "error")


def merge(sources: Sequence[Source]) -> Hardware:
    """The machine that the sources describe together, without the findings that need the whole picture."""
    ranked = sorted(sources, key=lambda source: (source.under_load, source.precedence, source.name))
    merger = _Merger(ranked)
    cpus = [source.reading.cpu for source in ranked if source.reading.cpu]
    nodes = _numa(ranked)
    os = {key: value for source in reversed(ranked) for key, value in source.reading.os.items()}
    return Hardware(
        os_id=os.get("ID", "unknown"),
        os_version=os.get("VERSION_ID", ""),
        os_codename=os.get("VERSION_CODENAME", ""),
        kernel=os.get("KERNEL", ""),
        architecture=os.get("ARCHITECTURE", ""),
        cpu=cpus[0] if cpus else Cpu(),
        ram_bytes=first(source.reading.ram_bytes for source in ranked) or 0,
        vendor=merger.vendor,
        gpu_count=merger.gpu_count(),
        gpus=tuple(_with_node(gpu, nodes) for gpu in merger.gpus()),
        links=merger.links(),
        nvlink_gbytes_per_second={
            index: speeds for source in reversed(ranked) for index, speeds in source.reading.nvlinks.items()
        },
        nics=_nics(ranked),
        numa=nodes,
        driver_version=first(source.reading.driver_version for source in ranked),
        chip=first(source.reading.chip for source in ranked),
        chip_gpu_cores=first(source.reading.chip_gpu_cores for source in ranked),
        sources=tuple(sorted({source.name for source in sources if not is_empty(source.reading)})),
        software=_by_address(joined(tuple(source.reading.software for source in ranked))),
        problems=(*(said for source in ranked for said in source.reading.problems), *merger.disagreements),
    )


def _by_address(software: Software) -> Software:
    """NVIDIA's repository by its address, whatever this machine calls it: dnf lists packages by that name alone."""
    addresses = {one.name: software_text.origin(one.url) for one in software.repositories if one.name and one.url}
    mine = {name: at for name, at in addresses.items() if at.startswith(software_text.NVIDIAS_REPOSITORIES)}
    if not mine:
        return software
    return replace(
        software,
        packages=tuple(replace(one, origin=mine.get(one.origin, one.origin)) for one in software.packages),
        offers=tuple(replace(one, origin=mine.get(one.origin, one.origin)) for one in software.offers),
    )


class _Merger:
    def __init__(self, ranked: Sequence[Source]) -> None:
        self.ranked = ranked
        self.vendor = _vendor(ranked)
        self.disagreements: list[Problem] = []
        self.drivers = [source for source in ranked if source.reading.is_driver_list]
        self.has_bus = any(source.reading.is_bus for source in ranked)
        self.is_listed = any(source.reading.is_whole and source.reading.gpus for source in self.drivers)
        self.records: list[Record] = []
        # Identifiers that a recording masked are the same for all GPUs: they tell none from another.
        self.masked = {uuid for source in ranked for uuid, count in _uuids(source.reading) if count > 1}
        # Per source (by identity): which record the GPU at a place of its list became.
        self.places: dict[int, dict[int, Record]] = {}
        self.driver_records: list[Record] = []
        for source in sorted(self.drivers, key=_completeness):
            self._add(source)
        self.driver_records = list(self.records)
        for source in ranked:
            if not source.reading.is_driver_list:
                self._add(source)
        self.records.sort(key=_place)

    def gpu_count(self) -> int | None:
        """The longest whole list of a driver; None where one was asked and gave none; else what is on the bus."""
        asked = [source for source in self.drivers if source.reading.gpus or _codes(source) - NOT_ASKED]
        whole = [self._size(source) for source in asked if source.reading.is_whole and source.reading.gpus]
        if asked:
            return max(whole) if whole else None
        return len(self.records) if self.has_bus else None

    def _size(self, source: Source) -> int:
        """How many GPUs a list has: rows that turned out to be one GPU are one."""
        places = self.places[id(source)]
        doubles = len(places) - len({id(record) for record in places.values()})
        return sum(map(self._counts, source.reading.gpus)) - doubles

    def gpus(self) -> tuple[Gpu, ...]:
        found = []
        for record in self.records:
            gpu = record.gpu()
            self.disagreements += record.disagreements(self.masked)
            if not self.driver_records:
                gpu = replace(gpu, index=self._index(record))
            elif gpu.state is None and record in self.driver_records:
                gpu = replace(gpu, state="ok")
            found.append(gpu)
        return tuple(found)

    def links(self) -> tuple[Link, ...]:
        kinds: dict[Pair, str] = {}
        p2p: dict[Pair, str] = {}
        weights: dict[Pair, int] = {}
        for source in self.ranked:
            for pair, kind in source.reading.kinds.items():
                if (known := self._indexes(source, pair)) is not None:
                    kinds.setdefault(known, kind)
            for pair, status in source.reading.p2p.items():
                p2p.setdefault(pair, status)
            weights = {**source.reading.weights, **weights}
        pairs = sorted(kinds.keys() | p2p.keys() | weights.keys())
        return tuple(Link(*pair, kinds.get(pair), p2p.get(pair), weights.get(pair)) for pair in pairs)

    def _indexes(self, source: Source, pair: Pair) -> Pair | None:
        """A pair of indexes; a source that knows no indexes tells positions in its own list."""
        if source.reading.is_driver_list:
            return pair
        records = [self.places[id(source)].get(place) for place in pair]
        a, b = (self._index(record) for record in records)
        return (min(a, b), max(a, b)) if a is not None and b is not None else None

    def _index(self, record: Record | None) -> int | None:
        """The index of a GPU; without a driver it is its place in PCI order, as CUDA_DEVICE_ORDER=PCI_BUS_ID counts."""
        if record is None or self.driver_records or not self.has_bus:
            return record.known("index") if record else None
        return self.records.index(record)

    def _counts(self, gpu: Gpu) -> bool:
        return gpu.vendor in (None, self.vendor)

    def _add(self, source: Source) -> None:
        """Put each GPU of a source to the record of the same GPU, or beside the others where it is none of them.

        One that could be any of them (an address beside a list of indexes) is left out: nothing is counted twice. A cut
        list adds none to a whole one, but for what it says is lost.
        """
        before = list(self.records)
        here = self.places.setdefault(id(source), {})
        listed = [(place, gpu) for place, gpu in enumerate(source.reading.gpus) if self._counts(gpu)]
        # lspci beside a list without addresses: as many of both, both in PCI order
        is_aligned = not source.reading.is_driver_list and len(listed) == len(before)
        in_order = sorted(before, key=_place) if is_aligned else []
        for number, (place, gpu) in enumerate(listed):
            known = self._known(gpu, before)
            if not known and in_order and in_order[number].is_same(gpu, self.masked) is None:
                known = [in_order[number]]
            if not known and gpu.state in _FAILED:
                known = self._silent(gpu, before)
            is_doubtful = self.is_listed and not source.reading.is_whole and gpu.state not in _FAILED
            if not known and (is_doubtful or any(record.is_same(gpu, self.masked) is None for record in before)):
                continue
            here[place] = self._joined(known) if known else self._new()
            here[place].said.append((gpu, source))

    def _known(self, gpu: Gpu, before: list[Record]) -> list[Record]:
        """The records of this GPU. Outputs of two times may give an index to two GPUs: then the first has it."""
        there = [record for record in before if record in self.records]
        same = [record for record in there if record.is_same(gpu, self.masked)]
        return same or [record for record in there if gpu.index is not None and record.known("index") == gpu.index]

    def _silent(self, gpu: Gpu, before: list[Record]) -> list[Record]:
        """The one record that may be a GPU that failed: the matrix still counts it, no list names it."""
        nameless = [one for one in before if one.known("name") is None and one.known("uuid") is None]
        could_be = [one for one in nameless if one.is_same(gpu, self.masked) is None]
        return could_be if len(could_be) == 1 else []

    def _new(self) -> Record:
        self.records.append(Record())
        return self.records[-1]

    def _joined(self, known: list[Record]) -> Record:
        """Records of one GPU: one source knew its address, another its index, and this one knows both."""
        first, *others = known
        for other in others:
            first.said += other.said
            self.records.remove(other)
            for places in self.places.values():
                places.update({place: first for place, record in places.items() if record is other})
        return first


def _completeness(source: Source) -> tuple[bool, bool, int]:
    """Whole lists come first, and what tells indexes: the rest is held against them."""
    reading = source.reading
    return not reading.is_whole, any(gpu.index is None for gpu in reading.gpus), source.precedence


def _vendor(ranked: Iterable[Source]) -> Vendor | None:
    named = {gpu.vendor for source in ranked for gpu in source.reading.gpus} | {s.reading.vendor for s in ranked}
    return next((vendor for vendor in VENDORS if vendor in named), None)


def _with_node(gpu: Gpu, nodes: Sequence[NumaNode]) -> Gpu:
    """The GPU with the node of its CPUs where several were printed: a Grace lists the memory of its GPUs as nodes too.

    The one that has CPUs, and all that the GPU's affinity names; else the first, where the GPU's own memory is another.
    """
    if gpu.numa_node is not None or not gpu.numa_affinity:
        return gpu
    listed, own = cpu_list(gpu.numa_affinity), set(cpu_list(gpu.cpu_affinity or ""))
    near = [node.node for node in nodes if own and node.cpus and own <= set(node.cpus)]
    if len(near) == 1 and near[0] in listed:
        return replace(gpu, numa_node=near[0])
    has_own_memory = gpu.numa_memory_node is not None and gpu.numa_memory_node in listed[1:]
    return replace(gpu, numa_node=listed[0]) if has_own_memory and not near else gpu


def _codes(source: Source) -> set[str]:
    return {problem.code for problem in source.reading.problems}


def _uuids(reading: Reading) -> Iterable[tuple[str, int]]:
    return Counter(gpu.uuid for gpu in reading.gpus if gpu.uuid).items()


def _place(record: Record) -> tuple[int, str]:
    index, address = record.known("index"), record.known("pci_address")
    return index if isinstance(index, int) else 1 << 30, str(address or "~")


def _nics(ranked: Sequence[Source]) -> tuple[Nic, ...]:
    return next((source.reading.nics for source in ranked if source.reading.nics), ())


def _numa(ranked: Sequence[Source]) -> tuple[NumaNode, ...]:
    nodes: dict[int, NumaNode] = {}
    for source in ranked:
        for node in source.reading.numa:
            known = nodes.get(node.node, node)
            nodes[node.node] = replace(
                known, cpus=known.cpus or node.cpus, memory_bytes=known.memory_bytes or node.memory_bytes
            )
    return tuple(nodes[number] for number in sorted(nodes))
