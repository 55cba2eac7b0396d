"""`rigwright size`: what a model takes in memory under an engine, and how fast it would be."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from rigwright.cli.completion import gpus, models
from rigwright.cli.quantities import Whole, Words, number, rate, tokens
from rigwright.view.terminal import answering

if TYPE_CHECKING:
    from rigwright.models.values import Model
    from rigwright.plan.speed import Speed

_SEVERAL = Whole(1, 1024)


@click.command()
@click.argument("model", shell_complete=models)
@click.option(
    "--engine",
    type=Words(["llamacpp", "ik_llamacpp", "vllm"], {"llama": "llamacpp", "ollama": "llamacpp"}),
    default="llamacpp",
    show_default=True,
)
@click.option("--quant", help="How the weights are quantised: Q4_K_M.")
@click.option("--file-bytes", type=number, help="The size of the file, where only the dimensions are known.")
@click.option("--context", type=number, help="Tokens of all slots together; by default what the model is trained for.")
@click.option("--cache-type-k", default="f16", show_default=True, help="The type of the keys in the KV cache.")
@click.option("--cache-type-v", default="f16", show_default=True, help="The type of the values.")
@click.option("--ubatch", type=number, default=512, show_default=True, help="Tokens that are computed at once.")
@click.option("--slots", type=_SEVERAL, help="Requests served at once; by default one.")
@click.option("--unified-kv/--no-unified-kv", default=None, help="Whether slots share one pool of cells.")
@click.option("--flash-attn/--no-flash-attn", default=True, help="Flash attention.")
@click.option("--gpus", type=Whole(0, 64), default=1, show_default=True, help="GPUs that share the layers.")
@click.option("--n-cpu-moe", type=Whole(0), default=0, help="The first layers whose experts stay in RAM.")
@click.option("--draft-depth", type=Whole(0, 64), default=0, help="Tokens drafted ahead.")
@click.option("--swa-full", is_flag=True, help="Keep the whole cache of windowed layers.")
@click.option("--tp", type=_SEVERAL, default=1, show_default=True, help="vLLM: GPUs that share each layer.")
@click.option("--kv-bytes", type=rate, default=2.0, help="vLLM: bytes of an element.")
@click.option("--kv-scale-bytes", type=Whole(0, 64), default=0, help="vLLM: bytes of a head's scale.")
@click.option("--kv-budget-bytes", type=number, help="vLLM: what each GPU has for the KV cache.")
@click.option("--max-model-len", type=number, help="vLLM: tokens of the longest request.")
@click.option("--engine-version", help="vLLM: its release; by default any since 0.21.")
@click.option("--speed", is_flag=True, help="Also how fast it writes; needs --gpu.")
@click.option("--gpu", "gpu_name", metavar="NAME", shell_complete=gpus, help="The model of the GPUs: RTX 3090.")
@click.option("--gpu-bandwidth", type=rate, metavar="GBPS", help="Its GB/s, if unknown.")
@click.option("--depth", type=tokens, help="Tokens that are cached already; by default --context where it is given.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: docs/size.schema.json.")
def size(model: str, **options: Any) -> None:
    """Say what MODEL takes in memory, part by part, and with --speed how fast it writes.

    MODEL is a name of the catalogue (with :QUANT), a GGUF file or its address, hf:org/repo@revision:file.gguf, or a
    JSON file with its dimensions. Numbers may end in K, M or G for powers of 1024.
    """
    if options["speed"] and options["gpus"] and not options["gpu_name"]:
        raise click.UsageError("--speed needs --gpu NAME, or --gpus 0 for the CPU")
    if counted := re.fullmatch(r"(\d{1,2})\s*[x×*]\s*(.+)|(.+?)\s*[x×*]\s*(\d{1,2})", options["gpu_name"] or ""):
        count, name = counted[1] or counted[4], counted[2] or counted[3]
        raise click.UsageError(f"--gpu names the model alone: --gpu '{name}' --gpus {count}")
    from rigwright.weights.named import sized_model

    is_vllm = options["engine"] == "vllm"
    found = sized_model(model, quant=options["quant"], file_bytes=options["file_bytes"], is_vllm=is_vllm)
    lines = {"model": found.model.name, "quant": found.quant, "engine": options["engine"]}
    lines |= _sizes(found.model, options)
    speed = _speed(found.model, options) if options["speed"] else None
    with answering():
        if options["as_json"]:
            from rigwright.view.answers.size import Size

            answer = Size.model_validate(lines | ({"decode_tokens_per_second": speed} if speed else {}))
            click.echo(json.dumps(answer.plain(), indent=1))
            return
        from rigwright.view.size_table import show
        from rigwright.view.terminal import console

        vram = _vram_bytes(options["gpu_name"])
        remedies = tuple(_remedies(found.model, options, vram)) if vram and options["gpus"] else ()
        gpu, asked = options["gpu_name"], _asked(found.model, options)
        show(console(), lines, vram_bytes=vram, gpu_name=gpu, speed=speed, context=asked, remedies=remedies)


def _asked(model: Model, options: dict[str, Any]) -> str:
    """What the size is for, as a person would say it: `65,536 tokens of f16`."""
    if options["engine"] == "vllm":
        return f"{options['max_model_len'] or options['context'] or model.context_train:,} tokens"
    types = " and ".join(dict.fromkeys((options["cache_type_k"], options["cache_type_v"])))
    return f"{options['context'] or model.context_train:,} tokens of {types}"


def _remedies(model: Model, options: dict[str, Any], vram_bytes: int) -> Iterator[str]:
    """The options with which llama.cpp would fit a GPU: the longest shorter context, and a KV cache of 8 bit."""
    from rigwright.plan.contexts import contexts
    from rigwright.view.size_table import free_bytes

    def fits(**changed: object) -> bool:
        return free_bytes(_sizes(model, options | changed), vram_bytes) >= 0

    if options["engine"] == "vllm" or fits():
        return
    asked = options["context"] or model.context_train
    shorter = (step for step in contexts(model, longest=asked) if step < asked)
    if step := next((step for step in shorter if fits(context=step)), None):
        yield f"--context {step}"
    eight = {"cache_type_k": "q8_0", "cache_type_v": "q8_0"}
    if (options["cache_type_k"], options["cache_type_v"]) == ("f16", "f16") and options["flash_attn"] and fits(**eight):
        yield "--cache-type-k q8_0 --cache-type-v q8_0"


def _sizes(model: Model, options: dict[str, Any]) -> dict[str, Any]:
    from rigwright.plan.size import size as sizes

    same = (
        "cache_type_k", "cache_type_v", "ubatch", "slots", "unified_kv", "flash_attn", "n_cpu_moe", "draft_depth",
        "swa_full", "tp", "kv_bytes", "kv_scale_bytes", "kv_budget_bytes", "max_model_len", "engine_version",
    )  # fmt: skip
    vram = _vram_bytes(options["gpu_name"]) if options["engine"] == "vllm" else None
    return sizes(
        model,
        engine=options["engine"],
        context_tokens=options["context"],
        gpus=max(1, options["gpus"]),
        gpu=options["gpus"] > 0,
        vram_bytes=(vram,) * options["tp"] if vram else (),
        **{name: options[name] for name in same},
    )


def _vram_bytes(name: str | None) -> int | None:
    """What the box of such a card says; None where its name leaves that open."""
    if not name:
        return None
    from rigwright.plan.speed.names import known_models

    found = {row.vram_bytes for row in known_models(name) if row.vram_bytes}
    return found.pop() if len(found) == 1 else None


def _speed(model: Model, options: dict[str, Any]) -> Speed:
    from rigwright.plan.speed import decode_speed, throughput_of

    is_vllm, count = options["engine"] == "vllm", options["tp"] if options["engine"] == "vllm" else options["gpus"]
    throughputs = (throughput_of(options["gpu_name"], options["gpu_bandwidth"]),) * count if count else ()
    return decode_speed(
        model,
        throughputs=throughputs,
        placement=_placement(model, count, options["n_cpu_moe"]) if not is_vllm else None,
        depth_tokens=(options["context"] or 0) if options["depth"] is None else options["depth"],
        cache_types=("f16", "f16") if is_vllm else (options["cache_type_k"], options["cache_type_v"]),
        engine="vllm" if is_vllm else "llamacpp",
        tensor_parallel=options["tp"] if is_vllm else 1,
        draft_tokens=options["draft_depth"],
        users=options["slots"] or 1,
    )


def _placement(model: Model, gpus: int, n_cpu_moe: int) -> Any:
    """Where the layers lie, for the speed; all on the GPUs is None."""
    if not gpus or not n_cpu_moe:
        return None
    from rigwright.plan.size import even_placement

    return even_placement(model, gpus, n_cpu_moe)
