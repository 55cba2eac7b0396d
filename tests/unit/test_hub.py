"""What a hub says of a file, who may have it, who gets the token, and what is not read twice."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import _http

from rigwright.errors import UnreadableModel
from rigwright.models import Model, read_model
from rigwright.plan.source import ModelSource
from rigwright.spec.weights import WeightsSettings
from rigwright.weights.cache import file_url, json_at, model_at
from rigwright.weights.hub import HubFacts, hub_facts, needed_token
from rigwright.weights.local import LocalModel, with_sum

# Sizes that are none: a program that takes them for a number ends there.
SIZES = ("9" * 5000, "9" * 19, "-5", "1e9", "0x10", "PATH[$(id)]")
COMMIT, SHA256, TOKEN = "c" * 40, "5" * 64, "hf_secretsecretsecret"
FILE, CONFIG = "/org/m/resolve/main/m.gguf", "/org/m/resolve/main/config.json"


@dataclass
class Answer:
    """What a path answers: to HEAD by the first two, to GET by `content` or by sending to `moved`, if there is one."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    content: bytes | None = None
    moved: str = ""


@dataclass
class Host:
    """A web server: its answers by path, and what it was asked."""

    address: str = ""
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    wait: threading.Event | None = None
    drip: bool = False
    content_range: str = ""

    @property
    def reads(self) -> int:
        """How often a content was asked for."""
        return sum(method == "GET" for method, _, _ in self.asked)

    @property
    def tokens(self) -> set[str | None]:
        """What stood in the requests as authorization."""
        return {token for _, _, token in self.asked}


def handler(host: Host) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            path = self.path.partition("?")[0]
            host.asked.append((self.command, path, self.headers.get("Authorization")))
            if host.wait:
                host.wait.wait()
            answer = host.answers.get(path, Answer(404))
            is_read = self.command == "GET" and answer.content is not None
            body = (answer.content or b"") if is_read else b""
            status = 200 if is_read else answer.status
            if is_read and self.headers.get("If-None-Match", "-") == answer.headers.get("ETag"):
                status, body = 304, b""
            if self.command == "GET" and answer.moved:
                answer = Answer(302, {"Location": answer.moved})
                status = answer.status
            self.send_response(206 if is_read and host.content_range else status)
            if host.content_range:
                self.send_header("Content-Range", host.content_range)
            for name, value in answer.headers.items():
                if not is_read or name == "ETag":
                    self.send_header(name, value)
            if is_read or "Content-Length" not in answer.headers:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self._write(body)

        def _write(self, body: bytes) -> None:
            step = 64 if host.drip else len(body) or 1
            try:
                for start in range(0, len(body), step):
                    self.wfile.write(body[start : start + step])
                    self.wfile.flush()
                    if host.drip:
                        time.sleep(0.01)
            except OSError:
                pass  # the reader hung up, as it should

        do_GET = do_HEAD = _answer

        def log_message(self, *arguments: object) -> None:
            pass

    return Handler


@pytest.fixture
def serve() -> Iterator[Callable[..., Host]]:
    """Starts a server with answers by path."""
    started = []

    def start(answers: dict[str, Answer] | None = None) -> Host:
        host = Host(answers=answers or {})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler(host))
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        host.address = f"http://127.0.0.1:{server.server_port}"
        started.append(server)
        return host

    yield start
    for server in started:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A home of its own, without a token."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    return tmp_path


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return f"Bearer {TOKEN}"


def linked(location: str, etag: str = SHA256) -> Answer:
    """The hub's answer for a large file, as huggingface.co gives it."""
    headers = {"X-Repo-Commit": COMMIT, "X-Linked-Etag": f'"{etag}"', "X-Linked-Size": "99", "Location": location}
    return Answer(302, headers)


def facts(host: Host, path: str = "/m") -> HubFacts:
    return hub_facts(f"{host.address}{path}", hub=host.address)


def publish(hub: Host, content: Host, data: bytes, *paths: str) -> None:
    """Has the hub name the sum of a file, whose content lies elsewhere."""
    content.answers["/blob"] = Answer(content=data)
    for path in paths:
        hub.answers[path] = linked(f"{content.address}/blob?signature=x", hashlib.sha256(data).hexdigest())


