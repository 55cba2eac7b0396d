"""The contract of `rigwright plan --json` as a JSON Schema: every field, its type, what it means.

`pytest tests/unit --renew-golden` writes docs/plan.schema.json.
"""

from __future__ import annotations

from collections.abc import Mapping

from rigwright.view.answers.schemas import (
    COUNT,
    COUNT_BY_NAME,
    COUNT_OR_NULL,
    NUMBER,
    NUMBER_OR_NULL,
    TEXT,
    TEXT_BY_NAME,
    TEXT_OR_NULL,
    TEXTS,
    Fields,
    Shape,
    document,
    list_of,
    one_of,
    reference,
)

_INDEXES: Shape = {"type": "array", "items": COUNT_OR_NULL}
_UUIDS: Shape = {"type": "array", "items": TEXT_OR_NULL}

PLAN: Fields = {
    "rig": (TEXT, "the name of the rig, or of the folder of its recording"),
    "gpus": (list_of("gpu"), "every GPU that a plan could name, and what takes its memory"),
    "ram": (reference("ram"), "the memory of the rig"),
    "services": (list_of("service"), "the services in the order of the inventory"),
    "cost": (reference("cost"), "what it takes to get from a blank machine to the plan"),
    "notes": (list_of("reason"), "what the owner of the rig should know: GPUs that lie idle, what was assumed"),
    "changes": (
        {"type": ["array", "null"], "items": reference("change")},
        "what a deploy would change of what runs on the rig; null where nobody looked",
    ),
}

_GPU: Fields = {
    "index": (COUNT_OR_NULL, "the driver's index; null where no driver answered"),
    "uuid": (TEXT_OR_NULL, "the driver's name of this very card"),
    "name": (TEXT, "its model"),
    "vram_bytes": (COUNT, "its memory; the catalogue's where no driver told"),
    "offered_bytes": (COUNT, "what a plan may use of it: the rest is the driver's and a display's"),
    "used_bytes": (COUNT, "what all services take"),
    "uses": (list_of("use"), "who takes what"),
    "unused_because": (TEXT_OR_NULL, "why nothing runs on it; null where something does"),
}

_SERVICE: Fields = {
    "service": (TEXT, "its name"),
    "engine": (one_of("llamacpp", "vllm", "ollama"), "what serves it"),
    "engine_version": (TEXT, "the release of the engine"),
    "model": (TEXT, "the model"),
    "quant": (TEXT, "how its weights are quantised"),
    "source": (TEXT_OR_NULL, "where the weights come from, as an inventory says it"),
    "file_bytes": (COUNT_OR_NULL, "the size of all its files; null where they could not be read from here"),
    "loss_percent": (
        {"type": ["number", "null"]},
        "perplexity that quant and KV cache cost over 8 bit; null where nobody measured it",
    ),
    "layout": (reference("layout"), "how it lies on its GPUs"),
    "replicas": (list_of("replica"), "the running copies"),
    "context_tokens": (COUNT, "tokens of context of each slot"),
    "slots": (COUNT, "requests served at once by each copy"),
    "memory": (
        reference("memory", is_optional=True),
        "the memory of one copy; null where the header of the model could not be read, or its flags place it",
    ),
    "speed": (reference("speed", is_optional=True), "tokens per second; null where they cannot be reckoned"),
    "flags": (list_of("flag"), "the engine's flags in order, each with its reason"),
    "reasons": (list_of("reason"), "why this engine, quant and place"),
    "alternatives": (list_of("alternative"), "what else was possible, the nearest first"),
    "modelfile": (TEXT_OR_NULL, "Ollama's Modelfile"),
}

SPEED: Fields = {
    "low": (NUMBER, "four runs of five are not slower and not faster than low and high"),
    "expected": (NUMBER, "tokens per second of one request while it writes"),
    "high": (NUMBER, "see low"),
    "aggregate": (NUMBER_OR_NULL, "of all users together"),
    "prefill": (NUMBER_OR_NULL, "tokens per second of a long prompt that is read"),
    "confidence": (one_of("measured", "high", "medium", "low"), "how sure"),
    "because": (TEXT, "what it was reckoned from"),
}

