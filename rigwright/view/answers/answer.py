"""The base of the JSON answers: frozen models that take their fields from the values that they tell."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Self

from pydantic import AfterValidator, ConfigDict, WithJsonSchema

from rigwright.strict import Strict

Rate = Annotated[float, AfterValidator(partial(round, ndigits=1))]
# All numbers of an answer count from zero but these.
Signed = Annotated[float, WithJsonSchema({"type": "number"})]


class Answer(Strict):
    """One object of an answer; unknown is None, never a guess."""

    model_config = ConfigDict(from_attributes=True, str_strip_whitespace=False)

    @classmethod
    def of(cls, value: object, /, **others: object) -> Self:
        """The object that tells a value: each field is the attribute of that name, or one of `others`."""
        own = {name: getattr(value, name) for name in cls.model_fields if name not in others}
        return cls.model_validate(own | others)

    def plain(self) -> dict[str, Any]:
        """The object as `json.dumps` takes it."""
        return self.model_dump(mode="json", by_alias=True)
