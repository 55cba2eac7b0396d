"""The hub's protocol as Hugging Face speaks it: its own client, the controller and a rig are answered by one stand-in.

What the client of the hub does not understand would be no stand-in; what we take for a gated file, it does too.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from rigwright.errors import UnreadableModel
from rigwright.lab.tiny_model import write_tiny_model
from rigwright.models import read_model
from rigwright.plan.source import ModelSource
from rigwright.spec.weights import WeightsSettings
from rigwright.weights.hub import hub_facts
from rigwright.weights.local import inspect_model, with_sum

from .test_download_script import Rig, _rig

COMMIT = "c0ffee" + "0" * 34
TOKEN, STRANGER = "hf_mayReadItAll", "hf_mayReadNothing"
SIGNED = "X-Amz-Signature=s3cret"


@dataclass
class Hub:
    """Repositories by name: their files, and who must show a token."""

    address: str = ""
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    private: set[str] = field(default_factory=set)
    cuts: list[int] = field(default_factory=list)
    asked: list[tuple[str, str, str | None, str | None]] = field(default_factory=list)


def handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            url = urlsplit(self.path)
            given = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
            hub.asked.append((self.command, url.path, given, self.headers.get("Range")))
            if found := re.fullmatch(r"/blobs/([^/]+/[^/]+)/(.+)", url.path):
                # The content's own host: it knows signatures and no tokens.
                self._content(hub.files[found[1]][found[2]], {} if url.query == SIGNED else None)
            elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", url.path):
                if self._may(found[1], given, found[2] or "main"):
                    siblings = [{"rfilename": name} for name in hub.files[found[1]]]
                    about = {"id": found[1], "modelId": found[1], "sha": COMMIT, "siblings": siblings}
                    self._content(json.dumps(about | {"private": False}).encode(), {})
            elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", url.path):
                self._resolve(found[1], found[2], found[3], given)
            else:
                self._refuse(404, "", "no such page")

        def _may(self, repo: str, given: str | None, revision: str) -> bool:
            if repo not in hub.files or (repo in hub.private and given != TOKEN):
                # What is private is hidden as if it were not there.
                self._refuse(404 if given else 401, "RepoNotFound", "Repository not found")
            elif repo in hub.gated and given != TOKEN:
                where = f"Access to model {repo} is restricted"
                self._refuse(403 if given else 401, "GatedRepo", f"{where}. You must have access to it.")
            elif revision not in ("main", COMMIT):
                self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            else:
                return True
            return False

        def _resolve(self, repo: str, revision: str, name: str, given: str | None) -> None:
            if not self._may(repo, given, revision):
                return
            data = hub.files[repo].get(name)
            if data is None:
                self._refuse(404, "EntryNotFound", "Entry not found")
                return
            if not name.endswith(".gguf"):
                self._content(data, {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha1(data).hexdigest()}"'})
                return
            # A large file: git-lfs names it by its sha256, and another host serves it.
            self.send_response(302)
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("X-Linked-Size", str(len(data)))
            self.send_header("X-Linked-ETag", f'"{hashlib.sha256(data).hexdigest()}"')
            other = hub.address.replace("127.0.0.1", "localhost")
            self.send_header("Location", f"{other}/blobs/{repo}/{name}?{SIGNED}")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _content(self, data: bytes, headers: dict[str, str] | None) -> None:
            if headers is None:
                self._refuse(403, "", "the signature does not match")
                return
            first = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
            start, end = (int(first[1]), int(first[2] or len(data) - 1)) if first else (0, len(data) - 1)
            self.send_response(206 if first else 200)
            if first:
                self.send_header("Content-Range", f"bytes {start}-{end}/{len(data)}")
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(end + 1 - start))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                cut = hub.cuts.pop(0) if hub.cuts and len(data) > 100_000 else len(data)
                self.wfile.write(data[start : end + 1][:cut])
            self.close_connection = True

        def _refuse(self, status: int, code: str, text: str) -> None:
            self.send_response(status)
            if code:
                self.send_header("X-Error-Code", code)
            self.send_header("X-Error-Message", text)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_HEAD = _answer

        def log_message(self, *arguments: object) -> None:
            pass

    return Handler


@pytest.fixture
def data(tmp_path: Path) -> bytes:
    """A model."""
    return write_tiny_model(tmp_path / "tiny.gguf").read_bytes()


@pytest.fixture
def hub(data: bytes) -> Iterator[Hub]:
    """A hub with three repositories, one gated, one private."""
    files = {"m-Q4_K_M.gguf": data, "config.json": b'{"model_type": "qwen3"}'}
    found = Hub(files=dict.fromkeys(("org/open", "org/gated", "org/private"), files))
    found.gated.add("org/gated")
    found.private.add("org/private")
    server = ThreadingHTTPServer(("", 0), handler(found))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    found.address = f"http://127.0.0.1:{server.server_port}"
    yield found
    server.shutdown()
    server.server_close()


@pytest.fixture
def hf(hub: Hub, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The client of the hub, as its own program."""

    def run(*words: str, token: str | None = None) -> subprocess.CompletedProcess[str]:
        given = {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_TELEMETRY": "1"}
        kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
        given |= {"HF_TOKEN": token} if token else {}
        program = str(Path(sys.executable).with_name("hf"))
        return subprocess.run([program, *words], capture_output=True, text=True, env=kept | given, check=False)

    return run


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """A rig, whose script is run."""
    (tmp_path / "rig").mkdir()
    return _rig(tmp_path / "rig", tmp_path / "no-bundle")


@pytest.fixture(autouse=True)
def user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The controller's user knows nothing yet and has no token."""
    from huggingface_hub import constants

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))


