"""`nvidia-smi --query-gpu=… --format=csv[,nounits]`: a header of field names, a row per GPU.

Source: nvidia-smi(1), `--help-query-gpu`; recorded output of drivers 550 to 610.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from rigwright.hardware.reading import Reading
from rigwright.hardware.sources import cells, nvidia_csv_bare, nvidia_fields
from rigwright.hardware.sources.nvidia_fields import Row
from rigwright.hardware.values import Problem

# Source: nvidia-smi --help-query-gpu. Our name by theirs; where two carry one name, the later fills a gap.
_FIELDS = {
    "name": "name",
    "gpu_name": "name",
    "uuid": "uuid",
    "gpu_uuid": "uuid",
    "pci.bus_id": "bus",
    "gpu_bus_id": "bus",
    "pci.device_id": "pci_id",
    "pci.sub_device_id": "subsystem",
    "memory.total": "memory",
    "compute_cap": "capability",
    "mig.mode.current": "mig",
    "display_active": "display",
    "pcie.link.gen.current": "gen",
    "pcie.link.gen.gpucurrent": "gen_device",
    "pcie.link.gen.max": "gen_max",
    "pcie.link.gen.gpumax": "gen_gpu",
    "pcie.link.gen.hostmax": "gen_host",
    "pcie.link.width.current": "width",
    "pcie.link.width.max": "width_max",
    "fabric.state": "fabric_state",
    "fabric.status": "fabric_status",
    "power.limit": "power",
    "enforced.power.limit": "power_enforced",
    "power.default_limit": "power_default",
    "power.min_limit": "power_min",
    "power.max_limit": "power_max",
}
_OTHERS = frozenset(
    ("index", "timestamp", "count", "driver_version", "kmd_version", "serial", "gpu_serial", "pstate", "compute_mode")
)
# The other queries of nvidia-smi have a row per process, page or clock.
_NOT_OF_GPUS = frozenset(("pid", "process_name", "used_memory", "used_gpu_memory", "retired_pages.address", "graphics"))
_FAMILIES = re.compile(
    r"(?:pci|pcie|memory|power|module|enforced|clocks\w*|utilization|temperature|ecc|fan|mig|gsp|vbios_version|inforom"
    r"|display_\w+|persistence_mode|accounting|driver_model|gom|encoder|retired_pages|remapped_rows|fabric|platform"
    r"|protected_memory|c2c|vgpu\w*|dramEncryption|power_smoothing)(?:\.|$)"
)
_NAME = re.compile(r"(?P<name>[a-z][A-Za-z0-9_.]{1,80})(?: ?\[[A-Za-z%]{1,4}\])?")
_ALONE = frozenset(_FIELDS) | {"driver_version"}  # what may be a header by itself: `index` and `count` are words
_ASKED = re.compile(r"nvidia-smi.{0,200} --query-gpu[= ][\"']?([A-Za-z0-9_.,]{4,4000})(?![^\s\"'`\\|)])")
_INDEX = re.compile(r"[0-9]{1,3}")
_SECONDS = re.compile(r"[0-9]{4}/[0-9]{2}/[0-9]{2} ([0-9]{2}):([0-9]{2}):([0-9]{2})")
_PROMPT = re.compile(r"^\S{0,80} ?[$#>%](?: |$)|nvidia-smi")
_WORDS = re.compile(r"[A-Z][a-z]*[^,\[]*$")
_FENCE = ("```", "~~~")  # of Markdown: a table ends there
# No board has more; a list of more rows is a log of samples.
_MOST_GPUS = 64
_IDENTITY = ("uuid", "bus", "name", "memory")


@dataclass
class _Table:
    """The rows read so far, by index: their cells by field name."""

    rows: dict[int, dict[str, str]] = field(default_factory=dict)
    is_whole: bool = True
    header: list[str] | None = None
    loose: list[dict[str, str]] = field(default_factory=list)


def read(text: str) -> Reading:
    """The GPUs of a CSV table. Without a header or the command that names its columns, what the cells show."""
    lines = [line.strip() for line in _with_commas(cells.lines(text))]
    if not any(_header(line) for line in lines):
        bare = nvidia_csv_bare.read(nvidia_csv_bare.rows([line for line in lines if line]))
        return bare if bare.gpus else _only_sentinels([line for line in lines if line])
    table = _Table()
    for before, line in pairwise(["", *lines]):
        if not before and _WORDS.match(line) and not _header(line):
            _number(table)  # what someone wrote below it
            table.header = None
        _take(table, line)
    _number(table)
    indexes = sorted(table.rows)
    printed = [table.rows[index] for index in indexes]
    rows = [Row(index, _fields(table.rows[index]), table.rows[index]) for index in indexes]
    versions = (nvidia_fields.version(row.get(name)) for name in ("driver_version", "kmd_version") for row in printed)
    return Reading(
        gpus=nvidia_fields.gpus(rows),
        vendor="NVIDIA" if rows else None,
        driver_version=next((found for found in versions if found), None),
        is_driver_list=True,
        is_whole=table.is_whole and bool(rows) and len(rows) == max(indexes[-1] + 1, _count(printed)),
        problems=(*nvidia_fields.problems(rows, code="csv_sentinels"), *nvidia_fields.fabric(rows)),
    )


def _with_commas(lines: list[str]) -> list[str]:
    """The lines with commas between cells, where a spreadsheet put quotes, or `;` and commas in the numbers."""
    if any(_header(line.replace('"', "")) for line in lines if line.startswith('"')):
        return [line.replace('"', "") for line in lines]
    for mark in (";", "\t"):
        heads = [line.replace(mark, ",") for line in lines if mark in line and "," not in line]
        if any((_header(head) or [""])[1:] for head in heads):
            return [line.replace(",", ".").replace(mark, ",") if mark in line else line for line in lines]
    return lines


def is_csv(text: str) -> bool:
    """Whether one of the first lines is the header of such a table."""
    return any(_header(line.strip()) for line in cells.lines(text)[:50])


def _header(line: str) -> list[str] | None:
    """The field names of a header line, None for any other line: half or more are known.

    One in ten may be garbled: it stands as `?` and its place.
    """
    if not line or len(line) > 20_000:
        return None
    asked = _ASKED.search(line)
    if asked:  # with `noheader` the command alone names the fields
        line = asked[1]
    found = [_NAME.fullmatch(cell.strip()) for cell in line.split(",")]
    names = [match["name"] if match else f"?{place}" for place, match in enumerate(found)]
    if sum(not match for match in found) * 10 > len(found):
        return None
    if len(names) == 1:
        return names if names[0] in _ALONE else None
    if _NOT_OF_GPUS & set(names):
        return None
    return names if sum(map(_is_field, names)) * 2 >= len(names) else None


def _is_field(name: str) -> bool:
    return name in _FIELDS or name in _OTHERS or bool(_FAMILIES.match(name))


def _take(table: _Table, line: str) -> None:
    """Read one line into the table: a header begins a new list, a row needs the header's number of cells."""
    header = _header(line)
    if header:
        _number(table)
        table.header = header
    elif line.startswith(_FENCE):
        _number(table)
        table.header = None
    elif not line or table.header is None or _PROMPT.search(line):
        return
    elif row := _row(table.header, line):
        index = row.get("index")
        if index is None:
            table.loose.append(row)
        else:
            _add(table, int(index), row)
    else:
        table.is_whole = False


