"""The network of a lab: one bridge, one /24, a way out through a firewall table of its own."""

from __future__ import annotations

import ipaddress
import json

from rigwright.errors import RigwrightError
from rigwright.lab.forwarding import LINKS, PREFIX, RUNTIME, forward_rigs, stop_forwarding
from rigwright.lab.host import locked, run
from rigwright.lab.layout import LabPaths
from rigwright.lab.state import load_subnet, save_subnet


def bridge(paths: LabPaths) -> str:
    """The lab's bridge, e.g. `rwl-3f2a90c1`."""
    return f"{PREFIX}{paths.mark}"


def table(paths: LabPaths) -> str:
    """The lab's firewall table."""
    return f"rigwright_lab_{paths.mark}"


def network(subnet: int) -> ipaddress.IPv4Network:
    """The addresses of lab N."""
    return ipaddress.IPv4Network(f"10.77.{subnet}.0/24")


def gateway(subnet: int) -> str:
    """The host's address in lab N."""
    return str(network(subnet)[1])


def address(subnet: int, number: int) -> str:
    """The address of a lab's rig."""
    return str(network(subnet)[1 + number])


def ensure_network(paths: LabPaths) -> int:
    """Make the bridge, the way out and the forwarding, or what is missing of them; returns N of 10.77.N.0."""
    paths.home.mkdir(parents=True, exist_ok=True)
    with locked(RUNTIME / "lock"):
        subnet = _free_subnet(paths)
        save_subnet(paths, subnet)
        link = bridge(paths)
        if link not in _links():
            # An address of its own: otherwise it takes a rig's, and another one when that rig goes.
            run(["ip", "link", "add", link, "address", _link_address(paths), "type", "bridge"])
        run(["ip", "address", "replace", f"{gateway(subnet)}/24", "dev", link])
        run(["ip", "link", "set", link, "up"])
        # An address goes to the next rig at once: what this host remembers of its last owner would hide it.
        run(["ip", "neigh", "flush", "dev", link])
        run(["nft", "-f", "-"], input=_way_out(paths, subnet))
        forward_rigs()
    return subnet


def remove_network(paths: LabPaths) -> str | None:
    """Take the lab's network away, the machine's last lab forwarding too; says so where that has to stay."""
    with locked(RUNTIME / "lock"):
        for family in ("ip", "bridge"):
            run(["nft", "delete", "table", family, table(paths)], check=False)
        if bridge(paths) in _links():
            run(["ip", "link", "delete", bridge(paths)])
        return stop_forwarding()


def remove_link(link: str) -> None:
    """Remove a rig's link that outlived its rig."""
    if link in _links():
        run(["ip", "link", "delete", link], check=False)


def _way_out(paths: LabPaths, subnet: int) -> str:
    """The firewall table: rigs go out under the host's address, except those that a fault cut off; nobody comes in.

    Rules are written anew each time, so that those of an older version go; who is cut off stays cut off.
    """
    own, name = network(subnet), table(paths)
    return f"""table ip {name} {{
    set offline {{ type ipv4_addr; }}
    chain out {{ type nat hook postrouting priority srcnat; policy accept; }}
    chain through {{ type filter hook forward priority filter; policy accept; }}
}}
flush chain ip {name} out
flush chain ip {name} through
table ip {name} {{
    chain out {{
        ip saddr {own} ip daddr != {own} masquerade
    }}
    chain through {{
        ip saddr @offline drop
        ip daddr @offline drop
        oifname {bridge(paths)} iifname != "{PREFIX}*" ct state new drop
    }}
}}
"""


def _free_subnet(paths: LabPaths) -> int:
    """The number the lab had, or the first free one from a start that follows from the lab's own path."""
    had = load_subnet(paths)
    if had is not None and bridge(paths) in _links():
        return had  # rigs may be up on it
    start = had if had is not None else int(paths.mark, 16) % 256
    taken = _routed(bridge(paths))
    others = {load_subnet(LabPaths(paths.shared, home.name)) for home in paths.home.parent.iterdir()} - {had}
    for step in range(256):
        subnet = (start + step) % 256
        if subnet not in others and not any(network(subnet).overlaps(route) for route in taken):
            return subnet
    raise RigwrightError("lab: every 10.77.N.0/24 is in use here; take a lab down, or the route that covers them")


def _routed(own_link: str) -> list[ipaddress.IPv4Network]:
    """The networks that this host already knows a way to."""
    routes = json.loads(run(["ip", "-4", "-json", "route", "show", "table", "all"]).stdout or "[]")
    return [
        ipaddress.IPv4Network(route["dst"])
        for route in routes
        if route["dst"] != "default" and route.get("dev") != own_link
    ]


def _link_address(paths: LabPaths) -> str:
    """A locally administered MAC address that follows from the lab."""
    return ":".join(["02", "77", *(paths.mark[at : at + 2] for at in range(0, 8, 2))])


def _links() -> set[str]:
    return {entry.name for entry in LINKS.iterdir()}
