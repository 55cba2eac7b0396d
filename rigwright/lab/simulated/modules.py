"""NVIDIA's modules on disk and nouveau: their names, what a text file in place of one says, what modprobe.d forbids."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

# `nvidia_current_open_uvm` is Debian's name of what is called nvidia_uvm once it is loaded.
_NAME = re.compile(r"nvidia(?:_current)?(?:_open)?(?P<part>_uvm|_modeset|_drm|_peermem)?")
# Each needs those behind it.
NEEDS = {
    "nvidia": (),
    "nvidia_modeset": ("nvidia",),
    "nvidia_uvm": ("nvidia",),
    "nvidia_peermem": ("nvidia",),
    "nvidia_drm": ("nvidia_modeset",),
    "nouveau": (),
}
# As udev and the packages' own settings load them together.
TOGETHER = ("nvidia", "nvidia_modeset", "nvidia_uvm")
# Source: modprobe.d(5): read in this order, the first of two files of one name counts.
SETTINGS = ("etc/modprobe.d", "run/modprobe.d", "usr/local/lib/modprobe.d", "usr/lib/modprobe.d", "lib/modprobe.d")
_OFF = re.compile(r"install\s+(\S+)\s+(?:/usr)?/bin/(?:true|false)|alias\s+(\S+)\s+off")


class Module(NamedTuple):  # a bare Debian 12 has no dataclasses
    """A module by its text: `version: 580.95.05`, `license: NVIDIA` or `Dual MIT/GPL`, and what else a file says."""

    fields: dict[str, str]
    file: Path | None = None

    @property
    def version(self) -> str:
        """Its version."""
        return self.fields.get("version", "")

    @property
    def is_open(self) -> bool:
        """Whether it is of the open flavour."""
        return self.fields.get("license", "").upper() != "NVIDIA"

    @property
    def text(self) -> str:
        """What its file says."""
        return "".join(f"{key}: {value}\n" for key, value in self.fields.items())


def parse(text: str, file: Path | None = None) -> Module:
    """The module that a text file stands for."""
    pairs = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    return Module({key.strip(): value.strip() for key, value in pairs}, file)


def plain(name: str) -> str:
    """A module's name as the kernel writes it."""
    return name.replace("-", "_")


def loaded_name(name: str) -> str | None:
    """What a module is called once it is loaded; None for those that this driver knows nothing of."""
    found = _NAME.fullmatch(plain(name))
    if found:
        return f"nvidia{found['part'] or ''}"
    return "nouveau" if name == "nouveau" else None


def on_disk(root: Path, release: str) -> Module | None:
    """NVIDIA's module of a kernel, that of dkms before others."""
    files = sorted(_files(root, release), key=lambda file: ("updates" not in file.parts, str(file)))
    return next((parse(file.read_text(errors="replace"), file) for file in files), None)


def _files(root: Path, release: str) -> Iterator[Path]:
    for folder, _, names in os.walk(root / "lib/modules" / release):
        for name in names:
            stem, suffix, _ = name.partition(".ko")
            if suffix and loaded_name(stem) == "nvidia":
                yield Path(folder) / name


def blacklisted(root: Path) -> set[str]:
    """The modules that do not load by themselves at boot."""
    found: set[str] = set()
    for line in _settings(root):
        words = line.split()
        if words[:1] == ["blacklist"] and len(words) > 1:
            found.add(plain(words[1]))
    return found | disabled(root)


def disabled(root: Path) -> set[str]:
    """The modules that settings keep from loading at all."""
    offs = (match for line in _settings(root) if (match := _OFF.match(line)))
    return {plain(match[1] or match[2]) for match in offs}


def _settings(root: Path) -> list[str]:
    files: dict[str, Path] = {}
    for folder in SETTINGS:
        for file in sorted((root / folder).glob("*.conf")):
            files.setdefault(file.name, file)
    texts = (files[name].read_text(errors="replace") for name in sorted(files) if files[name].is_file())
    return [line.strip() for text in texts for line in text.splitlines()]
