"""The script that downloads, in the shells that rigs have, from servers that mean harm. systemd alone is played."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from rigwright.plan.source import ModelSource
from rigwright.resources import role_text, script
from rigwright.roles.base.probe import Probe
from rigwright.roles.weights import operations
from rigwright.roles.weights.chain import Link
from rigwright.spec.weights import WeightsSettings
from rigwright.weights.local import LocalModel

GOOD = b"GGUF" + bytes(range(256)) * 1000
EVIL = b"GGUF" + bytes(reversed(range(256))) * 1000
SUM = hashlib.sha256(GOOD).hexdigest()
TOKEN = "hf_s3cret9x8c7v6b5n4m3"
# What runs as a unit on a rig runs here at once, with the files and the limit that systemd would give it.
SYSTEMD = f"""#!{sys.executable}
import os, resource, subprocess, sys
name, given, here = os.path.basename(sys.argv[0]), sys.argv[1:], os.environ["UNITS"]
if name == "systemd-run":
    with open(f"{{here}}/argv", "a") as log:
        print(sys.argv, file=log)
    refusals = f"{{here}}/refusals"
    if os.path.exists(refusals) and os.path.getsize(refusals):
        os.truncate(refusals, os.path.getsize(refusals) - 1)
        sys.exit("Failed to start transient service unit: Connection reset by peer")
    own = given[: given.index("--")]
    properties = dict(own[at + 1].split("=", 1) for at, word in enumerate(own) if word == "-p")
    settings = [word.removeprefix("--setenv=").split("=", 1) for word in own if word.startswith("--setenv=")]
    lines = [line.rstrip("\\n").split("=", 1) for line in open(properties["EnvironmentFile"])]
    binds = dict(reversed(word[18:].replace('"', "").rsplit(":", 1)) for word in own if word.startswith("BindRead"))
    settings += [(key, binds.get(value.strip('"'), value.strip('"'))) for key, value in lines]
    # A unit has nothing of root's environment.
    kept = {{key: value for key, value in os.environ.items() if key in ("PATH", "UNITS")}}
    limit = int(properties["LimitFSIZE"])
    done = subprocess.run(
        given[given.index("--") + 1 :],
        stdin=open(properties["StandardInput"].removeprefix("file:")),
        stdout=open(properties["StandardOutput"].removeprefix("append:"), "ab"),
        stderr=open(f"{{here}}/journal", "w"),
        env=dict(kept, **dict(settings)),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    open(f"{{here}}/result", "w").write("exit-code" if done.returncode else "success")
elif name == "journalctl":
    print(open(f"{{here}}/journal").read())
elif given[0] == "is-active":
    sys.exit(3)
elif "Result" in given:
    print(open(f"{{here}}/result").read())
elif "ActiveState" in given:
    print("inactive")
"""


@dataclass
class Answer:
    """What a path answers; `refuses` names the methods that it does not take."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    refuses: tuple[str, ...] = ()
    ranges: bool = True
    token: str = ""
    silent: bool = False
    cut: int | None = None


@dataclass
class Host:
    """A server: what it answers by path, and what it was asked."""

    address: str
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    @property
    def ranges(self) -> list[str | None]:
        """The ranges of the requests for the content, what the header was asked for left out."""
        wanted = [headers.get("Range") for method, _, headers in self.asked if method == "GET"]
        return [one for one in wanted if one != "bytes=0-0"]


def handler(host: Host) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            host.asked.append((self.command, self.path, dict(self.headers)))
            found = host.answers.get(self.path) or host.answers.get(self.path.partition("?")[0], Answer(status=404))
            given = self.headers.get("Authorization")
            if self.command in found.refuses or (found.token and given != f"Bearer {found.token}"):
                found = Answer(status=403)
            first = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
            condition, etag = self.headers.get("If-Range"), found.headers.get("ETag")
            body, status, extra = found.body, found.status, {}
            if first and status == 200 and found.ranges and condition in (None, etag):
                start, end = int(first[1]), int(first[2] or len(body) - 1)
                if start >= len(body):
                    status, body = 416, b""
                else:
                    extra = {"Content-Range": f"bytes {start}-{end}/{len(body)}"}
                    status, body = 206, body[start : end + 1]
            self.send_response_only(status)
            length = {} if found.silent else {"Content-Length": str(len(body))}
            for key, value in (length | extra | found.headers).items():
                self.wfile.flush()
                self._headers_buffer.append(f"{key}: {value}\r\n".encode("latin-1"))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body[: found.cut])
            self.close_connection = True

        do_GET = do_HEAD = answer

        def log_message(self, *arguments: object) -> None:
            pass

    return Handler


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and its certificate for 127.0.0.1."""
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    made = [
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/CN=hub",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
    ]
    subprocess.run(["openssl", *made, "-keyout", path, "-out", f"{path}.crt"], check=True, capture_output=True)
    path.write_text(path.read_text() + Path(f"{path}.crt").read_text())
    return path


@pytest.fixture
def serve(certificate: Path) -> Iterator[Callable[..., Host]]:
    """Starts servers; `tls` for a secure one."""
    started = []

    def start(answers: dict[str, Answer] | None = None, *, tls: bool = False) -> Host:
        host = Host("", answers or {})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler(host))
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        host.address = f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}"
        started.append(server)
        return host

    yield start
    for server in started:
        server.shutdown()
        server.server_close()


@dataclass
class Rig:
    """A folder in which the script runs; `said` is what it printed."""

    home: Path
    bundle: Path
    said: str = ""

    @property
    def file(self) -> Path:
        """Where the model goes."""
        return self.home / "weights/m.gguf"

    @property
    def part(self) -> Path:
        """What arrived of it."""
        return self.home / "weights/m.gguf.part"

    @property
    def files(self) -> set[str]:
        """All that lies there."""
        return {path.name for path in self.file.parent.glob("*")} | {path.name for path in self.file.parent.glob(".*")}

    @property
    def argv(self) -> str:
        """What units were started."""
        log = self.home / "units/argv"
        return log.read_text() if log.exists() else ""

    def download(
        self,
        url: str,
        *,
        sha256: str = "",
        reserve: int = 0,
        token: str = "",
        most: int | str = "",
        environment: dict[str, str] | None = None,
        **sharing: str,
    ) -> int:
        """Run the script; its exit code."""
        values = {
            "ORIGIN": hashlib.sha256(url.encode()).hexdigest()[:16],
            "BUILDER": "nobody",
            "RECORD": self.home / "brought",
            "FETCH": role_text("weights", "fetch.sh"),
            "RESERVE": reserve,
            "MOST": most,
        } | sharing
        return self._run("download.sh", f"{url}\n{token}\n", sha256=sha256, environment=environment or {}, **values)

    def offer(self, **sharing: str) -> int:
        """Run the script of a rig that has the file; its exit code."""
        return self._run("offer.sh", "", sha256=SUM, environment={}, **sharing)

    def _run(self, name: str, given: str, *, sha256: str, environment: dict[str, str], **values: Any) -> int:
        values |= {
            "DEST": self.file,
            "STAMP": self.home / "weights/.m.gguf.rigwright",
            "SHA256": sha256,
            "HAND": role_text("weights", "hand.sh"),
            "LINGER": role_text("weights", "linger.sh"),
        }
        names = "place.sh", "accept.sh", "share.sh", *(("config.sh",) if name == "download.sh" else ()), name
        text = script("weights", *names, **{key: str(value) for key, value in values.items()})
        text = (
            text.replace("/run/", f"{self.home}/run/").replace("sleep 2", "sleep 0.05").replace("sleep 1", "sleep 0.05")
        )
        path = f"{self.home}/bin:{os.environ['PATH']}"
        env = {"PATH": path, "UNITS": f"{self.home}/units", "CURL_CA_BUNDLE": f"{self.bundle}.crt"} | environment
        done = subprocess.run(["sh", "-c", text], input=given, capture_output=True, text=True, env=env, timeout=60)
        self.said = done.stdout + done.stderr
        return done.returncode


def _rig(home: Path, certificate: Path) -> Rig:
    for folder in ("bin", "units", "run", "weights"):
        (home / folder).mkdir()
    tool = home / "bin/systemd-run"
    tool.write_text(SYSTEMD)
    tool.chmod(0o755)
    for name in ("systemctl", "journalctl"):
        (home / "bin" / name).symlink_to(tool)
    return Rig(home, certificate)


@pytest.fixture
def rig(tmp_path: Path, certificate: Path) -> Rig:
    """A rig whose sh is that of this machine."""
    return _rig(tmp_path, certificate)


@pytest.fixture
def any_rig(each_sh: str, tmp_path: Path, certificate: Path) -> Rig:
    """One for each shell that may be `sh` on a rig."""
    return _rig(tmp_path, certificate)


def hub_answer(location: str, *, sha256: str = SUM, size: int = len(GOOD)) -> Answer:
    """What Hugging Face answers for a large file: a redirect with the sum and the size of what lies there."""
    headers = {"X-Linked-Etag": f'"{sha256}"', "X-Linked-Size": str(size), "Location": location}
    return Answer(b"x" * 1000, 302, headers)


def test_file_of_a_hub_arrives(any_rig, serve):
    """Redirect, sum, stamp: nothing but the file and its stamp is left."""
    content = serve({"/blob": Answer(GOOD)}, tls=True)
    hub = serve({"/m.gguf": hub_answer(f"{content.address}/blob?signature=s3cret")}, tls=True)
    assert any_rig.download(f"{hub.address}/m.gguf") == 0, any_rig.said
    assert any_rig.file.read_bytes() == GOOD
    assert any_rig.files == {"m.gguf", ".m.gguf.rigwright"}
    assert (any_rig.home / "weights/.m.gguf.rigwright").read_text().split()[0] == SUM
    assert any_rig.file.stat().st_mode & 0o777 == 0o644
    assert list((any_rig.home / "run").iterdir()) == [any_rig.home / "run/rigwright.lock"]
    assert "s3cret" not in any_rig.said


def test_other_address_of_what_is_there_is_noted(any_rig, serve):
    """A further revision with the same file: the next run knows it without asking; what was found stays the owner's."""
    hub = serve({"/m.gguf": Answer(GOOD), "/next.gguf": hub_answer("/m.gguf"), "/untold.gguf": Answer(GOOD)})
    stamp = any_rig.home / "weights/.m.gguf.rigwright"
    asked = {"/m.gguf": 1, "/next.gguf": 0, "/untold.gguf": 1}
    for path, bodies in asked.items():
        before = len(hub.ranges)
        assert any_rig.download(f"{hub.address}{path}") == 0, any_rig.said
        assert len(hub.ranges) - before == bodies
        assert stamp.read_text().split()[3] == hashlib.sha256(f"{hub.address}{path}".encode()).hexdigest()[:16]
        assert any_rig.files == {"m.gguf", ".m.gguf.rigwright"}
    found = stamp.read_text().rsplit(" ", 1)[0] + " found\n"
    stamp.write_text(found)
    assert any_rig.download(f"{hub.address}/next.gguf") == 0 and stamp.read_text() == found


