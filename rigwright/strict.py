"""The base of values that are checked as they come in: inventories, lock files, plans."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from rigwright.shown import NOT_IN_A_LINE


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


def _one_line(text: str) -> str:
    if NOT_IN_A_LINE.search(text):
        raise ValueError(f"{text[:80]!r} holds a control character")
    return text


def first_mistake(error: ValidationError) -> ValueError:
    """The first mistake of a value within another, for a validator of that other one to raise."""
    details = error.errors(include_url=False)[0]
    where = "".join(f"{part}: " for part in details["loc"])
    return ValueError(where + details["msg"].removeprefix("Value error, "))


# Text that may stand on a line of a file, such as a unit.
Line = Annotated[str, AfterValidator(_one_line)]
