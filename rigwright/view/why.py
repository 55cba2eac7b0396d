"""`--why`: every flag with its value and its reason, in the order in which advice on serving is usually written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from rigwright.plan.service import Flag, RigPlan, ServicePlan
from rigwright.shown import redacted
from rigwright.view.hardware_words import clean
from rigwright.view.words import short

# What a flag is about, by its name. What is nowhere here is "other".
_GROUPS = {
    "model": (
        "--model", "--mmproj", "--spec-draft-model", "--tokenizer", "--quantization", "--dtype", "--revision",
        "--load-format", "--load-mode", "--trust-remote-code", "--override-kv", "--hf-config-path",
    ),
    "context and memory": (
        "--ctx-size", "--parallel", "--kv-unified", "--no-kv-unified", "--cache-type-k", "--cache-type-v",
        "--cache-ram", "--swa-full", "--ctx-checkpoints", "--max-model-len", "--max-num-seqs", "--kv-cache-dtype",
        "--gpu-memory-utilization", "--kv-cache-memory-bytes", "--mmap", "--no-mmap", "--mlock",
        "--language-model-only", "--limit-mm-per-prompt", "--enable-prefix-caching", "--cpu-offload-gb",
    ),
    "GPUs": (
        "--device", "--n-gpu-layers", "--gpu-layers", "--n-cpu-moe", "--cpu-moe", "--override-tensor", "--split-mode",
        "--tensor-split", "--main-gpu", "--fit", "--numa", "--tensor-parallel-size", "--pipeline-parallel-size",
        "--data-parallel-size", "--disable-custom-all-reduce", "--enable-expert-parallel",
        "--distributed-executor-backend",
    ),
    "speed": (
        "--flash-attn", "--batch-size", "--ubatch-size", "--threads", "--threads-batch", "--threads-http", "--poll",
        "--cont-batching", "--max-num-batched-tokens", "--enable-chunked-prefill", "--speculative-config",
        "--async-scheduling", "--enforce-eager", "--compilation-config", "--attention-backend", "--cache-reuse",
        "--spec-type", "--spec-draft-n-max", "--spec-draft-device", "--spec-draft-ngl", "--prio",
    ),
    "thinking and sampling": (
        "--temp", "--top-p", "--top-k", "--min-p", "--presence-penalty", "--repeat-penalty", "--reasoning",
        "--reasoning-effort", "--reasoning-format", "--reasoning-budget", "--chat-template-kwargs",
        "--default-chat-template-kwargs", "--override-generation-config", "--generation-config",
        "--reasoning-parser", "--seed",
    ),
    "API": (
        "--host", "--port", "--alias", "--served-model-name", "--api-key-file", "--api-key", "--jinja",
        "--chat-template", "--metrics", "--no-webui", "--no-ui", "--webui", "--enable-auto-tool-choice",
        "--tool-call-parser", "--shutdown-timeout", "--disable-access-log-for-endpoints", "--timeout",
        "--slots", "--no-slots",
    ),
}  # fmt: skip
_OTHER = "other"
OVERRIDDEN = "the inventory says so"


class _Row(NamedTuple):
    choice: Text
    because: str
    source: str | None = None


def explain(console: Console, plan: RigPlan) -> None:
    """Print every choice of a plan with its reason."""
    for service in plan.services:
        console.print(Text.assemble((service.service, "bold cyan"), (" ── why", "bold")))
        console.print(Padding(_choices(service, console.width), (0, 0, 1, 2)))
        if service.modelfile:
            console.print(Text("  Modelfile", "bold"))
            console.print(Padding(Text(service.modelfile.rstrip()), (0, 0, 1, 2)))
    if plan.tuning:
        rows = Table.grid(padding=(0, 2, 0, 0))
        rows.add_column(width=_left(console.width))
        rows.add_column(overflow="fold")
        for one in plan.tuning:
            rows.add_row(Text(clean(one.reason.choice)), _because(one.reason.because, one.reason.source))
        console.print(Text.assemble(("the machine", "bold cyan"), (" ── why", "bold")))
        console.print(Padding(rows, (0, 0, 1, 2)))
    if any(_is_overridden(flag) for service in plan.services for flag in service.flags):
        console.print(Text("* the inventory's own flag, which wins over the plan\n", "dim"))


def group_of(flag: str) -> str:
    """What a flag is about; a word that is none names the model."""
    if not flag.startswith("-"):
        return "model"
    return next((title for title, names in _GROUPS.items() if flag in names), _OTHER)


def _is_overridden(flag: Flag) -> bool:
    return OVERRIDDEN in flag.reason.because


def _left(width: int) -> int:
    """The width of the first column."""
    return 34 if width >= 100 else 26


def _choices(service: ServicePlan, width: int) -> Group:
    """Two columns; a choice that is too long for the first stands above its reason. What repeats is said once."""
    left = _left(width)
    lines: list[RenderableType] = []
    for title, rows in _sections(service):
        lines += [Text(), Text(title, "bold underline")]
        said, last = "", ""
        for choice, reason, source in rows:
            is_same = bool(reason) and (reason, source) == (last, said or None)
            because = Text("as above", "dim") if is_same else _because(reason, source if source != said else None)
            said, last = source or said, reason
            is_long = len(choice.plain) > left
            lines += [choice] if is_long else []
            row = Table.grid(padding=(0, 2, 0, 0))
            row.add_column(width=left)
            row.add_column(overflow="fold")
            row.add_row("" if is_long else choice, because)
            lines += [row] if because.plain or not is_long else []
    return Group(*lines[1:])


def _sections(service: ServicePlan) -> Iterator[tuple[str, list[_Row]]]:
    """Title and rows: the large choices, the flags by subject, speed, the environment."""
    if chosen := [_Row(Text(clean(one.choice)), one.because, one.source) for one in service.reasons]:
        yield "engine, model, place", chosen
    for title in (*_GROUPS, _OTHER):
        rows = [_Row(_flag(flag), flag.reason.because, flag.reason.source) for flag in _of(service.flags, title)]
        if title == "speed" and (speed := service.speed):
            rows.append(_Row(Text(f"{short(speed.expected)} tokens/s"), speed.because, speed.source))
        if rows:
            yield title, rows
    if environment := list(_environment(service)):
        yield "environment", environment


def _of(flags: Iterable[Flag], title: str) -> Iterator[Flag]:
    return (flag for flag in flags if group_of(flag.name) == title)


def _flag(flag: Flag) -> Text:
    value = "" if flag.value is None else f" {clean(redacted(flag.value))}"
    mark = ("* ", "bold yellow") if _is_overridden(flag) else ""
    return Text.assemble(mark, (flag.name, "cyan"), value)


def _because(because: str, source: str | None) -> Text:
    return Text.assemble(clean(redacted(because)), (f"  [{clean(source)}]", "dim") if source else "")


def _environment(service: ServicePlan) -> Iterator[_Row]:
    """The variables of each copy; what all of them share is said once."""
    copies = [replica.environment for replica in service.replicas]
    for number, environment in enumerate(copies):
        for name, value in environment:
            is_shared = all((name, value) in other for other in copies)
            if number and is_shared:
                continue
            whose = "" if is_shared else f"copy on port {service.replicas[number].port}"
            yield _Row(Text.assemble((name, "cyan"), f"={clean(value)}"), whose)
