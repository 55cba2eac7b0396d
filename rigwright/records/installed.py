"""The section `installed` of an answer of `roles/base/deployed.sh`: releases, toolkits, and what was asked once."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence

from rigwright.plan.engines.installed import Installed

# What was asked once: the commit of a tag, the sum of an archive, the name of the newest release.
_KEPT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}|b[0-9]{1,9}")


def marked(lines: Sequence[str], kind: str, mark: str) -> frozenset[str]:
    """Those after which `mark=yes` stands."""
    found, last = set(), ""
    for line in lines:
        if line.startswith(f"{kind}="):
            last = line.removeprefix(f"{kind}=")
        elif line == f"{mark}=yes":
            found.add(last)
    return frozenset(found)


def systemd_of(lines: Sequence[str]) -> int:
    """257 of `systemd=257.9-1~deb13u1`, 0 where it does not tell."""
    found = re.match(r"systemd=v?(\d{1,5})\b", next((line for line in lines if line.startswith("systemd=")), ""))
    return int(found[1]) if found else 0


def installed_of(lines: Sequence[str]) -> tuple[Installed, tuple[str, ...]]:
    """What is installed, and the releases that do not tell what they are."""
    flags: dict[str, str] = {}
    releases: dict[str, str] = {}
    commits: dict[str, str] = {}
    nvcc, nvcc_path, cuda_version, proven, rocm = "nvcc", "", None, "", ""
    toolkits: set[str] = set()
    release = identity = ""
    for line in lines:
        name, _, value = line.partition("=")
        if name == "release":
            release, identity = value, ""
        elif name == "identity":
            identity = value
            releases[release] = value
        elif name == "flags" and identity:
            flags[identity] = text_of(value) or ""
        elif name == "ref":
            ref, _, commit = value.partition("|")
            # A stamp that was cut is none: the commit is looked up again.
            commits |= {ref: commit.strip()} if _KEPT.fullmatch(commit.strip()) else {}
        elif name == "nvcc":
            nvcc = value
        elif name == "nvcc.version":
            cuda_version = value or None
        elif name == "nvcc.path":
            nvcc_path = value
        elif name == "toolkit":
            toolkits.add(value)
        elif name == "proven":
            proven = value
        elif name == "rocm":
            rocm = (re.match(r"\d{1,3}(\.\d{1,3}){1,3}", value) or [""])[0]
    unnamed = tuple(path for path, name in releases.items() if not name)
    found = Installed(
        flags, commits, frozenset(releases), nvcc, cuda_version, nvcc_path, frozenset(toolkits), proven, rocm=rocm
    )
    return found, unnamed


def addresses_of(lines: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """The interfaces of a rig, each with one of its addresses: `("eth0", "10.0.0.1/24")`."""
    rows = (line.removeprefix("address=").partition("|") for line in lines if line.startswith("address="))
    return tuple((name, address) for name, _, address in rows)


def text_of(encoded: str | None) -> str | None:
    """A text that travelled as base64; None where none did."""
    if encoded is None:
        return None
    try:
        return base64.b64decode(encoded).decode("utf-8", "replace")
    except ValueError:
        return None