@pytest.mark.parametrize(("refusals", "code"), [(1, 0), (2, 1)])
def test_systemd_that_refuses_once_is_asked_again(rig, serve, refusals, code):
    """What it said is told when it goes on so; nothing is left of the download then, and the next run has it."""
    (rig.home / "units/refusals").write_text("x" * refusals)
    server = serve({"/m.gguf": Answer(GOOD)}, tls=True)
    assert rig.download(f"{server.address}/m.gguf", sha256=SUM) == code, rig.said
    assert ("could not start the download: Failed to start transient" in rig.said) == bool(code)
    assert rig.download(f"{server.address}/m.gguf", sha256=SUM) == 0, rig.said
    assert rig.file.read_bytes() == GOOD


WALLS = (
    *("DynamicUser=yes", "KillSignal=SIGKILL", "NoNewPrivileges=yes", "PrivateUsers=yes", "PrivateDevices=yes"),
    *("ProtectSystem=strict", "ProtectHome=tmpfs", "PrivateTmp=yes", "CapabilityBoundingSet=", "RestrictSUIDSGID=yes"),
    *("ProtectProc=invisible", "RestrictNamespaces=yes", "SystemCallFilter=@system-service", "LimitFSIZE=256004"),
)


def test_unit_of_a_download_has_its_walls(rig, serve):
    """B15: an account of its own that can open neither file; a lab's rig has systemd's own judgement of the rest."""
    hub = serve({"/m.gguf": Answer(GOOD)})
    assert rig.download(f"{hub.address}/m.gguf") == 0, rig.said
    assert [wall for wall in WALLS if f"'{wall}'" not in rig.argv] == []


