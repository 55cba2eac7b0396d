"""nvidia-smi, nvidia-modprobe and lspci of a simulated driver: what a machine recorded, as the driver now has it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from rigwright.lab.simulated import settings
from rigwright.lab.simulated.kernel import Kernel, Refused

RECORDED = "usr/lib/rigwright-lab/recorded"
LIBRARY = "libnvidia-ml.so"
# Source: nvidia-smi(1), "RETURN VALUE"; the messages are recorded ones.
NO_DEVICES, NOT_LOADED, NO_LIBRARY, MISMATCH = 6, 9, 12, 18
SAYS = {
    NO_DEVICES: "No devices were found",
    NOT_LOADED: (
        "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that the latest "
        "NVIDIA driver is installed and running.\n"
    ),
    NO_LIBRARY: (
        f"NVIDIA-SMI couldn't find {LIBRARY} library in your system. Please make sure that the NVIDIA Display Driver "
        f"is properly installed and present in your system.\nPlease also try adding directory that contains "
        f"{LIBRARY} to your system PATH."
    ),
    MISMATCH: "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: {library}",
}
# Branch and the CUDA version that it knows. Source: CUDA toolkit release notes, table 3.
CUDA = {
    470: "11.4",
    535: "12.2",
    550: "12.4",
    570: "12.8",
    575: "12.9",
    580: "13.0",
    590: "13.1",
    595: "13.2",
    610: "13.3",
}
_CUDA = re.compile(r"(CUDA (?:UMD )?Version\s*: |<cuda_version>)(\d+\.\d+)")
_VERSION = re.compile(r"\b\d{3}\.\d{2,3}(?:\.\d{2})?\b")
_FOLDERS = ("usr/lib/*", "usr/lib64", "usr/lib/*/nvidia/current", "usr/lib")


def nvidia_smi(kernel: Kernel, arguments: Sequence[str]) -> int:
    """Answer as the recorded machine did, with the driver that is loaded and the GPUs that are left."""
    library, driver = library_version(kernel.root), kernel.driver
    code = 0
    if library is None:
        code = NO_LIBRARY
    elif driver is None:
        code = NOT_LOADED
    elif library and library != driver.version:
        code = MISMATCH
    elif not kernel.gpus:
        code = NO_DEVICES
    if code or driver is None:
        sys.stdout.write(SAYS[code].format(library=".".join((library or "").split(".")[:2])) + "\n")
        return code
    if kernel.is_root:
        kernel.make_devices()
    wanted, words = settings.split_id(arguments)
    if put := settings.put(kernel, wanted, words, lambda asked: _recorded("nvidia-smi", asked).stdout):
        sys.stdout.write(put[1])
        return put[0]
    if asked := next((word for word in words if word.startswith("--query-compute-apps=")), None):
        sys.stdout.write(_compute_apps(kernel, asked.partition("=")[2].split(",")))
        return 0
    is_query = any(word.startswith("--query-gpu=") for word in words)
    if is_query and not settings.chosen(kernel, wanted):
        sys.stdout.write(f"{SAYS[NO_DEVICES]}\n")
        return NO_DEVICES
    done = _recorded("nvidia-smi", words if is_query else arguments)
    text = with_driver(done.stdout, _recorded_version(kernel.root), driver.version)
    if is_query:
        text = settings.query(kernel, wanted, words, text)
    elif kernel.has_fault("gpu-lost"):
        text = without_gpu(text, len(kernel.gpus))
    sys.stdout.write(text)
    sys.stderr.write(done.stderr)
    return done.returncode


def _compute_apps(kernel: Kernel, columns: Sequence[str]) -> str:
    """A line for each process that has a GPU's device file open: one that computes would."""
    rows = []
    for pid, index in kernel.computing():
        address, name, uuid = kernel.gpus[index]
        said = {"pid": str(pid), "gpu_uuid": uuid, "gpu_name": name, "gpu_bus_id": f"0000{address}"}
        rows.append(", ".join(said.get(column.strip(), "[N/A]") for column in columns))
    return "".join(f"{row}\n" for row in rows)


def nvidia_modprobe(kernel: Kernel, arguments: Sequence[str]) -> int:
    """Load the driver and make its device files: `-c NUM` those of a GPU, `-u` those of CUDA's memory."""
    words = [
        word
        for argument in arguments
        for word in re.split(r"(?<=^-c)=?(?=\d)|(?<=^--create-nvidia-device-file)=", argument)
    ]
    minors = [int(word) for word in words if word.isdigit()]
    is_uvm = bool({"-u", "--unified-memory"} & set(words))
    if not kernel.is_root:
        # The real one is setuid; a script cannot be.
        sys.stderr.write("nvidia-modprobe: the stand-in of the lab needs root\n")
        return 1
    try:
        kernel.load("nvidia")
        if is_uvm:
            kernel.load("nvidia_uvm")
    except Refused as refusal:
        sys.stderr.write(f"{refusal}\n")
        return 1
    kernel.make_devices(minors or None, uvm=is_uvm)
    return 0


