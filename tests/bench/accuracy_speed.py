"""How near computed speeds come to published ones: a part of docs/accuracy.md, as Markdown; run alone, every row."""

from __future__ import annotations

import json
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from rigwright.models.parameters import model_from_parameters
from rigwright.models.values import Model
from rigwright.plan.memory import Placement
from rigwright.plan.speed import Speed, Throughput, decode_speed, throughput_of
from rigwright.plan.speed.kinds import kind_of, settings

DATA = Path(__file__).parents[1] / "unit" / "data"
GIB = 1024**3
# What of a class counts as its bias needs so many rows.
FEW = 4
# GB/s one way of the links between the cards of speed_engines.json: PCIe 3.0 with 16 lanes, peer to peer.
_LINK_GBYTES_PER_SECOND = 13.0

_HEAD = """\
## Speed

Tokens per second of one request against {count} published measurements: {since} of builds from June 2026 on, which set
the constants (`rigwright/catalogue/speed.yml`), and {older} of older ones, which only checked the shape: newer builds
are faster, so that the formula is above them. This is a fit, then. For what to expect elsewhere, take this: its
predecessors were held four times against public measurements that nobody had looked at before. Of 81 in the first
sample 65 % lay in the range, and the median error was 14 %; of 163 in the second 81 % and 12 %; of 129 in the third
84 % and 11 %; of 76 in the fourth, on cards from a GTX 1080 to a B300, 83 % lay between 0.8 and 1.33 times, and the
median error was 14 %, most of it on Ada, Hopper and Gemma 4. What each taught was then fitted. No command reproduces
these shares: they are those of the constants of their day, and half of the third sample is not kept here.

In the range: 25 % around the expected speed; bias: the mean of expected ÷ measured - 1.
"""
_TAIL = """
For comparison, what users report of llmfit 1.x: errors of 2.2 to 13 times on mixtures before its fixes (issues 449,
474, 805, 921), and 3 to 6 % in one later case (pull request 755).

What misses, of builds from June 2026 on:

{misses}

Some of the rest is age: kernels for recurrent layers became 10 to 50 % faster between February and August 2026, and
before flash attention was the default, speed fell much faster with depth. Some is the card:
RDNA 4 under Vulkan and under ROCm differ by up to a half, where the formula knows one kind.
Measure your own card with `llama-bench -o json`, and the measurement counts instead of the formula.
"""


class Result(NamedTuple):
    """One measurement beside its estimate. `group` is the kind of card, the engine, and dense or mixture."""

    group: tuple[str, str, str]
    row: dict[str, Any]
    measured: float
    expected: float

    @property
    def error(self) -> float:
        """How far the expected speed is off, as a share of the measured one."""
        return self.expected / self.measured - 1

    @property
    def is_inside(self) -> bool:
        """Whether the measurement is within a quarter of the expected speed."""
        return 0.75 * self.expected <= self.measured <= 1.25 * self.expected

    @property
    def place(self) -> str:
        """Card, model and depth."""
        count = self.row["n_gpu"] * self.row.get("copies", 1)
        cards = f"{count} × {self.row['gpu']}" if count > 1 else self.row["gpu"]
        return f"{cards}, {self.row['model']} {self.row.get('quant', '')}".rstrip()


def rows(name: str) -> list[dict[str, Any]]:
    """The measurements of one file."""
    found: list[dict[str, Any]] = json.loads((DATA / f"speed_{name}.json").read_text())
    return found


@cache
def _parameters() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DATA / "speed_models.json").read_text())
    return found


@cache
def _model(name: str, file_gib: float) -> Model:
    return model_from_parameters(name, _parameters()[name], file_bytes=int(file_gib * GIB))


