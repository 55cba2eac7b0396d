"""The key `rig.weights`: how model files come to rigs."""

from __future__ import annotations

import ipaddress
import posixpath
import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator

from rigwright.given import SIZE
from rigwright.strict import Line, Strict

# Each service has a /tmp of its own, and none sees root's home; the rest is gone after a reboot or was never a disk.
_UNSEEN = ("/root", "/tmp", "/var/tmp", "/run", "/dev", "/proc", "/sys")


def unseen(directory: str) -> str | None:
    """The directory above, or the path itself, in which no service can see model files; None where all can."""
    return next((one for one in _UNSEEN if f"{directory}/".startswith(f"{one}/")), None)


def _directory(value: Any) -> Any:
    """The path without a slash at its end."""
    if not isinstance(value, str):
        return value
    path = value.strip()
    if not path.startswith("/"):
        raise ValueError(f"{path[:80]!r} is no absolute path on the rig; write one like /srv/models")
    return path.rstrip("/") or "/"


class WeightsSettings(Strict):
    """The key `rig.weights`."""

    directory: Annotated[
        str, Field(pattern=r"^/[^\x00-\x1f\x7f%$]*[^/\x00-\x1f\x7f%$]$"), BeforeValidator(_directory)
    ] = Field(
        "/var/lib/rigwright/weights", description="Where model files live on the rig; a big disk is a good place."
    )
    hugging_face: Annotated[str, Field(pattern=r"^https?://[^\s?#@]+$")] = Field(
        "https://huggingface.co", description="The hub, or a mirror of it."
    )
    reserve_bytes: Annotated[int, Field(ge=0), SIZE] = Field(
        1 << 30, description="Disk space that must stay free after a download."
    )

    offline: Line | None = Field(
        None,
        description="A directory on this machine (the controller), looked into before any hub: for `org/repo/FILE`, "
        "a file called by its sha256, and as the cache of `hf download`. What lies there is uploaded.",
    )
    share_within: str | None = Field(
        None,
        description="A network of the rigs' own, like 10.0.0.0/24: those of a run that want the same file get it once, "
        "and each hands it on to the next, unencrypted, from port 9479.",
    )

    @field_validator("share_within")
    @classmethod
    def _is_network(cls, text: str | None) -> str | None:
        if text is None:
            return None
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise ValueError(f"{text[:80]!r} is no network; write one like 10.0.0.0/24") from None
        if network.prefixlen < 8:
            raise ValueError(f"{network} is half the world; write a network of your own, like 10.0.0.0/24")
        return str(network)

    @field_validator("directory")
    @classmethod
    def _seen_by_services(cls, directory: str) -> str:
        """`/srv/../home/x` is `/home/x`, here and on the rig."""
        directory = "/" + posixpath.normpath(directory).lstrip("/")
        if directory in ("/", "/home"):
            raise ValueError("model files need a directory of their own; set it to one like /srv/models")
        if place := unseen(directory):
            raise ValueError(f"services do not see what lies in {place}; set it to a directory like /srv/models")
        if directory.startswith("/home/") and re.search("[\"']", directory):
            raise ValueError("systemd shows no service what lies in /home with a quote in its path; set it to another")
        return directory
