"""The lab and the networks of its host: rigs get out, nobody else through, and others' rules are left alone.

A network namespace stands for the host, others for its neighbours and its rigs: real links, real rules, nothing booted.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rigwright.lab.layout import LabPaths
from rigwright.lab.network import bridge, table

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="virtual rigs need root"),
]

PORT = 7777
LISTEN = f"import socket; s = socket.create_server(('', {PORT}))\nwhile s.accept(): pass"
DIAL = f"import socket, sys; socket.create_connection((sys.argv[1], {PORT}), float(sys.argv[2]))"
ENSURE = "from rigwright.lab.network import ensure_network; print(ensure_network(paths))"
REMOVE = "from rigwright.lab.network import remove_network; print(remove_network(paths))"
LAN, VPN, CONTAINER = "192.0.2.2", "198.51.100.2", "203.0.113.2"
# What iptables-nft makes of Docker's rules, and a table of libvirt's.
# Source: Docker's page "Packet filtering and firewalls"; libvirt's "Network backend nftables".
OTHERS = """
table ip filter {
    chain DOCKER-USER { }
    chain DOCKER { }
    chain FORWARD {
        type filter hook forward priority filter; policy drop;
        jump DOCKER-USER
        oifname "docker0" ct state established,related accept
        oifname "docker0" jump DOCKER
        iifname "docker0" oifname != "docker0" accept
        iifname "docker0" oifname "docker0" accept
    }
}
table ip nat {
    chain POSTROUTING {
        type nat hook postrouting priority srcnat; policy accept;
        ip saddr 203.0.113.0/24 oifname != "docker0" masquerade
    }
}
table ip libvirt_network {
    chain forward {
        type filter hook forward priority filter; policy accept;
        iifname "virbr0" oifname "virbr0" accept
        oifname "virbr0" reject
    }
}
"""


class Host:
    """A machine of its own, as far as networks go."""

    def __init__(self, folder: Path) -> None:
        self.paths = LabPaths(folder, "net")
        prepare = "mount -t sysfs sysfs /sys; mount -t tmpfs tmpfs /run; ip link set lo up; >/run/ready; exec sleep 600"
        command = ["unshare", "--net", "--mount", "--propagation=private", "sh", "-c", prepare]
        self._processes = [subprocess.Popen(command)]
        while not self.sh("ls /run/ready", check=False):
            time.sleep(0.05)

    def sh(self, script: str, *, check: bool = True) -> str:
        """A script on this host."""
        enter = ["nsenter", f"--target={self._processes[0].pid}", "--net", "--mount", "--", "sh", "-ec", script]
        return subprocess.run(enter, capture_output=True, text=True, check=check).stdout.strip()

    def lab(self, code: str) -> str:
        """The lab's own code on this host."""
        paths = f"LabPaths(Path({str(self.paths.shared)!r}), 'net')"
        whole = f"from pathlib import Path; from rigwright.lab.layout import LabPaths; paths = {paths}; {code}"
        return self.sh(shlex.join([sys.executable, "-c", whole]))

    def neighbour(self, name: str, address: str, *, on: str = "") -> None:
        """A machine beside this one, which listens; `on` is the bridge that it is plugged into."""
        gateway = address.rsplit(".", 1)[0] + ".1"
        self.sh(f"""
            ip netns add {name}
            ip link add {name} type veth peer name eth0 netns {name}
            {f"ip link set {name} master {on}" if on else f"ip address add {gateway}/24 dev {name}"}
            ip link set {name} up
            ip -n {name} address add {address}/24 dev eth0
            for link in lo eth0; do ip -n {name} link set $link up; done
            ip -n {name} route add default via {gateway}
        """)
        listen = ["nsenter", f"--target={self._processes[0].pid}", "--net", "--mount", "--", "ip", "netns", "exec"]
        self._processes.append(subprocess.Popen([*listen, name, sys.executable, "-c", LISTEN]))
        while not self.reaches(name, address):
            time.sleep(0.05)

    def bridge(self, name: str, gateway: str) -> None:
        """A bridge as Docker and libvirt have them."""
        self.sh(f"ip link add {name} type bridge; ip address add {gateway}/24 dev {name}; ip link set {name} up")

    def reaches(self, name: str, address: str) -> bool:
        """Whether a neighbour can open a connection to an address."""
        dial = shlex.join([sys.executable, "-c", DIAL, address, "0.5"])
        return "yes" in self.sh(f"ip netns exec {name} {dial} 2>&1 && echo yes", check=False)

    @property
    def forwards(self) -> str:
        """The switch of the whole host."""
        return self.sh("cat /proc/sys/net/ipv4/ip_forward")

    def set_forwarding(self, value: int) -> None:
        """Turn it."""
        self.sh(f"echo {value} >/proc/sys/net/ipv4/ip_forward")

    def end(self) -> None:
        """With its last process it is gone."""
        for process in reversed(self._processes):
            process.kill()
            process.wait()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """A host with a neighbour on its LAN, who sends it all that is not for the LAN, and one behind its VPN."""
    host = Host(tmp_path)
    host.neighbour("lan", LAN)
    host.neighbour("vpn", VPN)
    yield host
    host.end()


