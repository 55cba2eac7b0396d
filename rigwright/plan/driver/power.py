"""Power limits and clocks: from a machine and the wish to a setting for each GPU, or to why it cannot be. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from rigwright.hardware import models
from rigwright.hardware.values import Gpu, Hardware, Problem
from rigwright.plan.driver.gpus import DrivenGpu
from rigwright.plan.driver.machine import Machine
from rigwright.plan.driver.tables import version_of
from rigwright.plan.driver.values import DriverPlan, DriverWish, PowerSetting, Step

Value = TypeVar("Value")

ALL_GPUS = "*"
# What a rig draws beside its GPUs: each socket under load; board, memory, disks and fans. An allowance, no measurement.
_SOCKET_WATTS, _BOARD_WATTS = 150, 100
# Source: nvidia-smi(1), "--lock-gpu-clocks": supported on Volta and newer.
_FIRST_WITH_CLOCKS = (7, 0)
_LOWER = "to go lower, cap its clocks: clocks_mhz: [210, 1700]"
# Words that make another card of a name's: an RTX 3090 is no RTX 3090 Ti.
_OTHER_CARD = frozenset(("ti", "super", "laptop", "max-q", "mobile", "d", "ada"))
_MAKERS = re.compile(r"^(?:nvidia|geforce|tesla|quadro|rtx|gtx)$")


@dataclass(frozen=True)
class PowerPlan:
    """What is set, and what stands against it: stops refuse a rig, notes are said."""

    settings: tuple[PowerSetting, ...] = ()
    stops: tuple[Problem, ...] = ()
    notes: tuple[Problem, ...] = ()
    assumed: tuple[str, ...] = ()


def plan_power(hardware: Hardware, wish: DriverWish) -> PowerPlan:
    """A setting for each GPU that the wish speaks of, by UUID where a driver tells it.

    A GPU that is not there any more stops nobody: it is said, and the others are set.
    """
    machine = Machine(hardware)
    watts, clocks = dict(wish.power_watts), dict(wish.clocks_mhz)
    if not watts and not clocks:
        return PowerPlan(notes=tuple(_supply(hardware, (), is_wished=False)))
    if host := "Windows" if machine.is_wsl else "the host" if machine.is_container else "":
        what, do = f"{host} sets power limits and clocks, not this machine", f"set them on {host}; take them out here"
        return PowerPlan(notes=(Problem("power_is_set_elsewhere", "rig.nvidia", what, do),))
    settings, stops = [], list[Problem]()
    for one in machine.gpus:
        setting = PowerSetting(
            one.gpu.label if not one.gpu.name else f"{one.gpu.label} ({one.gpu.name})",
            one.gpu.uuid,
            one.gpu.pci_address,
            _for(one, watts),
            _for(one, clocks),
            one.gpu.power.current,
        )
        if setting.watts or setting.clocks_mhz:
            settings.append(setting)
            stops += _against(one, setting)
    assumed = ["GPUs tell UUID and power limits once a driver runs: the limits of their models are assumed"]
    return PowerPlan(
        tuple(settings),
        tuple(stops),
        (*_absent(machine, {**watts, **clocks}), *_supply(hardware, tuple(settings), is_wished=bool(watts))),
        tuple(assumed if any(one.uuid is None for one in settings) else ()),
    )


def with_power(plan: DriverPlan, hardware: Hardware, wish: DriverWish) -> DriverPlan:
    """The plan of a driver with that of power and clocks: what no card takes stops the rig before it is touched."""
    power = plan_power(hardware, wish)
    plan = replace(plan, assumed=(*plan.assumed, *power.assumed))
    if power.stops:
        codes = tuple(dict.fromkeys(one.code for one in power.stops))
        refusing = [one for one in plan.problems if one.code in plan.refused]
        others = [one for one in plan.problems if one not in refusing]
        return replace(
            plan, verdict="refuse", steps=(), reboot=False, reboot_because="", held=(),
            problems=(*refusing, *power.stops, *others, *power.notes),
            refused=tuple(dict.fromkeys((*plan.refused, *codes))),
        )  # fmt: skip
    plan = replace(plan, problems=(*plan.problems, *power.notes))
    if plan.verdict == "refuse":
        return plan
    plan = replace(plan, power=power.settings)
    step = Step("power", "set power limits and clocks by UUID, now and at each boot, and read them back")
    steps = list(plan.steps)
    if any(not one.is_set for one in power.settings):
        # What is verified last is all of it.
        steps.insert(len(steps) - (bool(steps) and steps[-1].kind == "verify"), step)
    return replace(plan, steps=tuple(steps))


def _for(one: DrivenGpu, wished: Mapping[str, Value | None]) -> Value | None:
    """What is wished for a GPU: by its UUID first, then its place on the bus, its name, and what holds for all."""
    for key in (*_by_place(one.gpu, wished), *_by_name(one.gpu, wished), ALL_GPUS):
        if key in wished:
            return wished[key]
    return None


def _by_place(gpu: Gpu, keys: Mapping[str, object]) -> Iterator[str]:
    uuid, place = (gpu.uuid or "").lower(), gpu.pci_address or ""
    yield from (key for key in keys if len(key) >= len("GPU-12345678") and uuid.startswith(key.lower()))
    yield from (key for key in keys if place and _address(key) == place)


def _by_name(gpu: Gpu, keys: Mapping[str, object]) -> Iterator[str]:
    yield from (key for key in keys if _is_called(gpu, key))


def _is_uuid(key: str) -> bool:
    return key.upper().startswith("GPU-")


def _address(key: str) -> str:
    """`0000:01:00.0` of `01:00.0`, `0000:01:00` and nvidia-smi's `00000000:01:00.0`; '' of anything else."""
    found = re.fullmatch(r"(?:0{0,4}([0-9a-f]{4}):)?([0-9a-f]{2}:[0-9a-f]{2})(?:\.0)?", key.strip(), re.IGNORECASE)
    return f"{found[1] or '0000'}:{found[2]}.0".lower() if found else ""


