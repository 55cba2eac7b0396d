"""rocm-smi as text: topology matrices, `GPU[0] : key: value` lists, the plain table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

from rigwright.hardware.models import find
from rigwright.hardware.reading import Pair, Reading
from rigwright.hardware.sources import cells, lspci
from rigwright.hardware.values import Gpu, PcieLink, PowerLimit, Problem

KINDS = ("XGMI", "PCIE")
# Source: rocm-smi of ROCm 4 to 6.1 as recorded; capitals changed between them, so keys are compared in lower case.
_NAME_KEYS = ("device name", "card series", "card model")
_KNOWN = (
    *_NAME_KEYS,
    "pci bus",
    "device id",
    "gpu id",
    "unique id",
    "vram total memory (b)",
    "(topology) numa node",
    "(topology) numa affinity",
    "pcie clock level",
    "max graphics package power (w)",
)
# A wiki takes `[0]` for a link and leaves `GPU 0`.
_BARE = re.compile(r"(\s*GPU) ?([0-9]{1,3})(\s*: ?\(Topology\) .*)")
_FACT = re.compile(r"\s*GPU\[([0-9]{1,3})\]\s*:\s*([^:\s][^:]{0,60}?)\s*:\s*(.*)")
_MARK = re.compile(r"\s*GPU\[([0-9]{1,3})\]\s*:\s*\S.*")
_COLUMN = re.compile(r"GPU([0-9]{1,3})")
_CELL = re.compile(r"[0-9]{1,6}|XGMI|PCIE|N/A|UNKNOWN|True|False")
_TABLE = re.compile(r"\s*(?:GPU\s+Temp|Device\s+Node|Device\s+\[Model|GPU\s+.{0,40}AvgPwr)")
# `rocm-smi` of ROCm 6.0 has the name below each row, cut to twenty characters.
_NAME_BELOW = re.compile(r"\s{4,}(?=[^%\n]*[A-Za-z]{2})([A-Z][^%:=|]{2,20})")
_NAME_WIDTH = 20
# `rocm-smi --showhw`: the device id stands in its own column, whose place the words before it tell.
_HARDWARE = re.compile(r"\s*(GPU\s+(?:NODE\s+)?)DID\s.*\bBUS\b")
_ROW = re.compile(r"\s{0,4}([0-9]{1,3})\s+(?=\S)(.*)")
_IDS = re.compile(r"[0-9]{1,4}\s+0x([0-9a-fA-F]{4})\s*,")
_WATTS = re.compile(r"\b([0-9]{1,4}(?:\.[0-9]{1,3})?)W\b")
# Source: rocm_smi.py (`driverInitialized`), rocminfo. What is printed in place of a list.
_NO_DRIVER = re.compile(r"Driver not initialized|amdgpu not found in modules|ROCk module is NOT loaded", re.IGNORECASE)
_TARGET = re.compile(r"gfx[0-9a-f]{3,5}")
_HEX = re.compile(r"0x([0-9a-fA-F]{1,16})")


def gpu(index: int, facts: Mapping[str, str]) -> Gpu | None:
    """A GPU from what rocm-smi says of it, by lower-case key; None where nothing is known of it.

    `uuid` is the unique id as ROCR_VISIBLE_DEVICES takes it (`GPU-079ccd55167a2124`), absent on consumer cards.
    """
    if not any(key in facts for key in _KNOWN):
        return None
    level = facts.get("pcie clock level", "")
    node = cells.whole(facts.get("(topology) numa node", ""))
    return Gpu(
        index=index,
        uuid=_uuid(facts.get("unique id", "")),
        pci_address=cells.pci_address(facts.get("pci bus", "")),
        pci_id=_pci_id(facts.get("device id", "")) or _pci_id(facts.get("gpu id", "")),
        vendor="AMD",
        name=next((name for name in (_name(facts.get(key, "")) for key in _NAME_KEYS) if name), None),
        architecture=found[0] if (found := _TARGET.fullmatch(facts.get("gfx version", ""))) else None,
        vram_bytes=cells.whole(facts.get("vram total memory (b)", "")) or None,
        numa_node=node if node is not None and 0 <= node < 1024 else None,
        state="ok",
        pcie=PcieLink(gen_current=lspci.generation(level), width_current=lanes_of(level)),
        power=PowerLimit(current=cells.number(facts.get("max graphics package power (w)", ""))),
    )


def lanes_of(level: str) -> int | None:
    """The lanes of a clock level: `1 (16.0GT/s x16)`."""
    return lspci.lanes(level)


def read(text: str) -> Reading:
    """GPUs, links and NUMA nodes from rocm-smi (--showtopo, --showproductname, --showmeminfo, --showbus, plain)."""
    lines = [_BARE.sub(r"\1[\2]\3", line) for line in cells.lines(text)]
    facts: dict[int, dict[str, str]] = {}
    for line in lines:
        fact, mark = _FACT.fullmatch(line), _MARK.fullmatch(line)
        if fact and fact[3].strip():
            facts.setdefault(int(fact[1]), {}).setdefault(fact[2].strip().lower(), fact[3].strip())
        elif mark:
            facts.setdefault(int(mark[1]), {})
    columns, rows = _matrices(lines)
    hardware = _hardware(lines)
    table = {index: _filled(gpu, hardware.get(index)) for index, gpu in (hardware | _table(lines)).items()}
    present = set(columns) & set(rows) if rows else _consistent(facts) | set(table)
    gpus = [_merged(index, facts.get(index, {}), table.get(index)) for index in sorted(present)]
    is_square = bool(rows) and set(columns) == set(rows)
    has_banner, has_end = "ROCm System Management Interface" in text, "End of ROCm SMI Log" in text
    return Reading(
        gpus=tuple(gpus),
        kinds=_kinds(columns, rows),
        weights=_weights(rows, columns),
        vendor="AMD" if gpus else None,
        is_driver_list=True,
        is_whole=bool(gpus) and (is_square if rows else has_end or not has_banner),
        problems=_problems(lines),
    )


def _problems(lines: list[str]) -> tuple[Problem, ...]:
    if not any(_NO_DRIVER.search(line) for line in lines):
        return ()
    do = "`modprobe amdgpu`; if it is not there install the kernel's firmware or amdgpu-dkms; `journalctl -k -g amdgpu`"
    return (Problem("driver_not_running", "rocm-smi", "the amdgpu driver is not loaded", do),)


def _consistent(facts: Mapping[int, Mapping[str, str]]) -> set[int]:
    """The GPUs of a list: an index beyond their number, with fewer lines than the others have, is a misprint."""
    most = max((len(said) for said in facts.values()), default=0)
    return {index for index, said in facts.items() if index < len(facts) or len(said) == most}


def _merged(index: int, facts: Mapping[str, str], row: Gpu | None) -> Gpu:
    known = gpu(index, facts) or Gpu(index=index, vendor="AMD", state="ok")
    if not row:
        return known
    values = {**vars(row), **{key: value for key, value in vars(known).items() if value not in (None, PowerLimit())}}
    return Gpu(**values)


def _filled(gpu: Gpu, other: Gpu | None) -> Gpu:
    """A row with what another table says of its GPU."""
    return replace(gpu, pci_address=other.pci_address, pci_id=gpu.pci_id or other.pci_id) if other else gpu


def _name(text: str) -> str | None:
    """`Instinct MI100` of `Arcturus GL-XL [Instinct MI100]`; a number or `N/A` is no name."""
    plain = text.strip()
    found = re.search(r"\[([^\[\]]{2,80})\]", plain)
    name = found[1].strip() if found else plain
    is_none = not name or _HEX.fullmatch(name) or name.upper() == "N/A" or not re.search(r"[A-Za-z]{2}", name)
    return None if is_none else name[:80]


def _pci_id(text: str) -> str | None:
    found = re.fullmatch(r"0x([0-9a-fA-F]{4})", text.strip())
    return f"1002:{found[1].lower()}" if found else None


def _uuid(text: str) -> str | None:
    found = _HEX.fullmatch(text.strip())
    return f"GPU-{int(found[1], 16):016x}" if found and int(found[1], 16) else None


def _matrices(lines: list[str]) -> tuple[list[int], dict[int, list[list[str]]]]:
    """The columns of the matrices, and the cells of each row, matrix after matrix.

    A row counts where it has a cell per column and holds nothing but what rocm-smi prints there.
    """
    columns: list[int] = []
    rows: dict[int, list[list[str]]] = {}
    for line in lines:
        words = line.split()
        names = [_COLUMN.fullmatch(word) for word in words]
        if words and all(names):
            named = [int(name[1]) for name in names if name]
            columns = named if len(set(named)) == len(named) and named == sorted(named) else []
            continue
        index = int(names[0][1]) if words and names[0] else None
        if index in columns and len(words) == len(columns) + 1 and all(_CELL.fullmatch(word) for word in words[1:]):
            rows.setdefault(index, []).append(words[1:])
    return columns, rows


def _kinds(columns: list[int], rows: Mapping[int, list[list[str]]]) -> dict[Pair, str]:
    """Links out of the link type matrix, the only one with such words; rows that contradict each other say nothing."""
    said: dict[Pair, set[str]] = {}
    for index, matrices in rows.items():
        for words in matrices:
            for column, word in zip(columns, words, strict=False):
                if word in KINDS and column != index:
                    said.setdefault((min(index, column), max(index, column)), set()).add(word)
    return {pair: next(iter(words)) for pair, words in said.items() if len(words) == 1 and set(pair) <= set(rows)}


def _weights(rows: Mapping[int, list[list[str]]], columns: list[int]) -> dict[Pair, int]:
    """The numbers between two GPUs: their weight, or their hops where no weight was printed, which are fewer."""
    found: dict[Pair, int] = {}
    for index, matrices in rows.items():
        for words in matrices:
            for column, word in zip(columns, words, strict=False):
                if word.isdecimal() and column != index and column in rows:
                    pair = (min(index, column), max(index, column))
                    found[pair] = max(int(word), found.get(pair, 0))
    return found


def _hardware(lines: list[str]) -> dict[int, Gpu]:
    """The rows of `--showhw`: device id and place on the bus."""
    gpus: dict[int, Gpu] = {}
    place = 0
    for line in lines:
        head = _HARDWARE.match(line)
        place = len(head[1].split()) if head else place if "===" not in line else 0
        words = line.split()
        if not head and place and len(words) > place + 1 and words[0].isdecimal():
            address = next((found for word in words[place + 1 :] if (found := cells.pci_address(word))), None)
            pci_id = _pci_id(words[place] if words[place].startswith("0x") else f"0x{words[place]}")
            if address and pci_id and len(words[0]) < 4:
                gpus[int(words[0])] = Gpu(
                    index=int(words[0]), pci_address=address, pci_id=pci_id, vendor="AMD", state="ok"
                )
    return gpus


def _table(lines: list[str]) -> dict[int, Gpu]:
    """The rows of the plain table, below its heading; of the watts in a row the last are the cap."""
    gpus: dict[int, Gpu] = {}
    is_table = False
    for above, line in pairwise(["", *lines]):
        is_table = (is_table and "End of ROCm" not in line) or bool(_TABLE.match(line))
        row = _ROW.fullmatch(line) if is_table else None
        if is_table and gpus and (below := _NAME_BELOW.fullmatch(line.rstrip())) and _ROW.fullmatch(above):
            name, last = below[1].strip(), max(gpus)
            gpus[last] = replace(gpus[last], name=name, is_name_cut=len(name) == _NAME_WIDTH and find(name) is None)
        if not row or "%" not in row[2] or (gpus and int(row[1]) != max(gpus) + 1):
            continue
        ids, watts = _IDS.match(row[2]), _WATTS.findall(row[2])
        gpus[int(row[1])] = Gpu(
            index=int(row[1]),
            pci_id=f"1002:{ids[1].lower()}" if ids else None,
            vendor="AMD",
            state="ok",
            power=PowerLimit(current=float(watts[-1])) if len(watts) > 1 else PowerLimit(),
        )
    return gpus
