"""Damage what deploys left on a rig, and read, plan and compare it as a deploy does: no exception, in bounds.

    python tests/fuzz/records.py --count 10000

Each input is what a rig of 0.1.0 said of itself (tests/golden/state-0.1.0), with one to six mutations in its lines and
in the files that they carry. `--seed N --count 1` repeats the input that a failure names.
"""

from __future__ import annotations

import base64
import json
import os
import random
import re
import sys
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).parents[1] / "roles"))

from earlier import RECORDED, EarlierRig
from runner import Fuzz, main

from rigwright.errors import RigwrightError
from rigwright.hardware.capture import read_folder
from rigwright.lab.tiny_model import write_tiny_model
from rigwright.resolve.running import running_changes
from rigwright.roles.base.facts import Rig, read_rig
from rigwright.roles.llamacpp.engine import ENGINE
from rigwright.roles.service.answer import proof_of
from rigwright.roles.service.context import RigContext, make_context
from rigwright.roles.service.preflight import preflight_errors

VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 2**63, 10**400, 1.5, 1e308, "", "x", "9" * 5000, "\x1b]0;owned\x07", "\n::error x", "\0",
    "²٣", "\ud800", [], {}, [[]], [None], {"a": {}}, ["x"] * 1000, {"name": None}, "%", "../..", "127.0.0.1\n",
)  # fmt: skip
LETTERS = "09|=@: \n\t\x1b\x00²٣\ud7ff{}[]\"'"


@cache
def context() -> tuple[RigContext, tuple[str, ...], Any]:
    """The inventory's part of the rig, what the rig says, and its hardware."""
    home = Path(tempfile.mkdtemp(prefix="rigwright-fuzz-"))
    os.environ["XDG_CACHE_HOME"] = str(home / "cache")
    os.chdir(home)
    model = write_tiny_model(home / "tiny.gguf")
    (home / "chat.key").write_bytes((RECORDED / "rig/etc/rigwright/open.key").read_bytes())
    (home / "chat.key").chmod(0o600)
    rig = EarlierRig.laid_out(home, model)
    found = make_context("rig1", yaml.safe_load((RECORDED / "rig.yml").read_text("utf-8")))
    return found, tuple(rig._said(found.probe.script())), read_folder(RECORDED / "hardware")


def other_value(rng: random.Random, value: Any) -> Any:
    """JSON with one value, or one key, that is another one; or one that nests too deeply."""
    if isinstance(value, dict) and value and rng.random() < 0.8:
        key = rng.choice(list(value))
        if rng.random() < 0.15:
            return {name: one for name, one in value.items() if name != key}
        return value | {key: other_value(rng, value[key])}
    if isinstance(value, list) and value and rng.random() < 0.8:
        at = rng.randrange(len(value))
        return [*value[:at], other_value(rng, value[at]), *value[at + 1 :]]
    return rng.choice(VALUES)


def damaged_text(rng: random.Random, text: str) -> str:
    """What a file holds, otherwise: as JSON where it is, else as text."""
    kind = rng.randrange(6)
    if kind < 3 and text.startswith("{"):
        try:
            return json.dumps(other_value(rng, json.loads(text)))
        except ValueError:
            return text
    if kind == 3:
        return text[: rng.randrange(len(text) + 1)]
    if kind == 4:
        return rng.choice(
            ("[" * 100_000, '{"a":' * 50_000, "9" * 5000, '{"engine": "llamacpp", "flags": ' + "9" * 5000, "")
        )
    return damaged_line(rng, text)


def damaged_line(rng: random.Random, line: str) -> str:
    """A few characters are others, or a number is a very long one."""
    if rng.random() < 0.3:
        return re.sub(r"\d+", lambda found: rng.choice((found[0], "9" * 5000, "²٣", "-1")), line)
    letters = list(line)
    for _ in range(rng.randrange(1, 6)):
        letters.insert(rng.randrange(len(letters) + 1), rng.choice(LETTERS))
    return "".join(letters)


def damaged(seed: int) -> tuple[list[str], list[str]]:
    """The answer of a seed, and what was done."""
    rng = random.Random(seed)
    lines, done = list(context()[1]), []
    for _ in range(rng.randrange(1, 7)):
        at = rng.randrange(len(lines))
        name, found, value = lines[at].partition("=")
        text = _decoded(value) if found else _decoded(lines[at])
        if text is not None and len(text) > 20:
            encoded = base64.b64encode(damaged_text(rng, text).encode("utf-8", "replace")).decode()
            lines[at] = f"{name}={encoded}" if found else encoded
            done.append(f"{name[:40] if found else 'a section'}:file")
        elif rng.random() < 0.2:
            lines.insert(at, rng.choice(lines))
            done.append("doubled")
        else:
            lines[at] = damaged_line(rng, lines[at])
            done.append(f"{lines[at][:40]!r}:line")
    return "\n".join(lines).split("\n"), done


def _decoded(text: str) -> str | None:
    try:
        return base64.b64decode(text, validate=True).decode()
    except ValueError:
        return None


def use(rig: Rig, wished: RigContext) -> str:
    """What plan and deploy make of it."""
    for one in rig.records.services.values():
        for record in (one.record, one.saved_record):
            proof_of(record, one.service).variables()
        _ = one.way_back, one.is_active, one.pid, one.runs_current
    said = [*rig.records.damage, *preflight_errors(rig, wished, [ENGINE])]
    resolved = wished.resolved(rig)
    said += [str(change) for change in running_changes(resolved, wished.spec, rig.hardware, rig.records)]
    return "\n".join(said)


def read(lines: list[str]) -> tuple[str, str | None]:
    """Whether an answer was understood, and what is wrong with what was said of it."""
    wished, _, hardware = context()
    try:
        rig = read_rig(wished.probe, lines)
        said = use(replace(rig, hardware=hardware, uid=0, init="systemd"), wished)
    except RigwrightError:
        return "refused", None
    return "understood", f"says {said[:300]!r}" if re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", said) else None


FUZZ = Fuzz("records", context, damaged, read)

if __name__ == "__main__":
    sys.exit(main(FUZZ, __doc__))
