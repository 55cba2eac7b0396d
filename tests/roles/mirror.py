"""A mirror of NVIDIA's repositories on this machine: served over HTTP, signed by a key of the test's."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from .keys import Gpg, armored


@dataclass(frozen=True)
class Mirror:
    """The folder `debian13/x86_64` of it, and where it is served."""

    home: Path
    url: str
    gpg: Gpg

    def publish(self, index: str, *, signed_by: str | None = "rsa@x", key: str | None = "rsa@x") -> None:
        """A flat repository with this list of packages, whose files lie beside it; None: without that."""
        self.home.mkdir(parents=True, exist_ok=True)
        for file in self.home.glob("*Release*"):
            file.unlink()
        (self.home / "Packages").write_text(index)
        sums = f" {hashlib.sha256(index.encode()).hexdigest()} {len(index.encode())} Packages"
        release = f"Origin: NVIDIA\nLabel: NVIDIA CUDA\nDate: Sat, 28 Nov 2026 00:00:00 UTC\nSHA256:\n{sums}\n"
        if signed_by:
            (self.home / "InRelease").write_text(self.gpg.sign(release, signed_by))
        else:
            (self.home / "Release").write_text(release)
        (self.home / "k.pub").unlink(missing_ok=True)
        if key:
            (self.home / "k.pub").write_text(armored(self.gpg.key(key)))


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: Any) -> None:
        """Nothing."""


@contextmanager
def mirror(home: Path, gpg: Gpg) -> Iterator[Mirror]:
    """One that is served until the end."""
    home.mkdir(parents=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(home)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield Mirror(home / "debian13/x86_64", f"http://127.0.0.1:{server.server_port}/debian13/x86_64", gpg)
    finally:
        server.shutdown()
        server.server_close()
