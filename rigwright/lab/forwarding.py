"""The host's forwarding: turned on for the rigs alone, and off again when nobody else came to need it.

`ip_forward` makes every network of the host a neighbour of every other. Where it was off, a firewall table of our own,
the gate, lets through what rigs send, the replies to it, and what belongs to bridges that came later (Docker's,
libvirt's: they would have turned forwarding on themselves, had we not).
"""

from __future__ import annotations

import json
from pathlib import Path

from rigwright.lab.host import run, write_json

# Links and forwarding belong to the machine, whatever directory a lab lives in.
RUNTIME = Path("/run/rigwright-lab")
FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
FORWARD_BEFORE = RUNTIME / "ip_forward"
NEEDED_BEFORE = RUNTIME / "forwarders.json"
GATE = "rigwright_lab"
PREFIX = "rwl-"
LINKS = Path("/sys/class/net")
# Source: sysctl.d(5), the places that are read at boot.
SYSCTL = [Path(place) for place in ("/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d")]
SWITCHES = ("net.ipv4.ip_forward", "net.ipv4.conf.all.forwarding")


def forward_rigs() -> None:
    """Let this host forward for rigs, and for nobody for whom it did not before."""
    is_off = FORWARD.read_text().strip() == "0"
    if is_off:
        FORWARD_BEFORE.write_text("0\n")
        write_json(NEEDED_BEFORE, sorted(_forwarders()))
    if not FORWARD_BEFORE.exists():
        _open_gate()  # on for others' sake: theirs to say who passes
    elif run(["nft", "list", "table", "ip", GATE], check=False).returncode:
        # Also what a version before 0.2 turned on, and what a reload of the firewall left open.
        run(["nft", "-f", "-"], input=_gate())
    if is_off:
        FORWARD.write_text("1\n")


def stop_forwarding() -> str | None:
    """Put forwarding back as it was when the machine's last lab has gone; says so where it has to stay."""
    if any(link.name.startswith(PREFIX) for link in LINKS.iterdir()):
        return None
    newcomers = sorted(_forwarders() - _needed_before())
    if FORWARD_BEFORE.exists() and not newcomers:
        FORWARD.write_text(FORWARD_BEFORE.read_text())
    _open_gate()
    if not FORWARD_BEFORE.exists():
        return None
    for file in (FORWARD_BEFORE, NEEDED_BEFORE):
        file.unlink(missing_ok=True)
    if not newcomers:
        return None
    return f"net.ipv4.ip_forward stays 1: it was 0 before the lab, but now there is {', '.join(newcomers)}"


def _open_gate() -> None:
    run(["nft", "delete", "table", "ip", GATE], check=False)


def _gate() -> str:
    """The table: in `before` are the bridges of now; frames within one of them are bridged, not routed."""
    bridges = [link for link in _bridges() if not link.startswith(PREFIX)]
    before = f"elements = {{ {', '.join(bridges)} }}" if bridges else ""
    within = f"elements = {{ {', '.join(f'{link} . {link}' for link in bridges)} }}" if bridges else ""
    return f"""table ip {GATE} {{
    set before {{
        type ifname; {before}
    }}
    set within {{
        type ifname . ifname; {within}
    }}
    chain through {{
        type filter hook forward priority filter; policy drop;
        iifname "{PREFIX}*" accept
        ct state established,related accept
        iifname . oifname @within accept
        meta iifkind "bridge" iifname != @before accept
        meta oifkind "bridge" oifname != @before oifname != "{PREFIX}*" accept
    }}
}}
"""


def _needed_before() -> set[str]:
    try:
        return set(json.loads(NEEDED_BEFORE.read_text()))
    except (FileNotFoundError, ValueError):  # turned on by a version before 0.2
        return set()


def _forwarders() -> set[str]:
    """What forwards, or means to: others' bridges, others' rules for it, the owner's own setting."""
    bridges = {f"bridge {link}" for link in _bridges() if not link.startswith(PREFIX)}
    return bridges | _rules() | {f"the setting of {file}" for file in _settings()}


def _rules() -> set[str]:
    ruleset = json.loads(run(["nft", "--json", "list", "chains"]).stdout)["nftables"]
    chains = [entry["chain"] for entry in ruleset if "chain" in entry]
    rules = {
        f"the chain {chain['name']} of the firewall's table {chain['family']} {chain['table']}"
        for chain in chains
        if chain.get("hook") in ("forward", "postrouting")
        and chain["family"] in ("ip", "inet")
        and not chain["table"].startswith(GATE)
    }
    legacy = Path("/proc/net/ip_tables_names")
    return rules | {f"the iptables table {name}" for name in (legacy.read_text().split() if legacy.exists() else [])}


def _settings() -> list[Path]:
    files = [Path("/etc/sysctl.conf"), *(file for place in SYSCTL if place.is_dir() for file in place.glob("*.conf"))]
    return [file for file in files if file.is_file() and _turns_on(file.read_text(errors="replace"))]


def _turns_on(text: str) -> bool:
    pairs = (line.lstrip(" -").partition("=") for line in text.splitlines())
    return any(key.strip().replace("/", ".") in SWITCHES and value.strip() not in ("", "0") for key, _, value in pairs)


def _bridges() -> list[str]:
    return sorted(link.name for link in LINKS.iterdir() if (link / "bridge").is_dir())
