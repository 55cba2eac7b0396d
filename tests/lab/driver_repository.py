"""Repositories of NVIDIA's layout with small packages, for rigs of the lab: what apt does with them, it does for real.

    repositories = DriverRepositories(folder)     # or the fixture `driver_repositories`, which closes it
    offer = repositories.offer("both", ["580.178.04", "595.91.07"])   # a mirror of compute/cuda/repos
    with repositories.serve(workshop.host_address) as address:
        address + offer.path                      # rig.nvidia.repository: http://10.77.N.1:PORT/both/compute/cuda/repos
        offer.fingerprint                         # rig.nvidia.key, all 40 digits
        workshop.on(rig, repositories.use_distribution(address, "trixie"))   # alone=True: no servers of Debian's
        workshop.on(rig, offer.use(address, "debian13"))                     # by hand, as its guide says

An offer has `debian13`, `debian12`, `ubuntu2404` and `ubuntu2204` below it, each with `x86_64/`, flat, its keys as
`<last eight digits>.pub` in capitals and in small letters, and as NVIDIA calls its own (`8793F200.pub`,
`3bf863cc.pub`). How they are signed `signed` says: see `Signed`. Packages are small and follow the contract of the
simulated driver: modules are text files in /lib/modules, libcuda.so.1 is a real library, nvidia-smi asks the lab.
`without` leaves packages out by name.

The distribution's suite has what a driver needs to be compiled (dkms, gcc, libc6-dev, headers of the running kernel,
initramfs-tools), `cuda-probe`, which says what cuInit answers, and its own driver: Debian's, whose open modules do not
compile, or Canonical's for servers. A build fails too where `/etc/dkms/broken` exists on the rig, which is then its
log; without headers a module stays `added`, as with the real dkms.

A rig keeps no source of a server that has gone: apt gives up on the whole address where one of its ports is dead, and
that of Debian 12 waits for ever.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from functools import cached_property, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from . import distribution_packages
from . import driver_packages as packages
from .debs import Deb, build, write_flat, write_suite
from .signing import Key, Keyring

# The newest of each branch that was seen.
NEWEST = {570: "570.211.01", 580: "580.178.04", 590: "590.48.01", 595: "595.91.07", 610: "610.57.04"}
SYSTEMS: dict[str, Callable[[str], Iterator[Deb]]] = {
    "debian13": packages.nvidia_for_debian,
    "debian12": packages.nvidia_for_debian,
    "ubuntu2404": packages.nvidia_for_ubuntu,
    "ubuntu2204": packages.nvidia_for_ubuntu,
}
# What NVIDIA calls the files of its keys.
KEY_FILES = {"debian13": "8793F200.pub"}
OLD_KEY_FILE = "3bf863cc.pub"


class Signed(Enum):
    """How a repository is signed."""

    WELL = auto()
    BY_SHA1 = auto()
    """Its key is bound by SHA-1, as NVIDIA's old one is."""
    BY_ANOTHER = auto()
    """By another key than the one that lies there."""
    BY_A_STRANGER = auto()
    """By another key, which lies there too: all fits, but the fingerprint is not the one that was asked for."""
    WITH_A_SECOND_KEY = auto()
    """Well; but a foreign key follows in the file of the key."""
    BY_A_SECOND_KEY = auto()
    """By that foreign key: who takes the whole file trusts a stranger."""
    NOT = auto()


@dataclass(frozen=True)
class Offer:
    """A mirror of NVIDIA's repositories: its path, the fingerprint of its key, and what lies there as that key."""

    path: str
    fingerprint: str
    public: str

    def use(self, address: str, system: str) -> str:
        """A shell script that lets a rig take its packages, as NVIDIA's installation guide does."""
        return _source("cuda", self.public, f"{address}{self.path}/{system}/x86_64/ /")


