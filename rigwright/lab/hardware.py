"""Recorded machines: a rig with one answers `nvidia-smi`, `lspci` and the like as that machine did, and plans as it.

A recorded machine is a folder of outputs. `commands.json` may say which command made which file; without it
their names say it: see `CONVENTION`. A question that nobody recorded is refused, never guessed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from rigwright.errors import RigwrightError
from rigwright.hardware.capture import LARGEST_BYTES
from rigwright.lab.host import run, write_bytes
from rigwright.lab.mounts import within
from rigwright.shown import NOT_IN_A_LINE

MACHINES = Path(__file__).parent / "machines"
STAND_IN = Path(__file__).parent / "stand_in.sh"
PLACE = Path("usr/lib/rigwright-lab")
TOOLS = ("nvidia-smi", "lspci", "rocm-smi", "amd-smi", "lscpu", "numactl", "dmesg", "system_profiler")
# A rig that is a recorded machine is none of the containers that a driver is not installed in.
BARE_METAL = b"#!/bin/sh\ncase $* in *q*) ;; *) echo none ;; esac\nexit 1\n"
# Of a query at rest and under load, the one at rest.
QUERIES = ("query.csv", "query-idle.csv", "query*.csv")
# Source: nvidia-smi(1), "RETURN VALUE": 9 is "NVIDIA driver is not loaded", 255 any other error.
DRIVER_NOT_LOADED, OTHER_ERROR = 9, 255

CONVENTION = {
    "nvidia-smi": "smi.txt",
    "nvidia-smi -q": "smi-q.txt",
    "nvidia-smi -q -x": "smi.xml",
    "nvidia-smi -L": "list.txt",
    "nvidia-smi topo -m": "topo.txt",
    "nvidia-smi topo -p2p r": "p2p.txt",
    "nvidia-smi topo -p2p rw": "p2p.txt",
    "nvidia-smi nvlink -s": "nvlink.txt",
    "rocm-smi -a --json": "rocm-smi.json",
    "rocm-smi --showtopo": "rocm-smi-showtopo.txt",
    "amd-smi": "amd-smi.txt",
    "amd-smi static": "amd-smi-static.txt",
    "amd-smi topology": "amd-smi-topology.txt",
    "rocm-smi --showtoponuma": "rocm-smi-showtoponuma.txt",
    "numactl -H": "numactl.txt",
    "dmesg": "dmesg.txt",
    "system_profiler SPDisplaysDataType": "SPDisplaysDataType.txt",
    "system_profiler SPHardwareDataType": "SPHardwareDataType.txt",
}
# One answer to all questions: these tools say the same, more or less of it.
ALWAYS = {"lscpu": "lscpu*.txt", "lspci": "lspci*.txt"}
# Source: `--help` of nvidia-smi, nvidia-smi topo and nvidia-smi nvlink: long and short of the same option.
SPELLINGS = {
    "nvidia-smi -L": "nvidia-smi --list-gpus",
    "nvidia-smi -q": "nvidia-smi --query",
    "nvidia-smi -q -x": "nvidia-smi -x -q",
    "nvidia-smi topo -m": "nvidia-smi topo --matrix",
    "nvidia-smi nvlink -s": "nvidia-smi nvlink --status",
    "numactl -H": "numactl --hardware",
    # Showing all, it shows this too.
    "rocm-smi --showtoponuma": "rocm-smi --showtopo",
}
# Source: `nvidia-smi --help-query-gpu`: the fields that have two names.
FIELD_ALIASES = {
    "gpu_name": "name",
    "gpu_uuid": "uuid",
    "gpu_serial": "serial",
    "gpu_bus_id": "pci.bus_id",
    "clocks.gr": "clocks.current.graphics",
    "clocks.sm": "clocks.current.sm",
    "clocks.mem": "clocks.current.memory",
    "clocks.video": "clocks.current.video",
}


def find_machine(name_or_folder: str) -> Path:
    """The folder of a recorded machine, by its name in the lab or by its path.

    Raises:
        RigwrightError: there is none; lists the names.
    """
    for folder in (MACHINES / name_or_folder, Path(name_or_folder)):
        if folder.is_dir() and answers(folder) + _queries(folder):
            return folder.absolute()
    known = ", ".join(sorted(entry.name for entry in MACHINES.iterdir() if entry.is_dir()))
    raise RigwrightError(f"lab: no recorded machine {name_or_folder!r}; use a folder of recordings, or one of {known}")


def install(root: Path, machine: Path, *, tools: Sequence[str] = TOOLS) -> None:
    """Put the stand-ins and the recordings into a rig's `/`; a tool without a recording is left away."""
    place = within(root, PLACE)
    known = answers(machine)
    texts = {f"machine/{file}": _recorded(machine, file).read_bytes() for _, file, _ in known}
    if query := _query(machine):
        texts["query.csv"] = query.read_bytes()
    texts["name"] = f"{machine.name}\n".encode()
    texts["answers.tsv"] = "".join("\t".join(row) + "\n" for row in known).encode()
    texts["aliases.tsv"] = "".join(f"{one}\t{other}\n" for one, other in FIELD_ALIASES.items()).encode()
    for name, text in texts.items():
        write_bytes(place / name, text)
    commands = [command for command, _, _ in known] + _queries(machine)
    for tool in (tool for tool in tools if any(command.split()[0] == tool for command in commands)):
        stand_in = within(root, "usr/bin") / tool
        write_bytes(stand_in, STAND_IN.read_bytes(), mode=0o755)  # in place of it, should it be a link
        divert(root, f"usr/bin/{tool}")
    write_bytes(within(root, "usr/bin") / "systemd-detect-virt", BARE_METAL, mode=0o755)
    divert(root, "usr/bin/systemd-detect-virt")