def model(hub: Host, path: str = FILE, sha256: str | None = None) -> Model | None:
    return model_at(f"{hub.address}{path}", hub=hub.address, sha256=sha256)


def test_large_file_is_known_without_asking_the_content_network(serve):
    """Commit, sum and size stand on the redirect; where it leads is named, and not asked."""
    content = serve()
    hub = serve({"/m": linked(f"{content.address}/blob?signature=x")})
    assert facts(hub) == HubFacts(COMMIT, SHA256, 99, SHA256, f"{content.address}/blob?signature=x")
    assert content.asked == []


def test_renamed_repository_is_followed_on_the_same_host(serve):
    """A redirect that says nothing itself leads to the answer."""
    hub = serve({"/old": Answer(307, {"Location": "/new"}), "/new": linked("https://elsewhere.test/blob")})
    assert facts(hub, "/old").sha256 == SHA256
    assert [path for _, path, _ in hub.asked] == ["/old", "/new"]


def test_redirect_to_another_host_is_not_followed(serve):
    """Nobody else learns what is asked for."""
    other = serve({"/m": linked("/")})
    hub = serve({"/m": Answer(302, {"Location": f"{other.address}/m"})})
    assert facts(hub)[:3] == (None, None, None)
    assert other.asked == []


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(200, {"Content-Length": "7"}), (None, None, 7)),
        (Answer(200, {"X-Repo-Commit": "main", "X-Linked-Etag": '"abc"', "Content-Length": "0"}), (None, None, 0)),
        (Answer(200, {"X-Repo-Commit": COMMIT, "X-Linked-Size": "many", "Content-Length": "0"}), (COMMIT, None, None)),
        *((Answer(200, {"X-Linked-Size": size, "Content-Length": "0"}), (None, None, None)) for size in SIZES),
        (Answer(404, {"Content-Length": "9"}), (None, None, None)),
        (Answer(200, {"Location": "//[/m"}), (None, None, None)),
        (Answer(501), (None, None, None)),
    ],
)
def test_what_is_not_said_is_not_guessed(serve, answer, said):
    """A plain server knows a size; a commit and a sum must look like one."""
    assert facts(serve({"/m": answer}))[:3] == said


@pytest.mark.parametrize("location", [FILE, "http://127.0.0.1:99999/m", "//[/m", "/\x7f", "file:///etc/passwd"])
def test_odd_redirects_lead_nowhere(serve, location):
    """A loop, and what is no address, is nobody's commit; no file of this machine is read for one."""
    host = serve({FILE: Answer(302, {"Location": location})})
    assert facts(host, FILE)[:3] == (None, None, None)
    assert 0 < len(host.asked) <= 21
    try:
        assert model(host) is None
    except UnreadableModel as error:
        assert error.message == f"{host.address}{FILE}: is no http(s) address; write https://host/model.gguf"


def test_host_that_does_not_answer_says_nothing():
    """No connection, no facts, no error."""
    assert hub_facts("http://127.0.0.1:9/m", hub="http://127.0.0.1:9") == HubFacts()


