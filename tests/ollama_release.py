"""Releases of Ollama in the layout of upstream's, with a stand-in for the program, and a host that has them."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import tarfile
import threading
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

NAME = "ollama-linux-amd64.tar.zst"
PROGRAM = Path(__file__).with_name("ollama_program.py")
_LLAMA_SERVER = "#!/bin/sh\necho version: 10488\n"


def write_release(path: Path, version: str, *, broken: str = "", more: Iterable[tarfile.TarInfo] = ()) -> str:
    """An archive as upstream's is laid out, and its sha256; `broken` says at what its program fails.

    Source: .github/workflows/release.yaml of Ollama at fb3076099.
    """
    text = PROGRAM.read_text().replace("@VERSION", version).replace("@BROKEN", broken)
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for name, content in (
            ("./bin/ollama", text),
            ("./lib/ollama/llama-server", _LLAMA_SERVER),
            ("./lib/ollama/llama-quantize", _LLAMA_SERVER),
            ("./lib/ollama/libggml-base.so.0.27.0", "a library"),
            ("./lib/ollama/cuda_v13/libggml-cuda.so", "another"),
        ):
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.mtime = len(content), 0o755, 1789430400
            tar.addfile(member, io.BytesIO(content.encode()))
        link = tarfile.TarInfo("./lib/ollama/libggml-base.so")
        link.type, link.linkname = tarfile.SYMTYPE, "libggml-base.so.0.27.0"
        tar.addfile(link)
        for member in more:
            tar.addfile(member, io.BytesIO(os.urandom(member.size)) if member.isreg() else None)
    path.parent.mkdir(parents=True, exist_ok=True)
    packed = subprocess.run(["zstd", "-q", "-c"], input=plain.getvalue(), capture_output=True, check=True)
    path.write_bytes(packed.stdout)
    return hashlib.sha256(packed.stdout).hexdigest()


class Releases:
    """A host of releases: a folder for each tag, with sha256sum.txt. `cut` ends each answer after so many bytes."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.cut = directory, 0
        self.asked: list[tuple[str, str, str | None]] = []
        host = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                host.asked.append((self.command, self.path, self.headers.get("Range")))
                path = host.directory / self.path.lstrip("/")
                if not path.is_file():
                    self.send_error(404)
                    return
                content, start = path.read_bytes(), 0
                if wanted := self.headers.get("Range"):
                    start = int(wanted.removeprefix("bytes=").split("-")[0])
                    self.send_response(206)
                    self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
                else:
                    self.send_response(200)
                self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()[:16]}"')
                self.send_header("Accept-Ranges", "bytes")
                self.send_header("Content-Length", str(len(content) - start))
                self.end_headers()
                if self.command == "GET":
                    end = start + host.cut if host.cut and path.name == NAME else None
                    self.wfile.write(content[start:end])
                    self.close_connection = self.close_connection or end is not None

            do_HEAD = do_GET

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("0.0.0.0", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        """The port, on all addresses of this machine."""
        return int(self.server.server_address[1])

    def add(self, version: str, **options: Any) -> str:
        """A release, with its sums; the sum of its archive."""
        folder = self.directory / f"v{version}"
        digest = write_release(folder / NAME, version, **options)
        (folder / "sha256sum.txt").write_text(f"{digest}  ./{NAME}\n{'0' * 64}  ./install.sh\n")
        return digest

    def close(self) -> None:
        """End it."""
        self.server.shutdown()
        self.server.server_close()