def _is_called(gpu: Gpu, key: str) -> bool:
    known, model = models.find(key), models.find(gpu.name, gpu.pci_id)
    if known and model:
        return known.name == model.name
    own, asked = _words(gpu.name or (model.name if model else "")), _words(key)
    return bool(asked) and own[: len(asked)] == asked and not _OTHER_CARD & set(own[len(asked) :])


def _words(name: str) -> list[str]:
    return [word for word in name.lower().split() if not _MAKERS.match(word)]


def _absent(machine: Machine, keys: Mapping[str, object]) -> Iterator[Problem]:
    """Keys that no GPU of this rig answers to; nothing of what no source tells of its GPUs."""
    gpus = [one.gpu for one in machine.gpus]
    for key in keys:
        told = [gpu.uuid if _is_uuid(key) else gpu.pci_address if _address(key) else gpu.name for gpu in gpus]
        if (
            key == ALL_GPUS
            or None in told
            or any({*_by_place(gpu, {key: 0}), *_by_name(gpu, {key: 0})} for gpu in gpus)
        ):
            continue
        what = f"no GPU here is {key}; this rig has {', '.join(dict.fromkeys(filter(None, told))) or 'none of NVIDIA'}"
        yield Problem("power_gpu_unknown", "rig.nvidia", what, "the others are set; correct it, or take it out")


def _against(one: DrivenGpu, setting: PowerSetting) -> Iterator[Problem]:
    """Why a card does not take its setting."""
    capability = version_of(one.capability or "")
    if setting.clocks_mhz and capability and capability < _FIRST_WITH_CLOCKS:
        what = f"its clocks cannot be set: that begins with Volta, and this is {one.architecture or one.capability}"
        do = f"leave it out: clocks_mhz: {{'{_key(one.gpu)}': null}}; power_watts lowers what it draws"
        yield Problem("clocks_not_settable", setting.gpu, what, do)
    power, watts = one.gpu.power, setting.watts
    if watts is None:
        return
    if one.gpu.has_power_limit is False:
        what = f"its power limit cannot be set to {watts} W: the driver tells none ([N/A]), as on laptops and DGX Spark"
        do = f"leave it out: power_watts: {{'{_key(one.gpu)}': null}}; {_LOWER}"
        yield Problem("power_not_settable", setting.gpu, what, do)
        return
    model = models.find(one.gpu.name, one.gpu.pci_id)
    # Of a model the least is known; the most is set board by board.
    least = power.min if power.min is not None else model.power_min_watts if model and not one.gpu.uuid else None
    if least is not None and watts < least:
        most = f" to {power.max:g}" if power.max is not None else ""
        what = f"it takes {least:g}{most} W, and {watts} W are asked"
        yield Problem("power_out_of_range", setting.gpu, what, f"write {least:g} or more; {_LOWER}")
    elif power.max is not None and watts > power.max:
        what = f"it takes {power.min or 0:g} to {power.max:g} W, and {watts} W are asked"
        yield Problem("power_out_of_range", setting.gpu, what, f"write {power.max:g} or less")


def _key(gpu: Gpu) -> str:
    return gpu.uuid or gpu.pci_address or gpu.name or "its name"


def _supply(hardware: Hardware, settings: tuple[PowerSetting, ...], *, is_wished: bool) -> Iterator[Problem]:
    """The sum of all limits against what the power supplies give.

    A note and never a refusal: a second supply feeds the cards of many rigs, and no board knows of it.
    """
    supply, gpus = hardware.software.psu_watts, hardware.gpus
    wished = {(one.uuid, one.pci_address): one.watts for one in settings}
    limits = [wished.get((gpu.uuid, gpu.pci_address)) or _limit(gpu) for gpu in gpus]
    known = [one for one in limits if one]
    if not supply or not known or len(known) < len(limits):
        return
    rest = _SOCKET_WATTS * (hardware.cpu.sockets or 1) + _BOARD_WATTS
    total = sum(known) + rest
    if total <= supply:
        return
    what = f"the GPUs may draw {sum(known):g} W, the rest about {rest} W: {total:g} W, and the supplies give {supply} W"
    room = int((supply - rest) / len(known)) // 10 * 10
    least = max((gpu.power.min or 0 for gpu in gpus), default=0)
    if room < max(least, 1):
        do = (
            "take a stronger supply, or fewer cards; clocks_mhz: [210, 1700] lowers what they draw and promises nothing"
        )
    else:
        way = "lower power_watts" if is_wished else "set rig.nvidia.power_watts"
        do = f"{way} to {room}, or take a stronger supply; one that the board does not know of is not counted"
    yield Problem("supply_too_small", "power supply", what, do)


def _limit(gpu: Gpu) -> float | None:
    model = models.find(gpu.name, gpu.pci_id)
    return gpu.power.current or gpu.power.default or (model.tdp_watts if model else None)
