"""From an inventory to what runs: names of the catalogue, engines, replicas, locks, orphans."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from rigwright.errors import Refused, WrongSpec
from rigwright.lab.tiny_model import write_tiny_model
from rigwright.plan.engines.llamacpp.settings import LlamacppSettings
from rigwright.plan.source import ModelSource
from rigwright.resolve import resolve
from rigwright.resolve.pin import pin
from rigwright.roles.service.context import make_context
from rigwright.roles.weights.facts import stamp_path, verified_stamp
from rigwright.spec.rig import parse_spec
from rigwright.spec.weights import WeightsSettings
from rigwright.weights.local import inspect_model, weights_path

# A port that nothing listens on: the catalogue's dimensions stand in for headers.
NOWHERE = {"weights": {"hugging_face": "http://127.0.0.1:9"}}


def data(**service):
    return {"services": [{"name": "chat", **service}], **NOWHERE}


def resolved(wish, hardware, lock=None, **options):
    return resolve(parse_spec("rig1", wish), hardware, lock, **options)


def locked(wish, hardware):
    spec = parse_spec("rig1", wish)
    return pin(resolve(spec, hardware), spec, hardware, rig="rig1")[0]


def test_name_is_resolved_by_the_hardware(cards):
    """The same inventory: a card of 8 GiB gets a coarser file than one of 24, and that file is brought and served."""
    chosen = {}
    for size in (8, 24):
        found = resolved(data(model="qwen3.5-9b", engine="llamacpp", context=32768), cards(gibibytes=size))
        local, plan = found.models["chat"], found.plan.services[0]
        chosen[size] = local.variant.file_bytes
        assert local.source.repo == "unsloth/Qwen3.5-9B-GGUF" and plan.source == local.source
        assert plan.argv[1] == f"/var/lib/rigwright/weights/{local.source.place}"
        assert f"/resolve/{local.source.revision}/" in (local.url or "")
    assert chosen[8] < chosen[24]


def test_reasons_and_alternatives_reach_the_rig(cards):
    """Why this quant, and what else was possible: what `plan` says is what is announced and recorded."""
    wish = data(model="qwen3.5-9b", engine="llamacpp")
    (plan,) = resolved(wish, cards(gibibytes=12)).plan.services
    assert any("best for latency" in reason.because for reason in plan.reasons)
    assert len(plan.alternatives) == 3
    held = resolved(wish, cards(gibibytes=12), locked(wish, cards(gibibytes=12)))
    assert held.is_locked and held.plan.services[0].reasons == plan.reasons


def test_one_question_serves_the_resolved_names_too(cards, blank):
    """The probe of a name of the catalogue asks for all files that are there, so that nothing has to be asked again."""
    context = make_context("rig1", data(model="qwen3.5-0.8b:Q8_0", engine="llamacpp"))
    path = weights_path(context.resolved(blank(cards())).models["chat"].source, context.spec.weights)
    listing = ["9|50|/w/x.gguf", f"10|60|{path}", f"stamp|{'a' * 64} 10 60 upload|{stamp_path(path)}"]
    found = verified_stamp(blank(sections={"weights": listing}), path)
    assert found and found.sha256 == "a" * 64
    assert "*.gguf" in context.probe.script()


def test_name_that_nobody_knows_stops_before_any_rig():
    """A typing error costs no connection."""
    with pytest.raises(WrongSpec, match=r"rig1: rig\.services\.0\.model: .*did you mean qwen3\.5-9b"):
        make_context("rig1", data(model="qwen3.5-9bb"))


def test_services_of_two_engines_are_planned_together(cards):
    """One plan for the rig: what vLLM takes, llama.cpp does not count on."""
    wish = {
        "services": [
            {"name": "chat", "model": "qwen3-8b", "engine": "llamacpp", "context": 8192},
            {"name": "many", "model": "qwen3-8b", "engine": "vllm", "port": 9000, "users": 8},
        ],
        **NOWHERE,
    }
    found = resolved(wish, cards(2))
    chat, many = found.plan.services
    assert (chat.engine, many.engine) == ("llamacpp", "vllm")
    assert not {gpu.uuid for gpu in chat.gpus} & {gpu.uuid for gpu in many.gpus}
    assert set(found.models) == {"chat"}


def test_every_part_of_a_model_in_several_files_is_brought():
    """llama-server opens the first part and wants the others beside it."""
    source = ModelSource(repo="org/repo", file="Q8_0/big-00001-of-00003.gguf", sha256="b" * 64)
    local = inspect_model(source, WeightsSettings(hugging_face="http://127.0.0.1:9"))
    assert [file.source.file for file in local.files] == [f"Q8_0/big-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
    assert [file.sha256 for file in local.files] == ["b" * 64, None, None]
    assert len({file.url for file in local.files}) == 3


def test_projector_comes_with_a_model_that_sees(cards):
    """vision: true brings the file that the flag names."""
    found = resolved(data(model="qwen3.5-9b", engine="llamacpp", vision=True), cards())
    projector = found.models["chat"].files[-1].source.place
    argv = found.plan.services[0].argv
    assert argv[argv.index("--mmproj") + 1] == f"/var/lib/rigwright/weights/{projector}"


def test_vision_without_a_projector_is_refused():
    """A file of one's own comes without the file that lets it see."""
    with pytest.raises(WrongSpec, match="vision needs a projector"):
        make_context("rig1", data(model="http://127.0.0.1:9/mine.gguf", vision=True))


