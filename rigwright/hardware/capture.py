"""A machine from the outputs of its commands: file name -> text, as recorded in a folder or collected over SSH.

Which parser reads a file is decided by what is in it; its name decides only where the content does not. A name with
`load` in it was recorded under load.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from rigwright.errors import RigwrightError
from rigwright.hardware.findings import findings
from rigwright.hardware.merge import merge
from rigwright.hardware.reading import Parser
from rigwright.hardware.records import Source
from rigwright.hardware.sources import (
    apple,
    driver_version,
    kernel_log,
    lscpu,
    lspci,
    numactl,
    nvidia_csv,
    nvidia_list,
    nvidia_nvlink,
    nvidia_p2p,
    nvidia_query,
    nvidia_said,
    nvidia_table,
    nvidia_topo,
    nvidia_xml,
    rocm_json,
    rocm_text,
    sysfs,
    system,
    transfer,
)
from rigwright.hardware.sources.cells import lines
from rigwright.hardware.values import Hardware

# No output that we read is larger; a file that is, is not one of ours.
LARGEST_BYTES = 4 << 20


@dataclass(frozen=True)
class Format:
    """One kind of output: how it is told from the others, who reads it, and how much its word counts (less is more)."""

    parser: Parser
    precedence: int
    content: re.Pattern[str]
    name: re.Pattern[str]


def _format(parser: Parser, precedence: int, content: str, name: str) -> Format:
    return Format(parser, precedence, re.compile(content), re.compile(name, re.IGNORECASE))


_FIELD = r"(?:pcie\.link\.[a-z.]+|memory\.total|(?:pci|gpu)[._]bus_id|(?:gpu_)?uuid|compute_cap|power\.[a-z_.]*limit)"
# The order is that of recognition; `precedence` is that of the merge, see rigwright.hardware.merge. `content` is looked
# for at the start of each line, past blanks.
# fmt: off
FORMATS: tuple[Format, ...] = (
    _format(nvidia_xml.read, 10, r"<nvidia_smi_log|<gpu id=", r"smi.*\.xml$"),
    _format(nvidia_query.read, 20, r"=+NVSMI LOG=+|Attached GPUs\s+:", r"smi-q.*\.txt$"),
    _format(transfer.read, 90, r"index, host_to_device_gbytes_per_second", r"transfer.*\.csv$"),
    _format(nvidia_csv.read, 30, rf"(?:.*, ?)?{_FIELD}(?: \[[^\]]*\])?(?:,|$)", r"query.*\.csv$|values"),
    _format(nvidia_p2p.read, 40, r"GPU[0-9]+\s.*\b(?:OK|CNS|GNS|TNS|NS|DR)\b", r"p2p"),
    _format(rocm_text.read, 60, r"=+ ROCm System Management Interface|GPU\[[0-9]+\]\s*:", r"rocm.*\.txt$"),
    _format(rocm_json.read, 50, r'(?:\{\s*)?"card[0-9]+"\s*:', r"rocm.*\.json$"),
    _format(nvidia_topo.read, 50, r"GPU[0-9]+\s.*\bX\b", r"topo"),
    _format(nvidia_nvlink.read, 60, r"Link [0-9]+: |.*all links are inActive|.*support Nvlink|Nvlink quer", r"nvlink"),
    _format(nvidia_table.read, 45, r"\|[^|]*\bMiB\s*/|\|\s*NVIDIA-SMI|\|\s*GPU\s+Name", r"^smi\.txt$|nvidia-smi"),
    _format(nvidia_list.read, 35, r"GPU [0-9]+: .*\(UUID: ", r"list"),
    _format(kernel_log.read, 85, r".*(?:NVRM: (?!version)|\bXid\b|amdgpu .*: |nouveau .*: )", r"dmesg|kern|journal"),
    _format(driver_version.read, 80, r"NVRM version:", r"proc-driver"),
    _format(sysfs.read, 70, r"device=[0-9a-f]{4}:[0-9a-f]{2}:", r"sysfs"),
    _format(numactl.read, 95, r"available: [0-9]+ nodes|node [0-9]+ cpus:", r"numactl"),
    _format(lscpu.read, 90, r"NUMA node[0-9]* ?CPU\(s\)|CPU\(s\):|Core\(s\) per socket", r"lscpu"),
    _format(lspci.read, 75, r"(?:.*\s)?(?:[0-9a-f]{4}:)?[0-9a-f]{2}:[0-9a-f]{2}\.[0-7](?:\s|$)|LnkCap:", r"lspci"),
    _format(apple.read, 50, r"Chipset Model: |Hardware Overview:|\"SP(?:Displays|Hardware)DataType", r"SP.*DataType"),
    _format(system.read, 95, r"(?:ID|KERNEL|ARCHITECTURE)=|MemTotal:|ProductName:", r"system|release|meminfo|sw_vers"),
)
# fmt: on
# These files describe a capture; none is the output of a command that we read.
_NOT_READ = re.compile(r"^(?:meta|commands)\.json$|^commands?\.txt$|^(?:rc|load)\.txt$|\.md$", re.IGNORECASE)
# Any of them may hold an error of nvidia-smi, in place of its rows or between them.
_NVIDIA_SMI = {form.parser for form in FORMATS if form.parser.__module__.rpartition(".")[2].startswith("nvidia_")}
# Where the first lines do not show what a file is, no later ones will; no line that tells is longer.
_SNIFFED_LINES, _SNIFFED_CHARACTERS = 400, 600


def read_files(files: Mapping[str, str]) -> Hardware:
    """The machine that gave these outputs. Never raises on their content; what is not understood is left out."""
    sources = [source for name in sorted(files) for source in _sources(name, files[name])]
    hardware = merge(sources)
    return findings(hardware, sources)


def read_folder(folder: Path) -> Hardware:
    """A recorded machine.

    Raises:
        RigwrightError: the folder is not there, or holds nothing that we can read.
    """
    if not folder.is_dir():
        raise RigwrightError(f"{folder}: no such folder; name a folder of recorded outputs")
    hardware = read_files(folder_files(folder))
    if not hardware.sources:
        raise RigwrightError(f"{folder}: holds no output that rigwright can read; see docs/hardware.md for the files")
    return hardware


def folder_files(folder: Path) -> dict[str, str]:
    """The texts of a folder by file name; what is no text is read as far as it is one."""
    found = {}
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.stat().st_size <= LARGEST_BYTES and not _NOT_READ.search(path.name):
            raw = path.read_bytes()
            wide = raw[:2] in (b"\xff\xfe", b"\xfe\xff")  # PowerShell's `>` writes UTF-16
            found[path.name] = raw.decode("utf-16" if wide else "utf-8", "replace")
    return found


def _sources(name: str, text: str) -> Iterator[Source]:
    """What a file says: by its own format, and by the errors that nvidia-smi prints in place of or between its rows."""
    if not text.strip() or len(text) > LARGEST_BYTES or _NOT_READ.search(name):
        return
    form = _recognise(name, text)
    said = nvidia_said.read(text)
    if (form is None or form.parser in _NVIDIA_SMI) and (said.problems or said.gpus):
        yield Source(name, said, precedence=5, under_load=False)
    if form is not None:
        yield Source(name, form.parser(text), form.precedence, under_load="load" in name.lower())


def _recognise(name: str, text: str) -> Format | None:
    starts = [line.strip()[:_SNIFFED_CHARACTERS] for line in lines(text)[:_SNIFFED_LINES]]
    by_content = (form for form in FORMATS if any(form.content.match(start) for start in starts))
    by_name = (form for form in FORMATS if form.name.search(name))
    return next(by_content, None) or next(by_name, None)
