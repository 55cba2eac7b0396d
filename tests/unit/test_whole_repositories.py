"""Whole repositories of safetensors: which of their files come to a rig, and what holds them to their content."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from rigwright.errors import UnreadableModel, WrongSpec
from rigwright.models.repository_files import is_wanted, wanted_files
from rigwright.plan.source import ModelSource
from rigwright.spec.weights import WeightsSettings
from rigwright.weights.local import LocalModel
from rigwright.weights.lookup import Lookup
from rigwright.weights.on_rig import FileState, keep_header
from rigwright.weights.variants import offers_for
from rigwright.weights.whole import inspect_named, locked_repository, repository_model

from ..tiny_repository import TinyHub, tiny_repository, wanted, write

COMMIT = "c0ffee" + "0" * 34
SHARD, INDEX = "model-00001-of-00002.safetensors", "model.safetensors.index.json"


class Served(TinyHub):
    """A hub that is served."""

    address = ""

    @property
    def settings(self) -> WeightsSettings:
        """Those that name it."""
        return WeightsSettings(hugging_face=self.address)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Served]:
    """A hub with org/tiny."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    tiny = Served(tiny_repository(), COMMIT)
    server = ThreadingHTTPServer(("127.0.0.1", 0), tiny.handler())
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    tiny.address = f"http://127.0.0.1:{server.server_port}"
    yield tiny
    server.shutdown()
    server.server_close()


def sums(local: LocalModel) -> dict[str, str | None]:
    return {file.source.file_name: file.sha256 for file in local.files}


@pytest.mark.parametrize(
    "name",
    [
        "../config.json", "/etc/config.json", "a/../config.json", "original/config.json", "config.json\n",
        "\nconfig.json",
        "-config.json", ".config.json", "tokenizer.json\x1b[2J", "model.safetensors/..", "..safetensors", "evil.py",
        "tokenizer.py", "pytorch_model.bin", "model.pt", "model.pth", "model.onnx", "model.gguf", "tokenizer.bin",
        "model.safetensors.part", "README.md", f"{'a' * 200}.safetensors", "tokenizer\u202e.json", "",
    ],
)  # fmt: skip
def test_no_other_file_comes_to_a_rig(name: str) -> None:
    """Whoever names it: hub, lock or directory."""
    assert not is_wanted(name)


@pytest.mark.parametrize(
    "name",
    [
        "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "tokenizer.model",
        "tokenizer.model.v3", "special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt",
        "chat_template.jinja", "chat_template.json", "preprocessor_config.json", "processor_config.json",
        "video_preprocessor_config.json", "hf_quant_config.json", "quantize_config.json", "qwen.tiktoken",
        "model.safetensors", "model-00001-of-000163.safetensors", "model.safetensors-00001-of-00014.safetensors",
        "model.safetensors.index.json", "tekken.json",
    ],
)  # fmt: skip
def test_what_an_engine_reads_comes(name: str) -> None:
    """Names of files of the hub's largest repositories."""
    assert is_wanted(name)


def test_index_says_which_weights_count() -> None:
    """A second copy beside them is left; without an index all but that copy is taken."""
    names = ["config.json", "a.safetensors", "b.safetensors", "consolidated.safetensors", "x.bin", "tokenizer.json"]
    small = ("config.json", "tokenizer.json")
    assert wanted_files(names, {"weight_map": {"w": "b.safetensors"}}, where="m") == (*small, "b.safetensors")
    assert wanted_files(names, None, where="m") == (*small, "a.safetensors", "b.safetensors")


