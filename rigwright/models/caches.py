"""What each layer of a model keeps between tokens, by the keys of its GGUF header: the rules of llama.cpp.

Source: llama_model_base::load_hparams, create_memory and the load_arch_hparams functions of llama.cpp 0c1e570
(src/llama-model.cpp, src/llama-hparams.cpp, src/models/*.cpp), compared with what llama-fit-params prints for a model
of each architecture that tests/test-llama-archs.cpp writes.
"""

from __future__ import annotations

from typing import NamedTuple

from rigwright.models.keys import Keys, checked
from rigwright.models.values import DELTA_NET, Ssm


class _Window(NamedTuple):
    """Every `period`-th layer sees everything, the others a window; without a period the header lists them.

    `default` is the window of a header that has no key for it, `fixed` the one whatever the key says.
    """

    period: int | None = None
    is_full_first: bool = False
    default: int = 0
    fixed: int = 0


# Architectures that are not here have no windows in llama.cpp, whatever their header says (Phi-3, Mistral 7B).
_WINDOWS = {
    "afmoe": _Window(4), "cohere2": _Window(4), "cohere2moe": _Window(4, is_full_first=True), "dots3note": _Window(),
    "exaone-moe": _Window(4, default=128), "exaone4": _Window(4, default=4096), "gemma-embedding": _Window(6),
    "gemma2": _Window(2, default=4096), "gemma3": _Window(6), "gemma3n": _Window(5), "gemma4": _Window(),
    "gemma4-assistant": _Window(), "gpt-oss": _Window(2), "granite_swa": _Window(),
    "laguna": _Window(4, is_full_first=True), "lfm2": _Window(0), "llama4": _Window(4, default=8192, fixed=8192),
    "maple": _Window(), "mellum": _Window(4), "mimo2": _Window(), "modern-bert": _Window(3, is_full_first=True),
    "muse-glimmer": _Window(4), "olmo2": _Window(4), "plamo3": _Window(8),
    "smallthinker": _Window(4, is_full_first=True, fixed=4096), "spark2_5": _Window(), "step35": _Window(),
}  # fmt: skip
_RECURRENT = ("mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7")
# Layers without KV heads keep a state instead; elsewhere (deci) they keep nothing.
_STATE_WITHOUT_HEADS = (
    "jamba", "granitehybrid", "plamo2", "lfm2", "lfm2moe", "kimi-linear", "kimi-k3", "bailingmoe3", "glm5-next",
)  # fmt: skip
_NEMOTRON = ("nemotron_h", "nemotron_h_moe")
# All but every n-th layer keep a state, unless the header lists them.
_STATE_INTERVALS = {**dict.fromkeys(DELTA_NET, 4), "qwen4exp": 4, "minimax-01": 8}
# Models that write no token after token: no cache.
_WITHOUT_CACHE = (
    "bert", "jina-bert-v2", "jina-bert-v3", "nomic-bert", "nomic-bert-moe", "neo-bert", "eurobert", "modern-bert",
    "wavtokenizer-dec", "gemma-embedding", "dream", "llada", "llada-moe", "rnd1",
)  # fmt: skip
# With a second cache for what an indexer selects by.
_INDEXED = ("deepseek32", "glm-dsa", "hy_v4", "minimax-m3", "dots3note", "glm5-next", "qwen4exp", "deepseek4")
_WITH_STATE = (*_RECURRENT, *_STATE_WITHOUT_HEADS, *_NEMOTRON, *_STATE_INTERVALS, "falcon-h1")
# The rest of what llama.cpp 0c1e570 knows: each layer sees the whole context.
# fmt: off
_PLAIN = frozenset((
    "apertus", "arcee", "arctic", "baichuan", "bailingmoe", "bailingmoe2", "bitnet", "bloom", "chameleon", "chatglm",
    "codeshell", "cogvlm", "command-r", "dbrx", "deci", "deepseek", "deepseek2", "deepseek2-ocr", "dots1", "ernie4_5",
    "ernie4_5-moe", "exaone", "falcon", "gemma", "glm4", "glm4moe", "gpt2", "gptj", "gptneox", "granite",
    "granitemoe", "graniteswitch", "grok", "grovemoe", "hrm_text", "hunyuan-dense", "hunyuan-moe", "hunyuan_vl",
    "hy_v3", "internlm2", "jais", "jais2", "llama", "llama-embed", "maincoder", "minicpm", "minicpm3", "minimax-m2",
    "mistral3", "mistral4", "mpt", "nanbeige", "nemotron", "olmo", "olmoe", "openelm", "orion", "paddleocr",
    "pangu-embedded", "phi2", "phi3", "phimoe", "plamo", "plm", "pockettts", "qwen", "qwen2", "qwen2moe", "qwen2vl",
    "qwen3", "qwen3moe", "qwen3tts", "qwen3vl", "qwen3vlmoe", "refact", "seed_oss", "smollm3", "stablelm",
    "starcoder", "starcoder2", "talkie", "xverse",
))
# fmt: on
_KNOWN = _PLAIN | {*_WINDOWS, *_WITHOUT_CACHE, *_INDEXED, *_WITH_STATE}
# Gemma 3n borrows the caches of layers 18 and 19 from the twentieth on.
_GEMMA3N_OWN_CACHES = 20


