"""What a rig's repositories say changes its plan until nothing changes it any more; and what keeps its driver."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rigwright.hardware.software import Package, Software
from rigwright.hardware.values import Gpu, Hardware
from rigwright.plan.driver import DriverWish, plan_driver
from rigwright.plan.driver.sources import Repositories
from rigwright.plan.driver.values import ANYTHING
from rigwright.roles.base.facts import RemoteFile, Rig
from rigwright.roles.base.operations import INSTALLED_LIST
from rigwright.roles.nvidia import reading
from rigwright.roles.nvidia.keeping import DEVICES, MODPROBE, UNATTENDED, kept
from rigwright.roles.nvidia.reading import Asked, Known, RepositoriesAsked, Simulation, as_nvidias, plan_with
from rigwright.spec.driver import NvidiaSettings

KERNELS = {
    "debian-12": "6.1.0-56-amd64",
    "debian-13": "6.12.117+deb13-amd64",
    "ubuntu-22.04": "5.15.0-130-generic",
    "ubuntu-24.04": "6.8.0-90-generic",
    "ubuntu-26.04": "7.0.0-30-generic",
    "rocky-9": "5.14.0-570.23.1.el9_6.x86_64",
}
CARDS = {
    "Pascal": "10de:1b06",
    "Volta": "10de:1db1",
    "Ampere": "10de:2204",
    "Hopper": "10de:2330",
    "Blackwell": "10de:2b85",
}
BRANCHES = (535, 550, 570, 580, 590, 595, 610)


def rig(system: str, card: str = "Ampere", **software: Any) -> Rig:
    """A rig without a driver, of which everything is known but what its repositories have."""
    os, version = system.split("-")
    gpu = Gpu(index=0, pci_address="0000:01:00.0", pci_id=CARDS[card], vendor="NVIDIA")
    answered = frozenset({"packages", "loaded_modules", "dkms", "repositories", "holds"})
    known = {"answered": answered, "secure_boot": False, "virtualization": "none"} | software
    hardware = Hardware(
        os_id=os, os_version=version, kernel=KERNELS[system], architecture="x86_64", gpu_count=1, gpus=(gpu,),
        software=Software(**known),
    )  # fmt: skip
    return Rig(hardware, uid=0, init="systemd")


class Repository:
    """What a distribution and NVIDIA offer, as apt says it once both are asked."""

    def __init__(self, system: str, nvidia: Iterable[int], distro: Iterable[int], *, headers: bool, dkms: str) -> None:
        self.os, self.kernel = system.split("-")[0], KERNELS[system]
        self.nvidia, self.distro, self.headers, self.dkms = tuple(nvidia), tuple(distro), headers, dkms
        self.asked: list[Repositories] = []

    def ask(self, _: Rig, repositories: Repositories) -> Simulation:
        """What `ask.sh` would print."""
        self.asked.append(repositories)
        rows = list(self._distros(has_components=bool(repositories.components) or self.os == "ubuntu"))
        if repositories.url:
            rows += self._nvidias(repositories.url)
        text = "".join(_policy(name, versions) for name, versions in _by_name(rows))
        lines = ["@rigwright source apt-policy.txt", *(f"|{line}" for line in text.splitlines())]
        lines += [
            "@rigwright asked coming",
            *(f"|{name} 1" for name in repositories.names),
            "@rigwright asked download",
        ]
        lines += ["|download=7", "@rigwright asked disk", "|disk=9", "@rigwright end"]
        return RepositoriesAsked().process(lines)

    def _distros(self, *, has_components: bool) -> Iterator[tuple[str, str, str]]:
        where = f"http://mirror.example/{self.os} stable/main amd64"
        yield from ((name, "1", where) for name in ("base-files", "dpkg", "gcc", "libc6-dev"))
        yield "dkms", self.dkms, where
        if self.headers:
            yield f"linux-headers-{self.kernel}", "1", where
        yield "linux-headers-amd64", "1", where
        for branch in self.distro if has_components else ():
            names = (f"nvidia-headless-no-dkms-{branch}-server", f"nvidia-headless-no-dkms-{branch}-server-open")
            names += (f"linux-modules-nvidia-{branch}-server-open-generic", f"nvidia-utils-{branch}-server")
            if self.os == "debian":
                names = ("nvidia-kernel-dkms", "nvidia-open-kernel-dkms", "libcuda1", "nvidia-smi")
            yield from ((name, f"{branch}.163.01-1", where) for name in names)

    def _nvidias(self, url: str) -> Iterator[tuple[str, str, str]]:
        for branch in self.nvidia:
            names = ["nvidia-driver-cuda", "nvidia-kernel-dkms", "nvidia-kernel-open-dkms", "nvidia-open", "libcuda1"]
            names += [f"nvidia-driver-pinning-{branch}", f"libnvidia-compute-{branch}", f"nvidia-dkms-{branch}-open"]
            yield from ((name, f"{branch}.178.04-1", f"{url} ") for name in names)


def _by_name(rows: list[tuple[str, str, str]]) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    for name in dict.fromkeys(row[0] for row in rows):
        yield name, [(version, where) for one, version, where in rows if one == name]


def _policy(name: str, versions: list[tuple[str, str]]) -> str:
    table = "".join(f"     {version} 500\n        500 {where} Packages\n" for version, where in versions)
    return f"{name}:\n  Installed: (none)\n  Candidate: {versions[0][0]}\n  Version table:\n{table}"


def planned(found: Rig, offers: Repository, wish: DriverWish = ANYTHING, mirror: str = "") -> Asked:
    """What `plan_with` makes of a rig whose repositories these are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "ask", offers.ask)
        return plan_with(found, wish, mirror, "")


