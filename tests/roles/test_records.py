"""Records that are damaged, or of another version: no run ends, what is damaged is named, and what runs runs on."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from rigwright.lock.file import read_lock
from rigwright.plan.engines.llamacpp.planner import LlamacppPlanner
from rigwright.plan.engines.llamacpp.settings import LlamacppSettings
from rigwright.plan.engines.planner import Installed
from rigwright.records.reading import is_section, read_record, read_records
from rigwright.resolve.running import running_changes
from rigwright.roles.base.facts import Rig
from rigwright.roles.llamacpp.engine import ENGINE
from rigwright.roles.service.answer import proof_of
from rigwright.roles.service.context import RigContext, make_context
from rigwright.roles.service.preflight import preflight_errors
from rigwright.roles.weights.facts import verified_stamp

from .earlier import RECORDED, EarlierRig, write_model

RECORD = "/etc/rigwright/demo.json"
SAVED = "/var/lib/rigwright/services/demo/previous.json"
RELEASE = "/opt/rigwright/llamacpp/releases/9153f7e1a39c"
MANIFEST = f"{RELEASE}/release.json"
STAMP = "/var/lib/rigwright/weights/.tiny.gguf.rigwright"


def replaced(with_: bytes) -> Callable[[Path], None]:
    """Other content."""
    return lambda path: (path.write_bytes(with_), None)[1]


def cut(path: Path) -> None:
    """A disk that was full."""
    path.write_bytes(path.read_bytes()[:77])


def huge(path: Path) -> None:
    """No file of ours has as much."""
    path.write_bytes(b"[" * (8 << 20))


def directory(path: Path) -> None:
    """With something in it."""
    path.unlink()
    path.mkdir()
    (path / "x").touch()


def link_to(target: str) -> Callable[[Path], None]:
    """A symbolic link in its place."""

    def put(path: Path) -> None:
        path.unlink()
        path.symlink_to(target)

    return put


def pipe(path: Path) -> None:
    """Who reads it waits for ever."""
    path.unlink()
    os.mkfifo(path)


DAMAGE = {
    "cut": cut,
    "empty": replaced(b""),
    "binary": replaced(bytes(range(256)) * 9),
    "other types": replaced(b'{"engine": 7, "flags": {"a": 1}, "memory": [], "replicas": 5}'),
    "no object": replaced(b'["llamacpp", null]'),
    "missing keys": replaced(b'{"version": 1}'),
    "version 99": replaced(b'{"version": 99, "service": {"name": "demo", "runs": "llamacpp"}}'),
    "nested": replaced(b"[" * 100_000),
    "no text": replaced(rb'{"engine": "llamacpp", "flags": [{"name": "--\ud800", "value": "x"}]}'),
    "huge": huge,
    "directory": directory,
    "link elsewhere": link_to("/etc/passwd"),
    "link to nothing": link_to("/nowhere"),
    "link to itself": link_to("demo.json"),
    "pipe": pipe,
}

# What an upgrade costs: the unit of today never gives up, and records say more.
UPGRADED = ("its file differs", "is written anew; nothing restarts")

# Of files that are no JSON.
UNREADABLE = ("cut", "empty", "binary", "huge", "directory", "link elsewhere", "pipe")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of the recorded rig."""
    return write_model(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


@pytest.fixture
def earlier(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EarlierRig:
    """A rig that serves, and the user's directory with the model and the key."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(tiny, "tiny.gguf")
    shutil.copy(RECORDED / "rig/etc/rigwright/open.key", "chat.key")
    Path("chat.key").chmod(0o600)
    return EarlierRig.laid_out(tmp_path, tiny)


@pytest.fixture
def context(earlier: EarlierRig) -> RigContext:
    """The inventory that the rig was deployed by, held by its lock to the release of then."""
    lock, data = RECORDED / "inv.lock.yml", yaml.safe_load((RECORDED / "rig.yml").read_text("utf-8"))
    return make_context("rig1", data, lock=read_lock(lock).rigs["rig1"], lock_file=lock.name)


def changes(context: RigContext, rig: Rig) -> list[str]:
    """What a deploy would restart but for the upgrade, with all that it looks at before it does anything."""
    assert list(preflight_errors(rig, context, (ENGINE,))) == []
    found = running_changes(context.resolved(rig), context.spec, rig.hardware, rig.records)
    return [str(one) for one in found if one.note not in UPGRADED]


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_record_is_named_and_the_service_runs_on(earlier, context, kind):
    """It tells nothing, it is written anew, and the process is the planned one all the same."""
    DAMAGE[kind](earlier.path(RECORD))
    rig = earlier.read(context.probe)
    assert rig.records.damage == [f"{RECORD}: cannot be read; the next deploy writes it anew"]
    assert changes(context, rig) == []
    demo = rig.records.of("demo")
    assert demo.record is None and demo.way_back and demo.is_active
    assert proof_of(demo.record, "demo").url == ""


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_record_of_what_ran_before_is_named(earlier, context, kind):
    """No way back, and it is said; the way forward is open."""
    DAMAGE[kind](earlier.path(SAVED))
    rig = earlier.read(context.probe)
    assert rig.records.damage == [f"{SAVED}: cannot be read; there is no way back to what demo ran before"]
    assert changes(context, rig) == [] and rig.records.of("demo").way_back is None


@pytest.mark.parametrize("kind", [kind for kind in DAMAGE if kind not in ("link to nothing", "link to itself")])
def test_damaged_manifest_is_named_and_the_release_stays(earlier, context, kind):
    """What runs from it goes on; nothing is built."""
    DAMAGE[kind](earlier.path(MANIFEST))
    rig = earlier.read(context.probe)
    anew = f"to build it anew, delete {RELEASE} and deploy"
    assert rig.records.damage == [f"{MANIFEST}: cannot be read; {anew}"]
    assert rig.records.installed.releases == {RELEASE} and changes(context, rig) == []


def test_release_without_a_manifest_is_built_again(earlier, context):
    """A build that is not finished has none."""
    earlier.path(MANIFEST).unlink()
    rig = earlier.read(context.probe)
    assert rig.records.installed.releases == frozenset() and rig.records.damage == []


@pytest.mark.parametrize(
    "kind", ["cut", "empty", "binary", "missing keys", "huge", "directory", "link elsewhere", "pipe"]
)
def test_damaged_stamp_is_none(earlier, context, kind):
    """The file is hashed once more, and not sent again."""
    DAMAGE[kind](earlier.path(STAMP))
    rig = earlier.read(context.probe)
    assert verified_stamp(rig, STAMP.replace(".tiny", "tiny").removesuffix(".rigwright")) is None
    assert changes(context, rig) == []


def test_stamp_of_huge_numbers_is_none(earlier, context):
    """Python refuses to read a number of more than 4300 digits."""
    earlier.path(STAMP).write_text(f"{'a' * 64} {'9' * 5000} {'9' * 5000} upload\n")
    assert verified_stamp(earlier.read(context.probe), "/var/lib/rigwright/weights/tiny.gguf") is None


@pytest.mark.parametrize("kind", [kind for kind in UNREADABLE if kind != "cut"])
def test_damaged_list_of_flags_is_none(earlier, context, kind):
    """A build that tells nothing of its flags is planned as the pinned release."""
    DAMAGE[kind](earlier.path(f"{RELEASE}/flags.txt"))
    rig = earlier.read(context.probe)
    (text,) = rig.records.installed.flags.values()
    older = LlamacppPlanner(LlamacppSettings(ref="c" * 40), Installed(flags={"c" * 40: text}))
    assert "--model" in older.flags and changes(context, rig) == []


@pytest.mark.parametrize("content", [b"", b"abc\n", b"\0\xff" * 50, b"a" * (1 << 20), b"a" * 40 + b"b\n"])
def test_damaged_commit_of_a_tag_is_looked_up_again(earlier, context, content):
    """Nothing is built from half a commit."""
    refs = earlier.path("/var/lib/rigwright/refs")
    refs.mkdir()
    (refs / "0123456789abcdef").write_bytes(content)
    (refs / "fedcba9876543210").write_text(f"{'d' * 40}\n")
    assert earlier.read(context.probe).records.installed.commits == {"fedcba9876543210": "d" * 40}


def test_record_of_a_later_version_is_read_as_far_as_it_goes(earlier, context):
    """Keys that are not known are left out; what is needed is found."""
    path = earlier.path(RECORD)
    data = json.loads(path.read_text())
    path.write_text(json.dumps({"version": 99, **data, "new": {"x": [1]}, "tokens_per_second": "fast"}))
    rig = earlier.read(context.probe)
    assert rig.records.damage == [] and changes(context, rig) == []
    assert proof_of(rig.records.of("demo").record, "demo").health == "http://127.0.0.1:8080/health"


def test_one_damaged_rig_does_not_cost_the_others_their_answers(earlier, context):
    """All at once, everywhere: the rig is read, and both services run on."""
    for path in (RECORD, SAVED, MANIFEST, STAMP, "/etc/rigwright/open.json", f"{RELEASE}/flags.txt"):
        DAMAGE["binary"](earlier.path(path))
    rig = earlier.read(context.probe)
    assert len(rig.records.damage) == 4 and changes(context, rig) == []


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(("name", "value", "gpus", "port", "environment", "parts", "size_bytes", "device", "uuid")),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
_KEYS = ("engine", "engine_version", "model", "flags", "replicas", "replica", "memory", "health", "answer", "quant")


@settings(max_examples=200)
@given(st.dictionaries(st.sampled_from(_KEYS), _JSON), st.booleans())
def test_record_of_any_types_is_read_or_left(data, is_ours):
    """Whatever stands where: no exception, and nothing that could not be printed or sent."""
    record = read_record(json.dumps(data | ({"engine": "llamacpp"} if is_ours else {})))
    if record:
        assert str(record.argv).encode() and str(proof_of(record, "demo")).encode()
        assert record.health == "" or record.health.startswith("http")
        assert len(record.gpu_bytes) == len(record.gpus)


_LINES = st.text(max_size=30) | st.sampled_from(("record=e30=", "MainPID=x", "release=/r", "ref=|", "unit=|", "key=a"))


@settings(max_examples=100)
@given(st.dictionaries(st.sampled_from(("deployed demo", "deployed ", "installed")), st.lists(_LINES, max_size=5)))
def test_answer_of_any_lines_is_read(sections):
    """A rig that talks nonsense is a rig without records."""
    records = read_records({name: lines for name, lines in sections.items() if is_section(name)})
    assert all(one.pid >= 0 for one in records.services.values()) and isinstance(records.damage, list)
