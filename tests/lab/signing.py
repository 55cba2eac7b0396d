"""Keys of repositories, made for tests: a good one, and those that a careful apt refuses."""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Key:
    """A key pair in a gpg home."""

    home: Path
    fingerprint: str

    @property
    def short(self) -> str:
        """Its last eight digits, after which NVIDIA calls the file of a key."""
        return self.fingerprint[-8:]

    @property
    def public(self) -> bytes:
        """What others get, in ASCII armour."""
        return self._gpg("--armor", "--export", self.fingerprint)

    @property
    def secret(self) -> bytes:
        """The pair, for what signs elsewhere."""
        return self._gpg("--armor", "--export-secret-keys", self.fingerprint)

    def clearsign(self, text: str) -> bytes:
        """A text with its signature, as an InRelease is."""
        return self._gpg("--clearsign", *self._by, text=text)

    def sign(self, text: str) -> bytes:
        """The signature alone, in ASCII armour."""
        return self._gpg("--armor", "--detach-sign", *self._by, text=text)

    @property
    def _by(self) -> tuple[str, ...]:
        return ("--digest-algo", "SHA512", "--local-user", self.fingerprint)

    def _gpg(self, *arguments: str, text: str = "") -> bytes:
        return _gpg(self.home, *arguments, text=text)


class Keyring:
    """A gpg home of our own, with an agent that ends with it."""

    def __init__(self) -> None:
        # gpg puts sockets there, whose paths may not be long.
        self._folder = tempfile.TemporaryDirectory(prefix="rigwright-gpg-")
        self.home = Path(self._folder.name)

    def make(self, name: str, *, bound_by: str = "SHA512") -> Key:
        """A new key; its own signature, which binds name and use to it, is over this digest."""
        before = set(self._fingerprints())
        user = f"{name} <{name}@nvidia.example>"
        limits = ("--passphrase", "", "--quick-generate-key", user, "rsa3072", "sign", "never")
        _gpg(self.home, "--cert-digest-algo", bound_by, *limits)
        (made,) = set(self._fingerprints()) - before
        return Key(self.home, made)

    def close(self) -> None:
        """The agent ends, the keys are gone."""
        subprocess.run(["gpgconf", "--homedir", str(self.home), "--kill", "all"], check=False, capture_output=True)
        self._folder.cleanup()

    def _fingerprints(self) -> list[str]:
        rows = _gpg(self.home, "--list-keys", "--with-colons").decode().splitlines()
        return [row.split(":")[9] for row in rows if row.startswith("fpr:")]


def _gpg(home: Path, *arguments: str, text: str = "") -> bytes:
    command = ["gpg", "--homedir", str(home), "--batch", "--quiet", *arguments]
    return subprocess.run(command, input=text.encode(), check=True, capture_output=True).stdout
