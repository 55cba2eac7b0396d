"""The scripts that bring Ollama and make its models, in each shell of a rig; the server is a stand-in with its API."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import tarfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rigwright.plan.engines.ollama.release import Archive
from rigwright.plan.engines.ollama.request import request_of, tag_of
from rigwright.resources import assignments, role_text, script
from rigwright.roles.ollama.operations import _download

from ..ollama_release import NAME, PROGRAM, write_release
from .room import Room
from .test_download_script import Answer, any_rig, certificate, serve  # noqa: F401  # fixtures

WORK, RELEASE = "/var/lib/rigwright/ollama/0.34.1-ab", "/opt/rigwright/ollama/releases/0.34.1-ab"
GGUF = b"GGUF" + b"weights" * 99
SUM = hashlib.sha256(GGUF).hexdigest()
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="scripts work as root, in mounts of their own: needs root")


@pytest.fixture
def room(each_sh: str, open_path: Path) -> Room:
    """A rig whose `sh` is each of the shells."""
    return Room.made(open_path / "room")


def unpack(room: Room, digest: str, *, version: str = "0.34.1", code: int = 0) -> str:
    """What unpack.sh says."""
    given = {
        "ID": "0.34.1-ab",
        "RELEASE": RELEASE,
        "WORK": WORK,
        "ARCHIVE": "",
        "ARCHIVES": f"{digest} {NAME}",
        "VERSION": version,
        "BUILDER": "www-data",
        "MANIFEST": '{\n "id": "0.34.1-ab",\n "identity": "ab",\n "version": "0.34.1"\n}',
        "RIGWRIGHT": "1",
    }
    texts = [role_text("base", "prelude.sh"), *assignments(given), role_text("llamacpp", "settle.sh")]
    return room.run("\n".join([*texts, role_text("ollama", "unpack.sh")]), code=code)


def arrived(room: Room, **options: Any) -> str:
    """An archive that lies where archives arrive; its sum."""
    path = room.put(f"{WORK}/{NAME}")
    return write_release(path, "0.34.1", **options)


@as_root
@pytest.mark.runs("ollama/place.sh", "ollama/room.sh", "ollama/unpack.sh")
def test_release_is_installed_once(room: Room) -> None:
    """Program and libraries are root's, with their sums; the archive goes, and what a cut installation left."""
    room.put("/var/lib/rigwright/ollama/old/part")
    os.utime(room.path("/var/lib/rigwright/ollama/old/part"), (1, 1))
    os.utime(room.path("/var/lib/rigwright/ollama/old"), (1, 1))
    room.run(script("ollama", "place.sh", PROGRAM="/opt/rigwright/ollama/model.sh", TEXT="echo '$1'\n"))
    assert room.path("/opt/rigwright/ollama/model.sh").read_text() == "echo '$1'\n"
    assert "old goes" in room.run(script("ollama", "room.sh", WORK=WORK))
    digest = arrived(room)
    assert "Ollama 0.34.1 installed" in unpack(room, digest)
    release = room.path(RELEASE)
    assert (release / "bin/ollama").stat().st_uid == 0 and os.access(release / "bin/ollama", os.X_OK)
    assert (release / "lib/ollama/libggml-base.so").readlink() == Path("libggml-base.so.0.27.0")
    assert json.loads((release / "release.json").read_text())["version"] == "0.34.1"
    assert "./lib/ollama/llama-server" in (release / "sums.txt").read_text()
    assert not room.path(WORK).exists() and unpack(room, digest) == ""


def member(name: str, kind: bytes = tarfile.REGTYPE, leads_to: str = "") -> tarfile.TarInfo:
    """A member of an archive."""
    one = tarfile.TarInfo(name)
    one.type, one.linkname, one.mode = kind, leads_to, 0o755
    return one


