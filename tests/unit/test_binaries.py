"""Which of upstream's binaries fit a rig and what it shall serve, why others do not, and what then comes instead."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rigwright.errors import Refused, WrongSpec
from rigwright.hardware import Hardware
from rigwright.lock.file import Entry, Written, read_lock, write_lock
from rigwright.lock.values import LockedRig
from rigwright.plan.engines.installed import Installed
from rigwright.plan.engines.llamacpp.newest import newest_key
from rigwright.plan.engines.llamacpp.planner import LlamacppPlanner
from rigwright.plan.engines.llamacpp.release import source_identity
from rigwright.plan.engines.llamacpp.settings import LlamacppSettings
from rigwright.resolve.driver import driver_wish
from rigwright.resolve.pin import pin
from rigwright.resolve.resolve import resolve
from rigwright.spec.rig import parse_spec

from .test_release import CARD, RIG

RTX_3090 = replace(RIG, gpus=(replace(CARD, vendor="NVIDIA"),), driver_version="580.95.05")
NAMES = ("llama-b11434-bin-ubuntu-cuda-12.8-x64.tar.gz", "cudart-llama-b11434-bin-ubuntu-cuda-12.8-x64.tar.gz")
SUMS = dict(zip(NAMES, ("a" * 64, "b" * 64), strict=True))
QWEN: dict[str, Any] = {"name": "chat", "model": "qwen3-8b:Q4_K_M", "engine": "llamacpp"}


def spec_of(service: dict[str, Any] | None = None, **llamacpp: Any):
    return parse_spec("rig1", {"services": [QWEN | (service or {})], "llamacpp": llamacpp})


def planner(
    hardware: Hardware = RTX_3090,
    service: dict[str, Any] | None = None,
    installed: Installed | None = None,
    **given: Any,
) -> LlamacppPlanner:
    spec = spec_of(service, **given)
    settings = spec.settings(LlamacppSettings).narrowed(spec.services)
    return LlamacppPlanner(settings, installed or Installed()).sourced(hardware, spec.services)


def on(*capabilities: str, driver: str = "580.95.05", **changes: Any) -> Hardware:
    cards = [replace(CARD, uuid=f"GPU-{at}", compute_capability=one) for at, one in enumerate(capabilities)]
    return replace(RIG, gpus=tuple(cards), driver_version=driver, **changes)


@pytest.mark.parametrize(
    ("hardware", "names"),
    [
        (RTX_3090, NAMES),
        (on("8.9", "12.0", os_id="ubuntu", os_version="24.04"), NAMES),
        # The machine code of sm_86 runs on sm_87. Of GB10, by the second archive alone.
        (on("12.1"), tuple(name.replace("12.8", "13.4") for name in NAMES)),
        (on("12.1", architecture="aarch64"), tuple(name.replace("12.8-x64", "13.4-arm64") for name in NAMES)),
    ],
)
def test_binaries_that_fit_are_taken(hardware, names):
    """By themselves: with machine code for each GPU, for the processor, the C library and the driver."""
    found = planner(hardware)
    assert found.settings.taken == names and found.settings.is_prebuilt
    assert found.origin.choice == "llama.cpp comes as upstream's binaries"
    assert found.origin.because.endswith("their sums are what api.github.com says at the first deploy, and kept")


@pytest.mark.parametrize(
    ("hardware", "service", "given", "why"),
    [
        (replace(RTX_3090, os_version="12"), {}, {}, "they want glibc 2.39, Debian 12 has 2.36"),
        (on("8.6", os_id="ubuntu", os_version="22.04"), {}, {}, "they want glibc 2.39, Ubuntu 22.04 has 2.35"),
        (on("8.6", os_id="arch", os_version=""), {}, {}, "they want glibc 2.39, and which one the rig has is not"),
        (on("8.6", architecture="riscv64"), {}, {}, "there are none for riscv64"),
        (on("8.6", driver="470.256.02"), {}, {}, "CUDA 12.8 wants driver 525 or newer, 470 is here"),
        (on("8.6", "9.0"), {}, {}, "those for CUDA 12.8 have no machine code for sm_90, which a driver would compile"),
        (on("3.7"), {}, {}, "those for CUDA 12.8 have no code for sm_37"),
        (on("6.1", architecture="aarch64"), {}, {}, "those for CUDA 13.4 have no code for sm_61"),
        (RTX_3090, {"flags": {"--split-mode": "tensor"}}, {}, "chat wants --split-mode tensor, which is for NCCL, and"),
        (RTX_3090, {"flags": {"--cache-type-k": "q8_0", "--cache-type-v": "q4_0"}}, {},
         "chat wants K in q8_0 with V in q4_0, and they have no attention kernels for that"),
        (RTX_3090, {}, {"cmake_options": {"X": "OFF"}}, "the inventory asks for cmake_options of a build"),
        (RTX_3090, {}, {"cuda_architectures": ["86"]}, "the inventory asks for cuda_architectures of a build"),
        (RTX_3090, {}, {"cpu": "native"}, "the inventory asks for code for the rig's own processor"),
        (RTX_3090, {}, {"git": "https://git.example/llama.cpp"}, "the inventory names a git of its own"),
        (RTX_3090, {}, {"ref": "b9763"}, "upstream has them for its releases from b11081 on, b9763 is none of these"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_built_or_refused(hardware, service, given, why):
    """`auto` builds and says why, as does the refusal where the inventory wants them."""
    found = planner(hardware, service, **given)
    assert not found.settings.is_prebuilt
    assert found.origin.choice == "llama.cpp is built here"
    assert found.origin.because.startswith(f"upstream's binaries do not fit: {why}")
    if found.origin.because.endswith(("is not known", "compile at each start")):
        return  # asked for, they are tried
    with pytest.raises(Refused, match="upstream's binaries do not fit: ") as error:
        planner(hardware, service, **given, source="prebuilt")
    assert why in error.value.message and error.value.message.endswith("; set it to auto, or build")


def test_asked_for_binaries_may_be_compiled_by_the_driver():
    """An H100 has no machine code in them: by a driver as new as their CUDA they run, after a while at each start."""
    assert planner(on("9.0"), source="prebuilt").settings.taken == NAMES
    with pytest.raises(Refused, match="for sm_90, and to compile theirs takes driver 570 or newer, 550 is here"):
        planner(on("9.0", driver="550.163.01"), source="prebuilt")


def test_cpu_is_built_for_unless_binaries_are_asked_for():
    """A build for the CPU takes minutes, and is for this very one."""
    wish = {"gpu": "none"}
    assert planner(RIG, wish).origin is None and not planner(RIG, wish).settings.is_prebuilt
    assert planner(RIG, wish, source="prebuilt").settings.taken == ("llama-b11434-bin-ubuntu-x64.tar.gz",)
    old = replace(RIG, os_version="12")
    assert planner(old, wish, source="prebuilt").settings.taken == ("llama-b11434-bin-ubuntu-x64.tar.gz",)


def test_archive_and_own_binaries_go_before():
    """What the inventory names is what is taken, and of that the plan says nothing new."""
    for given in ({"archive": "pinned"}, {"prebuilt": {"path": "x.tgz", "sha256": "0" * 64}}, {"source": "build"}):
        found = planner(**given)
        assert found.origin is None and found.settings.taken == ()
    for given, said in (
        (
            {"source": "prebuilt", "archive": "pinned"},
            "source prebuilt builds nothing, and archive is a source to build",
        ),
        ({"source": "build", "prebuilt": {"path": "x", "sha256": "0" * 64}}, "source build takes no binaries"),
        ({"releases": "http://git.example/x"}, "is no https address; what it says first is believed"),
    ):
        with pytest.raises(WrongSpec, match=said):
            spec_of(**given)


def test_build_that_is_there_stays():
    """An upgrade restarts nothing: what a rig has built of the same source is not exchanged for binaries."""
    commit = "c" * 40
    settings = LlamacppSettings()
    installed = Installed(commits={settings.ref_key: commit}, cuda_version="13.0")
    built = LlamacppPlanner(settings, installed).release(RTX_3090)
    found = planner(installed=replace(installed, releases=frozenset((built,))))
    assert found.release(RTX_3090) == built and found.origin.choice == "llama.cpp stays as it was built here"
    assert planner(installed=installed).settings.is_prebuilt


def test_sums_come_from_the_inventory_or_from_what_the_rig_keeps():
    """Until both are known nobody can say which release it will be."""
    found = planner()
    keys = [found.settings.sum_key(name) for name in NAMES]
    assert found.release(RTX_3090) is None
    assert planner(installed=Installed(commits={keys[0]: "a" * 64})).release(RTX_3090) is None
    kept = Installed(commits=dict(zip(keys, SUMS.values(), strict=True)))
    given = planner(binaries=SUMS)
    assert planner(installed=kept).release(RTX_3090) == given.release(RTX_3090) is not None
    assert given.origin.because.endswith("their sums are given or locked")
    # Another address, or another release, is asked anew.
    assert planner(installed=kept, releases="https://mirror.example/x").release(RTX_3090) is None
    assert planner(installed=kept, ref="b11435").release(RTX_3090) is None


def locked(installed: Installed, **given: Any) -> tuple[LockedRig, list[str]]:
    """The entry of the rig in a lock, written when this is installed."""
    from rigwright.records.values import RigRecords

    spec = spec_of(**given)
    return pin(resolve(spec, RTX_3090, records=RigRecords({}, installed=installed)), spec, RTX_3090, rig="rig1")


def test_lock_holds_the_sums_and_that_they_are_taken(monkeypatch):
    """As it holds the commit of a tag: written before the first deploy it says that it is to be written again."""
    from rigwright.resolve import pin as pinning

    monkeypatch.setattr(pinning, "_files", lambda *_: ([], None))
    entry, notes = locked(Installed())
    assert entry.builds["llamacpp"].keys() == {"ref", "git"}
    assert "llamacpp.ref: the first deploy finds what b11434 is; write the lock again then" in notes
    kept = Installed(commits={planner().settings.sum_key(name): digest for name, digest in SUMS.items()})
    entry, notes = locked(kept)
    assert entry.builds["llamacpp"]["binaries"] == SUMS and not [one for one in notes if "llamacpp.ref" in one]
    # On a rig that was set up anew: nobody is asked.
    held = LlamacppSettings().with_source(entry.builds["llamacpp"])
    spec = spec_of()
    found = LlamacppPlanner(held, Installed()).sourced(RTX_3090, spec.services)
    assert source_identity(found.settings, {}) == source_identity(planner(installed=kept).settings, kept.commits)
    assert found.settings.locked_source({}) == entry.builds["llamacpp"]
    # It does not become a build in silence where they fit no more.
    with pytest.raises(Refused, match=r"Debian 12 has 2\.36"):
        LlamacppPlanner(held, Installed()).sourced(replace(RTX_3090, os_version="12"), spec.services)
    # Nor does a locked commit become binaries.
    built = LlamacppSettings().with_source({"ref": "b11434", "git": LlamacppSettings().git, "commit": "c" * 40})
    assert not LlamacppPlanner(built, Installed()).sourced(RTX_3090, spec.services).settings.is_prebuilt


def test_newest_release_is_taken_and_later_the_one_that_it_was():
    """Nobody is asked by a plan: until a deploy was told, it says who will tell."""
    found = planner(ref="latest")
    assert found.settings.taken and found.release(RTX_3090) is None
    why = "; which release that is and their sums are what api.github.com says at the first deploy, and kept"
    assert found.origin.because.endswith(why)
    key, names = newest_key(found.settings), [name.replace("11434", "11500") for name in NAMES]
    known = Installed(commits={key: "b11500"})
    assert planner(ref="latest", installed=known).settings.taken == tuple(names)
    assert planner(ref="latest", installed=known).version == "b11500"
    built = planner(ref="latest", installed=known, source="build")
    assert (built.settings.ref, built.settings.taken) == ("b11500", ())
    # What is older than all that have them is built, and so is what others call a release.
    old = planner(ref="latest", installed=Installed(commits={key: "b11000"}))
    assert old.origin.because.endswith("from b11081 on, b11000 is none of these")
    assert planner(ref="latest", installed=Installed(commits={key: "c" * 40})).settings.taken == found.settings.taken
    assert planner(ref="b11434", installed=known).settings.taken == NAMES


def test_newest_release_that_was_built_stays_what_it_was():
    """A rig that built `latest` before does not get another release, unless the inventory asks for binaries."""
    known = Installed(commits={LlamacppSettings(ref="latest").ref_key: "c" * 40})
    found = planner(ref="latest", installed=known)
    assert not found.settings.is_prebuilt
    assert found.origin.because == "latest is cccccccccccc here since it was first asked"
    assert planner(ref="latest", installed=known, source="prebuilt").settings.is_prebuilt


def test_binaries_that_cannot_be_had_are_built_unless_asked_for():
    """A deploy says so; for other releases it says nothing."""
    missing = Installed(missing={f"{LlamacppSettings().releases} b11434": "nobody answers"})
    found = planner(installed=missing)
    assert not found.settings.is_prebuilt
    assert found.origin.because == "upstream's binaries cannot be had: nobody answers"
    assert planner(installed=missing, ref="b11435").settings.is_prebuilt
    assert planner(installed=missing, source="prebuilt").settings.is_prebuilt


@pytest.mark.parametrize("ref", ["b11434", "latest"])
def test_what_the_first_deploy_found_is_added_to_a_lock_without_a_word_of_change(monkeypatch, tmp_path, ref):
    """The sums, and which release `latest` was; it stays when another rig, or the same one set up anew, knows less."""
    from rigwright.resolve import pin as pinning

    monkeypatch.setattr(pinning, "_files", lambda *_: ([], None))
    spec, path = spec_of(ref=ref), tmp_path / "rig.lock"
    own = LlamacppSettings(ref="b11434")
    kept = {own.sum_key(name): digest for name, digest in SUMS.items()} | {newest_key(own): "b11434"}

    def written(commits: dict[str, str]) -> Written:
        entry = Entry(*locked(Installed(commits=commits), ref=ref), spec, RTX_3090)
        return write_lock("rig.py", {"rig1": entry}, lock=path)

    assert written({}).is_written
    assert read_lock(path).rigs["rig1"].builds["llamacpp"].keys() == {"ref", "git"}
    assert written(kept).is_written
    build = read_lock(path).rigs["rig1"].builds["llamacpp"]
    assert (build["ref"], build["binaries"]) == ("b11434", SUMS)
    assert not written(kept).is_refused and not written({}).is_refused
    assert read_lock(path).rigs["rig1"].builds["llamacpp"] == build
    # The rig gets what the lock says, whoever calls what the newest one.
    held = LlamacppPlanner(spec.settings(LlamacppSettings).with_source(build), Installed())
    assert held.sourced(RTX_3090, spec.services).settings.taken == NAMES
    other = written(kept | {own.sum_key(NAMES[0]): "c" * 64})
    assert other.is_refused and any("binaries" in line for line in other.lines)


def test_driver_comes_without_a_toolkit_where_binaries_are_taken():
    """`rigwright driver` and deploys/nvidia.py bring what a build would want, and nothing is built."""
    assert not driver_wish(spec_of(), RTX_3090).needs
    for hardware, given in ((RTX_3090, {"source": "build"}), (replace(RTX_3090, os_version="12"), {}), (None, {})):
        assert [one.is_built for one in driver_wish(spec_of(**given), hardware).needs] == [True]


def test_plan_says_it_and_names_no_toolkit():
    """The line is among the reasons of each service, in the table and in JSON; nothing is compiled."""
    found = resolve(spec_of(), RTX_3090)
    service = found.plan.services[0]
    assert any(one.choice == "llama.cpp comes as upstream's binaries" for one in service.reasons)
    assert "upstream's binaries" in service.model_dump_json()
    assert found.plan.cost.builds[0].startswith("llama.cpp as upstream's binaries, which your machine fetches")
    assert found.engines["llamacpp"].installed.toolkit is None
    built = resolve(spec_of(source="build"), RTX_3090)
    assert built.plan.cost.builds[0].startswith("llama.cpp from source")
    assert built.engines["llamacpp"].installed.toolkit is not None
