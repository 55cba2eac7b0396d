"""The JSON Schemas of the answers, generated from their models; `make golden` writes docs/*.schema.json."""

from __future__ import annotations

import json
from typing import Any

from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from rigwright.view.answers.answer import Answer
from rigwright.view.answers.driver import DriverAnswer
from rigwright.view.answers.hardware import Rig
from rigwright.view.answers.plan import Plan
from rigwright.view.answers.recommend import Ranking
from rigwright.view.answers.size import Size
from rigwright.view.answers.weights import Weights

ANSWERS: dict[str, type[Answer]] = {
    "driver": DriverAnswer,
    "hardware": Rig,
    "plan": Plan,
    "recommend": Ranking,
    "size": Size,
    "weights": Weights,
}


def schema(answer: type[Answer]) -> dict[str, Any]:
    """The schema (draft 2020-12) of an answer. Fields may be added; none goes, none changes its meaning."""
    found = answer.model_json_schema(mode="serialization", schema_generator=_Printed)
    return {"$schema": _Printed.schema_dialect, **found}


def schema_text(answer: type[Answer]) -> str:
    """A schema as its file holds it."""
    return json.dumps(schema(answer), indent=2, ensure_ascii=False) + "\n"


class _Printed(GenerateJsonSchema):
    """What is printed: numbers count from zero, no title repeats a name, and no field has a default."""

    def int_schema(self, schema: core_schema.IntSchema) -> dict[str, Any]:
        return {"minimum": 0} | super().int_schema(schema)

    def float_schema(self, schema: core_schema.FloatSchema) -> dict[str, Any]:
        return {"minimum": 0} | super().float_schema(schema)

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> dict[str, Any]:
        return self.generate_inner(schema["schema"])

    def field_title_should_be_set(self, schema: object) -> bool:
        return False
