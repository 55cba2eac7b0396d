"""What nvidia-smi prints of one GPU, under one name for all its formats: CSV, XML and text."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from rigwright.hardware.sources import cells
from rigwright.hardware.values import Gpu, GpuState, PcieLink, PowerLimit, Problem

_ID = re.compile(r"(?:0x)?(?P<device>[0-9A-Fa-f]{4})(?P<vendor>[0-9A-Fa-f]{4})")
_CAPABILITY = re.compile(r"[0-9]{1,2}\.[0-9]")
_VERSION = re.compile(r"[0-9]{2,4}\.[0-9]{1,4}(?:\.[0-9]{1,4})?")
_WIDTHS = (1, 2, 4, 8, 12, 16, 32)
_SWITCH = {"enabled": True, "disabled": False}
# Source: nvidia-smi(1) and recorded output. Strings of a value that the driver does not tell, beside `[…]`.
_UNKNOWN = ("", "n/a", "none", "not supported", "not found", "requested functionality has been deprecated")
_FABRIC = ("fabric_state", "fabric_status")
_LOG = "`journalctl -k -g NVRM` says why"


@dataclass(frozen=True)
class Sentinel:
    """A text that stands in place of a value of a GPU in trouble. `state` is None where the GPU itself is well."""

    text: str
    state: GpuState | None
    code: str
    do: str


# Worst first.
SENTINELS = (
    Sentinel("gpu is lost", "lost", "gpu_lost", f"{_LOG}; reboot; if it comes back, check power, riser and heat"),
    Sentinel("gpu requires reset", "error", "gpu_requires_reset",
             "stop what uses it and run `nvidia-smi -r -i <GPU>` as root, or reboot"),
    Sentinel("err!", "error", "err_fields", f"{_LOG}; reset it with `nvidia-smi -r -i <GPU>` as root, or reboot"),
    Sentinel("unknown error", "error", "err_fields",
             f"{_LOG}; reset it with `nvidia-smi -r -i <GPU>` as root, or reboot"),
    Sentinel("insufficient permissions", None, "insufficient_permissions", "run nvidia-smi as root"),
)  # fmt: skip


# How CSV, XML and text name it; a driver without one for a card prints this instead.
_LIMIT = re.compile(r"(?:^|[./ ]|current[ _])power[._ ]limit$", re.IGNORECASE)
_NO_LIMIT = frozenset(("n/a", "not supported"))


@dataclass(frozen=True)
class Row:
    """One GPU as printed: `fields` by our names, as text; `printed` is all that was said of it, for the sentinels."""

    index: int | None
    fields: Mapping[str, str]
    printed: Mapping[str, str] = field(default_factory=dict)

    @property
    def sentinel(self) -> Sentinel | None:
        """The worst sentinel among all that was printed. A fan that does not answer is not a GPU that does not."""
        found = {s for name, text in self.printed.items() if (s := sentinel(text)) and "fan" not in name.lower()}
        return next((known for known in SENTINELS if known in found), None)


def sentinel(text: str) -> Sentinel | None:
    """The sentinel that a value is."""
    cell = text.strip().strip("[]").lstrip().lower()
    return next((known for known in SENTINELS if cell.startswith(known.text)), None)


def known(text: str | None) -> str | None:
    """The value, None where something else stands in its place (`[N/A]`, `ERR!`)."""
    value = (text or "").strip()
    if value.startswith("[") or value.lower() in _UNKNOWN or sentinel(value):
        return None
    return value


def version(text: str | None) -> str | None:
    """A driver's version, `595.71.05`."""
    found = _VERSION.fullmatch((text or "").strip())
    return found[0] if found else None


def pci_id(text: str | None) -> str | None:
    """`0x233510DE` or `233510DE` (device, then vendor) as `10de:2335`."""
    found = _ID.fullmatch((text or "").strip())
    return f"{found['vendor']}:{found['device']}".lower() if found else None


def _name(text: str | None) -> str | None:
    value = known(text)
    return value if value and len(value) <= 100 and re.search("[A-Za-z]", value) else None


def _among(text: str | None, allowed: Collection[int]) -> int | None:
    value = cells.whole(text or "")
    return value if value is not None and value in allowed else None


def _watts(*texts: str | None) -> float | None:
    amounts = (cells.number(text or "") for text in texts)
    return next((amount for amount in amounts if amount is not None and 0 < amount < 10_000), None)


def _pcie(fields: Mapping[str, str]) -> PcieLink:
    names = ("gen", "gen_device", "gen_max", "gen_gpu", "gen_host")
    gen = {name: _among(fields.get(name), range(1, 8)) for name in names}
    bounds = [best for best in (gen["gen_gpu"], gen["gen_host"]) if best]
    return PcieLink(
        gen_current=gen["gen"] or gen["gen_device"],
        gen_max=gen["gen_max"] or min(bounds, default=None),
        width_current=_among(fields.get("width"), _WIDTHS),
        width_max=_among(fields.get("width_max"), _WIDTHS),
    )


