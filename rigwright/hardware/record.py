"""Recordings: the outputs of a machine as files, without what tells whose machine it is.

Left out: serial and part numbers, MAC and IP addresses, host and user names, process lists and names, kernel command
lines. Kept: UUIDs of NVIDIA GPUs and PCI addresses, which plans name GPUs by and which open nothing. AMD's unique id is
its serial number: it is replaced by another of the same form, so that the GPUs of a recording still differ.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

from rigwright.errors import RigwrightError
from rigwright.hardware import collection
from rigwright.hardware.capture import read_files
from rigwright.hardware.sources.cells import lines as plain_lines

REDACTED = "[redacted]"
META, COMMANDS = "meta.json", "commands.json"

# Source: as recorded, nvidia-smi -q and -q -x of drivers 470 to 595, rocm-smi 5 and 6, system_profiler, `lspci -vv`.
_KEYS = (
    "(?:[A-Za-z]+ )?Serial Number(?: \\(system\\))?", "Serial", "PDI", "(?:Board|GPU|FRU) Part Number", "Part number",
    "Host ID", "Hostname", "Host Name", "Computer Name", "User Name", "Hardware UUID", "Provisioning UDID",
    "GPU Fabric GUID", "ClusterUUID", "Cluster UUID", "Node GUID", "System image GUID", "Port GUID",
    "Activation Lock Status", "Asset Tag", "ASIC_SERIAL", "PRODUCT_SERIAL", "SERIAL_NUMBER", "FRU_ID",
)  # fmt: skip
_TAGS = (
    "serial", "board_part_number", "gpu_part_number", "gpu_fru_part_number", "chassis_serial_number", "host_id",
    "hostname", "gpu_fabric_guid", "clusterUuid", "cluster_uuid", "pdi", "[a-z_]+_serial(?:_number)?",
)  # fmt: skip
# Source: `nvidia-smi --help-query-gpu` of driver 590.
_FIELDS = {
    "serial", "gpu_serial", "hostname", "platform.chassis_serial_number", "platform.host_id",
    "platform.gpu_fabric_guid", "fabric.clusterUuid", "pdi",
}  # fmt: skip
_NO_VALUE = re.compile(r"\s*(?:\[?N/A\]?|Not Specified|None|0+|Unknown|)\s*")

_KEYED = re.compile(rf"(?im)(\b(?:{'|'.join(_KEYS)})[ \t]*:[ \t]*)([^\n\r]+)")
_KEYED_JSON = re.compile(
    rf'(?i)("(?:{"|".join((*_KEYS, "serial_num", "platform_UUID", "provisioning_UDID"))})"\s*:\s*")([^"\n]*)'
)
_TAGGED = re.compile(rf"(<({'|'.join(_TAGS)})>)([^<]*)(?=</\2>)")
# The fields of lspci's Vital Product Data: what a maker or an owner wrote into the card. EC is the revision, RV a sum.
_VITAL = re.compile(r"(?m)^([ \t]+\[(?!EC|RV|RW)[A-Z][A-Z0-9]\] [^:\n]*:[ \t]*)([^\n\r]+)")
_UNIQUE = re.compile(r"(?i)(\bUnique ID\"?[ \t]*:[ \t]*\"?)(0x[0-9a-f]+)")
_XML_PROCESSES = re.compile(r"<(/?)((?:accounted_)?processes)>")
_JSON_PROCESS = re.compile(r'("PID[0-9]+"\s*:\s*")[^"\n]*')
# A MAC address, the GUID of a NIC, a device serial number of lspci: six or eight bytes.
_BYTES = re.compile(
    r"(?i)(?<![\w:.-])[0-9a-f]{2}(?:([:-])[0-9a-f]{2})(?:\1[0-9a-f]{2}){4}(?:(?:\1[0-9a-f]{2}){2})?(?![\w:-])"
)
# Candidates: a time of day and a PCI address look like the second kind.
_IP = re.compile(
    r"(?i)(?<![\w.-])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![\w-]|\.[0-9a-f])"
    r"|(?<![\w:.])[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){2,7}(?![\w:]|\.[0-9])"
)
_HOME = re.compile(r"(/(?:home|Users)/|\\Users\\)[^/\\\s\"'<|]+")
_PROMPT = re.compile(r"(?m)^(?:\([\w.-]+\) ?)?\[?[\w.-]+@[\w.-]+(?:[: ][^\n$#%]{0,200})?\]?[$#%]")
# An address with a password in it is gone whole; of the others the host, where it is nobody's own. Repositories of
# distributions and makers are told apart by theirs, mirrors by the path behind it.
_URL = re.compile(
    r"\b(?P<scheme>[a-z][a-z+]{1,20}://)(?P<user>[^/\s@\"'<>]{1,200}@)?(?P<host>[\w.-]{1,253})(?P<rest>[^\s\"'<>|]*)"
)
_PUBLIC = (
    "nvidia.com", "debian.org", "ubuntu.com", "canonical.com", "launchpad.net", "launchpadcontent.net", "redhat.com",
    "rockylinux.org", "almalinux.org", "fedoraproject.org", "centos.org", "rpmfusion.org", "github.io", "github.com",
    "docker.com", "kernel.org", "intel.com", "amd.com", "radeon.com", "mellanox.com", "opensuse.org", "oracle.com",
)  # fmt: skip
# A path may hold a token: of an address that is somebody's own stays what tells whose packages it mirrors.
_MIRRORED = re.compile(r"/(?:debian|ubuntu)(?:-security|-ports|-archive)?/?$|/compute/cuda/repos/[\w./-]+$")
# Ubuntu names the key that signs its modules after the host.
_SIGNER = re.compile(r"(?m)^(\s*signer:\s+)(\S.*?)(?= Secure Boot Module Signature key)")
# Who built a kernel module: `NVRM version: … 525.60.11  Release Build  (archlinux-builder@localhost)`.
_AT = re.compile(r"(?<![\w.+@-])[\w.+-]{1,64}@[A-Za-z][\w.-]{0,255}")
# It names volumes, which Debian calls after the host, and addresses; `modprobe.blacklist=nouveau` brings it into dmesg.
_KERNEL_LINE = re.compile(r"(?i)(\bcommand line(?: parameters)?(?::| )[ \t]*)([^\n\r]+)")
# Source: Xid messages; amdgpu's `amdgpu_job_timedout`.
_KERNEL_PROCESS = re.compile(
    r"(\bpid='?[^,'\n]{1,20}'?, name=|\b(?:[Pp]rocess|thread) (?=\S+ pid [0-9]))((?!<unknown>)(?:(?<==)[^,\n]+|\S+))"
)
_LOG_HOST = re.compile(r"(?m)^((?:[A-Z][a-z]{2} [ 0-9][0-9] [0-9:]{8}|[0-9]{4}-[0-9]{2}-[0-9]{2}T\S+) )\S+(?= kernel:)")


def redact(files: Mapping[str, str]) -> dict[str, str]:
    """The files without what tells whose machine it is; they are read as before."""
    return {name: _redacted(text) for name, text in files.items()}


def require_new(folder: Path) -> None:
    """Say before rigs are asked that their answers could not be kept.

    Raises:
        RigwrightError: the folder is a file, holds something already, or cannot be read.
    """
    try:
        if folder.exists() and any(folder.iterdir()):
            raise RigwrightError(f"{folder}: is not empty; name a new folder for the recording")
    except OSError as error:
        raise RigwrightError(f"{folder}: cannot be written: {error.strerror}; name another folder") from None


def write(folder: Path, files: Mapping[str, str], *, name: str) -> None:
    """Keep redacted files in a folder that `--capture` and `rigwright lab up --hardware` take.

    Raises:
        RigwrightError: the folder holds something already, or cannot be written.
    """
    hardware = read_files(files)
    messages = {source.file: f"$ {source.command}" for source in collection.SOURCES if source.command}
    messages["query-load.csv"] = f"$ nvidia-smi --query-gpu={','.join(collection.LINK_FIELDS)} --format=csv"
    meta = {
        "id": folder.absolute().name,
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "driver_version": hardware.driver_version,
        "gpus": [gpu.name for gpu in hardware.gpus],
        "files": sorted(files),
    }
    # A tool that was not there made no file.
    made = {
        file: messages[file] for file in sorted(files) if file in messages and not files[file].endswith(": not found\n")
    }
    texts = {**files, META: _json(meta), COMMANDS: _json(made)}
    try:
        require_new(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in texts.items():
            (folder / file).write_text(text, "utf-8", newline="")
    except OSError as error:
        raise RigwrightError(f"{name}: {folder} cannot be written: {error.strerror}; name another folder") from None


def _json(value: object) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def _redacted(text: str) -> str:
    for step in (_without_columns, _without_processes, _without_names, _without_addresses):
        text = step(text)
    return text


def _hidden(value: str) -> str:
    """What says that there is no value stays."""
    return value if _NO_VALUE.fullmatch(value) else REDACTED


def _without_columns(text: str) -> str:
    """A CSV query with its secret columns blank; only rows that fit the header are touched."""
    head, _, _ = text.lstrip("\ufeff").partition("\n")
    names = [name.split(" [")[0].strip() for name in plain_lines(head)[0].split(", ")]
    secret = {place for place, name in enumerate(names) if name in _FIELDS}
    if not secret:
        return text
    rows = text.split("\n")
    for number, row in enumerate(rows[1:], start=1):
        cells = row.rstrip("\r").split(", ")
        if len(cells) == len(names):
            kept = [_hidden(cell) if place in secret else cell for place, cell in enumerate(cells)]
            rows[number] = ", ".join(kept) + row[len(row.rstrip("\r")) :]
    return "\n".join(rows)


def _without_processes(text: str) -> str:
    text = _without_elements(text)
    text = _JSON_PROCESS.sub(rf"\1{REDACTED}", text)
    kept, inside = [], ""
    for line in text.split("\n"):
        inside = _still_inside(line, inside)
        if (
            not inside
            or line.strip().startswith(("| Processes:", "Processes"))
            or "====" in line
            or (inside == "table" and not _is_row(line))
        ):
            kept.append(line)
    return "\n".join(kept)


def _without_elements(text: str) -> str:
    """XML without what lies between <processes> and </processes>; in one pass, however many are never closed."""
    kept, at, opened = [], 0, ""
    for tag in _XML_PROCESSES.finditer(text):
        is_end, name = bool(tag[1]), tag[2]
        if not opened and not is_end:
            opened = name
            kept.append(text[at : tag.end()])
            at = tag.end()
        elif opened == name and is_end:
            opened, at = "", tag.start()
    return "".join((*kept, text[at:]))


_LIST = re.compile(r"( *)(?:[A-Za-z]+ )?Processes\s*(?::.*)?")


def _still_inside(line: str, inside: str) -> str:
    """`table` in the processes of the plain table, the indentation in those of -q, else nothing."""
    plain = line.rstrip("\r")
    if plain.lstrip().startswith("| Processes:"):
        return "table"
    if inside == "table":
        return "" if plain.lstrip().startswith("+--") else inside
    if found := _LIST.fullmatch(plain):
        return found[1] or inside
    return inside if inside and plain.startswith(inside + " ") else ""


def _is_row(line: str) -> bool:
    """A process: its GPU comes first, a number."""
    return bool(re.match(r"\s*\|\s+[0-9]", line))


def _without_names(text: str) -> str:
    def hide(found: re.Match[str]) -> str:
        return found[1] + _hidden(found[found.re.groups])

    for pattern in (_KEYED, _KEYED_JSON, _TAGGED, _VITAL, _KERNEL_LINE, _KERNEL_PROCESS):
        text = pattern.sub(hide, text)
    text = _SIGNER.sub(rf"\1{REDACTED}", _URL.sub(_public, text))
    text = _UNIQUE.sub(lambda found: found[1] + _another(found[2]), text)
    text = _HOME.sub(r"\1user", text)
    text = _AT.sub(REDACTED, _PROMPT.sub("$", text))
    return _LOG_HOST.sub(r"\1host", text)


def _public(url: re.Match[str]) -> str:
    """An address as it is where everybody knows it, else without its host and what opens it."""
    if url["user"]:
        return f"{url['scheme']}{REDACTED}/"
    is_public = any(url["host"] == domain or url["host"].endswith(f".{domain}") for domain in _PUBLIC)
    mirrored = _MIRRORED.search(url["rest"])
    return url[0] if is_public else f"{url['scheme']}{REDACTED}{mirrored[0] if mirrored else '/'}"


def _another(unique: str) -> str:
    """An id of the same form that is the same each time."""
    return f"0x{hashlib.sha256(unique.lower().encode()).hexdigest()[:16]}" if int(unique, 16) else unique


def _without_addresses(text: str) -> str:
    def hide(found: re.Match[str]) -> str:
        return REDACTED if _is_address(found[0]) else found[0]

    return _IP.sub(hide, _BYTES.sub(REDACTED, text))


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
