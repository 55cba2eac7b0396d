"""Model files that no service wants: what goes, and all that stays, by what is named, open, young or somebody's own."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from rigwright.resources import script
from rigwright.roles.weights.spare import _BEFORE, _GIVEN, read_lines

from .room import Room

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="scripts work as root, in mounts of their own: needs root")

WEIGHTS, BROUGHT = "/var/lib/rigwright/weights", "/var/lib/rigwright/weights.brought"
LISTS = script("base", before=_BEFORE, **_GIVEN) + "\nmodel_files"
# The file of each state; `None` has no line.
EXPECTED = {
    "used.gguf": "used",
    "theirs.gguf": "used",
    ".rigwright/{used2}-used.gguf": "kept",
    ".rigwright/{used3}-used.gguf": "spare",
    "old.gguf": "spare",
    "half.gguf.part": "spare",
    "half.gguf.part.of": "spare",
    "org--m/linked.gguf": "used",
    "linked.gguf": "used",
    "s-00001-of-00002.gguf": "used",
    "s-00002-of-00002.gguf": "used",
    "young.gguf": "young",
    "open.gguf": "open",
    "changed.gguf": "changed",
    "by-hand.gguf": "used",
    "found.gguf": "found",
    "mine.gguf": None,
}


def sum_of(text: str) -> str:
    """Its sha256."""
    return hashlib.sha256(text.encode()).hexdigest()


def place(room: Room, name: str, text: str, *, days: float = 2, origin: str = "upload") -> Path:
    """A model file with its stamp, so many days old, both in the list of what was brought."""
    file = room.put(f"{WEIGHTS}/{name}", text)
    stamp = file.with_name(f".{file.name}.rigwright")
    stamp.write_text(f"{sum_of(text)} {len(text)} {int(file.stat().st_mtime)} {origin}\n")
    listed = room.path(BROUGHT)
    lines = [f"{WEIGHTS}/{name}", f"{WEIGHTS}/{Path(name).parent}/{stamp.name}".replace("/./", "/")]
    room.put(BROUGHT, (listed.read_text() if listed.exists() else "") + "\n".join(lines[origin == "found" :]) + "\n")
    os.utime(stamp, (time.time() - days * 86_400,) * 2)
    return file


def unit(room: Room, path: str, *contents: tuple[str, str]) -> None:
    """A unit that names these files by their content."""
    named = "".join(f"# weights {sum_of(text)} {WEIGHTS}/{name}\n" for name, text in contents)
    room.put(path, f"# Written by rigwright.\n[Service]\n{named}")


@pytest.fixture
def room(each_sh: str, open_path: Path) -> Room:
    """A rig whose `sh` is each of the shells."""
    return Room.made(open_path / "room")


@pytest.fixture
def full(room: Room) -> dict[str, str | None]:
    """A rig with a file of each state; by their paths."""
    units, state = "/etc/systemd/system", "/var/lib/rigwright/services"
    unit(room, f"{units}/rigwright-chat.service", ("used.gguf", "used"), ("linked.gguf", "linked"))
    unit(room, f"{state}/chat/previous.service", ("used.gguf", "used2"))
    unit(room, f"{units}/rigwright-other.service", ("theirs.gguf", "theirs"))
    room.put("/etc/rigwright/chat.json", '{"owner":"home"}')
    room.put("/etc/rigwright/other.json", '{"owner":"guests"}')
    # As 0.1 wrote them: the mark of all parts, and the path of the first.
    model = f"Environment=RIGWRIGHT_WEIGHTS={'0' * 16}\nExecStart=/x \\\n  --model {WEIGHTS}/s-00001-of-00002.gguf \\\n"
    room.put(f"{units}/rigwright-parts.service", f"# Written by rigwright.\n{model}")
    room.put(f"{units}/own.service.d/more.conf", f"[Service]\nEnvironment=MODEL={WEIGHTS}/by-hand.gguf\n")
    sums = {name: sum_of(name)[:8] for name in ("used2", "used3")}
    expected = {name.format(**sums): found for name, found in EXPECTED.items()}
    for name in ("used", "theirs", "old", "org--m/linked", "s-00001-of-00002", "s-00002-of-00002", "open", "by-hand"):
        place(room, f"{name}.gguf", Path(name).name)
    for name, digits in sums.items():
        place(room, f".rigwright/{digits}-used.gguf", name)
    place(room, "young.gguf", "young", days=0.9)
    place(room, "found.gguf", "found", origin="found")
    with place(room, "changed.gguf", "changed").open("a") as file:
        file.write("more")
    room.put(f"{WEIGHTS}/mine.gguf")
    room.path(f"{WEIGHTS}/linked.gguf").symlink_to("org--m/linked.gguf")
    for name in ("linked.gguf", "half.gguf.part", "half.gguf.part.of"):
        if name.startswith("half"):
            os.utime(room.put(f"{WEIGHTS}/{name}"), (1, 1))
        room.put(BROUGHT, room.path(BROUGHT).read_text() + f"{WEIGHTS}/{name}\n")
    return {f"{WEIGHTS}/{name}": found for name, found in expected.items()}


@pytest.mark.runs("weights/spare.sh")
def test_state_of_a_file_is_who_wants_it(room, full):
    """Services of any inventory, ways back, units and drop-ins of anybody, programs; what is young, or not ours."""
    files = {
        one["path"]: one
        for one in read_lines(room.run(f"exec 7<{WEIGHTS} 8<{WEIGHTS}/open.gguf\n{LISTS}").splitlines())
    }
    assert {path: files[path]["state"] if path in files else None for path in full} == full
    assert files.keys() == {path for path, state in full.items() if state}
    assert files[f"{WEIGHTS}/used.gguf"]["services"] == [{"name": "chat", "owner": "home"}]
    assert files[f"{WEIGHTS}/theirs.gguf"]["services"] == [{"name": "other", "owner": "guests"}]
    assert files[f"{WEIGHTS}/old.gguf"] == {
        "path": f"{WEIGHTS}/old.gguf",
        "size_bytes": 3,
        "state": "spare",
        "services": [],
    }


@pytest.mark.runs("weights/prune.sh")
def test_what_is_spare_goes_and_nothing_else(room, full):
    """With its stamp and its line in the list; a second time nothing is left to do."""
    prune = script("weights", "prune.sh", before=_BEFORE, **_GIVEN)
    said = room.run(f"exec 8<{WEIGHTS}/open.gguf\n{prune}")
    spare = {path for path, state in full.items() if state == "spare"}
    assert {line.split()[1] for line in said.splitlines() if " goes, " in line} == spare
    for path in full:
        assert room.path(path).exists() == (path not in spare), path
    kept = room.path(BROUGHT).read_text().splitlines()
    assert not spare & set(kept) and f"{WEIGHTS}/young.gguf" in kept
    assert not room.path(f"{WEIGHTS}/.old.gguf.rigwright").exists()
    assert f"{WEIGHTS}/.found.gguf.rigwright" in kept
    assert room.run(f"exec 8<{WEIGHTS}/open.gguf\n{prune}") == "::progress no model file is spare\n"


@pytest.mark.runs("weights/prune.sh")
def test_whole_repository_goes_with_its_folders(room):
    """One that somebody's own unit names by its directory stays; of the others nothing is left, not even a folder."""
    for commit in ("a1" * 20, "b2" * 20):
        for name in ("config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"):
            place(room, f"org--m/{commit}/{name}", f"{commit}{name}")
    place(room, f"org--other/{'c3' * 20}/config.json", "{}")
    own = f"[Service]\nExecStart=/opt/vllm serve {WEIGHTS}/org--m/{'a1' * 20}\n"
    room.put("/etc/systemd/system/own.service", own)
    files = {one["path"]: one["state"] for one in read_lines(room.run(LISTS).splitlines())}
    states = {path.split("/")[-2][:2]: state for path, state in files.items()}
    assert states == {"a1": "used", "b2": "spare", "c3": "spare"} and len(files) == 7
    room.run(script("weights", "prune.sh", before=_BEFORE, **_GIVEN))
    left = sorted(str(path.relative_to(room.path(WEIGHTS))) for path in room.path(WEIGHTS).rglob("*") if path.is_dir())
    assert left == ["org--m", f"org--m/{'a1' * 20}"]


def test_file_on_a_disk_of_several_machines_stays(room, full):
    """A service of another machine may run on it."""
    room.tool("stat", '#!/bin/sh\ncase "$*" in *"-f -c %T"*) echo nfs ;; *) exec /usr/bin/stat "$@" ;; esac\n')
    states = {one["path"]: one["state"] for one in read_lines(room.run(LISTS).splitlines())}
    assert states[f"{WEIGHTS}/old.gguf"] == "shared" and "spare" not in states.values()


def test_rig_without_model_files_has_none(room):
    """Nothing was ever brought."""
    assert room.run(LISTS) == ""
    assert read_lines(["spare|x||/a", "what|1||/a", "spare|1||a", "", "spare|1|a=b c=|/x|y"]) == [
        {
            "path": "/x|y",
            "size_bytes": 1,
            "state": "spare",
            "services": [{"name": "a", "owner": "b"}, {"name": "c", "owner": ""}],
        }
    ]