def speed_of(row: dict[str, Any]) -> Speed:
    """The estimate for a row of any of the files."""
    given, throughput, count = _model(row["model"], row["file_gib"]), _throughput(row), row["n_gpu"]
    placement = None
    if shares := row.get("shares"):
        placement = Placement(gpu_layers=given.main_layers, shares=tuple(shares))
    elif experts := row.get("cpu_expert_layers"):
        layers, each = given.main_layers, given.main_layers // count
        split = (*[each] * (count - 1), layers - each * (count - 1)) if count > 1 else ()
        placement = Placement(gpu_layers=layers, cpu_expert_layers=experts, split=split)
    return decode_speed(
        given,
        throughputs=[throughput] * count,
        placement=placement,
        depth_tokens=row.get("depth", 600),
        cache_types=(row.get("cache", "f16"), row.get("cache", "f16")),
        engine="vllm" if row.get("engine") == "vllm" else "llamacpp",
        tensor_parallel=row.get("tp", 1),
        link_gbytes_per_second=row.get("link_gbs", _LINK_GBYTES_PER_SECOND),
        users=row.get("users", 1),
    )


def _throughput(row: dict[str, Any]) -> Throughput:
    throughput, backend = throughput_of(row["gpu"], row.get("bandwidth_gbs")), (row.get("backend") or "").lower()
    return throughput._replace(backend=backend) if backend else throughput


def _result(row: dict[str, Any], measured: float, expected: float) -> Result:
    form = "mixture" if _model(row["model"], row["file_gib"]).is_mixture else "dense"
    engine = "vLLM" if row.get("engine") == "vllm" else "llama.cpp"
    engine += ", tensor split" if row.get("shares") else ""
    return Result((kind_of(_throughput(row)).name.replace("_", " "), engine, form), row, measured, expected)


@cache
def results() -> tuple[Result, ...]:
    """Every published speed of one request with its estimate."""
    found = (row for name in ("cases", "published", "engines") for row in rows(name))
    return tuple(_result(row, row["decode_tps"], speed_of(row).expected) for row in found)


