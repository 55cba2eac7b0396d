"""A hub that means harm, from end to end: whatever it answers, nothing of it runs, and what ran before runs on."""

from __future__ import annotations

import hashlib
import re
import shlex
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from rigwright.lab.tiny_model import write_tiny_model

pytestmark = pytest.mark.lab

TOKEN = "sk-geheim-Xy7w6v5u4t"
FILE = "/org/m/resolve/main/m.gguf"
# The rig downloads with curl; the controller asks with its own programs.
IS_RIG = re.compile(r"curl/")


@dataclass
class Answer:
    """What is answered to everybody, or to rigs alone where `rig` says something else."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    rig: Answer | None = None
    token: str = ""
    pause_seconds: float = 0


@dataclass
class Host:
    """A server for controller and rigs; `asked` is what curl asked for: method and path."""

    address: str
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    tokens: set[str | None] = field(default_factory=set)


def handler(host: Host) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            is_rig = bool(IS_RIG.match(self.headers.get("User-Agent", "")))
            found = host.answers.get(self.path.partition("?")[0], Answer(status=404))
            if is_rig:
                host.asked.append((self.command, self.path))
                found = found.rig or found
            given = self.headers.get("Authorization")
            host.tokens.add(given)
            if found.token and given != f"Bearer {found.token}":
                found = Answer(status=401)
            wanted = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
            body, status, extra = found.body, found.status, {}
            if wanted and status == 200:
                start, end = int(wanted[1]), min(int(wanted[2] or 1 << 60), len(body) - 1)
                extra = {"Content-Range": f"bytes {start}-{end}/{len(body)}"}
                status, body = 206, body[start : end + 1]
            self.send_response_only(status)
            for key, value in ({"Content-Length": str(len(body))} | extra | found.headers).items():
                self.send_header(key, value)
            self.end_headers()
            for start in range(0, len(body) if self.command == "GET" else 0, 1 << 16):
                self.wfile.write(body[start : start + (1 << 16)])
                time.sleep(found.pause_seconds if is_rig else 0)
            self.close_connection = True

        do_GET = do_HEAD = answer

        def log_message(self, *arguments: object) -> None:
            pass

    return Handler


@pytest.fixture(scope="module")
def certificate(workshop, serving) -> Path:
    """A certificate for this machine that the rig trusts."""
    path = certificate_of(workshop, "hub.pem")
    workshop.lab.exec(serving, ["sh", "-c", "cat >>/etc/ssl/certs/ca-certificates.crt"], input=path.read_text())
    return path


def certificate_of(workshop, file: str) -> Path:
    """A certificate for this machine, and its key beside it."""
    path = workshop.directory / file
    name = f"subjectAltName=IP:{workshop.host_address}"
    made = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=hub", "-addext", name]
    subprocess.run(["openssl", *made, "-keyout", f"{path}.key", "-out", path], check=True, capture_output=True)
    return path


@pytest.fixture
def serve(workshop, certificate) -> Iterator[Callable[..., Host]]:
    """Starts servers; `tls` for a secure one."""
    started = []

    def start(*, tls: bool | Path = False) -> Host:
        host = Host("")
        server = ThreadingHTTPServer((workshop.host_address, 0), handler(host))
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            own = tls if isinstance(tls, Path) else certificate
            context.load_cert_chain(own, f"{own}.key")
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        host.address = f"http{'s' if tls else ''}://{workshop.host_address}:{server.server_port}"
        started.append(server)
        return host

    yield start
    for server in started:
        server.shutdown()
        server.server_close()


@pytest.fixture
def models(tmp_path: Path) -> tuple[bytes, bytes]:
    """Two models of one size: the one that is meant, and another one."""
    seed = time.time_ns() % 1_000_000
    return tuple(write_tiny_model(tmp_path / f"{n}.gguf", seed=seed + n).read_bytes() for n in (1, 2))


@pytest.fixture(autouse=True)
def trust(monkeypatch: pytest.MonkeyPatch, certificate: Path, tmp_path: Path) -> None:
    """The controller trusts that certificate too, and knows nothing from before."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def linked(data: bytes, location: str) -> Answer:
    """What Hugging Face answers for a large file."""
    headers = {"X-Linked-Etag": f'"{sum_of(data)}"', "X-Linked-Size": str(len(data)), "Location": location}
    return Answer(b"", 302, headers)


def sum_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def deploy(workshop, serving, hub: Host, model: object = "hf:org/m@main:m.gguf", **changes):
    return workshop.deploy(workshop.spec(model=model, weights={"hugging_face": hub.address}), serving, **changes)


def said(outcome, text: str) -> bool:
    return any(re.search(text, line) for line in outcome.lines)


def test_redirect_to_http_is_refused(workshop, serving, serve, models, unharmed):
    """A secure hub leads to an address that is not, which serves another model and names the sum of that one."""
    good, evil = models
    hub, content = serve(tls=True), serve()
    hub.answers[FILE] = linked(good, f"{content.address}/blob")
    content.answers["/blob"] = Answer(evil, headers={"X-Linked-Etag": f'"{sum_of(evil)}"'})
    outcome = deploy(workshop, serving, hub)
    assert outcome.code == 1, outcome.output
    assert said(outcome, r"m\.gguf cannot be downloaded: curl: \(1\) .*http.* disabled"), outcome.output
    assert content.asked == []


