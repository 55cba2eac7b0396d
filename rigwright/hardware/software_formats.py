"""The formats of what stands around a driver: packages, modules, compilers. A new one is a row here."""

from __future__ import annotations

from rigwright.hardware.form import Format, software_form

# `content` is looked for at the start of each line, past blanks.
SOFTWARE: tuple[Format, ...] = (
    software_form(
        "dpkg",
        r"[uihrp][ncHUFWti]R?\s+[a-z0-9][a-z0-9+.:-]+\s+(?:[0-9]+:)?[0-9]"
        r"|(?:.*\s)?(?:install|hold|deinstall|purge) (?:ok|reinstreq) [a-z-]+(?:\s|$)"
        r"|[a-z0-9][a-z0-9+.:-]+\t+(?:install|hold|deinstall|purge)$"
        r"|(?=.*(?:nvidia|cuda|linux-|gcc|dkms|libc6))[a-z0-9][a-z0-9+.-]+(?::[a-z0-9]+)?[\s=_|,;]+(?:[0-9]+:)?[0-9][\w.+~:-]*$"
        r"|The following packages (?:are only half|have been unpacked|are in a mess|are missing)",
        r"dpkg",
        is_answer_empty=True,
    ),
    software_form("dpkg", r"(?!)", r"packages"),
    software_form(
        "rpm",
        # A release of a kernel ends as packages do.
        r"(?![0-9]+\.[0-9]+\.[0-9]+-)"
        r"[A-Za-z0-9][\w.+-]*-(?:[0-9]+:)?[\w.+~^]+-[\w.+~^]+\.(?:x86_64|noarch|aarch64|i[3-6]86|ppc64le)(?:\s|$)"
        r"|(?![0-9]+\.[0-9]+\.[0-9]+-)"
        r"[A-Za-z0-9][\w.+-]*\.(?:x86_64|noarch|aarch64|i[3-6]86|ppc64le)(?:\s+(?:[0-9]+:)?[\w.+~^]+-[\w.+~^]+|$)"
        r"|Name\s+Stream\s+Profiles|nvidia-driver\s+\S+(?: ?\[[dexia]\])*\s+\S+"
        r"|[A-Za-z0-9][\w.+-]*-[0-9]+:[\w.+~^]+-[\w.+~^]+\.\*$|Package name: \S+$",
        r"^rpm\b|^dnf|^yum",
    ),
    software_form(
        "apt",
        r"[a-z0-9][a-z0-9+.-]+\s*\|\s*(?:[0-9]+:)?[0-9][\w.+~:-]*\s*\|\s*\S.*Packages$"
        r"|[a-z0-9][a-z0-9+.-]+(?::[a-z0-9]+)?:$|-?[0-9]+ [a-z+]+:/\S+.* Packages$"
        r"|[a-z0-9][a-z0-9+.-]+/[\w.:+,-]+ (?:[0-9]+:)?[0-9][\w.+~:-]* [a-z0-9]+(?: \[|$)",
        r"apt-|madison|policy",
    ),
    software_form("package_stanzas", r"(?:Package|Name\s*): [a-zA-Z0-9][\w.+-]+$"),
    software_form("virtualization", r".*\bsystemd-detect-virt$", r"virt"),
    software_form("holds", r".*\bapt-mark showhold|\S+ (?:was already )?set on hold\.$", r"hold", is_answer_empty=True),
    software_form(
        "repositories",
        r"(?:\S*\.(?:list|sources|repo)[:-](?:[0-9]+[:-])?)?(?:#+\s*)?deb\s+(?:\[[^\]]*\]\s+)?[a-z+]{2,20}:/\S+"
        r"|(?:\S*\.(?:sources|repo)[:-](?:[0-9]+[:-])?)?(?:Types:.*\bdeb\b|URIs:|(?:baseurl|metalink|mirrorlist)\s*=)"
        r"|repo id\s+repo name",
        r"repos|sources",
    ),
    software_form(
        "dkms",
        r"[A-Za-z0-9][\w.+-]*(?:/|, ?)[\w.+~:-]+(?:, [\w.+~-]+, \w+)?: ?(?:added|built|installed|broken)\b"
        r"|.*\bdkms status\b|File: /var/lib/dkms/",
        r"dkms",
        is_answer_empty=True,
    ),
    software_form(
        "lsmod",
        r"Module\s+Size\s+Used by$|(?:nvidia|nouveau|ib_umad)[\w-]*\s+[0-9]{3,10}\s+-?[0-9]+(?:\s|$)"
        r"|\S+ [0-9]+ [0-9]+ \S+ Live 0x",
        r"lsmod|proc-?modules",
        is_answer_empty=True,
    ),
    software_form(
        "modinfo",
        r"(?:filename|vermagic|signer):\s+\S|modinfo: ERROR: Module nvidia",
        r"modinfo",
        is_answer_empty=True,
    ),
    software_form(
        "module_files",
        r"(?:.*\s)?/?(?:usr/)?lib/modules/\S+/nvidia[\w-]*\.ko|(?:.*[\s/])?lib(?:nvidia-ml|cuda)\.so\.[0-9]{3}\."
        r"|.*\b(?:lsinitramfs|lsinitrd) ",
        r"initramfs|initrd",
        is_answer_empty=True,
    ),
    software_form(
        "kernel_version",
        r".*Linux version [0-9]|Linux \S+ [0-9]+\.[0-9]+\S* #|.*\buname -[ra]+$",
        r"uname|proc[-_]version|^kernel(?:[-_](?:version|release|running))?(?:\.|$)",
    ),
    software_form(
        "kernels",
        r"(?:.*[\s/])?vmlinuz-[0-9]|.*\bls (?:-\S+ )*/(?:lib/modules|boot)\b",
        r"lib[-_]modules"
        "|^boot|^ls-|^kernels",
    ),
    software_form(
        "compilers",
        r"(?:\S*/)?(?:cc|gcc|[a-z0-9_]+-linux-gnu-gcc) \(.*\) [0-9]+\.[0-9]|(?:\S+ )?clang version [0-9]|ldd \("
        r"|glibc [0-9]"
        r"|(?:.*[: ])?(?:cc|gcc): (?:command )?not found",
        r"compiler|gcc",
    ),
    software_form(
        "nvcc",
        r"(?:.*\s)?/\S*/nvcc\b|Cuda compilation tools, release|(?:sm|compute)_[0-9]{2,3}[a-z]?$"
        r"|(?:.*[: ])?nvcc: .*not found"
        r"|(?:which: )?no nvcc in",
        r"nvcc|toolkit",
        is_answer_empty=True,
    ),
    software_form(
        "secure_boot",
        r".*(?:SecureBoot (?:enabled|disabled|validation)|[Ss]ecure ?[Bb]oot: (?:Secure boot )?(?:enabled"
        r"|disabled)|EFI variables are not"
        r"|support Secure ?Boot|(?:is already|is not) enrolled|enrollment request|EFI Secure Boot)",
        r"secure[-_]?boot|mokutil|efivar",
    ),
    software_form(
        "units",
        r"(?:\S+ )?(?:nvidia-[\w@.-]+|nvlsm|systemd-modules-load|rigwright-gpu|dcgm)\.service\b"
        r"|Id=\S+\.service$|.*\bnvidia-\S+\.service: [A-Z]|Unit \S+ (?:could )?not "
        r"|.*systemctl is-active |.*\bnvidia-persistenced\.service .*skipped|.*NVIDIA Persistence Daemon being skipped",
        r"systemctl|^units",
    ),
    software_form(
        "runfile",
        r"(?:.*[\s'])?/usr/(?:local/)?bin/nvidia-(?:uninstall|installer)\b|(?:.*[\s'])?/var/log/nvidia-(?:un)?install"
        r"|.*no path found matching pattern|(?:.*\s)?file /\S+ is not owned by"
        r"|(?:.*[\s'])?/usr/local/cuda\S*/bin/cuda-uninstaller",
        r"runfile",
        is_answer_empty=True,
    ),
    software_form("power_supplies", r"System Power Supply$|Max Power Capacity:", r"dmidecode|power-suppl"),
    software_form("file_systems", r"Filesystem\s|Avail\s.*Mounted on", r"^df\b"),
    software_form(
        "device_nodes",
        r"(?:Character|Block) devices:$|[0-9]{1,4} nvidia[\w-]*$|.*\bcdiVersion\b"
        r"|.*\b(?:host)?[pP]ath\W{1,5}(?:/dev/nvidia-uvm\b|\S*/libcuda\.so\.[0-9])|(?:.*[\s/])?umad[0-9]"
        r"|.*(?:cannot stat|mount request|error mounting|failed to stat)\b.*_?nvidia|.*cannot stat .*/libcuda"
        r"|.*(?:mount request|error mounting|failed to stat)\b.*/libcuda"
        r"|(?:.*[\s/])?uverbs[0-9]|.*/dev/infiniband",
        r"infiniband",
        is_answer_empty=True,
    ),
    software_form(
        "cuda_errors",
        r".*(?:CUDA_ERROR_|cudaError[A-Z]|cuInit|cudaGetDeviceCount|CUDA driver version is insufficient"
        r"|Error (?:80[234]|999):"
        r"|system not yet initialized|unsupported display driver|CUDA unknown error|no CUDA-capable device"
        r"|Result = PASS|No CUDA GPUs|(?i:cuda init\w* fail)"
        r"|(?i:(?:cuda driver library|cudart) init failure|cuda driver initialization failed)|is a stub library"
        r"|kernel image is (?:invalid|available)|unsupported toolchain|forward compatibility was attempted)",
        r"cuinit|cuda-error",
    ),
    software_form(
        "install_errors",
        r".*(?:held broken packages|conflicting assignments|unmet dependencies|Unsatisfied dependencies"
        r"|dpkg was interrupted"
        r"|Errors were encountered|dpkg: error processing|dpkg returned an error|Could not get lock|modular filtering"
        r"|conflicts with|trying to overwrite|Unable to locate package|no installation candidate|Unable to find a match"
        r"|No match for argument|nothing provides|kernel headers|[Pp]lease install the|kernel source tree"
        r"|There are no enabled repo|list of sources could not be read|Conflicting values set for option|Malformed "
        r"|is not known on (?:line|stanza) "
        r"|Bad return status"
        r"|Building rpms failed"
        r"|failed to build|Failed to run|dkms \w+ on|make\.log for|rejected|Required key|unsigned module"
        r"|Secure boot is enabled|interface version|is in use|already be loaded|alternate method of|Nouveau"
        r"|bound to nouveau"
        r"|No space left|enough (?:free )?space|more space needed|nvidia-installer-cleanup|Unsupported gpu"
        r"|is not defined for option"
        r"|exception specification|unsupported GNU|unsupported clang|You are using:|unrecognized command"
        r"|Compiler version check"
        r"|legacy driver|Legacy driver|drivers? series|NVIDIA GPU (?:supported|installed)|open (?:GPU )?kernel modules"
        r"|proprietary (?:NVIDIA )?kernel|NO_PUBKEY|EXPKEYSIG|REVKEYSIG|BADSIG|is not bound|SHA1 is not"
        r"|is not signed|OpenPGP|GPG "
        r"|Public key for|for '\S+' was not found|was skipped since the|load firmware|open firmware)",
        r"make\.log|installer\.log|^apt\b|^dnf\b.*log",
    ),
)
