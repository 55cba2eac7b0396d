"""Weights that the rig downloads itself: whole, resumed, wrong, too large, and from a hub."""

from __future__ import annotations

import base64
import hashlib
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from rigwright.lab.tiny_model import write_tiny_model

pytestmark = pytest.mark.lab


@dataclass
class Hub:
    """A web server for the rigs with ranges, as a model hub has them; `cut` and `slow` make it behave badly."""

    address: str
    files: dict[str, bytes] = field(default_factory=dict)
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    cut_after: int | None = None
    pause_seconds: float = 0
    log: list[tuple[str, str, str | None]] = field(default_factory=list)


def handler(hub: Hub):
    class Handler(BaseHTTPRequestHandler):
        def answer(self, body: bool) -> None:
            wanted = self.headers.get("Range")
            hub.log.append((self.command, self.path, wanted))
            data = hub.files.get(self.path)
            if data is None:
                self.send_error(404)
                return
            first = int(re.match(r"bytes=(\d+)-", wanted)[1]) if wanted else 0
            self.send_response(206 if wanted else 200)
            self.send_header("Content-Length", str(hub.sizes.get(self.path, len(data)) - first))
            if wanted:
                self.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
            for key, value in hub.headers.get(self.path, {}).items():
                self.send_header(key, value)
            self.end_headers()
            rest = data[first:] if body else b""
            if hub.cut_after is not None:
                rest = rest[: hub.cut_after]
            for start in range(0, len(rest), 1 << 16):
                self.wfile.write(rest[start : start + (1 << 16)])
                time.sleep(hub.pause_seconds)
            self.close_connection = True

        def do_GET(self) -> None:
            self.answer(True)

        def do_HEAD(self) -> None:
            self.answer(False)

        def log_message(self, *arguments: object) -> None:
            pass

    return Handler


@pytest.fixture(scope="module")
def server(workshop, serving) -> Iterator[Hub]:
    hub = Hub(f"http://{workshop.host_address}:9480")
    httpd = ThreadingHTTPServer((workshop.host_address, 9480), handler(hub))
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield hub
    httpd.shutdown()
    httpd.server_close()


@pytest.fixture
def hub(server, workshop, tmp_path) -> Hub:
    """The hub with one model, new for each test."""
    server.files, server.headers, server.sizes, server.log = {}, {}, {}, []
    server.cut_after, server.pause_seconds = None, 0
    seed = time.time_ns() % 1_000_000
    server.files["/m.gguf"] = write_tiny_model(tmp_path / "m.gguf", seed=seed).read_bytes()
    return server


def fetched(hub: Hub) -> list[str | None]:
    """The ranges that curl asked the file for, the controller's look at the header left out."""
    return [wanted for command, path, wanted in hub.log if command == "GET" and wanted != "bytes=0-67108863"]


def from_url(workshop, hub, **changes):
    sha256 = hashlib.sha256(hub.files["/m.gguf"]).hexdigest()
    return workshop.spec(model={"url": f"{hub.address}/m.gguf", "sha256": sha256} | changes.pop("model", {}), **changes)


def test_address_is_downloaded_by_the_rig_and_served(workshop, serving, hub):
    """The plan is made from the header before the download; a second run asks for nothing."""
    outcome = workshop.deploy(from_url(workshop, hub), serving)
    assert outcome.code == 0, outcome.output
    assert re.search(r"demo: m\.gguf on CPU, 2048 tokens × 1 slots, [\d.]+ [GM]iB", outcome.output)
    assert (
        workshop.on(serving, "sha256sum </var/lib/rigwright/weights/m.gguf").split()[0]
        == from_url(workshop, hub)["services"][0]["model"]["sha256"]
    )
    hub.log.clear()
    assert workshop.deploy(from_url(workshop, hub), serving).changed == set()
    assert fetched(hub) == []


def test_download_that_breaks_off_is_continued(workshop, serving, hub):
    """Bytes that arrived are not asked for again."""
    hub.cut_after = 1_000_000
    outcome = workshop.deploy(from_url(workshop, hub), serving)
    hub.cut_after = None
    if outcome.code != 0:
        outcome = workshop.deploy(from_url(workshop, hub), serving)
    assert outcome.code == 0, outcome.output
    assert any(wanted and wanted != "bytes=0-" for wanted in fetched(hub)), hub.log


