"""What the operations decide from the state of a rig, without a rig: nothing to do, something to do, or no."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rigwright.hardware import Cpu, Disk, Hardware
from rigwright.plan.wish import ModelSource
from rigwright.resources import script
from rigwright.roles.base.facts import RemoteFile, Rig, Unit
from rigwright.roles.llamacpp.brief import Brief
from rigwright.roles.llamacpp.operations import rig_release, runs_as_planned
from rigwright.roles.llamacpp.plan import plan_rig
from rigwright.roles.llamacpp.preflight import obstacles
from rigwright.roles.llamacpp.unit import marker_of, render_unit
from rigwright.roles.weights.facts import verified_stamp
from rigwright.spec.rig import parse_spec
from rigwright.weights.local import LocalModel

GIB = 1 << 30
HARDWARE = Hardware("debian", "13", "trixie", "6.12", "x86_64", Cpu("EPYC", 8, 16), 64 * GIB)
UNIT = "/etc/systemd/system/rigwright-chat.service"
SPEC = parse_spec("rig1", {"services": [{"name": "chat", "model": "m.gguf", "context": 4096, "api_key_file": "k"}]})
WISH = SPEC.services[0]
BRIEF = Brief("rig1", SPEC, {"chat": LocalModel(ModelSource(path="m.gguf"), None, "ab" * 32, 10)}, {"chat": "key\n"})
BLANK = Rig(
    HARDWARE,
    uid=0,
    init="systemd",
    units={WISH.unit: Unit()},
    disks={"/var/lib/rigwright": Disk("/", 99 * GIB, 50 * GIB)},
)
RELEASE = rig_release(BLANK, SPEC.llamacpp, SPEC.llamacpp.ref)
TEXT = render_unit(WISH, plan_rig(BRIEF, BLANK)["chat"], weights="ab" * 32)


def serving(**changes) -> Rig:
    """A rig on which everything is as planned."""
    properties = {"ActiveState": "active", "SubState": "running", "UnitFileState": "enabled", "MainPID": "7"}
    unit = Unit(
        properties, f"{RELEASE.directory}/bin/llama-server", (), {"RIGWRIGHT_UNIT": marker_of(TEXT) or ""}, 1000
    )
    files = {
        UNIT: RemoteFile("file", TEXT, mode="644", owner="root"),
        "/opt/rigwright/services/chat/current": RemoteFile("link", target=RELEASE.directory),
        "/etc/rigwright/chat.key": RemoteFile("file", modified=900, mode="600", owner="root"),
    }
    health = {"http://127.0.0.1:8080/health": 200}
    rig = replace(BLANK, units={WISH.unit: unit}, files=files, health=health, listeners={8080: ("llama-server", 7)})
    return replace(rig, **changes)


def unit(**changes) -> dict[str, Unit]:
    """The serving unit, changed."""
    old = serving().units[WISH.unit]
    properties = old.properties | changes.pop("properties", {})
    return {WISH.unit: replace(old, properties=properties, **changes)}


def file(path, **changes) -> dict[str, RemoteFile]:
    """The serving rig's files, one of them changed."""
    files = serving().files
    return files | {path: replace(files[path], **changes)}


def test_rig_as_planned_needs_nothing():
    """No deviation, no command."""
    assert runs_as_planned(serving(), WISH, TEXT, RELEASE.directory)


@pytest.mark.parametrize(
    "rig",
    [
        serving(files=file(UNIT, content=TEXT + "#")),
        serving(files=file(UNIT, mode="666")),
        serving(files=file("/opt/rigwright/services/chat/current", target="/opt/rigwright/llamacpp/releases/old")),
        serving(files=file("/etc/rigwright/chat.key", modified=1001)),
        serving(units=unit(exe="/opt/rigwright/llamacpp/releases/old/bin/llama-server")),
        serving(units=unit(environment={"RIGWRIGHT_UNIT": "0" * 12})),
        serving(units=unit(properties={"SubState": "auto-restart"})),
        serving(units=unit(properties={"UnitFileState": "disabled"})),
        serving(health={"http://127.0.0.1:8080/health": 503}),
        serving(health={}),
        BLANK,
    ],
)
def test_each_deviation_is_noticed(rig):
    """Unit, link, keys, program, environment, state, boot, health: none is taken on trust."""
    assert not runs_as_planned(rig, WISH, TEXT, RELEASE.directory)


@pytest.mark.parametrize(
    ("rig", "line"),
    [
        (replace(BLANK, uid=1000), "the SSH user is not root; set _sudo=True"),
        (replace(BLANK, init="runit"), "its init is runit, not systemd"),
        (replace(BLANK, hardware=replace(HARDWARE, os_id="arch", os_version="")), "arch is not known here"),
        (replace(BLANK, files={UNIT: RemoteFile("file", "[Service]\n")}), "was not written by rigwright; rename"),
        (replace(BLANK, files={UNIT: RemoteFile("link", target="/dev/null")}), "was not written by rigwright; rename"),
        (replace(BLANK, files={UNIT: RemoteFile("file", TEXT + "#")}), "was edited by hand"),
        (replace(BLANK, units={WISH.unit: Unit({"FragmentPath": "/lib/x.service"})}), "/lib/x.service provides"),
        (replace(BLANK, listeners={8080: ("nginx", 3)}), "port 8080 is taken by nginx (pid 3)"),
        (replace(BLANK, disks={"/var/lib/rigwright": Disk("/", GIB, GIB // 2)}), "building needs 1.0 GiB"),
    ],
)
def test_each_obstacle_is_named_before_anything_changes(rig, line):
    """What would stop the deploy half-way stops it at the start."""
    found = list(obstacles(rig, BRIEF))
    assert any(line in text for text in found), found


def test_rig_without_obstacles_has_none():
    """A blank rig, a serving rig: both can be deployed to."""
    assert list(obstacles(BLANK, BRIEF)) == []
    assert list(obstacles(serving(), BRIEF)) == []


def test_stamp_ends_when_the_file_changes():
    """A 40 GB file is hashed once; a touched one is hashed again."""
    stamped = {
        "/w/.m.rigwright": RemoteFile("file", "aa 10 50 upload\n"),
        "/w/m": RemoteFile("file", size_bytes=10, modified=50),
    }
    assert verified_stamp(replace(BLANK, files=stamped), "/w/m")
    for change in ({"size_bytes": 11}, {"modified": 51}):
        touched = stamped | {"/w/m": replace(stamped["/w/m"], **change)}
        assert verified_stamp(replace(BLANK, files=touched), "/w/m") is None


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet=st.characters(blacklist_characters="\0", blacklist_categories=("Cs",)), max_size=60))
def test_script_variables_survive_the_shell(text):
    """Whatever a variable holds, the real sh sees it as it is."""
    said = subprocess.run(
        ["sh", "-c", f'{script("llamacpp", X=text)}\nprintf %s "$X"'], capture_output=True, check=True
    )
    assert said.stdout.decode() == text


def test_every_script_is_valid_shell():
    """The real sh parses each script that travels to a rig."""
    from pathlib import Path

    from rigwright.roles import __path__ as roles

    scripts = sorted(Path(roles[0]).rglob("*.sh"))
    assert len(scripts) > 10
    for path in scripts:
        assert subprocess.run(["sh", "-n", str(path)], capture_output=True, text=True).stderr == "", path