@pytest.mark.parametrize(
    ("names", "index", "said"),
    [
        (["model.safetensors"], None, "m: has no config.json"),
        (["config.json", "pytorch_model.bin"], None, "m: its weights are pickles (.bin, .pt), which run code"),
        (["config.json", "x.gguf"], None, "m: holds GGUF files and no safetensors"),
        (["config.json"], None, "m: holds no safetensors"),
        (["config.json"], {"weight_map": {"w": "a.safetensors"}}, "m: a.safetensors of its model.safetensors.index.js"),
        (["config.json"], {"weight_map": {"w": "../a.safetensors"}}, "names '../a.safetensors', which is no file of w"),
        (["config.json"], {"weight_map": {"w": 7}}, "names no files"),
        (["config.json"], {}, "names no files"),
        (["config.json", *(f"{n}.safetensors" for n in range(2000))], None, "has 2000 files of weights, more"),
    ],
)  # fmt: skip
def test_repository_without_all_its_weights_is_one_line(names: list[str], index: dict[str, object], said: str) -> None:
    """Nothing of it is brought."""
    with pytest.raises(UnreadableModel) as error:
        wanted_files(names, index, where="m")
    assert said in error.value.message and error.value.message.isprintable()


def test_repository_of_a_hub_is_pinned_by_commit_and_sums(hub: Served) -> None:
    """The branch becomes a commit; large files have the hub's sha256, small ones that of what was read and checked."""
    files = hub.commits[COMMIT]
    local = Lookup().repository(ModelSource(repo="org/tiny"), hub.settings, kept=None)
    assert local is not None and local.name == "org/tiny"
    assert sums(local) == {name: hashlib.sha256(files[name]).hexdigest() for name in wanted(files)}
    assert {file.place.rpartition("/")[0] for file in local.files} == {f"org--tiny/{COMMIT}"}
    shards = [file for file in local.files if file.url]
    assert [file.source.file_name for file in shards] == sorted(
        n for n in files if n.endswith("s.safetensors") or "-of-" in n
    )
    assert all(f"/resolve/{COMMIT}/" in (file.url or "") and file.size_bytes for file in shards)
    for file in local.files:
        assert file.url or (file.path and file.path.read_bytes() == files[file.source.file_name])


def test_commit_that_is_known_is_not_asked_again(hub: Served) -> None:
    """A rig that has a commit of a branch keeps it, with the hub gone as well."""
    first = repository_model("org/tiny", COMMIT, hub.settings)
    hub.asked.clear()
    hub.commits.clear()
    again = Lookup().repository(ModelSource(repo="org/tiny"), hub.settings, kept=COMMIT)
    assert first is not None and again is not None and sums(first) == sums(again) and hub.asked == []


def test_small_file_that_is_not_the_listed_one_is_refused(hub: Served) -> None:
    """Git's own sum of it holds, whatever serves it."""
    hub.wrong["tokenizer.json"] = b'{"evil": 1}'
    with pytest.raises(UnreadableModel, match=r"tokenizer\.json is not the file that the hub lists"):
        repository_model("org/tiny", COMMIT, hub.settings)


def test_repository_of_pickles_is_refused_before_any_rig(hub: Served) -> None:
    """Also where the engine is left open."""
    files = hub.commits[COMMIT]
    hub.commits[COMMIT] = {name: data for name, data in files.items() if "safetensors" not in name}
    with pytest.raises(UnreadableModel, match="its weights are pickles"):
        offers_for(ModelSource(repo="org/tiny"), hub=hub.address)


def test_code_of_a_repository_is_said_and_stays(hub: Served) -> None:
    """`auto_map` names Python: it is not among the files, and the variant says so."""
    hub.commits[COMMIT] = tiny_repository(code=True)
    (variant,) = offers_for(ModelSource(repo="org/tiny"), hub=hub.address)
    assert "auto_map" in variant.notes
    local = repository_model("org/tiny", COMMIT, hub.settings)
    assert local is not None and not [name for name in sums(local) if name.endswith(".py")]


def test_lock_brings_back_the_same_files_and_no_others(hub: Served) -> None:
    """Name and sum decide, and no hub is asked; what is none of a model's files is refused."""
    local = repository_model("org/tiny", COMMIT, hub.settings)
    assert local is not None
    rows = [(file.source.file_name, file.sha256, file.size_bytes) for file in local.files]
    hub.asked.clear()
    again = locked_repository("org/tiny", COMMIT, rows, hub.settings)
    assert sums(again) == sums(local) and again.folder == local.folder and hub.asked == []
    for row in (("evil.py", "0" * 64, 1), ("config.json", None, 1)):
        with pytest.raises(UnreadableModel, match="which is none of its model's files"):
            locked_repository("org/tiny", COMMIT, [row], hub.settings)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of safetensors."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return write(tmp_path / "tiny-qwen3", tiny_repository())