def test_wrong_sum_never_appears_under_its_name(workshop, serving, hub, unharmed):
    """The file that came is not the one that was wanted: it is thrown away."""
    hub.files["/w.gguf"] = hub.files["/m.gguf"]
    outcome = workshop.deploy(
        from_url(workshop, hub, model={"url": f"{hub.address}/w.gguf", "sha256": "ab" * 32}), serving
    )
    assert outcome.code == 1
    assert any("expected abababab" in line and "the file was not installed" in line for line in outcome.lines), (
        outcome.output
    )
    assert workshop.on(serving, "ls -A /var/lib/rigwright/weights | grep -c w.gguf", check=False) == "0"


def test_page_instead_of_a_model(workshop, serving, hub, unharmed):
    """A login page is no model."""
    hub.files["/page.gguf"] = b"<html>please log in</html>" * 200
    outcome = workshop.deploy(workshop.spec(model=f"{hub.address}/page.gguf"), serving)
    assert outcome.code == 1
    assert any("page.gguf" in line and "GGUF" in line for line in outcome.lines), outcome.output


def test_missing_address_is_named(workshop, serving, hub, unharmed):
    """404 is said with the address."""
    outcome = workshop.deploy(workshop.spec(model=f"{hub.address}/none.gguf"), serving)
    assert outcome.code == 1
    assert any("none.gguf" in line and "404" in line for line in outcome.lines), outcome.output


def test_disk_too_small_is_said_before_the_download(workshop, serving, hub, unharmed):
    """Not one byte of the file is asked for."""
    outcome = workshop.deploy(from_url(workshop, hub, weights={"reserve_bytes": 10**13}), serving)
    assert outcome.code == 1
    assert any("; free some, or set rig.weights.directory" in line for line in outcome.lines), outcome.output
    assert fetched(hub) == []


def test_full_disk_is_said_and_nothing_is_lost(workshop, serving, hub):
    """A disk that is really full: refused, still serving, and the next run succeeds."""
    workshop.lab.fault(serving, "disk-full")
    outcome = workshop.deploy(from_url(workshop, hub), serving)
    workshop.lab.fault(serving, "clear")
    assert outcome.code == 1
    assert any("free some" in line for line in outcome.lines), outcome.output
    assert workshop.on(serving, "curl -s http://127.0.0.1:8080/health") == '{"status":"ok"}'
    assert workshop.deploy(from_url(workshop, hub), serving).code == 0


def test_second_run_attaches_to_a_download_that_is_running(workshop, serving, hub):
    """A dropped connection costs nothing: the rig downloads on, the next run picks it up."""
    hub.pause_seconds = 0.2
    process = workshop.start(from_url(workshop, hub), serving)
    for line in process.stdout:
        if re.search(r"m\.gguf: [1-9]\d* %", line):
            break
    workshop.lab.fault(serving, "ssh-drop")
    process.communicate(timeout=90)
    assert process.returncode == 1
    asked = len(fetched(hub))
    outcome = workshop.deploy(from_url(workshop, hub), serving)
    assert outcome.code == 0, outcome.output
    assert "attaching to the download that is running" in outcome.output
    assert len(fetched(hub)) == asked


def test_hugging_face_file_is_checked_against_the_sum_that_the_hub_names(workshop, serving, hub):
    """The hub's own x-linked-etag is the sha256: a file without one in the inventory is verified all the same."""
    path = "/org/repo/resolve/abc123/sub/hub.gguf"
    hub.files[path] = hub.files["/m.gguf"]
    hub.headers[path] = {"x-linked-etag": f'"{"cd" * 32}"', "x-linked-size": str(len(hub.files[path]))}
    rig = workshop.spec(model="hf:org/repo@abc123:sub/hub.gguf", weights={"hugging_face": hub.address})
    outcome = workshop.deploy(rig, serving)
    assert outcome.code == 1
    assert any("expected cdcdcd" in line for line in outcome.lines), outcome.output
    hub.headers[path]["x-linked-etag"] = f'"{hashlib.sha256(hub.files[path]).hexdigest()}"'
    assert workshop.deploy(rig, serving).code == 0
    assert workshop.rigwright("verify", str(workshop.inventory(rig, serving))).code == 0


def on_the_rig(workshop, rig: str, data: bytes, path: str = "/srv/models/own.gguf") -> str:
    """Puts a file of the owner's there; how it looks."""
    text = base64.b64encode(data).decode()
    workshop.lab.exec(rig, ["sh", "-c", f"mkdir -p {path.rpartition('/')[0]} && base64 -d >{path}"], input=text)
    workshop.on(rig, f"chown nobody {path}; chmod 644 {path}")
    return workshop.on(rig, f"stat -c '%i %s %Y %Z %U %a' {path}")