def lspci(kernel: Kernel, arguments: Sequence[str]) -> int:
    """The recorded list, with the driver that holds the GPUs now."""
    done = _recorded("lspci", arguments)
    held = next((name for name in ("nvidia", "nouveau") if name in kernel.modules), None)
    known = ["nouveau", *(["nvidia_drm", "nvidia"] if kernel.disk else [])]
    sys.stdout.write(with_holder(done.stdout, held, known))
    sys.stderr.write(done.stderr)
    return done.returncode


def library_version(root: Path) -> str | None:
    """The version of NVIDIA's library; None where there is none, empty where its name does not say it."""
    for folder in _FOLDERS:
        for link in sorted(root.glob(f"{folder}/{LIBRARY}.1")):
            name = link.resolve().name
            return name.removeprefix(f"{LIBRARY}.") if _VERSION.fullmatch(name.removeprefix(f"{LIBRARY}.")) else ""
    return None


def with_driver(text: str, recorded: str, version: str) -> str:
    """A recorded answer of another driver; columns of a table stay where they are."""

    def put(match: re.Match[str]) -> str:
        is_table = text[: match.start()].rpartition("\n")[2].startswith("|")
        blanks = len(match[0]) - len(version) if is_table else len(match[1])
        return version + " " * max(blanks, bool(match[1]))

    if recorded:
        text = re.sub(rf"\b{re.escape(recorded)}\b( *)", put, text)
    cuda = CUDA[max((branch for branch in CUDA if branch <= int(version.split(".")[0])), default=470)]
    return _CUDA.sub(lambda match: match[1] + cuda, text)


def with_holder(text: str, held: str | None, known: list[str]) -> str:
    """A list of lspci -v in which one kernel driver, or none, holds each GPU of NVIDIA's."""
    lines: list[str] = []
    is_gpu = False
    for line in text.splitlines(keepends=True):
        if not line.startswith((" ", "\t")):
            is_gpu = "NVIDIA" in line and re.search(r"(?:VGA compatible|3D|Display) controller", line) is not None
        elif is_gpu and "Kernel driver in use:" in line:
            continue
        elif is_gpu and "Kernel modules:" in line:
            lines += [f"\tKernel driver in use: {held}\n"] if held else []
            line = f"\tKernel modules: {', '.join(known)}\n"
        lines.append(line)
    return "".join(lines)


def without_gpu(text: str, index: int) -> str:
    """A recorded answer without its last GPU, whose index this is: of any of the forms but a query."""
    if "<nvidia_smi_log" in text:
        head, *gpus = re.split(r"(?=^\s*<gpu id=)", text, flags=re.MULTILINE)
        if gpus:
            gpus[-1] = gpus[-1].partition("</gpu>\n")[2]
        return re.sub(r"(?<=<attached_gpus>)\d+", str(index), head + "".join(gpus))
    if "Attached GPUs" in text:
        head, *gpus = re.split(r"(?=^GPU [0-9A-Fa-f]{8}:)", text, flags=re.MULTILINE)
        return re.sub(r"(Attached GPUs\s*: )\d+", rf"\g<1>{index}", head + "".join(gpus[:-1]))
    if re.search(r"^\+-{40,}\+$", text, re.MULTILINE):
        return re.sub(
            rf"^\|\s+{index}\s+[^|]*\|.*\|\n(?:\|(?![ ]+\d+[ ]{{2}}).*\|\n)*\+-.*\n",
            "",
            text,
            count=1,
            flags=re.MULTILINE,
        )
    if re.search(rf"^\s*GPU{index}\b", text, re.MULTILINE):
        return _without_column(text, f"GPU{index}")
    if re.search(r"^GPU \d+:", text, re.MULTILINE):
        return re.sub(rf"^GPU {index}:.*\n(?:[ \t].*\n)*", "", text, flags=re.MULTILINE)
    return text


def _without_column(text: str, name: str) -> str:
    lines = text.splitlines(keepends=True)
    header = next(at for at, line in enumerate(lines) if re.search(rf"\b{name}\b", line))
    is_tabbed = "\t" in lines[header]
    parts = [re.split(r"\t" if is_tabbed else r"(?<=\S)\s+(?=\S)", line) for line in lines]
    place = next(at for at, cell in enumerate(parts[header]) if name in cell)
    offset = 0 if is_tabbed else 1  # without tabs the corner takes no cell
    kept = []
    for line, cells in zip(lines, parts, strict=True):
        if line.strip().startswith(name) and line is not lines[header]:
            continue
        is_row = re.match(r"\s*(?:GPU|NIC|mlx)\d", line) is not None
        at = place if line is lines[header] else place + offset
        kept.append("\t".join(cells[:at] + cells[at + 1 :]) if is_row or line is lines[header] else line)
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in kept)


def _recorded(tool: str, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([f"/{RECORDED}/{tool}", *arguments], capture_output=True, text=True, check=False)


def _recorded_version(root: Path) -> str:
    file = root / "usr/lib/rigwright-lab/driver/recorded-version"
    return file.read_text().strip() if file.exists() else ""