def _row(header: list[str], line: str) -> dict[str, str] | None:
    values = [cell.strip() for cell in line.split(",")]
    row = dict(zip(header, values, strict=False))
    if len(values) != len(header) or not _INDEX.fullmatch(row.get("index", "0")):
        return None
    if int(row.get("index", "0")) >= _MOST_GPUS or not any(row[name] for name in header if name != "index"):
        return None  # a log's number before an empty line
    if _is_shifted(_fields(row)):
        return None
    return row if len(header) > 1 or _is_value(header[0], values[0]) else None


def _is_shifted(fields: dict[str, str]) -> bool:
    """Whether a cell holds what its column cannot: a comma went missing in header and row alike."""
    memory, capability = fields.get("memory"), fields.get("capability")
    is_memory = memory is None or cells.size_bytes(memory, default_unit="mib") is not None
    return not is_memory or not (capability is None or re.fullmatch(r"[0-9]{1,2}\.[0-9]{1,2}", capability))


def _is_value(name: str, value: str) -> bool:
    """Whether the value of a table of one column is one: any line of text has one cell."""
    if nvidia_fields.sentinel(value) or value.startswith("["):
        return True
    kind = _FIELDS.get(name, name)
    if kind == "name":
        return value.startswith(("NVIDIA", "Tesla", "Quadro", "GeForce", "GRID", "TITAN"))
    checks = {"uuid": cells.uuid, "bus": cells.pci_address, "driver_version": nvidia_fields.version}
    check = checks.get(kind)
    return bool(check(value)) if check else bool(re.fullmatch(r"(?:0x)?[0-9A-Fa-f.]{1,10}(?: [A-Za-z]{1,3})?", value))


