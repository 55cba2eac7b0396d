"""A model in a file of its own that drafts ahead: counted, started beside, brought and locked with its service."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import Any

import pytest

from rigwright.errors import Refused, WrongSpec
from rigwright.inventory.described import described
from rigwright.lab.tiny_model import write_tiny_model
from rigwright.lock.changes import lock_changes
from rigwright.models import read_model
from rigwright.models.known import Drafter, Variant
from rigwright.models.variants import model_of, variants
from rigwright.plan.drafting import drafter_error, drafting_of
from rigwright.plan.memory import CUDA_CONTEXT_BYTES, Load, Placement, estimate_memory
from rigwright.plan.rig_plan import Request, plan_rig
from rigwright.plan.wish import ServiceWish
from rigwright.resolve.pin import pin
from rigwright.resolve.resolve import resolve
from rigwright.roles.llamacpp.dry_run import dry_run
from rigwright.spec.rig import parse_spec
from rigwright.units import GIB, MIB
from rigwright.weights.local import weights_path
from rigwright.weights.lookup import Lookup

from .test_binaries import RTX_3090

FLAGS = ("--spec-type", "--spec-draft-model", "--spec-draft-n-max", "--spec-draft-device", "--spec-draft-ngl")


@pytest.fixture
def files(tmp_path):
    """A model and a smaller one."""
    for name in ("big", "small"):
        write_tiny_model(tmp_path / f"{name}.gguf", "llama", seed=len(name))
    return tmp_path


def spec_of(files, **changes: Any):
    service: dict[str, Any] = {"name": "chat", "model": f"{files}/big.gguf", "context": 2048, "gpu": 0}
    service["draft_model"] = f"{files}/small.gguf"
    return parse_spec("rig1", {"services": [service | changes]})


def flags(found) -> dict[str, str | None]:
    return {flag.name: flag.value for flag in found.plan.services[0].flags if flag.name in FLAGS}


def test_it_is_started_beside_the_model(files):
    """Whole on the first GPU, three tokens ahead where nothing else is said; for the CPU without a word on GPUs."""
    assert flags(resolve(spec_of(files), RTX_3090)) == {
        "--spec-type": "draft-simple",
        "--spec-draft-model": "/var/lib/rigwright/weights/small.gguf",
        "--spec-draft-n-max": "3",
        "--spec-draft-device": "CUDA0",
        "--spec-draft-ngl": "all",
    }
    found = flags(resolve(spec_of(files, gpu="none", draft=6), RTX_3090))
    assert found["--spec-draft-n-max"] == "6" and "--spec-draft-ngl" not in found
    assert not flags(resolve(spec_of(files, draft_model=None), RTX_3090))


def test_it_is_counted_with_the_context_of_its_model(files):
    """Its weights, a cache in f16 for all slots, its buffers: what the same model would take alone, but CUDA's own."""
    found = resolve(spec_of(files, slots=2, cache_type="q8_0"), RTX_3090).plan.services[0]
    alone = resolve(spec_of(files, slots=2, cache_type="q8_0", draft_model=None), RTX_3090).plan.services[0]
    model = read_model(files / "small.gguf")
    memory = estimate_memory(model, Load(2048, slots=2), Placement(model.main_layers))
    assert found.memory.on(0) - alone.memory.on(0) == memory.on(0) - CUDA_CONTEXT_BYTES
    assert found.memory.named("draft model") > 0 and found.memory.named("drafting") > 0
    assert found.file_bytes == alone.file_bytes + (files / "small.gguf").stat().st_size
    on_cpu = [
        resolve(spec_of(files, gpu="none", **one), RTX_3090).plan.services[0].memory.without_part("prompt cache")
        for one in ({}, {"draft_model": None})
    ]
    expected = estimate_memory(model, Load(2048), Placement(0)).on(None)
    assert on_cpu[0].on(None) - on_cpu[1].on(None) == expected


def test_context_gives_way_to_it(machine):
    """What it takes is not there for the model: a long context of a large one becomes shorter, and more so than by its
    weights alone, for its cache grows with the context.
    """
    from rigwright.models.variants import find_model, variants
    from rigwright.plan.engines.llamacpp.placement import Room
    from rigwright.plan.rig_plan import Request, plan_rig

    known = find_model("qwen3-8b")
    big = next(one for one in variants(known) if one.quant == "Q8_0")
    small = next(one for one in variants(known) if one.quant == "Q4_K_M")
    wish = parse_spec(
        "rig1", {"services": [{"name": "chat", "model": "qwen3-8b:Q8_0", "engine": "llamacpp"}]}
    ).services[0]
    drafting = replace(big, drafter=Drafter("/w/small.gguf", small.model, small.file_bytes))
    rig = machine(gpus=["RTX 3090"])
    plain, with_it = (plan_rig(rig, [Request(wish, (one,))]).services[0] for one in (big, drafting))
    assert with_it.context_tokens < plain.context_tokens
    offered = 24 * GIB
    assert with_it.memory.on(0) < offered
    assert drafting_of(drafting, Load(4096), on_gpu=True).total_bytes > small.file_bytes * 0.8
    assert Room((10, 20), 30).without(4, 5) == ((6, 20), 25) and Room((), 30).without(4, 5) == ((), 26)


