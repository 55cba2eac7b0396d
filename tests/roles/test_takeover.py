"""A rig that 0.1.0 deployed: its records, units, stamps and its lock are understood; its services restart once."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
import yaml

from rigwright.lock.file import read_lock
from rigwright.records.values import is_ours
from rigwright.resolve.running import running_changes
from rigwright.roles.llamacpp.engine import ENGINE
from rigwright.roles.service.answer import proof_of
from rigwright.roles.service.context import RigContext, make_context
from rigwright.roles.service.preflight import preflight_errors
from rigwright.roles.weights.facts import verified_stamp

from .earlier import RECORDED, EarlierRig, write_model

DATA = yaml.safe_load((RECORDED / "rig.yml").read_text("utf-8"))
LOCK = RECORDED / "inv.lock.yml"
# The word of today for the same.
RENAMED = (("-", "--no-webui"), ("+", "--no-ui"))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of the recorded rig: the same one each time that it is written."""
    return write_model(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


@pytest.fixture
def earlier(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EarlierRig:
    """The rig, and the user's directory with the model and the key."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(RECORDED / "rig/etc/rigwright/open.key", "chat.key")
    Path("chat.key").chmod(0o600)
    shutil.copy(tiny, "tiny.gguf")
    return EarlierRig.laid_out(tmp_path, tiny)


def locked_context() -> RigContext:
    """The rig's part of the inventory, with its lock of version 1."""
    return make_context("rig1", DATA, lock=read_lock(LOCK).rigs["rig1"], lock_file=LOCK.name)


def test_lock_of_version_1_is_read_and_holds(earlier):
    """Nothing on the rig or in the inventory differs from it; a new plan would say the same in the words of now."""
    context = locked_context()
    resolved = context.resolved(earlier.read(context.probe))
    assert context.lock_refusal(resolved) == []
    said = [f"{mark} services.{name}.flags {flag}" for name in ("demo", "open") for mark, flag in RENAMED]
    assert resolved.is_locked and [str(one) for one in resolved.changes] == said


# Units of 0.1.0 gave up after five starts, and left files of llama.cpp's own a say.
_UPGRADED = "~ {} unit: its file differs"


def test_services_restart_once_for_the_unit_alone(earlier):
    """The release, the flags, the weights and the keys are the locked ones."""
    context = locked_context()
    rig = earlier.read(context.probe)
    assert [(one.name, one.pid, one.health) for one in rig.records.deployed] == [("demo", 63, 200), ("open", 64, 200)]
    changes = running_changes(context.resolved(rig), context.spec, rig.hardware, rig.records)
    assert [str(one) for one in changes] == [_UPGRADED.format(name) for name in ("demo", "open")]
    assert list(preflight_errors(rig, context, (ENGINE,))) == []


def test_raised_release_is_one_switch(earlier):
    """Without a lock: the release of this version, in its words, and the way back is the one that runs now."""
    context = make_context("rig1", DATA)
    rig = earlier.read(context.probe)
    changes = running_changes(context.resolved(rig), context.spec, rig.hardware, rig.records)
    made = context.resolved(rig).engines["llamacpp"].build(rig.hardware)
    assert made and made.id != "9153f7e1a39c"
    flags = [f"{mark} {{}} {flag}" for mark, flag in RENAMED]
    said = [*flags, f"~ {{}} release: 9153f7e1a39c -> {made.id}"]
    assert [str(one) for one in changes] == [line.format(name) for name in ("demo", "open") for line in said]
    assert list(preflight_errors(rig, context, (ENGINE,))) == []


@pytest.mark.runs("base/deployed.sh", "hardware/collect.sh", "weights/directory.sh")
def test_nothing_is_built_or_brought_again(each_sh, earlier):
    """The release, the checksum of the model and the key are there."""
    context = locked_context()
    rig = earlier.read(context.probe)
    resolved = context.resolved(rig)
    assert resolved.engines["llamacpp"].release(rig.hardware) in rig.records.installed.releases
    assert "--ctx-size" in next(iter(rig.records.installed.flags.values()))
    stamp, local = verified_stamp(rig, "/var/lib/rigwright/weights/tiny.gguf"), resolved.models["demo"]
    assert stamp and stamp.satisfies(local.sha256, local.origin)
    key = rig.records.of("open").key
    assert key and (key.sha256, key.mode) == (hashlib.sha256(context.keys["open"].encode()).hexdigest(), "600")


def test_records_say_what_was_planned(earlier):
    """Arguments, place and memory of the running services, from the record alone."""
    records = earlier.read(locked_context().probe).records
    record = records.of("open").record
    assert record and record.argv[:8] == (
        "--model", "/var/lib/rigwright/weights/tiny.gguf", "--alias", "the-model",
        "--host", "0.0.0.0", "--port", "8081",
    )  # fmt: skip
    assert (record.engine, record.port, record.has_key, record.gpus) == ("llamacpp", 8081, True, ())
    # The lock has memory_mib: RAM: 3978, rounded up.
    assert record.is_measured and -(-record.ram_bytes // 2**20) == 3978
    assert [one.name for one in records.absent(["open"])] == ["demo"]


def test_change_of_the_inventory_is_told_against_the_old_record(earlier):
    """The first change after the upgrade is one flag, not a new service."""
    services = [{**DATA["services"][0], "context": 1024}, DATA["services"][1]]
    context = make_context("rig1", {**DATA, "services": services})
    rig = earlier.read(context.probe)
    changes = running_changes(context.resolved(rig), context.spec, rig.hardware, rig.records)
    assert "~ demo --ctx-size: 2048 -> 1024" in map(str, changes)
    assert not [str(change) for change in changes if "--ctx-size" in change.where and "demo" not in change.where]


def test_earlier_release_can_come_back(earlier):
    """What 0.1.0 kept for a rollback: unit, release, and where the one before proves that it serves."""
    one = earlier.read(locked_context().probe).records.of("demo")
    assert one.previous == one.current == "/opt/rigwright/llamacpp/releases/9153f7e1a39c"
    assert one.saved_unit and is_ours(one.saved_unit) and "--ctx-size 4096" in one.saved_unit
    assert one.saved_record and ("--ctx-size", "4096") in one.saved_record.flags
    proof = proof_of(one.saved_record, one.service)
    assert (proof.url, proof.health) == ("http://127.0.0.1:8080", "http://127.0.0.1:8080/health")
    assert (proof.key, proof.answer.path) == ("", "/v1/chat/completions")
    assert proof_of(earlier.read(locked_context().probe).records.of("open").record, "open").key == (
        "/etc/rigwright/open.key"
    )
