"""Models for embeddings and rankings: started for that by what their file says, and proven by numbers."""

from __future__ import annotations

import pytest

from rigwright.lab import tiny_model
from rigwright.roles.llamacpp.engine import ENGINE
from rigwright.roles.service.answer import CHAT, EMBEDDING, RANKING


def served(context, rig, **service):
    """The one instance of a service."""
    found = context({"name": "chat", "context": 1024, **service})
    (instance,) = found.resolved(rig).instances(found.spec)
    return instance


@pytest.mark.parametrize(
    ("pooling", "flags", "answer"),
    [
        (0, [], CHAT),
        (1, ["--embedding", "--pooling mean"], EMBEDDING),
        (3, ["--embedding", "--pooling last"], EMBEDDING),
        (4, ["--reranking"], RANKING),
        (9, [], CHAT),
    ],
)
def test_file_says_what_a_model_is_for(context, blank, tmp_path, monkeypatch, pooling, flags, answer):
    """llama-server would refuse it otherwise; what it says in a chat is nothing to go by."""
    monkeypatch.setattr(tiny_model, "_COMMON_KEYS", {**tiny_model._COMMON_KEYS, "A.pooling_type": pooling})
    path = tiny_model.write_tiny_model(tmp_path / "e.gguf", "llama")
    instance = served(context, blank(), model=str(path))
    words = [f"{flag.name} {flag.value}" if flag.value else flag.name for flag in instance.flags]
    own = ("--embedding", "--pooling", "--reranking")
    assert [word for word in words if word.split()[0] in own] == flags
    assert ("--jinja" in words) == (answer is CHAT) and ENGINE.answer(instance) == answer


@pytest.mark.parametrize(
    ("flags", "answer"),
    [
        ({"--embeddings": True, "--pooling": "mean"}, EMBEDDING),
        ({"--embedding": True}, EMBEDDING),
        ({"--rerank": True}, RANKING),
        ({"--reranking": True}, RANKING),
        ({"--embedding": None}, CHAT),
    ],
)
def test_inventory_says_it_too(context, blank, flags, answer):
    """Files that do not tell are many; any spelling of llama-server's will do."""
    assert ENGINE.answer(served(context, blank(), flags=flags)) == answer
