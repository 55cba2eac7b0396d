"""What a plan asks of the machine itself, over SSH and real systemd, on a rig whose kernel is ordinary files."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(shutil.which("systemd-nspawn") is None, reason="needs systemd-nspawn: make host installs it"),
]

UNIT = "rigwright.tuning.service"
GOVERNORS, SWAPPINESS = "/sys/devices/system/cpu/cpufreq/policy*/scaling_governor", "/proc/sys/vm/swappiness"
# At each boot, as a kernel would: two policies of a CPU, and swappiness. The rig takes itself for no container.
_KERNEL = """set -e
mkdir -p /run/kernel/policy0 /run/kernel/policy1
for policy in /run/kernel/policy*; do
    echo schedutil >$policy/scaling_governor
    echo performance schedutil >$policy/scaling_available_governors
done
echo 60 >/run/kernel/swappiness
mount --bind /run/kernel /sys/devices/system/cpu/cpufreq
mount --bind /run/kernel/swappiness /proc/sys/vm/swappiness
"""
_AT_BOOT = f"""[Unit]
Before={UNIT}
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh /opt/kernel.sh
[Install]
WantedBy=multi-user.target
"""


@pytest.fixture(scope="module")
def rig(workshop: Any, trixie: Any) -> Iterator[str]:
    """A rig that serves `demo`, and thinks that its kernel is its own."""
    name = str(workshop.boot("tuned", from_snapshot=trixie.snapshot))
    files = {
        "/usr/local/bin/systemd-detect-virt": "#!/bin/sh\necho none; exit 1\n",
        "/opt/kernel.sh": _KERNEL,
        "/etc/systemd/system/kernel.service": _AT_BOOT,
    }
    for path, text in files.items():
        workshop.lab.exec(name, ["sh", "-c", f"cat >{path}; chmod 755 {path}"], input=text)
    workshop.on(name, "systemctl enable -q --now kernel")
    yield name
    workshop.lab.down([name])


def wish(workshop: Any, mode: str) -> dict[str, Any]:
    data = workshop.spec()
    data["services"][0]["flags"] = {"--load-mode": mode}
    return dict(data)


def kernel(workshop: Any, rig: str) -> str:
    return str(workshop.on(rig, f"cat {GOVERNORS} {SWAPPINESS} | tr '\\n' ' '")).strip()


def test_machine_is_tuned_and_given_back(workshop: Any, rig: str) -> None:
    """Set, once; set again at boot; given back one by one as plans change, and by removal; the owner's own stays."""
    said = " ".join(
        workshop.rigwright("plan", "--why", str(workshop.inventory(wish(workshop, "none"), rig))).output.split()
    )
    assert "the machine ── why governor performance the CPU computes all of demo" in said, said
    done = workshop.deploy(wish(workshop, "none"), rig)
    assert done.code == 0 and "Tune the machine" in done.changed, done.output
    assert kernel(workshop, rig) == "performance performance 10"
    assert workshop.on(rig, f"systemctl is-active {UNIT}; systemctl is-enabled {UNIT}") == "active\nenabled"
    # What llama.cpp's own dry run says of it lies beside what the plan has.
    difference = workshop.on(rig, "cat /var/lib/rigwright/services/demo/difference").splitlines()
    assert [re.sub(r"\d+", "N", line) for line in difference] == [
        f"Host {part} N N" for part in ("model", "context", "compute")
    ]
    again = workshop.deploy(wish(workshop, "none"), rig)
    assert again.changed == set(), again.output

    workshop.lab.reboot(rig)
    workshop.on(rig, "systemctl is-system-running --wait", check=False)
    assert kernel(workshop, rig) == "performance performance 10"
    assert workshop.deploy(wish(workshop, "none"), rig).changed == set()
    # The owner's own value stays, is said once, and noted by verify.
    workshop.on(rig, f"echo 30 >{SWAPPINESS}")
    done = workshop.deploy(wish(workshop, "none"), rig)
    assert done.changed == {"Tune the machine"} and "vm.swappiness is 30" in done.output, done.output
    assert workshop.deploy(wish(workshop, "none"), rig).changed == set()
    assert kernel(workshop, rig) == "performance performance 30"
    command = [sys.executable, "-m", "pytest", "-q", "--pyargs", "rigwright.roles.service.verify", "-k", "is_tuned"]
    command += ["--rigs", str(workshop.inventory(wish(workshop, "none"), rig))]
    checked = subprocess.run(
        command, capture_output=True, text=True, env=workshop.environment, cwd=workshop.directory, check=False
    )
    noted = f"swappiness is as the owner of the machine has it, see journalctl -u {UNIT}"
    assert checked.returncode == 0 and noted in checked.stdout, checked.stdout

    workshop.on(rig, f"echo 60 >{SWAPPINESS}; systemctl restart {UNIT}")
    assert kernel(workshop, rig) == "performance performance 10"
    done = workshop.deploy(wish(workshop, "mlock"), rig)
    assert done.code == 0, done.output
    assert kernel(workshop, rig) == "performance performance 60"
    locked = workshop.on(rig, "grep VmLck /proc/$(systemctl show -P MainPID rigwright-demo)/status")
    assert int(re.findall(r"\d+", locked)[0]) > 100, locked
    assert workshop.deploy(wish(workshop, "mlock"), rig).changed == set()

    done = workshop.deploy(wish(workshop, "mlock"), rig, deploy="remove")
    assert done.code == 0, done.output
    assert kernel(workshop, rig) == "schedutil schedutil 60"
    left = "find /etc/systemd/system /etc/rigwright /opt/rigwright /run/rigwright.tuning -name '*tuning*' 2>/dev/null"
    assert workshop.on(rig, left, check=False) == ""
