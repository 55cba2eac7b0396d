"""The wheels of PyPI that make a toolkit: pinned, by version and architecture, and where they lie on a rig."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from rigwright.catalogue import load

PREFIX = "/opt/rigwright/cuda"
# Raised where the same wheels are laid out otherwise: what lies on rigs is then made anew.
_LAYOUT = 1


@dataclass(frozen=True)
class Wheels:
    """One toolkit, or NCCL.

    sums: the sha256 of each, by its requirement `nvidia-cuda-nvcc==13.0.88`. fetched_bytes: their size; sent_bytes: of
    what is taken of them, as it travels; disk_bytes: as it lies there.
    """

    version: str
    architecture: str
    sums: Mapping[str, str]
    fetched_bytes: int
    sent_bytes: int
    disk_bytes: int

    @property
    def id(self) -> str:
        """Twelve hex digits over everything that is in it."""
        text = json.dumps([_LAYOUT, sorted(self.sums.items())])
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def directory(self) -> str:
        """Where it lies on a rig."""
        return f"{PREFIX}/{self.version}-{self.id}"

    @property
    def nvcc(self) -> str:
        """Its compiler."""
        return f"{self.directory}/bin/nvcc"


@cache
def wheels(version: str, architecture: str) -> Wheels | None:
    """Those of `13.0` for `x86_64`; None where there are none."""
    return _of(load("cuda_wheels").get(version, {}).get(architecture), version, architecture)


@cache
def nccl_wheels(cuda_version: str, architecture: str) -> Wheels | None:
    """NCCL for the generation of such a CUDA; None where there is none."""
    return _of(load("nccl_wheels").get(cuda_version.partition(".")[0], {}).get(architecture), "nccl", architecture)


def _of(row: Mapping[str, Any] | None, version: str, architecture: str) -> Wheels | None:
    if not row:
        return None
    size = row["bytes"]
    return Wheels(version, architecture, row["wheels"], size["fetched"], size["sent"], size["disk"])


def directory_of(nvcc: str) -> str | None:
    """The folder of a toolkit that rigwright brought, by its compiler; None for any other."""
    return nvcc.removesuffix("/bin/nvcc") if nvcc.startswith(f"{PREFIX}/") else None
