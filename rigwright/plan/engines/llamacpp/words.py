"""Words for a source and a GPU's code in an inventory, and what those of other programs mean here."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, Field

SOURCES = ("auto", "prebuilt", "build", "distro")
OTHER_SOURCES = dict.fromkeys(
    ("distribution", "package", "packages", "apt", "debian", "ubuntu"), "use distro for the packages of a distribution"
) | dict.fromkeys(("dnf", "fedora"), "packages are taken of apt alone; use prebuilt, build or auto")
# What builds faster or reaches another mirror makes no other rig.
BUILD_KEYS = (
    *("source", "distro_version", "binaries", "backend", "cpu", "cuda_architectures", "cmake_options", "git", "ref"),
)
# What is said of a build, or of another source than the distribution.
OF_OTHERS = ("archive", "prebuilt", "git", "ref", "binaries", "releases", "cmake_options", "cuda_architectures")


def _capability(value: object) -> object:
    """`86` of `8.6`, `sm_86` and `compute_86`."""
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    found = re.fullmatch(r"(?:sm_?|compute_?)?(\d{1,2})\.?(\d)([af]?)", text)
    if not found:
        raise ValueError(f"{text[:40]!r} is no compute capability; write it like 86 or 8.6")
    return "".join(found.groups())


Capability = Annotated[str, Field(pattern=r"^\d{2,3}[af]?$"), BeforeValidator(_capability)]