def test_who_serves_the_bytes_has_no_say_in_their_sum(rig, serve):
    """The sum of the first answer counts. Where the last one did, it was that of whoever sent the bytes."""
    content = serve(
        {"/blob": Answer(EVIL, headers={"X-Linked-Etag": f'"{hashlib.sha256(EVIL).hexdigest()}"'})}, tls=True
    )
    hub = serve({"/m.gguf": hub_answer(f"{content.address}/blob")}, tls=True)
    assert rig.download(f"{hub.address}/m.gguf") == 1
    assert f"expected {SUM}; the file was not installed" in rig.said
    assert rig.files == set()


def test_secure_address_does_not_lead_to_one_that_is_not(rig, serve):
    """https never falls to http, whatever a redirect says."""
    content = serve({"/blob": Answer(GOOD)})
    hub = serve({"/m.gguf": hub_answer(f"{content.address}/blob")}, tls=True)
    assert rig.download(f"{hub.address}/m.gguf") == 1
    assert re.search(r"::error .*/m\.gguf cannot be downloaded: curl: \(1\) .*http.* disabled", rig.said, re.I), (
        rig.said
    )
    assert content.asked == []


@pytest.mark.parametrize("moved", ["file:///etc/passwd", "ftp://127.0.0.1:9/x", "gopher://127.0.0.1:9/x"])
def test_address_leads_to_http_alone(rig, serve, moved):
    """No file of the rig is a model because a server says so."""
    hub = serve({"/m.gguf": hub_answer(moved)})
    assert rig.download(f"{hub.address}/m.gguf") == 1
    assert re.search(r"cannot be downloaded: curl: \(1\)", rig.said), rig.said