class DriverRepositories:
    """A folder with repositories, and the keys that sign them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._pool = folder / "served", folder / "pool"
        self.folder.mkdir(parents=True)
        self._keyring = Keyring()

    def close(self) -> None:
        """The keys are gone."""
        self._keyring.close()

    @cached_property
    def key(self) -> Key:
        """The good one."""
        return self._keyring.make("cudatools")

    @cached_property
    def old_key(self) -> Key:
        """Bound by SHA-1."""
        return self._keyring.make("old-cudatools", bound_by="SHA1")

    @cached_property
    def foreign_key(self) -> Key:
        """Somebody else's."""
        return self._keyring.make("stranger")

    def offer(
        self,
        name: str,
        versions: Sequence[str],
        *,
        signed: Signed = Signed.WELL,
        without: Collection[str] = (),
        systems: Collection[str] = ("debian13", "debian12", "ubuntu2404"),
    ) -> Offer:
        """A mirror that has these versions of the driver; one of the same name goes."""
        key, stranger = self.old_key if signed is Signed.BY_SHA1 else self.key, self.foreign_key
        foreign = (Signed.BY_ANOTHER, Signed.BY_A_STRANGER, Signed.BY_A_SECOND_KEY)
        signer = None if signed is Signed.NOT else stranger if signed in foreign else key
        public = b"" if signed is Signed.BY_A_STRANGER else key.public
        if signed in (Signed.BY_A_STRANGER, Signed.WITH_A_SECOND_KEY, Signed.BY_A_SECOND_KEY):
            public += stranger.public
        path = f"/{name}/compute/cuda/repos"
        shutil.rmtree(self.folder / name, ignore_errors=True)
        for system in systems:
            debs = [deb for version in versions for deb in SYSTEMS[system](version)] + [*packages.nvidia_toolkits()]
            folder = self.folder / path.lstrip("/") / system / "x86_64"
            self._write(folder, debs, without, signer)
            for file in {key.short, key.short.lower(), KEY_FILES.get(system, OLD_KEY_FILE).partition(".")[0]}:
                (folder / f"{file}.pub").write_bytes(public)
        return Offer(path, key.fingerprint, public.decode())

    def _write(self, folder: Path, debs: Sequence[Deb], without: Collection[str], signer: Key | None) -> None:
        kept = [deb for deb in {deb.file: deb for deb in debs}.values() if deb.name not in without]
        build(kept, self._pool)
        release = {"Origin": "NVIDIA", "Label": "NVIDIA CUDA", "Architecture": "x86_64"}
        write_flat(folder, kept, self._pool, release=release, key=signer)

    def use_distribution(
        self, address: str, release: str, *, alone: bool = False, without: Collection[str] = ()
    ) -> str:
        """A shell script that lets a rig take packages of a suite, `trixie`, `bookworm`, `noble` or `jammy`.

        With `alone` from nowhere else: the distribution's own servers are not asked.
        """
        title = "Ubuntu" if release in distribution_packages.RELEASES else "Debian"
        path = "-without-".join(["lab", *sorted(without)]) + f"/{title.lower()}"
        suite = distribution_packages.suite(release, os.uname().release)
        if not (self.folder / path / "dists" / release).is_dir():
            kept = {place: [deb for deb in debs if deb.name not in without] for place, debs in suite.items()}
            build([deb for debs in kept.values() for deb in debs], self._pool)
            about = {"Origin": title, "Label": title}
            write_suite(self.folder / path, release, kept, self._pool, release=about, key=self.key)
        away = "rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/*\n" if alone else ""
        return away + _source("lab", self.key.public.decode(), f"{address}/{path} {release} {' '.join(suite)}")

    @contextmanager
    def serve(self, address: str, port: int = 0) -> Iterator[str]:
        """The address under which rigs find it all, `http://10.77.4.1:40123`; what is offered later is served too."""
        handler = partial(_Quiet, directory=str(self.folder))
        server = ThreadingHTTPServer((address, port), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://{address}:{server.server_address[1]}"
        finally:
            server.shutdown()
            server.server_close()


def _source(name: str, public: str, where: str) -> str:
    """A shell script that makes a source of apt, trusted by this key."""
    key = f"/etc/apt/keyrings/{name}.asc"
    return (
        f"set -e\nmkdir -p /etc/apt/keyrings\ncat >{key} <<'KEY'\n{public}KEY\n"
        f"echo 'deb [signed-by={key}] {where}' >/etc/apt/sources.list.d/{name}.list\n"
    )


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass
