"""A deploy of the driver, over SSH: from a bare machine to one whose GPUs compute, on rigs with a simulated driver.

Packages come from repositories of NVIDIA's layout, by a real apt.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from .conftest import LAB_NAME, FirstRun, Outcome, Workshop, wait_healthy
from .driver_repository import NEWEST, DriverRepositories, Offer, Signed

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="virtual rigs need root"),
]
VERSION = "sed -n 's/.*Module for x86_64  *\\([0-9.]*\\) .*/\\1/p' /proc/driver/nvidia/version 2>/dev/null"
PACKAGES = "dpkg-query -W -f='${db:Status-Abbrev} ${Package}\\n' | sort; apt-mark showhold"


SHELF = f"{LAB_NAME}-shelf"


class Shop:
    """Repositories on this machine, and rigs that buy there."""

    def __init__(self, workshop: Workshop, repositories: DriverRepositories, address: str) -> None:
        self.workshop, self.repositories, self.address = workshop, repositories, address

    def offer(self, name: str, *branches: int, **options: Any) -> Offer:
        return self.repositories.offer(name, [NEWEST[branch] for branch in branches], systems=("debian13",), **options)

    def spec(self, offer: Offer, **nvidia: Any) -> dict[str, Any]:
        where = {"repository": self.address + offer.path, "key": offer.fingerprint}
        return {"services": [], "nvidia": where | nvidia}

    def boot(self, name: str) -> str:
        """A machine with two cards that nouveau drives."""
        self.workshop.boot(name, from_snapshot=SHELF)
        self.workshop.on(name, self.repositories.use_distribution(self.address, "trixie", alone=True))
        return name

    def deploy(self, name: str, spec: dict[str, Any], **options: Any) -> Outcome:
        return self.workshop.deploy(spec, name, deploy="nvidia", **options)

    def on(self, name: str, script: str) -> str:
        return self.workshop.on(name, script, check=False)


@pytest.fixture(scope="module")
def shop(workshop: Workshop, driver_repositories: DriverRepositories) -> Iterator[Shop]:
    """Rigs start from one disk: with python3 for CUDA's sake, which the small distribution lacks."""
    name = workshop.boot("shelf", hardware="2x-rtx3090", driver="simulated")
    workshop.on(name, "apt-get -qq update && apt-get -qq -y --no-install-recommends install python3 >/dev/null 2>&1")
    if workshop.lab.has_snapshot(SHELF):
        workshop.lab.forget_snapshot(SHELF)
    workshop.lab.snapshot(name, SHELF)
    with driver_repositories.serve(workshop.host_address) as address:
        yield Shop(workshop, driver_repositories, address)
    workshop.lab.down([name])
    workshop.lab.forget_snapshot(SHELF)


def test_bare_machine_computes_after_one_run(shop: Shop) -> None:
    """Repository, pin, modules, reboot, proof; a second run changes nothing; removal gives all back."""
    name = shop.boot("bare")
    offer = shop.offer("three", 580, 590, 595)
    spec = shop.spec(offer, reboot="auto")
    before = shop.on(name, PACKAGES)

    dry = shop.deploy(name, spec, arguments=("--dry",))
    assert dry.code == 0 and "580" in dry.output, dry.output
    assert shop.on(name, PACKAGES) == before

    first = shop.deploy(name, spec)
    assert first.code == 0, first.output
    assert shop.on(name, VERSION) == NEWEST[580], first.output
    assert "CUDA counts 2" in first.output

    second = shop.deploy(name, spec)
    assert (second.code, second.changed) == (0, set()), second.output

    gone = shop.workshop.deploy(spec, name, deploy="remove")
    assert gone.code == 0, gone.output
    assert shop.on(name, PACKAGES) == before
    shop.workshop.lab.down([name])


@pytest.fixture(scope="module")
def driven(shop: Shop) -> Iterator[str]:
    """A rig with driver 580, which its repository's other branches would replace."""
    name = shop.boot("driven")
    done = shop.deploy(name, shop.spec(shop.offer("lts", 580), reboot="auto"))
    assert done.code == 0 and shop.on(name, VERSION) == NEWEST[580], done.output
    yield name
    shop.workshop.lab.down([name])


def fault(shop: Shop, name: str, *faults: str) -> None:
    for one in faults:
        shop.workshop.lab.fault(name, one)