class Caches(NamedTuple):
    """What a model keeps: by layer, and how long keys and values are in layers of either kind."""

    kv_heads: tuple[int, ...]
    key_length: int
    value_length: int
    swa_key_length: int
    swa_value_length: int
    sliding_window: int
    swa_layers: tuple[int, ...]
    recurrent_layers: tuple[int, ...]
    ssm: Ssm | None


def caches_of(keys: Keys, *, layers: int, nextn: int, embedding: int, heads: tuple[int, ...]) -> Caches:
    """The caches of a model with `layers` layers, the last `nextn` of which predict further tokens.

    Raises:
        Corrupt: a key cannot be.
    """
    kv_heads = keys.per_layer("attention.head_count_kv", layers, default=heads)
    head = embedding // max(1, *heads)
    key, value = (keys.number(f"attention.{one}_length", head) for one in ("key", "value"))
    lengths = [key, value]
    windowed = [keys.number("attention.key_length_swa", key), keys.number("attention.value_length_swa", value)]
    window, swa_layers = _windows(keys, layers - nextn, kv_heads)
    recurrent = _recurrent_layers(keys, layers - nextn, kv_heads)
    if _keeps_no_values(keys):
        lengths[1] = windowed[1] = 0
    _add_indexer(keys, lengths, kv_heads)
    if keys.architecture == "deepseek4":
        window, swa_layers = _compress(keys, lengths, layers)
    if keys.architecture not in _KNOWN:
        note = f"the architecture {keys.architecture} is not known: counted as if each layer saw the whole context"
        keys.assumptions.append(note)
    return Caches(
        _own(keys, kv_heads, recurrent),
        lengths[0],
        lengths[1],
        windowed[0],
        windowed[1],
        window,
        swa_layers,
        recurrent,
        _state(keys, embedding, heads) if recurrent else None,
    )


