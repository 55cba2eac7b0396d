"""What to do about a rig that SSH does not reach, by what pyinfra or ssh says."""

from __future__ import annotations

import re

# Source: the messages of OpenSSH 9.2, paramiko 4.0 and pyinfra 3.10. The first that fits counts.
_WAYS = {
    r"host key (?:for .* does not match|verification failed)|host identification has changed": (
        "a reinstalled rig has a new host key, and so has an impostor: look at the rig, then "
        "ssh-keygen -R with its address, and log in once with ssh"
    ),
    r"no such file or directory.*known_hosts": "mkdir -m 700 ~/.ssh, then log in once with ssh",
    r"no host key for .* found in known_hosts": "log in once with ssh, which asks whether its host key is right",
    r"too many authentication failures": "name one key in ssh_key",
    r"authentication error|permission denied|no authentication methods|authentication failed": (
        "correct ssh_user and ssh_key, or give the rig your key: ssh-copy-id"
    ),
    r"resolve hostname|name or service not known|name resolution|nodename nor servname|no address associated": (
        "correct ssh_hostname, or write the rig's address there"
    ),
    r"protocol banner|protocol (?:version )?identification|kex_exchange|invalid ssh": (
        "what answers there speaks no SSH, or has too many logins; correct ssh_port, or try again"
    ),
    r"connection refused|unable to connect to port|connection reset": (
        "start sshd on the rig, or correct ssh_hostname and ssh_port"
    ),
    r"timed out|timeout|no route to host|unreachable|host is down|no existing session": (
        "is the rig on, and reachable from here? else correct ssh_hostname and ssh_port"
    ),
}


def with_way_out(said: str) -> str:
    """What was said of a rig that was not reached, and what to do about it where that is known."""
    for pattern, way in _WAYS.items():
        if re.search(pattern, said, re.IGNORECASE):
            return f"{said.rstrip('.')}; {way}"
    return said