@pytest.mark.nvidia
def test_upgrade_reloads_in_place_where_nothing_uses_a_gpu(shop: Shop, driven: str) -> None:
    """Branch 595 replaces 580 without a reboot; what is held lets go for a deploy alone; and back."""
    both = shop.offer("both", 580, 595)
    boot = shop.on(driven, "cat /proc/sys/kernel/random/boot_id")
    shop.on(driven, "sed -i s,/lts/,/both/, /etc/apt/sources.list.d/rigwright-nvidia.sources; apt-get -qq update")
    upgrades = shop.on(driven, "apt-get -s dist-upgrade | grep ^Inst")
    assert "nvidia" not in upgrades, upgrades

    up = shop.deploy(driven, shop.spec(both, branch=595))
    assert up.code == 0, up.output
    assert shop.on(driven, VERSION) == NEWEST[595]
    assert shop.on(driven, "cat /proc/sys/kernel/random/boot_id") == boot
    assert shop.deploy(driven, shop.spec(both, branch=595)).changed == set()

    # Something uses a GPU: a reboot is reported, and no service loses its driver.
    shop.on(driven, "touch /run/rigwright-lab/driver/in-use")
    busy = shop.deploy(driven, shop.spec(both, branch=580))
    assert busy.code == 0 and "a reboot is needed" in busy.output, busy.output
    assert shop.on(driven, VERSION) == NEWEST[595]
    shop.workshop.lab.reboot(driven)
    proven = shop.deploy(driven, shop.spec(both, branch=580))
    assert proven.code == 0 and "CUDA counts 2" in proven.output, proven.output
    assert shop.on(driven, VERSION) == NEWEST[580]


@pytest.mark.nvidia
def test_driver_that_does_not_compute_goes_back(shop: Shop, driven: str) -> None:
    """595 does not load after the reboot: 580 comes back from its own packages, and the deploy fails and says so."""
    both = shop.offer("both", 580, 595)
    shop.on(driven, "touch /run/rigwright-lab/driver/in-use")
    fault(shop, driven, "gpu-lost")
    up = shop.deploy(driven, shop.spec(both, branch=595, reboot="auto"))
    assert up.code != 0, up.output
    assert "2 GPUs are on the PCI bus, and CUDA counts 1" in up.output and f"driver {NEWEST[580]} is back" in up.output
    fault(shop, driven, "clear")
    shop.workshop.lab.reboot(driven)
    state = "dkms status; lsmod; modinfo nvidia; dpkg -l | grep nvidia; ls /var/lib/rigwright/nvidia; dmesg | tail -3"
    assert shop.on(driven, VERSION) == NEWEST[580], shop.on(driven, state) + up.output
    again = shop.deploy(driven, shop.spec(both, branch=580))
    assert again.code == 0, again.output
    assert shop.deploy(driven, shop.spec(both, branch=580)).changed == set()


REFUSED = {
    Signed.BY_SHA1: "SHA1 is not considered secure",
    Signed.BY_ANOTHER: "OpenPGP signature verification failed",
    Signed.BY_A_STRANGER: "is the one to be trusted",
    Signed.BY_A_SECOND_KEY: "OpenPGP signature verification failed",
    Signed.NOT: "is not signed",
}


@pytest.fixture(scope="module")
def bare(shop: Shop) -> Iterator[str]:
    """A rig that every deploy leaves as it is."""
    name = shop.boot("refusing")
    yield name
    shop.workshop.lab.down([name])


@pytest.mark.parametrize("signed", list(REFUSED), ids=lambda signed: signed.name)
def test_repository_that_cannot_be_trusted_is_refused(shop: Shop, bare: str, signed: Signed) -> None:
    """Bound by SHA-1, by another signer, another key, a second one in its file, none: said, and nothing is touched."""
    before = shop.on(bare, f"{PACKAGES}; find /etc -type f | sort | xargs sha256sum | sha256sum")
    offer = shop.offer(f"bad-{signed.name.lower()}", 580, signed=signed)
    outcome = shop.deploy(bare, shop.spec(offer))
    assert outcome.code != 0 and REFUSED[signed] in outcome.output, outcome.output
    assert shop.on(bare, f"{PACKAGES}; find /etc -type f | sort | xargs sha256sum | sha256sum") == before


def test_branch_that_is_not_offered_is_refused(shop: Shop, bare: str) -> None:
    """580 is asked for, and the repository has 590 and newer alone, as NVIDIA's for Debian 13 had for months."""
    outcome = shop.deploy(bare, shop.spec(shop.offer("new", 590, 595), branch=580, source="nvidia"))
    assert outcome.code != 0, outcome.output
    assert "no branch 580 to 580" in outcome.output and "NVIDIA's repository: 590, 595" in outcome.output
    assert shop.on(bare, "ls /etc/apt/sources.list.d") == "lab.list"


@pytest.mark.faults
def test_rig_that_stays_away_and_a_driver_that_does_not_come(shop: Shop) -> None:
    """A reboot that does not end is said, with what to do; what comes late is waited for; what never comes is told."""
    name = shop.boot("away")
    spec = shop.spec(shop.offer("lts", 580), reboot="auto", reboot_timeout_seconds=30)
    fault(shop, name, "no-boot")
    first = shop.deploy(name, spec)
    assert first.code != 0, first.output
    assert "it did not come back within 30 s of its reboot" in first.output and "BMC" in first.output

    fault(shop, name, "clear", "driver-missing")
    shop.workshop.lab.reboot(name)
    second = shop.deploy(name, spec)
    assert second.code != 0 and "no driver is loaded: " in second.output, second.output
    assert "No such device" in second.output

    fault(shop, name, "clear", "driver-late")
    shop.workshop.lab.reboot(name)
    third = shop.deploy(name, spec)
    assert third.code == 0 and "CUDA counts 2" in third.output, third.output
    assert shop.deploy(name, spec).changed == set()
    shop.workshop.lab.down([name])


