"""Releases of vLLM as values: an environment of Python, by all that is in it; no rig is asked here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from rigwright.catalogue import load
from rigwright.errors import Refused
from rigwright.hardware import Hardware
from rigwright.plan.engines.vllm.requirements import Pin, sum_of, wheel_pins
from rigwright.plan.engines.vllm.settings import VllmSettings

PREFIX = "/opt/rigwright/vllm/releases"
# Raised where the same wheels are laid out otherwise: what lies on rigs is then made anew.
_LAYOUT = 1
_MACHINES = ("x86_64", "aarch64")
_OLDEST, _NEWEST = (3, 11), (3, 14)
# Seen: 4.3 GB of wheels become 9.1 GB and their bytecode 0.6; 0.9 GB of a build for CPUs become 3.4 with it.
_GROWTH = 2.3
_CPU_BYTES = 4 << 30


@dataclass(frozen=True)
class Release:
    """An environment: `version` is what vLLM calls itself, `identity` a sum over all pins.

    stub: the version under which a build of another name has to be known as vllm; empty where it is called so.
    """

    version: str
    identity: str
    python: str
    machine: str
    device: str
    pins: tuple[Pin, ...]
    stub: str = ""
    wheels_bytes: int = 0
    has_kernels: bool = True

    @property
    def id(self) -> str:
        """Twelve hex digits over everything that changes the result."""
        text = json.dumps([_LAYOUT, self.identity, self.python, self.machine, self.device, self.has_kernels])
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def directory(self) -> str:
        """Where it is installed; its programs name that place."""
        return f"{PREFIX}/{self.id}"

    @property
    def requirements(self) -> str:
        """What uv is given: pins with their sums, in lines of their own."""
        return "".join(f"{pin.line}\n" for pin in self.pins)

    @property
    def installed_bytes(self) -> int:
        """What it takes of the disk while it is made, and afterwards."""
        return int(self.wheels_bytes * _GROWTH) if self.wheels_bytes else _CPU_BYTES

    def manifest(self) -> str:
        """The release as JSON, kept beside it."""
        said = {
            "id": self.id, "identity": self.identity, "engine": "vllm", "version": self.version, "python": self.python,
            "device": self.device, "platform": [self.machine],
        }  # fmt: skip
        return json.dumps(said, indent=1)


def plan_release(settings: VllmSettings, hardware: Hardware) -> Release | None:
    """The environment that this rig needs; None for a rig of which nobody said what runs on it.

    Raises:
        Refused: none can be had here.
    """
    if hardware.os_id in ("", "unknown"):
        return None
    machine, python = hardware.architecture, python_of(settings, hardware)
    if machine not in _MACHINES:
        raise Refused(f"vLLM has no wheels for {machine or 'an unknown machine'}; serve with llama.cpp")
    has_kernels = settings.kernels and settings.device == "cuda"
    if main := settings.main_pin:
        stub = "" if main.name == "vllm" else f"{main.version}+{main.name.removeprefix('vllm-')}"
        return Release(
            main.version, sum_of(settings.pins), python, machine, settings.device, settings.pins, stub,
            has_kernels=has_kernels,
        )  # fmt: skip
    version = settings.version or str(load("engines")["vllm"]["version"])
    if version not in load("vllm_wheels"):
        raise Refused(f"the wheels of vLLM {version} are not listed here; update rigwright, or name rig.vllm.lock")
    pins = _pins(version, python, machine)
    size = int(load("vllm_wheels")[version]["bytes"][machine])
    return Release(
        version, sum_of(pins), python, machine, settings.device, pins, wheels_bytes=size, has_kernels=has_kernels
    )


@cache
def _pins(version: str, python: str, machine: str) -> tuple[Pin, ...]:
    groups: Mapping[str, Mapping[str, str]] = load("vllm_wheels")[version]
    wheels: dict[str, str] = {}
    for group in ("all", machine, python, f"{machine} {python}"):
        wheels |= groups.get(group, {})
    return wheel_pins(wheels)


def python_of(settings: VllmSettings, hardware: Hardware) -> str:
    """The Python that it runs on, `3.11`.

    Raises:
        Refused: vLLM takes none that the rig is known to have.
    """
    system = f"{hardware.os_id} {hardware.os_version}".strip()
    own = load("engines")["vllm"]["pythons"].get(hardware.os_id, {}).get(hardware.os_version)
    version = settings.python or own
    if version is None:
        raise Refused(f"which Python {system} has is not known here; set rig.vllm.python, to 3.12 say")
    wanted = f"vLLM runs on Python {_spelled(_OLDEST)} to {_spelled(_NEWEST)}"
    if not _OLDEST <= tuple(int(part) for part in version.split(".")) <= _NEWEST:
        has = f"rig.vllm.python is {version}" if settings.python else f"{system} has {version}"
        raise Refused(f"{wanted}, {has}; install another one with its headers, and set rig.vllm.python to it")
    return str(version)


def _spelled(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
