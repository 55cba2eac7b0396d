"""The files of a repository of safetensors that an engine reads: one rule, whoever lists them.

Source: what AutoConfig, AutoTokenizer and AutoProcessor of transformers 4.57 open, and
`filter_duplicate_safetensors_files` of vLLM 0.33.0. Pickles and Python run what their author wrote: they are not among
them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from rigwright.errors import UnreadableModel

CONFIG, INDEX = "config.json", "model.safetensors.index.json"
# The largest have about 200.
MOST_SHARDS = 1000
# No name leads out of a directory, hides in it, or looks like an option.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,150}")
_SMALL = re.compile(
    r"""(?:generation_|preprocessor_|processor_|image_processor_|video_preprocessor_)?config\.json
    | (?:hf_quant|quantize|quant)_config\.json
    | model\.safetensors\.index\.json
    | tokenizer[A-Za-z0-9_-]*\.(?:json|model)(?:\.v\d{1,3})?
    | (?:vocab|added_tokens|special_tokens_map|tekken)\.json | vocab\.txt | merges\.txt
    | [A-Za-z0-9_-]+\.tiktoken | (?:sentencepiece\.bpe|spiece)\.model
    | chat_template\.(?:jinja|json)""",
    re.VERBOSE,
)
_PICKLE = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
# A second copy in the makers' own form, and what is laid over a model.
_OTHERS = ("consolidated", "adapter_")


def is_shard(name: str) -> bool:
    """Whether a file so called holds weights."""
    return bool(_NAME.fullmatch(name)) and name.endswith(".safetensors")


def is_wanted(name: str) -> bool:
    """Whether a file so called may be one of a model: nothing else comes to a rig, whoever names it."""
    return is_shard(name) or bool(_NAME.fullmatch(name) and _SMALL.fullmatch(name))


def wanted_files(names: Collection[str], index: Mapping[str, Any] | None, *, where: str) -> tuple[str, ...]:
    """The files to have: config.json, the other small ones, then the weights, of which an index names those that count.

    Raises:
        UnreadableModel: there are no such weights, or not all of them.
    """
    if CONFIG not in names:
        raise UnreadableModel(f"{where}: has no config.json; name a repository or a directory of safetensors files")
    shards = _indexed(index, where) if index is not None else _all_shards(names)
    if len(shards) > MOST_SHARDS:
        raise UnreadableModel(f"{where}: has {len(shards)} files of weights, more than {MOST_SHARDS}; name another one")
    if missing := sorted(shards.difference(names)):
        more = f" and {len(missing) - 1} more" if missing[1:] else ""
        raise UnreadableModel(f"{where}: {missing[0]}{more} of its {INDEX} is not there; download it again")
    if not shards:
        raise UnreadableModel(f"{where}: {_instead(names)}; name one that has safetensors")
    small = {name for name in names if not is_shard(name) and is_wanted(name)}
    return (CONFIG, *sorted(small - {CONFIG}), *sorted(shards))


def _all_shards(names: Collection[str]) -> set[str]:
    return {name for name in names if is_shard(name) and not name.startswith(_OTHERS)}


def _indexed(index: Mapping[str, Any], where: str) -> set[str]:
    table = index.get("weight_map")
    named = list(table.values()) if isinstance(table, Mapping) else []
    if not named or not all(isinstance(one, str) for one in named):
        raise UnreadableModel(f"{where}: its {INDEX} names no files; download it again")
    if odd := next((name for name in named if not is_shard(name)), None):
        raise UnreadableModel(f"{where}: its {INDEX} names {odd[:80]!r}, which is no file of weights beside it")
    return set(named)


def _instead(names: Collection[str]) -> str:
    if any(name.lower().endswith(_PICKLE) for name in names):
        return "its weights are pickles (.bin, .pt), which run code as they are read"
    if any(name.lower().endswith(".gguf") for name in names):
        return "holds GGUF files and no safetensors"
    return "holds no safetensors"


def needs_code(config: Mapping[str, Any]) -> bool:
    """Whether a config.json names Python of the repository's own, which --trust-remote-code would run."""
    return isinstance(config.get("auto_map"), Mapping) and bool(config["auto_map"])