def _windows(keys: Keys, main: int, kv_heads: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
    """The window, and the main layers that see no more than it."""
    rule = _WINDOWS.get(keys.architecture)
    if rule is None or (keys.architecture == "exaone4" and main != 64):  # only the 32B has windows
        return 0, ()
    window = keys.number("attention.sliding_window", rule.default)
    if not window:
        return 0, ()
    name = "attention.sliding_window_pattern"
    if keys.architecture == "lfm2":
        layers = tuple(layer for layer in range(main) if kv_heads[layer])
    elif flags := keys.flags(name):
        layers = tuple(layer for layer, is_window in enumerate(flags[:main]) if is_window)
    elif rule.period is None:
        keys.assumptions.append("which layers have a window is not said: counted as if each saw the whole context")
        layers = ()
    else:
        layers = _periodic(checked(name, _or(keys.get(name), rule.period)), main, is_full_first=rule.is_full_first)
    return (rule.fixed or window, layers) if layers else (0, ())


def _or(value: object, default: int) -> object:
    return default if value is None else value


def _periodic(period: int, main: int, *, is_full_first: bool) -> tuple[int, ...]:
    """All layers but every `period`-th; with 0 all of them."""
    full = 0 if is_full_first else period - 1
    return tuple(layer for layer in range(main) if not period or layer % period != full)


def _recurrent_layers(keys: Keys, main: int, kv_heads: tuple[int, ...]) -> tuple[int, ...]:
    kind, every = keys.architecture, range(main)
    if kind in _RECURRENT or kind == "falcon-h1":  # each layer of the latter does both
        return tuple(every)
    if interval := _STATE_INTERVALS.get(kind):
        if flags := keys.flags("attention.recurrent_layers"):
            return tuple(layer for layer, is_recurrent in enumerate(flags[:main]) if is_recurrent)
        interval = keys.number("full_attention_interval", interval, low=1)
        return tuple(layer for layer in every if (layer + 1) % interval)
    if kind in _NEMOTRON:
        widths = keys.per_layer("feed_forward_length", len(kv_heads), default=(0,) * len(kv_heads))
        return tuple(layer for layer in every if not kv_heads[layer] and not widths[layer])
    # With an unknown architecture the dimensions of a state are a hint as good as any.
    if kind in _STATE_WITHOUT_HEADS or (kind not in _KNOWN and keys.get("ssm.inner_size")):
        return tuple(layer for layer in every if not kv_heads[layer])
    return ()


def _state(keys: Keys, embedding: int, heads: tuple[int, ...]) -> Ssm:
    """The dimensions of a recurrent layer's state, in the terms of Mamba: llama_hparams::n_embd_r and n_embd_s."""
    kernel, state = keys.number("ssm.conv_kernel", 1), keys.number("ssm.state_size", 0)
    if width := keys.number("wkv.head_size", 0):
        return Ssm(keys.number("token_shift_count", 2) + 1, embedding, width, 0)
    if length := keys.number("shortconv.l_cache", 0):
        return Ssm(length, embedding, 0, 0)
    if width := keys.number("kda.head_dim", 0):  # Q, K and V are convolved
        return Ssm(kernel or 4, heads[0] * width, width, heads[0])
    if keys.architecture == "minimax-01":
        width = keys.number("attention.key_length", embedding // max(1, heads[0]))
        return Ssm(1, heads[0] * width, width, 0)
    groups = keys.number("ssm.group_count", 0)
    if keys.get("ple.layers"):  # the history of one layer, counted as one more kernel step of each
        keys.assumptions.append("the history of its n-gram embeddings is counted for each recurrent layer")
        kernel += -(-_history(keys, embedding) // max(1, keys.number("ssm.inner_size") + 2 * groups * state))
    return Ssm(max(1, kernel), keys.number("ssm.inner_size", 0), state, groups)


def _history(keys: Keys, embedding: int) -> int:
    """The elements of Qwen4's n-gram history: llama_hparams::ple_conv_state."""
    kernel, size = keys.number("ple.conv_kernel", 1), keys.number("ple.ngram_size", 1)
    return max(0, kernel - 1) * size * keys.number("hyper_connection.count", 1) * embedding


def _keeps_no_values(keys: Keys) -> bool:
    """True with multi-head latent attention: values are taken from the keys' latent vector."""
    lengths = [keys.number(f"attention.{one}_length_mla", 0) for one in ("key", "value")]
    return all(lengths) or keys.architecture == "deepseek4"


def _add_indexer(keys: Keys, lengths: list[int], kv_heads: tuple[int, ...]) -> None:
    """Counts the one key head that an indexer keeps per layer as a part of the keys."""
    length = keys.number("attention.indexer.key_length", 0)
    if not length or keys.architecture not in _INDEXED or not keys.number("attention.indexer.top_k", 1):
        return
    if keys.number("attention.indexer.kpool", 0) and keys.architecture == "glm5-next":
        length *= 3  # key, gate and pooled value
    least = min((heads for heads in kv_heads if heads), default=1)
    lengths[0] += -(-length // least)
    if lengths[1] and keys.architecture != "qwen4exp":  # where values are kept, the indexer's are too
        lengths[1] += -(-length // least)
    note = "the indexer's cache is counted as a part of the KV cache; the buffers that it computes in are not counted"
    keys.assumptions.append(note)


def _compress(keys: Keys, lengths: list[int], layers: int) -> tuple[int, tuple[int, ...]]:
    """DeepSeek-V4: a window in each layer, and all else compressed 4 or 128 times in most."""
    ratios = keys.per_layer("attention.compress_ratios", layers, default=(4,) * layers)
    lengths[0] = -(-lengths[0] // 2)
    keys.assumptions.append("compressed layers are counted at half the size: too much from 4,096 tokens on")
    return keys.number("attention.sliding_window", 0), tuple(layer for layer, one in enumerate(ratios) if not one)


def _own(keys: Keys, kv_heads: tuple[int, ...], recurrent: tuple[int, ...]) -> tuple[int, ...]:
    """The KV heads by layer, 0 where the layer keeps a state, nothing, or borrows the cache of an earlier one."""
    count, kind = len(kv_heads), keys.architecture
    none = set(range(count)) if kind in _WITHOUT_CACHE else set() if kind == "falcon-h1" else set(recurrent)
    if kind == "gemma4":
        none |= set(range(count - keys.number("attention.shared_kv_layers", 0, high=count), count))
    if kind == "gemma3n":
        none |= set(range(_GEMMA3N_OWN_CACHES, count))
    if kind in _NEMOTRON:
        widths = keys.per_layer("feed_forward_length", count, default=(0,) * count)
        none |= {layer for layer, width in enumerate(widths) if width}
    loops = max(1, keys.number("num_loops", 1)) if kind == "nanbeige" else 1  # each keeps its own
    return tuple(0 if layer in none else heads * loops for layer, heads in enumerate(kv_heads))
