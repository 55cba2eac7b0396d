"""How near computed speeds come to published ones: a part of docs/accuracy.md, as Markdown."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

from rigwright.models.parameters import model_from_parameters
from rigwright.plan.speed import decode_speed, throughput_of
from rigwright.plan.speed.kinds import kind_of

DATA = Path(__file__).parents[1] / "unit" / "data"
GIB = 1024**3

_HEAD = """\
## Speed

Tokens per second of one request, llama.cpp, all layers on GPUs, against {count} published measurements.
The constants (`rigwright/catalogue/speed.yml`) were fitted to most of them, so this table is a fit. For what to expect
elsewhere, take this: they were held twice against public measurements that nobody had looked at before. Of 81 in the
first sample 65 % lay in the range, and the median error was 14 %; constants for M1, MI50, V100, Strix Halo and several
cards were then chosen by them. Of 163 in the second 81 % lay in the range, and the median error was 12 %; constants of
six kinds of card were then moved towards them. No command reproduces these two shares: they are those of the constants
of their day, and most of the first sample and half of the second were excerpts without an address, which are not kept
here. The others are in the table. Rows marked "stood aside" were never fitted.

| cards | measurements | in the range | median error | largest |
|---|---|---|---|---|
"""
_TAIL = """
In the range: low to high, 25 % around the expected speed. For comparison, what users report of llmfit 1.x:
errors of 2.2 to 13 times on mixtures before its fixes (issues 449, 474, 805, 921), and 3 to 6 % in one later case
(pull request 755).

What misses:

{misses}

Some of it is age: kernels for recurrent layers became 10 to 50 % faster between February and August 2026, and
before flash attention was the default, speed fell much faster with depth. Some is the card: small Pascal cards compute
longer than they read, and RDNA 4 under Vulkan and under ROCm differ by up to a half, where the formula knows one kind.
Measure your own card with `llama-bench -o json`, and the measurement counts instead of the formula.
"""


class Result(NamedTuple):
    """One measurement beside its estimate."""

    kind: str
    case: dict[str, Any]
    expected: float
    is_inside: bool

    @property
    def error(self) -> float:
        """How far the expected speed is off, as a share of the measured one."""
        return self.expected / float(self.case["decode_tps"]) - 1


def results() -> list[Result]:
    """Every published measurement with its estimate."""
    models = json.loads((DATA / "speed_models.json").read_text())
    found = []
    for case in [
        row for name in ("cases", "published") for row in json.loads((DATA / f"speed_{name}.json").read_text())
    ]:
        throughput = throughput_of(case["gpu"], case["bandwidth_gbs"])
        model = model_from_parameters(case["model"], models[case["model"]], file_bytes=int(case["file_gib"] * GIB))
        speed = decode_speed(model, throughputs=[throughput] * case["n_gpu"], depth_tokens=case["depth"])
        is_inside = speed.low <= case["decode_tps"] <= speed.high
        found.append(Result(kind_of(throughput).name, case, speed.expected, is_inside))
    return found


def markdown() -> str:
    """The section on speed."""
    rows = results()
    groups: dict[str, list[Result]] = defaultdict(list)
    for row in rows:
        groups[row.kind.replace("_", " ")].append(row)
    lines = [_line(name, groups[name]) for name in sorted(groups)]
    lines.append(_line("stood aside", [row for row in rows if not row.case.get("is_fitted", True)]))
    lines.append(_line("**all**", rows))
    misses = [row for row in rows if not row.is_inside]
    return _HEAD.format(count=len(rows)) + "\n".join(lines) + "\n" + _TAIL.format(misses="\n".join(map(_miss, misses)))


def _line(name: str, rows: list[Result]) -> str:
    errors = [abs(row.error) for row in rows]
    inside = sum(row.is_inside for row in rows)
    return f"| {name} | {len(rows)} | {inside} | {statistics.median(errors):.0%} | {max(errors):.0%} |"


def _miss(row: Result) -> str:
    case = row.case
    count = f"{case['n_gpu']} × " if case["n_gpu"] > 1 else ""
    place = f"{count}{case['gpu']}, {case['model']} at {case['depth']:,} tokens"
    return f"- {place}: {case['decode_tps']:g} measured, {row.expected:.1f} expected ({case['source']})"
