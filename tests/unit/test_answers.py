"""The published schemas of the JSON answers: current, valid, whole, and as strict as the answers are."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from rigwright.view.answers.plan import Plan
from rigwright.view.answers.schema import ANSWERS, schema, schema_text

ROOT = Path(__file__).parents[2]
GOLDEN = sorted((ROOT / "tests/golden/plans").glob("*.json"))
CHECK = jsonschema.Draft202012Validator(schema(Plan))
# Values of the hardware, whose docstrings say what each of their fields is.
VALUES = ("Cpu", "PcieLink", "PowerLimit")


def objects_of(name: str) -> dict[str, dict[str, Any]]:
    """The objects of a schema, by name."""
    whole = schema(ANSWERS[name])
    return {name: whole, **whole.get("$defs", {})}


def objects_in(value: Any, where: str = "plan") -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of an answer with fixed keys, and where they are."""
    if isinstance(value, dict):
        if not where.endswith(("parts", "environment")):
            yield where, value
        for key, one in value.items():
            yield from objects_in(one, f"{where}.{key}")
    for one in value if isinstance(value, list) else ():
        yield from objects_in(one, f"{where}[]")


@pytest.mark.parametrize("name", ANSWERS)
def test_published_schema_is_current_and_valid(request, name):
    """docs/*.schema.json are generated; `make golden` writes them."""
    page = ROOT / "docs" / f"{name}.schema.json"
    jsonschema.Draft202012Validator.check_schema(schema(ANSWERS[name]))
    if request.config.getoption("--renew-golden"):
        page.write_text(schema_text(ANSWERS[name]))
    assert page.read_text() == schema_text(ANSWERS[name])


@pytest.mark.parametrize("name", ANSWERS)
def test_schema_says_what_each_field_is(name):
    """Nobody reads our code to learn what a number means."""
    silent = [title for title, one in objects_of(name).items() if not one.get("description")]
    silent += [
        f"{title}.{field}"
        for title, one in objects_of(name).items()
        for field, shape in one["properties"].items()
        if title not in VALUES and not shape.keys() & {"description", "$ref"}
    ]
    assert silent == []


@pytest.mark.parametrize("name", ANSWERS)
def test_schema_knows_each_key(name):
    """A field is always there, unknown is null; what only some engines have is left out for the others."""
    optional = {"kv_tokens", "max_concurrency", "block_tokens", "decode_tokens_per_second"}
    for one in objects_of(name).values():
        assert one["additionalProperties"] is False
        assert set(one["properties"]) - set(one["required"]) == (
            optional if one["title"] == "rigwright size" else set()
        )


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_golden_plan_keeps_the_schema(path):
    """Every approved plan is one that the schema describes."""
    CHECK.validate(json.loads(path.read_text()))


def test_key_that_is_no_field_is_refused():
    """In every object of a plan, so that a name that was mistyped is seen."""
    lines = json.loads(next(path for path in GOLDEN if path.stem == "1x4090").read_text())
    seen = set()
    for number, (where, _) in enumerate(objects_in(lines)):
        other = copy.deepcopy(lines)
        list(objects_in(other))[number][1]["contxt"] = 1
        assert not CHECK.is_valid(other), where
        seen.add(where)
    assert {"plan", "plan.gpus[].uses[]", "plan.services[].flags[]", "plan.services[].memory.ram", "plan.cost"} <= seen
