"""A server that does everything wrong: the right file has its name on the rig, or none has."""

from __future__ import annotations

import hashlib
import re
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

pytestmark = pytest.mark.lab

FILE = "/var/lib/rigwright/weights/big.gguf"
BLOCK = 1 << 20


@dataclass
class Server:
    """A file that is its first letters and zeros, so that one of 4 GB costs nothing here, and what to do wrong next."""

    address: str = ""
    size: int = 0
    mark: bytes = b"GGUF"
    rate: float = float("inf")
    """Bytes per second of its line."""
    faults: list[str] = field(default_factory=list)
    asked: list[tuple[str, int, str]] = field(default_factory=list)

    def block(self, at: int, size: int) -> bytes:
        """Bytes of the file."""
        return (self.mark[at:] + bytes(size))[:size] if at < len(self.mark) else bytes(size)

    @property
    def sha256(self) -> str:
        """The sum of the file."""
        found, at = hashlib.sha256(), 0
        while at < self.size:
            step = min(BLOCK, self.size - at)
            found.update(self.block(at, step))
            at += step
        return found.hexdigest()

    @property
    def etag(self) -> str:
        """Changes with the content."""
        return f'"{self.mark.hex()}"'


def handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            is_read = self.command == "GET"
            fault = server.faults.pop(0) if is_read and server.faults else ""
            wanted = re.match(r"bytes=(\d+)-", self.headers.get("Range") or "")
            condition = self.headers.get("If-Range")
            at = int(wanted[1]) if wanted and condition in (None, server.etag) else 0
            if is_read:
                server.asked.append((fault, at, self.headers.get("Range") or ""))
            if fault.isdigit():
                self.send_error(int(fault))
                return
            if fault in ("http", "other"):
                self.send_response(302)
                self.send_header("Location", "http://127.0.0.1:9/x.gguf" if fault == "http" else "//nowhere.invalid/x")
                self.end_headers()
                return
            size = server.size
            self.send_response(206 if at else 200)
            if at:
                self.send_header("Content-Range", f"bytes {at}-{size - 1}/{size}")
            self.send_header("ETag", server.etag)
            claimed = {"long": size - at + 5000, "short": max(0, size - at - 5000)}.get(fault, size - at)
            self.send_header("Content-Length", str(claimed))
            self.end_headers()
            if is_read:
                self.send(at, fault, claimed)

        def send(self, at: int, fault: str, claimed: int) -> None:
            left = claimed if fault in ("long", "short") else server.size - at
            stop = left // 3 if fault in ("reset", "close", "stall", "etag") else left
            began, first = time.monotonic(), at
            try:
                while stop > 0:
                    time.sleep(max(0.0, began + (at - first) / server.rate - time.monotonic()))
                    step = min(BLOCK, stop)
                    self.wfile.write(server.block(at, step))
                    at, stop = at + step, stop - step
                if fault == "etag":
                    server.mark = b"GGUF another one"
                if fault == "stall":
                    time.sleep(90)
                if fault == "reset":
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            except OSError:
                pass
            self.close_connection = True

        do_GET = do_HEAD = answer

        def log_message(self, *arguments: object) -> None:
            pass

    return Handler


@pytest.fixture
def server(workshop: Any, serving: str) -> Iterator[Server]:
    """The server; nothing is on the rig."""
    found = Server()
    workshop.on(serving, "rm -rf /var/lib/rigwright/weights/*big.gguf* /var/lib/rigwright/weights/.big*")
    httpd = ThreadingHTTPServer((workshop.host_address, 0), handler(found))
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    found.address = f"http://{workshop.host_address}:{httpd.server_port}/big.gguf"
    yield found
    httpd.shutdown()
    httpd.server_close()


@pytest.fixture
def bring(workshop: Any, serving: str, server: Server) -> Callable[..., Any]:
    """Runs the deploy of the file alone."""

    def run(sha256: str | None = None) -> Any:
        model = {"url": server.address} | ({"sha256": sha256} if sha256 else {})
        rig = {"services": [{"name": "demo", "port": 8080, "model": model}]}
        return workshop.deploy(rig, serving, deploy="../tests/lab/weights_deploy")

    return run


