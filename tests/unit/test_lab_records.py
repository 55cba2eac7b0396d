"""What the lab reads and writes on disk: records of other versions, and files in a rig that is off."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rigwright.errors import RigwrightError
from rigwright.lab.layout import LabPaths
from rigwright.lab.mounts import within
from rigwright.lab.process import Process
from rigwright.lab.snapshots import find_snapshot, forget_snapshot
from rigwright.lab.state import Record, load_process, load_rig, load_rigs, load_subnet, publish
from rigwright.lab.wish import Settled

# As version 0.1.0 wrote it.
WRITTEN: dict[str, Any] = {
    "name": "rig1",
    "settled": {
        "os": "bookworm", "hardware": None, "from_snapshot": None, "ssh_user": "ada", "sudo": True, "disk_bytes": 2**30,
    },
    "image": "bookworm-6631a178771b",
    "number": 3,
    "host_key": "ssh-ed25519 AAAA",
    "process": {"pid": 1, "started": 5},
    "killed_units": ["a.service"],
}  # fmt: skip


@pytest.fixture
def paths(tmp_path: Path) -> LabPaths:
    """A lab with one rig, and a snapshot."""
    paths = LabPaths(tmp_path, "old")
    paths.rig("rig1").home.mkdir(parents=True)
    (paths.snapshots / "kept").mkdir(parents=True)
    write(paths, WRITTEN)
    return paths


def write(paths: LabPaths, data: object) -> None:
    paths.rig("rig1").record.write_text(data if isinstance(data, str) else json.dumps(data))


def test_record_of_0_1_0_is_read_whole(paths: LabPaths) -> None:
    """Every field arrives."""
    settled = Settled("bookworm", None, None, "ada", sudo=True, disk_bytes=2**30)
    wanted = Record("rig1", settled, WRITTEN["image"], 3, WRITTEN["host_key"], Process(1, 5), ["a.service"])
    assert load_rig(paths.rig("rig1")) == wanted


@pytest.mark.parametrize("missing", ["process", "killed_units", "host_key", "settled"])
def test_record_without_a_field_is_read(paths: LabPaths, missing: str) -> None:
    """What another version called otherwise is as it is by default, and what it knows beyond ours is left aside."""
    renamed = {("new_" if key == missing else "") + key: value for key, value in WRITTEN.items()}
    write(paths, renamed | {"settled": renamed.get("settled", {}) | {"gpus": 2}} if missing != "settled" else renamed)
    record = load_rig(paths.rig("rig1"))
    assert record is not None and (record.name, record.number) == ("rig1", 3)
    assert record.settled.os == ("trixie" if missing == "settled" else "bookworm")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({key: value for key, value in WRITTEN.items() if key != "number"}, "has no 'number'"),
        ({key: value for key, value in WRITTEN.items() if key != "image"}, "has no 'image'"),
        (WRITTEN | {"process": {"id": 4}}, "has no 'pid'"),
        (WRITTEN | {"number": "third"}, "makes no sense"),
        (WRITTEN | {"settled": "x"}, "makes no sense"),
        ("[]", "has no 'name'"),
        ("", "has no 'name'"),
        ('{"name": "rig1", "se', "has no 'name'"),
    ],
)
def test_record_that_says_too_little_is_one_line(paths: LabPaths, data: object, says: str) -> None:
    """The line names the file and the way on; ending the rig needs no record."""
    write(paths, data)
    with pytest.raises(RigwrightError) as refused:
        load_rigs(paths)
    text = str(refused.value)
    assert "\n" not in text and f"rig.json: {says}, it was damaged or written by another version; run " in text
    assert "`rigwright lab down rig1`" in text
    assert load_process(paths.rig("rig1")) is None
    publish(paths)
    assert paths.rig_list.read_text() == "[]\n"


@pytest.mark.parametrize("text", ['{"name": "old"}', '{"subnet": "x"}', "{", "[]", '{"subnet": 999}', ""])
def test_lab_that_lost_its_network_has_none(paths: LabPaths, text: str) -> None:
    """The next `up` gives it one, and other labs are not bothered."""
    paths.record.write_text(text)
    assert load_subnet(paths) is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"os": "trixie", "image": "i", "disk_bytes": 5, "gpus": 2}', None),
        ('{"os": "trixie", "disk_bytes": 5}', "has no 'image'"),
        ("{", "makes no sense"),
        (None, "makes no sense"),
    ],
)
def test_snapshot_of_another_version(paths: LabPaths, text: str | None, says: str | None) -> None:
    """What it says beyond ours is left aside, what says too little is refused in a line, and can be forgotten."""
    if text is not None:
        (paths.snapshots / "kept/snapshot.json").write_text(text)
    if says is None:
        assert find_snapshot(paths, "kept").disk_bytes == 5
    else:
        with pytest.raises(RigwrightError, match=rf"snapshot\.json: {says}, .*; run `rigwright lab forget kept`"):
            find_snapshot(paths, "kept")
    forget_snapshot(paths, "kept")
    with pytest.raises(RigwrightError, match="no snapshot is called 'kept'"):
        forget_snapshot(paths, "kept")


@pytest.mark.parametrize(
    ("link", "target", "path", "lies_at"),
    [
        ("home", "/data/home", "home/ada/.ssh", "data/home/ada/.ssh"),
        ("home", "data/home", "/home/ada", "data/home/ada"),
        ("etc", "../../../../tmp/x", "etc/hostname", "tmp/x/hostname"),
        ("lib", "usr/../usr/lib", "lib/x", "usr/lib/x"),
        ("none", "gone", "none/../../x", "x"),
    ],
)
def test_links_of_a_rig_lead_within_the_rig(tmp_path: Path, link: str, target: str, path: str, lies_at: str) -> None:
    """An owner who moved /home to /data on a rig has moved it there, not to this host's /data."""
    root = tmp_path / "root"
    root.mkdir()
    (root / link).symlink_to(target)
    assert within(root, path) == root / lies_at
    (root / "round").symlink_to("/round")
    with pytest.raises(RigwrightError, match="root/round: links of the rig lead in a circle"):
        within(root, "round/passwd")
