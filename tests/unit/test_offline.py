"""Model files in a directory of this machine: found before any hub is asked, and held against their sums."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from rigwright.errors import RigwrightError
from rigwright.lab.tiny_model import write_tiny_model
from rigwright.models import read_model
from rigwright.plan.source import ModelSource
from rigwright.spec.weights import WeightsSettings
from rigwright.weights.local import LocalModel, inspect_model, weights_path

COMMIT = "c0ffee" + "0" * 34
# A port that nothing listens on: who asks a hub learns nothing.
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing is known from before, and a question to a hub is a mistake."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def stick(tmp_path: Path) -> Path:
    """The directory."""
    path = tmp_path / "stick"
    path.mkdir()
    return path


@pytest.fixture
def tiny(tmp_path: Path) -> bytes:
    """A model."""
    return write_tiny_model(tmp_path / "tiny.gguf").read_bytes()


def put(path: Path, data: bytes) -> str:
    """A file; its sum."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def found(stick: Path, source: dict[str, Any]) -> LocalModel:
    settings = WeightsSettings(offline=str(stick), hugging_face=NOWHERE)
    return inspect_model(ModelSource(**source), settings)


REPO = {"repo": "org/m-GGUF", "file": "sub/m.gguf"}


@pytest.mark.parametrize("place", ["org/m-GGUF/sub/m.gguf", "org--m-GGUF/sub/m.gguf"])
def test_file_of_a_repository_is_found(stick, tiny, place):
    """By its repository or by the name that its folder has on rigs; on the rig it lies where a hub's would."""
    digest = put(stick / place, tiny)
    local = found(stick, REPO)
    assert (local.path, local.url, local.sha256, local.origin) == (stick / place, None, digest, "upload")
    assert (local.size_bytes, local.model) == (len(tiny), read_model(stick / place))
    assert weights_path(local.source, WeightsSettings()) == "/var/lib/rigwright/weights/org--m-GGUF/m.gguf"


@pytest.mark.parametrize("revision", ["main", COMMIT])
def test_cache_of_hf_download_is_understood(stick, tiny, revision):
    """`HF_HUB_CACHE` of a machine that had the hub, as it is: links to blobs, commits by their branches."""
    cache = stick / "models--org--m-GGUF"
    digest = put(cache / "blobs/abc", tiny)
    put(cache / "refs/main", COMMIT.encode())
    (cache / "snapshots" / COMMIT / "sub").mkdir(parents=True)
    (cache / "snapshots" / COMMIT / "sub/m.gguf").symlink_to("../../../blobs/abc")
    assert found(stick, REPO | {"revision": revision}).sha256 == digest
    assert found(stick, REPO | {"revision": "b" * 40}).path is None


@pytest.mark.parametrize("ending", ["", ".gguf"])
def test_file_is_found_by_its_sum(stick, tiny, ending):
    """Wherever it comes from."""
    digest = hashlib.sha256(tiny).hexdigest()
    put(stick / f"{digest}{ending}", tiny)
    for source in (REPO, {"url": f"{NOWHERE}/x.gguf"}):
        local = found(stick, source | {"sha256": digest})
        assert (local.path, local.url) == (stick / f"{digest}{ending}", None)
        assert local.source.file_name in ("m.gguf", "x.gguf")


def test_file_with_another_sum_is_refused(stick, tiny):
    """Its name says one thing, its content another; nothing is downloaded instead in silence."""
    put(stick / ("ab" * 32), tiny)
    with pytest.raises(RigwrightError, match=r"its sha256 is .*, the inventory says abab.*; fetch it again"):
        found(stick, REPO | {"sha256": "ab" * 32})
    (stick / ("ab" * 32)).unlink()
    put(stick / "org/m-GGUF/sub/m.gguf", tiny)
    with pytest.raises(RigwrightError, match="the inventory says abab"):
        found(stick, REPO | {"sha256": "ab" * 32})


def test_what_is_not_there_is_the_hubs(stick):
    """An address that the rig downloads."""
    assert found(stick, REPO).url == f"{NOWHERE}/org/m-GGUF/resolve/main/sub/m.gguf"


def test_directory_that_is_not_there_is_named(stick):
    """A stick that is not mounted is no reason to download."""
    with pytest.raises(RigwrightError, match=r"gone is no directory on this machine; correct rig\.weights\.offline"):
        found(stick / "gone", REPO)


def test_all_parts_come_from_there(stick, tmp_path):
    """Each part by its name, in one place."""
    whole = write_tiny_model(tmp_path / "w.gguf").read_bytes()
    for number in (1, 2):
        put(stick / f"org/m-GGUF/m-0000{number}-of-00002.gguf", whole)
    with pytest.raises(RigwrightError):  # they do not belong together, so both were read
        found(stick, {"repo": "org/m-GGUF", "file": "m-00001-of-00002.gguf"})
