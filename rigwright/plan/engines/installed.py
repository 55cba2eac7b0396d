"""Installed: the releases of engines that a rig has already, as its records tell; plans start from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rigwright.plan.driver.values import Cuda


@dataclass(frozen=True)
class Installed:
    """What a rig has of the engines already.

    flags: by what a release was built from, the lines of its program's --help that name flags and values.
    commits: by a key of git and ref, the commit that the ref was found to be; by that of an archive of upstream's
    binaries its sum; by that of upstream's releases the newest one's name.
    releases: the directories of the releases that are there.
    nvcc, cuda_version: the CUDA compiler and its release, None without one. nvcc_path: where it really is.
    toolkits: the directories of those that rigwright brought. proven: the compiler that was last seen to compile, its
    release and the GPUs, `/usr/bin/nvcc 12.4 86 89`; empty where there is none.
    toolkit: what a build for the GPUs here is made with, and brought before it where it is not there; None where nobody
    chose one. no_toolkit: why there is none. rocm: the release of AMD's ROCm, empty without one.
    missing: in a deploy, by a release of upstream's, why its binaries cannot be had today.
    """

    flags: Mapping[str, str] = field(default_factory=dict)
    commits: Mapping[str, str] = field(default_factory=dict)
    releases: frozenset[str] = frozenset()
    nvcc: str = "nvcc"
    cuda_version: str | None = None
    nvcc_path: str = ""
    toolkits: frozenset[str] = frozenset()
    proven: str = ""
    toolkit: Cuda | None = None
    no_toolkit: str = ""
    rocm: str = ""
    missing: Mapping[str, str] = field(default_factory=dict)


NOTHING = Installed()