def test_file_that_lies_on_the_rig_is_served_and_not_touched(workshop, serving, tmp_path):
    """Planned from its header, which comes over SSH once; what it is must be what the inventory says."""
    data = write_tiny_model(tmp_path / "own.gguf", seed=time.time_ns() % 1_000_000).read_bytes()
    path, sha256 = "/srv/models/own.gguf", hashlib.sha256(data).hexdigest()
    before = on_the_rig(workshop, serving, data)
    rig = workshop.spec(model={"path_on_rig": path, "sha256": sha256})
    wrong = workshop.deploy(workshop.spec(model={"path_on_rig": path, "sha256": "ab" * 32}), serving)
    assert wrong.code == 1 and any(f"exists with sha256 {sha256}, expected abab" in line for line in wrong.lines)
    plan = workshop.rigwright("plan", str(workshop.inventory(rig, serving)))
    assert plan.code == 0 and "own" in plan.output and "could not be read" not in plan.output, plan.output
    outcome = workshop.deploy(rig, serving)
    assert outcome.code == 0, outcome.output
    assert re.search(r"demo: own\.gguf on CPU, 2048 tokens × 1 slots, [\d.]+ [GM]iB", outcome.output)
    assert f"--model {path} " in workshop.on(serving, "tr '\\0' ' ' </proc/$(pgrep -f llama-server | head -1)/cmdline")
    again = workshop.deploy(rig, serving)
    assert (again.code, again.changed) == (0, set()), again.output
    assert "reading the header" not in again.output
    verified = workshop.rigwright("verify", str(workshop.inventory(rig, serving)))
    assert verified.code == 0, verified.output
    assert workshop.on(serving, f"stat -c '%i %s %Y %Z %U %a' {path}") == before
    # Another content is another model: read, planned and started anew.
    other = write_tiny_model(tmp_path / "other.gguf", seed=time.time_ns() % 1_000_000 + 1).read_bytes()
    time.sleep(1)
    on_the_rig(workshop, serving, other)
    changed = workshop.deploy(workshop.spec(model={"path_on_rig": path}), serving)
    assert changed.code == 0 and "reading the header of /srv/models/own.gguf" in changed.output, changed.output
    assert "Serve demo" in changed.changed


@pytest.mark.parametrize(
    ("does", "says"),
    [
        ("rm -f /srv/models/x.gguf", "/srv/models/x.gguf is not on the rig; check path_on_rig, or mount its disk"),
        ("chmod 600 /srv/models/x.gguf", r"cannot be read by the service's account; chmod o\+r it"),
        ("truncate -s 20000 /srv/models/x.gguf", "x.gguf of serving: .*; bring it again"),
        ("echo GGUFno >/srv/models/x.gguf", "x.gguf of serving: "),
    ],
)
def test_file_on_the_rig_that_cannot_be_served(workshop, serving, unharmed, tmp_path, does, says):
    """One line, and what ran before runs on; the file is as it was."""
    on_the_rig(workshop, serving, write_tiny_model(tmp_path / "x.gguf").read_bytes(), "/srv/models/x.gguf")
    workshop.on(serving, does)
    before = workshop.on(serving, "ls -ln --time-style=full-iso /srv/models/x.gguf", check=False)
    outcome = workshop.deploy(workshop.spec(model={"path_on_rig": "/srv/models/x.gguf"}), serving)
    assert outcome.code == 1
    assert any(re.search(says, line) for line in outcome.lines), outcome.output
    assert workshop.on(serving, "ls -ln --time-style=full-iso /srv/models/x.gguf", check=False) == before
    workshop.on(serving, "rm -f /srv/models/x.gguf /srv/models/.x.gguf.rigwright")


def test_controller_with_an_offline_directory_asks_no_hub(workshop, serving, hub, tmp_path):
    """What lies there goes to the rig, to where a hub's file would lie."""
    (tmp_path / "stick/org/repo").mkdir(parents=True)
    (tmp_path / "stick/org/repo/hub.gguf").write_bytes(hub.files["/m.gguf"])
    weights = {"hugging_face": hub.address, "offline": str(tmp_path / "stick")}
    rig = workshop.spec(model="hf:org/repo@main:hub.gguf", weights=weights)
    outcome = workshop.deploy(rig, serving)
    assert outcome.code == 0 and hub.log == [], outcome.output
    found = workshop.on(serving, "sha256sum </var/lib/rigwright/weights/org--repo/hub.gguf").split()[0]
    assert found == hashlib.sha256(hub.files["/m.gguf"]).hexdigest()
    assert workshop.deploy(rig, serving).changed == set()