GATED = {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access to model org/m is restricted."}
GET_TOKEN = "set HF_TOKEN to a token of yours, or run `hf auth login`"
INVALID = {"X-Error-Message": "Invalid credentials in Authorization header"}


@pytest.mark.parametrize(
    ("status", "headers", "has_token", "problem"),
    [
        (401, GATED, False,
         f"org/m is gated, and there is no token here; accept its terms, then {GET_TOKEN}: HUB/org/m"),
        (403, GATED, True, "org/m is gated, and your token may not read it; accept its terms with the "
                           "token's own account: HUB/org/m"),
        (401, INVALID, True, f"the hub refuses your token (401); {GET_TOKEN}"),
        (401, {"X-Error-Code": "RepoNotFound"}, False,
         f"the hub knows no repository org/m, or it is private; check the name, or {GET_TOKEN}"),
        (404, {"X-Error-Code": "RepoNotFound"}, True,
         "the hub knows no repository org/m, or your token may not see it; check both"),
        (404, {"X-Error-Code": "RevisionNotFound"}, False,
         "org/m has no revision main; name a branch, a tag or a commit that it has"),
        (404, {"X-Error-Code": "EntryNotFound"}, False, "there is no such file (404); check the repository"),
        (403, {"X-Error-Message": "Access to this resource is disabled."}, False,
         "the hub has disabled org/m; name another repository"),
    ],
)  # fmt: skip
def test_refusal_of_the_hub_is_one_line(serve, monkeypatch, status, headers, has_token, problem):
    """Gated, private, missing, or a token that is not right: where, what, and what to do, without the token."""
    if has_token:
        monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub = serve({FILE: Answer(status, headers), CONFIG: Answer(status, headers)})
    for ask in (model, lambda hub: json_at(f"{hub.address}{CONFIG}", hub=hub.address)):
        with pytest.raises(UnreadableModel) as error:
            ask(hub)
        path = FILE if ask is model else CONFIG
        assert error.value.message == f"{hub.address}{path}: {problem.replace('HUB', hub.address)}"
    assert hub.reads == 0


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
def test_refusal_without_a_reason_is_out_of_reach(serve, status):
    """What no hub explains may be different on the rig."""
    assert model(serve({FILE: Answer(status, {"Content-Length": "0"})})) is None


def test_gated_file_is_read_with_the_token(serve, token, tiny_dense):
    """The hub gets the token, on both requests; a file that it holds itself is read with it."""
    hub = serve({FILE: Answer(200, {"ETag": '"1"'}, tiny_dense.read_bytes())})
    assert model(hub) == read_model(tiny_dense)
    assert [(method, given) for method, _, given in hub.asked] == [("HEAD", token), ("GET", token)]


def test_token_in_the_home_is_found(serve, home):
    """`hf auth login` leaves it in a file."""
    (home / "token").write_text(f"{TOKEN}\n")
    hub = serve({"/m": linked("/blob")})
    facts(hub)
    assert hub.tokens == {f"Bearer {TOKEN}"}


def test_token_stays_at_the_hub(serve, token, tiny_dense, monkeypatch):
    """Neither the content network, nor a host that is not the hub, nor one that huggingface_hub trusts gets it."""
    content, known, plain = serve(), serve(), serve({"/m.gguf": Answer(content=tiny_dense.read_bytes())})
    monkeypatch.setattr(_http, "_HUB_ORIGINS", frozenset({_http._url_origin(known.address)}))
    hub = serve()
    publish(hub, content, tiny_dense.read_bytes(), FILE)
    assert model(hub)
    known.answers["/n"] = hub.answers[FILE]
    hub.answers["/n"] = Answer(307, {"Location": f"{known.address}/n"})
    assert facts(hub, "/n").commit == COMMIT
    assert model_at(f"{plain.address}/m.gguf", hub=hub.address)
    assert hub.tokens == {token}
    assert content.tokens == known.tokens == plain.tokens == {None}


def test_token_stays_with_the_first_host_of_a_read(serve, token, tiny_dense):
    """A hub that says nothing on HEAD sends the read elsewhere, where nobody sees the token."""
    other = serve({"/m.gguf": Answer(content=tiny_dense.read_bytes())})
    hub = serve({FILE: Answer(405, moved=f"{other.address}/m.gguf")})
    assert model(hub) == read_model(tiny_dense)
    assert (hub.tokens, other.tokens) == ({token}, {None})


@pytest.mark.parametrize("status", [401, 403, 404])
def test_rig_gets_the_token_where_the_hub_gives_the_file_to_nobody_without(serve, token, status):
    """Gated, private, or hidden as if it were not there: the question that finds out is asked without it."""
    hub = serve({FILE: Answer(status)})
    assert needed_token(hub.address + FILE, hub=hub.address) == TOKEN
    assert hub.asked == [("HEAD", FILE, None)]


def test_rig_gets_no_token_that_it_does_not_need(serve, token):
    """What everybody may read, what lies elsewhere, what nobody answers for."""
    content, stranger = serve(), serve({FILE: Answer(401)})
    hub = serve({FILE: Answer(302, {"Location": f"{content.address}/blob"}), "/busy": Answer(503)})
    assert needed_token(hub.address + FILE, hub=hub.address) is None
    assert needed_token(f"{hub.address}/busy", hub=hub.address) is None
    assert needed_token(stranger.address + FILE, hub=hub.address) is None
    assert needed_token(f"{hub.address}.evil{FILE}", hub=hub.address) is None
    assert needed_token("http://127.0.0.1:1/m.gguf", hub="http://127.0.0.1:1") is None
    assert (content.asked, stranger.asked) == ([], [])


def test_renamed_repository_may_need_the_token(serve, token):
    """The hub leads to a place of its own, and gives that to nobody."""
    hub = serve({FILE: Answer(307, {"Location": "/new"}), "/new": Answer(401)})
    assert needed_token(hub.address + FILE, hub=hub.address) == TOKEN
    assert hub.tokens == {None}


@pytest.mark.parametrize("odd", ["hf_ü", "hf_a\x00b"])
def test_odd_token_does_not_end_a_run(serve, monkeypatch, home, odd):
    """A token that cannot be sent is no answer of the hub; nothing of it is shown."""
    (home / "token").write_text(odd)
    assert facts(serve({"/m": linked("/")})) == HubFacts()


def test_unchanged_file_is_not_read_twice(serve, tiny_dense, tiny_hybrid):
    """A second look asks the hub for the sum alone; another content is read, and the first one is still known."""
    hub, content = serve(), serve()
    publish(hub, content, tiny_dense.read_bytes(), FILE)
    first = model(hub)
    assert (first, content.reads) == (read_model(tiny_dense), 1)
    assert (model(hub), content.reads) == (first, 1)
    publish(hub, content, tiny_hybrid.read_bytes(), FILE)
    assert (model(hub), content.reads) == (read_model(tiny_hybrid), 2)
    publish(hub, content, tiny_dense.read_bytes(), FILE)
    assert (model(hub), content.reads, hub.reads) == (first, 2, 0)


def test_locked_file_is_known_by_its_sum(serve, tiny_dense):
    """The address with the commit is new, the content is not: nothing is asked, and nothing read."""
    hub, content = serve(), serve()
    publish(hub, content, tiny_dense.read_bytes(), FILE)
    first = model(hub)
    content.answers.clear()
    hub.asked.clear()
    pinned = FILE.replace("main", COMMIT)
    assert model(hub, pinned, sha256=hashlib.sha256(tiny_dense.read_bytes()).hexdigest()) == first
    assert hub.asked == []


def test_sum_of_one_host_is_not_that_of_another(serve, tiny_dense, tiny_hybrid):
    """A host that lies about a sum fools nobody but those who ask it."""
    liar, hub, content = serve(), serve(), serve()
    publish(liar, content, tiny_hybrid.read_bytes(), FILE)
    digest = hashlib.sha256(tiny_dense.read_bytes()).hexdigest()
    liar.answers[FILE] = linked(f"{content.address}/blob", digest)
    assert model(liar) == read_model(tiny_hybrid)
    publish(hub, content, tiny_dense.read_bytes(), FILE)
    assert model(hub, sha256=digest) == read_model(tiny_dense)


def test_kept_header_answers_when_the_hub_is_down(serve, tiny_dense):
    """The same rig is planned the same way, whether the hub or only the content is gone."""
    hub, content = serve(), serve()
    publish(hub, content, tiny_dense.read_bytes(), FILE)
    first = model(hub)
    hub.answers[FILE] = linked("http://127.0.0.1:9/blob", "6" * 64)
    assert model(hub) == first
    hub.answers[FILE] = Answer(503)
    assert model(hub) == first


def test_plain_address_sends_only_what_has_changed(serve, tiny_dense, tiny_hybrid):
    """A host that is no hub is asked with the etag that it gave; no other host's etag is kept."""
    plain = serve({"/m.gguf": Answer(headers={"ETag": '"v1"'}, content=tiny_dense.read_bytes())})
    sent: list[int] = []
    url = f"{plain.address}/m.gguf"
    for data in (tiny_dense, tiny_dense, tiny_hybrid):
        if data is tiny_hybrid:
            plain.answers["/m.gguf"] = Answer(headers={"ETag": '"v2"'}, content=tiny_hybrid.read_bytes())
        assert model_at(url, hub="http://hub.test") == read_model(data)
        sent.append(plain.reads)
    assert sent == [1, 2, 3]
    plain.answers["/m.gguf"].content = b"not read: the etag is the same"
    assert model_at(url, hub="http://hub.test") == read_model(tiny_hybrid)
    assert {method for method, _, _ in plain.asked} == {"GET"}


def test_unchanged_configuration_is_not_read_twice(serve):
    """The hub's etag of a small file is no sha256; another one is another content."""
    hub = serve()
    for version, reads in ((1, 1), (1, 1), (2, 2)):
        etag = hashlib.sha1(bytes([version])).hexdigest()
        hub.answers[CONFIG] = Answer(200, {"ETag": f'"{etag}"'}, json.dumps({"version": version}).encode())
        assert json_at(f"{hub.address}{CONFIG}", hub=hub.address) == {"version": version}
        assert hub.reads == reads


def test_huge_configuration_is_out_of_reach(serve, monkeypatch):
    """Nobody's config.json fills the memory of this machine."""
    monkeypatch.setattr("rigwright.weights.cache._LARGEST_BYTES", 1000)
    hub = serve({CONFIG: Answer(200, {"ETag": '"a"'}, b"[" + b" " * 10_000_000 + b"]")})
    assert json_at(f"{hub.address}{CONFIG}", hub=hub.address) is None


def test_huge_header_of_an_answer_is_out_of_reach(serve):
    """An answer that never ends is none."""
    hub = serve({FILE: Answer(200, {"X-Repo-Commit": "c" * 1_000_000, "Content-Length": "0"})})
    assert facts(hub, FILE) == HubFacts()


def test_silent_hub_is_given_up(serve, monkeypatch, tiny_dense):
    """A hub that takes the request and says nothing costs one time-out, and no second one for the content."""
    monkeypatch.setattr("rigwright.weights.hub._TIMEOUT_SECONDS", 0.2)
    hub = serve({FILE: Answer(content=tiny_dense.read_bytes())})
    hub.wait = threading.Event()
    started = time.monotonic()
    assert model(hub) is None
    assert time.monotonic() - started < 2
    assert [method for method, _, _ in hub.asked] == ["HEAD"]
    hub.wait.set()


def test_dripping_content_is_given_up(serve, monkeypatch, tiny_dense):
    """A content that comes byte by byte has one deadline for all of it."""
    monkeypatch.setattr("rigwright.weights.remote._DEADLINE_SECONDS", 0.2)
    hub = serve({FILE: Answer(content=tiny_dense.read_bytes() + bytes(1_000_000))})
    hub.drip = True
    started = time.monotonic()
    assert model(hub) is None
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(("limit", "value"), [("_PARTS_SECONDS", 0.3), ("_PARTS_BYTES", 30_000)], ids=["time", "bytes"])
def test_name_that_promises_a_thousand_parts_is_given_up(serve, monkeypatch, gguf_header, limit, value):
    """Each part is small and comes at once: all of them together have a limit, of time and of what is kept."""
    monkeypatch.setattr(f"rigwright.weights.remote.{limit}", value)
    base = FILE.replace("m.gguf", "m-{:05}-of-01000.gguf")
    answers = {}
    for number in range(1000):
        keys = {"split.no": number, "split.count": 1000}
        content = gguf_header(keys, [(f"blk.{number}.x", (32,), "F32")]) + bytes(128)
        answers[base.format(number + 1)] = Answer(content=content)
    hub = serve(answers)
    started = time.monotonic()
    assert model(hub, base.format(1)) is None
    assert time.monotonic() - started < 5
    assert 2 <= hub.reads < 500


def test_offline_mode_asks_nobody(serve, monkeypatch, tiny_dense):
    """HF_HUB_OFFLINE: what is kept answers."""
    hub, content = serve(), serve()
    publish(hub, content, tiny_dense.read_bytes(), FILE)
    first = model(hub)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.asked.clear()
    content.asked.clear()
    assert model(hub) == first
    assert model(hub, FILE.replace("m.gguf", "other.gguf")) is None
    assert (hub.asked, content.asked) == ([], [])


def run(tmp_path: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A Python of its own, with a home of its own."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    env |= {"HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": str(tmp_path / "cache"), **environment}
    return subprocess.run([sys.executable, *arguments], env=env, capture_output=True, text=True, check=True)


@pytest.mark.patience
def test_nothing_but_the_file_is_asked_for_and_written(serve, tmp_path, tiny_dense):
    """No telemetry, no list of agents, no words of the server on the terminal, no file beside our own cache."""
    hub = serve({FILE: Answer(200, {"ETag": '"1"', "X-HF-Warning": "x; \x1b[31mred"}, tiny_dense.read_bytes())})
    done = run(tmp_path, "-m", "rigwright", "size", "hf:org/m:m.gguf", "--json", HF_ENDPOINT=hub.address, AI_AGENT="x")
    assert json.loads(done.stdout) and done.stderr == ""
    assert [(method, path) for method, path, _ in hub.asked] == [("HEAD", FILE), ("GET", FILE)]
    written = {path.relative_to(tmp_path).parts[:2] for path in tmp_path.rglob("*") if path.is_file()}
    assert written - {(tiny_dense.name,)} == {("cache", "rigwright")}


@pytest.mark.patience
def test_hub_is_imported_when_it_is_asked(tmp_path, tiny_dense):
    """A file on this machine, and the help of each command, load nothing of huggingface_hub."""
    code = """if True:
        import sys
        from rigwright.cli import main
        main(["size", sys.argv[1], "--json"], standalone_mode=False)
        import rigwright.cli.plan, rigwright.weights.lookup, rigwright.resolve.pin
        print(sorted(name for name in sys.modules if name.partition(".")[0] in ("huggingface_hub", "httpx2")))
    """
    assert run(tmp_path, "-c", code, str(tiny_dense)).stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("size", SIZES)
def test_size_that_is_none_does_not_hide_the_model(serve, tiny_dense, size):
    """What a server says of the size is a hint; the header says what the file must hold."""
    data = tiny_dense.read_bytes()
    host = serve({"/m.gguf": Answer(content=data)})
    host.content_range = f"bytes 0-{len(data) - 1}/{size}"
    assert model_at(f"{host.address}/m.gguf", hub="") is not None


def test_names_of_files_are_quoted_in_addresses():
    """A question mark is no query, and a percent sign no other character."""
    found = file_url("http://hub/", "org/m", revision="main", file="sub/a#b?c %41 模(1)'s.gguf")
    assert found == "http://hub/org/m/resolve/main/sub/a%23b%3Fc%20%2541%20%E6%A8%A1(1)'s.gguf"


def test_sum_that_the_hub_names_goes_with_each_download(serve):
    """It is asked for where none is known, of the hub alone: another host has no say in what is checked."""
    hub, other = serve({FILE: linked("https://elsewhere.test/blob")}), serve({FILE: linked("/")})
    settings = WeightsSettings(hugging_face=hub.address)

    def known(url: str, sha256: str | None = None) -> str | None:
        return with_sum(LocalModel(ModelSource(url=url), None, sha256, None, url), settings).sha256

    assert known(f"{other.address}{FILE}") is None
    assert known(f"{hub.address}{FILE}", "a" * 64) == "a" * 64
    assert hub.asked == other.asked == []
    assert known(f"{hub.address}{FILE}") == SHA256
    hub.answers["/org/m/resolve/main/gone.gguf"] = Answer(404, {"X-Error-Code": "EntryNotFound"})
    with pytest.raises(UnreadableModel, match="there is no such file"):
        known(f"{hub.address}/org/m/resolve/main/gone.gguf")
