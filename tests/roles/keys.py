"""OpenPGP keys that gpg makes, and their bytes in other forms: what a mirror, or somebody on the way, may send."""

from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

BEGIN, END = "-----BEGIN PGP PUBLIC KEY BLOCK-----", "-----END PGP PUBLIC KEY BLOCK-----"


@dataclass(frozen=True)
class Gpg:
    """A keyring in a folder of its own."""

    home: Path

    @classmethod
    def made(cls, home: Path) -> Gpg:
        """Without keys. The path of its agent's socket has to be short."""
        home.mkdir(mode=0o700)
        return cls(home)

    def __call__(self, *arguments: str, given: bytes = b"") -> bytes:
        """What gpg says."""
        command = ["gpg", "-q", "--batch", "--pinentry-mode", "loopback", "--passphrase", "", *arguments]
        environment = os.environ | {"GNUPGHOME": str(self.home)}
        return subprocess.run(command, env=environment, input=given, capture_output=True, check=True).stdout

    def make(self, name: str, kind: str) -> str:
        """A key; its fingerprint, as gpg says it."""
        self("--quick-gen-key", name, kind, "sign", "0")
        return self.fingerprint(name)

    def fingerprint(self, name: str) -> str:
        """Of the key alone, not of its subkeys."""
        listed = self("--list-keys", "--with-colons", name).decode().splitlines()
        return next(line.split(":")[9] for line in listed if line.startswith("fpr:"))

    def key(self, *names: str) -> bytes:
        """As bytes; several come one after the other."""
        return b"".join(self("--export", name) for name in names)

    def secret(self, name: str) -> bytes:
        """The key with its secret."""
        return self("--export-secret-keys", name)

    def sign(self, text: str, name: str) -> str:
        """A text with its signature around it."""
        return self("--clearsign", "-u", name, given=text.encode()).decode()

    def close(self) -> None:
        """End the agent, which would outlive the test."""
        subprocess.run(["gpgconf", "--homedir", str(self.home), "--kill", "all"], check=False, capture_output=True)


def armored(key: bytes, *, checksum: bool = True, end: str = "\n") -> str:
    """A key as text."""
    text = base64.b64encode(key).decode()
    rows = [text[at : at + 64] for at in range(0, len(text), 64)]
    if checksum:
        rows.append("=" + base64.b64encode(_crc24(key).to_bytes(3, "big")).decode())
    return "".join(f"{line}{end}" for line in (BEGIN, "", *rows, END))


def packets(key: bytes) -> Iterator[tuple[int, bytes]]:
    """The packets of a key as gpg writes it, each with its tag."""
    at = 0
    while at < len(key):
        tag, kind = (key[at] >> 2) & 15, key[at] & 3
        count = 1 << kind
        size = int.from_bytes(key[at + 1 : at + 1 + count], "big")
        at += 1 + count
        yield tag, key[at : at + size]
        at += size


def in_new_format(key: bytes, *, long: bool = False) -> bytes:
    """The same key with the headers of RFC 4880, 4.2.2, in their shortest form or in that of five bytes."""
    return b"".join(bytes([0xC0 | tag]) + _length(len(body), long) + body for tag, body in packets(key))


def in_long_old_format(key: bytes) -> bytes:
    """The same key with lengths of four bytes."""
    return b"".join(bytes([0x82 | tag << 2]) + len(body).to_bytes(4, "big") + body for tag, body in packets(key))


def _length(size: int, long: bool) -> bytes:
    if long or size >= 8384:
        return b"\xff" + size.to_bytes(4, "big")
    return bytes([size]) if size < 192 else bytes([192 + ((size - 192) >> 8), (size - 192) & 255])


def _crc24(data: bytes) -> int:
    crc = 0xB704CE
    for byte in data:
        crc ^= byte << 16
        for _ in range(8):
            crc <<= 1
            if crc & 0x1000000:
                crc ^= 0x1864CFB
    return crc & 0xFFFFFF
