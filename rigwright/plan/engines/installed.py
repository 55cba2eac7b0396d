"""Installed: the releases of engines that a rig has already, as its records tell; plans start from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Installed:
    """What a rig has of the engines already.

    flags: by what a release was built from, the lines of its program's --help that name flags and values.
    commits: by a key of git and ref, the commit that the ref was found to be.
    releases: the directories of the releases that are there.
    nvcc, cuda_version: the CUDA compiler and its release, None without one.
    """

    flags: Mapping[str, str] = field(default_factory=dict)
    commits: Mapping[str, str] = field(default_factory=dict)
    releases: frozenset[str] = frozenset()
    nvcc: str = "nvcc"
    cuda_version: str | None = None


NOTHING = Installed()
