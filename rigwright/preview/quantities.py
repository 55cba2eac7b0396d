"""Numbers as people type them: `262144`, `256K`, `21G`."""

from __future__ import annotations

from typing import Any

import click

from rigwright.units import parse_bytes


class Quantity(click.ParamType):
    """A whole number above zero, with K, M, G or T for powers of 1024."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> int:
        """The number; a usage error where there is none."""
        if isinstance(value, int):
            return value
        try:
            number = parse_bytes(str(value).upper().replace("IB", "iB"))
        except ValueError:
            self.fail(f"{value!r} is no number; write for example 262144, 256K or 21G", param, context)
        if not 0 < number < 2**63:
            self.fail(f"{value!r} is out of range; write for example 262144, 256K or 21G", param, context)
        return number


class Rate(click.ParamType):
    """A finite number above zero."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> float:
        """The number; a usage error where there is none."""
        try:
            number = float(value)
        except ValueError:
            self.fail(f"{value!r} is no number", param, context)
        if not 0 < number < 1e6:
            self.fail(f"{value!r} is out of range; write a number above 0", param, context)
        return number


QUANTITY, RATE = Quantity(), Rate()
