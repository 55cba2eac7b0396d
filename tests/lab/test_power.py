"""Power limits over SSH and real systemd, on a rig whose nvidia-smi keeps limits in a file: set, kept, given back."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(shutil.which("systemd-nspawn") is None, reason="needs systemd-nspawn: make host installs it"),
]

NAME = "powered"
A, B = "GPU-aaaaaaaa-0000-0000-0000-000000000000", "GPU-bbbbbbbb-0000-0000-0000-000000000000"
# /run/cards, gone at a reboot as limits are: UUID, limit, clocks. No driver answers while it is not there.
_SMI = r"""#!/bin/bash
[ -e /run/cards ] || { echo "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver."; exit 9; }
number=0
if [ "$1" = -L ]; then
    while read -r uuid _; do echo "GPU $((number++)): NVIDIA GeForce RTX 3090 (UUID: $uuid)"; done </run/cards
elif [ "$1" = -i ]; then
    read -r uuid watts clocks <<<"$(grep "^$2 " /run/cards)"
    [ -n "$uuid" ] || { echo "No devices were found"; exit 6; }
    case $3 in
        --query-gpu=uuid) echo "$uuid" ;;
        --query-gpu=power.limit) echo "$watts" ;;
        --query-gpu=power.default_limit) echo 350.00 ;;
        --query-gpu=power.min_limit) echo 100.00 ;;
        --query-gpu=power.max_limit) echo 366.00 ;;
        -pl) sed -i "s/^$2 [^ ]*/$2 $4/" /run/cards ;;
        -lgc) sed -i "s/^\($2 [^ ]*\) .*/\1 $4/" /run/cards ;;
        -rgc) sed -i "s/^\($2 [^ ]*\) .*/\1 -/" /run/cards ;;
    esac
else
    case $* in --query-gpu=*) ;; *) exit 64 ;; esac
    head="index, uuid, name, pci.bus_id, memory.total [MiB], compute_cap, driver_version"
    echo "$head, power.limit [W], power.default_limit [W], power.min_limit [W], power.max_limit [W]"
    while read -r uuid watts _; do
        card="NVIDIA GeForce RTX 3090, 00000000:0$((number + 1)):00.0, 24576 MiB, 8.6, 580.95.05"
        echo "$((number++)), $uuid, $card, $watts W, 350.00 W, 100.00 W, 366.00 W"
    done </run/cards
fi
"""
_DEPLOY = """
from pyinfra import host
from pyinfra.api.deploy import deploy
from rigwright.resolve.driver import driver_wish
from rigwright.roles.nvidia.power import power, power_probe
from rigwright.spec.rig import parse_spec

@deploy("Power")
def limits():
    wish = driver_wish(parse_spec(host.name, host.data.rig))
    power(name="Set power limits", wish=wish, probe=power_probe())

