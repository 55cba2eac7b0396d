"""Compute buffers as llama.cpp's own dry runs say: what a plan makes of them, and that it comes to an end."""

from __future__ import annotations

import base64
import random
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rigwright.errors import DoesNotFit, RigwrightError
from rigwright.hardware import Hardware
from rigwright.models.values import Model
from rigwright.models.variants import model_of, variants
from rigwright.plan.memory import Load, Placement, Said, compute_bytes, estimate_memory, fast_bytes, grown
from rigwright.plan.memory.compute import margin_bytes
from rigwright.plan.memory.said import MOST_LINES, asked, read_lines, stages_of
from rigwright.plan.memory.values import Growth
from rigwright.plan.rig_plan import Request, plan_rig
from rigwright.plan.service import ServicePlan
from rigwright.plan.wish import ServiceWish
from rigwright.records.reading import read_records
from rigwright.records.values import Deployed, RigRecords
from rigwright.resolve import resolve
from rigwright.resolve.instance import Instance
from rigwright.roles.llamacpp.dry_run import _explained, _most, _planned, _said
from rigwright.spec.rig import parse_spec
from rigwright.units import GIB, MIB

from .conftest import build_machine

FROM_FILES = f"sha256:{'0f' * 32}"
PORTS = {"chat": 8080, "chat2": 8081}
LINE = "b11434 0123456789abcdef 131072 4 512 0 0 0 1 q8_0 q8_0 pipelined 0 5200"


def request(model: str = "qwen3.5-27b", said: tuple[Said, ...] = (), **keys: Any) -> Request:
    wish = ServiceWish(**{"name": "chat", "model": model, "engine": "llamacpp", **keys})
    return Request(wish, variants(model_of(model, where="test")), said=said)


def instance(hardware: Hardware, asked_for: Request) -> tuple[Instance, Model]:
    service = plan_rig(hardware, [asked_for]).services[0]
    model = next(one.model for one in asked_for.variants if one.quant == service.quant and one.format == "gguf")
    return Instance(asked_for.wish, service), model


def buffers(service: ServicePlan, name: str = "compute buffers") -> list[int]:
    assert service.memory
    return [part.size_bytes for part in service.memory.parts if part.name == name and part.device is not None]


def told(hardware: Hardware, asked_for: Request, mib: int) -> Said:
    """What a dry run says that finds the first buffer so large."""
    found = _said(*instance(hardware, asked_for))
    assert found
    gpus = len(instance(hardware, asked_for)[0].gpus)
    return found._replace(buffers_mib=(mib, *[0] * (gpus - 1)))


def test_line_is_read_as_it_was_written() -> None:
    (said,) = read_lines(LINE)
    assert read_lines(LINE.replace("b11434", FROM_FILES))[0].release == FROM_FILES
    assert said.line == LINE and (said.load.slots, said.load.cache_type_k, said.buffers_mib) == (4, "q8_0", (0, 5200))


@pytest.mark.parametrize(
    "line",
    [
        LINE.replace("5200", "52000000"),
        LINE.replace(" 0 5200", ""),
        LINE.replace("5200", "-1"),
        LINE.replace("5200", "٣"),
        LINE.replace("q8_0 q8_0", "q8_0 q9_9"),
        LINE.replace("131072 4", "131072 0"),
        LINE.replace("131072 4", "0 4"),
        LINE.replace("pipelined", "cloud"),
        LINE.replace("b11434", "b" * 129),
        LINE + " 1" * 64,
        LINE + "x",
        "\0" * 9000,
        "",
    ],
)
def test_what_is_no_line_is_left_out(line: str) -> None:
    assert read_lines(line) == () and read_lines(f"{line}\n{LINE}"[-len(LINE) :]) != ()


def test_file_has_an_end() -> None:
    """However long it is, and whatever else stands in an answer."""
    assert len(read_lines(f"{LINE}\n" * 100_000)) == MOST_LINES
    for content in (b"\xff\xfe" * 99, f"{LINE}\n".encode() * 99, b"!"):
        sent = base64.b64encode(content).decode() if content != b"!" else "!"
        records = read_records({"deployed chat": [f"buffers={sent}", "MainPID=0"]})
        assert len(read_lines(records.of("chat").buffers)) in (0, MOST_LINES)
        assert records.of("chat").properties == {"MainPID": "0"}