def test_sum_of_who_serves_the_bytes_does_not_count(workshop, serving, serve, models, unharmed):
    """The content network replaces the file and names the sum of its own."""
    good, evil = models
    hub, content = serve(tls=True), serve(tls=True)
    hub.answers[FILE] = linked(good, f"{content.address}/blob")
    content.answers["/blob"] = Answer(good)
    content.answers["/blob"].rig = Answer(evil, headers={"X-Linked-Etag": f'"{sum_of(evil)}"'})
    outcome = deploy(workshop, serving, hub)
    assert outcome.code == 1, outcome.output
    assert said(outcome, f"sha256 is {sum_of(evil)}, expected {sum_of(good)}; the file was not installed")


def test_hub_that_tells_the_rig_another_sum_than_the_controller(workshop, serving, serve, models, unharmed):
    """What the controller was told travels to the rig: it is asked for the file that was planned."""
    good, evil = models
    hub, content = serve(tls=True), serve(tls=True)
    hub.answers[FILE] = linked(good, f"{content.address}/good")
    hub.answers[FILE].rig = linked(evil, f"{content.address}/evil")
    content.answers |= {"/good": Answer(good), "/evil": Answer(evil)}
    outcome = deploy(workshop, serving, hub)
    assert outcome.code == 1, outcome.output
    assert said(outcome, f"sha256 is {sum_of(evil)}, expected {sum_of(good)}; the file was not installed")


def test_name_of_an_address_leads_nowhere(workshop, serving, serve, models, unharmed):
    """Hidden slashes: the controller sees a model, the rig is sent a script that a login would run."""
    good, _ = models
    hub = serve(tls=True)
    path = "/x%2F..%2F..%2F..%2F..%2Fetc%2Fprofile.d%2Fz.gguf"
    hub.answers[path] = Answer(good, rig=Answer(b"GGUF;touch /owned\n"))
    outcome = deploy(workshop, serving, hub, {"url": f"{hub.address}{path}", "sha256": sum_of(good)})
    assert outcome.code == 1, outcome.output
    assert said(outcome, r"/var/lib/rigwright/weights/z\.gguf: sha256 is"), outcome.output
    assert workshop.on(serving, "ls /etc/profile.d /owned 2>/dev/null | grep -e z -e owned", check=False) == ""


def test_header_is_no_command_of_the_rig(workshop, serving, serve, models, unharmed):
    """A size that a shell would run, on a rig whose sh is bash."""
    good, _ = models
    hub, content = serve(tls=True), serve(tls=True)
    hub.answers[FILE] = linked(good, f"{content.address}/blob")
    hub.answers[FILE].rig = linked(good, f"{content.address}/blob")
    hub.answers[FILE].rig.headers["X-Linked-Size"] = "PATH[$(touch /owned)]"
    content.answers["/blob"] = Answer(good, rig=Answer(b"GGUF" + b"x" * 1000))
    workshop.on(serving, "ln -sf bash /bin/sh")
    outcome = deploy(workshop, serving, hub)
    workshop.on(serving, "ln -sf dash /bin/sh")
    assert outcome.code == 1, outcome.output
    assert said(outcome, "expected .*; the file was not installed"), outcome.output
    assert workshop.on(serving, "ls /owned", check=False) == ""


def test_download_is_in_no_other_hands(workshop, serving, serve, models):
    """While it comes, no account can open what arrives, and none but root sees the address, which holds a secret."""
    good, _ = models
    hub = serve(tls=True)
    hub.answers["/m.gguf"] = Answer(good, rig=Answer(good, pause_seconds=0.3))
    source = {"url": f"{hub.address}/m.gguf?token={TOKEN}", "sha256": sum_of(good)}
    process = workshop.start(workshop.spec(model=source), serving, arguments=("-y", "-vvv"))
    shown = ""
    for line in process.stdout:
        shown += line
        if re.search(r"m\.gguf: [1-9]\d* %", line):
            break
    part = "/var/lib/rigwright/weights/m.gguf.part"
    assert workshop.on(serving, f"stat -c '%U %a' {part}") == "root 600"
    # A process of the account that builds, which keeps what it can open and writes into it once it is checked.
    grab = f"exec 3>>{part}; sleep 30; echo EVIL >&3"
    held = workshop.on(serving, f"runuser -u rigwright -- sh -c {shlex.quote(grab)} 2>&1", check=False)
    assert "Permission denied" in held
    curl = workshop.on(serving, "pgrep -x curl").split()
    for pid in curl:
        owner = workshop.on(serving, f"stat -c %u /proc/{pid}")
        assert owner not in ("0", workshop.on(serving, "id -u rigwright"))
        opened = f"runuser -u rigwright -- ls /proc/{pid}/fd 2>&1"
        assert "Permission denied" in workshop.on(serving, opened, check=False)
    unit = workshop.on(serving, "systemctl list-units --plain --no-legend 'rigwright-download-*'").split()[0]
    score = f"systemd-analyze security --no-pager {unit} | sed -n 's/.*exposure level for .*: \\([0-9.]*\\) .*/\\1/p'"
    assert float(workshop.on(serving, score)) <= 2.5
    everything = "systemctl show 'rigwright*'; journalctl --no-pager; cat /proc/[0-9]*/cmdline | tr '\\0' '\\n'"
    seen = workshop.on(serving, everything)
    # The token must not stand in a command of this test: the journal would show that.
    workshop.lab.exec(serving, ["sh", "-c", "cat >/srv/token"], input=TOKEN)
    holding = "find /run /tmp /etc /var -type f -readable -exec grep -lFf /srv/token {} + 2>/dev/null"
    assert workshop.on(serving, f"runuser -u nobody -- sh -c {shlex.quote(holding)}", check=False) == ""
    rest, _ = process.communicate(timeout=120)
    assert process.returncode == 0, shown + rest
    assert TOKEN not in seen
    assert TOKEN not in shown + rest
    assert workshop.on(serving, holding, check=False) == ""
    assert workshop.on(serving, "stat -c '%U %a' /var/lib/rigwright/weights/m.gguf") == "root 644"


