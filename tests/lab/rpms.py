"""RPM packages, made in a rig by rpmbuild: specs, what they hold, and the metadata of streams."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from .driver_parts import Part


@dataclass(frozen=True)
class Rpm:
    """A package; fields are those of a spec, e.g. {"Requires": "dkms >= 3.1.8"}."""

    name: str
    part: Part = field(default_factory=Part)
    fields: Mapping[str, str] = field(default_factory=dict)

    def section(self, name: str, text: str) -> str:
        """A section of the spec that is about this package."""
        return f"%{name} -n {self.name}\n{text}\n"

    def spec(self) -> str:
        """Its sections."""
        given = {"Summary": f"{self.name}, a stand-in for tests", "AutoReqProv": "no", **self.fields}
        paths = [*self.part.files, *self.part.links]
        found = [
            self.section("package", "".join(f"{key}: {value}\n" for key, value in given.items())),
            self.section("description", "For tests."),
            self.section("files", "".join(f'"/{path}"\n' for path in paths)),
        ]
        known = "/sbin/ldconfig\n" if any(".so." in path for path in paths) else ""
        if post := known + self.part.installed:
            found.append(self.section("post", post))
        if self.part.removed:
            found.append(self.section("preun", f'[ "$1" = 0 ] || [ "$1" = 1 ] || exit 0\n{self.part.removed}:'))
        return "\n".join(found)


@dataclass(frozen=True)
class Group:
    """Packages of one version, built together. No two of them hold different files of one path."""

    name: str
    version: str
    release: str
    rpms: Sequence[Rpm]
    epoch: int = 0
    architecture: str = "x86_64"

    def nevra(self, rpm: Rpm) -> str:
        """As the metadata of streams names it."""
        return f"{rpm.name}-{self.epoch}:{self.version}-{self.release}.{self.architecture}"

    def spec(self) -> str:
        """The whole spec; what is in the folder `held` becomes the packages."""
        head = {"Name": self.name, "Epoch": str(self.epoch), "Version": self.version, "Release": self.release}
        lines = [f"{key}: {value}" for key, value in {**head, "Summary": "Tests", "License": "MIT"}.items()]
        settings = ["%global debug_package %{nil}", "%global __os_install_post %{nil}"]
        body = "%description\nFor tests.\n\n%install\nmkdir -p %{buildroot}\ncp -a %{held}/. %{buildroot}/\n"
        return "\n".join([*settings, *lines, body, *(rpm.spec() for rpm in self.rpms)])


def pack(groups: Iterable[Group], modules: str = "") -> bytes:
    """A tar with a folder for each group: its spec, and what its packages hold; and the metadata of streams."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz", compresslevel=1) as tar:
        if modules:
            _add(tar, "modules.yaml", modules.encode())
        for number, group in enumerate(groups):
            _add(tar, f"{number}/this.spec", group.spec().encode())
            for rpm in group.rpms:
                for path, content in rpm.part.files.items():
                    _add(tar, f"{number}/held/{path}", content.encode() if isinstance(content, str) else content)
                for path, to in rpm.part.links.items():
                    link = tarfile.TarInfo(f"{number}/held/{path}")
                    link.type, link.linkname = tarfile.SYMTYPE, to
                    tar.addfile(link)
    return target.getvalue()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    about = tarfile.TarInfo(name)
    about.size, about.mode = len(data), 0o755 if data.startswith(b"#!") or name.endswith("/bin/cuda-probe") else 0o644
    tar.addfile(about, io.BytesIO(data))


def streams(module: str, held: Mapping[str, Iterable[str]], *, default: str) -> str:
    """The metadata of a module: of each stream the packages, by their full names."""
    documents = [
        f"""---
document: modulemd
version: 2
data:
  name: {module}
  stream: "{stream}"
  version: 20261101000000
  context: rigwright
  arch: x86_64
  summary: Tests
  description: Tests
  license: {{module: [MIT]}}
  profiles: {{default: {{rpms: [nvidia-driver-cuda]}}}}
  artifacts:
    rpms:
{chr(10).join(f"      - {name}" for name in names)}
...
"""
        for stream, names in held.items()
    ]
    documents.append(f"""---
document: modulemd-defaults
version: 1
data: {{module: {module}, stream: "{default}", profiles: {{"{default}": [default]}}}}
...
""")
    return "".join(documents)