def test_build_has_kernels_for_the_types_that_are_asked_for(cards):
    """K and V of two types: a build gets their kernels beside the usual ones, unless the inventory lists others."""
    wish = data(
        model="qwen3-8b:Q4_K_M", engine="llamacpp", gpu=0, flags={"--cache-type-k": "q8_0", "--cache-type-v": "q4_0"}
    )
    found = resolved(wish, cards())
    assert "q4_0" in found.plan.services[0].argv
    options = found.engines["llamacpp"].settings.asked_options
    assert options == {"GGML_CUDA_FA_QUANTS": "bf16-bf16;f16-f16;q4_0-q4_0;q8_0-q8_0;q8_0-q4_0"}
    wish["llamacpp"] = {"cmake_options": {"GGML_CUDA_FA_QUANTS": "f16-f16"}}
    with pytest.raises(WrongSpec, match=r"or add q8_0-q4_0 to GGML_CUDA_FA_QUANTS in rig.llamacpp.cmake_options"):
        resolved(wish, cards())
    wish["llamacpp"] = {"cmake_options": {"GGML_CUDA_FA_QUANTS": "q8_0-q4_0;f16-f16"}}
    assert "q4_0" in resolved(wish, cards()).plan.services[0].argv


@pytest.fixture
def mine(tmp_path, model):
    """A model file that a test may replace."""
    return shutil.copy(model, tmp_path / "m.gguf")


def test_locked_rig_is_held_to_its_lock(mine, cards):
    """What is locked is what is planned; the reasons are those of a plan that comes to the same."""
    wish = data(model=str(mine), context=2048)
    held = resolved(wish, cards(), locked(wish, cards()))
    assert held.is_locked and held.changes == ()
    assert held.plan.services == resolved(wish, cards()).plan.services


def test_lock_wins_over_a_plan_that_would_differ(mine, cards):
    """An older plan stays, word for word, and what a new one would do is told."""
    wish = data(model=str(mine), context=2048)
    lock = locked(wish, cards())
    chat = lock.services["chat"]
    flags = tuple("--cache-ram 77" if flag.startswith("--cache-ram") else flag for flag in chat.flags)
    older = lock.model_copy(update={"services": {"chat": chat.model_copy(update={"flags": flags})}})
    held = resolved(wish, cards(), older)
    argv = held.plan.services[0].argv
    assert argv[argv.index("--cache-ram") + 1] == "77"
    assert any(str(change).startswith("~ services.chat.flags --cache-ram: 77 -> ") for change in held.changes)


def test_other_file_that_a_new_plan_would_choose_is_told(cards):
    """A name that was locked at a coarse file stays there, and the finer one is named."""
    wish = data(model="qwen3.5-9b", engine="llamacpp", context=32768)
    lock = locked(wish, cards())
    fine = lock.services["chat"].model.files[0].name
    chat = locked(wish, cards(gibibytes=8)).services["chat"]
    held = resolved(wish, cards(), lock.model_copy(update={"services": {"chat": chat}}))
    coarse = chat.model.files[0].name
    assert held.plan.services[0].argv[1].endswith(f"/{coarse}")
    assert str(held.changes[0]) == f"~ services.chat.model: {coarse} -> {fine}"