def _power(fields: Mapping[str, str]) -> PowerLimit:
    return PowerLimit(
        current=_watts(fields.get("power"), fields.get("power_enforced")),
        default=_watts(fields.get("power_default")),
        min=_watts(fields.get("power_min")),
        max=_watts(fields.get("power_max")),
    )


def _has_power_limit(row: Row) -> bool | None:
    """Whether the driver tells a limit; None where it was not asked for one."""
    if _watts(row.fields.get("power"), row.fields.get("power_enforced")):
        return True
    said = [text.strip("[] ").lower() for name, text in row.printed.items() if _LIMIT.search(name)]
    return False if said and all(text in _NO_LIMIT for text in said) else None


def _gpu(row: Row) -> Gpu:
    fields = row.fields
    capability = _CAPABILITY.fullmatch(fields.get("capability", "").strip())
    empty = Gpu(index=row.index, vendor="NVIDIA")
    gpu = replace(
        empty,
        uuid=cells.uuid(fields.get("uuid", "")),
        pci_address=cells.pci_address(fields.get("bus", "")),
        pci_id=pci_id(fields.get("pci_id")),
        subsystem_id=pci_id(fields.get("subsystem")),
        name=_name(fields.get("name")),
        architecture=_name(fields.get("architecture")),
        vram_bytes=cells.size_bytes(fields.get("memory", ""), default_unit="mib") or None,
        compute_capability=capability[0] if capability else None,
        mig=_SWITCH.get(fields.get("mig", "").strip().lower()),
        has_display=_SWITCH.get(fields.get("display", "").strip().lower()),
        pcie=_pcie(fields),
        power=_power(fields),
        has_power_limit=_has_power_limit(row),
    )
    says = row.sentinel
    if says and says.state and not _is_side_issue(row, says, gpu):
        return replace(gpu, state=says.state)
    return replace(gpu, state=None if gpu == empty else "ok")


def _is_side_issue(row: Row, says: Sentinel, gpu: Gpu) -> bool:
    """Whether an error is about some reading (a memory temperature) of a GPU that tells all that matters."""
    held = sum(sentinel(text) == says for text in row.printed.values())
    return says.code == "err_fields" and bool(gpu.name and gpu.vram_bytes) and held * 8 <= len(row.printed)


def gpus(rows: Sequence[Row]) -> tuple[Gpu, ...]:
    """The GPUs of the rows. A row that holds a sentinel is `lost` or `error`, one that says nothing has no state."""
    return tuple(_gpu(row) for row in rows)


def problems(rows: Sequence[Row], *, code: str | None = None) -> tuple[Problem, ...]:
    """A problem per GPU that holds sentinels, under `code` or their own; `one_gpu_lost` too where others answer."""
    lines = []
    lost = [row for row in rows if row.sentinel and row.sentinel.state == "lost"]
    for row in rows:
        held = [known_ for text in row.printed.values() if (known_ := sentinel(text))]
        worst = next((known_ for known_ in SENTINELS if known_ in held), None)
        if worst is None:
            continue
        where = label(row)
        what = f"{held.count(worst)} of {len(row.printed)} values say '{worst.text}'"
        lines.append(Problem(code or worst.code, where, what, worst.do.replace("<GPU>", _target(row))))
        if row in lost and len(lost) < len(rows):
            what = f"lost, while {len(rows) - len(lost)} of {len(rows)} GPUs answer"
            lines.append(Problem("one_gpu_lost", where, what, worst.do))
    return tuple(lines)


def fabric(rows: Sequence[Row]) -> tuple[Problem, ...]:
    """The problem of GPUs that are not part of their NVSwitch fabric yet: CUDA does not start, all else is well."""
    waiting = [row for row in rows if _is_waiting(row.fields)]
    if not waiting:
        return ()
    words = sorted({" ".join(filter(None, (known(row.fields.get(name)) for name in _FABRIC))) for row in waiting})
    what = f"the NVLink fabric says {', '.join(words)}: CUDA fails with 802, system not yet initialized"
    do = (
        "start nvidia-fabricmanager of exactly the driver's version and wait for Completed (`systemctl status "
        "nvidia-fabricmanager`); B200 and B300 need nvlsm and `modprobe ib_umad` too"
    )
    where = ", ".join(label(row) for row in waiting) if len(waiting) < len(rows) or len(rows) == 1 else "all GPUs"
    return (Problem("fabric_not_ready", where, what, do),)


def _is_waiting(fields: Mapping[str, str]) -> bool:
    state, status = (known(fields.get(name)) for name in _FABRIC)
    is_failed = bool(status) and (status or "").lower() != "success"
    return (state or "Completed").lower() != "completed" or is_failed


def _target(row: Row) -> str:
    """How `nvidia-smi -i` is told which GPU."""
    return str(row.index) if row.index is not None else row.fields.get("bus") or row.fields.get("uuid") or "<GPU>"


def label(row: Row) -> str:
    """How a message names the row: by index, else by place on the bus."""
    return Gpu(index=row.index, pci_address=cells.pci_address(row.fields.get("bus", ""))).label