@pytest.mark.parametrize("placement", [Placement(40), Placement(40, 3), Placement(40, 0, (20, 20))])
def test_growth_is_of_its_kind_of_placement(model_35b: Model, placement: Placement) -> None:
    """Both ways of counting agree; the margin stands where the formula with it is more."""
    load = Load(65536, slots=2, cache_type_k="q8_0", cache_type_v="q8_0")
    key = asked("b1", model_35b, load, placement)
    assert key
    stage = stages_of(key, model_35b, 1)[0]
    plain = compute_bytes(model_35b, load, placement)
    for times in (0.5, 1.1, 3.0):
        mib = int(stage * times) // MIB
        (one,) = grown([load], model_35b, "b1", [key._replace(buffers_mib=(mib,))])
        for other in (Placement(40), Placement(40, 3), Placement(40, 0, (20, 20))):
            memory = estimate_memory(model_35b, one, other)
            assert fast_bytes(model_35b, one, other)[0] == tuple(memory.on(at) for at in range(len(other.devices)))
            is_grown = not any(part.name == "margin for compute" for part in memory.parts)
            assert is_grown == (times == 3.0 and other == placement)
        sizes = [
            part.size_bytes
            for part in estimate_memory(model_35b, one, placement).parts
            if part.name == "compute buffers"
        ]
        if times == 3.0:
            assert mib * MIB <= sizes[0] <= mib * MIB * 1.002 and sizes[0] > plain[0] + margin_bytes(plain[0])
        else:
            assert sizes[0] == plain[0]


def test_growth_is_of_one_model_release_and_cache(model_35b: Model) -> None:
    load = Load(65536)
    key = asked("b1", model_35b, load, Placement(40))
    assert key
    line = key._replace(buffers_mib=(4096,))

    def growth(of: Load = load, release: str = "b1", said: Said = line) -> Growth:
        (found,) = grown([of], model_35b, release, [said])
        return found.growth

    assert growth().whole > 1000 and growth().pipelined == growth().spilled == 0
    assert growth(load._replace(slots=4, ubatch_tokens=2048, context_tokens=4096)) == growth()
    for lines in ([line, line._replace(buffers_mib=(3000,))], [line._replace(buffers_mib=(3000,)), line]):
        assert next(grown([load], model_35b, "b1", lines)).growth == growth(), "the most that was said"
    quantised = load._replace(cache_type_k="q8_0", cache_type_v="q8_0")
    assert growth(quantised) == growth(), "what a plain cache takes a quantised one takes too"
    for other in (
        growth(release="b2"),
        growth(said=line._replace(load=quantised)),
        growth(load._replace(has_flash_attention=False)),
        growth(said=line._replace(model="0" * 16)),
        growth(said=line._replace(buffers_mib=(9_999_999,))),
        growth(said=line._replace(buffers_mib=(0,))),
    ):
        assert other == Growth()


@pytest.fixture(scope="module")
def rtx_3090() -> Hardware:
    return build_machine(gpus=["RTX 3090"])


def test_plan_counts_with_it(rtx_3090: Hardware) -> None:
    """A shorter context, the buffer as it was said, in why and among the notes; without it nothing is as before."""
    before = plan_rig(rtx_3090, [request()]).services[0]
    line = told(rtx_3090, request(), 6000)
    plan = plan_rig(rtx_3090, [request(said=(line,))])
    after = plan.services[0]
    assert after.context_tokens < before.context_tokens or after.quant != before.quant
    if after.quant == before.quant:
        assert buffers(after)[0] > sum(buffers(before)) and not buffers(after, "margin for compute")
    (reason,) = [one for one in after.reasons if one.choice.startswith("compute buffers ")]
    assert "as llama.cpp's own dry run on this rig says" in reason.because
    assert [note for note in plan.notes if note.choice == reason.choice]
    assert plan_rig(rtx_3090, [request(said=(line._replace(release="b1"),))]).services[0] == before


def test_records_bring_it_to_the_service_that_was_refused(rtx_3090: Hardware) -> None:
    """Of all its copies; another service with the same model is planned as before."""
    same = {"model": "qwen3.5-9b", "engine": "llamacpp", "layout": "single", "context": 131072}
    wishes = [{"name": name, "port": port, **same} for name, port in PORTS.items()]
    spec = parse_spec("rig", {"services": wishes})
    pair = build_machine(gpus=["RTX 3090"] * 2)
    before = resolve(spec, pair).plan.services
    line = told(rtx_3090, request("qwen3.5-9b", context=131072), 5000)
    lines = [line._replace(place=place).line for place in ("whole", "pipelined", "spilled")]
    copy = Deployed("chat@1", buffers="\n".join(lines))
    after = resolve(spec, pair, records=RigRecords({copy.name: copy})).plan.services
    assert [sum(buffers(one)) > 4 * GIB for one in after] == [True, False]
    assert not [one for one in before if sum(buffers(one)) > 4 * GIB]


def test_refusal_says_where_it_is_from() -> None:
    """Who wants the formula back finds the file."""
    small = build_machine(gpus=["RTX 3090"], ram_gib=4)
    wish = {"model": "qwen3.5-9b", "context": 65536, "cache_type": "q8_0"}
    line = told(small, request(**wish), 24_000)
    with pytest.raises(DoesNotFit) as refused:
        plan_rig(small, [request(**wish, said=(line,))])
    assert "count as llama.cpp's own dry run says; delete /var/lib/rigwright/services/chat/buffers" in str(
        refused.value
    )


