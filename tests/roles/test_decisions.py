"""What operations decide from the state of a rig, without a rig: nothing to do, something to do, or no."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rigwright.hardware import Disk
from rigwright.plan.engines.installed import NOTHING
from rigwright.records.reading import read_record
from rigwright.records.values import Cut, Deployed, KeyFile, RigRecords
from rigwright.resolve.running import instance_changes
from rigwright.resources import script
from rigwright.roles.base.facts import RemoteFile
from rigwright.roles.base.probe import Probe
from rigwright.roles.llamacpp.engine import ENGINE
from rigwright.roles.service import operations
from rigwright.roles.service.announce import _line
from rigwright.roles.service.answer import serves_at
from rigwright.roles.service.preflight import preflight_errors
from rigwright.roles.service.room import in_the_way
from rigwright.roles.weights.directory import directory_errors
from rigwright.roles.weights.facts import verified_stamp
from rigwright.spec.weights import WeightsSettings

GIB = 1 << 30


@pytest.fixture
def chat(context, tmp_path):
    """A context with one service that has keys."""
    key = tmp_path / "k"
    key.write_text("secret\n")
    key.chmod(0o600)
    return context({"name": "chat", "api_key_file": str(key)})


@pytest.fixture
def changes(chat, blank, serving):
    """What a deploy would change of an instance that runs as planned but for a deviation, a line each."""

    def of(**deviation):
        instance = chat.resolved(blank()).instances(chat.spec)[0]
        as_planned = serving(chat, blank()).records.of("chat")
        properties = as_planned.properties | deviation.pop("properties", {})
        found = replace(as_planned, properties=properties, **deviation)
        unit, release = as_planned.unit, as_planned.current
        return [str(change) for change in instance_changes(instance, found, unit=unit, release=release)]

    return of


def test_instance_as_planned_needs_nothing(changes):
    """No deviation, no command."""
    assert changes() == []


@pytest.mark.parametrize(
    ("deviation", "line"),
    [
        ({"unit": "# Written by rigwright.\n"}, "+ chat weights: unknown"),
        ({"unit_mode": "666"}, "~ chat unit: 666 root -> 644 root"),
        ({"current": "/opt/rigwright/llamacpp/releases/old"}, "~ chat release: old -> "),
        ({"started": 899}, "~ chat process: started before its API keys were written"),
        ({"exe": "/opt/rigwright/llamacpp/releases/old/bin/llama-server"}, "~ chat program: /opt/"),
        ({"marker": "0" * 12}, "~ chat process: started from another unit file"),
        (
            {"properties": {"SubState": "auto-restart", "ActiveState": "activating"}},
            "~ chat state: activating -> active",
        ),
        ({"properties": {"UnitFileState": "disabled"}}, "~ chat at boot: disabled -> enabled"),
        ({"health": 503}, "~ chat health: 503 -> 200"),
        ({"health": None}, "~ chat health: no answer -> 200"),
        ({"unit_kind": "", "unit": ""}, "+ chat: llama.cpp on CPU, port 8080"),
        ({"cut": Cut()}, "~ chat switch: an earlier one was cut short; it is finished"),
        ({"key": KeyFile("aa", 900, "600", "root", held_sha256="bb")}, "~ chat process: started before its API keys"),
    ],
)
def test_each_deviation_is_noticed_and_named(changes, deviation, line):
    """Unit, link, keys, program, environment, state, boot, health: none is taken on trust."""
    found = changes(**deviation)
    assert any(text.startswith(line) for text in found), found


def test_key_that_the_process_has_is_the_same_whatever_the_clock_said(changes):
    """A file of the future, by a clock that was ahead, would be newer than every process."""
    assert changes(key=KeyFile("aa", 1 << 33, "600", "root", held_sha256="aa")) == []


def test_program_below_a_link_is_the_current_one(changes):
    """/opt/rigwright may be a link to a bigger disk."""
    assert changes(exe="/big/r/1/bin/llama-server", current_place="/big/r/1") == []


def test_unit_that_was_deleted_by_hand_is_no_obstacle(context, blank):
    """systemd remembers its file until it is told: the advice to delete an edited one works."""
    gone = Deployed("chat", properties={"FragmentPath": "/etc/systemd/system/rigwright-chat.service"})
    rig = blank(records=RigRecords({"chat": gone}))
    assert list(preflight_errors(rig, context({"name": "chat"}), (ENGINE,))) == []


def test_change_of_a_flag_is_told_with_both_values(context, blank, serving):
    """What a person asks first: which flag, from what to what."""
    before, after = context({"name": "chat"}), context({"name": "chat", "context": 1024, "flags": {"--temp": 0.5}})
    rig = serving(before, blank())
    instance = after.resolved(rig).instances(after.spec)[0]
    found = instance_changes(instance, rig.records.of("chat"), unit="new", release=rig.records.of("chat").current)
    lines = [str(change) for change in found]
    assert "~ chat --ctx-size: 2048 -> 1024" in lines and "+ chat --temp: 0.5" in lines


def test_what_an_ordinary_user_may_not_see_is_no_difference(changes):
    """Without root the program and the environment of a process are hidden."""
    assert changes(exe=None, marker=None) == []


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"uid": 1000}, "the SSH user is not root; set _sudo=True"),
        ({"init": "runit"}, "its init is runit, not systemd"),
        ({"hardware": lambda cards: replace(cards(0), os_id="arch", os_version="")}, "arch is not known here"),
        # It may have a driver, but what a build wants there nobody looked up.
        ({"hardware": lambda cards: replace(cards(0), os_id="rocky", os_version="9.7")}, "rocky 9.7 is not known here"),
        ({"found": Deployed("chat", "file", "[Service]\n")}, "was not written by rigwright; rename"),
        ({"found": Deployed("chat", "link")}, "was not written by rigwright; rename"),
        ({"found": Deployed("chat", "file", "# Written by rigwright.\nedited\n")}, "was edited by hand"),
        ({"found": Deployed("chat", properties={"FragmentPath": "/lib/x.service"})}, "/lib/x.service provides"),
        ({"found": Deployed("chat", "link", properties={"LoadState": "masked"})}, "systemctl unmask rigwright-chat"),
        ({"listeners": {8080: ("nginx", 3)}}, "port 8080 is taken by nginx (pid 3)"),
        ({"listeners": {8080: ("another program", 0)}}, "port 8080 is taken by another program; give"),
        ({"disks": {"/var/lib/rigwright": Disk("/", GIB, GIB // 2)}}, "building needs 1.0 GiB"),
        (
            {
                "hardware": lambda cards: replace(cards(), driver_version="570.1"),
                "disks": {"/usr": Disk("/", GIB, GIB)},
                "llamacpp": {"source": "build"},
            },
            "the CUDA toolkit needs 4.7 GiB in /usr, the disk has 1.0 GiB; free some",
        ),
        (
            {"hardware": lambda cards: replace(cards(), driver_version="570.1", os_version="12")},
            "GPUs answer, but nvcc is not installed; CUDA 12.8 is in NVIDIA's repository: have it by deploys/nvidia.py",
        ),
    ],
)
def test_each_obstacle_is_named_before_anything_changes(context, blank, cards, change, line):
    """What would stop the deploy half-way stops it at the start."""
    state = {key: value(cards) if callable(value) else value for key, value in change.items()}
    found, build = state.pop("found", None), state.pop("llamacpp", {})
    state["records"] = RigRecords({"chat": found} if found else {})
    errors = list(preflight_errors(blank(**state), context({"name": "chat"}, llamacpp=build), (ENGINE,)))
    assert any(line in text for text in errors), errors


def test_gpu_without_a_driver_is_not_served_from_the_cpu_in_silence(context, blank, cards):
    """A plan that needs a GPU waits for its driver; a service for the CPU does not."""
    rig, nowhere = blank(cards(has_driver=False)), {"weights": {"hugging_face": "http://127.0.0.1:9"}}
    chat = context({"name": "chat", "model": "qwen3-8b:Q4_K_M", "engine": "llamacpp"}, **nowhere)
    errors = list(preflight_errors(rig, chat, (ENGINE,)))
    assert any(
        "for which no driver answers; deploys/nvidia.py brings one, or set gpu to none" in text for text in errors
    ), errors
    assert list(preflight_errors(rig, context({"name": "chat", "gpu": "none"}), (ENGINE,))) == []
    unknown = replace(rig.hardware, gpus=tuple(replace(gpu, pci_id="10de:ffff") for gpu in rig.hardware.gpus))
    errors = list(preflight_errors(replace(rig, hardware=unknown), context({"name": "chat"}), (ENGINE,)))
    assert any("from the CPU beside GPU 0000:01:00.0 (10de:ffff), for which no driver" in text for text in errors)


def test_listener_that_nobody_names_is_not_a_service_that_stands_still(context, blank, serving):
    """Neither has a process: that of the one is not told, and the other has none."""
    chat = context({"name": "chat"})
    rig = serving(chat, blank())
    still = replace(rig.records.of("chat"), properties={"ActiveState": "inactive", "MainPID": "0"})
    rig = replace(rig, records=RigRecords({"chat": still}), listeners={8080: ("another program", 0)})
    errors = list(preflight_errors(rig, chat, (ENGINE,)))
    assert [error for error in errors if error.startswith("port 8080 is taken by another program;")], errors


def test_what_a_cut_installation_left_is_taken_away(context, blank, serving, monkeypatch):
    """Else nothing is done: it would stay until the next build."""
    chat = context({"name": "chat"})
    clean = serving(chat, blank())
    left = replace(clean, records=replace(clean.records, left=("/opt/rigwright/x/releases/.0123",)))
    for rig, count in ((clean, 0), (left, 1)):

        def current_rig(probe, rig=rig):
            yield from ()
            return rig

        monkeypatch.setattr(operations, "current_rig", current_rig)
        assert len(list(operations.prune._inner(probe=Probe()))) == count


@pytest.mark.parametrize(("keep", "is_spare"), [(1, True), (2, True), (3, False)])
def test_older_releases_that_shall_stay_are_not_spare(context, blank, keep, is_spare):
    """Beside what runs and its way back there are two; the record says how many stay, and none is as before."""
    one = Deployed("chat", current="/x/releases/d", previous="/x/releases/c")
    chat = context({"name": "chat"}, base={"keep_releases": keep})
    (instance,) = chat.resolved(blank()).instances(chat.spec)
    text = instance.record(health="/health", answer={}, keep=chat.spec.base.keep_releases)
    assert ("keep_releases" in text) == (keep > 1)
    assert [instance.is_recorded_in(text, keep=other) for other in (keep, 4)] == [True, False]
    installed = replace(NOTHING, releases=frozenset(f"/x/releases/{name}" for name in "abcd"))
    records = RigRecords({"chat": replace(one, record=read_record(text))}, installed)
    assert records.has_spare_releases == is_spare


_ROOT = ("way|755|root|/", "way|755|root|/srv")


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        (("way|755|root|/srv/m",), None),
        (("way|1755|root|/srv/m",), None),
        (("way|755|ada|/srv/m",), "/srv/m: ada may write there"),
        (("way|775|root|/srv/m",), "/srv/m: its group may write there"),
        (("way|777|root|/srv/m",), "/srv/m: every account may write there"),
        (("way|1777|root|/srv/m",), "/srv/m: every account may write there"),
        (("way|757|root|/srv/m",), "/srv/m: every account may write there"),
        (("way|755|root|/srv/m", "way|755|eve|/data"), "/data: eve may write there"),  # where a link leads
        (("way|750|root|/srv/m",), "/srv/m: only root may enter (mode 750)"),
    ],
)
def test_directory_that_others_may_write_is_refused(blank, rows, line):
    """A7: of the directory, of those that lead to it, and of those that its links lead through."""
    rig = blank(sections={"ways": ["real|/srv/m|/srv/m", *_ROOT, *rows]})
    errors = list(directory_errors(rig, WeightsSettings(directory="/srv/m")))
    assert len(errors) == (1 if line else 0) and all(error.startswith(str(line)) for error in errors), errors


@pytest.mark.parametrize(("version", "is_refused"), [(0, False), (245, True), (246, True), (247, False), (257, False)])
def test_systemd_that_would_leave_walls_out_is_refused(context, blank, version, is_refused):
    """What it does not know of a unit it passes over, and the service would run without; 0 where it does not tell."""
    rig = blank(records=RigRecords(systemd=version))
    errors = list(preflight_errors(rig, context({"name": "chat"}), (ENGINE,)))
    assert errors == (
        [
            f"its systemd is {version}, which does not know all walls of a service; upgrade the "
            "distribution to one with 247 or later"
        ]
        if is_refused
        else []
    )


def test_rig_without_obstacles_has_none(context, blank, serving):
    """A blank rig, a serving rig: both can be deployed to."""
    chat = context({"name": "chat"})
    assert list(preflight_errors(blank(), chat, (ENGINE,))) == []
    assert list(preflight_errors(serving(chat, blank()), chat, (ENGINE,))) == []


def test_services_that_swap_ports_make_room_for_each_other(context, blank, serving):
    """Each holds what the other needs and is about to leave it: no obstacle, and the one stops for the other."""
    rig = serving(context({"name": "a", "port": 8080}, {"name": "b", "port": 8081}), blank())
    swapped = context({"name": "a", "port": 8081}, {"name": "b", "port": 8080})
    assert list(preflight_errors(rig, swapped, (ENGINE,))) == []
    resolved = swapped.resolved(rig)
    first, second = resolved.instances(swapped.spec)
    assert [one.name for one in in_the_way(first, resolved, swapped.spec, rig)] == ["b"]
    assert [one.name for one in in_the_way(second, resolved, swapped.spec, rig)] == ["a"]


def test_service_that_stays_is_never_stopped_for_another(context, blank, serving):
    """A third service that keeps its place is in nobody's way."""
    rig = serving(context({"name": "a"}, {"name": "b", "port": 8081}), blank())
    more = context({"name": "a"}, {"name": "b", "port": 8081}, {"name": "c", "port": 8082})
    resolved = more.resolved(rig)
    assert all(in_the_way(one, resolved, more.spec, rig) == [] for one in resolved.instances(more.spec))


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("127.0.0.1", "http://127.0.0.1:8080"),
        ("::1", "http://[::1]:8080"),
        ("0.0.0.0", "http://0.0.0.0:8080, each address of the rig"),
        ("::", "http://[::]:8080, each address of the rig"),
    ],
)
def test_address_is_where_clients_connect(context, blank, host, said):
    """In brackets where it is IPv6, in the plan too; an open service is not at 127.0.0.1 alone."""
    assert serves_at(host, 8080) == said
    chat = context({"name": "chat"})
    resolved = chat.resolved(blank())
    wish = chat.spec.wish("chat").model_copy(update={"host": host})
    line = _line(resolved.plan.services[0], wish, resolved)
    assert line.endswith(said.removeprefix("http://").partition(",")[0])


def test_stamp_ends_when_the_file_changes(blank):
    """A 40 GB file is hashed once; a touched one is hashed again."""
    stamped = {
        "/w/.m.rigwright": RemoteFile("file", "aa 10 50 upload\n"),
        "/w/m": RemoteFile("file", size_bytes=10, modified=50),
    }
    assert verified_stamp(blank(files=stamped), "/w/m")
    for change in ({"size_bytes": 11}, {"modified": 51}):
        touched = stamped | {"/w/m": replace(stamped["/w/m"], **change)}
        assert verified_stamp(blank(files=touched), "/w/m") is None


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
    from rigwright.roles import __path__ as roles

    scripts = sorted(Path(roles[0]).rglob("*.sh"))
    assert len(scripts) > 10
    for path in scripts:
        assert subprocess.run(["sh", "-n", str(path)], capture_output=True, text=True).stderr == "", path
