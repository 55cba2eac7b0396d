"""A request that a rig makes to its own service, by curl."""

from __future__ import annotations

import ipaddress
import json
from typing import Any

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def ask(host: Any, address: Address, place: str, limit_seconds: int, *, body: object = None, key_file: str = "") -> Any:
    """What came of it: its output is the body, and the HTTP status on the last line. The key stays out of sight.

    Args:
        host: The testinfra host.
        address: Where the service listens.
        place: Its port with a path, like `8080/health`.
        limit_seconds: How long it may take.
        body: What is posted, as JSON; without it the request is a GET.
        key_file: The file of API keys on the rig, whose first one is used; empty for none.
    """
    if address.is_unspecified:
        address = ipaddress.ip_address("::1" if address.version == 6 else "127.0.0.1")
    # Neither the settings nor the proxy of whoever logs in have a say.
    curl = "curl -q -sS --noproxy '*' --config - --max-time %s -w '\\n%%{http_code}' %s"
    words = [str(limit_seconds), f"http://[{address}]:{place}" if address.version == 6 else f"http://{address}:{place}"]
    if body is not None:
        curl += " -H 'Content-Type: application/json' -d %s"
        words.append(json.dumps(body))
    secret = "true | "
    if key_file:
        secret = 'sed \'1!d; s/[\\\\"]/\\\\&/g; s/.*/header = "Authorization: Bearer &"/\' %s | '
        words.insert(0, key_file)
    return host.run(secret + curl, *words, limit_seconds=limit_seconds + 30)