MACHINES: dict[str, dict[str, Any]] = {
    "3090": {"gpus": ["RTX 3090"]},
    "4060": {"gpus": ["RTX 4060"]},
    "2x3090": {"gpus": ["RTX 3090", "RTX 3090"]},
    "24+12": {"gpus": ["RTX 3090", "RTX 3060"]},
    "4x": {"capture": "4x-l40-pix-node", "gpu": "RTX 3090"},
    "crossed": {"capture": "4x-crossed-pairs-03-12-p2p-cns", "gpu": "RTX 4090"},
}


class Rig:
    """A rig on which each deploy ends with a dry run, as estimate.sh judges it."""

    def __init__(self, hardware: Hardware, asked_for: Request, truth: Callable[[int, int, int], int]) -> None:
        self.hardware, self.asked_for, self.truth = hardware, asked_for, truth
        self.lines: tuple[Said, ...] = ()
        self.runs: list[ServicePlan] = []

    def deploy(self) -> str:
        """`serves`, `noted`, `refused` by the dry run, or `full` where the plan itself refuses."""
        mine = self.asked_for._replace(said=read_lines("\n".join(one.line for one in self.lines)))
        try:
            found, model = instance(self.hardware, mine)
        except DoesNotFit:
            return "full"
        service, planned, said = found.plan, _planned(found), _said(found, model)
        if not planned:
            return "serves"
        assert said and service.memory
        explained, most, stages = (
            _explained(planned, model, said),
            _most(said, model, len(planned)),
            stages_of(said, model, len(planned)),
        )
        says = [self.truth(at, stage // MIB, len(self.lines)) for at, stage in enumerate(stages)]
        news = [mib if known < mib <= limit else 0 for mib, known, limit in zip(says, explained, most, strict=True)]
        for at, gpu in enumerate(found.gpus):
            size = next(one.vram_bytes or 0 for one in self.hardware.gpus if one.uuid == gpu.uuid) // MIB
            rest = service.memory.on(at) // MIB - planned[at]
            if rest + (news[at] or min(says[at], planned[at])) > size:
                line = said._replace(buffers_mib=tuple(news))
                assert line not in self.lines, "the plan knew it, and has that buffer"
                if not any(news) or len(self.lines) >= MOST_LINES:
                    return "refused"
                self.lines += (line,)
                return "noted"
        self.runs.append(service)
        return "serves"


@pytest.mark.patience
@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(sorted(MACHINES)),
    st.sampled_from(["qwen3.5-9b", "qwen3.5-27b", "qwen3.5-35b-a3b", "gemma-3-27b", "llama-3.3-70b"]),
    st.fixed_dictionaries(
        {}, optional={"users": st.sampled_from([1, 4]), "goal": st.sampled_from(["context", "latency"])}
    ),
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 12_000)), min_size=1, max_size=4),
    st.booleans(),
)
def test_deploys_come_to_an_end(
    name: str, model: str, keys: dict[str, Any], errors: list[tuple[int, int]], is_moody: bool
) -> None:
    """Whatever dry runs say: some deploy serves, or is refused for good; then the plan stays, and so does what runs.

    What is said is the formula times one number and another more, on each GPU; a moody program says something else
    each time.
    """
    hardware = build_machine(**MACHINES[name])

    def truth(gpu: int, stage_mib: int, asked_before: int) -> int:
        times, more = errors[(gpu + (asked_before if is_moody else 0)) % len(errors)]
        return stage_mib * times // 10 + more

    try:
        rig = Rig(hardware, request(model, **keys), truth)
        outcomes = [rig.deploy()]
    except RigwrightError:
        return
    while outcomes[-1] == "noted":
        outcomes.append(rig.deploy())
        assert len(outcomes) <= MOST_LINES + 1
    lines = rig.lines
    again = [rig.deploy() for _ in range(2)]
    assert again == [outcomes[-1]] * 2 and rig.lines == lines
    assert all(one == rig.runs[0] for one in rig.runs), "what serves is never planned anew for what was said"


@pytest.mark.patience
def test_next_deploy_mostly_fits(capsys: pytest.CaptureFixture[str]) -> None:
    """With buffers of one to three times the formula and up to 1.5 GiB more: what is refused, most at the next run."""
    numbers, models = random.Random(1), ["qwen3.5-9b", "qwen3.5-27b", "qwen3.5-35b-a3b", "gemma-3-27b", "llama-3.3-70b"]
    runs: Counter[int] = Counter()
    for name, model in product(sorted(MACHINES), models):
        for goal in ({}, {"goal": "context"}):
            times, more = numbers.randint(10, 30), numbers.randint(0, 1500)
            rig = Rig(build_machine(**MACHINES[name]), request(model, **goal), partial(larger, times, more))
            outcomes = [rig.deploy()]
            while outcomes[-1] == "noted":
                outcomes.append(rig.deploy())
            assert outcomes[-1] == "serves"
            runs[len(outcomes)] += 1
    with capsys.disabled():
        sys.stdout.write(f"\nserved by the deploy number: {dict(sorted(runs.items()))}\n")
    assert runs[2] >= 4 * sum(count for number, count in runs.items() if number > 2) > 0


def larger(times: int, more: int, gpu: int, stage_mib: int, asked_before: int) -> int:
    return stage_mib * times // 10 + more
