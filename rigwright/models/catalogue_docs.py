"""docs/models.md as text: the models of the catalogue and their files."""

from __future__ import annotations

from collections.abc import Iterable

from rigwright.models.standing import NAMES, class_of
from rigwright.models.variants import KnownModel, Variant, known_models, variants
from rigwright.units import GIB

_HEAD = """# Models

A model has a name here, and others that find it too: that of its repository (`Qwen/Qwen3.5-35B-A3B`) and Ollama's
(`qwen3.5:35b-a3b`, `qwen3.5:35b-a3b-q4_K_M`). Upper and lower case, spaces, dashes and underscores do not matter. With
`:` and a quant it names one file: `qwen3.5-35b-a3b:Q4_K_M`.

Beside these names a service, `rigwright plan` and `rigwright size` take what people have in their clipboard:

| written | meant |
| --- | --- |
| `auto`, `auto:Q8_0` | the model that suits the rig best, in that quant |
| `unsloth/Qwen3.5-35B-A3B-GGUF`, with or without `hf:` before it | a file of it: the plan chooses the quant |
| `unsloth/Qwen3.5-35B-A3B-GGUF:UD-Q4_K_XL`, `hf.co/…:UD-Q4_K_XL` | its file of this quant |
| `hf:org/repo:*UD-Q4_K_XL*` | the one file that the pattern fits, as `--include` has it |
| `hf:org/repo@revision:file.gguf`, `org/repo-GGUF/file.gguf` | this file |
| `hf:Qwen/Qwen3.6-27B-FP8`, `./Qwen3.6-27B-FP8` | a whole repository of safetensors, for vLLM; a directory of them |
| the address of a page of huggingface.co or ollama.com | what the page is about |
| `-hf org/repo:QUANT`, `hf download …`, `docker run … --model …` | the model of that command |
| `MODEL=Qwen/Qwen3-8B`, `"model": "…"`, `from_pretrained("…")`, a line with one model among other words | that model |
| `./model.gguf`, `~/models/model.gguf`, `https://host/model.gguf` | a file of this machine; an address |

Quotes, bullets, links and dashes of a page are left out. A page of LM Studio, ModelScope or OpenRouter stands for the
model in its address, any other page is refused. A repository that the catalogue does not list is asked for its files.
Where several could be meant none is chosen: the choices are named. A quant that is not there is refused with those
that resemble it.

This page is written by `rigwright/models/catalogue_docs.py` from `rigwright/catalogue/models.yml`, where each number
has its source. Change the row, not this page.

"""
_SCORES = """
## Benchmarks

In percent, as their makers published them; `scores_source` in the catalogue says where. `rigwright recommend` [ranks by
class first](plan.md#which-model): the mean of MMLU-Pro, GPQA Diamond, LiveCodeBench v6 and SWE-bench Verified, as far
as they are published, each in parts of the best here.

"""
_FILES = """
## Files

Sizes in GiB (1.0737 GB), on the disk. `~` marks a size that is not known to the byte: rounded by who published it, or
computed from the parameters. In brackets is how much worse than 8 bit the file predicts text, in percent, where that
was measured for the file itself; for others the planner takes the typical loss of the quant, which is that of an 8B
model and thus cautious.

"""
_KEPT_AWAY = """
## Uploads to keep away from

Names of files are not stable: publishers replace a file and keep its name. These were replaced.

"""


def models_markdown() -> str:
    """The page."""
    models = known_models()
    overview = _table(
        ("name", "class", "parameters", "active", "context", "thinks", "pictures", "licence", "good at"),
        ((f"`{one.key}`", *_traits(one)) for one in models),
    )
    files = _table(("model", "GGUF", "safetensors"), ((f"`{one.key}`", *_files(one)) for one in models))
    replaced = _table(
        ("model", "quant", "before", "size", "why"),
        (
            (f"`{one.key}`", f"`{row.quant}`", row.before or "?", _size(row.file_bytes, row.is_size_exact), row.why)
            for one in models
            for row in one.superseded
        ),
    )
    names = [name for name in NAMES if any(name in one.scores for one in models)]
    scores = _table(
        ("model", *(NAMES[name] for name in names)),
        (
            (f"`{one.key}`", *(f"{one.scores[name]:g}" if name in one.scores else "" for name in names))
            for one in models
            if one.scores
        ),
    )
    return _HEAD + overview + _notes(models) + _SCORES + scores + _FILES + files + _KEPT_AWAY + replaced


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = (head, tuple("---" for _ in head), *rows)
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _traits(known: KnownModel) -> tuple[str, ...]:
    active = "all" if known.active_parameters == known.total_parameters else _billions(known.active_parameters)
    thinks = {"always": "always", "default-on": "yes", "default-off": "if asked", "none": "no"}[known.thinking]
    pictures = "yes" if known.sees else "no"
    context = f"{known.native_context_tokens:,}"
    return (
        class_of(known),
        _billions(known.total_parameters),
        active,
        context,
        thinks,
        pictures,
        known.license,
        known.good_at,
    )


def _billions(count: int) -> str:
    return f"{count / 1e9:.1f}B"


def _notes(models: Iterable[KnownModel]) -> str:
    return "\n" + "".join(f"- `{one.key}`: {one.note}\n" for one in models if one.note)


def _files(known: KnownModel) -> tuple[str, ...]:
    found = variants(known)
    return tuple(", ".join(_file(one) for one in found if one.format == kind) for kind in ("gguf", "safetensors"))


def _file(variant: Variant) -> str:
    loss = f" ({variant.loss_percent:.1f} %)" if variant.is_loss_measured and variant.quant != "Q8_0" else ""
    return f"`{variant.quant}` {_size(variant.file_bytes, variant.is_size_exact)}{loss}"


def _size(size_bytes: int | None, is_exact: bool) -> str:
    return f"{'' if is_exact else '~'}{size_bytes / GIB:.1f}" if size_bytes else "?"