HOSTILE = {
    "above": ([member("lib/../../x")], "lies outside of it"),
    "absolute": ([member("/etc/cron.d/x")], "lies outside of it"),
    "two lines": ([member("lib/a\nb")], "lies outside of it"),
    "device": ([member("lib/null", tarfile.CHRTYPE)], "is neither a file nor a link within it"),
    "hard link": ([member("lib/x", tarfile.LNKTYPE, "bin/ollama")], "is neither a file nor a link within it"),
    "absolute link": ([member("lib/x", tarfile.SYMTYPE, "/etc")], "is a link out of it"),
    "link above": ([member("lib/x", tarfile.SYMTYPE, "../../../../etc")], "is no file of this release"),
    "many": ([member(f"lib/{number}") for number in range(20_001)], "it has more than a release may have"),
}


@as_root
@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.runs("ollama/unpack.sh")
def test_hostile_archive_is_not_installed(room: Room, case: str) -> None:
    """Nothing of it stays, inside or outside."""
    members, why = HOSTILE[case]
    said = unpack(room, arrived(room, more=members), code=1)
    assert why in said and "it was not installed; name another archive" in said, said
    assert not room.path(RELEASE).exists() and list(room.path("/opt/rigwright/ollama/releases").glob(".*")) == []


@as_root
@pytest.mark.runs("ollama/unpack.sh")
def test_other_archive_is_not_installed(room: Room) -> None:
    """Another sum, another version, no program in it."""
    arrived(room)
    assert "was thrown away" in unpack(room, "a" * 64, code=1)
    assert not room.path(f"{WORK}/{NAME}").exists()
    digest = arrived(room)
    assert "does not say 0.34.2 but: Warning: client version is 0.34.1" in unpack(
        room, digest, version="0.34.2", code=1
    )
    path = room.path(f"{WORK}/{NAME}")
    path.write_bytes(subprocess.run(["zstd", "-qc"], input=b"no tar", capture_output=True, check=True).stdout)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert "there is no bin/ollama in it" in unpack(room, digest, code=1)


def test_archive_is_held_to_its_sum(any_rig, serve) -> None:  # noqa: F811
    """What arrives need be no model file; another file by that name goes."""
    body = b"an archive" * 999
    host = serve({"/a": Answer(body)})

    def download(digest: str) -> int:
        text = "\n".join(_download(Archive("a", digest, f"{host.address}/a"), str(any_rig.file)))
        text = text.replace("/run/", f"{any_rig.home}/run/").replace("RESERVE=268435456", "RESERVE=0")
        env = {"PATH": f"{any_rig.home}/bin:{os.environ['PATH']}", "UNITS": f"{any_rig.home}/units"}
        done = subprocess.run(
            ["sh", "-c", text], input=f"{host.address}/a\n\n", capture_output=True, text=True, env=env, timeout=60
        )
        any_rig.said = done.stdout + done.stderr
        return done.returncode

    assert download("b" * 64) == 1 and "expected bbbb" in any_rig.said and not any_rig.file.exists()
    assert download(hashlib.sha256(body).hexdigest()) == 0, any_rig.said
    assert any_rig.file.read_bytes() == body and not (any_rig.home / "brought").exists()


