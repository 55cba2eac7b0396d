"""A distribution's packages as the source of llama.cpp: where they are taken, what they are known by, and where not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rigwright.errors import Refused, WrongSpec
from rigwright.lock.values import LockedRig
from rigwright.plan.engines.installed import Installed
from rigwright.plan.engines.llamacpp.planner import LlamacppPlanner
from rigwright.plan.engines.llamacpp.release import build_bytes, compiles_for_cuda, source_identity
from rigwright.plan.engines.llamacpp.settings import LlamacppSettings
from rigwright.records.values import RigRecords
from rigwright.resolve.driver import driver_wish
from rigwright.resolve.pin import pin
from rigwright.resolve.resolve import resolve
from rigwright.resolve.unit import render_unit

from .test_binaries import RTX_3090, planner, spec_of
from .test_release import RIG

SUM = "5" * 64


def test_packages_are_taken_where_the_inventory_says_so():
    """By no other source; kernels for GPUs come where one is used, and nothing is compiled."""
    found = planner(RIG, source="distro")
    assert found.settings.packages == ("llama.cpp",) and found.settings.taken == ()
    assert found.origin.choice == "llama.cpp comes as the distribution's packages"
    assert "fetched by its apt, kept beside other releases; no upgrade changes it" in found.origin.because
    on_gpus = planner(source="distro", distro_version="1:0.7.0+dfsg-2")
    assert on_gpus.settings.packages == ("llama.cpp", "libggml0-backend-cuda")
    assert on_gpus.version == "1:0.7.0+dfsg-2" and "llama.cpp 1:0.7.0+dfsg-2, fetched" in on_gpus.origin.because
    assert not compiles_for_cuda(on_gpus.settings, RTX_3090) and build_bytes(on_gpus.settings, RTX_3090) == 0
    assert planner(source="distro", service={"gpu": "none"}).settings.packages == ("llama.cpp",)
    assert planner(RIG).settings.packages == ()
    assert driver_wish(spec_of(source="distro"), RTX_3090).needs == ()


def test_release_is_known_by_the_sum_that_the_rig_keeps():
    """Another version, and packages for GPUs, are asked for under names of their own."""
    settings = planner(RIG, source="distro").settings
    assert source_identity(settings, {}) is None
    installed = Installed(commits={settings.ref_key: SUM})
    release = planner(RIG, installed=installed, source="distro").build(RIG)
    assert (release.identity, release.options, release.platform) == (SUM, ("distro",), ("x86_64",))
    others = [planner(source="distro"), planner(RIG, source="distro", distro_version="1"), planner(RIG)]
    assert len({one.settings.ref_key for one in (planner(RIG, source="distro"), *others)}) == 4
    # Of a commit given in the inventory it is no matter.
    assert planner(RIG, installed=installed, source="distro").release(RIG).endswith(release.id)


@pytest.mark.parametrize(
    ("hardware", "service", "why"),
    [
        (replace(RIG, os_id="fedora", os_version="42"), {}, "of Debian and Ubuntu alone, the rig has fedora 42"),
        (replace(RIG, os_id="arch", os_version=""), {}, "of Debian and Ubuntu alone, the rig has arch"),
        (RTX_3090, {"flags": {"--split-mode": "tensor"}}, "chat wants --split-mode tensor, which is for NCCL"),
    ],
)
def test_rig_for_which_there_are_none_is_refused(hardware, service, why):
    """In one line that says what to do, by the plan."""
    with pytest.raises(Refused) as told:
        planner(hardware, service, source="distro")
    assert told.value.message.startswith("rig.llamacpp.source: ") and why in told.value.message
    assert told.value.message.endswith("; set it to build, prebuilt or auto")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"source": "distro", "archive": "pinned"}, "takes packages as they are; leave out archive"),
        ({"source": "distro", "ref": "b11434"}, "takes packages as they are; leave out ref"),
        ({"source": "distro", "cmake_options": {"A": "1"}}, "takes packages as they are; leave out cmake_options"),
        ({"source": "distro", "cpu": "native"}, "takes packages as they are; leave out cpu: native"),
        ({"distro_version": "1"}, "distro_version is for packages of the distribution; set source to distro"),
        ({"source": "distro", "distro_version": "1 -o x"}, "distro_version"),
        ({"source": "apt"}, "use distro for the packages of a distribution"),
        ({"source": "dnf"}, "packages are taken of apt alone"),
    ],
)
def test_contradiction_is_told(given, said):
    """What is said of a build is not passed over."""
    with pytest.raises(WrongSpec, match=said):
        spec_of(**given)


def test_lock_holds_the_sum():
    """Another rig that asks is held to it; a lock of packages is none of a build."""
    spec = spec_of(source="distro")
    hardware = replace(RIG, os_id="debian")
    settings = planner(hardware, source="distro").settings
    resolved = resolve(spec, hardware, records=RigRecords({}, installed=Installed(commits={settings.ref_key: SUM})))
    locked = pin(resolved, spec, hardware, rig="rig1")[0]
    assert locked.builds["llamacpp"]["packages"] == SUM and "commit" not in locked.builds["llamacpp"]
    held = resolve(spec, hardware, LockedRig.model_validate(locked.model_dump(mode="json"))).engines["llamacpp"]
    assert held.build(hardware).identity == SUM and held.settings.is_distro
    own = LlamacppSettings(source="distro")
    assert own.locked_source({}) == {"ref": own.ref, "git": own.git}


def test_unit_hides_where_the_distribution_installs_kernels():
    """Those of another version would be taken for the release's own; units of other releases stay as they were."""
    texts = {}
    for source in ("distro", "build"):
        spec = spec_of(source=source)
        found = resolve(spec, RIG)
        (instance,) = found.instances(spec)
        texts[source] = render_unit(instance, found.engines["llamacpp"], weights={})
    line = "InaccessiblePaths=-/usr/lib/x86_64-linux-gnu/ggml -/usr/lib/aarch64-linux-gnu/ggml\n"
    assert line in texts["distro"] and line not in texts["build"]
    for text in texts.values():
        assert "InaccessiblePaths=-/etc/llama.cpp -/.config/llama.cpp\n" in text


def test_bundle_of_commits_is_none_of_packages():
    """What a bundle knows of git says nothing of them."""
    settings = LlamacppSettings(source="distro")
    assert settings.bundled({(settings.git, settings.ref): "c" * 40}, {}).commit({}) is None
    assert LlamacppPlanner(settings).release(RIG) is None