def divert(root: Path, path: str) -> None:
    """Have dpkg keep a package's file beside the one that lies there: a driver brings pciutils, and it lspci."""
    if not (within(root, "usr/bin") / "dpkg-divert").exists():
        return  # no rig, but a folder of a test's
    for name in (path, path.removeprefix("usr/")):  # Debian 12 knows it below /sbin, though that leads to /usr/sbin
        add = ["--quiet", "--local", "--no-rename", "--divert", f"/{name}.kept", "--add", f"/{name}"]
        run(["chroot", root, "dpkg-divert", *add])


def answers(machine: Path) -> list[tuple[str, str, str]]:
    """What the machine can be asked: command, file, exit code. Of two files for a command the first wins."""
    found = [(command, file) for command, file in _commands(machine) if _recorded(machine, file).is_file()]
    found.sort(key=lambda pair: "-load" in pair[1])  # of a machine at rest and under load, the one at rest
    found += [(SPELLINGS[command], file) for command, file in found if command in SPELLINGS]
    rc = _recorded(machine, "rc.txt")
    code = _said(rc).strip() if rc.is_file() else "0"
    if not re.fullmatch("[0-9]{1,3}", code):
        raise RigwrightError(f"lab: {rc}: holds no exit code; write a number into it")
    asked = {command for command, _ in found if command.startswith("nvidia-smi")}
    smi = _recorded(machine, "smi.txt")
    text = _said(smi) if asked == {"nvidia-smi"} else "+--"
    if "+--" not in text:  # no table but an error, which comes before the question is looked at: it answers all of them
        meaning = DRIVER_NOT_LOADED if "communicate with the NVIDIA driver" in text else OTHER_ERROR
        found = [("nvidia-smi *" if command == "nvidia-smi" else command, file) for command, file in found]
        code = code if rc.is_file() else str(meaning)
    for tool, pattern in ALWAYS.items():
        found += [(f"{tool} *", _recorded(machine, path.name).name) for path in sorted(machine.glob(pattern))]
    return [(command, file, code if command.startswith("nvidia-smi") else "0") for command, file in found]


def _commands(machine: Path) -> list[tuple[str, str]]:
    """Command and file, from `commands.json` or by the convention.

    Raises:
        RigwrightError: the file is no such table.
    """
    listed = machine / "commands.json"
    if listed.is_file():
        try:
            lines = json.loads(_said(listed))
            pairs = [(line.removeprefix("$").strip(), file) for file, line in lines.items()]
        except (ValueError, AttributeError, RecursionError):
            pairs = [("\n", "")]
        if any(NOT_IN_A_LINE.search(command + file) for command, file in pairs):
            raise RigwrightError(f"lab: {listed}: is no table of files and their commands; record it again")
        return pairs
    return list(CONVENTION.items())


def _query(machine: Path) -> Path | None:
    """The recording that answers --query-gpu."""
    found = next((path for pattern in QUERIES for path in sorted(machine.glob(pattern))), None)
    return found and _recorded(machine, found.name)


def _recorded(machine: Path, file: str) -> Path:
    """A file of the recording, there or not.

    Raises:
        RigwrightError: its name or a link leads out of the folder, to what nobody recorded, e.g. /proc/kmsg.
    """
    path = machine / file
    if not path.resolve().is_relative_to(machine.resolve()):
        raise RigwrightError(f"lab: {path}: leads out of the recording to {path.resolve()}; put the file itself there")
    return path


def _said(path: Path) -> str:
    """What a file of the recording holds, as far as it is text.

    Raises:
        RigwrightError: it is larger than any output that we know.
    """
    if path.stat().st_size > LARGEST_BYTES:
        raise RigwrightError(f"lab: {path}: is larger than {LARGEST_BYTES >> 20} MiB; record the output of one command")
    return path.read_text("utf-8", "replace")


def _queries(machine: Path) -> list[str]:
    """The command behind that recording, when it is there.

    Raises:
        RigwrightError: a row does not fit its header, so that columns would be mixed up.
    """
    query = _query(machine)
    if query is None:
        return []
    header, *rows = (line.split(", ") for line in _said(query).splitlines() if line)
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            says = f"{query}: line {number} has {len(row)} values, the header {len(header)}"
            raise RigwrightError(f"lab: {says}; record it again with --format=csv")
    return ["nvidia-smi --query-gpu"]
