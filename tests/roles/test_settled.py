"""Names of the catalogue, engines of other deploys, and lock files: what a deploy makes of them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from rigwright.errors import DoesNotFit, WrongSpec
from rigwright.hardware import Cpu, Gpu, Hardware
from rigwright.lab.tiny_model import write_tiny_model
from rigwright.lock.entry import lock_rig
from rigwright.plan.wish import ModelSource
from rigwright.roles.base.facts import Rig
from rigwright.roles.llamacpp.brief import make_brief
from rigwright.roles.llamacpp.plan import check_lock, new_choices, plan_rig, settled
from rigwright.roles.weights.facts import verified_stamp
from rigwright.spec.rig import parse_spec
from rigwright.spec.weights import WeightsSettings
from rigwright.weights.local import inspect_model

GIB = 1 << 30
# A port that nothing listens on: the catalogue's dimensions stand in for headers.
NOWHERE = {"weights": {"hugging_face": "http://127.0.0.1:9"}}
CPU = Cpu("EPYC", 8, 16)


def machine(count: int = 1, *, gibibytes: int = 24) -> Rig:
    """A rig with so many RTX 3090."""
    gpus = tuple(
        Gpu(
            index=index,
            uuid=f"GPU-{index}",
            pci_id="10de:2204",
            vendor="NVIDIA",
            name="NVIDIA GeForce RTX 3090",
            vram_bytes=gibibytes * GIB,
            compute_capability="8.6",
            state="ok",
            mig=False,
        )
        for index in range(count)
    )
    return Rig(Hardware("debian", "13", "trixie", "6.12", "x86_64", CPU, 64 * GIB, gpus=gpus), uid=0, init="systemd")


def data(**service: object) -> dict[str, object]:
    return {"services": [{"name": "chat", **service}], **NOWHERE}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that was read before."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_name_is_settled_by_the_hardware():
    """The same inventory: a card of 12 GiB gets a coarser file than one of 24, and that file is brought and served."""
    wish = data(model="qwen3.5-9b", engine="llamacpp", context=32768)
    chosen = {}
    for size in (8, 24):
        rig = machine(gibibytes=size)
        brief = settled(make_brief("rig1", wish), rig)
        source = brief.spec.services[0].model
        chosen[size] = brief.models["chat"].offer.file_bytes
        plan = plan_rig(brief, rig)["chat"]
        assert source.repo == "unsloth/Qwen3.5-9B-GGUF" and brief.models["chat"].source == source
        assert plan.argv[1] == f"/var/lib/rigwright/weights/{source.file_name}"
        assert f"/resolve/{source.revision}/" in (brief.models["chat"].url or "")
    assert chosen[8] < chosen[24]


def test_one_question_serves_the_settled_names_too():
    """The probe of an open brief asks for all files that are there, so that nothing has to be asked again."""
    rig = machine()
    brief = make_brief("rig1", data(model="qwen3.5-0.8b:Q8_0", engine="llamacpp"))
    name = settled(brief, rig).spec.services[0].model.file_name
    listing = ["9|50|x.gguf", f"10|60|{name}", f"stamp|{'a' * 64} 10 60 upload|.{name}.rigwright"]
    found = verified_stamp(replace(rig, sections={"weights": listing}), f"/var/lib/rigwright/weights/{name}")
    assert found and found.sha256 == "a" * 64
    assert "*.gguf" in brief.probe.script()
    assert settled(brief, rig).is_open is False


def test_name_that_nobody_knows_stops_before_any_rig():
    """A typing error costs no connection."""
    with pytest.raises(WrongSpec, match=r"rig1: rig\.services\.0\.model: .*did you mean qwen3\.5-9b"):
        make_brief("rig1", data(model="qwen3.5-9bb"))


@pytest.mark.parametrize("wish", [{"engine": "vllm"}, {"engine": "auto", "users": 32}])
def test_service_of_another_engine_is_refused(wish):
    """A plan that ends on vLLM is not served with llama.cpp in silence."""
    brief = make_brief("rig1", data(model="qwen3-8b", **wish))
    with pytest.raises(DoesNotFit) as error:
        settled(brief, machine(2))
    users = f" for {wish['users']} users" if "users" in wish else ""
    refusal = "this deploy serves with llama.cpp: set engine: llamacpp"
    assert error.value.message == f"services.chat: planned on vLLM{users}; {refusal}"


def test_every_part_of_a_model_in_several_files_is_brought():
    """llama-server opens the first part and wants the others beside it."""
    source = ModelSource(repo="org/repo", file="Q8_0/big-00001-of-00003.gguf", sha256="b" * 64)
    local = inspect_model(source, WeightsSettings(hugging_face="http://127.0.0.1:9"))
    assert [file.source.file for file in local.files] == [f"Q8_0/big-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
    assert [file.sha256 for file in local.files] == ["b" * 64, None, None]
    assert len({file.url for file in local.files}) == 3


def test_projector_comes_with_a_model_that_sees():
    """vision: true brings the file that the flag names."""
    rig = machine()
    brief = settled(make_brief("rig1", data(model="qwen3.5-9b", engine="llamacpp", vision=True)), rig)
    projector = brief.models["chat"].files[-1].source.file_name
    argv = plan_rig(brief, rig)["chat"].argv
    assert argv[argv.index("--mmproj") + 1] == f"/var/lib/rigwright/weights/{projector}"


def test_vision_without_a_projector_is_refused():
    """A file of one's own comes without the file that lets it see."""
    with pytest.raises(WrongSpec, match="vision needs a projector"):
        make_brief("rig1", data(model="http://127.0.0.1:9/mine.gguf", vision=True))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / "m.gguf", "llama")