def source(repo: str, **more: str) -> ModelSource:
    return ModelSource(repo=repo, file="m-Q4_K_M.gguf", **more)


def url(hub: Hub, repo: str, file: str = "m-Q4_K_M.gguf", revision: str = "main") -> str:
    return f"{hub.address}/{repo}/resolve/{revision}/{file}"


def test_all_three_get_the_same_file(hub, hf, rig, data, tmp_path):
    """hf, the controller that reads a header and a sum, and the rig."""
    done = hf("download", "org/open", "m-Q4_K_M.gguf", "--local-dir", str(tmp_path / "here"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "here/m-Q4_K_M.gguf").read_bytes() == data
    settings = WeightsSettings(hugging_face=hub.address)
    local = with_sum(inspect_model(source("org/open"), settings), settings)
    assert local.sha256 == hashlib.sha256(data).hexdigest()
    assert local.model == read_model(tmp_path / "here/m-Q4_K_M.gguf")
    facts = hub_facts(url(hub, "org/open"), hub=hub.address)
    assert (facts.commit, facts.size_bytes) == (COMMIT, len(data))
    assert rig.download(url(hub, "org/open"), sha256=local.sha256 or "") == 0, rig.said
    assert rig.file.read_bytes() == data
    assert SIGNED not in rig.said + rig.argv


def test_all_three_go_on_where_it_was_cut(hub, hf, rig, data, tmp_path):
    """Nobody begins anew."""
    hub.cuts = [100_000]
    done = hf("download", "org/open", "m-Q4_K_M.gguf", "--local-dir", str(tmp_path / "here"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "here/m-Q4_K_M.gguf").read_bytes() == data
    hub.asked.clear()
    hub.cuts = [100_000]
    assert rig.download(url(hub, "org/open")) == 0, rig.said
    assert rig.file.read_bytes() == data
    assert [wanted for method, path, _, wanted in hub.asked if method == "GET" and "/blobs/" in path] == [
        None,
        "bytes=100000-",
    ]


@pytest.mark.parametrize(
    ("repo", "token", "theirs", "ours"),
    [
        (
            "org/gated",
            None,
            "gated",
            r"org/gated is gated, and there is no token here; accept its terms, then set HF_TOKEN",
        ),
        (
            "org/gated",
            STRANGER,
            "gated",
            r"org/gated is gated, and your token may not read it; accept its terms with the",
        ),
        ("org/private", None, "not found", r"the hub knows no repository org/private, or it is private; .*HF_TOKEN"),
        ("org/private", STRANGER, "not found", r"knows no repository org/private, or your token may not see it"),
        ("org/none", None, "not found", r"the hub knows no repository org/none, or it is private"),
    ],
)
def test_who_may_not_have_it_is_told_what_to_do(hub, hf, monkeypatch, tmp_path, repo, token, theirs, ours):
    """The client understands the same refusal of the same answer; no part of it stays."""
    done = hf("download", repo, "m-Q4_K_M.gguf", "--local-dir", str(tmp_path / "here"), token=token)
    assert done.returncode != 0
    assert theirs in (done.stdout + done.stderr).lower() or "restricted" in (done.stdout + done.stderr).lower()
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    settings = WeightsSettings(hugging_face=hub.address)
    with pytest.raises(UnreadableModel) as caught:
        inspect_model(source(repo), settings)
    assert re.search(ours, caught.value.message), caught.value.message
    assert STRANGER not in caught.value.message and "\n" not in caught.value.message


@pytest.mark.parametrize("repo", ["org/gated", "org/private"])
def test_who_may_have_it_gets_it(hub, hf, rig, data, monkeypatch, tmp_path, repo):
    """With a token, which the host that serves the bytes never sees."""
    done = hf("download", repo, "m-Q4_K_M.gguf", "--local-dir", str(tmp_path / "here"), token=TOKEN)
    assert done.returncode == 0, done.stderr
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    settings = WeightsSettings(hugging_face=hub.address)
    assert with_sum(inspect_model(source(repo), settings), settings).sha256 == hashlib.sha256(data).hexdigest()
    assert rig.download(url(hub, repo), token=TOKEN) == 0, rig.said
    assert rig.file.read_bytes() == data
    assert {given for _, path, given, _ in hub.asked if path.startswith("/blobs/")} == {None}
    assert TOKEN not in rig.said + rig.argv


@pytest.mark.parametrize(
    ("file", "revision", "says"),
    [
        ("none.gguf", "main", "there is no such file (404); check the repository"),
        ("m-Q4_K_M.gguf", "v9", "org/open has no revision v9; name a branch, a tag or a commit that it has"),
    ],
)
def test_what_is_not_there_is_named(hub, hf, tmp_path, file, revision, says):
    """A file, a revision."""
    done = hf("download", "org/open", file, "--revision", revision, "--local-dir", str(tmp_path / "here"))
    assert done.returncode != 0
    with pytest.raises(UnreadableModel) as caught:
        inspect_model(
            ModelSource(repo="org/open", file=file, revision=revision), WeightsSettings(hugging_face=hub.address)
        )
    assert caught.value.message.endswith(says)


def test_cache_of_hf_download_is_an_offline_directory(hub, hf, data, tmp_path):
    """What its client has fetched on a machine with a connection is found on one without."""
    assert hf("download", "org/open", "m-Q4_K_M.gguf").returncode == 0
    settings = WeightsSettings(offline=str(tmp_path / "hf/hub"), hugging_face="http://127.0.0.1:9")
    local = inspect_model(source("org/open"), settings)
    assert (local.url, local.sha256) == (None, hashlib.sha256(data).hexdigest())
