"""Words for JSON Schemas: each field of a contract is a shape and its meaning."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping

Shape = dict[str, object]
Fields = Mapping[str, tuple[Shape, str]]

TEXT: Shape = {"type": "string"}
TEXT_OR_NULL: Shape = {"type": ["string", "null"]}
COUNT: Shape = {"type": "integer", "minimum": 0}
COUNT_OR_NULL: Shape = {"type": ["integer", "null"], "minimum": 0}
NUMBER: Shape = {"type": "number", "minimum": 0}
NUMBER_OR_NULL: Shape = {"type": ["number", "null"], "minimum": 0}
TRUTH: Shape = {"type": "boolean"}
TEXTS: Shape = {"type": "array", "items": TEXT}
TEXT_BY_NAME: Shape = {"type": "object", "additionalProperties": TEXT}
COUNT_BY_NAME: Shape = {"type": "object", "additionalProperties": COUNT}


def one_of(*names: str | None) -> Shape:
    """One of these words."""
    return {"enum": list(names)}


def reference(name: str, *, is_optional: bool = False) -> Shape:
    """An object of the definitions."""
    found: Shape = {"$ref": f"#/$defs/{name}"}
    return {"anyOf": [found, {"type": "null"}]} if is_optional else found


def list_of(name: str) -> Shape:
    """A list of such objects."""
    return {"type": "array", "items": reference(name)}


def object_of(fields: Fields, optional: Collection[str] = ()) -> Shape:
    """An object that has all these fields, the optional ones where they apply."""
    properties = {name: {"description": meaning, **shape} for name, (shape, meaning) in fields.items()}
    required = [name for name in fields if name not in optional]
    return {"type": "object", "properties": properties, "required": required}


def document(
    title: str,
    description: str,
    *,
    fields: Fields,
    definitions: Mapping[str, Fields],
    optional: Collection[str] = (),
) -> Shape:
    """A whole schema (draft 2020-12)."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        "description": description,
        **object_of(fields, optional),
        "$defs": {name: object_of(part) for name, part in definitions.items()},
    }


def schema_text(schema: Shape) -> str:
    """A schema as its file holds it."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