@dataclass
class Store:
    """A service's store and its unit, with a server of its own while it is asked for."""

    home: Path
    port: int
    said: str = ""

    @property
    def environment(self) -> dict[str, str]:
        """What the unit sets."""
        own = {"HOME": str(self.home), "OLLAMA_MODELS": str(self.home / "models"), "OLLAMA_KEEP_ALIVE": "-1"}
        return os.environ | own | {"OLLAMA_HOST": f"127.0.0.1:{self.port}", "OLLAMA_CONTEXT_LENGTH": "2048"}

    @contextmanager
    def serving(self, broken: str = "") -> Iterator[None]:
        """Its server."""
        program = self.home / "ollama"
        program.write_text(PROGRAM.read_text().replace("@VERSION", "0.34.1").replace("@BROKEN", broken))
        program.chmod(0o755)
        process = subprocess.Popen([program, "serve"], env=self.environment)
        try:
            for _ in range(200):
                with socket.socket() as probe:
                    if not probe.connect_ex(("127.0.0.1", self.port)):
                        break
                time.sleep(0.05)
            yield
        finally:
            process.kill()
            process.wait()

    def ask(self, path: str, body: object = None, method: str | None = None) -> Any:
        """What its server answers."""
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read() or b"null")

    @property
    def names(self) -> list[str]:
        """Its models."""
        return [one["name"] for one in self.ask("/api/tags")["models"]]

    def run(self, modelfile: str, verb: str = "load", model: str = "chat") -> int:
        """Run model.sh; its exit code."""
        request = self.home / "request.json"
        request.write_text(request_of(modelfile))
        (self.home / "unit.service").write_text(f"[Service]\n# weights {SUM} {self.home}/m x.gguf\n")
        text = role_text("ollama", "model.sh").replace("/etc/systemd/system/", f"{self.home}/")
        words = ["unit"] if verb == "load" else [SUM, f"{self.home}/m x.gguf"]
        done = subprocess.run(
            ["sh", "-c", text, "model.sh", verb, model, str(request), *words],
            env=self.environment | {"RELEASE": str(self.home / "release")}, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        self.said = done.stdout + done.stderr
        return done.returncode


@pytest.fixture
def store(tmp_path: Path, each_sh: str) -> Store:
    """A store with nothing in it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "m x.gguf").write_bytes(GGUF)
    return Store(tmp_path, port)


def modelfile(temperature: float) -> str:
    return f'FROM "/w/m x.gguf"\nRENDERER qwen3.5\nPARAMETER num_ctx 2048\nPARAMETER temperature {temperature}\n'


@pytest.mark.runs("ollama/model.sh")
def test_model_is_made_once_and_loaded(store: Store) -> None:
    """Of the weights, by the API; a second start makes nothing; one that somebody lost is made again."""
    tag = tag_of(modelfile(1), [SUM])
    with store.serving():
        assert store.run(modelfile(1)) == 0, store.said
        assert "chat: Ollama makes the model" in store.said
        assert store.names == ["chat:latest", f"rigwright/chat:{tag}"]
        [loaded] = store.ask("/api/ps")["models"]
        assert loaded["context_length"] == 2048 and loaded["expires_at"].startswith("23")
        assert "temperature" in store.ask("/api/show", {"model": "chat"})["parameters"]
        noted, digest, name = (store.home / "rigwright").read_text().split()
        assert (noted, name, digest) == (tag, "chat", loaded["digest"])
        assert SUM not in "".join(path.name for path in (store.home / "models/manifests").rglob("*"))
    with store.serving():
        assert store.run(modelfile(1)) == 0 and store.said == "" and len(store.ask("/api/ps")["models"]) == 1
        for one in store.names:
            store.ask("/api/delete", {"model": one}, "DELETE")
        assert store.run(modelfile(1)) == 0 and "Ollama makes the model" in store.said
        assert store.names == ["chat:latest", f"rigwright/chat:{tag}"]


@pytest.mark.runs("ollama/model.sh")
def test_models_that_served_go_and_those_of_others_stay(store: Store) -> None:
    """The one before stays for the way back, which makes nothing; nobody else's model loses its name."""
    with store.serving():
        for temperature in (1, 2):
            assert store.run(modelfile(temperature)) == 0, store.said
        store.ask("/api/copy", {"source": "chat", "destination": "mine"})
        assert store.run(modelfile(3)) == 0 and f"chat:{tag_of(modelfile(1), [SUM])} goes" in store.said
        tags = sorted(tag_of(modelfile(temperature), [SUM]) for temperature in (2, 3))
        assert store.names == ["chat:latest", "mine:latest", *(f"rigwright/chat:{tag}" for tag in tags)]
        assert store.run(modelfile(2)) == 0 and store.said == ""
        other = {"model": "theirs", "files": {"1.gguf": f"sha256:{SUM}"}, "parameters": {"top_k": 1}}
        urllib.request.urlopen(
            urllib.request.Request(f"http://127.0.0.1:{store.port}/api/blobs/sha256:{SUM}", GGUF), timeout=10
        ).close()
        data = json.dumps(other).encode()
        urllib.request.urlopen(f"http://127.0.0.1:{store.port}/api/create", data, timeout=10).close()
        assert store.run(modelfile(2), model="theirs") == 1
        assert "error: theirs: somebody else's model of this name is in" in store.said


@pytest.mark.runs("ollama/model.sh")
def test_what_fails_is_told(store: Store) -> None:
    """A parameter that Ollama does not know, a file that is none, a load that times out: in its own words."""
    with store.serving():
        (store.home / "m x.gguf").write_bytes(b"other")
        assert store.run(modelfile(1)) == 1
        assert "error: chat: Ollama did not take m x.gguf: digest mismatch" in store.said
        (store.home / "m x.gguf").write_bytes(GGUF)
        assert store.run(modelfile(1) + "PARAMETER flash_attn true\n") == 1
        assert "error: chat: Ollama did not make the model: unknown parameter 'flash_attn'" in store.said
    with store.serving("load"):
        assert store.run(modelfile(1)) == 1
        assert "Ollama could not load it: timed out waiting for llama runner to start" in store.said


@pytest.mark.runs("ollama/model.sh")
def test_store_is_left_without_what_we_made(store: Store) -> None:
    """Where nothing of others is in it; else with their models, whole."""
    with store.serving():
        assert store.run(modelfile(1)) == 0
    assert store.run(modelfile(1), verb="leave") == 0
    assert [path for path in (store.home / "models/manifests").rglob("*") if path.is_file()] == []
    with store.serving():
        assert store.run(modelfile(1)) == 0
        store.ask("/api/copy", {"source": "chat", "destination": "mine"})
    assert store.run(modelfile(1), verb="leave") == 1
    with store.serving():
        assert store.names == ["mine:latest"] and store.ask("/api/show", {"model": "mine"})


@as_root
@pytest.mark.runs("ollama/prepare.sh")
def test_model_is_made_before_the_switch(room: Room) -> None:
    """By a server of the new release in the service's own account, which ends; a second time it is not even started."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    release = room.put(f"{RELEASE}/bin/ollama", PROGRAM.read_text().replace("@VERSION", "1").replace("@BROKEN", ""))
    release.chmod(0o755)
    room.put("/opt/rigwright/ollama/model.sh", role_text("ollama", "model.sh"))
    room.put("/opt/rigwright/ollama/requests/.keep")
    room.put("/var/lib/w/m x.gguf").write_bytes(GGUF)
    home = room.put("/var/lib/rigwright-chat/.keep").parent
    given = {
        "NAME": "chat",
        "RELEASE": RELEASE,
        "SANDBOX": "-p User=rigwright-chat",
        "UNIT_TEXT": f"[Service]\n# weights {SUM} /var/lib/w/m x.gguf\nRestart=always\n",
        "MODEL": "chat",
        "REQUEST": "/opt/rigwright/ollama/requests/1.json",
        "REQUEST_TEXT": request_of(modelfile(1)),
    }
    text = script("ollama", "prepare.sh", **given).replace("127.0.0.1:11434", f"127.0.0.1:{port}")
    began = room.run(text)
    assert "::progress chat: Ollama makes the model" in began
    tag = tag_of(modelfile(1), [SUM])
    assert (home / f"models/manifests/registry.ollama.ai/rigwright/chat/{tag}").exists()
    assert room.path("/opt/rigwright/ollama/requests/1.json").read_text() == request_of(modelfile(1))
    assert room.run(text) == ""
    for _ in range(50):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                break
        time.sleep(0.1)
    else:
        pytest.fail("the server goes on")
    broken = text.replace("/var/lib/w/m x.gguf", "/var/lib/w/none.gguf").replace(SUM, "b" * 64)
    said = room.run(broken, code=1)
    assert "cannot be read" in said and "::error chat: its model was not made, what runs goes on running" in said
