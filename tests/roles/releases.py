"""A server that speaks as much of GitHub's API as says what a release has, and gives its archives."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


@dataclass
class Releases:
    """assets: the archives of the one release, which is the newest one. name: what that is called.

    said: what is told of an archive instead of its own. wrong: what is answered in place of all that is told. gives:
    whether archives come. asked: the paths, in order.
    """

    assets: Mapping[str, bytes]
    name: str = "b11434"
    gives: bool = True
    said: dict[str, dict[str, object]] = field(default_factory=dict)
    wrong: tuple[int, dict[str, str], bytes] | None = None
    asked: list[str] = field(default_factory=list)
    address: str = ""

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body."""
        if self.wrong and path.startswith("/repos/"):
            return self.wrong
        at = "/repos/ggml-org/llama.cpp/releases"
        if path in (f"{at}/tags/{self.name}", f"{at}/latest"):
            # As api.github.com does: of a release its tag, and of each file much more than this.
            rows = [self._row(name, content) for name, content in self.assets.items()]
            return 200, {}, json.dumps({"tag_name": self.name, "draft": False, "assets": rows}).encode()
        name = path.rpartition("/")[2]
        return (
            (200, {}, self.assets[name])
            if name in self.assets and self.gives
            else (404, {}, b'{"message": "Not Found"}')
        )

    def _row(self, name: str, content: bytes) -> dict[str, object]:
        host = self.address.partition("/repos/")[0]
        return {
            "name": name,
            "size": len(content),
            "digest": f"sha256:{hashlib.sha256(content).hexdigest()}",
            "browser_download_url": f"{host}/ggml-org/llama.cpp/releases/download/{self.name}/{name}",
        } | self.said.get(name, {})


@contextmanager
def releases(assets: Mapping[str, bytes]) -> Iterator[Releases]:
    """The server, on a port of its own."""
    found = Releases(assets)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked.append(self.path)
            status, headers, body = found.answer(self.path)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Silence."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.address = f"http://127.0.0.1:{server.server_address[1]}/repos/ggml-org/llama.cpp"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