DEFINITIONS: Mapping[str, Fields] = {
    "gpu": _GPU,
    "use": {
        "service": (TEXT, "the service"),
        "part": (TEXT, "weights, KV cache, compute buffers, …"),
        "bytes": (COUNT, "of this GPU"),
    },
    "ram": {
        "bytes": (COUNT, "of the rig"),
        "offered_bytes": (COUNT, "what services may use"),
        "used_bytes": (COUNT, "what they take"),
    },
    "service": _SERVICE,
    "layout": {
        "kind": (one_of("cpu", "single", "layers", "tensor", "pipeline"), "how one copy is spread"),
        "tensor_parallel": (COUNT, "GPUs that share each layer"),
        "pipeline_parallel": (COUNT, "stages behind each other; for layers the GPUs"),
        "replicas": (COUNT, "copies side by side"),
        "link": (TEXT_OR_NULL, "what joins the GPUs of one copy: NV4, PHB"),
        "text": (TEXT, "the same in words"),
    },
    "replica": {
        "gpus": (_INDEXES, "their indexes, in the order in which the engine numbers them"),
        "gpu_uuids": (_UUIDS, "the same GPUs by UUID"),
        "port": (COUNT, "its TCP port"),
        "environment": (TEXT_BY_NAME, "its environment variables"),
        "argv": (TEXTS, "the arguments of the engine, without its name"),
    },
    "memory": {
        "gpus": (list_of("gpu_memory"), "each GPU of the first copy"),
        "ram": (reference("memory_place"), "what it takes of RAM"),
    },
    "gpu_memory": {
        "gpu": (COUNT_OR_NULL, "its index"),
        "parts": (COUNT_BY_NAME, "bytes by part"),
        "total_bytes": (COUNT, "their sum"),
    },
    "memory_place": {
        "parts": (COUNT_BY_NAME, "bytes by part"),
        "total_bytes": (COUNT, "their sum"),
    },
    "speed": SPEED,
    "flag": {
        "name": (TEXT, "--ctx-size"),
        "value": (TEXT_OR_NULL, "null for a flag that takes none"),
        "because": (TEXT, "why it has this value"),
        "source": (TEXT_OR_NULL, "what a number rests on"),
    },
    "reason": {
        "choice": (TEXT, "what was chosen"),
        "because": (TEXT, "why"),
        "source": (TEXT_OR_NULL, "what a number rests on"),
    },
    "change": {
        "mark": (one_of("+", "~", "-"), "comes, becomes another, goes"),
        "where": (TEXT, "the service, and what of it"),
        "old": (TEXT, "the value that it has; empty where there is none"),
        "new": (TEXT, "the value that it gets; empty where there is none"),
        "note": (TEXT, "what values cannot say"),
    },
    "alternative": {
        "engine": (TEXT, "what would serve it"),
        "layout": (TEXT, "where"),
        "quant": (TEXT, "which quant"),
        "context_tokens": (COUNT_OR_NULL, "with how much context"),
        "tokens_per_second": (NUMBER_OR_NULL, "how fast"),
        "why_not": (TEXT, "what it would be worse at, or what refused it"),
    },
    "cost": {
        "download_bytes": (COUNT, "weights that the rig fetches"),
        "disk_bytes": (COUNT, "what it takes of the disk"),
        "builds": (TEXTS, "what is built or installed"),
        "reboot": (TEXT_OR_NULL, "why the rig restarts; null where it does not"),
        "downtime": (TEXT_OR_NULL, "when a service that runs now is interrupted; null where none is"),
    },
}


def plan_schema() -> Shape:
    """docs/plan.schema.json. Fields may be added; none goes, none changes its meaning."""
    return document(
        "rigwright plan",
        "The plan of one rig as `rigwright plan --json` prints it. Unknown is null, never a guess. For an inventory: "
        'such objects by rig name, and {"error": …} for a rig that has no plan.',
        fields=PLAN,
        definitions=DEFINITIONS,
    )
