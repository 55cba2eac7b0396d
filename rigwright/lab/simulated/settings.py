"""What nvidia-smi sets on a simulated GPU: its power limit, clocks and persistence mode; gone with the module."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from rigwright.lab.simulated.kernel import Kernel

# Source: nvidia-smi(1), "RETURN VALUE".
INVALID, NOT_PERMITTED, NOT_FOUND = 2, 4, 6
OPTIONS = {
    "-pl": "power.limit",
    "--power-limit": "power.limit",
    "-pm": "persistence_mode",
    "--persistence-mode": "persistence_mode",
    "-lgc": "clocks",
    "--lock-gpu-clocks": "clocks",
    "-rgc": "",
    "--reset-gpu-clocks": "",
}
_ASKED = ["--query-gpu=pci.bus_id,power.limit,power.min_limit,power.max_limit", "--format=csv,noheader,nounits"]
# The columns of a query that say what was set.
_COLUMNS = {
    "power.limit": "power.limit",
    "enforced.power.limit": "power.limit",
    "persistence_mode": "persistence_mode",
}
Ask = Callable[[Sequence[str]], str]


def split_id(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """Which GPU is meant by `-i`, empty where all are, and the other words."""
    words = [part for word in arguments for part in (word.split("=", 1) if word.startswith("--id=") else [word])]
    for option in ("-i", "--id"):
        if option in words[:-1]:
            at = words.index(option)
            return words[at + 1], words[:at] + words[at + 2 :]
    return "", words


def chosen(kernel: Kernel, wanted: str) -> list[int]:
    """The indices of the GPUs that an index, a UUID or an address means."""
    names = [{str(index), uuid, f"0000{address}", address} for index, (address, _, uuid) in enumerate(kernel.gpus)]
    return [
        index for index, known in enumerate(names) if not wanted or wanted.lower() in {one.lower() for one in known}
    ]


def put(kernel: Kernel, wanted: str, words: Sequence[str], ask: Ask) -> tuple[int, str] | None:
    """Set what is asked for; the exit code and what is said, None where nothing is to be set."""
    option, _, value = (words[0] if words else "").partition("=")
    if option not in OPTIONS:
        return None
    value = value or (words[1] if len(words) > 1 else "")
    lines = []
    for index in chosen(kernel, wanted):
        code, said = _put(kernel, index, OPTIONS[option], value, ask)
        if code:
            return code, f"{said}\nTerminating early due to previous errors.\n"
        lines.append(f"{said}\n" if said else "")
    return (0, "".join(lines) + "All done.\n") if lines else (NOT_FOUND, "No devices were found\n")


def _put(kernel: Kernel, index: int, key: str, value: str, ask: Ask) -> tuple[int, str]:
    row = ask(_ASKED).splitlines()[index].split(", ")
    bus, was, least, most = row
    file = _file(kernel, index, key or "clocks")
    if not kernel.is_root:
        return NOT_PERMITTED, f"Unable to change settings for GPU {bus}: Insufficient Permissions"
    file.parent.mkdir(parents=True, exist_ok=True)
    if not key:
        file.unlink(missing_ok=True)
        return 0, ""
    if key == "power.limit":
        watts = float(value)
        if not float(least) <= watts <= float(most):
            range_ = f"between {least} W and {most} W"
            says = (
                f"Provided power limit {watts:.2f} W is not a valid power limit which should be {range_} for GPU {bus}"
            )
            return INVALID, says
        was = file.read_text() if file.exists() else was
        file.write_text(f"{watts:.2f}")
        return 0, f"Power limit for GPU {bus} was set to {watts:.2f} W from {was} W."
    if key == "persistence_mode":
        file.write_text("Enabled" if value in ("1", "ENABLED") else "Disabled")
        return 0, f"{file.read_text()} persistence mode for GPU {bus}."
    file.write_text(value)
    least, _, most = value.partition(",")
    return 0, f'GPU clocks set to "(gpuClkMin {least}, gpuClkMax {most or least})" for GPU {bus}'


def query(kernel: Kernel, wanted: str, words: Sequence[str], answer: str) -> str:
    """A recorded answer to --query-gpu, of the GPUs that are meant and left, with what was set on them."""
    has_header = "noheader" not in " ".join(words)
    lines = answer.splitlines(keepends=True)
    asked = next(word.partition("=")[2] for word in words if word.startswith("--query-gpu="))
    names = lines[0].rstrip("\n").split(", ") if has_header and lines else asked.split(",")
    columns = [name.strip().partition(" [")[0] for name in names]
    head, rows = (lines[:1], lines[1:]) if has_header else ([], lines)
    left = [_set(kernel, index, columns, rows[index]) for index in chosen(kernel, wanted) if index < len(rows)]
    return "".join([*head, *left])


def _set(kernel: Kernel, index: int, columns: Sequence[str], row: str) -> str:
    cells = row.rstrip("\n").split(", ")
    for at, column in enumerate(columns[: len(cells)]):
        file = _file(kernel, index, _COLUMNS.get(column, ""))
        if file.is_file():
            unit = " W" if cells[at].endswith(" W") else ""
            cells[at] = file.read_text() + unit
    return ", ".join(cells) + "\n"


def _file(kernel: Kernel, index: int, key: str) -> Path:
    return kernel.run / "settings" / f"{kernel.gpus[index][2]}.{key}"
