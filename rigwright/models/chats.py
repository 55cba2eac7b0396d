"""How families of models are spoken to: rigwright/catalogue/models.yml, `chats`."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

from rigwright import catalogue


class Switch(NamedTuple):
    """The word of a chat template that switches thinking, and its values: `enable_thinking`, true, false."""

    keyword: str
    on: str | int | bool
    off: str | int | bool


class Chat(NamedTuple):
    """What the chat template of a family understands, and who reads what its models write.

    `switch`: None where the template has no word that switches thinking. `effort`: the word by which a model that
    always thinks does so shorter or longer. The parsers are names in vLLM, `ollama` is a RENDERER and PARSER in Ollama.
    """

    switch: Switch | None
    effort: str | None
    reasoning_parser: str | None
    tool_call_parser: str | None
    ollama: str | None


# What most templates have, and what others leave alone.
USUAL_SWITCH = Switch("enable_thinking", on=True, off=False)


@cache
def chats() -> dict[str, Chat]:
    """Every family by name."""
    return {name: _chat(row) for name, row in catalogue.load("models")["chats"].items()}


@cache
def speakers() -> dict[str, str]:
    """Ollama's names of renderers by the architecture of a file, where no model of the catalogue is known."""
    rows = catalogue.load("models")["chats"].values()
    return {name: row["ollama"] for row in rows for name in row.get("architectures", ())}


@cache
def switch_words() -> frozenset[str]:
    """All words of templates that switch thinking."""
    return frozenset(chat.switch.keyword for chat in chats().values() if chat.switch) | {USUAL_SWITCH.keyword}


def _chat(row: dict[str, Any]) -> Chat:
    switch = row.get("thinking_switch")
    return Chat(
        switch=Switch(switch["keyword"], on=switch["on"], off=switch["off"]) if switch else None,
        effort=row.get("effort"),
        reasoning_parser=row["reasoning_parser"],
        tool_call_parser=row["tool_call_parser"],
        ollama=row.get("ollama"),
    )
