"""The checks of the toy engine."""

from __future__ import annotations

import json

from rigwright.verify.subject import ServiceUnderTest


def test_it_says_its_words(served: ServiceUnderTest) -> None:
    """The answer holds the words of the inventory."""
    answer = served.host.check_output("curl -sS -d {} %s", f"http://127.0.0.1:{served.port}/say")
    assert f"TOY_WORDS={json.loads(answer)['reply']}" in served.environment
