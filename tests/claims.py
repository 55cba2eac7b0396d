"""Claims of published articles, held against the product: what each says, what is typed, and what must come.

A claim is an entry of tests/golden/claims/*.yml: its words, what becomes of it (`does`), a sentence on that, and what
proves the sentence. `ask` is a command, typed as after `rigwright`, and `expect` what its answer must say, by name:
those of `ANSWERS`, flags and variables of the environment as themselves. An expectation is `10..20`, a range; a
list, any of which will do; `~ pattern`, found in the text; `> 2 speed@2`, more than twice that of the second answer;
`absent`; or the value itself. `test` names a test that holds what no command here can tell. In a sentence `{speed}` is
that figure of the first answer, `{speed@2}` that of the second.
"""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import tempfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml
from click.testing import CliRunner
from pydantic import Field

from rigwright.cli import main
from rigwright.strict import Strict
from rigwright.units import GIB

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "tests/golden/claims"
# What `--spec` is called on the page; `wish` is what stands in it.
SPEC = "rig.yml"
Figures = Mapping[str, Any]


class Ask(Strict):
    """A command and what must come; with the wish of its service where options cannot say it, and the files of that."""

    ask: str
    wish: dict[str, Any] | None = None
    files: dict[str, str] = Field(default_factory=dict)
    expect: dict[str, Any]


class Claim(Strict):
    """One claim. `lacks` says in the terms of the product what a claim waits for."""

    claim: str
    does: Literal["deployed", "planned", "differs", "not yet"]
    says: str
    lacks: str = ""
    asks: tuple[Ask, ...] = ()
    test: str = ""


class Theme(Strict):
    """Claims about one thing."""

    theme: str
    claims: tuple[Claim, ...]


class Article(Strict):
    """One article, by its title or subject."""

    article: str
    about: str
    themes: tuple[Theme, ...]

    @property
    def claims(self) -> tuple[Claim, ...]:
        """All of them, in order."""
        return tuple(claim for theme in self.themes for claim in theme.claims)


@cache
def articles() -> tuple[Article, ...]:
    """All of them, in the order of their files."""
    return tuple(Article(**yaml.safe_load(path.read_text("utf-8"))) for path in sorted(FOLDER.glob("*.yml")))


def answer(ask: Ask) -> Figures:
    """What the product says."""
    files = dict(ask.files)
    if ask.wish:
        files[SPEC] = yaml.safe_dump({"services": [{"name": "chat", **ask.wish}]})
    return _answer(ask.ask, tuple(files.items()))


@cache
def _answer(command: str, files: tuple[tuple[str, str], ...]) -> Figures:
    words = shlex.split(command)
    has_json = words[0] in ANSWERS
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        Path("tests").symlink_to(ROOT / "tests")
        for name, text in files:
            Path(name).write_text(text)
            Path(name).chmod(0o600)
        done = CliRunner(env={"COLUMNS": "200"}).invoke(main, [*words, *(["--json"] if has_json else [])])
    said: dict[str, Any] = {"exit": done.exit_code, "text": " ".join(done.output.split())}
    if has_json and done.exit_code == 0:
        said |= ANSWERS[words[0]](json.loads(done.stdout))
    return said


def _of_plan(found: Mapping[str, Any]) -> dict[str, Any]:
    """Of the first service, sizes in GiB, files in GB as hubs count them.

    `memory` is that of its fullest GPU, `memories` of all; `room` is what a plan could still take of the fullest,
    `kept` what no plan takes of a card.
    """
    service = found["services"][0]
    speed, copy, layout = service["speed"] or {}, service["replicas"][0], service["layout"]
    on_gpus = service["memory"]["gpus"] if service["memory"] else []
    total = [gpu["total_bytes"] / GIB for gpu in on_gpus]
    cards = {gpu["index"]: gpu for gpu in found["gpus"]}
    parts = {name: sum(gpu["parts"].get(name, 0) for gpu in on_gpus) / GIB for name in ("weights", "KV cache")}
    said: dict[str, Any] = {key: service[key] for key in ("engine", "model", "quant", "slots", "source", "modelfile")}
    return said | {
        "context": service["context_tokens"],
        "layout": layout["text"],
        "copies": layout["replicas"],
        "link": layout["link"],  # of its tensor-parallel groups
        "gpus": " and ".join("+".join(map(str, one["gpus"])) for one in service["replicas"]),
        "layers_in_ram": int((re.findall(r"\d+", service["in_ram"] or "") or [0])[0]),
        "speed": speed.get("expected"),
        "low": speed.get("low"),
        "high": speed.get("high"),
        "full": speed.get("full_context"),
        "prompts": speed.get("prefill"),
        "all": speed.get("aggregate"),
        "times": speed.get("because"),
        "memory": max(total, default=0),
        "memories": sum(total),
        "room": min((_free(cards[gpu["gpu"]]) for gpu in on_gpus), default=0),
        "kept": min(((card["vram_bytes"] - card["offered_bytes"]) / GIB for card in found["gpus"]), default=0),
        "weights": parts["weights"],
        "kv": parts["KV cache"],
        "ram": service["memory"]["ram"]["total_bytes"] / GIB if service["memory"] else None,
        "file": (service["file_bytes"] or 0) / 1e9,
        "loss": service["loss_percent"],
        "not_deployed": service["not_deployed"],
        "build": "; ".join(found["cost"]["builds"]),
        "why": _texts([*service["reasons"], *service["flags"]]),
        "notes": _texts(found["notes"]),
        "others": " | ".join(" ".join(map(str, one.values())) for one in service["alternatives"]),
        "sources": " | ".join(filter(None, (flag["source"] for flag in service["flags"]))),
        **{flag["name"]: flag["value"] or "" for flag in service["flags"]},
        **copy["environment"],
    }