@cache
def shared_results() -> tuple[Result, ...]:
    """Every published speed of several users; `users` are those of all copies."""
    found = []
    for row in rows("users"):
        each = {**row, "users": row["users"] // row["copies"], "n_gpu": row["tp"]}
        expected = (speed_of(each).aggregate or 0.0) * row["copies"]
        found.append(_result({**row, "n_gpu": row["tp"]}, row["aggregate_tps"], expected))
    return tuple(found)


@cache
def prompt_results() -> tuple[Result, ...]:
    """Every published speed of prompts; the middle of a range counts."""
    return tuple(
        _result(row, (row["low_tps"] * row["high_tps"]) ** 0.5, speed_of(row).prefill_expected or 0.0)
        for row in rows("prompts")
    )


def draft_gains() -> dict[str, list[float]]:
    """What drafts made of the speed of a dense model, by kind of card, in order; `, 4` where four or more differ."""
    gains: dict[str, list[float]] = defaultdict(list)
    for row in json.loads((DATA / "speed_drafts.json").read_text())["pairs"]:
        is_four = row["drafts"] >= 4 and row["kind"] in settings()["drafts"]["four"]
        name = f"{row['kind']}, 4" if is_four else row["kind"] or "different cards"
        gains[name].append(row["drafted_tps"] / row["plain_tps"])
    return {kind: sorted(gains[kind]) for kind in sorted(gains)}


def by_group(found: Iterable[Result]) -> dict[tuple[str, str, str], list[Result]]:
    """The results of each class, in order."""
    groups: dict[tuple[str, str, str], list[Result]] = defaultdict(list)
    for result in found:
        groups[result.group].append(result)
    return {group: groups[group] for group in sorted(groups)}


def bias(found: Iterable[Result]) -> float:
    """The mean error."""
    return statistics.mean(result.error for result in found)


def expected_gain(kind: str) -> dict[str, float]:
    """The row of speed.yml for a kind of `draft_gains`."""
    known = settings()["drafts"]
    name, _, four = kind.partition(", ")
    found: dict[str, float] = known["four"][name] if four else known["kinds"].get(name, known["dense"])
    return found


def markdown() -> str:
    """The section on speed."""
    since = [one for one in results() if one.row["since_june"]]
    older = [one for one in results() if not one.row["since_june"]]
    head = _HEAD.format(count=len(results()), since=len(since), older=len(older))
    misses = "\n".join(map(_miss, (one for one in since if not one.is_inside)))
    parts = [_classes("since June 2026", since), _classes("older builds", older), _users(), _prompts(), _drafts()]
    return head + "\n" + "\n".join(parts) + _TAIL.format(misses=misses)


def _classes(title: str, found: list[Result]) -> str:
    lines = [f"| {title} | rows | in the range | median error | bias | largest |", "|---|---|---|---|---|---|"]
    lines += [_line(" · ".join(group), mine) for group, mine in by_group(found).items()]
    return "\n".join([*lines, _line("**all**", found)]) + "\n"


def _line(name: str, found: list[Result]) -> str:
    errors = [abs(result.error) for result in found]
    inside = sum(result.is_inside for result in found)
    middle = f"{statistics.median(errors):.1%} | {bias(found):+.1%} | {max(errors):.0%}"
    return f"| {name} | {len(found)} | {inside} | {middle} |"


def _users() -> str:
    mix = settings()["usual_mix"]["prompt_tokens_per_token"]
    lines = [
        f"All users together, vLLM; counted are prompts too, {mix:g} tokens read for each that is made:\n",
        "| | users | measured | expected | error |",
        "|---|---|---|---|---|",
    ]
    for one in shared_results():
        copies = f"{one.row['copies']} × " if one.row["copies"] > 1 else ""
        layout = f"{copies}TP={one.row['tp']}"
        figures = f"{one.measured:,.0f} | {one.expected:,.0f} | {one.error:+.0%}"
        lines.append(f"| {one.place}, {layout} | {one.row['users']} | {figures} |")
    return "\n".join(lines) + "\n"


def _prompts() -> str:
    lines = ["Long prompts:\n", "| | | measured | expected | error |", "|---|---|---|---|---|"]
    for one in prompt_results():
        low, high = one.row["low_tps"], one.row["high_tps"]
        measured = f"{low:,}" if low == high else f"{low:,} to {high:,}"
        what = one.row["note"] or one.group[1]
        lines.append(f"| {one.place} | {what} | {measured} | {one.expected:,.0f} | {one.error:+.0%} |")
    return "\n".join(lines) + "\n"


def _drafts() -> str:
    lines = [
        "Drafts by the model's own layers, Qwen3.8-27B, one user (sudoingX/qwen38-mtp):\n",
        "| cards | pairs | least | median | most | expected |",
        "|---|---|---|---|---|---|",
    ]
    for kind, gains in draft_gains().items():
        row = expected_gain(kind)
        figures = f"{gains[0]:.2f} | {statistics.median(gains):.2f} | {gains[-1]:.2f}"
        expected = f"{row['expected']:.2f} ({row['low']:.2f} to {row['high']:.2f})"
        name = kind.replace("_", " ").replace(", 4", ", 4 drafts and more")
        lines.append(f"| {name} | {len(gains)} | {figures} | {expected} |")
    return "\n".join(lines) + "\n"


def _miss(one: Result) -> str:
    depth, source = f"at {one.row['depth']:,} tokens", one.row["source"]
    return f"- {one.place} {depth}: {one.measured:g} measured, {one.expected:.1f} expected ({source})"


def _every_row() -> Iterator[str]:
    for title, found in (("one", results()), ("all users", shared_results()), ("prompts", prompt_results())):
        for one in sorted(found, key=lambda one: (one.group, not one.row.get("since_june"))):
            age = "since June" if one.row.get("since_june", True) else "older"
            figures = f"{one.expected / one.measured:.2f}  {one.measured:.1f} {one.expected:.1f}"
            yield f"{title:9} {' '.join(one.group):28} {age:10} {figures}  {one.place}"


if __name__ == "__main__":
    sys.stdout.write("\n".join(_every_row()) + "\n")
