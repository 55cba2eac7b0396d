"""The contracts of `rigwright size --json` and `rigwright recommend --json` as JSON Schemas.

`pytest tests/unit --renew-golden` writes docs/size.schema.json and docs/recommend.schema.json.
"""

from __future__ import annotations

from rigwright.view.answers.schema import SPEED
from rigwright.view.answers.schemas import (
    COUNT,
    COUNT_BY_NAME,
    COUNT_OR_NULL,
    NUMBER,
    NUMBER_OR_NULL,
    TEXT,
    TEXT_OR_NULL,
    TEXTS,
    TRUTH,
    Fields,
    Shape,
    document,
    list_of,
    one_of,
    reference,
)

_COUNTS: Shape = {"type": "array", "items": COUNT}
_COUNT_OR_COUNTS: Shape = {"anyOf": [COUNT, _COUNTS]}
_VLLM_ONLY = ("kv_tokens", "max_concurrency", "block_tokens")

SIZE: Fields = {
    "model": (TEXT, "the model that was sized"),
    "quant": (TEXT_OR_NULL, "how its weights are quantised; null where only dimensions are known"),
    "engine": (one_of("llamacpp", "ik_llamacpp", "vllm"), "what would serve it"),
    "weights_bytes": (COUNT, "the weights, each once; the copy of a tied embedding counts in host_bytes"),
    "kv_bytes": (COUNT, "the KV cache of layers that see the whole context"),
    "kv_swa_bytes": (COUNT, "the KV cache of layers that see a window"),
    "recurrent_bytes": (COUNT, "the state of recurrent layers"),
    "compute_bytes": (_COUNTS, "what each device needs while it computes"),
    "compute_margin_bytes": (_COUNT_OR_COUNTS, "by how much more that may be, on each device"),
    "drafting_bytes": (COUNT, "what drafting ahead adds"),
    "overhead_bytes": (COUNT, "what a process takes of its GPUs before its first buffer"),
    "total_bytes": (COUNT, "all of it on the GPUs; in RAM where no GPU takes part"),
    "total_margin_bytes": (COUNT, "by how much more all of it may be"),
    "host_bytes": (COUNT, "what lies in RAM"),
    "kv_tokens": (COUNT_OR_NULL, "vLLM: tokens that the KV cache holds"),
    "max_concurrency": (NUMBER_OR_NULL, "vLLM: requests of the full length at once"),
    "block_tokens": (COUNT_OR_NULL, "vLLM: tokens of a block of its cache"),
    "per_gpu": (list_of("gpu"), "the same for each GPU"),
    "exact": ({"type": "object", "additionalProperties": TRUTH}, "which sizes are reckoned to the byte"),
    "assumptions": (TEXTS, "what was assumed"),
    "decode_tokens_per_second": (reference("rate"), "with --speed: how fast one request is written"),
}


def size_schema() -> Shape:
    """docs/size.schema.json."""
    definitions: dict[str, Fields] = {
        "gpu": {
            "parts": (COUNT_BY_NAME, "bytes by part"),
            "total_bytes": (COUNT, "their sum"),
        },
        "rate": {
            "low": (NUMBER, "four runs of five lie between low and high"),
            "expected": (NUMBER, "tokens per second"),
            "high": (NUMBER, "see low"),
        },
    }
    description = "What `rigwright size --json` prints. All sizes are whole bytes."
    optional = (*_VLLM_ONLY, "decode_tokens_per_second")
    return document("rigwright size", description, fields=SIZE, definitions=definitions, optional=optional)


RECOMMEND: Fields = {
    "rig": (TEXT, "the name of the rig, or of the folder of its recording"),
    "for": (one_of("general", "coding", "agents", "long-context", "quality", "cheap"), "the purpose"),
    "recommendations": (list_of("recommendation"), "the models that fit, the best first"),
    "not_recommended": (list_of("other"), "the models that do not fit"),
}

_RECOMMENDATION: Fields = {
    "model": (TEXT, "its name"),
    "key": (TEXT, "its key in the catalogue"),
    "spec": (TEXT, "what a service names as its model to get it"),
    "quant": (TEXT, "how its weights are quantised"),
    "engine": (one_of("llamacpp", "vllm", "ollama"), "what would serve it"),
    "layout": (TEXT, "how it lies on the GPUs"),
    "gpus": ({"type": "array", "items": COUNT_OR_NULL}, "their indexes"),
    "context_tokens": (COUNT, "tokens of context of each slot"),
    "slots": (COUNT, "requests at once"),
    "file_bytes": (COUNT_OR_NULL, "what is downloaded"),
    "gpu_bytes": (COUNT_OR_NULL, "what it takes of the GPUs"),
    "ram_bytes": (COUNT_OR_NULL, "what it takes of RAM"),
    "speed": (reference("speed", is_optional=True), "how fast; null where that cannot be reckoned"),
    "index": (NUMBER_OR_NULL, "its benchmarks in parts of the best; null where none is published"),
    "score": ({"type": "number"}, "what the ranking goes by; it compares only within one answer"),
    "because": (TEXT, "what it is good at"),
    "reasons": (TEXTS, "why this quant, engine and place"),
}


def recommend_schema() -> Shape:
    """docs/recommend.schema.json."""
    definitions: dict[str, Fields] = {
        "recommendation": _RECOMMENDATION,
        "speed": SPEED,
        "other": {
            "model": (TEXT, "its name"),
            "key": (TEXT, "its key in the catalogue"),
            "why": (TEXT, "what it lacks, and by how much"),
        },
    }
    description = "What `rigwright recommend --json` prints for one rig; for an inventory such objects by rig name."
    return document("rigwright recommend", description, fields=RECOMMEND, definitions=definitions)