def _free(gpu: Mapping[str, Any]) -> float:
    return float(gpu["offered_bytes"] - gpu["used_bytes"]) / GIB


def _texts(reasons: list[dict[str, Any]]) -> str:
    return " | ".join(f"{one.get('choice') or one.get('name')}: {one['because']}" for one in reasons)


def _of_size(found: Mapping[str, Any]) -> dict[str, Any]:
    speed = found.get("decode_tokens_per_second") or {}
    return {
        "memory": found["total_bytes"] / GIB,
        "gb": found["total_bytes"] / 1e9,
        "margin": found["total_margin_bytes"] / GIB,
        "weights": found["weights_bytes"] / GIB,
        "kv": found["kv_bytes"] / GIB,
        "speed": speed.get("expected"),
        "low": speed.get("low"),
        "high": speed.get("high"),
    }


def _of_recommend(found: Mapping[str, Any]) -> dict[str, Any]:
    rows = found["recommendations"]
    first = rows[0]
    said = {key: first[key] for key in ("model", "quant", "engine", "class")}
    return said | {
        "models": " | ".join(f"{row['key']}:{row['quant']}" for row in rows),
        "speed": first["speed"]["expected"],
        "scores": " | ".join(_words(row["key"], row["benchmarks"]) for row in rows),
        "why": " | ".join([first["because"], *first["reasons"]]),
    }


def _words(key: str, benchmarks: Mapping[str, float]) -> str:
    return " ".join([key, *(f"{name} {score:g}" for name, score in benchmarks.items())])


def _of_hardware(found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "order": found["cuda_visible_devices"],
        "pairs": " and ".join("+".join(map(str, group)) for group in found["tp2_groups"]),
        "gbytes": next((one["gbytes_per_second"] for one in found["bottlenecks"]), None),
        "problems": _texts(found["problems"]) if found["problems"] else None,
    }


# How the figures of each answer are called.
ANSWERS = {"plan": _of_plan, "size": _of_size, "recommend": _of_recommend, "hardware": _of_hardware}


def failures(claim: Claim) -> Iterator[str]:
    """What of the answers is not as it must be; a command has to succeed unless it is said not to."""
    for ask in claim.asks:
        said = answer(ask)
        for name, wanted in {"exit": 0, **ask.expect}.items():
            if not fits(said.get(name), _bound(claim, wanted)):
                shown = str(said.get(name, said["text"] if said["exit"] else None))
                yield f"rigwright {ask.ask} {ask.wish or ''}: {name} is {shown[:1500]}, not {wanted}"


def _bound(claim: Claim, wanted: object) -> object:
    """`> 2 speed@2` as a range."""
    found = re.fullmatch(r"([<>]) (?:([\d.]+) )?([\w-]+)@(\d)", wanted) if isinstance(wanted, str) else None
    if not found:
        return wanted
    bound = float(found[2] or 1) * answer(claim.asks[int(found[4]) - 1])[found[3]]
    return f"{bound}.." if found[1] == ">" else f"..{bound}"


def fits(value: object, wanted: object) -> bool:
    """Whether a figure is as expected."""
    if isinstance(wanted, list):
        return any(fits(value, one) for one in wanted)
    if wanted == "absent":
        return value is None
    if not isinstance(wanted, str) or value is None:
        return value == wanted or str(value) == str(wanted)
    if wanted.startswith("~ "):
        return re.search(wanted[2:], str(value)) is not None
    if bounds := re.fullmatch(r"(-?[\d.]*[\d])?\.\.(-?\d[\d.]*)?", wanted):
        low, high = (float(bound) if bound else None for bound in bounds.groups())
        number = float(str(value))
        return (low is None or low <= number) and (high is None or number <= high)
    return str(value) == wanted


def sentence(claim: Claim) -> str:
    """Its sentence, with the product's figures of today in it."""

    def figure(found: re.Match[str]) -> str:
        ask = claim.asks[int(found[2] or 1) - 1]
        return _figure(found[1], answer(ask)[found[1]])

    return re.sub(r"\{([\w-]+)(?:@(\d))?\}", figure, claim.says)


_TENTHS = {"memory", "memories", "kv", "weights", "room", "file", "loss", "ram", "margin", "kept", "gb"}


def _figure(name: str, value: object) -> str:
    if not isinstance(value, int | float):
        return str(value)
    if name in _TENTHS:
        return f"{value:.2f}" if name == "kv" and value < 1 else f"{value:.1f}"
    return f"{value:,.0f}"