def test_renamed_repository_is_followed_on_its_own_host(rig, serve):
    """The host that was named has moved the file within itself: the sum stands on its next answer."""
    content = serve({"/blob": Answer(EVIL)})
    hub = serve(
        {"/old": Answer(status=307, headers={"Location": "/new"}), "/new": hub_answer(f"{content.address}/blob")}
    )
    assert rig.download(f"{hub.address}/old") == 1
    assert f"expected {SUM}" in rig.said


def test_first_word_of_a_host_counts(rig, serve):
    """Where it sends to a place of its own, what it said before stays true."""
    first = hub_answer("/blob")
    hub = serve({"/m.gguf": first, "/blob": Answer(EVIL, headers={"X-Linked-Etag": hashlib.sha256(EVIL).hexdigest()})})
    assert rig.download(f"{hub.address}/m.gguf") == 1
    assert f"expected {SUM}" in rig.said


def test_word_of_another_host_does_not_count(rig, serve):
    """A hub that names no sum, and who serves the bytes does: neither that sum nor that size is asked for."""
    told = {"X-Linked-Etag": f'"{hashlib.sha256(EVIL).hexdigest()}"', "X-Linked-Size": "5"}
    content = serve({"/blob": Answer(GOOD, headers=told)})
    hub = serve({"/m.gguf": Answer(status=302, headers={"Location": f"{content.address}/blob"})})
    assert rig.download(f"{hub.address}/m.gguf") == 0, rig.said
    assert rig.file.read_bytes() == GOOD


def test_circle_of_redirects_ends(rig, serve):
    """A host that sends back and forth is given up."""
    hub = serve(
        {"/a": Answer(status=302, headers={"Location": "/b"}), "/b": Answer(status=302, headers={"Location": "/a"})}
    )
    assert rig.download(f"{hub.address}/a") == 1
    assert "it leads in circles; check the address" in rig.said
    assert len(hub.asked) < 50


HEADERS = [
    "PATH[$(id -un >{bait})]",
    "$(touch {bait})",
    "1;touch {bait}",
    "0x10",
    "-5",
    "010",
    "1" * 5000,
    "9" * 19,
    "∞",
]


@pytest.mark.parametrize("value", HEADERS)
def test_header_is_no_command(any_rig, serve, value):
    """bash runs what stands in an array's index where it expects a number; this script is root."""
    bait = any_rig.home / "bait"
    content = serve({"/blob": Answer(GOOD)})
    sent = value.format(bait=bait).encode().decode("latin-1")
    headers = dict.fromkeys(("X-Linked-Size", "X-Linked-Etag", "ETag", "Content-Range", "X-Repo-Commit"), sent)
    hub = serve({"/m.gguf": Answer(status=302, headers=headers | {"Location": f"{content.address}/blob"})})
    assert any_rig.download(f"{hub.address}/m.gguf") == 0, any_rig.said
    assert any_rig.file.read_bytes() == GOOD
    assert not bait.exists()


def test_announced_size_is_the_most_that_is_taken(rig, serve):
    """A host that sends without end fills no disk."""
    content = serve({"/blob": Answer(GOOD * 20)})
    hub = serve({"/m.gguf": hub_answer(f"{content.address}/blob")})
    assert rig.download(f"{hub.address}/m.gguf") == 1
    assert "more came than was announced" in rig.said
    assert rig.part.stat().st_size <= len(GOOD)