def look(folder: Path) -> LocalModel:
    return inspect_named(ModelSource.model_validate(f"{folder}/"), WeightsSettings())


def test_directory_is_uploaded_by_its_content(folder: Path) -> None:
    """Another content is another directory on the rig, so that what runs keeps its own."""
    local = look(folder)
    assert set(sums(local)) == wanted(tiny_repository()) and local.name == "tiny-qwen3"
    assert local.folder.startswith("local--tiny-qwen3/") and all(file.path for file in local.files)
    assert local.model is not None and local.model.layers == 2
    (folder / "README.md").write_text("another")
    assert look(folder).folder == local.folder
    (folder / "generation_config.json").write_text("{ }")
    assert look(folder).folder != local.folder


def test_link_out_of_a_directory_is_refused(folder: Path, tmp_path: Path) -> None:
    """What is sent is readable for all on the rig: a model that was downloaded must not name a key of yours."""
    (tmp_path / "id_rsa").write_text("secret")
    (folder / "tokenizer_config.json").unlink()
    (folder / "tokenizer_config.json").symlink_to(tmp_path / "id_rsa")
    with pytest.raises(UnreadableModel, match=r"tokenizer_config\.json: is a link out of its directory"):
        look(folder)


def test_cache_of_the_hubs_own_client_is_a_directory_too(tmp_path: Path, folder: Path) -> None:
    """Its files are links to blobs beside it."""
    blobs, snapshot = tmp_path / "models--o--r" / "blobs", tmp_path / "models--o--r" / "snapshots" / COMMIT
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for name in wanted(tiny_repository()):
        (folder / name).replace(blobs / name)
        (snapshot / name).symlink_to(f"../../blobs/{name}")
    assert set(sums(look(snapshot))) == wanted(tiny_repository())


@pytest.mark.parametrize("data", [b"", b"GGUF", b"\xff" * 100, b"\x02" + bytes(7) + b"[]", b"\x02" + bytes(7) + b"{}x"])
def test_weights_that_are_cut_short_are_refused(folder: Path, data: bytes) -> None:
    """Before anything is sent."""
    (folder / SHARD).write_bytes(data)
    with pytest.raises(UnreadableModel, match="is no whole file of safetensors"):
        look(folder)


def test_missing_shard_is_named(folder: Path) -> None:
    """The index says what there should be."""
    (folder / SHARD).unlink()
    with pytest.raises(UnreadableModel, match=rf"{SHARD} of its {INDEX} is not there"):
        look(folder)


def test_directory_that_lies_on_a_rig_is_refused_in_one_line(folder: Path) -> None:
    """It has a size, and nothing of it can be read as a file."""
    with pytest.raises(UnreadableModel, match=r"^/srv/m of rig1: is no file .* a directory of safetensors comes"):
        keep_header("rig1", "/srv/m", FileState(4096, 1), lambda count: b"")


def test_sum_of_one_file_is_none_of_a_repository(folder: Path, hub: Served) -> None:
    """It is not passed over in silence."""
    with pytest.raises(UnreadableModel, match="is a directory, and sha256 is that of one file"):
        inspect_named(ModelSource(path=str(folder), sha256="0" * 64), WeightsSettings())
    with pytest.raises(WrongSpec, match="is a whole repository, and sha256 is that of one file"):
        offers_for(ModelSource(repo="org/tiny", sha256="0" * 64), hub=hub.address)


@pytest.mark.parametrize("text", ["[", "[]", json.dumps({"weight_map": 7})])
def test_index_that_is_none_is_one_line(folder: Path, text: str) -> None:
    """Whatever lies there."""
    (folder / INDEX).write_text(text)
    with pytest.raises(UnreadableModel) as error:
        look(folder)
    assert INDEX in error.value.message and "\n" not in error.value.message