def test_locked_release_is_built(cards):
    """A newer rigwright pins another commit: a locked rig goes on with its own, unless the inventory names one."""
    wish = data(model="qwen3-8b:Q4_K_M", engine="llamacpp")
    lock = locked(wish, cards())
    older = lock.model_copy(update={"builds": {"llamacpp": {**lock.builds["llamacpp"], "ref": "a" * 40}}})
    settings = resolved(wish, cards(), older).engines["llamacpp"].settings
    assert isinstance(settings, LlamacppSettings) and settings.ref == "a" * 40
    named = resolved({**wish, "llamacpp": {"ref": "b" * 40}}, cards(), older)
    assert not named.is_locked and str(named.changes[0]) == f"+ rig.llamacpp.ref: {'b' * 40}"


def test_file_that_was_replaced_ends_the_lock(mine, cards, tmp_path):
    """Another file under the locked name is another model."""
    wish = data(model=str(mine), context=2048)
    lock = locked(wish, cards())
    shutil.copy(write_tiny_model(tmp_path / "other.gguf", "llama", seed=5), mine)
    found = resolved(wish, cards(), lock)
    assert not found.is_locked
    assert str(found.changes[0]).startswith("~ services.chat.model: sha256 ") and "(m.gguf)" in str(found.changes[0])


def test_refusal_says_what_differs_and_what_to_do(mine, cards, blank):
    """A line for each difference, after one with the file and the command."""
    lock = locked(data(model=str(mine), context=2048), cards(2))
    context = make_context(
        "rig1", data(model=str(mine), context=1024), lock=lock, lock_file="rigs.lock.yml", inventory="rigs.py"
    )
    assert context.lock_refusal(context.resolved(blank(cards(1)))) == [
        "rigs.lock.yml no longer matches; nothing was touched. "
        "To take the new state: rigwright plan rigs.py --replan --limit rig1",
        "- GPU 1 (NVIDIA GeForce RTX 3090, GPU-1): is not there",
        "~ services.chat.context: 2048 -> 1024",
    ]


def test_gpu_without_a_driver_cannot_be_locked(cards):
    """Nothing tells it from another yet."""
    with pytest.raises(
        Refused,
        match=r"no driver answers for GPU 0000:01:00\.0 \(NVIDIA GeForce RTX 3090\), so.*; install the driver first",
    ):
        locked(data(model="qwen3-8b:Q4_K_M", engine="llamacpp"), cards(has_driver=False))


def test_orphan_counts_as_taken_until_it_is_removed(context, cards, blank, serving):
    """What is on the rig and no longer in the inventory leaves less memory and no port, and the plan says so."""
    old = make_context("rig1", data(model="qwen3-8b:Q8_0", engine="llamacpp", context=32768))
    rig = serving(old, blank(cards()))
    wish = {"services": [{"name": "talk", "model": "qwen3-8b:Q8_0", "engine": "llamacpp", "port": 9000}], **NOWHERE}
    beside = resolved(wish, cards(), records=rig.records)
    assert [one.name for one in beside.orphans] == ["chat"]
    assert any(note.choice == "ORPHAN chat" for note in beside.plan.notes)
    alone = resolved({**wish, "remove_orphans": True}, cards(), records=rig.records)
    offered = [found.plan.gpus[0].offered_bytes for found in (beside, alone)]
    taken = rig.records.of("chat").record.gpu_bytes[0]
    assert offered[1] - offered[0] == taken > 8 << 30
    with pytest.raises(Refused, match="port 8080 is that of chat, which is on the rig and not in the inventory"):
        resolved({**wish, "services": [{**wish["services"][0], "port": 8080}]}, cards(), records=rig.records)


def test_orphan_whose_record_cannot_be_read_is_still_named(cards, blank, serving):
    """A record of another version, or a cut one, is no reason to forget the service."""
    rig = serving(make_context("rig1", data(model="qwen3-8b:Q8_0", engine="llamacpp")), blank(cards()))
    broken = replace(rig.records.of("chat"), record=None, record_text="{")
    records = replace(rig.records, services={"chat": broken})
    assert [one.name for one in resolved({"services": []}, cards(), records=records).orphans] == ["chat"]