def test_more_than_a_model_can_have_is_not_begun(rig, serve):
    """A hub claims more than the header that the controller read: the disk is not filled first."""
    content = serve({"/blob": Answer(GOOD)})
    hub = serve({"/m.gguf": hub_answer(f"{content.address}/blob", size=10**12)})
    assert rig.download(f"{hub.address}/m.gguf", most=len(GOOD) + 5) == 1
    assert "announces 931.3 GiB, and its header tells of a model of at most" in rig.said
    assert rig.argv == "" and rig.files == set()
    # One that claims nothing may send no more either.
    silent = serve({"/m.gguf": Answer(GOOD, silent=True)})
    assert rig.download(f"{silent.address}/m.gguf", most=len(GOOD) + 5) == 0, rig.said
    assert f"LimitFSIZE={len(GOOD) + 5}" in rig.argv
    assert rig.download(f"{content.address}/blob", most=len(GOOD)) == 0, rig.said


def test_address_that_refuses_to_be_looked_at_is_downloaded(rig, serve):
    """Signed addresses are signed for GET; HEAD is refused."""
    hub = serve({"/m.gguf": Answer(GOOD, refuses=("HEAD",))})
    assert rig.download(f"{hub.address}/m.gguf?X-Amz-Signature=s3cret") == 0, rig.said
    assert rig.file.read_bytes() == GOOD
    assert f"LimitFSIZE={len(GOOD)}" in rig.argv


def test_address_that_knows_neither_head_nor_ranges_is_downloaded(rig, serve):
    """It sends all at once, and is cut off when it was only to be looked at."""
    hub = serve({"/m.gguf": Answer(GOOD, refuses=("HEAD",), ranges=False)})
    assert rig.download(f"{hub.address}/m.gguf") == 0, rig.said
    assert rig.file.read_bytes() == GOOD


def test_secret_of_an_address_shows_nowhere(any_rig, serve):
    """Not in the arguments of a unit, which every user may read, nor in what is said, nor in what is left."""
    hub = serve({"/m.gguf": Answer(EVIL)})
    assert any_rig.download(f"{hub.address}/m.gguf?token=s3cret", sha256=SUM) == 1
    assert "expected" in any_rig.said
    hub.answers.clear()
    assert any_rig.download(f"{hub.address}/m.gguf?token=s3cret") == 1
    assert "/m.gguf cannot be downloaded: curl: (22)" in any_rig.said
    assert any_rig.argv
    for text in (any_rig.said, any_rig.argv, *(path.read_text() for path in any_rig.home.rglob("*") if path.is_file())):
        assert "s3cret" not in text


def test_token_goes_to_the_host_that_was_named_alone(any_rig, serve):
    """A gated file: the hub is told the token each time, who serves the bytes never; it shows nowhere."""
    content = serve({"/blob": Answer(GOOD, cut=100_000)})
    gated = hub_answer(f"{content.address}/blob")
    gated.token = TOKEN
    moved = Answer(status=307, headers={"Location": "/m.gguf"}, token=TOKEN)
    hub = serve({"/old": moved, "/m.gguf": gated})
    assert any_rig.download(f"{hub.address}/old") == 1
    assert any_rig.download(f"{hub.address}/old", token=TOKEN) == 0, any_rig.said
    assert any_rig.file.read_bytes() == GOOD
    assert len(content.asked) >= 3  # it was continued
    assert [headers.get("Authorization") for _, _, headers in content.asked if "Authorization" in headers] == []
    assert [path for path in any_rig.home.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()] == []
    assert TOKEN not in any_rig.said + any_rig.argv


