"""The base of values that are checked as they come in: inventories, lock files, plans."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """A frozen pydantic model that refuses keys it does not know."""

    # Built at the first use: no run needs all of them.
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        str_strip_whitespace=True,
        json_schema_serialization_defaults_required=True,
        defer_build=True,
    )
