"""docs/spec.md as text: every key of the inventory's `rig` data, read from the models that check it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from rigwright.plan.wish import ServiceWish
from rigwright.spec.cluster import ClusterSpec
from rigwright.spec.rig import model_in, rig_model

_HEAD = """# The inventory: the key `rig`

Everything about SSH is pyinfra's: `ssh_hostname`, `ssh_user`, `ssh_key`, `_sudo` and so on. Everything about the rig is
one key of the host data, `rig`. A key that is not listed here is refused, and so is a value of the wrong type, before
any rig is touched. In a list, `[]` stands for each entry.

Two short forms: `"model"` may be a string (a path, an address, or `hf:org/repo@revision:file.gguf`), and
`"archive": "pinned"` under `rig.llamacpp` means the source archive that this version of Rigwright pins.

This page is written by `rigwright/spec/docs.py`. Change the description of the field, not this page.
"""
_CLUSTER = """# The key `cluster`

Beside `rig`, in the data of a group whose rigs serve one model together: see [cluster.md](cluster.md).
"""
_SCALARS = {"string": "text", "integer": "whole number", "number": "number", "boolean": "True or False"}


def spec_markdown() -> str:
    """The page: a table for each model, in the order in which an inventory nests them."""
    tables = [_table(where, model) for where, model in _nested(rig_model(), "rig")]
    return "\n".join([_HEAD, *tables, _CLUSTER, _table("cluster", ClusterSpec)])


def _nested(model: type[BaseModel], where: str) -> Iterator[tuple[str, type[BaseModel]]]:
    yield where, model
    for name, field in model.model_fields.items():
        if inner := model_in(field.annotation):
            yield from _nested(inner, _inside(where, name, field))


def _inside(where: str, name: str, field: FieldInfo) -> str:
    return f"{where}.{name}[]" if get_origin(field.annotation) is tuple else f"{where}.{name}"


def _table(where: str, model: type[BaseModel]) -> str:
    shapes = model.model_json_schema()["properties"]
    rows = ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
    for name, field in model.model_fields.items():
        is_model = model_in(field.annotation) is not None
        place = "rig.services[]" if field.annotation is ServiceWish else _inside(where, name, field)
        kind = _linked(place).removeprefix("list of " * (place != _inside(where, name, field)))
        kind = kind if is_model else _type(shapes[name])
        cells = (f"`{name}`", kind, _default(field), field.description or "")
        rows.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join([f"## `{where}`", "", inspect.getdoc(model) or "", "", *rows, ""])


def _linked(where: str) -> str:
    anchor = "".join(letter for letter in where.lower() if letter.isalnum() or letter in "-_")
    return f"{'list of ' if where.endswith('[]') else ''}[`{where}`](#{anchor})"


def _type(shape: dict[str, Any]) -> str:
    if options := shape.get("anyOf"):
        return ", ".join(_type(option) for option in options if option != {"type": "null"})
    if names := shape.get("enum") or ([shape["const"]] if "const" in shape else None):
        return ", ".join(f"`{name}`" for name in names)
    if shape["type"] == "array" and "prefixItems" in shape:
        return f"[{', '.join(_type(item) for item in shape['prefixItems'])}]"
    if shape["type"] == "array":
        return f"list of {_type(shape['items'])}"
    if shape["type"] == "object":
        values = shape.get("additionalProperties") or next(iter(shape["patternProperties"].values()))
        return f"mapping of text to {_type(values)}"
    least, most = shape.get("minimum"), shape.get("maximum")
    limits = f"{least} to {most}" if most is not None else f"{least} or more" if least is not None else ""
    pattern = f"like `{shape['pattern']}`" if "pattern" in shape else ""
    return " ".join(filter(None, (_SCALARS[shape["type"]], limits, pattern)))


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    return "see below" if isinstance(value, BaseModel) else "–" if value in (None, (), {}, "") else f"`{value}`"
