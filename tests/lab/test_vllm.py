"""vLLM's role on a rig, with a stand-in for vLLM itself: what is installed, refused, switched, cut and mended."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .tiny_qwen import write_tiny_qwen
from .vllm_breakages import PLANTED
from .vllm_stand_in import VERSION, service, settings, write_lock, write_wheel

pytestmark = pytest.mark.lab

BLANK: set[str] = set()
KEYS = "sk-first-0123456789\nsk-second-0123456789\n"


@pytest.fixture(scope="module")
def place(workshop: Any) -> Path:
    """What the user has: a wheel, its lock, a model, keys."""
    directory = Path(workshop.directory)
    write_wheel(directory / "wheels")
    write_tiny_qwen(directory / "model")
    (directory / "keys").write_text(KEYS)
    (directory / "keys").chmod(0o600)
    return directory


@pytest.fixture(scope="module")
def rig(workshop: Any) -> Iterator[str]:
    """A blank rig."""
    name = workshop.boot("vllm", os="trixie")
    BLANK.update(workshop.traces(name))
    yield name
    workshop.lab.down([name])


def wish(place: Path, *, wheels: str = "wheels", **changes: Any) -> dict[str, Any]:
    """The rig's data."""
    return {"services": [service(place / "model", **changes)], "vllm": settings(place / wheels)}


def deploy(workshop: Any, rig: str, data: dict[str, Any]) -> Any:
    return workshop.deploy(data, rig, deploy="vllm")


def ask(workshop: Any, rig: str, *, key: str = "", seconds: float = 0) -> str:
    head = f"-H 'Authorization: Bearer {key}'" if key else ""
    body = json.dumps({"messages": [], "seconds": seconds})
    return str(workshop.on(rig, f"curl -sS {head} -d '{body}' http://127.0.0.1:8000/v1/chat/completions", check=False))


def state(workshop: Any, rig: str) -> str:
    """What must not change when a deploy fails: the process, its release, its files."""
    return str(
        workshop.on(
            rig,
            "systemctl show -P MainPID rigwright-talk; readlink /opt/rigwright/services/talk/current;"
            " cat /etc/systemd/system/rigwright-talk.service /etc/rigwright/talk.json | sha256sum",
        )
    )


def releases(workshop: Any, rig: str) -> list[str]:
    return str(workshop.on(rig, "ls /opt/rigwright/vllm/releases", check=False)).split()


def test_wrong_input_is_one_line_and_touches_no_rig(workshop, rig, place):
    """A wheel with another sum, a missing one, a lock without sums, a password in an address."""
    write_wheel(place / "other")
    write_lock(place / "other", vllm="0" * 64)
    said = deploy(workshop, rig, wish(place, wheels="other"))
    assert said.code != 0 and "none of those that vllm==0.33.0 is pinned to" in said.output, said.output
    (place / "empty").mkdir(exist_ok=True)
    (place / "empty" / "lock.txt").write_text((place / "wheels" / "lock.txt").read_text())
    said = deploy(workshop, rig, wish(place, wheels="empty"))
    assert said.code != 0 and "empty lacks vllm==0.33.0; fetch all with pip download" in said.output, said.output
    (place / "empty" / "lock.txt").write_text("vllm==0.33.0\n")
    said = deploy(workshop, rig, wish(place, wheels="empty"))
    assert said.code != 0 and "'vllm==0.33.0' is no pin with its sums" in said.output, said.output
    data = wish(place) | {"vllm": {"index": "https://me:secret@host/simple"}}
    said = deploy(workshop, rig, data)
    assert said.code != 0 and "holds a password" in said.output and "secret" not in said.output, said.output
    assert releases(workshop, rig) == [] and workshop.on(rig, "ls /etc/rigwright", check=False) == ""


def test_blank_rig_serves_and_second_run_changes_nothing(workshop, rig, place):
    """Packages, an environment, a unit; then verify is green and nothing is left to do."""
    data = wish(place)
    first = deploy(workshop, rig, data)
    assert first.code == 0 and {"Install vLLM", "Serve talk"} <= first.changed, first.output
    assert "Hello from vLLM." in ask(workshop, rig)
    second = deploy(workshop, rig, data)
    assert (second.code, second.changed) == (0, set()), second.output
    checked = workshop.rigwright("verify", str(workshop.inventory(data, rig)))
    assert checked.code == 0, checked.output
    score = workshop.on(rig, "systemd-analyze security --no-pager rigwright-talk | tail -n1")
    assert float(score.split(": ")[1].split()[0]) <= 2.0, score
    assert workshop.on(rig, "ls /var/lib/rigwright/build") == ""
    assert workshop.on(rig, "find /opt/rigwright/vllm ! -user root -o -type f -perm /o+w") == ""


