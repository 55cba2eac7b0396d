"""The keys `rig.nvidia` and `rig.cuda`: what an inventory says of the driver and of the toolkit."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Literal

from pydantic import Field, field_validator

from rigwright.strict import Strict

# What no card takes: a slip of a digit, or kilowatts.
_LEAST_WATTS, _MOST_WATTS = 10, 2000
_LEAST_MHZ, _MOST_MHZ = 100, 5000
# What is written to files of apt and dnf as it is.
_ADDRESS = r"(https?://([A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[A-Za-z0-9._~%+/-]*)?)?"
_FINGERPRINT = r"([0-9A-F]{40})?"


class NvidiaSettings(Strict):
    """The key `rig.nvidia`: by default the plan chooses, for all GPUs of the rig together (`rigwright driver`)."""

    branch: Literal["auto"] | int = Field(
        "auto", description="The branch of the driver, like 580; `auto` is the one with long support."
    )
    modules: Literal["auto", "open", "proprietary"] = Field(
        "auto", description="The kernel modules; Blackwell takes open ones alone, Pascal and Volta proprietary ones."
    )
    source: Literal["auto", "nvidia", "distro"] = Field(
        "auto", description="Packages of NVIDIA's repository or of the distribution."
    )
    hold: bool = Field(True, description="Keep the driver's packages as they are between deploys.")
    replace_runfile: bool = Field(
        False, description="Take away a driver that NVIDIA's own installer put there; without it such a rig is refused."
    )

    reboot: Literal["never", "report", "auto"] = Field(
        "report",
        description="What to do where the driver cannot be loaded in place, as something uses it or nouveau holds the "
        "GPUs: `report` says so, `auto` reboots the rig and goes on, never while a service of ours has requests in "
        "flight; `never` unloads nothing either.",
    )
    reboot_timeout_seconds: int = Field(
        600, ge=30, description="How long a rig may stay away for a reboot: servers test their memory for minutes."
    )
    repository: str = Field(
        "",
        description="A mirror of NVIDIA's `https://developer.download.nvidia.com/compute/cuda/repos`.",
    )
    key: str = Field(
        "",
        description="The fingerprint of the key that a mirror signs with, where that is its own.",
    )
    power_watts: int | dict[str, int | None] | None = Field(
        None,
        description="The power limit of every GPU, like 280, or of some: {'GPU-8932f937-…': 300, '*': 250}, by UUID, "
        "PCI address or name (RTX 3090), `*` for the others; None leaves one alone. Set at each boot.",
    )
    clocks_mhz: tuple[int, int] | dict[str, tuple[int, int] | None] | None = Field(
        None,
        description="The least and the most clock, like [210, 1700], of every GPU or of some as above; it brings a "
        "card below its least power limit.",
    )

    @field_validator("repository", mode="before")
    @classmethod
    def _as_address(cls, repository: object) -> object:
        """Without an end; it is written where everybody reads it."""
        if not isinstance(repository, str):
            return repository
        if "@" in repository:
            raise ValueError(
                "an address with a password would be read by everybody on the rig; write it without, and name user and "
                "password in a file of /etc/apt/auth.conf.d there"
            )
        if not re.fullmatch(_ADDRESS, repository):
            raise ValueError(
                f"{repository!r} is no address of a mirror; write one like https://mirror.example/compute/cuda/repos"
            )
        return repository.rstrip("/")

    @field_validator("key", mode="before")
    @classmethod
    def _as_fingerprint(cls, key: object) -> object:
        """As gpg prints it, with blanks."""
        found = re.sub(r"\s", "", str(key)).upper()
        if not re.fullmatch(_FINGERPRINT, found):
            raise ValueError(f"{key!r} is no fingerprint of a key; write its 40 digits, as gpg --show-keys prints them")
        return found

    @field_validator("power_watts", mode="before")
    @classmethod
    def _as_watts(cls, given: object) -> object:
        return _by_gpu(given, _watts)

    @field_validator("clocks_mhz", mode="before")
    @classmethod
    def _as_clocks(cls, given: object) -> object:
        return _by_gpu(given, _clocks)

    @field_validator("branch", mode="before")
    @classmethod
    def _as_branch(cls, branch: object) -> object:
        """`580`, `"580"`, `R580`; a whole version is more than a branch."""
        text = str(branch).strip().lower().removeprefix("r")
        if text == "auto":
            return text
        if isinstance(branch, bool) or not text.isdecimal() or not 300 <= int(text) <= 999:
            raise ValueError(f"{branch!r} is no branch of the driver; write auto, or a number like 580")
        return int(text)


class CudaSettings(Strict):
    """The key `rig.cuda`: the toolkit, which only builds want; what serves brings its libraries."""

    source: Literal["auto", "nvidia", "distro", "pypi", "none"] = Field(
        "auto", description="`pypi` is nvcc 13 from wheels, in a folder of ours; `none` installs no toolkit."
    )
    version: str = Field("auto", description="A version like 12.8.")

    @field_validator("version", mode="before")
    @classmethod
    def _as_version(cls, version: object) -> object:
        """YAML reads 12.8 as a number."""
        text = str(version).strip().lower()
        if text != "auto" and not re.fullmatch(r"\d{2}\.\d", text):
            raise ValueError(f"{version!r} is no version of CUDA; write auto, or one like 12.8")
        return text


def _by_gpu(given: object, read: Callable[[object], Any]) -> object:
    """One value for all GPUs, or one for each of some; None is no wish."""
    if not isinstance(given, Mapping):
        return None if given is None else read(given)
    return {str(key).strip(): _of_gpu(key, value, read) for key, value in given.items()}


def _of_gpu(key: object, value: object, read: Callable[[object], Any]) -> object:
    if re.fullmatch(r"(?:GPU ?)?\d{1,3}", str(key).strip(), re.IGNORECASE | re.ASCII):
        raise ValueError(f"key {key} is an index, which another card has after a change; write a UUID, address or name")
    try:
        return None if value is None else read(value)
    except ValueError as error:
        raise ValueError(f"at {key}: {error}") from None


def _watts(given: object) -> int:
    found = _number(given, "W|watts?")
    if found is None or not _LEAST_WATTS <= found <= _MOST_WATTS:
        raise ValueError(f"{given!r} is no power limit in watts; write a whole number like 280")
    return found


def _clocks(given: object) -> tuple[int, int]:
    found = [_number(one, "MHz") for one in given] if isinstance(given, list | tuple) else []
    if len(found) != 2 or any(one is None or not _LEAST_MHZ <= one <= _MOST_MHZ for one in found):
        raise ValueError(f"{given!r} are no clocks in MHz; write the least and the most, like [210, 1700]")
    least, most = (one or 0 for one in found)
    if least > most:
        raise ValueError(f"{given!r}: the least clock is above the most; write [{most}, {least}]")
    return least, most


def _number(given: object, unit: str) -> int | None:
    """A whole number, be it with its unit: `280`, `280.0`, `280 W`."""
    if isinstance(given, bool) or not isinstance(given, int | float | str):
        return None
    found = re.fullmatch(rf"\s*(\d{{1,6}})(?:\.0*)?\s*(?:{unit})?\s*", str(given), re.IGNORECASE | re.ASCII)
    return int(found[1]) if found else None