def test_rig_is_told_what_the_controller_found_out(rig, serve, blank, monkeypatch):
    """The sum that the hub named to the controller, and the token where nobody gets the file without; both arrive."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    content = serve({"/blob": Answer(GOOD)})
    hub = serve({})
    settings = WeightsSettings(hugging_face=hub.address)
    scripts = {}
    for repo, token in (("org/open", ""), ("org/gated", TOKEN)):
        hub.answers[f"/{repo}/resolve/main/m.gguf"] = hub_answer(f"{content.address}/blob")
        hub.answers[f"/{repo}/resolve/main/m.gguf"].token = token
        local = LocalModel(
            ModelSource(repo=repo, file="m.gguf"),
            None,
            None,
            None,
            f"{hub.address}/{repo}/resolve/main/m.gguf",
            most_bytes=77,
        )

        def current_rig(probe: Probe) -> Iterator[Any]:
            yield from ()
            return blank()

        monkeypatch.setattr(operations, "current_rig", current_rig)
        monkeypatch.setattr(operations, "link", lambda host, file: Link())
        (scripts[repo],) = operations.weights._inner(files=((str(rig.file), local),), settings=settings, probe=Probe())
        text = scripts[repo].text
        assert f"SHA256={SUM}\n" in text and "MOST=77\n" in text and TOKEN not in text + repr(scripts[repo])
    assert scripts["org/open"].stdin == f"{hub.address}/org/open/resolve/main/m.gguf\n\n"
    assert scripts["org/gated"].stdin == f"{hub.address}/org/gated/resolve/main/m.gguf\n{TOKEN}\n"


def test_token_shows_nowhere_when_it_is_refused(rig, serve):
    """Nor does what is left of a run that failed hold it."""
    hub = serve({"/m.gguf": Answer(status=401)})
    assert rig.download(f"{hub.address}/m.gguf", token=TOKEN) == 1
    hub.answers["/m.gguf"] = Answer(EVIL)
    assert rig.download(f"{hub.address}/m.gguf", token=TOKEN, sha256=SUM) == 1
    assert [path for path in rig.home.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()] == []
    assert TOKEN not in rig.said + rig.argv


def test_address_is_taken_as_it_is(rig, serve):
    """Braces, brackets, quotes and dollars are part of a name, not of a language."""
    hub = serve({"/{a,b}[1-3].gguf": Answer(GOOD)})
    assert rig.download(f'{hub.address}/{{a,b}}[1-3].gguf?q="$HOME\\n`id`"') == 0, rig.said
    assert rig.file.read_bytes() == GOOD


def test_file_comes_from_the_rig_before(any_rig, serve):
    """Its address is asked what the file is, and for no byte of it; the other rig is told the sum and nothing else."""
    hub = serve({"/m.gguf": Answer(GOOD, token=TOKEN)})
    before = serve({f"/{SUM}": Answer(GOOD)})
    at = before.address.removeprefix("http://")
    assert any_rig.download(f"{hub.address}/m.gguf?s=s3cret", sha256=SUM, token=TOKEN, NEAR=at) == 0, any_rig.said
    assert any_rig.file.read_bytes() == GOOD
    assert hub.ranges == []
    assert f"::progress m.gguf: {len(GOOD)} bytes came from 127.0.0.1" in any_rig.said
    ((_, path, headers),) = before.asked
    assert (path, set(headers)) == (f"/{SUM}", {"Host", "User-Agent", "Accept"})


def test_rig_that_dies_costs_its_own_part(rig, serve):
    """The one before it is asked for the rest, then the address; nothing comes twice."""
    hub = serve({"/m.gguf": Answer(GOOD)})
    dying, short = serve({f"/{SUM}": Answer(GOOD, cut=100_000)}), serve({f"/{SUM}": Answer(GOOD, cut=50_000)})
    for one in (dying, short):
        one.answers[f"/{SUM}"] = Once(GOOD, cut=one.answers[f"/{SUM}"].cut)
    near = " ".join(one.address.removeprefix("http://") for one in (dying, short))
    assert rig.download(f"{hub.address}/m.gguf", sha256=SUM, NEAR=f"127.0.0.1:9 {near}") == 0, rig.said
    assert rig.file.read_bytes() == GOOD
    assert (dying.ranges[0], short.ranges[0]) == (None, "bytes=100000-")
    assert hub.ranges == ["bytes=150000-"]


@dataclass
class Once(Answer):
    """An answer that is given once, by a rig that dies then."""

    given: bool = False

    def __getattribute__(self, name: str) -> Any:
        if name == "body":
            if object.__getattribute__(self, "given"):
                return b""
            object.__setattr__(self, "given", True)
        return super().__getattribute__(name)


@pytest.mark.parametrize("sent", [EVIL, b"<html>", GOOD[:-1] + b"x"])
def test_what_another_rig_makes_up_is_thrown_away(any_rig, serve, sent):
    """The sum decides, and then the address alone is asked."""
    hub, before = serve({"/m.gguf": Answer(GOOD)}), serve({f"/{SUM}": Answer(sent.ljust(len(GOOD), b"."))})
    at = before.address.removeprefix("http://")
    assert any_rig.download(f"{hub.address}/m.gguf", sha256=SUM, NEAR=at) == 0, any_rig.said
    assert "what other rigs handed on is another file; downloading m.gguf from its address" in any_rig.said
    assert any_rig.file.read_bytes() == GOOD and hub.ranges == [None]
    assert any_rig.files == {"m.gguf", ".m.gguf.rigwright"}
    hub.answers["/n.gguf"] = Answer(EVIL)
    any_rig.file.unlink()
    assert any_rig.download(f"{hub.address}/n.gguf", sha256=SUM, NEAR=at) == 1
    assert f"expected {SUM}; the file was not installed" in any_rig.said


def test_rig_without_a_sum_asks_no_other(rig, serve):
    """What cannot be held against a sum comes from its address alone, and is offered to nobody."""
    hub, before = serve({"/m.gguf": Answer(GOOD)}), serve({})
    at = before.address.removeprefix("http://")
    given = {"NEAR": at, "SHARE_AT": "127.0.0.1:9479", "BEHIND": "10.0.0.3"}
    assert rig.download(f"{hub.address}/m.gguf", **given) == 0, rig.said
    assert before.asked == [] and not (rig.home / "run/systemd").exists()


@pytest.mark.runs("weights/share.sh")
def test_file_is_offered_while_it_comes_and_when_it_is_there(any_rig, serve):
    """To the rigs behind alone, from an account without a network; what is offered goes by the name that it gets."""
    hub = serve({"/m.gguf": Answer(GOOD)})
    given = {"SHARE_AT": "10.0.0.2:9479", "BEHIND": "10.0.0.3 10.0.0.4"}
    assert any_rig.download(f"{hub.address}/m.gguf", sha256=SUM, **given) == 0, any_rig.said
    units, shared = any_rig.home / "run/systemd/system", any_rig.home / "run/rigwright-share"
    listens = (units / "rigwright-share.socket").read_text()
    assert "ListenStream=10.0.0.2:9479\n" in listens and "IPAddressAllow=10.0.0.3 10.0.0.4\n" in listens
    assert "IPAddressDeny=any\n" in listens and "MaxConnections=4\n" in listens
    handed = (units / "rigwright-share@.service").read_text().splitlines()
    assert {"DynamicUser=yes", "PrivateNetwork=yes", "CapabilityBoundingSet=", "ProtectSystem=strict"} <= set(handed)
    filters = [line for line in handed if line.startswith("SystemCallFilter=")]
    assert filters == ["SystemCallFilter=@system-service", "SystemCallFilter=~@privileged"]
    assert (shared / "file").resolve() == any_rig.file and (shared / "grows").exists()


@pytest.mark.runs("weights/offer.sh")
def test_file_that_is_there_is_offered_where_it_is_what_was_checked(any_rig, serve):
    """Whole; one that changed since is not."""
    hub = serve({"/m.gguf": Answer(GOOD)})
    assert any_rig.download(f"{hub.address}/m.gguf", sha256=SUM) == 0, any_rig.said
    given = {"SHARE_AT": "10.0.0.2:9479", "BEHIND": "10.0.0.3"}
    assert any_rig.offer(**given) == 0, any_rig.said
    shared = any_rig.home / "run/rigwright-share"
    assert {one.name for one in shared.iterdir()} == {"file", "hand.sh", "linger.sh"}
    handed = (any_rig.home / "run/systemd/system/rigwright-share@.service").read_text()
    assert f"Environment=SUM={SUM} SIZE={len(GOOD)} " in handed
    any_rig.file.write_bytes(EVIL[:-1])
    assert any_rig.offer(**given) == 1 and "m.gguf changed meanwhile; run again" in any_rig.said


@pytest.mark.runs(
    "weights/download.sh", "weights/config.sh", "weights/fetch.sh", "weights/accept.sh", "weights/place.sh"
)
def test_download_that_broke_off_is_continued(any_rig, serve):
    """With a sum that is known, from where it ended."""
    hub = serve({"/m.gguf": Answer(GOOD, cut=100_000)})
    assert any_rig.download(f"{hub.address}/m.gguf", sha256=SUM) == 0, any_rig.said
    assert hub.ranges == [None, "bytes=100000-", "bytes=200000-"]
    assert any_rig.file.read_bytes() == GOOD


def test_next_run_continues_what_was_begun(rig, serve):
    """Of the same version, which its server names."""
    hub = serve({"/m.gguf": Answer(GOOD, headers={"ETag": '"one"'}, cut=50)})
    assert rig.download(f"{hub.address}/m.gguf") == 1
    assert "run again, it continues there" in rig.said
    # Removal takes away what was begun, should nobody run it again.
    assert {str(rig.part), f"{rig.part}.of"} <= set((rig.home / "brought").read_text().splitlines())
    kept = rig.part.stat().st_size
    assert kept >= 50
    hub.asked.clear()
    hub.answers["/m.gguf"].cut = None
    assert rig.download(f"{hub.address}/m.gguf") == 0, rig.said
    assert hub.ranges == [f"bytes={kept}-"]
    assert rig.file.read_bytes() == GOOD


@pytest.mark.parametrize("etags", [('"one"', '"two"'), ("", ""), ('W/"one"', 'W/"one"')])
def test_two_versions_are_never_put_together(rig, serve, etags):
    """The server has another file of the same size by now, and no sum is known."""
    hub = serve({"/m.gguf": Answer(GOOD, headers={"ETag": etags[0]} if etags[0] else {}, cut=50)})
    assert rig.download(f"{hub.address}/m.gguf") == 1
    hub.answers["/m.gguf"] = Answer(EVIL, headers={"ETag": etags[1]} if etags[1] else {})
    assert rig.download(f"{hub.address}/m.gguf") == 0, rig.said
    assert rig.file.read_bytes() == EVIL


def test_version_that_changes_while_it_is_read_begins_anew(rig, serve):
    """If-Range: a server whose file is another one by now sends all of it, and what was begun is thrown away."""
    hub = serve({"/m.gguf": Answer(GOOD, headers={"ETag": '"one"'}, cut=50)})
    assert rig.download(f"{hub.address}/m.gguf") == 1
    content = Answer(EVIL, headers={"ETag": '"two"'})
    hub.answers["/m.gguf"] = content
    looked = Answer(EVIL, headers={"ETag": '"one"'})

    class Changing(dict):
        def get(self, path, default=None):
            return looked if hub.asked[-1][0] == "HEAD" else content

    hub.answers = Changing()
    assert rig.download(f"{hub.address}/m.gguf") == 0, rig.said
    assert rig.file.read_bytes() == EVIL


def test_server_without_ranges_begins_anew(any_rig, serve):
    """What cannot be continued is read from its start, in the same run."""
    hub = serve({"/m.gguf": Answer(GOOD, headers={"ETag": '"one"'}, cut=50, ranges=False)})
    assert any_rig.download(f"{hub.address}/m.gguf") == 1
    hub.answers["/m.gguf"].cut = None
    assert any_rig.download(f"{hub.address}/m.gguf") == 0, any_rig.said
    assert any_rig.file.read_bytes() == GOOD


def test_part_that_is_no_plain_file_of_ours_is_not_written_into(rig, serve, tmp_path):
    """A link that lies where the part goes is taken away, and what it leads to stays."""
    hub = serve({"/m.gguf": Answer(GOOD)})
    victim = tmp_path / "victim"
    victim.write_text("mine")
    for make in (rig.part.symlink_to, rig.part.hardlink_to):
        make(victim)
        Path(f"{rig.part}.of").write_text(f"{SUM}\n")
        assert rig.download(f"{hub.address}/m.gguf", sha256=SUM) == 0, rig.said
        assert victim.read_text() == "mine"
        rig.file.unlink()


def test_proxy_of_the_environment_is_used_for_look_and_download(rig, serve):
    """What the script's environment says of proxies holds for the unit too."""
    proxy = serve({"http://hub.invalid/m.gguf": Answer(GOOD)})
    assert rig.download("http://hub.invalid/m.gguf", environment={"http_proxy": proxy.address}) == 0, rig.said
    assert [method for method, _, _ in proxy.asked] == ["HEAD", "GET"]


def test_certificates_of_the_environment_reach_the_unit(rig, serve):
    """A proxy that looks inside, or a mirror of one's own: its certificate may lie in a home, which no unit sees."""
    hub = serve({"/m.gguf": Answer(GOOD)}, tls=True)
    strange = rig.home / "a b:c"
    shutil.copy(f"{rig.bundle}.crt", strange)
    for name in ("CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        environment = {"CURL_CA_BUNDLE": "", name: str(strange)}
        assert rig.download(f"{hub.address}/m.gguf", environment=environment) == 0, rig.said
        assert f"""'BindReadOnlyPaths="{strange}":/home/rigwright-{name}'""" in rig.argv, rig.argv
        rig.file.unlink()
    assert rig.download(f"{hub.address}/m.gguf", environment={"CURL_CA_BUNDLE": ""}) == 1
