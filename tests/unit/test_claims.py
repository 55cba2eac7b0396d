"""docs/seeds.md: what five articles claim, and what is said about it, asked of the product row by row."""

from __future__ import annotations

import re

import pytest

from ..claims import ROOT, Claim, articles, failures, fits, sentence
from ..claims_page import page

PAGE = ROOT / "docs/seeds.md"
ROWS = [
    pytest.param(claim, id=f"{number}.{place}")
    for number, article in enumerate(articles(), 1)
    for place, claim in enumerate(article.claims, 1)
]


@pytest.mark.parametrize("claim", ROWS)
def test_claim_is_answered_as_the_page_says(claim: Claim) -> None:
    """Each row: its commands are typed, and what they answer is what its sentence rests on."""
    assert [*failures(claim)] == []


@pytest.mark.parametrize("claim", ROWS)
def test_figures_of_a_sentence_are_expected(claim: Claim) -> None:
    """Each figure on the page has bounds in its row: one that leaves what its sentence says of it fails."""
    rate = {"low", "speed", "high"}
    bounds = [set(ask.expect) | (rate if rate & set(ask.expect) else set()) for ask in claim.asks]
    for ask in claim.asks:
        for name, place in re.findall(r"([\w-]+)@(\d)", str(ask.expect)):
            bounds[int(place) - 1] |= rate if name in rate else {name}
    for name, place in re.findall(r"\{([\w-]+)(?:@(\d))?\}", claim.says):
        assert name in bounds[int(place or 1) - 1], f"{name}@{place or 1}"


@pytest.mark.parametrize("claim", ROWS)
def test_row_is_whole(claim: Claim) -> None:
    """It asks something, each question once, and says what is missing exactly where something is."""
    assert claim.asks and all(ask.expect for ask in claim.asks)
    assert len({f"{ask.ask} {ask.wish}" for ask in claim.asks}) == len(claim.asks)
    assert bool(claim.lacks) == (claim.does == "not yet")
    assert sentence(claim).endswith(".") and "None" not in sentence(claim)


def test_tests_that_rows_name_exist() -> None:
    """What no command tells is held by a test, on rigs or off them."""
    named = {claim.test for article in articles() for claim in article.claims} - {""}
    sources = [*(ROOT / "tests").rglob("test_*.py"), *(ROOT / "roles").rglob("verify.py")]
    there = {name for path in sources for name in re.findall(r"def (test_\w+)", path.read_text("utf-8"))}
    assert named - there == set()


def test_page_is_what_the_product_answers(pytestconfig: pytest.Config) -> None:
    """docs/seeds.md is generated, with the figures of today; `make golden` writes it."""
    made = page()
    if pytestconfig.getoption("--renew-golden"):
        PAGE.write_text(made)
    assert PAGE.read_text() == made


@pytest.mark.parametrize(
    ("value", "wanted", "expected"),
    [
        (18.4, "17.8..19", True),
        (19.1, "17.8..19", False),
        (5, "..6", True),
        (7, "..6", False),
        (7, "6..", True),
        (None, "absent", True),
        (None, "1..2", False),
        ("two files", "~ ^two", True),
        ("two files", "~ ^files", False),
        ("UD-IQ4_XS", ["Q4_K_M", "UD-IQ4_XS"], True),
        (True, "yes", False),
        ("8080", 8080, True),
        ("", "", True),
        (None, "", False),
    ],
)
def test_expectations_can_fail(value: object, wanted: object, expected: bool) -> None:
    """The small language of the rows."""
    assert fits(value, wanted) is expected
