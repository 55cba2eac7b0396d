"""Kernels by their releases: the packages that have their headers.

Source: packages.debian.org; Proxmox VE 7 to 9 (pve-headers until 6.2.16); Oracle's UEK; RHEL's 64k and rt kernels,
whose `uname -r` ends with what their packages have in the middle.
"""

from __future__ import annotations

import re

from rigwright.plan.driver.tables import release_of

_APT = ("debian", "ubuntu")
_RENAMED = (6, 2, 16)
_OF_FLAVOUR = re.compile(r"(?P<release>.+)\+(?P<flavour>64k|rt|rt-64k)(?:-debug|\+debug)?")


def headers(release: str, os_id: str) -> str:
    """`linux-headers-6.8.0-90-generic`, `proxmox-headers-6.17.2-1-pve`, `kernel-uek-devel-…`: of that very kernel."""
    if os_id in _APT:
        return f"{_stem(release)}-{release}"
    if "uek" in release:
        return f"kernel-uek-devel-{release}"
    found = _OF_FLAVOUR.fullmatch(release)
    return f"kernel-{found['flavour']}-devel-{found['release']}" if found else f"kernel-devel-{release}"


def headers_meta(release: str, architecture: str) -> str:
    """Debian's package that follows the kernel: `linux-headers-amd64`, `linux-headers-cloud-amd64`."""
    if is_proxmox(release):
        return f"{_stem(release)}".replace("proxmox", "proxmox-default")
    meta = {"x86_64": "amd64", "aarch64": "arm64"}.get(architecture, "amd64")
    flavour = re.search(r"-(cloud|rt)-(?:amd64|arm64)$", release)
    return f"linux-headers-{flavour[1]}-{meta}" if flavour else f"linux-headers-{meta}"


def is_proxmox(release: str) -> bool:
    """Whether Proxmox built it, whose packages have names of their own."""
    return release.endswith("-pve")


def _stem(release: str) -> str:
    if not is_proxmox(release):
        return "linux-headers"
    return "proxmox-headers" if release_of(release)[:3] >= _RENAMED else "pve-headers"