def there(workshop: Any, rig: str) -> str:
    """The sum of what has the name; '' where nothing has."""
    return str(workshop.on(rig, f"[ ! -e {FILE} ] || sha256sum <{FILE}", check=False))[:64]


def until_it_is_there(workshop: Any, rig: str, server: Server, bring: Callable[..., Any], sha256: str | None) -> int:
    """Runs until one succeeds; how many it took. What has the name is right at any time."""
    for run in range(1, 6):
        outcome = bring(sha256)
        found = there(workshop, rig)
        assert found in ("", server.sha256), outcome.output
        if outcome.code == 0:
            assert found == server.sha256
            return run
        assert "Traceback" not in outcome.output
        assert any("big.gguf" in line for line in outcome.lines), outcome.output
    raise AssertionError(outcome.output)


def wrongs(size: int, *, patient: bool) -> list[Any]:
    """What is done wrong, and whether one run gets over it. A server that stands still takes a minute each time."""
    cases = [
        (["reset", "close", "reset"], True, 1),
        (["500", "503", "reset"], True, 1),
        (["close", "416"], True, 1),
        (["short"], True, 1),
        (["long"], True, 2),
        (["404", "http", "other"], True, 3),
        (["close", "etag"], False, 2),
        (["reset", "reset", "reset"], False, 1),
    ]
    if patient:
        cases += [(["stall", "stall"], True, 1), (["stall", "500", "reset", "etag"], False, 3)]
    return [pytest.param(faults, known, most, size, id="-".join(faults)) for faults, known, most in cases]


def check(workshop: Any, rig: str, server: Server, bring: Any, *, faults: Any, known: bool, most: int) -> None:
    sha256 = server.sha256 if known else None
    server.faults = list(faults)
    runs = until_it_is_there(workshop, rig, server, bring, sha256)
    assert server.faults == [] and runs <= most, (runs, server.asked)
    left = workshop.on(rig, "ls -A /var/lib/rigwright/weights | grep -e part || :")
    assert left == ""


@pytest.mark.parametrize(("faults", "known", "most", "size"), wrongs(24 << 20, patient=False))
def test_right_file_or_none(workshop, serving, server, bring, faults, known, most, size):
    """Resets, ends, refusals, lies about the length, another version midway."""
    server.size = size + 12345
    check(workshop, serving, server, bring, faults=faults, known=known, most=most)


@pytest.mark.faults
@pytest.mark.parametrize(("faults", "known", "most", "size"), wrongs(4 << 30, patient=True))
def test_right_file_or_none_of_4_gib(workshop, serving, server, bring, faults, known, most, size):
    """The same with a file that is larger than 32 bits tell, and a server that stands still."""
    server.size = size + 12345
    check(workshop, serving, server, bring, faults=faults, known=known, most=most)


@pytest.mark.faults
def test_download_is_as_fast_as_curl(workshop, serving, server, capsys):
    """4 GiB over a line of 1 Gbit/s, by a deploy and by curl alone: `make lab-faults` says both rates."""
    server.size, server.rate = 4 << 30, 125e6
    took = workshop.on(serving, f"curl -s -o {FILE}.part -w '%{{time_total}}' {server.address}")
    rates = {"curl": server.size / float(took) / 1e6}
    workshop.on(serving, f"rm -f {FILE}.part; sync")
    rig = {"services": [{"name": "demo", "port": 8080, "model": {"url": server.address}}]}
    process = workshop.start(rig, serving, deploy="../tests/lab/weights_deploy")
    size, began = 0, time.monotonic()
    while size < server.size and process.poll() is None:
        size = int(workshop.on(serving, f"stat -c %s {FILE}.part 2>/dev/null || echo 0"))
        began = began if size else time.monotonic()
        time.sleep(0.1)
    rates["download"] = size / (time.monotonic() - began) / 1e6
    process.communicate(timeout=300)
    assert there(workshop, serving) == server.sha256
    with capsys.disabled():
        sys.stdout.write(f"\ncurl {rates['curl']:.0f} MB/s, a download {rates['download']:.0f} MB/s\n")
    assert rates["download"] > 0.9 * rates["curl"]
