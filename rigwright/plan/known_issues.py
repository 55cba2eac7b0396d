"""Combinations that are known to be broken: what others found out, so that no rig has to find it again.

Data: `rigwright/catalogue/known_issues.yml`. The conditions of a row, all of which must hold:

`families` begin the architecture's name (`qwen35` stands for qwen35moe and qwen3_5_moe too), `architectures` are it;
`formats`, `split_modes`, `devices_by`, `vendors` and `revisions` list values; `quants` and `cache_types` begin them;
counts (`tensor_parallel: ">2"`), `compute_capability` (of the oldest GPU), `driver` and `cuda` are compared; names
with `is_` say yes or no.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from operator import eq, ge, gt, le, lt
from typing import Any, Literal, NamedTuple

from rigwright.catalogue import load

Version = tuple[int, ...]
_COMPARISON = re.compile(r"(<=|>=|==|<|>)\s*(\d+(?:\.\d+)*)")
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {"<": lt, "<=": le, "==": eq, ">=": ge, ">": gt}
_COUNTS = ("tensor_parallel", "pipeline_parallel", "replicas", "data_parallel", "draft_tokens", "gpu_count", "slots")
_FLAGS = ("is_fully_linked", "is_mixture", "is_offloaded")
_LISTS = {
    "architectures": "architecture",
    "formats": "format",
    "split_modes": "split_mode",
    "devices_by": "devices_by",
    "revisions": "revision",
}


class Configuration(NamedTuple):
    """The configuration of a candidate, as far as a known issue may depend on it; what is unknown stays empty."""

    engine: str
    version: str = ""
    architecture: str = ""
    format: str = ""
    quant: str = ""
    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    replicas: int = 1
    data_parallel: int = 1
    draft_tokens: int = 0
    cache_types: tuple[str, ...] = ()
    is_fully_linked: bool = True
    gpu_count: int = 1
    compute_capabilities: tuple[str, ...] = ()
    vendors: tuple[str, ...] = ()
    driver_version: str | None = None
    cuda_version: str | None = None
    split_mode: str = "layer"
    slots: int = 1
    is_mixture: bool = False
    is_offloaded: bool = False
    devices_by: str = "index"
    # What pins the file: a commit or a checksum; None, empty or a branch for what may change.
    revision: str | None = None


class KnownIssue(NamedTuple):
    """What is wrong with a situation and what to do instead; `refuse` does not run, `warn` runs at a price."""

    id: str
    effect: Literal["refuse", "warn"]
    because: str
    instead: str
    issue: str | None
    source: str

    def __str__(self) -> str:
        return f"{self.because}; {self.instead}" + (f" ({self.issue})" if self.issue else "")


Condition = Callable[[Configuration], bool]


def known_issues(configuration: Configuration) -> tuple[KnownIssue, ...]:
    """All that is known to be wrong with a situation, what refuses it first.

    It is asked for every candidate, so conditions are compiled once and the rows of a release are kept: 4 µs.
    """
    found = []
    for issue, conditions in _rows_of(configuration.engine, configuration.version):
        for holds in conditions:  # not all(…): a generator for each row takes longer than its conditions
            if not holds(configuration):
                break
        else:
            found.append(issue)
    return tuple(found)


def version_of(text: str | None) -> Version | None:
    """The numbers that a version begins with: `0.25.2.dev0` is (0, 25, 2); None for a commit, which has no dot."""
    found = re.match(r"v?(\d+(?:\.\d+)+)", text or "")
    return _numbers(found[1]) if found else None


def _numbers(text: str) -> Version:
    return tuple(int(part) for part in text.split("."))


@cache
def is_within(version: str | None, bounds: str) -> bool:
    """True when a version lies in bounds like `>=0.19,<0.33`; an unknown one lies in none but the empty ones."""
    known = version_of(version)
    return not bounds or (known is not None and all(compare(known) for compare in _comparisons(bounds)))


@cache
def _comparisons(bounds: str) -> tuple[Callable[[Version], bool], ...]:
    return tuple(_comparison(operator, number) for operator, number in _COMPARISON.findall(bounds))


def _comparison(operator: str, number: str) -> Callable[[Version], bool]:
    """`==13.2` holds for 13.2.1 as well, `<580` for 575.57; a shorter version is filled up with zeros."""
    compare, bound = _OPERATORS[operator], _numbers(number)
    size = len(bound)
    return lambda version: compare((version + (0,) * size)[:size] if operator == "==" else version, bound)


@cache
def _rows_of(engine: str, version: str) -> tuple[tuple[KnownIssue, tuple[Condition, ...]], ...]:
    found = [
        (_trouble(row), tuple(_condition(name, row["when"][name]) for name in sorted(row["when"], key=_cost)))
        for row in load("known_issues")["rows"]
        if row["engine"] in (engine, "any") and is_within(version or None, row.get("versions", ""))
    ]
    return tuple(sorted(found, key=lambda row: row[0].effect))


def _cost(name: str) -> int:
    """What is quickly told is asked first."""
    return 0 if name in (*_COUNTS, *_FLAGS, *_LISTS) else 1


def _trouble(row: dict[str, Any]) -> KnownIssue:
    return KnownIssue(**{field: row[field] for field in KnownIssue._fields})


def _condition(name: str, value: Any) -> Condition:
    """One condition as a function; a name that is not known is a fault of the catalogue."""
    if name in _COUNTS:
        compare, bound = _count(value)
        return lambda configuration: compare(getattr(configuration, name), bound)
    if name in _FLAGS:
        return lambda configuration: getattr(configuration, name) is value
    if name in _LISTS:
        field, listed = _LISTS[name], frozenset(value)
        return lambda configuration: getattr(configuration, field) in listed
    return _SPECIAL[name](value)


def _count(bounds: str) -> tuple[Callable[[Any, Any], bool], int]:
    [(operator, number)] = _COMPARISON.findall(bounds)
    return _OPERATORS[operator], int(number)


def _families(names: Sequence[str]) -> Condition:
    prefixes = tuple(names)
    return lambda configuration: _plain(configuration.architecture).startswith(prefixes)


def _quants(names: Sequence[str]) -> Condition:
    prefixes = tuple(name.upper() for name in names)
    return lambda configuration: configuration.quant.upper().startswith(prefixes)


def _vendors(names: Sequence[str]) -> Condition:
    listed = frozenset(names)
    return lambda configuration: not listed.isdisjoint(configuration.vendors)


def _cache_types(names: Sequence[str]) -> Condition:
    prefixes = tuple(names)
    return lambda configuration: any(one.startswith(prefixes) for one in configuration.cache_types)


@cache
def _plain(architecture: str) -> str:
    """`qwen3_5_moe`, `Qwen3.5-MoE` and `qwen35moe` are one."""
    return re.sub(r"[^a-z0-9]", "", architecture.lower())


@cache
def _oldest(capabilities: tuple[str, ...]) -> str | None:
    known = (text for text in capabilities if version_of(text))
    return min(known, key=lambda text: version_of(text) or (), default=None)


_SPECIAL: dict[str, Callable[[Any], Condition]] = {
    "families": _families,
    "quants": _quants,
    "vendors": _vendors,
    "cache_types": _cache_types,
    "compute_capability": lambda bounds: (
        lambda configuration: is_within(_oldest(configuration.compute_capabilities), bounds)
    ),
    "driver": lambda bounds: lambda configuration: is_within(configuration.driver_version, bounds),
    "cuda": lambda bounds: lambda configuration: is_within(configuration.cuda_version, bounds),
}
