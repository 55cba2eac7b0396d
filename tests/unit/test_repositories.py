"""Whole repositories of a hub: what their small files say, and what is said when they say nothing."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from rigwright.cli import main
from rigwright.errors import UnreadableModel, WrongSpec
from rigwright.models.variants import Variant
from rigwright.plan.source import ModelSource
from rigwright.weights.cache import json_at
from rigwright.weights.variants import offers_for

CONFIG = (Path(__file__).parent / "data" / "configs" / "mistral-small-24b.json").read_text()
INDEX, WHOLE = "model.safetensors.index.json", "model.safetensors"
COMMIT = "c" * 40
Files = dict[str, str | int]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[Files], str]]:
    """Starts a hub with the files of org/m: a text, the size of a large one, or a status of 400 and more as `-401`."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    servers: list[ThreadingHTTPServer] = []

    def start(files: Files) -> str:
        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                name = self.path.removeprefix("/org/m/resolve/main/").removeprefix(f"/org/m/resolve/{COMMIT}/")
                found = files.get(name.removeprefix("/content/"), -404)
                if isinstance(found, int) and found > 0 and "/content/" not in self.path:
                    self.answer(302, b"", {"Location": f"/content/{name}", "X-Linked-Size": str(found)})
                elif isinstance(found, int) and found > 0:
                    self.answer(200, b"", {"Content-Length": str(found)})
                elif isinstance(found, int):
                    self.answer(-found, b"<html>")
                else:
                    self.answer(200, found.encode())

            def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body if self.command == "GET" else b"")

            do_GET = do_HEAD = _answer

            def log_message(self, *arguments: object) -> None:
                pass

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def variant(hub: str, text: str = "hf:org/m") -> Variant:
    (found,) = offers_for(ModelSource.model_validate(text), hub=hub)
    return found


# 23,572,403,200 weights without those that see, two bytes each.
RECKONED = 47_145_216_000


@pytest.mark.parametrize(
    ("files", "size", "is_exact"),
    [
        ({INDEX: json.dumps({"metadata": {"total_size": 48022792192}})}, 48022792192, True),
        ({INDEX: json.dumps({"metadata": {"total_size": 48022792192.0}})}, 48022792192, True),
        ({WHOLE: 48022796856}, 48022796856, True),  # one file, behind a redirect
        ({}, RECKONED, False),
        ({INDEX: json.dumps({"weight_map": {}})}, RECKONED, False),
        ({INDEX: json.dumps({"metadata": ["odd"]})}, RECKONED, False),
        ({INDEX: json.dumps({"metadata": {"total_size": -1}})}, RECKONED, False),
    ],
)
def test_size_is_that_of_the_index_or_of_the_only_file(
    hub: Callable[[Files], str], files: Files, size: int, is_exact: bool
) -> None:
    """The weights are as large as the index says, or the only file; else computed, which the model says."""
    found = variant(hub({"config.json": CONFIG, **files}))
    assert (found.file_bytes, found.quant, found.format) == (size, "BF16", "safetensors")
    assert found.header is not None and found.header.is_sum_exact == is_exact


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (-404, "/org/m/resolve/main/config.json: there is no such file (404); check the address"),
        (-401, "hf:org/m@main: config.json cannot be read from here; try again with a connection, or name a model of"),
        (-403, "where the hub wants a token"),
        (-503, "config.json cannot be read from here"),
        ("<html>log in</html>", "config.json: is no JSON object; check the repository"),
        ("[" * 100_000, "config.json: is no JSON object"),
        ("[]", "config.json: is no JSON object"),
        ("{}", "m: has no layers; add it, or name a model of the catalogue"),
    ],
)
def test_repository_that_says_nothing_is_one_line(hub: Callable[[Files], str], config: str | int, message: str) -> None:
    """A repository that is gone, gated, or no model at all is one line each."""
    with pytest.raises(UnreadableModel) as error:
        variant(hub({"config.json": config}))
    assert message in error.value.message and error.value.message.isprintable()


def test_pinned_repository_is_not_asked_twice(hub: Callable[[Files], str]) -> None:
    """What a commit holds never changes: after the first look the hub may be gone."""
    files: Files = {"config.json": CONFIG, INDEX: json.dumps({"metadata": {"total_size": 48022792192}})}
    address = hub(files)
    first = variant(address, f"hf:org/m@{COMMIT}")
    files.clear()
    assert variant(address, f"hf:org/m@{COMMIT}") == first