def test_keys_reach_vllm_and_nobody_else(workshop, rig, place):
    """Both keys are taken, none or another is refused; they show in no process list and no file that others read."""
    data = wish(place, api_key_file=str(place / "keys"))
    first = deploy(workshop, rig, data)
    assert first.code == 0, first.output
    assert "Unauthorized" in ask(workshop, rig) and "Unauthorized" in ask(workshop, rig, key="sk-third")
    for key in KEYS.split():
        assert "Hello" in ask(workshop, rig, key=key)
    assert workshop.on(rig, "ps axeww | grep -c 'sk-[f]irst' || true") == "0"
    second = deploy(workshop, rig, data)
    assert (second.code, second.changed) == (0, set()), second.output
    checked = workshop.rigwright("verify", str(workshop.inventory(data, rig)))
    assert checked.code == 0, checked.output
    assert deploy(workshop, rig, wish(place)).code == 0


def test_own_parser_refuses_before_anything_stops(workshop, rig, place):
    """What the catalogue cannot know: this vLLM has no such reasoning parser. What serves goes on."""
    before = state(workshop, rig)
    (place / "wheels" / "lock.txt").rename(place / "wheels" / "kept.txt")
    write_lock(place / "wheels")
    data = wish(place, flags={"--reasoning-parser": "qwen3", "--enable-auto-tool-choice": True})
    said = deploy(workshop, rig, data)
    assert said.code == 1, said.output
    assert any("vLLM refuses its command line: Error: --enable-auto-tool-choice" in one for one in said.lines)
    assert state(workshop, rig) == before and "Hello" in ask(workshop, rig)
    assert deploy(workshop, rig, wish(place)).changed == set()


def test_switch_waits_for_requests(workshop, rig, place):
    """A request that is under way ends well, and then the new release serves; a rollback brings the old one back."""
    write_wheel(place / "newer", words="Hello again.")
    workshop.on(
        rig,
        "curl -sS -d '{\"seconds\": 14}' http://127.0.0.1:8000/v1/chat/completions >/tmp/slow 2>&1 </dev/null &",
    )
    # The installation takes its time too: the request must be under way when the switch comes.
    said = deploy(workshop, rig, wish(place, wheels="newer"))
    assert said.code == 0, said.output
    assert "Hello again." in ask(workshop, rig)
    assert "Hello from vLLM." in workshop.on(rig, "cat /tmp/slow")
    assert len(releases(workshop, rig)) == 2
    back = workshop.deploy(wish(place, wheels="newer"), rig, deploy="rollback")
    assert back.code == 0 and "Hello from vLLM." in ask(workshop, rig), back.output
    assert deploy(workshop, rig, wish(place, wheels="newer")).code == 0


def test_release_that_does_not_start_gives_way(workshop, rig, place):
    """A vLLM that ends while starting: the one before serves again."""
    write_wheel(place / "broken", words="Never.", is_broken=True)
    said = deploy(workshop, rig, wish(place, wheels="broken"))
    assert said.code == 1 and any("the previous release is back and serving" in one for one in said.lines), said.output
    assert "Hello again." in ask(workshop, rig)


def test_interrupted_installation_is_taken_up(workshop, rig, place):
    """Its unit is killed, then the whole run is cut: what serves serves, and the next run completes."""
    before = state(workshop, rig)
    write_wheel(place / "third", words="Third.")
    data = wish(place, wheels="third")
    process = workshop.start(data, rig, deploy="vllm")
    for _ in range(600):
        units = "systemctl list-units --plain --no-legend 'rigwright-build-*' | awk '{ print $3 }'"
        if workshop.on(rig, units, check=False) == "active":
            break
        time.sleep(0.05)
    workshop.on(rig, "systemctl kill -s KILL 'rigwright-build-*'", check=False)
    output, _ = process.communicate(timeout=300)
    assert state(workshop, rig) == before and "Hello again." in ask(workshop, rig)
    if process.returncode == 0:
        pytest.fail(f"it was done before it could be killed\n{output}")
    assert "what runs goes on running" in output, output
    again = deploy(workshop, rig, data)
    assert again.code == 0 and "Third." in ask(workshop, rig), again.output
    assert deploy(workshop, rig, data).changed == set()


