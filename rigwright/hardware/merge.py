"""Several sources into one machine.

Precedence, for each field of a GPU: `nvidia-smi -q -x`, `-q`, the CSV query, `-L`, the plain table, `topo -m` and
rocm-smi's JSON, `nvlink -s` and rocm-smi's texts, sysfs, lspci, the kernel's log, the catalogue. What stands
first is used, what a later source says differently becomes a Problem. Two exceptions: the current PCIe link is the one
under load where that was recorded, and a GPU that any source calls lost is lost.

GPUs of two sources are one GPU when they share the UUID, else the PCI address, else the index.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from rigwright.hardware.reading import Pair, Reading
from rigwright.hardware.records import Record, Source, first
from rigwright.hardware.values import Cpu, Gpu, Hardware, Link, Nic, NumaNode, Problem, Vendor

# A machine is that of its strongest vendor: the graphics part of a CPU beside a card is no GPU to serve from.
VENDORS: tuple[Vendor, ...] = ("NVIDIA", "AMD", "Apple", "Intel")
# What the driver was asked and not there to answer: then the PCI bus counts.
NOT_ASKED = {"driver_missing"}


def merge(sources: Sequence[Source]) -> Hardware:
    """The machine that the sources describe together, without the findings that need the whole picture."""
    ranked = sorted(sources, key=lambda source: (source.under_load, source.precedence, source.name))
    merger = _Merger(ranked)
    cpus = [source.reading.cpu for source in ranked if source.reading.cpu]
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
        gpus=merger.gpus(),
        links=merger.links(),
        nvlink_gbytes_per_second={
            index: speeds for source in reversed(ranked) for index, speeds in source.reading.nvlinks.items()
        },
        nics=_nics(ranked),
        numa=_numa(ranked),
        driver_version=first(source.reading.driver_version for source in ranked),
        chip=first(source.reading.chip for source in ranked),
        chip_gpu_cores=first(source.reading.chip_gpu_cores for source in ranked),
        sources=tuple(sorted({source.name for source in sources if source.reading != Reading()})),
        problems=(*(said for source in ranked for said in source.reading.problems), *merger.disagreements),
    )


class _Merger:
    def __init__(self, ranked: Sequence[Source]) -> None:
        self.ranked = ranked
        self.vendor = _vendor(ranked)
        self.disagreements: list[Problem] = []
        self.drivers = [source for source in ranked if source.reading.is_driver_list]
        self.records: list[Record] = []
        # Identifiers that a recording masked are the same for all GPUs: they tell none from another.
        self.masked = {uuid for source in ranked for uuid, count in _uuids(source.reading) if count > 1}
        self.positions: dict[int, list[Record]] = {}
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
        said = [source.reading for source in self.drivers]
        asked = [each for each in said if each.gpus or {problem.code for problem in each.problems} - NOT_ASKED]
        whole = [len(each.gpus) for each in asked if each.is_whole and each.gpus]
        if asked:
            return max(whole) if whole else None
        looked = any(source.precedence in range(50, 80) for source in self.ranked)
        return len(self.records) if self.records or looked else None

    def gpus(self) -> tuple[Gpu, ...]:
        found = []
        for place, record in enumerate(self.records):
            gpu = record.gpu()
            self.disagreements += record.disagreements(self.masked)
            if not self.driver_records and gpu.index is None:
                gpu = replace(gpu, index=place)  # CUDA_DEVICE_ORDER=PCI_BUS_ID numbers them so
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
        mine = self.positions.get(id(source), [])
        if max(pair) >= len(mine):
            return None
        places = [record.known("index") for record in (mine[pair[0]], mine[pair[1]])]
        if not self.driver_records:
            places = [self.records.index(mine[position]) for position in pair]
        a, b = places
        return (min(a, b), max(a, b)) if isinstance(a, int) and isinstance(b, int) else None

    def _add(self, source: Source) -> None:
        """Put each GPU of a source to the record of the same GPU, or beside the others where it is none of them.

        One that could be any of them (an address beside a list of indexes) is left out: nothing is counted twice.
        """
        before = list(self.records)
        listed = [gpu for gpu in source.reading.gpus if gpu.vendor in (None, self.vendor)]
        mine: list[Record] = []
        for place, gpu in enumerate(listed):
            answers = [record.is_same(gpu, self.masked) for record in before]
            known = [
                record for record, is_same in zip(before, answers, strict=True) if is_same and record in self.records
            ]
            if not known and gpu.index is not None:  # outputs of two times: the first is used, and the rest is told
                known = [record for record in before if record.known("index") == gpu.index and record in self.records]
            if not known and not source.reading.is_driver_list and len(listed) == len(before):
                # lspci beside a list without addresses: as many of both, both in PCI order
                at = sorted(before, key=_place)[place]
                known = [at] if at.is_same(gpu, self.masked) is None else []
            if known:
                mine.append(self._joined(known))
                mine[-1].said.append((gpu, source))
            elif None not in answers:
                mine.append(Record(gpu, source))
                self.records.append(mine[-1])
        self.positions[id(source)] = mine

    def _joined(self, known: list[Record]) -> Record:
        """Records of one GPU: one source knew its address, another its index, and this one knows both."""
        first, *others = known
        for other in others:
            first.said += other.said
            self.records.remove(other)
            self.positions = {
                key: [first if record is other else record for record in mine] for key, mine in self.positions.items()
            }
        return first


def _completeness(source: Source) -> tuple[bool, bool, int]:
    """Whole lists come first, and what tells indexes: the rest is held against them."""
    reading = source.reading
    return not reading.is_whole, any(gpu.index is None for gpu in reading.gpus), source.precedence


def _vendor(ranked: Iterable[Source]) -> Vendor | None:
    named = {gpu.vendor for source in ranked for gpu in source.reading.gpus} | {s.reading.vendor for s in ranked}
    return next((vendor for vendor in VENDORS if vendor in named), None)


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