_SOME = st.sets(st.sampled_from(BRANCHES)).map(sorted)
_WISHES = st.builds(
    DriverWish,
    branch=st.sampled_from([None, None, None, 580, 595]),
    modules=st.sampled_from([None, None, "open", "proprietary"]),
    source=st.sampled_from([None, None, "nvidia", "distro"]),
)


@pytest.mark.patience
@settings(max_examples=400, deadline=None)
@given(
    system=st.sampled_from([name for name in KERNELS if not name.startswith("rocky")]),
    card=st.sampled_from(sorted(CARDS)), nvidia=_SOME, distro=_SOME, headers=st.booleans(),
    dkms=st.sampled_from(["3.0.10-8", "3.2.2-1"]), wish=_WISHES, has_mirror=st.booleans(), nouveau=st.booleans(),
)  # fmt: skip
def test_plan_stands_on_what_was_answered(system, card, nvidia, distro, headers, dkms, wish, has_mirror, nouveau):
    """The last question was asked for the plan that is taken: nothing flips, whatever is offered."""
    found = rig(system, card, loaded_modules=("nouveau",) if nouveau else ())
    offers = Repository(system, nvidia, distro, headers=headers, dkms=dkms)
    mirror = "https://mirror.example/nvidia-cuda" if has_mirror else ""
    asked = planned(found, offers, wish, mirror)
    assert len(offers.asked) <= 4
    again = plan_driver(asked.known.of(found.hardware), wish)
    assert (again.steps, again.verdict, again.refused) == (asked.plan.steps, asked.plan.verdict, asked.plan.refused)
    if offers.asked and asked.plan.verdict != "refuse":
        # What is set up is what was asked.
        assert Repositories.of(found.hardware, asked.plan, mirror) == offers.asked[-1]
        assert (asked.plan.download_bytes, asked.plan.disk_bytes) == (7, 9)
        # What is planned can be had.
        have = nvidia if asked.plan.driver.source == "nvidia" else distro
        assert asked.plan.driver.branch in have
    # A mirror changes where packages come from, and nothing else.
    direct = planned(found, Repository(system, nvidia, distro, headers=headers, dkms=dkms), wish)
    assert (direct.plan.steps, direct.plan.verdict) == (asked.plan.steps, asked.plan.verdict)


