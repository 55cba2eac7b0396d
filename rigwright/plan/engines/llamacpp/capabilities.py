"""Capabilities: the options that one release of llama-server accepts, by its own --help; a plan uses no other."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from typing import NamedTuple

from rigwright.catalogue import load

Pair = tuple[str, str]

# K and V types whose attention kernels a CUDA build has unless GGML_CUDA_FA_QUANTS says otherwise; any other pair is
# unpacked to f16 for each token. Source: ggml/CMakeLists.txt and fattn.cu of llama.cpp 0c1e570.
USUAL_KV_PAIRS: frozenset[Pair] = frozenset((name, name) for name in ("f16", "bf16", "q8_0", "q4_0"))

_HEADING = re.compile(
    r"(?P<names>--?[A-Za-z][\w.-]*(?:,\s+--?[A-Za-z][\w.-]*)*)(?: (?P<value>\S.*?))?(?:\s{2,}(?P<text>\S.*))?"
)
_CLOSED = re.compile(r"\[(?P<a>[\w|]+)\]|\{(?P<b>[\w,]+)\}|<(?P<c>\w+(?:\|\w+)+)>|(?P<d>[\w-]+(?:,[a-z][\w-]+){2,})")
_ALLOWED = re.compile(r"allowed values: (?P<values>[\w, ]+)")
_ITEM = re.compile(r"\s*- (?P<value>[a-z][\w+-]*):")
_NAMED = re.compile(r"'(\w+)'")
_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE]-?\d+)?")
_INSTEAD = re.compile(r"has been removed\. use (?P<flag>--[\w-]+)")
# [on|off|auto] takes these for on, off and auto too.
_SWITCH_WORDS = frozenset(("1", "0", "-1", "true", "false", "enabled", "disabled"))


class Option(NamedTuple):
    """One option under all its names; `value` is what its help calls its value, empty for a bare flag.

    `values` are all that it accepts, where the help lists them all; `named` are words it takes beside numbers, like the
    `all` of --n-gpu-layers. `instead` is set where the release only remembers the name: the flag to use, or empty.
    """

    names: tuple[str, ...]
    value: str = ""
    values: tuple[str, ...] = ()
    named: tuple[str, ...] = ()
    instead: str | None = None

    def takes(self, value: str | None) -> bool:
        """Whether a value, or none, is what it expects."""
        if self.instead is not None or value is None or not self.value:
            return self.instead is None and value is None and not self.value
        if self.value == "N":
            return value in self.named or bool(_NUMBER.fullmatch(value))
        if self.value == "MODE" or not self.values:
            return value in self.named or self.value != "MODE"
        words = value.split(",") if self.value[0].isalpha() else [value]
        return {*words} <= {*self.values} or ("on" in self.values and value in _SWITCH_WORDS)

    @property
    def expects(self) -> str:
        """What to write after it, in words: `on, off or auto`, `a number or all`."""
        words = [*(["a number"] if self.value == "N" else ()), *(self.values or self.named)]
        return " or ".join(filter(None, (", ".join(words[:-1]), *words[-1:]))) or f"a value, {self.value}"


@dataclass(frozen=True)
class Capabilities:
    """What one build of llama-server accepts. `options` has an entry for each long name; `kv_pairs` None means all."""

    release: str
    options: Mapping[str, Option] = field(hash=False)
    kv_pairs: frozenset[Pair] | None = USUAL_KV_PAIRS

    def takes(self, name: str, value: str | None) -> bool:
        """Whether the release accepts this flag with this value."""
        option = self.options.get(name)
        return option is not None and option.takes(value)

    def names(self, name: str) -> tuple[str, ...]:
        """All names of a flag's option; of one that is unknown its own."""
        option = self.options.get(name)
        return option.names if option else (name,)

    def nearest(self, name: str) -> str | None:
        """The known flag that a mistyped one most resembles."""
        known = [flag for flag, option in self.options.items() if option.instead is None]
        return next(iter(get_close_matches(name, known, n=1, cutoff=0.7)), None)


def read_capabilities(text: str, release: str, *, kv_pairs: frozenset[Pair] | None = USUAL_KV_PAIRS) -> Capabilities:
    """Reads `llama-server --help`, whole or only the lines that name flags and values."""
    found: list[Option] = []
    for line in text.splitlines():
        if line.startswith("-") and (heading := _HEADING.fullmatch(line.rstrip())):
            found.append(_option(heading))
        elif found:
            found[-1] = _with_line(found[-1], line)
    options = {name: option for option in found for name in option.names if name.startswith("--")}
    return Capabilities(release, options, kv_pairs)


@cache
def pinned_capabilities() -> Capabilities:
    """Those of the release that this version of rigwright pins."""
    recorded = load("llamacpp_flags")
    return read_capabilities(str(recorded["help"]), str(recorded["ref"])[:7])


def kv_pairs_of(cmake_options: Mapping[str, str]) -> frozenset[Pair] | None:
    """The pairs of K and V types that a build with these options has kernels for; None means all."""
    if cmake_options.get("GGML_CUDA_FA_ALL_QUANTS", "").upper() in ("ON", "1", "TRUE", "YES"):
        return None
    wanted = cmake_options.get("GGML_CUDA_FA_QUANTS", "").lower()
    if wanted.strip() == "all":
        return None
    pairs = [tuple(pair.strip().split("-")) for pair in re.split("[;,]", wanted) if pair.count("-") == 1]
    return frozenset((first, second) for first, second in pairs) or USUAL_KV_PAIRS


def _option(heading: re.Match[str]) -> Option:
    value, text = heading["value"] or "", heading["text"] or ""
    names = tuple(re.split(r",\s+", heading["names"]))
    closed = _CLOSED.fullmatch(value)
    values = tuple(re.split("[|,]", closed[closed.lastgroup or 0])) if closed else ()
    return _with_line(Option(names, value, values), text)


def _with_line(option: Option, line: str) -> Option:
    """The option with what one more line of its description says."""
    if "has been removed" in line:
        instead = _INSTEAD.search(line)
        return option._replace(instead=instead["flag"] if instead else "")
    if allowed := _ALLOWED.search(line):
        return option._replace(values=tuple(re.split(", *", allowed["values"].strip())))
    if item := _ITEM.match(line):
        return option._replace(named=(*option.named, item["value"]))
    if option.value == "N" and "'all'" in line:
        return option._replace(named=tuple(_NAMED.findall(line)))
    return option