def test_what_outlives_curl_is_ended_before_the_file_is_checked(workshop, serving, serve, models):
    """A process of the unit that holds the part and ignores the end: no byte of it comes after the check."""
    good, _ = models
    hub = serve(tls=True)
    hub.answers["/k.gguf"] = Answer(good)
    # Stands for a curl that a server has taken over.
    evil = "import os, time; time.sleep(3); os.ftruncate(1, 8); os.write(1, b'EVIL')"
    taken = f'trap "" TERM HUP; python3 -c {shlex.quote(evil)} & exec /usr/bin/curl.real "$@"'
    workshop.on(serving, "mv /usr/bin/curl /usr/bin/curl.real")
    try:
        program = f'#!/bin/sh\n[ $(id -u) != 0 ] || exec /usr/bin/curl.real "$@"\n{taken}\n'
        workshop.lab.exec(serving, ["sh", "-c", "cat >/usr/bin/curl; chmod 755 /usr/bin/curl"], input=program)
        source = {"url": f"{hub.address}/k.gguf", "sha256": sum_of(good)}
        outcome = workshop.deploy(workshop.spec(model=source), serving)
    finally:
        workshop.on(serving, "mv /usr/bin/curl.real /usr/bin/curl")
    assert outcome.code == 0, outcome.output
    time.sleep(4)
    found = workshop.on(serving, "sha256sum </var/lib/rigwright/weights/k.gguf").split()[0]
    assert found == sum_of(good)


def test_proxy_of_the_deploy_reaches_the_download(workshop, serving, serve, models, monkeypatch):
    """A hub that is there through a proxy alone, which the inventory's `_env` names."""
    good, _ = models
    proxy = serve()
    name = f"http://hub.invalid/p{time.time_ns()}.gguf"
    proxy.answers[name] = Answer(good)
    monkeypatch.setenv("http_proxy", proxy.address)
    environment = {"_env": {"http_proxy": proxy.address, "no_proxy": "127.0.0.1"}}
    rig = workshop.spec(model={"url": name, "sha256": sum_of(good)})
    outcome = workshop._finish(workshop.start(rig, serving, login=environment))
    assert outcome.code == 0, outcome.output
    assert [method for method, _ in proxy.asked] == ["HEAD", "GET"]


def test_gated_file_of_a_hub_with_a_certificate_of_its_own(workshop, serving, serve, models, monkeypatch):
    """The token of the controller goes to the hub alone, and stays nowhere; the certificate lies in root's home."""
    good, _ = models
    own = certificate_of(workshop, "own.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(own))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    workshop.lab.exec(
        serving,
        ["sh", "-c", "mkdir -p /root/ca && cat >/root/ca/own.pem && chmod 644 /root/ca/own.pem"],
        input=own.read_text(),
    )
    hub, content = serve(tls=own), serve(tls=own)
    hub.answers[FILE] = linked(good, f"{content.address}/blob")
    hub.answers[FILE].token = TOKEN
    content.answers["/blob"] = Answer(good)
    rig = workshop.spec(model="hf:org/m@main:m.gguf", weights={"hugging_face": hub.address})
    login = {"_env": {"CURL_CA_BUNDLE": "/root/ca/own.pem"}}
    outcome = workshop._finish(workshop.start(rig, serving, arguments=("-y", "-vvv", "--diff"), login=login))
    assert outcome.code == 0, outcome.output
    assert content.tokens == {None} and f"Bearer {TOKEN}" in hub.tokens
    workshop.lab.exec(serving, ["sh", "-c", "cat >/srv/token"], input=TOKEN)
    holding = "find /run /tmp /etc /var /root -type f -exec grep -lFf /srv/token {} + 2>/dev/null"
    assert workshop.on(serving, holding, check=False) == ""
    seen = workshop.on(serving, "systemctl show 'rigwright*'; journalctl --no-pager")
    assert TOKEN not in seen + outcome.output
