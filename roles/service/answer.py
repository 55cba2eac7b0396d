"""The proof that an instance serves: it is healthy, and its first answer holds what it should."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from rigwright.records import paths
from rigwright.records.reading import base_url
from rigwright.records.values import Record


class Answer(NamedTuple):
    """A request by POST, and the text that its answer must hold."""

    path: str
    body: str
    expected: str


CHAT = Answer(
    path="/v1/chat/completions",
    body=json.dumps(
        {"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 8, "temperature": 0},
        separators=(",", ":"),
    ),
    expected='"choices"',
)


class Proof(NamedTuple):
    """Where an instance answers, the file of its keys (empty without), its health and its first answer."""

    url: str = ""
    key: str = ""
    health: str = ""
    answer: Answer = CHAT

    def variables(self, prefix: str = "") -> dict[str, str]:
        """The shell variables of switch.sh."""
        return {
            f"{prefix}URL": self.url,
            f"{prefix}KEY": self.key,
            f"{prefix}HEALTH": self.health,
            f"{prefix}ASK": self.answer.path,
            f"{prefix}BODY": self.answer.body,
            f"{prefix}EXPECTED": self.answer.expected,
        }


def proof_of(record: Record | None, service: str) -> Proof:
    """How what a record tells of proved that it serves; records of 0.1 tell of chat completions alone."""
    if record is None or record.port is None:
        return Proof()
    key = paths.key_path(service) if record.has_key else ""
    return Proof(base_url(record.host, record.port), key, record.health, _answer(record.answer))


def _answer(data: Any) -> Answer:
    if isinstance(data, Mapping) and all(isinstance(data.get(field), str) for field in Answer._fields):
        return Answer(*(data[field] for field in Answer._fields))
    return CHAT
