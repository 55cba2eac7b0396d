"""Deploys where upstream's binaries fit: taken where they can be had, else a build; all rigs of a run do the same."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest
from pyinfra.api.state import StateStage

from rigwright.plan.engines.llamacpp.newest import newest_key
from rigwright.plan.engines.llamacpp.settings import LlamacppSettings
from rigwright.roles.base.channel import NO_STDIN
from rigwright.roles.cuda import archive as toolkit_archives
from rigwright.roles.llamacpp import prebuilt, published
from rigwright.roles.service import context as contexts

from .machine import CPU_ONLY, Machine
from .releases import Releases, releases
from .run import Run
from .test_deploy_order import L40S, NOWHERE, rig, run  # noqa: F401  # a fixture

SILENCE = "http://127.0.0.1:9/repos/ggml-org/llama.cpp"
TOOLKIT = ["Install packages for CUDA 13.0", "Have CUDA 13.0"]
BUILT = ["Install compilers", *TOOLKIT, "Find the commit of llama.cpp", "Build llama.cpp"]
TAKEN = ["Find the commit of llama.cpp", "Build llama.cpp"]


def names(release: str) -> list[str]:
    return [f"{what}llama-{release}-bin-ubuntu-cuda-12.8-x64.tar.gz" for what in ("", "cudart-")]


@pytest.fixture
def api() -> Iterator[Releases]:
    with releases({name: name.encode() for name in names("b11434")}) as found:
        yield found


@pytest.fixture
def deploy(run, model, monkeypatch):  # noqa: F811
    """Deploys to machines with an L40S, each time as a process of its own."""
    monkeypatch.setattr(prebuilt, "prebuilt_release", lambda wanted, release: (model, "f" * 64))
    monkeypatch.setattr(toolkit_archives, "toolkit_archive", lambda made, find: model)

    def of(*machines: Machine, releases: str, dry: bool = False, **llamacpp: Any) -> Run:
        published._releases.clear()
        published._silent.clear()
        llamacpp |= {"releases": releases}
        found: Run = run(
            *[rig({"name": "chat"}, machine=one, **NOWHERE, llamacpp=llamacpp) for one in machines], dry=dry
        )
        return found

    return of


def gpu_machine(**given: Any) -> Machine:
    return Machine(sources=CPU_ONLY | L40S, **given)


def of_release(done: Run, name: str = "rig1") -> list[str]:
    """What was done for a release."""
    return [one for one in done.changed(name) if "CUDA" in one or "llama.cpp" in one or "ompiler" in one]


def test_binaries_of_upstream_come_where_they_fit(deploy, api):
    """No compiler and no toolkit: their sums are asked for and kept on the rig, then they come. Then all is there."""
    machine = gpu_machine()
    done = deploy(machine, releases=api.address)
    assert not done.failed, done.lines()
    assert of_release(done) == TAKEN
    sums = {hashlib.sha256(name.encode()).hexdigest() for name in names("b11434")}
    assert {*machine.commits.values()} == sums and machine.packages.isdisjoint({"cmake", "g++"})
    # One request for the sums, one for a byte of the archive.
    assert [path.rpartition("/")[2] for path in api.asked] == ["b11434", names("b11434")[0]]
    # What its sums are is kept: nobody is asked once more, whether the server is there or not.
    assert deploy(machine, releases=api.address).changed() == [] and len(api.asked) == 2
    api.wrong, api.gives = (500, {}, b""), False
    assert deploy(machine, releases=api.address).changed() == [] and len(api.asked) == 2


WRONG = {
    "silent": (0, {}, "http://127.0.0.1:9/repos/ggml-org/llama.cpp/releases/tags/b11434 cannot be asked: "),
    "wait": (1, {"wrong": (403, {}, b"")}, "answers 403: it wants one to wait"),
    "page": (1, {"wrong": (200, {}, b"<html>")}, "does not answer like GitHub's API"),
    "empty": (1, {"assets": {}}, "has no llama-b11434-bin-ubuntu-cuda-12.8-x64.tar.gz"),
    "download": (2, {"gives": False}, "llama-b11434-bin-ubuntu-cuda-12.8-x64.tar.gz answers 404: Not Found"),
}


@pytest.mark.parametrize(("count", "wrong", "said"), WRONG.values(), ids=WRONG)
def test_auto_builds_where_binaries_cannot_be_had(deploy, api, count, wrong, said):
    """It says why with the plan, before anything is done; all rigs do the same; and then it stays, whoever answers."""
    for key, value in wrong.items():
        setattr(api, key, value)
    where = api.address if wrong else SILENCE
    machines = [gpu_machine(), gpu_machine()]
    done = deploy(*machines, releases=where)
    assert not done.failed, done.lines()
    for name in ("rig1", "rig2"):
        assert of_release(done, name) == BUILT
        prepared = done.lines(name, StateStage.Prepare)
        (line,) = [one for one in prepared if one.endswith("; llama.cpp is built instead")]
        assert line.startswith("upstream's binaries cannot be had: ") and said in line
        assert any(one.startswith("llama.cpp is built here: upstream's binaries cannot be had: ") for one in prepared)
    assert len(api.asked) == count, "one rig asks for all"
    api.wrong, api.gives, api.assets = None, True, {name: name.encode() for name in names("b11434")}
    asked = len(api.asked)
    again = deploy(*machines, releases=where)
    assert again.changed("rig1") == again.changed("rig2") == [] and len(api.asked) == asked


def test_rig_whose_build_was_cut_asks_again(deploy, api):
    """Nothing was switched to yet: what answers now is taken, in seconds."""
    machine = gpu_machine(breaks="llamacpp/build.sh")
    assert deploy(machine, releases=SILENCE).failed == {"rig1"}
    machine.breaks = ""
    assert of_release(deploy(machine, releases=SILENCE)) == ["Build llama.cpp"]
    other = gpu_machine(breaks="llamacpp/build.sh")
    assert deploy(other, releases=SILENCE).failed == {"rig1"}
    other.breaks = ""
    assert of_release(deploy(other, releases=api.address)) == TAKEN


def test_what_is_asked_for_is_not_exchanged(deploy, api):
    """`source: prebuilt` stops with a line, before anything is done; so does a release that says other sums."""
    done = deploy(gpu_machine(), releases=SILENCE, source="prebuilt")
    assert done.failed == {"rig1"} and done.changed() == []
    (line,) = [one for one in done.lines() if "cannot be deployed" in one]
    assert line.startswith(f"cannot be deployed: rig.llamacpp.source: {SILENCE}/releases/tags/b11434 cannot be asked: ")
    assert line.endswith("; set source to build, or name the archives in prebuilt")
    machine = gpu_machine(breaks="llamacpp/receive.sh")
    assert deploy(machine, releases=api.address).failed == {"rig1"}
    api.assets = {name: b"another" for name in api.assets}
    done = deploy(machine, releases=api.address)
    assert done.failed == {"rig1"} and done.changed() == []
    assert any("was given or told before; nothing is taken" in line for line in done.lines())


def test_dry_run_says_which_it_will_be(deploy, api):
    """And leaves the rig as it is."""
    machine = gpu_machine()
    done = deploy(machine, releases=SILENCE, dry=True)
    assert [one for one in done.would_change() if one in BUILT] == BUILT
    done = deploy(machine, releases=api.address, dry=True)
    assert [one for one in done.would_change() if one in BUILT] == TAKEN and machine.commits == {}


def test_rig_that_nothing_can_be_sent_to_builds(deploy, api, monkeypatch):
    """su takes its password from where binaries travel; the toolkit is the distribution's, or is there."""
    monkeypatch.setattr(contexts, "su_reads_password", lambda host: True)
    done = deploy(gpu_machine(nvcc="12.9"), releases=api.address)
    said = f"upstream's binaries cannot be had: they cannot be sent to this rig: {NO_STDIN}; llama.cpp is built instead"
    assert said in done.lines() and api.asked == []


