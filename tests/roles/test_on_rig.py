"""A model file that lies on a rig: its header is read over the connection, once, and the plan is made from it."""

from __future__ import annotations

import base64
import gzip
import shlex
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rigwright.errors import RigwrightError, WrongSpec
from rigwright.models import read_model
from rigwright.plan.source import ModelSource
from rigwright.roles.base import headers
from rigwright.roles.base.headers import FileBytes, FileStates, read_headers
from rigwright.roles.base.probe import Probe
from rigwright.roles.hardware.deploy import paths_on_rig
from rigwright.roles.weights import operations
from rigwright.roles.weights.chain import Link
from rigwright.spec.rig import parse_spec
from rigwright.spec.weights import WeightsSettings
from rigwright.weights.local import inspect_model
from rigwright.weights.on_rig import FileState, model_on_rig, unread


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing is known from before."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(headers, "seen_environment", lambda host: {})


class Rig:
    """A rig that answers questions as this machine's sh does."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def get_fact(self, kind: Any, **given: Any) -> Any:
        fact = kind()
        arguments = {key: value for key, value in given.items() if not key.startswith("_")}
        self.asked.append(kind.__name__)
        done = subprocess.run(["sh", "-c", fact.command(**arguments)], capture_output=True, text=True, check=False)
        return fact.process(done.stdout.splitlines())

    def log(self, line: str) -> None:
        pass


def state_of(path: Path) -> FileState:
    status = path.stat()
    return FileState(status.st_size, int(status.st_mtime))


def test_header_is_read_once_and_the_plan_stands_on_it(model):
    """What is known is asked for again when the file is another one by now; each rig has its own."""
    rig, path = Rig(), str(model)
    assert model_on_rig("rig1", path) is None
    read_headers(rig, "rig1", (path,))
    assert model_on_rig("rig1", path) == read_model(model)
    assert rig.asked[0] == "FileStates" and set(rig.asked[1:]) == {"FileBytes"}
    rig.asked.clear()
    read_headers(rig, "rig1", (path,), known={path: state_of(model)})
    assert rig.asked == []
    assert unread("rig1", {path: FileState(1, 1)}) == [path]
    assert model_on_rig("rig2", path) is None
    source = ModelSource(path_on_rig=path)
    found = inspect_model(source.on("rig1"), WeightsSettings())
    assert (found.model, found.url, found.size_bytes) == (read_model(model), None, None)
    assert inspect_model(source.on("rig2"), WeightsSettings()).model is None


def test_file_that_is_no_model_is_named(tmp_path):
    """With the rig that it is on, and nothing of it is kept."""
    wrong = tmp_path / "x.gguf"
    wrong.write_bytes(b"<html>")
    with pytest.raises(RigwrightError, match=r"x\.gguf of rig1: .*"):
        read_headers(Rig(), "rig1", (str(wrong),))
    assert model_on_rig("rig1", str(wrong)) is None


def test_name_of_a_file_is_no_command(tmp_path):
    """Quotes, dollars, blanks and dashes arrive as they are."""
    path = tmp_path / "-a b$(touch owned)'`x`.gguf"
    path.write_bytes(b"GGUF1234")
    assert Rig().get_fact(FileStates, paths=(str(path),)) == {str(path): state_of(path)}
    assert Rig().get_fact(FileBytes, path=str(path), start=2, count=4) == b"UF12"
    assert not Path("owned").exists()


@pytest.mark.parametrize("sent", ["", "!", "QUJD", base64.b64encode(gzip.compress(b"x" * 10**7)).decode()])
def test_rig_sends_no_more_than_was_asked_for(sent):
    """What is no answer is none; what unpacks to more is cut."""
    fact = FileBytes()
    fact.command("/x", 0, 100)
    assert fact.process([sent]) == (b"x" * 100 if len(sent) > 10 else b"")


def data(path: str, **model: Any) -> dict[str, Any]:
    return {"services": [{"name": "a", "model": {"path_on_rig": path, **model}, "port": 8080}]}


def test_path_belongs_to_the_rig_of_the_inventory():
    """Two rigs may have different files under one path; all parts are looked at."""
    first = parse_spec("rig1", data("/srv/m.gguf")).services[0].model
    second = parse_spec("rig2", data("/srv/m.gguf")).services[0].model
    assert first != second and str(first) == "/srv/m.gguf of rig1"
    assert paths_on_rig("r", data("/srv/m-00001-of-00002.gguf")) == (
        "/srv/m-00001-of-00002.gguf",
        "/srv/m-00002-of-00002.gguf",
    )
    assert paths_on_rig("r", {"services": []}) == ()


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("models/x.gguf", "path_on_rig"),
        ("/srv/../etc/x.gguf", "is written in a roundabout way; write /etc/x.gguf"),
        ("/root/x.gguf", "services do not see what lies in /root; move /root/x.gguf to a directory like /srv/models"),
        ("/tmp/x.gguf", "services do not see what lies in /tmp"),
        ('/home/a"b/x.gguf', "with a quote in its path; rename it"),
        ("/srv/x.gguf\nExecStart=/bin/sh", "path_on_rig"),
        ("/srv/mmproj-x.gguf", "is a projector"),
    ],
)
def test_path_that_no_service_could_read_is_refused(path, says):
    """Before any rig is asked."""
    with pytest.raises(WrongSpec) as caught:
        parse_spec("rig1", data(path))
    assert says in caught.value.message


SUM, OTHER, PATH = "ab" * 32, "cd" * 32, "/srv/models/m.gguf"


@pytest.mark.parametrize(
    ("stamp", "wanted", "expected"),
    [
        (None, None, "refuse /srv/models/m.gguf is not on the rig; check path_on_rig, or mount its disk"),
        ("", None, "Script"),
        ("", SUM, "Script"),
        (f"{SUM} 100 7 found", None, ""),
        (f"{SUM} 100 7 0123456789abcdef", SUM, ""),
        (f"{SUM} 99 7 found", None, "Script"),
        (f"{OTHER} 100 7 found", SUM, f"refuse {PATH} has sha256 {OTHER}, expected {SUM}; "),
    ],
)
def test_file_is_looked_at_and_never_brought(blank, monkeypatch, stamp, wanted, expected):
    """What was checked is not hashed again; nothing is downloaded, uploaded or moved."""
    from dataclasses import replace

    from rigwright.roles.base.facts import RemoteFile

    files = {} if stamp is None else {PATH: RemoteFile("file", size_bytes=100, modified=7)}
    if stamp:
        files["/srv/models/.m.gguf.rigwright"] = RemoteFile("file", stamp)
    state = replace(blank(), files=files)

    def current_rig(probe: Probe) -> Any:
        yield from ()
        return state

    def refuse(reason: str) -> Any:
        yield SimpleNamespace(text=f"refuse {reason}")

    monkeypatch.setattr(operations, "current_rig", current_rig)
    monkeypatch.setattr(operations, "refuse", refuse)
    monkeypatch.setattr(operations, "link", lambda host, file: Link())
    source = ModelSource(path_on_rig=PATH, sha256=wanted)
    local = inspect_model(source.on("rig1"), WeightsSettings())
    done = list(operations.weights._inner(files=((PATH, local),), settings=WeightsSettings(), probe=Probe()))
    if expected == "Script":
        (script,) = done
        assert f"DEST={shlex.quote(PATH)}\n" in script.text
        assert "found on the rig" in script.text and "curl" not in script.text
    else:
        assert [one.text for one in done if not one.text.startswith(expected)] == [] and bool(done) == bool(expected)