def start_rig(host: Host) -> str:
    """The lab's network, and something on its bridge; returns the address."""
    address = f"10.77.{host.lab(ENSURE)}.2"
    host.neighbour("rig", address, on=bridge(host.paths))
    return address


def test_host_is_no_router_for_its_networks(host: Host) -> None:
    """Where forwarding was off, rigs alone are forwarded for, and `down` turns it off again."""
    host.set_forwarding(0)
    rig = start_rig(host)
    assert host.reaches("rig", LAN) and host.reaches("rig", VPN)
    assert not host.reaches("lan", VPN) and not host.reaches("vpn", LAN)
    assert not host.reaches("lan", rig) and not host.reaches("vpn", rig)
    assert host.forwards == "1"
    assert (host.lab(REMOVE), host.forwards, host.sh("nft list ruleset")) == ("None", "0", "")


def test_host_that_forwards_goes_on_with_it(host: Host) -> None:
    """Where forwarding was on, others are forwarded for as before; rigs are not reached from outside there either."""
    host.set_forwarding(1)
    rig = start_rig(host)
    assert host.reaches("lan", VPN) and host.reaches("rig", LAN)
    assert not host.reaches("lan", rig)
    assert (host.lab(REMOVE), host.forwards) == ("None", "1")


def test_rules_of_docker_and_libvirt_stay_as_they_are(host: Host) -> None:
    """Before, during and after a lab the rules of others are the same, to the letter."""
    host.set_forwarding(1)
    host.bridge("docker0", "203.0.113.1")
    host.sh(f"nft -f - <<'X'{OTHERS}X")
    before = host.sh("nft list ruleset")
    host.lab(ENSURE)
    own = re.compile(rf"table ip {table(host.paths)} {{.*?^}}\n?", re.MULTILINE | re.DOTALL)
    during = host.sh("nft list ruleset")
    assert own.search(during) and own.sub("", during).strip() == before
    host.lab(REMOVE)
    assert (host.sh("nft list ruleset"), host.forwards) == (before, "1")


def test_docker_that_starts_beside_a_lab_keeps_its_network(host: Host) -> None:
    """Containers reach out and are reached while the lab is up, and forwarding stays for them when it goes."""
    host.set_forwarding(0)
    host.lab(ENSURE)
    host.bridge("docker0", "203.0.113.1")
    host.neighbour("container", CONTAINER, on="docker0")
    assert host.reaches("container", LAN) and host.reaches("lan", CONTAINER)
    assert not host.reaches("lan", VPN)
    said = "net.ipv4.ip_forward stays 1: it was 0 before the lab, but now there is bridge docker0"
    assert (host.lab(REMOVE), host.forwards) == (said, "1")
    assert host.reaches("container", LAN) and "rigwright" not in host.sh("nft list ruleset")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (f"nft -f - <<'X'{OTHERS}X", "the chain FORWARD of the firewall's table ip filter"),
        (
            "mount -t tmpfs t /etc/sysctl.d; echo 'net.ipv4.ip_forward = 1' >/etc/sysctl.d/9.conf",
            "/etc/sysctl.d/9.conf",
        ),
    ],
    ids=["rules", "setting"],
)
def test_forwarding_stays_for_who_came_meanwhile(host: Host, make: str, says: str) -> None:
    """New rules for forwarded packets, or the owner's own setting, are a need that ends with no lab."""
    host.set_forwarding(0)
    host.lab(ENSURE)
    host.sh(make)
    assert says in host.lab(REMOVE) and host.forwards == "1"


def test_lab_of_an_older_version_is_closed_by_the_next_up(host: Host) -> None:
    """Forwarding that was turned on without a gate gets one, and a table without our last rule gets it."""
    host.set_forwarding(0)
    rig = start_rig(host)
    host.sh(f"nft delete table ip rigwright_lab; nft flush chain ip {table(host.paths)} through")
    host.sh("rm /run/rigwright-lab/forwarders.json")
    assert host.reaches("lan", VPN) and host.reaches("lan", rig)
    host.lab(ENSURE)
    assert not host.reaches("lan", VPN) and not host.reaches("lan", rig) and host.reaches("rig", LAN)