def test_size_reads_a_repository_of_another_hub(hub: Callable[[Files], str], monkeypatch: pytest.MonkeyPatch) -> None:
    """`rigwright size hf:org/m` asks the hub that HF_ENDPOINT names, as huggingface_hub does."""
    monkeypatch.setenv("HF_ENDPOINT", hub({"config.json": CONFIG, WHOLE: 48022796856}))
    lines = json.loads(CliRunner().invoke(main, ["size", "hf:org/m", "--engine", "vllm", "--json"]).output)
    assert (lines["weights_bytes"], lines["exact"]["weights_bytes"]) == (48022796856, True)


def test_secrets_of_a_mirror_stay_out_of_messages(hub: Callable[[Files], str]) -> None:
    """An address with a password or a query is shown without."""
    url = hub({}).replace("http://", "http://user:secret@") + "/x?token=secret"
    assert json_at(url, hub="http://hub.test") is None  # urllib takes no password
    with pytest.raises(UnreadableModel) as error:
        json_at(hub({}) + "/x?token=secret", hub="http://hub.test")
    assert "secret" not in error.value.message


PARTS = ("BF16/Foo-BF16-00001-of-00002.gguf", "BF16/Foo-BF16-00002-of-00002.gguf")
LISTED = ("Foo-Q4_K_M.gguf", "Foo-UD-Q4_K_XL.gguf", *PARTS, "mmproj-F16.gguf", "README.md")
API = "/api/models/org/m/revision/main"


def listing(*names: str) -> str:
    """What the hub's API says of a repository."""
    return json.dumps({"sha": COMMIT, "siblings": [{"rfilename": name} for name in names]})


@pytest.mark.parametrize(
    ("text", "file"),
    [
        ("org/m:q4_k_m", "Foo-Q4_K_M.gguf"),
        ("hf:org/m:UD-Q4_K_XL", "Foo-UD-Q4_K_XL.gguf"),
        ("hf:org/m:*Q4_K_M*", "Foo-Q4_K_M.gguf"),
        ("-hf org/m:BF16", "BF16/Foo-BF16-00001-of-00002.gguf"),
    ],
)
def test_quant_or_pattern_finds_the_file_of_a_repository(hub, text: str, file: str):
    """The hub tells which files there are; a model in parts is named by its first."""
    busy = dict.fromkeys(LISTED, -503)
    (found,) = offers_for(ModelSource.model_validate(text), hub=hub({API: listing(*LISTED), **busy}))
    assert (found.repo, found.file, found.revision) == ("org/m", file, "main")


@pytest.mark.parametrize(
    ("text", "names", "said"),
    [
        ("org/m:Q4", LISTED, r"^hf:org/m@main:Q4: no file of it is called so; did you mean Q4_K_M or UD-Q4_K_XL\?$"),
        ("org/m:Q9", LISTED, r"no file of it is called so; name one, like hf:org/m:BF16; it has BF16, Q4_K_M or UD-"),
        ("hf:org/m:*Q4*", LISTED, r"2 files of it could be meant; name one, like hf:org/m:Q4_K_M; it has Q4_K_M or UD"),
        ("hf:org/m", LISTED, r"3 files of it could be meant; name one, like hf:org/m:BF16; it has BF16, Q4_K_M or UD-"),
        (
            "org/m:Q4_K_M",
            [f"{n}.gguf" for n in range(3000)],
            r"it lists 3000 GGUF files; name one: hf:org/m:FILE\.gguf$",
        ),
        ("org/m:Q4_K_M", ("README.md",), r"it holds no GGUF file; name a repository that does$"),
    ],
)
def test_file_that_may_be_several_is_refused_with_the_choices(hub, text: str, names: tuple[str, ...], said: str):
    """None is chosen in silence."""
    with pytest.raises(WrongSpec, match=said):
        offers_for(ModelSource.model_validate(text), hub=hub({API: listing(*names)}))


@pytest.mark.parametrize("answer", ["{}", '{"siblings": 7}', '{"siblings": [7, {"rfilename": 7}, {}]}'])
def test_listing_that_is_none_is_one_line(hub, answer: str):
    """Whatever a hub answers."""
    with pytest.raises(WrongSpec, match=r"it holds no GGUF file"):
        offers_for(ModelSource.model_validate("org/m:Q4_K_M"), hub=hub({API: answer}))


def test_files_of_a_hub_out_of_reach_are_named_by_hand():
    """Without an answer no file is guessed."""
    with pytest.raises(UnreadableModel, match=r"cannot be asked from here; name one: hf:org/m:FILE\.gguf$"):
        offers_for(ModelSource.model_validate("org/m:Q4_K_M"), hub="http://127.0.0.1:9")
