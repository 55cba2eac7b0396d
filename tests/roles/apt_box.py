"""A system of packages in a folder: the real apt and dpkg, with packages of the test's own and no network."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

_CONFIG = """
Dir "{home}/";
Dir::Bin::methods "/usr/lib/apt/methods";
APT::Sandbox::User "root";
APT::Architecture "all-there";
Acquire::Languages "none";
Dpkg::Options {{ "--root={home}"; }};
"""


@dataclass(frozen=True)
class AptBox:
    """The folder. Scripts run in it as on a rig; `/run` and what root alone may write lie in it too."""

    home: Path

    @classmethod
    def made(cls, home: Path) -> Self:
        """Empty, with a repository in which nothing is yet."""
        for folder in (
            "etc/apt/sources.list.d", "etc/apt/apt.conf.d", "etc/apt/preferences.d", "etc/apt/trusted.gpg.d", "run",
            "var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/apt/lists/partial", "var/cache/apt/archives/partial",
            "var/log/apt", "repository", "tmp", "state",
        ):  # fmt: skip
            (home / folder).mkdir(parents=True)
        (home / "var/lib/dpkg/status").touch()
        (home / "repository/Packages").touch()
        (home / "etc/apt/sources.list").write_text(f"deb [trusted=yes] file:{home}/repository ./\n")
        machine = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True)
        text = _CONFIG.format(home=home).replace("all-there", machine.stdout.strip())
        (home / "apt.conf").write_text(text)
        (home / ".dpkg.cfg").write_text("force-not-root\nforce-script-chrootless\nforce-bad-path\n")
        return cls(home)

    @property
    def record(self) -> Path:
        """What removal goes by."""
        return self.home / "state/packages.installed"

    def lines(self) -> list[str]:
        """The lines of the record."""
        return self.record.read_text().splitlines() if self.record.exists() else []

    def offer(
        self,
        name: str,
        *,
        conffile: str = "",
        postinst: str = "",
        prerm: str = "",
        files: Mapping[str, str] = MappingProxyType({}),
        **fields: str,
    ) -> Path:
        """A package in the repository; `fields` are those of its control file, `Depends` say."""
        full = "_".join((name, *([fields["Version"]] if "Version" in fields else [])))
        tree = self.home / "tmp" / full
        (tree / "DEBIAN").mkdir(parents=True)
        (tree / "usr/share" / name).mkdir(parents=True)
        (tree / "usr/share" / name / "data").write_text(name)
        control = {"Package": name, "Version": "1", "Architecture": "all", "Maintainer": "x <x@x>", **fields}
        control |= {"Description": "for a test"}
        text = "".join(f"{key.replace('_', '-')}: {value}\n" for key, value in control.items())
        (tree / "DEBIAN/control").write_text(text)
        if conffile:
            (tree / "etc").mkdir()
            (tree / "etc" / f"{name}.conf").write_text(conffile)
            (tree / "DEBIAN/conffiles").write_text(f"/etc/{name}.conf\n")
        for path, data in files.items():
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).write_text(data)
        for kind, lines in {"postinst": postinst, "prerm": prerm}.items():
            if lines:
                script = tree / "DEBIAN" / kind
                script.write_text(f"#!/bin/sh\n{lines}\n")
                script.chmod(0o755)
        file = self.home / "repository" / f"{full}.deb"
        subprocess.run(["dpkg-deb", "-Znone", "--build", str(tree), str(file)], check=True, capture_output=True)
        content = file.read_bytes()
        with (self.home / "repository/Packages").open("a") as index:
            digest = hashlib.sha256(content).hexdigest()
            index.write(f"{text}Filename: ./{full}.deb\nSize: {len(content)}\nSHA256: {digest}\n\n")
        return file

    def run(self, text: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """A script, run in the folder."""
        text = text.replace("/run/rigwright.lock", f"{self.home}/run/lock")
        text = re.sub(r"(?<![\w$}])/(etc/systemd|opt/rigwright|var/cache/private)", rf"{self.home}/\1", text)
        return subprocess.run(
            ["sh", "-c", text],
            env=self.environment | variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def apt(self, *arguments: str) -> str:
        """The owner's own apt."""
        done = subprocess.run(
            ["apt-get", "-qq", "-y", "--no-install-recommends", *arguments],
            env=self.environment, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @property
    def environment(self) -> dict[str, str]:
        """Where apt and dpkg find the folder."""
        where = {"APT_CONFIG": f"{self.home}/apt.conf", "DPKG_ROOT": str(self.home), "TMPDIR": f"{self.home}/tmp"}
        return os.environ | where | {"HOME": str(self.home), "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}

    def there(self) -> dict[str, str]:
        """The packages that are known, and their states: `ii`, or `rc` where settings are left."""
        done = subprocess.run(
            ["dpkg-query", "-W", "-f=${Package} ${db:Status-Abbrev}\n"],
            env=self.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        return dict(line.split()[:2] for line in done.stdout.splitlines())


def said(done: subprocess.CompletedProcess[Any], kind: str = "error") -> list[str]:
    """The lines of a kind that the controller would show."""
    mark = f"::{kind} "
    return [line.removeprefix(mark) for line in done.stdout.splitlines() if line.startswith(mark)]
