"""Options that the tests share."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """`make golden` renews the recorded files."""
    parser.addoption("--renew-golden", action="store_true", help="write the golden files anew")