def test_damaged_upload_is_thrown_away(workshop, rig, place):
    """What lies there of an upload is not what was sent: it is said, and the next run brings it whole."""
    before = state(workshop, rig)
    wheel = write_wheel(place / "fourth", words="Fourth.")
    data = wish(place, wheels="fourth")
    work = f"/var/lib/rigwright/build/{release_id(place / 'fourth', rig_python='3.13')}"
    workshop.on(
        rig, f"install -d {work}/wheels; head -c {wheel.stat().st_size} /dev/urandom >{work}/wheels/{wheel.name}"
    )
    said = deploy(workshop, rig, data)
    assert said.code == 1 and any("arrived damaged and was thrown away; run again" in one for one in said.lines)
    assert state(workshop, rig) == before
    again = deploy(workshop, rig, data)
    assert again.code == 0 and "Fourth." in ask(workshop, rig), again.output


def test_beside_llamacpp_in_two_runs_and_in_one(workshop, trixie, place):
    """Each deploy acts on its own services; deploys/site.py has nothing left to do, and does all of it
    on a rig that was emptied."""
    name = workshop.boot("both", from_snapshot=trixie.snapshot)
    data = wish(place) | workshop.spec(services=[*workshop.spec()["services"], service(place / "model")])
    units = "cd /etc/systemd/system; sha256sum rigwright-*.service; systemctl show -P MainPID rigwright-demo"
    first = workshop.deploy(data, name)
    # All services are planned together: what vLLM will take of the RAM is not kept for prompts.
    assert (first.code, first.changed) == (0, {"Serve demo"}) and "talk: planned on vLLM" in first.output, first.output
    before = workshop.on(name, "systemctl show -P MainPID rigwright-demo")
    second = deploy(workshop, name, data)
    assert second.code == 0 and {"Install vLLM", "Serve talk"} <= second.changed, second.output
    assert "Serve demo" not in second.changed and "Hello from vLLM." in ask(workshop, name)
    there = workshop.on(name, units)
    assert there.endswith(before)
    site = workshop.deploy(data, name, deploy="site")
    assert (site.code, site.changed) == (0, set()), site.output
    assert workshop.deploy(data, name, deploy="remove").code == 0
    again = workshop.deploy(data, name, deploy="site")
    assert again.code == 0 and {"Serve demo", "Serve talk"} <= again.changed, again.output
    assert workshop.on(name, units).splitlines()[:-1] == there.splitlines()[:-1]
    workshop.lab.down([name])


def test_each_check_sees_what_it_is_for(workshop, rig, place):
    """What is broken is told, each by its own check."""
    data = wish(place, wheels="fourth")
    workshop.on(rig, "\n".join(PLANTED.values()))
    checked = workshop.rigwright("verify", str(workshop.inventory(data, rig)))
    said = checked.output
    assert checked.code == 1
    assert [
        name for name in PLANTED if name.removeprefix("test_").replace("_", " ") not in said and name not in said
    ] == []


def test_removal_leaves_nothing(workshop, rig, place):
    """Releases, caches, packages, the account: the rig is as it was."""
    assert BLANK
    everything = ("-y", "--data", "remove_weights=true")
    removed = workshop.deploy(wish(place), rig, deploy="remove", arguments=everything)
    assert removed.code == 0, removed.output
    assert workshop.traces(rig) == BLANK


def release_id(directory: Path, *, rig_python: str) -> str:
    """The release that a lock comes to."""
    import platform

    from rigwright.hardware import Hardware
    from rigwright.plan.engines.vllm.release import plan_release
    from rigwright.plan.engines.vllm.settings import VllmSettings

    own = VllmSettings(**settings(directory))
    own = own.with_files({own.lock or "": (directory / "lock.txt").read_text()})
    found = plan_release(own, Hardware(os_id="debian", os_version="13", architecture=platform.machine()))
    assert found and found.python == rig_python and found.version == VERSION
    return found.id
