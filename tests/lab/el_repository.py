"""Repositories of NVIDIA's layout for RHEL and what is built on it, and rigs that pass for one of those.

    with ElRepositories(repositories, lab, "snapshot") as el:   # or the fixture `el_repositories`
        workshop.boot("el9", from_snapshot=el.snapshot)         # Debian 13 below, with dnf and rpm
        offer = el.offer("el", ["580.178.04", "595.91.07"])     # below rhel9/x86_64 and rhel10/x86_64
        with repositories.serve(workshop.host_address) as address:
            workshop.on("el9", el.become(address, 9))           # os-release, the distribution's repository; apt is gone
            workshop.on("el9", offer.use(address, 9))           # as `dnf config-manager --add-repo` does

dnf, rpm, rpmbuild and createrepo_c are real, those of Debian 13. Packages are signed, and dnf checks them. The module
`nvidia-driver` has its streams in rhel9 alone. `/bin/sh` and the like come from packages that have nothing but a name.
"""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

from rigwright.lab import Lab, RigWish

from . import el_packages as packages
from .driver_repository import DriverRepositories
from .rpms import Group, pack, streams
from .signing import Key

BUILDER = "rpmbuilder"
TOOLS = "dnf dnf-plugins-core rpm createrepo-c gpg gpg-agent"
# NVIDIA's name of its key for RPMs.
KEY_FILE = "D42D0685.pub"

# Packages of all groups, signed, with their metadata, in the order of their folders.
MAKE = r"""
set -e
at=$(mktemp -d); cd "$at"; tar xz
for group in [0-9]*; do
    rpmbuild --quiet -bb --define "_topdir $at/$group/top" --define "_rpmdir $at/rpms" --define "held $at/$group/held" \
        --define '_build_name_fmt %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm' "$group/this.spec" >log 2>&1 ||
        { cat log >&2; exit 1; }
done
rpmsign --define '_gpg_name @FINGERPRINT' --addsign rpms/*.rpm >log 2>&1 || { cat log >&2; exit 1; }
createrepo_c --quiet rpms >&2
[ ! -e modules.yaml ] || modifyrepo_c --mdtype=modules modules.yaml rpms/repodata >&2
tar cz -C rpms .
"""
# apt and dpkg would be asked first; those of their tools that the lab itself runs in a rig stay.
BECOME = r"""
set -e
mkdir -p /opt/debian
for tool in apt apt-get apt-cache apt-mark apt-config dpkg dpkg-query dpkg-deb; do
    [ ! -e "/usr/bin/$tool" ] || mv "/usr/bin/$tool" /opt/debian/
done
rm -f /etc/os-release /etc/debian_version
# Debian's packages miss what the one needs, and the other adds a repository that nobody signs.
rm -f /usr/lib/python3/dist-packages/dnf-plugins/system_upgrade.py /usr/lib/python3/dist-packages/dnf-plugins/local.py
cat >/etc/os-release <<'END'
NAME="Rocky Linux"
VERSION="@VERSION"
ID="rocky"
ID_LIKE="rhel centos fedora"
VERSION_ID="@VERSION"
PLATFORM_ID="platform:el@MAJOR"
PRETTY_NAME="Rocky Linux @VERSION"
END
cat >/etc/dnf/dnf.conf <<'END'
[main]
gpgcheck=1
installonly_limit=3
clean_requirements_on_remove=True
best=True
skip_if_unavailable=False
module_platform_id=platform:el@MAJOR
END
@SOURCE
dnf -q -y install setup filesystem bash rocky-release dracut
"""


@dataclass(frozen=True)
class ElOffer:
    """A mirror of NVIDIA's repositories: its path, the fingerprint of its key."""

    path: str
    fingerprint: str

    def use(self, address: str, major: int) -> str:
        """A shell script that lets a rig take its packages."""
        base = f"{address}{self.path}/rhel{major}/x86_64"
        return _source(f"cuda-rhel{major}", base)


def _source(name: str, base: str) -> str:
    lines = f"[{name}-x86_64]\nname={name}-x86_64\nbaseurl={base}\nenabled=1\ngpgcheck=1\ngpgkey={base}/{KEY_FILE}\n"
    return f"mkdir -p /etc/yum.repos.d\ncat >/etc/yum.repos.d/{name}.repo <<'END'\n{lines}END\n"


class ElRepositories:
    """What `DriverRepositories` are for apt, for dnf; packages are made in a rig, whose disk is kept for others."""

    def __init__(self, repositories: DriverRepositories, lab: Lab, snapshot: str) -> None:
        self._repositories, self._lab, self.snapshot = repositories, lab, snapshot
        self._key: Key = repositories.key

    def __enter__(self) -> ElRepositories:
        """The rig is made."""
        self._lab.up([RigWish(BUILDER, os="trixie")])
        install = "DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends -o Dpkg::Use-Pty=0 install"
        self._sh(f"apt-get -qq update && {install} {TOOLS} && apt-get clean && rm -rf /var/lib/apt/lists/*")
        self._lab.snapshot(BUILDER, self.snapshot)
        self._sh("gpg --batch --quiet --import", self._key.secret)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Rig and disk are gone."""
        self._lab.down([BUILDER])
        if self._lab.has_snapshot(self.snapshot):
            self._lab.forget_snapshot(self.snapshot)

    def offer(
        self, name: str, versions: Sequence[str], *, majors: Sequence[int] = (9, 10), is_foreign: bool = False
    ) -> ElOffer:
        """A mirror that has these versions of the driver; with a foreign one the key there is not what signed them."""
        public = (self._repositories.foreign_key if is_foreign else self._key).public
        path = f"/{name}/compute/cuda/repos"
        for major in majors:
            drivers = [packages.driver(version, major) for version in versions]
            modules = "" if major > 9 else streams("nvidia-driver", packages.streams_of(drivers), default="latest-dkms")
            self._make(f"{path}/rhel{major}/x86_64", [*drivers, *packages.toolkits()], modules, public)
        return ElOffer(path, self._key.fingerprint)

    def become(self, address: str, major: int) -> str:
        """A shell script that makes a rig from the snapshot pass for Rocky Linux 9 or 10."""
        path = f"/lab/el{major}"
        if not (self._repositories.folder / path.lstrip("/")).is_dir():
            self._make(path, list(packages.distribution(major, os.uname().release)), "", self._key.public)
        script = BECOME.replace("@SOURCE", _source("rocky", f"{address}{path}"))
        return script.replace("@VERSION", packages.VERSIONS[major]).replace("@MAJOR", str(major))

    def _make(self, path: str, groups: list[Group], modules: str, public: bytes) -> None:
        """A repository, made in the rig and put where it is served."""
        made = self._sh(MAKE.replace("@FINGERPRINT", self._key.fingerprint), pack(groups, modules))
        folder = self._repositories.folder / path.lstrip("/")
        folder.mkdir(parents=True)
        with tarfile.open(fileobj=io.BytesIO(made)) as tar:
            tar.extractall(folder, filter="data")
        for file in {KEY_FILE, f"{self._key.short}.pub", f"{self._key.short.lower()}.pub"}:
            (folder / file).write_bytes(public)

    def _sh(self, script: str, data: bytes = b"") -> bytes:
        command = self._lab.enter(BUILDER, ["sh", "-c", script])
        done = subprocess.run(command, input=data, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        return done.stdout