def test_newest_release_is_asked_for_once_and_kept(deploy, api):
    """`ref: latest`: the release bN that its host calls so, by one request with the sums.

    Later ones are not followed, also where the rig builds after all.
    """
    api.name, api.assets = "b11500", {name: name.encode() for name in names("b11500")}
    machines = [gpu_machine(), gpu_machine()]
    done = deploy(*machines, releases=api.address, ref="latest")
    assert not done.failed and of_release(done) == of_release(done, "rig2") == TAKEN
    assert [path.rpartition("/")[2] for path in api.asked] == ["latest", names("b11500")[0]]
    key = newest_key(LlamacppSettings(releases=api.address))
    assert [one.commits[key] for one in machines] == ["b11500", "b11500"] and len(machines[0].commits) == 3
    api.name, api.assets = "b11501", {name: name.encode() for name in names("b11501")}
    assert deploy(*machines, releases=api.address, ref="latest").changed() == [] and len(api.asked) == 2
    built = deploy(machines[0], releases=api.address, ref="latest", source="build")
    assert of_release(built) == BUILT
    assert hashlib.sha1(b"b11500").hexdigest() in machines[0].commits.values()


def test_newest_release_is_built_where_its_host_is_silent_or_calls_it_otherwise(deploy, api):
    """By git's tags, as ever, and kept; whoever answers later."""
    machine = gpu_machine()
    done = deploy(machine, releases=SILENCE, ref="latest")
    assert not done.failed and of_release(done) == BUILT
    assert [*machine.commits.values()] == [hashlib.sha1(b"latest").hexdigest()]
    assert deploy(machine, releases=SILENCE, ref="latest").changed() == []
    api.name = "v9.9.9"
    other = gpu_machine()
    done = deploy(other, releases=api.address, ref="latest")
    assert of_release(done) == BUILT and any("says 'v9.9.9', which is no release" in line for line in done.lines())
    # Its archive cannot be had: that release is built, and stays.
    api.name, api.assets, api.gives = "b11500", {name: name.encode() for name in names("b11500")}, False
    third = gpu_machine()
    done = deploy(third, releases=api.address, ref="latest")
    assert of_release(done) == BUILT and hashlib.sha1(b"b11500").hexdigest() in third.commits.values()
    api.name = "b11501"
    assert deploy(third, releases=api.address, ref="latest").changed() == []
