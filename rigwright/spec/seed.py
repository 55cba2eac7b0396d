"""The key `rig.seed`: how a bare machine becomes a rig that SSH reaches, for `rigwright seed`."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from rigwright.given import OneOrMore
from rigwright.strict import Strict

# What a name below /dev/disk/by-id may be.
_DISK = re.compile(r"(?:nvme|ata|scsi|wwn|virtio|mmc)-[A-Za-z0-9._:+=@-]{3,120}", re.ASCII)
_KINDS = r"ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)|sk-(?:ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com"
_KEY = re.compile(rf"({_KINDS}) +([A-Za-z0-9+/]+={{0,3}})(?: +(.*))?", re.DOTALL)
_COMMENT = re.compile(r"[\w.@+-]{1,100}", re.ASCII)
_HOSTNAME = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$"
Dhcp = Literal["dhcp"]


class SeedSettings(Strict):
    """The key `rig.seed`: what `rigwright seed` writes for the installers of Ubuntu and Debian. No deploy reads it.

    The user is `ssh_user` of the host data. It has no password: it logs in with a key, and sudo asks for none.
    """

    disk: str = Field(
        description="The disk that is erased for the system, as `ls /dev/disk/by-id` calls it: "
        "nvme-Samsung_SSD_990_PRO_2TB_S7KHNJ0W123456. No other one is touched; without that disk nothing is installed."
    )
    authorized_keys: OneOrMore[str] = Field(
        (),
        description="Public keys that may log in: files of this machine, or the keys themselves. By default the one "
        "beside `ssh_key` of the host data, with .pub behind its name.",
    )
    hostname: Annotated[str, Field(pattern=_HOSTNAME, max_length=200)] | None = Field(
        None, description="The name that the rig has itself; by default its name in the inventory."
    )
    address: str = Field(
        "dhcp", description="`dhcp`, or the rig's address with its network, like 192.168.1.50/24; then `mac` is a must."
    )
    mac: Annotated[str, Field(pattern=r"^([0-9a-f]{2}:){5}[0-9a-f]{2}$")] | None = Field(
        None, description="The network card that has the address, like 3c:ec:ef:12:34:56."
    )
    gateway: str | None = Field(None, description="The router, for an address of one's own.")
    nameservers: OneOrMore[str] = Field((), description="By default the gateway.")
    timezone: Annotated[str, Field(pattern=r"^[A-Za-z0-9_+-]{1,40}(/[A-Za-z0-9_+-]{1,40}){0,2}$")] = Field(
        "UTC", description="Like Europe/Berlin."
    )
    locale: Annotated[str, Field(pattern=r"^([a-z]{2,3}_[A-Z]{2}|C)(\.UTF-8)?$")] = Field(
        "en_US.UTF-8", description="Like de_DE.UTF-8."
    )
    keyboard: Annotated[str, Field(pattern=r"^[a-z]{2,10}$")] = Field("us", description="The layout of its keyboard.")
    encrypt: bool = Field(
        False,
        description="Encrypt the disk by LUKS. The installer asks for the passphrase, which is in no file; each boot "
        "asks for it too, so that no deploy can reboot such a rig alone.",
    )

    @field_validator("disk", mode="before")
    @classmethod
    def _one_disk(cls, disk: Any) -> Any:
        name = str(disk).strip().removeprefix("/dev/disk/by-id/")
        if not _DISK.fullmatch(name) or re.search(r"-part\d+$", name):
            raise ValueError(
                f"{str(disk)[:80]!r} is no name of one whole disk that stays; sda is another one after a change: write "
                "the name that `ls /dev/disk/by-id` has on the rig, like nvme-Samsung_SSD_990_PRO_2TB_S7KHNJ0W123456"
            )
        return name

    @field_validator("authorized_keys", mode="before")
    @classmethod
    def _one_text(cls, given: Any) -> Any:
        """One key has blanks, and is no list."""
        return (given,) if isinstance(given, str) else given

    @field_validator("mac", mode="before")
    @classmethod
    def _as_mac(cls, mac: Any) -> Any:
        return mac.strip().lower().replace("-", ":") if isinstance(mac, str) else mac

    @field_validator("address")
    @classmethod
    def _as_address(cls, address: str) -> str:
        if address == "dhcp":
            return address
        try:
            found = ipaddress.ip_interface(address)
        except ValueError:
            found = None
        if found is None or "/" not in address:
            raise ValueError(
                f"{address[:80]!r} is no address with its network; write dhcp, or one like 192.168.1.50/24"
            )
        return str(found)

    @field_validator("gateway", "nameservers")
    @classmethod
    def _as_addresses(cls, given: Any) -> Any:
        for one in given if isinstance(given, tuple) else filter(None, (given,)):
            try:
                ipaddress.ip_address(one)
            except ValueError:
                raise ValueError(f"{one[:80]!r} is no address; write one like 192.168.1.1") from None
        return given

    @model_validator(mode="after")
    def _has_all(self) -> Self:
        if self.address != "dhcp":
            if missing := [key for key in ("mac", "gateway") if not getattr(self, key)]:
                raise ValueError(f"an address of one's own wants {' and '.join(missing)} too; add it, or write dhcp")
            network = ipaddress.ip_interface(self.address).network
            if ipaddress.ip_address(self.gateway or "") not in network:
                raise ValueError(f"the gateway {self.gateway} is not in {network}; one of the two is wrong")
        return self


def public_key(text: str) -> str:
    """One line of an authorized_keys file, checked: its kind, its key, and its comment where that is one word.

    Raises:
        ValueError: it is none, with why.
    """
    text = text.strip()
    if "PRIVATE KEY" in text:
        raise ValueError("is a private key, which belongs in no file but its own; name the one that ends in .pub")
    found = _KEY.fullmatch(text)
    if not found or "\n" in text:
        raise ValueError("is no public key; it is one line like ssh-ed25519 AAAA… you@laptop")
    kind, key, comment = found.groups()
    try:
        blob = base64.b64decode(key, validate=True)
    except binascii.Error:
        blob = b""
    # Source: RFC 4253, 6.6: the length of the kind, the kind, the rest.
    if blob[4 : 4 + int.from_bytes(blob[:4])] != kind.encode() or len(blob) < 4 + len(kind) + 32:
        raise ValueError(f"is no whole {kind} key; copy all of its line")
    return " ".join([kind, key, *([comment] if comment and _COMMENT.fullmatch(comment) else [])])
