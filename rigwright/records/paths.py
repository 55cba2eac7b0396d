"""Where things lie on a rig. `name` is an instance: `chat`, or `chat@1` for its second replica."""

from __future__ import annotations

STATE_DIRECTORY = "/var/lib/rigwright"
CONFIG_DIRECTORY = "/etc/rigwright"
INSTALL_DIRECTORY = "/opt/rigwright"
SERVICES = f"{INSTALL_DIRECTORY}/services"


# No service can be called so.
DEVICES_UNIT = "rigwright.devices.service"
POWER_UNIT = "rigwright.power.service"
TUNING_UNIT = "rigwright.tuning.service"


def unit_name(name: str) -> str:
    """The systemd unit."""
    return f"rigwright-{name}.service"


def unit_path(name: str) -> str:
    """The file of the unit."""
    return f"/etc/systemd/system/{unit_name(name)}"


def key_path(service: str) -> str:
    """The API keys of a service; its replicas share them."""
    return f"{CONFIG_DIRECTORY}/{service}.key"


def record_path(name: str) -> str:
    """The record of what was planned, in JSON; what verification holds against the running process."""
    return f"{CONFIG_DIRECTORY}/{name}.json"


def saved_record_path(name: str) -> str:
    """The record of what ran before, kept for a rollback."""
    return f"{STATE_DIRECTORY}/services/{name}/previous.json"


def current_link(name: str) -> str:
    """The link to the release that runs; switching is this one link."""
    return f"{SERVICES}/{name}/current"


def releases(engine: str) -> str:
    """The directory of an engine's releases."""
    return f"/opt/rigwright/{engine}/releases"
