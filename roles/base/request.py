"""What a removal was told to do, checked: what it does not understand could mean less than all, so it does nothing."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host

from rigwright.errors import WrongSpec
from rigwright.roles.base.pyinfra_private import told_data

KEYS = {
    "remove_service": "take away this service alone, with all its copies",
    "remove_weights": "take model files away too: true or false",
    "remove_packages": "take packages away too that came with rigwright: true or false",
    "drain_seconds": "how long requests may go on before a service stops, by default what it was deployed with",
}
_OURS = (*KEYS, "rig", "rig_lock")


class WrongRequest(WrongSpec, PyinfraError):
    """What stops a removal before any rig is touched, in the form that pyinfra prints as a line."""


@dataclass(frozen=True)
class Request:
    """One rig's part of a removal; `service` is None where everything goes."""

    service: str | None = None
    weights: bool = False
    packages: bool = True
    drain_seconds: int | None = None


def read_request(host: Host) -> Request:
    """What is asked of a rig, by `--data` and by the inventory.

    Raises:
        WrongRequest: a line that says what is not understood.
    """
    given = {key: host.data.get(key) for key in KEYS if host.data.get(key) is not None}
    unknown = [key for key in told_data(host) if not key.startswith("_") and key not in _OURS]
    # An inventory may hold data of other deploys.
    unknown += [key for key in host.data.dict() if key.startswith("remove_") and key not in KEYS and _near(key)]
    return check_request(given, unknown)


def check_request(given: Mapping[str, Any], unknown: Collection[str] = ()) -> Request:
    """Values by key as a Request.

    Raises:
        WrongRequest: a line that says what is not understood.
    """
    for key in unknown:
        hint = f"did you mean {_near(key)}?" if _near(key) else "leave it out;"
        raise WrongRequest(f"{key}: a removal does not know it; {hint} it knows {', '.join(KEYS)}")
    for key in ("remove_weights", "remove_packages"):
        if not isinstance(given.get(key, False), bool):
            raise WrongRequest(f"{key}: {given[key]!r} is neither true nor false; say one of them")
    drain_seconds = told_seconds(given.get("drain_seconds"))
    if "remove_service" not in given:
        return Request(None, given.get("remove_weights", False), given.get("remove_packages", True), drain_seconds)
    service = given["remove_service"]
    if isinstance(service, bool) or not isinstance(service, str | int) or not str(service).strip():
        raise WrongRequest(
            f"remove_service: {service!r} is no name of a service; name one, or leave it out to take everything away"
        )
    for key in ("remove_weights", "remove_packages"):
        if given.get(key):
            raise WrongRequest(f"{key}: does not go with remove_service; model files and packages stay for the others")
    return Request(str(service).strip(), drain_seconds=drain_seconds)


def told_seconds(value: Any) -> int | None:
    """What `--data drain_seconds=` says; None where it says nothing.

    Raises:
        WrongRequest: it is no number of seconds.
    """
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 3600):
        return value
    raise WrongRequest(
        f"drain_seconds: {value!r} is no whole number of seconds up to 3600; say one, 0 to wait for none"
    )


def _near(key: str) -> str | None:
    names = {name.removeprefix("remove_"): name for name in KEYS} | {name: name for name in KEYS}
    found = difflib.get_close_matches(key, names, n=1, cutoff=0.75)
    return names[found[0]] if found else None