def test_what_nvidia_does_not_offer_is_taken_elsewhere():
    """Its repository for Debian 13 had no 580 for Pascal; and where nobody answers, the first plan stands."""
    found = rig("debian-13", "Pascal")
    asked = planned(found, Repository("debian-13", [590, 595], [550], headers=True, dkms="3.2.2-1"))
    assert (asked.plan.driver.source, asked.plan.driver.branch) == ("distro", 550)
    newer = rig("debian-13", "Ampere")
    assert plan_driver(newer.hardware, ANYTHING).driver.branch == 595
    asked = planned(newer, Repository("debian-13", [580, 595], [550], headers=True, dkms="3.2.2-1"))
    assert (asked.plan.driver.source, asked.plan.driver.branch) == ("nvidia", 580) and not asked.is_second_choice
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "ask", lambda *_: None)
        unanswered = plan_with(found, ANYTHING, "", "")
    assert (unanswered.plan, unanswered.simulation) == (plan_driver(found.hardware, ANYTHING), None)


def test_rig_with_nothing_to_do_is_asked_nothing():
    """A question fetches lists."""
    offers = Repository("debian-13", [595], [550], headers=True, dkms="3.2.2-1")
    bare = rig("debian-13")
    without = replace(bare, hardware=replace(bare.hardware, gpus=(), gpu_count=0))
    assert planned(without, offers).plan.verdict == "ok" and offers.asked == []


def test_answer_of_a_rig_is_read():
    """By sections; what another source lacks is no refusal of NVIDIA's."""
    lines = ["@rigwright asked refusal", "|no key", "@rigwright asked update", "|E: mine"]
    lines += [
        "@rigwright asked coming",
        "|libcuda1 580.95.05-1",
        "|-nvidia-old",
        "@rigwright asked download",
        "|download=12",
    ]
    lines += ["@rigwright asked disk", "|disk=junk", "@rigwright asked failure", "|E: held", "@rigwright end"]
    found = RepositoriesAsked().process(lines)
    assert (found.refusal, found.remarks, found.failure) == (("no key",), ("E: mine",), ("E: held",))
    assert (found.coming, found.leaving) == (("libcuda1 580.95.05-1",), ("nvidia-old",))
    assert (found.download_bytes, found.disk_bytes) == (12, 0)
    nothing = RepositoriesAsked().process([])
    assert (nothing.coming, nothing.failure, nothing.refusal, dict(nothing.files)) == ((), (), (), {})


def test_driver_that_came_by_a_mirror_is_nvidias():
    """Whatever the path of the mirror; a neighbour whose address begins alike is another one."""
    mirror = "https://nexus.example/repository/gpu"
    own = "nexus.example/repository/gpu/debian13"
    packages = (Package("libcuda1", "595.1", origin=own), Package("mine", "1", origin="nexus.example/repository/gpus"))
    found = as_nvidias(rig("debian-13", packages=packages).hardware, mirror).software.packages
    assert [one.origin for one in found] == [
        "developer.download.nvidia.com/compute/cuda/repos/debian13",
        "nexus.example/repository/gpus",
    ]
    hardware = rig("debian-13").hardware
    assert as_nvidias(hardware, "") is hardware and Known().of(hardware) == hardware


HELD_BY_US = ("libcuda1", "nvidia-headless-no-dkms-580-server-open")
PREBUILT = "linux-modules-nvidia-580-server-open-generic-hwe-24.04"
KERNEL_NAMES = (
    *("linux-generic-hwe-24.04", "linux-image-generic-hwe-24.04", "linux-headers-generic-hwe-24.04"),
    *("linux-image-6.17.0-20-generic", "linux-headers-6.17.0-20-generic", "linux-modules-6.17.0-20-generic"),
    *("linux-modules-extra-6.17.0-20-generic", "linux-headers-6.17.0-20", "gcc", "dkms"),
)
METAS = KERNEL_NAMES[:3]


