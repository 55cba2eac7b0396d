"""The inventory's own flags for vLLM: they win, and a name or value that vLLM would not take is an error now.

vLLM itself would take `--max-model` for `--max-model-len`; it would fail on an unknown name only after minutes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

from rigwright.catalogue import load
from rigwright.errors import WrongSpec
from rigwright.plan.reasons import Reason
from rigwright.plan.service import Flag
from rigwright.plan.wish import ServiceWish

Value = str | int | float | bool | None
# Set through the service's own keys, or a part of the layout, which then would not match the GPUs.
_KEYS = {
    "--served-model-name": "set alias",
    "--uds": "set host and port",
    "--tensor-parallel-size": "name the GPUs in gpu, the plan lays the model over them",
    "--pipeline-parallel-size": "name the GPUs in gpu, the plan lays the model over them",
    "--data-parallel-size": "name the GPUs in gpu, the plan runs copies side by side",
    "--revision": "name it in model",
}


class Known(NamedTuple):
    """The flags of one version; `same` maps other names of a flag, and what undoes it, to its first name."""

    bare: frozenset[str]
    valued: frozenset[str]
    json: frozenset[str]
    same: Mapping[str, str]
    choices: Mapping[str, Sequence[str]]

    @property
    def names(self) -> list[str]:
        """All names that may be given."""
        return [*self.bare, *self.valued, *self.same]


def known_flags(version: str) -> Known | None:
    """The flags of a version; None where they were not recorded, so that nothing can be checked."""
    row: dict[str, Any] | None = load("vllm_flags").get(version)
    if row is None:
        return None
    parsers = {"--reasoning-parser": row["reasoning_parsers"], "--tool-call-parser": row["tool_call_parsers"]}
    return Known(
        bare=frozenset(row["bare"]),
        valued=frozenset(row["valued"]),
        json=frozenset(row["json"]),
        same=row["same"],
        choices={**row["choices"], **parsers},
    )


def apply_overrides(
    wish: ServiceWish, flags: Sequence[Flag], version: str
) -> tuple[tuple[Flag, ...], tuple[Reason, ...]]:
    """The flags with the inventory's own in place, and a reason for each flag of ours that they dropped.

    Raises:
        WrongSpec: vLLM would not take one of them.
    """
    known = known_flags(version)
    for name, value in wish.flags.items():
        _check(wish, name, value, known)
    same = known.same if known else {}
    ours = {same.get(flag.name, flag.name): flag for flag in flags}
    replaced = {same.get(name, name) for name in wish.flags}
    kept = [flag for flag in flags if same.get(flag.name, flag.name) not in replaced]
    given = [
        _given(name, value, ours.get(same.get(name, name)))
        for name, value in wish.flags.items()
        if value is not None and value is not False
    ]
    dropped = [
        Reason(choice=f"no {flag.reason.choice}", because="the inventory drops it in flags")
        for name, value in wish.flags.items()
        if (value is None or value is False) and (flag := ours.get(same.get(name, name)))
    ]
    if wish.flags and known is None:
        dropped.append(Reason(choice="flags", because=f"not checked: those of vLLM {version} are unknown"))
    return (*kept, *given), tuple(dropped)


def _given(name: str, value: Value, ours: Flag | None) -> Flag:
    text = None if value is True else str(value)
    choice = name if text is None else f"{name} {text}"
    instead = f" instead of {ours.reason.choice}" if ours and ours.reason.choice != choice else ""
    return Flag(name=name, value=text, reason=Reason(choice=choice, because=f"the inventory says so{instead}"))


def _check(wish: ServiceWish, name: str, value: Value, known: Known | None) -> None:
    where = f"services.{wish.name}.flags"
    if name in _KEYS:
        raise WrongSpec(f"{where}: {name} is not set through flags; {_KEYS[name]}")
    if known is None:
        return
    first = known.same.get(name, name)
    if first not in known.bare | known.valued:
        raise WrongSpec(f"{where}: {name}: {_unknown(name, known)}")
    if value is None or value is False:
        return
    if first in known.bare and value is not True:
        raise WrongSpec(f"{where}: {name} takes no value; write true instead of {value!r}, or false to drop it")
    if first in known.valued and value is True:
        raise WrongSpec(f"{where}: {name} needs a value; give one, or drop the flag")
    allowed = known.choices.get(first)
    if allowed and str(value) not in allowed:
        near = get_close_matches(str(value), allowed, n=1, cutoff=0.4)
        raise WrongSpec(f"{where}: {name} cannot be {value!r}; use {near[0] if near else ', '.join(allowed)}")
    if first in known.json and not _is_json(str(value)):
        raise WrongSpec(f"{where}: {name} is no JSON: {value!r}; write it like '{{\"key\": 1}}'")


def _unknown(name: str, known: Known) -> str:
    undone = "--" + name.removeprefix("--no-")
    if undone != name and undone in known.names:
        opposites = [other for other, first in known.same.items() if first == known.same.get(undone, undone)]
        return f"unknown flag of vLLM; write {' or '.join(opposites) or f'{undone}: false'}"
    longer = [candidate for candidate in known.names if candidate.startswith(name)]
    if len(longer) == 1:
        return f"vLLM would read it as {longer[0]}; write that in full"
    near = get_close_matches(name, known.names, n=1, cutoff=0.6)
    return "unknown flag of vLLM; " + (f"did you mean {near[0]}?" if near else "see `vllm serve --help=all`")


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
