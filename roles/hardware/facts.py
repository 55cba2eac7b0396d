"""What a rig has, on a blank machine too: /proc, /sys and lscpu; nvidia-smi once a driver is there."""

from __future__ import annotations

from rigwright.hardware import Cpu, Disk, Gpu, Hardware

SECTIONS: tuple[tuple[str, str], ...] = (
    ("os", 'cat /etc/os-release; echo "KERNEL=$(uname -r)"; echo "ARCHITECTURE=$(uname -m)"'),
    ("cpu", "lscpu 2>/dev/null | grep -E '^(Model name|CPU\\(s\\)|Core\\(s\\) per|Socket\\(s\\))'"),
    ("memory", "grep -E '^(MemTotal|MemAvailable):' /proc/meminfo"),
    # Display controllers by PCI class: works before any driver is installed.
    (
        "pci",
        'for d in /sys/bus/pci/devices/*; do read -r class <"$d/class" || continue; case $class in 0x03*)'
        ' echo "${d##*/} $(cat "$d/vendor" "$d/device" | tr "\\n" " ")";; esac; done 2>/dev/null',
    ),
    # nvidia-smi can hang for minutes on a sick GPU.
    (
        "nvidia",
        "command -v nvidia-smi >/dev/null && timeout 20 nvidia-smi"
        " --query-gpu=index,uuid,name,memory.total,compute_cap,pci.bus_id,driver_version"
        ' --format=csv,noheader,nounits 2>&1; echo "rc=$?"',
    ),
    (
        "cuda",
        "for n in nvcc /usr/local/cuda/bin/nvcc; do command -v $n >/dev/null || continue;"
        ' echo "nvcc=$n"; $n --version | grep release; break; done',
    ),
)
_NVIDIA = "0x10de"


def read_hardware(sections: dict[str, list[str]], disks: tuple[Disk, ...] = ()) -> Hardware:
    """The answers to SECTIONS as Hardware; what is missing is None or zero."""
    release = {key: value.strip('"') for key, value in _pairs(sections.get("os", []), "=")}
    memory = dict(_pairs(sections.get("memory", []), ":"))
    smi = _nvidia_smi(sections.get("nvidia", []))
    return Hardware(
        os_id=release.get("ID", "unknown"),
        os_version=release.get("VERSION_ID", ""),
        os_codename=release.get("VERSION_CODENAME", ""),
        kernel=release.get("KERNEL", ""),
        architecture=release.get("ARCHITECTURE", ""),
        cpu=_cpu(dict(_pairs(sections.get("cpu", []), ":"))),
        ram_bytes=_kib(memory.get("MemTotal", "")) * 1024,
        disks=disks,
        gpus=tuple(gpu for gpu, _ in smi) or _pci_gpus(sections.get("pci", [])),
        driver_version=smi[0][1] if smi else None,
    )


def cuda_version(sections: dict[str, list[str]]) -> str | None:
    """The release of nvcc, like `12.4`, None without one."""
    for line in sections.get("cuda", []):
        if "release " in line:
            return line.split("release ")[1].split(",")[0].strip()
    return None


def _pairs(lines: list[str], separator: str) -> list[tuple[str, str]]:
    cells = [line.partition(separator) for line in lines]
    return [(key.strip(), value.strip()) for key, found, value in cells if found]


def _kib(text: str) -> int:
    """`24064332 kB` as a number, 0 where there is none."""
    words = text.split()
    return int(words[0]) if words and words[0].isdecimal() else 0


def _cpu(cells: dict[str, str]) -> Cpu:
    def number(key: str) -> int:
        return int(cells[key]) if cells.get(key, "").isdecimal() else 1

    logical = number("CPU(s)")
    physical = min(number("Core(s) per socket") * number("Socket(s)"), logical)
    return Cpu(cells.get("Model name", "unknown"), physical, logical)


def _pci_gpus(lines: list[str]) -> tuple[Gpu, ...]:
    rows = [line.split() for line in lines]
    return tuple(
        Gpu(pci_address=row[0], pci_id=f"{row[1][2:]}:{row[2][2:]}")
        for row in rows
        if len(row) == 3 and row[1] == _NVIDIA
    )


def _nvidia_smi(lines: list[str]) -> list[tuple[Gpu, str]]:
    """Rows of --query-gpu as (Gpu, driver version); error texts and rows with ERR! cells name no usable GPU."""
    found = []
    for line in lines:
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) != 7 or not cells[0].isdecimal() or not cells[1].startswith("GPU-"):
            continue
        index, uuid, name, mebibytes, capability, address, driver = cells
        vram = int(mebibytes) * 1024**2 if mebibytes.isdecimal() else None
        domain, _, rest = address.lower().partition(":")
        compute = capability if capability.replace(".", "").isdecimal() else None
        found.append((Gpu(f"{domain[-4:]}:{rest}", None, name, int(index), uuid, vram, compute), driver))
    return found