limits()
"""
UNIT = "rigwright.power.service"


@pytest.fixture(scope="module")
def rig(workshop: Any) -> Iterator[str]:
    """A rig of its own kernel, as it thinks, with two cards."""
    workshop.boot(NAME)
    for path, text in {"nvidia-smi": _SMI, "systemd-detect-virt": "#!/bin/sh\necho none; exit 1\n"}.items():
        workshop.lab.exec(
            NAME, ["sh", "-c", f"cat >/usr/local/bin/{path}; chmod 755 /usr/local/bin/{path}"], input=text
        )
    cards(workshop, f"{A} 350.00 -", f"{B} 350.00 -")
    (workshop.directory / "limits.py").write_text(_DEPLOY)
    yield NAME
    workshop.lab.down([NAME])


def cards(workshop: Any, *rows: str) -> None:
    workshop.on(NAME, "printf '%s\\n' " + " ".join(f"'{row}'" for row in rows) + " >/run/cards")


def deploy(workshop: Any, **nvidia: Any) -> Any:
    rig = {"services": [], "nvidia": nvidia}
    return workshop.deploy(rig, NAME, deploy=str(Path(workshop.directory) / "limits"))


def limits(workshop: Any) -> list[str]:
    return workshop.on(NAME, "cut -d' ' -f2- /run/cards").splitlines()


def test_limits_are_set_and_a_second_run_changes_nothing(workshop, rig):
    """Read back by what the cards say; systemd is not told to read all its units anew."""
    reloads = "journalctl -b -o cat _PID=1 | grep -c '^Reload'"
    before = workshop.on(rig, reloads, check=False)
    done = deploy(workshop, power_watts={A: 280, "*": 300}, clocks_mhz=[210, 1700])
    assert done.code == 0, done.output
    assert limits(workshop) == ["280 210,1700", "300 210,1700"]
    assert workshop.on(rig, f"systemctl is-active {UNIT}; systemctl is-enabled {UNIT}") == "active\nenabled"
    second = deploy(workshop, power_watts={A: 280, "*": 300}, clocks_mhz=[210, 1700])
    assert second.changed == set(), second.output
    # Whatever took it away, the next run sees it.
    cards(workshop, f"{A} 280.00 210,1700", f"{B} 350.00 210,1700")
    done = deploy(workshop, power_watts={A: 280, "*": 300}, clocks_mhz=[210, 1700])
    assert done.changed == {"Set power limits"}, done.output
    assert limits(workshop)[1].startswith("300")
    assert workshop.on(rig, reloads, check=False) == before
    # Nor is any unit called changed for it, as systemd does after an enabling that reads nothing anew.
    assert workshop.on(rig, f"systemctl show -P NeedDaemonReload ssh.service {UNIT}").split() == ["no", "no"]
    workshop.on(rig, "systemctl daemon-reload")
    assert workshop.on(rig, reloads, check=False) != before


@pytest.mark.nvidia  # it waits by the clock, and others share this machine
def test_limits_come_back_after_a_boot_with_a_driver_that_is_late(workshop, rig):
    """The unit waits for it, and a card that was pulled meanwhile stops nobody."""
    cards(workshop, f"{A} 350.00 -", f"{B} 350.00 -")
    assert deploy(workshop, power_watts={A: 280, "*": 300}, clocks_mhz=[210, 1700]).code == 0
    workshop.on(rig, f"mkdir -p /etc/systemd/system/{UNIT}.d")
    faster = f"printf '[Service]\\nRestartSec=1\\n' >/etc/systemd/system/{UNIT}.d/test.conf"
    workshop.on(rig, faster)
    workshop.lab.reboot(NAME)
    # The boot does not wait for it.
    assert workshop.on(rig, "systemctl is-system-running --wait", check=False) in ("running", "degraded")
    cards(workshop, f"{B} 350.00 -")
    settled = (
        f"for n in $(seq 240); do systemctl -q is-active {UNIT} && break; sleep 0.5; done; systemctl is-active {UNIT}"
    )
    assert workshop.on(rig, settled) == "active"
    assert limits(workshop) == ["300 210,1700"]
    assert f"{A} does not answer: it is left out" in workshop.on(rig, f"journalctl -o cat -u {UNIT}")
    done = deploy(workshop, power_watts={A: 280, "*": 300}, clocks_mhz=[210, 1700])
    assert done.code == 0, done.output
    assert deploy(workshop, power_watts={A: 280, "*": 300}, clocks_mhz=[210, 1700]).changed == set()
    workshop.on(rig, f"rm -r /etc/systemd/system/{UNIT}.d")


def test_impossible_limit_is_refused_and_touches_nothing(workshop, rig):
    """With the range of the card."""
    before = limits(workshop)
    done = deploy(workshop, power_watts=50)
    assert done.code == 1 and "it takes 100 to 366 W, and 50 W are asked" in done.output
    assert limits(workshop) == before


def test_removal_gives_cards_their_own_back(workshop, rig):
    """By a wish that is withdrawn, and by the removal of everything."""
    cards(workshop, f"{A} 350.00 -", f"{B} 350.00 -")
    for way in ("withdrawn", "removed"):
        assert deploy(workshop, power_watts=280, clocks_mhz=[210, 1700]).code == 0
        assert limits(workshop) == ["280 210,1700"] * 2
        done = deploy(workshop) if way == "withdrawn" else workshop.deploy({"services": []}, NAME, deploy="remove")
        assert done.code == 0, done.output
        assert limits(workshop) == ["350.00 -"] * 2
        left = "find /etc/systemd/system /etc/rigwright /opt/rigwright ! -type d 2>/dev/null | grep rigwright"
        assert workshop.on(rig, left, check=False) == ""
    assert deploy(workshop).changed == set()