def keeper(*ours: str, there: Iterable[str] = (), system: str = "ubuntu-24.04", **files: str) -> Rig:
    """A rig with these packages, of which some came with us."""
    packages = tuple(Package(name, "1") for name in (*ours, *there))
    text = "".join(f"{name} asked purge\n" for name in ours)
    contents = {INSTALLED_LIST: text, **{{"modprobe": MODPROBE}[name]: text for name, text in files.items()}}
    found = {path: RemoteFile("file", text) for path, text in contents.items()}
    return replace(rig(system, packages=packages), files=found)


def test_driver_of_the_owner_is_not_kept():
    """Nothing is held, nothing written; a package that we brought for something else changes nothing."""
    found = keeper("cmake", there=("libcuda1", "nvidia-driver-580", *KERNEL_NAMES))
    wanted = kept(found, plan_driver(rig("ubuntu-24.04").hardware), NvidiaSettings())
    assert (wanted.held, wanted.files) == ((), {MODPROBE: "", UNATTENDED: ""})
    assert not wanted.differs(found)


@pytest.mark.parametrize("system", ["ubuntu-24.04", "debian-13", "rocky-9"])
def test_driver_that_came_with_us_is_kept(system):
    """Its packages are held, apt's unattended upgrades know it, and nouveau stays away."""
    found = keeper(*HELD_BY_US, there=("nvidia-of-the-owner", *KERNEL_NAMES), system=system)
    wanted = kept(found, plan_driver(found.hardware), NvidiaSettings())
    assert wanted.held == HELD_BY_US and wanted.differs(found)
    assert "blacklist nouveau\n" in wanted.files[MODPROBE] and wanted.files[DEVICES].startswith(
        "# Written by rigwright"
    )
    assert bool(wanted.files[UNATTENDED]) == (system != "rocky-9")
    free = kept(found, plan_driver(found.hardware), NvidiaSettings(hold=False))
    assert (free.held, free.files[UNATTENDED]) == ((), "")


def test_kernel_stays_with_modules_that_came_compiled():
    """By its metas, with which a newer one would come; what is of one kernel is nobody's to hold."""
    found = keeper(*HELD_BY_US, PREBUILT, there=KERNEL_NAMES)
    wanted = kept(found, plan_driver(found.hardware), NvidiaSettings())
    assert set(wanted.held) == {*HELD_BY_US, PREBUILT, *METAS}
    rows = re.findall(r'"\^(\S+)"', wanted.files[UNATTENDED])
    for name in wanted.held:
        assert any(re.match(row, name) for row in rows), name
    assert not any(re.match(row, name) for row in rows for name in ("cmake", "openssh-server", "nvtop", "libc6"))
    done = replace(
        found, hardware=replace(found.hardware, software=replace(found.hardware.software, holds=wanted.held))
    )
    done = replace(
        done, files={**done.files, **{path: RemoteFile("file", text) for path, text in wanted.files.items()}}
    )
    assert not wanted.differs(done)


def test_options_stay_once_they_are_there():
    """A later plan has no step for them any more."""
    options = "blacklist nouveau\noptions nouveau modeset=0\nblacklist nova_core\nblacklist nova_drm\n"
    options += "options nvidia_uvm uvm_disable_hmm=1\n"
    before = f"# Written by rigwright: x.\n{options}"
    found = keeper("libcuda1", modprobe=before)
    text = kept(found, plan_driver(rig("ubuntu-24.04").hardware), NvidiaSettings()).files[MODPROBE]
    assert text.partition("\n")[2] == options


def test_nvidias_repository_is_asked_for_what_it_was_not_seen_to_have(monkeypatch):
    """A Pascal on Debian 13: its repository had 590 and newer for months; today it has 580."""
    shop = Repository("debian-13", (580, 595), (550,), headers=True, dkms="3.2.2")
    monkeypatch.setattr(reading, "ask", shop.ask)
    asked = plan_with(rig("debian-13", "Pascal"), DriverWish(), "", "")
    assert (asked.plan.driver.source, asked.plan.driver.branch, asked.plan.driver.modules) == (
        "nvidia",
        580,
        "proprietary",
    )
    assert not asked.is_second_choice
