"""Prints a row of rigwright/catalogue/vllm_wheels.yml: the wheels of one version of vLLM, from uv's own resolution.

    uv pip compile - --universal --python-version 3.11 --format pylock.toml <<< vllm==0.33.0 >pylock.toml
    python tests/engines/vllm_wheels.py 0.33.0 pylock.toml

`make vllm-lock` does both. A wheel stands under the machines and the Pythons that it is for: `all`, `x86_64`, `3.12`,
`x86_64 3.12`. An environment takes those of all of its names.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from packaging.markers import Marker
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
MACHINES = ("x86_64", "aarch64")
# That of Ubuntu 22.04, the oldest system that vLLM is served on here; Debian 12 has 2.36.
_NEWEST_GLIBC = 35


def tags(python: str, machine: str) -> list[Tag]:
    """The tags that such an environment takes, the best one first."""
    version = tuple(int(part) for part in python.split("."))
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in range(_NEWEST_GLIBC, 4, -1)]
    platforms += [f"manylinux{year}_{machine}" for year in (2014, 2010, 1)] + [f"linux_{machine}"]
    interpreter = f"cp{version[0]}{version[1]}"
    return [
        *cpython_tags(version, platforms=platforms),
        *compatible_tags(version, interpreter=interpreter, platforms=platforms),
    ]


def wheels_for(lock: dict[str, Any], python: str, machine: str) -> Iterator[tuple[str, str, int]]:
    """Name, sha256 and size of each wheel."""
    environment = {
        "python_version": python, "python_full_version": f"{python}.99", "platform_machine": machine,
        "sys_platform": "linux", "os_name": "posix", "platform_system": "Linux", "implementation_name": "cpython",
        "platform_python_implementation": "CPython", "extra": "",
    }  # fmt: skip
    rank = {tag: place for place, tag in enumerate(tags(python, machine))}
    for package in lock["packages"]:
        if (marker := package.get("marker")) and not Marker(marker).evaluate(environment):
            continue
        found = []
        for wheel in package.get("wheels", ()):
            name = wheel["url"].rpartition("/")[2].replace("%2B", "+")
            places = [rank[tag] for tag in parse_wheel_filename(name)[3] if tag in rank]
            if places:
                found.append((min(places), name, wheel))
        if not found:
            raise SystemExit(f"{package['name']} {package['version']} has no wheel for Python {python} on {machine}")
        _, name, wheel = min(found, key=lambda one: one[:2])
        yield name, wheel["hashes"]["sha256"], wheel["size"]


def main(version: str, path: str) -> None:
    """Print the row."""
    lock = tomllib.loads(Path(path).read_text())
    places: dict[tuple[str, str], set[tuple[str, str]]] = {}
    sizes: dict[str, int] = {}
    for machine in MACHINES:
        for python in PYTHONS:
            total = 0
            for name, digest, size in wheels_for(lock, python, machine):
                places.setdefault((name, digest), set()).add((machine, python))
                total += size
            sizes[machine] = max(sizes.get(machine, 0), total)
    groups: dict[str, list[tuple[str, str]]] = {}
    for wheel, where in sorted(places.items()):
        machines, pythons = {one for one, _ in where}, {one for _, one in where}
        if len(where) != len(machines) * len(pythons):
            names = [f"{machine} {python}" for machine, python in sorted(where)]
        else:
            some = machines if len(machines) < len(MACHINES) else {""}
            which = pythons if len(pythons) < len(PYTHONS) else {""}
            names = [f"{one} {other}".strip() or "all" for one in sorted(some) for other in sorted(which)]
        for name in names:
            groups.setdefault(name, []).append(wheel)
    sizes_text = ", ".join(f"{machine}: {size}" for machine, size in sizes.items())
    lines = [f"{version}:", f"  bytes: {{{sizes_text}}}"]
    for group in sorted(groups, key=lambda one: (one != "all", one)):
        lines += [f'  "{group}":', *(f"    {name}: {digest}" for name, digest in groups[group])]
    sys.stdout.write("\n".join([*lines, ""]))


if __name__ == "__main__":
    main(*sys.argv[1:])