def test_another_vocabulary_is_refused(files):
    """llama-server would stop at its start."""
    model = read_model(files / "small.gguf")
    known = resolve(spec_of(files), RTX_3090).models["chat"]
    assert known.drafter
    from rigwright.weights.gguf import gguf_offer

    for more, is_refused in ((0, False), (128, False), (129, True)):
        other = replace(model, vocab=model.vocab + more)
        variant = replace(gguf_offer("big.gguf", model), header=model, drafter=Drafter("/w/x", other, 1))
        assert (drafter_error(variant) is not None) is is_refused
    assert "it cannot draft for it; name a smaller model of the same family" in str(drafter_error(variant))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"draft_model": "qwen3-0.6b"}, "names no GGUF file; write it like hf:org/repo:FILE.gguf"),
        ({"draft_model": "hf:org/repo:Q4_K_M"}, "names no GGUF file"),
        ({"draft_model": {"path_on_rig": "/tmp/x.gguf"}}, "services do not see what lies in /tmp"),
        ({"engine": "vllm", "model": "qwen3-8b"}, "draft_model is brought to llama.cpp alone"),
        ({"engine": "ollama"}, "draft_model is brought to llama.cpp alone"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(files, changes, said):
    """By the key that is wrong."""
    with pytest.raises((WrongSpec, Refused), match=said):
        resolve(spec_of(files, **changes), RTX_3090)


def test_file_whose_header_cannot_be_read_is_not_counted_on(files):
    """Nobody knows what it takes."""
    with pytest.raises(WrongSpec, match=r"chat.draft_model: the header of .* cannot be read from here"):
        resolve(spec_of(files, draft_model="http://127.0.0.1:9/small.gguf"), RTX_3090)


def test_files_of_two_services_do_not_overwrite_each_other(files):
    """Of one name and two places: refused by name, whether it drafts or serves; the same file serves both."""
    other = files / "other"
    other.mkdir()
    shutil.copy(files / "small.gguf", other / "small.gguf")
    one = {"name": "chat", "model": f"{files}/big.gguf", "draft_model": f"{files}/small.gguf", "context": 2048}
    two = {"name": "b", "port": 8081, "model": f"{other}/small.gguf", "context": 2048}
    with pytest.raises(WrongSpec, match=r"two different models are called small\.gguf; rename one"):
        parse_spec("rig1", {"services": [one, two]})
    spec = parse_spec("rig1", {"services": [one, two | {"model": f"{files}/small.gguf"}]})
    found = resolve(spec, RTX_3090)
    places = [path for plan in found.plan.services for _, path in found.files(plan, spec.weights)]
    assert sorted(set(places)) == [f"/var/lib/rigwright/weights/{name}.gguf" for name in ("big", "small")]
    # Those of repositories lie by themselves.
    drafts = parse_spec("rig1", {"services": [one | {"draft_model": "hf:org/repo:small.gguf"}]}).services[0].draft_model
    assert weights_path(drafts, spec.weights) == "/var/lib/rigwright/weights/org--repo/small.gguf"


def test_lock_holds_it_and_notices_another_file(files):
    """With its sum; another content under the same name is a change, as is another name."""
    spec = spec_of(files)
    entry, _ = pin(resolve(spec, RTX_3090), spec, RTX_3090, rig="rig1")
    pinned = entry.services["chat"].draft_model
    assert [(file.name, len(file.sha256)) for file in pinned.files] == [("small.gguf", 64)]
    assert not [one for one in entry.services["chat"].model.files if one.name == "small.gguf"]
    held = resolve(spec, RTX_3090, entry)
    assert held.is_locked and flags(held) == flags(resolve(spec, RTX_3090))
    assert [file.source.file_name for file in held.models["chat"].files] == ["big.gguf", "small.gguf"]
    write_tiny_model(files / "small.gguf", "llama", seed=9)
    changed = resolve(spec, RTX_3090, entry, lookup=Lookup())
    assert not changed.is_locked and "services.chat.draft_model" in str(changed.changes[0])
    assert list(lock_changes(entry, spec_of(files, draft_model=None), RTX_3090))
    secret = spec_of(files, draft_model="https://host.example/small.gguf?token=hunter2")
    assert "hunter2" not in str([str(one) for one in lock_changes(entry, secret, RTX_3090)])


def test_dry_run_leaves_room_for_it(files):
    """llama-fit-params knows nothing of it: what it takes is not there for the model."""
    shown = []
    for changes in ({}, {"draft_model": None}):
        spec = spec_of(files, **changes)
        found = resolve(spec, RTX_3090)
        text = dry_run(found.instances(spec)[0], RTX_3090)
        shown.append(next(int(line.partition("=")[2]) for line in text.splitlines() if line.startswith("ROOM=")))
        assert "--spec-" not in text.partition("\n# ")[0]
    memory = resolve(spec_of(files), RTX_3090).plan.services[0].memory
    taken = sum(one.size_bytes for one in memory.parts if one.name in ("draft model", "drafting") and one.device == 0)
    assert shown[1] == 24 << 10 and shown[1] - shown[0] == -(-taken // MIB)


def test_gpus_share_layers_beside_a_draft_model_only_where_that_is_asked_for(files):
    """Nobody has measured the two together: who names the layout gets it."""
    first = RTX_3090.gpus[0]
    two = replace(RTX_3090, gpus=(first, replace(first, index=1, uuid="GPU-2")), gpu_count=2)
    assert resolve(spec_of(files, gpu=[0, 1]), two).plan.services[0].layout.kind == "single"
    assert resolve(spec_of(files, gpu=[0, 1], layout="tensor"), two).plan.services[0].layout.kind == "tensor"


# A model's other half ------------------------------------------------------------------------------------------------


@pytest.fixture
def assistant(tmp_path):
    """A file like mtp-gemma-4-31B-it.gguf, and one to draft for."""
    write_tiny_model(tmp_path / "big.gguf", "llama")
    drafter = read_model(write_tiny_model(tmp_path / "small.gguf", "llama", seed=3))
    return replace(drafter, architecture="gemma4-assistant")


def test_other_half_of_a_model_has_no_cache_of_its_own(assistant):
    """It reads that of its model: at any context it takes its weights and what computing needs."""
    plain = replace(assistant, architecture="llama")

    def taken(model, tokens):
        found = drafting_of(a_variant(model), Load(context_tokens=tokens), on_gpu=True)
        return found.weights_bytes, found.context_bytes

    assert taken(assistant, 262144)[1] < taken(plain, 262144)[1]
    assert taken(assistant, 262144)[0] == taken(plain, 262144)[0]


def a_variant(model):
    return Variant(None, "big", "", "gguf", 1, drafter=Drafter("/w/small.gguf", model, 5))


def test_other_half_drafts_as_the_makers_mean_it(files, monkeypatch):
    """By draft-mtp, also where GPUs share layers, and its gain counts."""
    first = RTX_3090.gpus[0]
    two = replace(RTX_3090, gpus=(first, replace(first, index=1, uuid="GPU-2")), gpu_count=2)
    monkeypatch.setattr("rigwright.plan.drafting.is_assistant", bool)
    monkeypatch.setattr("rigwright.plan.engines.llamacpp.attempts.is_assistant", bool)
    monkeypatch.setattr("rigwright.plan.engines.llamacpp.flags.is_assistant", bool)
    service = resolve(spec_of(files, gpu=[0, 1], layout="tensor"), two).plan.services[0]
    said = {flag.name: flag.value for flag in service.flags}
    assert said["--spec-type"] == "draft-mtp" and said["--spec-draft-model"].endswith("small.gguf")
    assert service.speed and service.speed.undrafted and service.speed.expected > service.speed.undrafted


def test_plan_says_that_there_is_one():
    """With how to have it, where drafts gain something and nobody has said that there shall be none."""

    def notes(gpus, **keys):
        wish = ServiceWish(name="chat", model="gemma-4-31b", engine="llamacpp", **keys)
        offers = variants(model_of("gemma-4-31b", where="test"))
        hardware = described((gpus,), ram_bytes=64 * GIB).hardware
        return [str(one) for one in plan_rig(hardware, [Request(wish, offers)], is_preview=True).notes]

    (line,) = [one for one in notes("4x3090") if "A DRAFTER FOR" in one]
    assert "draft_model: hf:unsloth/gemma-4-31B-it-GGUF:mtp-gemma-4-31B-it.gguf" in line
    for gpus, keys in (("3090", {"draft": 0}), ("4x3090", {"users": 8}), ("M4 Max 64GB", {}), ("none", {})):
        assert not any("A DRAFTER FOR" in one for one in notes(gpus, **keys))