def test_locked_rig_is_held_to_its_lock(model):
    """What is locked is what is planned; the reasons are those of a plan that comes to the same."""
    rig, wish = machine(), data(model=str(model), context=2048)
    lock = lock_rig(parse_spec("rig1", wish), rig.hardware)[0]
    brief = make_brief("rig1", wish, lock=lock, lock_file="rig.lock.yml")
    check_lock(brief, rig)
    assert new_choices(brief, rig) == []
    free = plan_rig(make_brief("rig1", wish), rig)["chat"]
    assert plan_rig(brief, rig)["chat"] == free


def test_lock_wins_over_a_plan_that_would_differ(model):
    """An older plan stays, word for word, and what a new one would do is told."""
    rig, wish = machine(), data(model=str(model), context=2048)
    lock = lock_rig(parse_spec("rig1", wish), rig.hardware)[0]
    chat = lock.services["chat"]
    flags = tuple("--cache-ram 77" if flag.startswith("--cache-ram") else flag for flag in chat.flags)
    older = lock.model_copy(update={"services": {"chat": chat.model_copy(update={"flags": flags})}})
    brief = make_brief("rig1", wish, lock=older, lock_file="rig.lock.yml")
    argv = plan_rig(brief, rig)["chat"].argv
    assert argv[argv.index("--cache-ram") + 1] == "77"
    assert "services.chat.flags: locked --cache-ram 77, which is no more" in new_choices(brief, rig)


def test_other_file_that_a_new_plan_would_choose_is_told():
    """A name that was locked at a coarse file stays there, and the finer one is named."""
    rig, wish = machine(), data(model="qwen3.5-9b", engine="llamacpp", context=32768)
    lock = lock_rig(parse_spec("rig1", wish), rig.hardware)[0]
    fine = lock.services["chat"].model.files[0].name
    chat = lock_rig(parse_spec("rig1", wish), machine(gibibytes=8).hardware)[0].services["chat"]
    brief = make_brief("rig1", wish, lock=lock.model_copy(update={"services": {"chat": chat}}))
    coarse = chat.model.files[0].name
    assert plan_rig(brief, rig)["chat"].argv[1].endswith(f"/{coarse}")
    assert new_choices(brief, rig)[0] == f"services.chat.model: locked {coarse}, now {fine}"


def test_locked_release_is_built():
    """A newer rigwright pins another commit: a locked rig goes on with its own, unless the inventory names one."""
    rig, wish = machine(), data(model="qwen3-8b:Q4_K_M", engine="llamacpp")
    lock = lock_rig(parse_spec("rig1", wish), rig.hardware)[0]
    older = lock.model_copy(update={"build": {**lock.build, "ref": "a" * 40}})
    assert make_brief("rig1", wish, lock=older).spec.llamacpp.ref == "a" * 40
    named = {**wish, "llamacpp": {"ref": "b" * 40}}
    with pytest.raises(DoesNotFit, match=r"rig\.llamacpp\.ref: locked nothing, now b{40}"):
        check_lock(make_brief("rig1", named, lock=older, lock_file="rig.lock.yml"), rig)


def test_file_that_was_replaced_is_refused(model, tmp_path):
    """Another file under the locked name is another model."""
    rig, wish = machine(), data(model=str(model), context=2048)
    lock = lock_rig(parse_spec("rig1", wish), rig.hardware)[0]
    shutil.copy(write_tiny_model(tmp_path / "other.gguf", "llama", seed=5), model)
    with pytest.raises(DoesNotFit, match=r"services\.chat\.model: m\.gguf has sha256 \w{64}, locked is \w{64}"):
        check_lock(make_brief("rig1", wish, lock=lock, lock_file="rig.lock.yml"), rig)


def test_refusal_says_what_differs_and_what_to_do(model):
    """A line for each difference, after one with the file and the command."""
    wish = data(model=str(model), context=2048)
    lock = lock_rig(parse_spec("rig1", wish), machine(2).hardware)[0]
    brief = make_brief("rig1", data(model=str(model), context=1024), lock=lock, lock_file="rigs.lock.yml")
    with pytest.raises(DoesNotFit) as error:
        check_lock(replace(brief, inventory="rigs.py"), machine(1))
    assert error.value.message.splitlines() == [
        "rigs.lock.yml no longer matches; nothing was touched. "
        "To take the new state: rigwright plan rigs.py --replan --limit rig1",
        "GPU 1 (NVIDIA GeForce RTX 3090, GPU-1) is locked, and is not there",
        "services.chat.context: locked 2048, now 1024",
    ]
