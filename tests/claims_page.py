"""docs/seeds.md: the claims of tests/golden/claims with what the product answers to each today."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

import yaml

from .claims import Claim, articles, sentence

HEAD = """# Five articles, claim by claim

Five widely read articles say how to run Qwen's mixture with 35B parameters, 3B of them active, on cards at home. Here
is each of their claims with what Rigwright does about it, or why it differs. Some figures of theirs are wrong; then the
sentence says what is right, and what shows it.

This project has measured nothing of this on a GPU: speeds are estimates, [held against published
measurements](accuracy.md), and four runs of five are expected in the range in brackets. The figures are those of the
commands beside them, which need no rig: type one. Behind `rig.yml` stands what that file says of its service. Every row
is a test, which asks the product and fails where it answers otherwise; `make golden` writes the page.

"""
STATES = {
    "deployed": ("as written", "planned so, and deployed so"),
    "planned": ("planned", "planned so; no deploy brings that engine or machine yet"),
    "differs": ("differs", "Rigwright does otherwise, or comes to another figure"),
    "not yet": ("not yet", "cannot be done yet"),
}


def page() -> str:
    """All of it."""
    lines = [HEAD + _totals(), *_waiting()]
    for number, article in enumerate(articles(), 1):
        lines += [f"\n## {number}. {article.article}\n", f"{article.about}: {len(article.claims)} claims."]
        rows = (_row(f"{number}.{place}", claim) for place, claim in enumerate(article.claims, 1))
        for theme in article.themes:
            lines += [f"\n### {theme.theme}\n", "| | claim | Rigwright | ask it |", "| --- | --- | --- | --- |"]
            lines += islice(rows, len(theme.claims))
    return "\n".join(lines) + "\n"


def _totals() -> str:
    """A table: one row for each article, and all."""
    head = ["article", *(name for name, _ in STATES.values()), "claims"]
    rows = [(f"{number}. {one.article}", one.claims) for number, one in enumerate(articles(), 1)]
    rows.append(("**all**", tuple(claim for one in articles() for claim in one.claims)))
    lines = [_cells(head), _cells(["---"] * len(head))]
    for name, claims in rows:
        counts = [sum(claim.does == state for claim in claims) for state in STATES]
        lines.append(_cells([name, *map(str, counts), str(len(claims))]))
    lines += ["", *(f"- *{name}*: {meaning}." for name, meaning in STATES.values())]
    return "\n".join(lines)


def _waiting() -> list[str]:
    """What the claims that cannot be followed yet wait for."""
    waits: dict[str, list[str]] = {}
    for number, article in enumerate(articles(), 1):
        for place, claim in enumerate(article.claims, 1):
            if claim.lacks:
                waits.setdefault(claim.lacks, []).append(f"{number}.{place}")
    return ["\nWhat is not yet there:\n", *(f"- {what} ({', '.join(rows)})" for what, rows in waits.items())]


def _row(number: str, claim: Claim) -> str:
    name, _ = STATES[claim.does]
    return _cells([number, claim.claim, f"**{name}.** {sentence(claim)}", "<br>".join(_typed(claim))])


def _typed(claim: Claim) -> Iterator[str]:
    """The commands that the sentence rests on; of those that are no command yet there is nothing to type."""
    named = {1, *(int(number) for number in re.findall(r"@(\d)\}", claim.says))}
    for number, ask in enumerate(claim.asks, 1):
        if number in named and ask.expect.get("exit") != 2:
            wish = yaml.safe_dump(ask.wish, default_flow_style=True, width=1000, sort_keys=False) if ask.wish else ""
            yield f"`rigwright {ask.ask}`" + (f" with `{wish.strip()[1:-1]}`" if wish else "")


def _cells(cells: list[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
