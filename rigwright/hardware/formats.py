"""The formats that are read: how each is recognised, who parses it, whose word counts. A new one is a row here."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rigwright.hardware.form import Format
from rigwright.hardware.form import gpu_form as _format
from rigwright.hardware.software_formats import SOFTWARE
from rigwright.hardware.sources.cells import lines
from rigwright.hardware.statements import Precedence

# Where the first lines do not show what a file is, no later ones will; no line that tells is longer.
_SNIFFED_LINES, _SNIFFED_CHARACTERS = 400, 600


_FIELD = r"(?:pcie\.link\.[a-z.]+|memory\.total|(?:pci|gpu)[._]bus_id|(?:gpu_)?uuid|compute_cap|power\.[a-z_.]*limit)"
# The order is that of recognition. `content` is looked for at the start of each line, past blanks.
FORMATS: tuple[Format, ...] = (
    _format("nvidia_xml", Precedence.XML, r"<nvidia_smi_log|<gpu id=", r"smi.*\.xml$"),
    _format("nvidia_query", Precedence.LONG_TEXT, r"=+NVSMI LOG=+|Attached GPUs\s+:", r"smi-q.*\.txt$"),
    _format("transfer", Precedence.MACHINE, r"index, host_to_device_gbytes_per_second", r"transfer.*\.csv$"),
    _format(
        "nvidia_csv",
        Precedence.CSV,
        rf"(?:.*, ?)?{_FIELD}(?: \[[^\]]*\])?(?:,|$)"
        r"|[0-9]{1,2}, ?(?:NVIDIA|Tesla|Quadro|GeForce|GRID|TITAN) [^,]{1,60},"
        r"(?:[^,]{1,60},)*? ?(?:[0-9A-F]{8}:[0-9A-F]{2}:[0-9A-F]{2}\.[0-7]|GPU-[0-9a-f]{8}-)",
        r"query.*\.csv$|values",
    ),
    _format("nvidia_p2p", Precedence.MATRIX, r"GPU[0-9]+\s.*\b(?:OK|CNS|GNS|TNS|NS|DR)\b", r"p2p"),
    _format(
        "rocm_text",
        Precedence.NVLINK,
        r"=+ ?ROCm System Management Interface|GPU\[[0-9]+\]\s*:|GPU ?[0-9]+\s*: \(Topology\)",
        r"rocm.*\.txt$",
    ),
    _format(
        "amd_smi",
        Precedence.LIST,
        r'GPU: [0-9]+$|(?:[\[{\s]*"(?:gpu_data|topology)"\s*:)?[\[{\s]*"gpu"\s*:\s*[0-9]',
        r"amd-?smi.*(?:static|list|metric|json)",
    ),
    _format(
        "amd_smi_topology", Precedence.NVLINK, r"(?:ACCESS|WEIGHT|HOPS|LINK TYPE|NUMA BW) TABLE:", r"amd-?smi.*topo"
    ),
    _format("amd_smi_table", Precedence.MATRIX, r"\|\s*AMD-SMI [0-9]|\|\s*BDF\s+GPU-Name", r"amd-?smi"),
    _format("rocm_csv", Precedence.MATRIX, r"device,[A-Z].*\(|device,(?:.*,)?Card [Ss]eries\b", r"rocm.*\.csv$"),
    _format(
        "xpu_smi", Precedence.LIST, r"\|?\s*[0-9]{1,2}\s*\|?\s+Device (?:Name: Intel|Type: Discrete GPU)", r"xpu-?smi"
    ),
    _format(
        "programs",
        Precedence.LIST,
        r".*msg=\"inference compute\"|.*ggml_vulkan: [0-9]{1,2} = |.*_Cuda(?:Device)?Properties\(name='"
        r"|GPU models and configuration\s*:\s*(?:AMD|Radeon|Instinct)"
        r"|\[[0-9]{1,2}\] (?:NVIDIA|Tesla|Quadro|GeForce|TITAN)[^|]{2,60}\|.*/ *[0-9]+ MB\b|\[level_zero:gpu\]",
        r"ollama",
    ),
    _format("device_blocks", Precedence.LIST, r"Agent [0-9]+\s*\**$|GPU[0-9]{1,2}:$", r"rocminfo|vulkaninfo"),
    _format("rocm_json", Precedence.MATRIX, r'(?:\{\s*)?"card[0-9]+"\s*:', r"rocm.*\.json$"),
    _format(
        "nvidia_topo", Precedence.MATRIX, r".{0,80}?\bGPU[0-9]+\s.*\bX\b|GPU0.*(?:GPU1|CPU ?Affinity|NIC0)", r"topo"
    ),
    _format(
        "nvidia_nvlink",
        Precedence.NVLINK,
        r"Link [0-9]+: |.*all links are inActive|.*support Nvlink|Nvlink quer",
        r"nvlink",
    ),
    _format(
        "nvidia_table",
        Precedence.TABLE,
        r"\|[^|]*\bMiB\s*/|\|\s*NVIDIA-SMI|\|\s*GPU\s+Name",
        r"^smi\.txt$|nvidia-smi",
    ),
    _format("nvidia_list", Precedence.LIST, r"(?:.*[^\w-])?GPU [0-9]+: .*\(UUID: ", r"list"),
    _format(
        "nvidia_report",
        Precedence.LIST,
        r"(?:[^:]{0,60}: ?)??[*+\u2022>#|\s-]*(?:GPUs? ?#?\[?[0-9, -]+\]?|Device [0-9]+)\s*(?:\*\*)?\s?[:=|]"
        r"\s?(?:\*\*)?\s*(?:NVIDIA|Tesla|Quadro|GeForce|GRID|TITAN|RTX|GTX|AMD|Radeon|Instinct)\b(?!.*\(UUID)"
        r"|(?i:[*|>\s-]*(?:nvidia|cuda|gpu)[ _]driver(?:[ _]version)?\s*(?:\*\*)?[:=|])",
        r"collect_env|environment",
    ),
    _format(
        "kernel_log",
        Precedence.KERNEL,
        r".*(?:NVRM: (?!version)|\bXid\b|amdgpu .*: |nouveau .*: |nvidia/[0-9.]+/gsp|\bkernel: )"
        r"|.*\bnvidia \S+: probe with driver nvidia|.*(?:DMAR|AMD-Vi): .*fault"
        r"|.*\bnvidia[\w-]*: (?:version magic|disagrees about version|Unknown symbol)"
        r"|.*(?:supported through the NVIDIA .* Legacy driver|not supported by the NVIDIA .* driver)"
        r"|(?:<[0-9]+>)?\[ *[0-9]+\.[0-9]+\] |The NVIDIA GPU ",
        r"dmesg|kern|journal",
    ),
    _format("driver_version", Precedence.KERNEL, r"NVRM version:", r"proc-driver|nvidia-version"),
    _format("sysfs", Precedence.SYSFS, r"device=[0-9a-f]{4}:[0-9a-f]{2}:|# display controllers", r"sysfs"),
    _format("numactl", Precedence.MACHINE, r"available: [0-9]+ nodes|node [0-9]+ cpus:", r"numactl"),
    _format("lscpu", Precedence.MACHINE, r"NUMA node[0-9]* ?CPU\(s\)|CPU\(s\):|Core\(s\) per socket", r"lscpu"),
    _format(
        "lspci",
        Precedence.LSPCI,
        r"(?:.*\s)?(?:[0-9a-f]{4}:)?[0-9a-f]{2}:[0-9a-f]{2}\.[0-7](?:\s|$)|LnkCap:",
        r"lspci",
    ),
    _format(
        "bus_lists",
        Precedence.LSPCI,
        r"\*-display|.*\bDevice-[0-9]{1,2}: (?:NVIDIA|AMD|Intel)\b"
        r"|[-+|\\ ]{1,200}.*\[[0-9a-f]{2}(?:-[0-9a-f]{2})?\]-.*[0-9a-f]{2}\.[0-7]  \S",
        r"lshw|inxi",
    ),
    _format(
        "apple",
        Precedence.MATRIX,
        r"Chipset Model: |Hardware Overview:|\"SP(?:Displays|Hardware)DataType",
        r"SP.*DataType",
    ),
    _format(
        "system",
        Precedence.MACHINE,
        r"(?:ID|KERNEL|ARCHITECTURE)=|MemTotal:|ProductName:",
        r"system|release|meminfo|sw_vers",
    ),
)


# Most lines show no format: one pattern for all is asked before each.
_ANY, _ANY_SOFTWARE = (
    re.compile("|".join(f"(?:{form.content.pattern})" for form in forms)) for forms in (FORMATS, SOFTWARE)
)


def recognise(name: str, text: str) -> list[Format]:
    """The formats in a file: by its content, which may be several outputs pasted together; else the one of its name."""
    # Names of software come first: they name the command, `dkms-status.txt`.
    return _by_content(text) or [form for form in (*SOFTWARE, *FORMATS) if form.name.search(name)][:1]


def _by_content(text: str) -> list[Format]:
    rows = lines(text)
    starts = _starts(rows[:_SNIFFED_LINES])
    # What stops an installation stands at the end of its log.
    ends = _starts(rows[max(_SNIFFED_LINES, len(rows) - _SNIFFED_LINES) :])
    found = _matching(FORMATS, _ANY, starts)
    return found + _matching(SOFTWARE, _ANY_SOFTWARE, starts + ends)


def _matching(forms: Sequence[Format], any_of_them: re.Pattern[str], starts: list[str]) -> list[Format]:
    shown = [start for start in starts if any_of_them.match(start)]
    return [form for form in forms if any(map(form.content.match, shown))]


def is_answer(name: str) -> bool:
    """Whether a file of this name is an answer when it holds nothing."""
    return any(form.is_answer_empty for form in recognise(name, ""))


def has_format(text: str) -> bool:
    """Whether the content of a text shows what it is."""
    return bool(_by_content(text))


def _starts(rows: list[str]) -> list[str]:
    return [start for line in rows if (start := line.strip()[:_SNIFFED_CHARACTERS])]
