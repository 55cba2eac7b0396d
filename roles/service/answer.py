"""The proof that an instance serves: it is healthy, and its first answer has text where it should."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from rigwright.records import paths
from rigwright.records.reading import base_url
from rigwright.records.values import Record


class Answer(NamedTuple):
    """A request by POST. `expected` are places in its answer, `a.0.b a.0.c#`: one must hold text, with # a number."""

    path: str
    body: str
    expected: str


CHAT = Answer(
    path="/v1/chat/completions",
    body=json.dumps(
        {"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 16, "temperature": 0},
        separators=(",", ":"),
    ),
    # What a model thinks before it speaks has a place of its own: of llama.cpp, of vLLM.
    expected=" ".join(f"choices.0.message.{key}" for key in ("content", "reasoning_content", "reasoning")),
)


# As base64, so that the thousands of numbers of a large model are one text.
EMBEDDING = Answer("/v1/embeddings", '{"input":"Say hello.","encoding_format":"base64"}', "data.0.embedding")
RANKING = Answer("/v1/rerank", '{"query":"hello","documents":["hello","bye"]}', "results.0.relevance_score#")


class Proof(NamedTuple):
    """Where an instance answers, the file of its keys (empty without), its health and its first answer."""

    url: str = ""
    key: str = ""
    health: str = ""
    answer: Answer = CHAT

    def variables(self) -> dict[str, str]:
        """The shell variables of switch.sh."""
        return {
            "URL": self.url,
            "KEY": self.key,
            "HEALTH": self.health,
            "ASK": self.answer.path,
            "BODY": self.answer.body,
            "EXPECTED": self.answer.expected,
        }


# What switch.sh asks where a record does not say how its engine is proven.
CHAT_VARIABLES = {"CHAT_ASK": CHAT.path, "CHAT_BODY": CHAT.body, "CHAT_EXPECTED": CHAT.expected}


def serves_at(host: str, port: int) -> str:
    """Where clients reach a service, for people."""
    address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    return f"{address}, each address of the rig" if host in ("0.0.0.0", "::") else address


def proof_of(record: Record | None, service: str) -> Proof:
    """How what a record tells of proved that it serves; records of 0.1 tell of chat completions alone."""
    if record is None or record.port is None:
        return Proof()
    key = paths.key_path(service) if record.has_key else ""
    return Proof(base_url(record.host, record.port), key, record.health, _answer(record.answer))


def _answer(data: Any) -> Answer:
    if isinstance(data, Mapping) and all(isinstance(data.get(field), str) for field in Answer._fields):
        answer = Answer(*(data[field] for field in Answer._fields))
        # Earlier records name a word that the answer must hold, in quotes: any page may hold it.
        return answer if answer.expected and '"' not in answer.expected else CHAT
    return CHAT