def _add(table: _Table, index: int, row: dict[str, str]) -> None:
    """Add a row; the newest counts. Two GPUs under one index are none."""
    before, now = _fields(table.rows.get(index, {})), _fields(row)
    if any(before.get(name, now.get(name)) != now.get(name, before.get(name)) for name in _IDENTITY):
        table.is_whole = False
        del table.rows[index]
        return
    table.rows[index] = table.rows.get(index, {}) | row


def _number(table: _Table) -> None:
    """Number the rows of a table without an index column: nvidia-smi lists in the order of its indexes."""
    rows, table.loose = [row for row in _distinct(table.loose) if _fields(row)], []
    if not all(_is_field(name) for name in table.header or []):  # what is lost of the header may be the index
        rows = [row for row in rows if {"bus", "uuid"} & set(_fields(row))]
    seconds = {found[0] for row in rows if (found := _SECONDS.match(row.get("timestamp", "")))}
    places: dict[str, int] = {}
    for row in rows:
        fields = _fields(row)
        place = fields.get("bus") or fields.get("uuid") or f"row {len(places)}"
        index = places.setdefault(place, len(places))
        _add(table, index, row)
    is_log = not any({"bus", "uuid"} & set(_fields(row)) for row in rows) and len(seconds) > 3
    if is_log or len(table.rows) > _MOST_GPUS or len(table.rows) > (_count(rows) or _MOST_GPUS):
        table.rows, table.is_whole = {}, False


def _distinct(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """Rows of the same millisecond that say the same are one."""
    return [row for place, row in enumerate(rows) if "timestamp" not in row or row not in rows[:place]]


def _count(rows: list[dict[str, str]]) -> int:
    """How many GPUs there are by the field `count`, 0 where it was not asked for."""
    return max((cells.whole(row.get("count", "")) or 0 for row in rows), default=0)


def _fields(row: Mapping[str, str]) -> dict[str, str]:
    return {_FIELDS[name]: value for name, value in row.items() if name in _FIELDS and nvidia_fields.known(value)}


def _only_sentinels(lines: list[str]) -> Reading:
    """A list of nothing but sentinels: which GPU each stands for nobody can say."""
    values = [cell.strip() for line in lines for cell in line.split(",")]
    held = [found for value in values if (found := nvidia_fields.sentinel(value))]
    if not held or not all(re.fullmatch(r"\[[A-Za-z/ !]{2,60}\]", value) for value in values):
        return Reading()
    worst = next(known for known in nvidia_fields.SENTINELS if known in held)
    what = f"{len(held)} of {len(values)} values are errors, the worst is '{worst.text}', and none names its GPU"
    problem = Problem("csv_sentinels", "nvidia-smi", what, "ask again with --query-gpu=index,uuid,name --format=csv")
    return Reading(is_driver_list=True, is_whole=False, problems=(problem,))
