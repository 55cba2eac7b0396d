"""Models for embeddings and rankings on a real rig: proven by numbers, and checked by them."""

from __future__ import annotations

import base64
import json
import struct

import pytest

from rigwright.lab import tiny_model

pytestmark = pytest.mark.lab


def post(workshop, rig, path, body):
    """An answer of the service."""
    ask = f"curl -sS -m 60 -d '{json.dumps(body)}' http://127.0.0.1:8080{path}"
    return json.loads(workshop.on(rig, ask))


def test_model_for_embeddings_is_proven_by_one(workshop, serving, monkeypatch):
    """By what its file says; a chat would be refused, and what ran before would have come back."""
    monkeypatch.setattr(tiny_model, "_COMMON_KEYS", {**tiny_model._COMMON_KEYS, "A.pooling_type": 3})
    path = tiny_model.write_tiny_model(workshop.directory / "embedding.gguf", "llama")
    rig = workshop.spec(model=str(path))
    done = workshop.deploy(rig, serving)
    assert done.code == 0 and workshop.deploy(rig, serving).changed == set(), done.output
    assert '"path":"/v1/embeddings"' in workshop.on(serving, "cat /etc/rigwright/demo.json")
    found = post(workshop, serving, "/v1/embeddings", {"input": "x", "encoding_format": "base64"})
    raw = base64.b64decode(found["data"][0]["embedding"])
    assert len(struct.unpack(f"<{len(raw) // 4}f", raw)) == 256
    told = workshop.rigwright("verify", str(workshop.inventory(rig, serving)))
    assert told.code == 0, told.output
    # One that embeds, and is asked for rankings: nothing is proven, and the one before comes back.
    broken = workshop.deploy(workshop.spec(model=str(path), flags={"--pooling": "none"}), serving)
    assert broken.code == 1 and "/v1/embeddings failed" in broken.output, broken.output
    assert workshop.deploy(rig, serving).changed == set()


def test_model_for_rankings_is_proven_by_one(workshop, serving):
    """The inventory says what it is for, as many files do not."""
    rig = workshop.spec(flags={"--reranking": True})
    done = workshop.deploy(rig, serving)
    assert done.code == 0 and workshop.deploy(rig, serving).changed == set(), done.output
    found = post(workshop, serving, "/v1/rerank", {"query": "a", "documents": ["b", "c"]})
    assert [type(one["relevance_score"]) for one in found["results"]] == [float, float]
    told = workshop.rigwright("verify", str(workshop.inventory(rig, serving)))
    assert told.code == 0, told.output
