"""What is asked of a rig, and how the answer becomes files: live readings and recordings take the same path.

The shell behind it is `roles/hardware/collect.sh`: one remote command, no root, nothing written, every tool with a
time limit. Its answer has a line `@rigwright source FILE` per source, and each line of the source behind a `|`, so
that nothing a tool says can pretend to be a section.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rigwright.resources import role_text

# Source: `nvidia-smi --help-query-gpu` of driver 590; older drivers refuse what they do not know, and smi.xml is read.
QUERY_FIELDS = (
    "index", "uuid", "name", "pci.bus_id", "pci.device_id", "pci.sub_device_id", "memory.total", "compute_cap",
    "mig.mode.current", "display_active", "driver_version",
    "pcie.link.gen.current", "pcie.link.gen.max", "pcie.link.gen.gpumax", "pcie.link.gen.hostmax",
    "pcie.link.width.current", "pcie.link.width.max",
    "power.limit", "power.default_limit", "power.min_limit", "power.max_limit",
)  # fmt: skip
LINK_FIELDS = (
    "index", "pcie.link.gen.current", "pcie.link.width.current", "pcie.link.gen.max", "pcie.link.width.max",
)  # fmt: skip
_MARK = "@rigwright "
_SOURCE = "source "


@dataclass(frozen=True)
class Source:
    """One file of a recording.

    command: as a person would type it, empty for what collect.sh puts together from several places.
    shell: how collect.sh is asked for it, where that is more than the command itself.
    in_state: asked on every deploy; the others by `rigwright hardware` alone.
    """

    file: str
    command: str = ""
    shell: str = ""
    in_state: bool = True


# What stands around a driver, as software.sh asks for it: `answer TOOL FILE` keeps what says nothing too.
SOFTWARE = (
    ("proc-version.txt", "cat /proc/version", ""),
    ("lib-modules.txt", "ls /lib/modules", ""),
    ("proc-devices.txt", "cat /proc/devices", ""),
    ("infiniband.txt", "ls /dev/infiniband", "answer ls infiniband.txt ls /dev/infiniband"),
    ("lsmod.txt", "lsmod", ""),
    ("df.txt", "df -k --output=avail,target / /boot", ""),
    ("packages.txt", "dpkg-query -W -f='${db:Status-Abbrev} ${Package} ${Version}\\n' | grep …", "packages"),
    ("apt-policy.txt", "apt-cache policy …", "ask apt-policy.txt policy_text"),
    ("dnf-list.txt", "dnf -q -C list --showduplicates …", "ask dnf-list.txt dnf_text"),
    ("repositories.txt", "tail -n +1 /etc/apt/sources.list …", "ask repositories.txt repositories_text"),
    ("dkms-status.txt", "dkms status", "answer dkms dkms-status.txt dkms status"),
    ("dkms-make.txt", "cat /var/lib/dkms/*/*/build/make.log", "ask dkms-make.txt dkms_log_text"),
    ("modinfo.txt", "modinfo nvidia", "answer modinfo modinfo.txt modinfo_text"),
    ("compilers.txt", "cc --version; ldd --version", "ask compilers.txt compilers_text"),
    ("nvcc.txt", "nvcc --version", "answer readlink nvcc.txt nvcc_text"),
    ("secure-boot.txt", "mokutil --sb-state", "ask secure-boot.txt secure_boot_text"),
    (
        "units.txt",
        "systemctl show -p Id,LoadState,ActiveState nvidia-persistenced.service nvidia-fabricmanager.service "
        "nvlsm.service nvidia-cdi-refresh.service systemd-modules-load.service",
        "",
    ),
    ("userland.txt", "readlink -f /usr/lib/*/libcuda.so.1", "userland"),
    ("cuinit.txt", "", "ask cuinit.txt cuda_text"),
    ("runfile.txt", "ls /usr/bin/nvidia-uninstall …", "answer ls runfile.txt runfile_text"),
    ("initramfs.txt", "lsinitramfs /boot/initrd.img-… | grep nvidia", "initramfs"),
    ("cdi.txt", "grep -B 2 -A 3 'path: /dev/nvidia-uvm$' /etc/cdi/nvidia.yaml", "ask cdi.txt cdi_text"),
    ("dmidecode.txt", "dmidecode -t 39", "[ ! -r /sys/firmware/dmi/tables/DMI ] || ask dmidecode.txt dmidecode -t 39"),
)
# The cheap ones first: a tool that hangs takes nothing away from those before it.
SOURCES = (
    Source("system.txt", shell="tell system.txt system_text"),
    Source("sysfs.txt", shell="tell sysfs.txt sysfs_text"),
    Source("proc-driver-nvidia-version.txt", "cat /proc/driver/nvidia/version", "module_text"),
    Source("lscpu.txt", "lscpu", "tell lscpu.txt lscpu"),
    Source("numactl.txt", "numactl -H"),
    Source("dmesg.txt", "dmesg", "tell dmesg.txt dmesg_text"),
    Source("lspci.txt", "lspci -D -nn -vv", "ask lspci.txt lspci_text"),
    Source("query.csv", f"nvidia-smi --query-gpu={','.join(QUERY_FIELDS)} --format=csv", "nvidia_query"),
    Source("list.txt", "nvidia-smi -L", "is_plain || ask list.txt nvidia-smi -L"),
    Source("topo.txt", "nvidia-smi topo -m", "is_alone || ask topo.txt nvidia-smi topo -m"),
    Source("p2p.txt", "nvidia-smi topo -p2p r", "is_alone || ask p2p.txt nvidia-smi topo -p2p r"),
    Source("nvlink.txt", "nvidia-smi nvlink -s", "is_alone || ask nvlink.txt nvidia-smi nvlink -s"),
    Source("smi.txt", "nvidia-smi", "nvidia_table", in_state=False),  # nvidia_query asks it too, where that fails
    Source("smi-q.txt", "nvidia-smi -q", in_state=False),
    Source("smi.xml", "nvidia-smi -q -x", "nvidia_xml", in_state=False),
    Source("rocm-smi.json", "rocm-smi -a --json"),
    Source("rocm-smi-showtopo.txt", "rocm-smi --showtopo"),
    Source("amd-smi.txt", "amd-smi"),
    Source("amd-smi-static.txt", "amd-smi static"),
    Source("amd-smi-topology.txt", "amd-smi topology"),
    Source("SPHardwareDataType.txt", "system_profiler SPHardwareDataType"),
    Source("SPDisplaysDataType.txt", "system_profiler SPDisplaysDataType"),
    *(Source(file, command, shell, in_state=False) for file, command, shell in SOFTWARE),
)
EXIT_CODE = "rc.txt"
LOAD_FILES = ("query-load.csv", "transfer.csv", "load.txt")
FILES = (*(source.file for source in SOURCES), EXIT_CODE, *LOAD_FILES)
# collect.sh waits 30 s for a tool: the first nvidia-smi after a boot wakes every GPU, which takes seconds for each
# without persistence mode. A load takes some seconds per GPU.
TOTAL_SECONDS, LOAD_SECONDS = 90, 300


def limit_seconds(*, under_load: bool) -> int:
    """When nobody waits for an answer any more; collect.sh ends before, where there is `timeout`."""
    return TOTAL_SECONDS + (LOAD_SECONDS if under_load else 0) + 30


def script(*, everything: bool = False, under_load: bool = False, with_software: bool = False) -> str:
    """All questions as one POSIX shell script; `read` understands its answer.

    `with_software` also asks what stands around a driver, which takes a second of package managers.
    """
    around = {file for file, _, _ in SOFTWARE}
    asked = [source for source in SOURCES if everything or source.in_state]
    asked = [source for source in asked if with_software or source.file not in around]
    rest = [role_text("hardware", "software.sh")] if with_software else []
    lines = [source.shell or f"ask {shlex.quote(source.file)} {source.command}" for source in asked]
    query = next(source.command for source in SOURCES if source.file == "query.csv")
    settings = [f"TOTAL_SECONDS={TOTAL_SECONDS}", f"EVERYTHING={'yes' if everything else ''}"]
    settings += [f"NVIDIA_QUERY={shlex.quote(query)}"]
    load = [_load()] if under_load else []
    # In a shell of its own: it may be one section among others.
    return "\n".join(["(", *settings, role_text("hardware", "collect.sh"), *rest, *lines, *load, ")"])


def _load() -> str:
    """A load for the PCIe links: a Python script on stdin. Not a here-document: bash puts those into a file."""
    text = shlex.quote(role_text("hardware", "load.py"))
    return f"load_text() {{ printf %s {text} | python3 -I -; }}\nload {LOAD_SECONDS} {' '.join(LOAD_FILES)}"


def files(sections: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The sections of an answer (name -> lines) as files; names that nobody asked for are left out."""
    found = {name.removeprefix(_SOURCE): lines for name, lines in sections.items() if name.startswith(_SOURCE)}
    texts = {
        name: "".join(f"{line[1:]}\n" for line in lines if line.startswith("|"))
        for name, lines in found.items()
        if name in FILES
    }
    answers = {file for file, _, _ in SOFTWARE}
    return {name: text for name, text in texts.items() if text.strip() or name in answers}


def read(output: Iterable[str]) -> dict[str, str]:
    """The lines that `script` printed as files."""
    return files(split(output))


def split(output: Iterable[str]) -> dict[str, list[str]]:
    """The lines of an answer by section."""
    sections: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in output:
        if line.startswith(_MARK):
            lines = sections[line.removeprefix(_MARK).strip()] = []
        else:
            lines.append(line)
    return sections
