"""Base images: a bare Debian per release, built once and shared by every rig of every lab."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from rigwright.errors import RigwrightError
from rigwright.lab.host import locked, run
from rigwright.lab.layout import LabPaths
from rigwright.lab.mounts import remove_tree

RELEASES = ("trixie", "bookworm")
PACKAGES = (
    "systemd", "systemd-sysv", "dbus", "openssh-server", "sudo", "iproute2", "ca-certificates",
    "python3-minimal", "procps", "kmod",
)  # fmt: skip
SSHD = r"PermitRootLogin prohibit-password\nPasswordAuthentication no\nUseDNS no\n"


def recipe(release: str) -> list[str]:
    """How an image is made, without its target; a changed recipe is another image."""
    return [
        "mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", "--format=directory",
        f"--include={','.join(PACKAGES)}",
        "--components=main,contrib,non-free,non-free-firmware",
        # A rig is thrown away, not repaired after a power cut: dpkg need not wait for the disk.
        "--dpkgopt=force-unsafe-io",
        '--customize-hook=chroot "$1" systemctl --quiet enable systemd-networkd.service ssh.service',
        # Otherwise every young rig updates its lists on its own and holds the lock that a deploy needs.
        '--customize-hook=chroot "$1" systemctl --quiet disable apt-daily.timer apt-daily-upgrade.timer',
        f"""--customize-hook=printf '{SSHD}' >"$1"/etc/ssh/sshd_config.d/10-lab.conf""",
        '--customize-hook=rm -f "$1"/etc/ssh/ssh_host_*',
        '--customize-hook=echo uninitialized >"$1"/etc/machine-id; rm -f "$1"/var/lib/dbus/machine-id',
        release,
    ]  # fmt: skip


def image_name(release: str) -> str:
    """The directory of an image, e.g. `trixie-3f2a90c1d5e7`."""
    if release not in RELEASES:
        raise RigwrightError(f"lab: unknown OS {release!r}; use {' or '.join(RELEASES)}")
    return f"{release}-{hashlib.sha256(chr(10).join(recipe(release)).encode()).hexdigest()[:12]}"


def has_image(paths: LabPaths, release: str) -> bool:
    """Whether the image is there, so that no minutes of building lie ahead."""
    return (paths.images / image_name(release)).is_dir()


def ensure_image(paths: LabPaths, release: str) -> Path:
    """The image of a release; the first caller builds it, the others wait for it."""
    target = paths.images / image_name(release)
    if target.is_dir():
        return target
    with locked(paths.lock(f"image-{target.name}")):
        if not target.is_dir():
            _build(target, release)
    return target


def _build(target: Path, release: str) -> None:
    """Build aside and rename: an image that exists is whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".building-{target.name}-"
    # Left by a builder that was killed: this one holds the lock, so nobody is at work in there.
    for left in target.parent.glob(f"{prefix}*"):
        remove_tree(left)
    build = Path(tempfile.mkdtemp(prefix=prefix, dir=target.parent))
    try:
        # A build must not outlive its lock, or the next one would work in the same place.
        run(["setpriv", "--pdeathsig=TERM", *recipe(release), build / "root"])
        (build / "root").rename(target)
    finally:
        remove_tree(build)