def test_open_modules_that_do_not_compile_are_mended(shop: Shop) -> None:
    """What Debian's own open modules leave, half-configured: out of it, and to a driver that compiles."""
    name = shop.boot("half")
    shop.on(name, "apt-get -qq update")
    install = "DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install"
    shop.on(name, f"{install} linux-headers-$(uname -r) gcc libc6-dev dkms nvidia-open-kernel-dkms nvidia-smi")
    assert shop.on(name, "dpkg --audit") != ""
    spec = shop.spec(shop.offer("lts", 580), source="distro", reboot="auto")
    done = shop.deploy(name, spec)
    assert done.code == 0, done.output
    assert "taking out what does not compile: nvidia-open-kernel-dkms" in done.output
    assert "CUDA counts 2" in done.output and shop.on(name, "dpkg --audit") == ""
    assert shop.deploy(name, spec).changed == set()
    shop.workshop.lab.down([name])


@pytest.mark.nvidia
def test_two_controllers_come_to_one_driver(shop: Shop) -> None:
    """Two deploys at the same moment: one waits for the other, and what is left is what one alone leaves."""
    name = shop.boot("twice")
    spec = shop.spec(shop.offer("lts", 580), reboot="auto")
    running = [shop.workshop.start(spec, name, deploy="nvidia") for _ in range(2)]
    outcomes = [shop.workshop._finish(one) for one in running]
    last = shop.deploy(name, spec)
    assert last.code == 0, last.output
    assert shop.on(name, VERSION) == NEWEST[580]
    assert shop.deploy(name, spec).changed == set()
    assert any(one.code == 0 for one in outcomes), "\n".join(one.output for one in outcomes)
    shop.workshop.lab.down([name])


UBUNTU = """cat >/etc/os-release <<'END'
PRETTY_NAME="Ubuntu 24.04.3 LTS"
NAME="Ubuntu"
VERSION_ID="24.04"
VERSION_CODENAME=noble
ID=ubuntu
ID_LIKE=debian
END
"""


def test_ubuntu_takes_canonicals_packages(shop: Shop) -> None:
    """On what passes for Ubuntu 24.04: Canonical's own driver for servers, NVIDIA's repository untouched."""
    name = shop.boot("noble")
    shop.on(name, UBUNTU + shop.repositories.use_distribution(shop.address, "noble", alone=True))
    spec = shop.spec(shop.offer("lts", 580), reboot="auto")
    done = shop.deploy(name, spec)
    assert done.code == 0 and "CUDA counts 2" in done.output, done.output
    assert shop.on(name, VERSION) == NEWEST[580]
    assert "nvidia-dkms-580-server-open" in shop.on(name, "apt-mark showhold")
    assert "rigwright-nvidia.sources" not in shop.on(name, "ls /etc/apt/sources.list.d")
    assert shop.deploy(name, spec).changed == set()
    shop.workshop.lab.down([name])


def test_rig_without_a_gpu_is_left_alone(shop: Shop) -> None:
    """Nothing of NVIDIA's is there to be driven."""
    name = shop.workshop.boot("plain")
    before = shop.on(name, PACKAGES)
    done = shop.deploy(name, shop.spec(shop.offer("lts", 580)))
    assert (done.code, done.changed) == (0, set()), done.output
    assert "nothing for NVIDIA's driver to drive" in done.output
    assert shop.on(name, PACKAGES) == before
    shop.workshop.lab.down([name])


ASKING = """while :; do
curl -s http://127.0.0.1:8080/completion -d '{"prompt": "a", "n_predict": 1800, "ignore_eos": true}' >/dev/null
done
"""


@pytest.mark.faults
def test_service_at_work_is_not_rebooted(shop: Shop, trixie: FirstRun) -> None:
    """A service of ours that always answers somebody keeps the rig from its reboot; a quiet one does not."""
    name = shop.workshop.boot("atwork", from_snapshot=trixie.snapshot, hardware="2x-rtx3090", driver="simulated")
    shop.on(name, shop.repositories.use_distribution(shop.address, "trixie"))
    wait_healthy(shop.workshop, name)
    shop.on(name, f"cat >/root/ask <<'END'\n{ASKING}END\nsystemd-run -q --unit=asking sh /root/ask")
    spec = shop.spec(shop.offer("lts", 580), reboot="auto")
    boot = shop.on(name, "cat /proc/sys/kernel/random/boot_id")
    busy = shop.deploy(name, spec)
    assert busy.code != 0 and "rigwright-demo.service is at work" in busy.output, busy.output
    assert shop.on(name, "cat /proc/sys/kernel/random/boot_id") == boot
    shop.on(name, "systemctl stop asking")
    quiet = shop.deploy(name, spec)
    assert quiet.code == 0 and "CUDA counts 2" in quiet.output, quiet.output
    shop.workshop.lab.down([name])
