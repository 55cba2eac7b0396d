"""From the dimensions of a model to a `Model`, for a file that is not there: its tensor table is computed.

What its layers keep is told by the parameters, or follows from the header that they state.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rigwright.errors import UnreadableModel
from rigwright.models.caches import Caches, caches_of
from rigwright.models.dimensions import Recurrence, Shape
from rigwright.models.keys import Keys
from rigwright.models.shapes import rows
from rigwright.models.sizing import bits_per_weight, sized
from rigwright.models.stated import stated_keys, stated_latent
from rigwright.models.values import DELTA_NET, Model, Ssm

_MAX_LAYERS, _MAX_NUMBER = 512, 2**32
# Architectures whose `layers` count the nextn layers too, as the block_count of their GGUF files does.
_COUNTS_NEXTN = ("glm4moe", "glm4")
_WINDOW_PERIODS = {"gemma3": 6, "gemma4": 6, "gpt-oss": 2}


def model_from_parameters(
    name: str, parameters: Mapping[str, Any], *, file_bytes: int | None = None, quant: str | None = None
) -> Model:
    """The model with these dimensions, in a file of `file_bytes`, or quantised as `quant` says (16 bits by default).

    `parameters` has the keys layers, hidden, heads, kv_heads, vocab and, where they apply, head_dim, ff, arch,
    tie_embeddings, native_ctx, experts, experts_used, moe_ff, shared_ff, leading_dense, swa, n_swa_layers, n_full,
    kv_heads_full, head_dim_full, n_lin, lin_k_heads, lin_v_heads, lin_k_head_dim, lin_v_head_dim, conv_kernel, nextn
    (with nextn_in_file), gate, pattern, latent_experts, ngram_rows, ngram_width; `header` has the rest.

    Raises:
        UnreadableModel: a key is missing or cannot be.
    """
    keys = _Keys(name, parameters)
    shape, caches = _stated(keys) if "header" in parameters else _plain(keys)
    table = rows(shape)
    bits = None if file_bytes else bits_per_weight(quant or "F16", where=name)
    tensors = sized(table, where=name, file_bytes=file_bytes, bits=bits)
    return Model(
        name=name,
        architecture=shape.architecture,
        file_bytes=file_bytes or sum(tensor.size_bytes for tensor in tensors),
        context_train=keys.assumed("native_ctx", 32768),
        layers=shape.layers,
        nextn_layers=shape.nextn_layers,
        embedding=shape.hidden,
        feed_forward=shape.feed_forward * (2 if shape.wide_layers else 1),
        heads=tuple((one in shape.window_layers and shape.window_heads) or shape.heads for one in range(shape.layers)),
        **caches._asdict(),
        experts=shape.experts,
        experts_used=keys.number("experts_used", 0),
        expert_feed_forward=shape.expert_feed_forward,
        vocab=shape.vocab,
        has_chat_template=True,
        split_count=1,
        tensors=tensors,
        is_estimated=True,
        is_sum_exact=file_bytes is not None,
        shared_feed_forward=shape.shared_feed_forward,
        assumptions=tuple(keys.assumptions),
    )


class _Keys:
    """The parameters, each checked; what had to be assumed is kept."""

    def __init__(self, where: str, values: Mapping[str, Any]) -> None:
        if not isinstance(values, Mapping):
            raise UnreadableModel(f"{where}: holds no table of parameters; write a JSON object with layers, hidden, …")
        self.where, self.values = where, values
        self.assumptions: list[str] = []
        arch = values.get("arch")
        self.architecture = arch if isinstance(arch, str) and arch else "llama"
        if arch is None:
            self.assumptions.append("arch is not given: taken for a llama")

    def number(self, key: str, default: int | None = None, *, low: int = 0, high: int = _MAX_NUMBER) -> int:
        value = self.values.get(key)
        if value is None:
            if default is None:
                raise UnreadableModel(f"{self.where}: has no {key}; add it, or name a model of the catalogue")
            return default
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise UnreadableModel(
                f"{self.where}: its {key} is {value!r:.60}; write a whole number from {low} to {high}"
            )
        return value

    def text(self, key: str) -> str:
        value = self.values.get(key, "")
        return value if isinstance(value, str) else ""

    def assumed(self, key: str, value: int) -> int:
        """The number under `key`, or `value` with a note."""
        if self.values.get(key) is None:
            self.assumptions.append(f"{key} is not given: taken for {value}")
        return self.number(key, value, low=1)


def _plain(keys: _Keys) -> tuple[Shape, Caches]:
    """By the parameters alone."""
    shape = _shape(keys)
    is_window = set(shape.window_layers)
    kv_heads = tuple(
        0 if one in shape.recurrent_layers else shape.kv_heads if one in is_window else shape.full_kv_heads
        for one in range(shape.layers)
    )
    window = keys.number("swa", 0) if shape.window_layers else 0
    full, windowed = (shape.full_head_dim,) * 2, (shape.head_dim,) * 2
    return shape, Caches(kv_heads, *full, *windowed, window, shape.window_layers, shape.recurrent_layers, _ssm(shape))


def _stated(keys: _Keys) -> tuple[Shape, Caches]:
    """By the header that the parameters state."""
    shape = _shape(keys)
    header = stated_keys(keys.values, shape.layers)
    heads = header.per_layer("attention.head_count", shape.layers)
    found = caches_of(header, layers=shape.layers, nextn=shape.nextn_layers, embedding=shape.hidden, heads=heads)
    keys.assumptions += header.assumptions
    widths = header.per_layer("feed_forward_length", shape.layers, default=(0,) * shape.layers)
    seeing = next((one for one in range(shape.layers) if one not in found.swa_layers), 0)
    shape = shape._replace(
        heads=heads[seeing],
        window_heads=heads[found.swa_layers[0]] if found.swa_layers else 0,
        head_dim=found.swa_key_length,
        full_head_dim=found.key_length,
        window_layers=found.swa_layers,
        recurrent_layers=found.recurrent_layers,
        latent=stated_latent(header),
        wide_layers=tuple(one for one, width in enumerate(widths) if width > shape.feed_forward > 0),
        layer_embedding=header.number("embedding_length_per_layer_input", 0),
    )
    if shape.latent is None and header.get("attention.indexer.key_length"):
        shape = shape._replace(full_head_dim=header.number("attention.key_length"))
    return (_with_states(shape, header) if found.recurrent_layers else shape), found


def _with_states(shape: Shape, header: Keys) -> Shape:
    """With the dimensions of the layers that keep a state."""
    kernel = header.number("ssm.conv_kernel", 4, low=1)
    if length := header.number("shortconv.l_cache", 0):
        return shape._replace(recurrence="convolution", conv_kernel=length)
    if width := header.number("kda.head_dim", 0):
        return shape._replace(recurrence="kda", value_heads=shape.heads, value_dim=width, conv_kernel=kernel)
    count = header.number("ssm.time_step_rank", low=1)
    kind: Recurrence = "mamba" if shape.sole else "delta"
    return shape._replace(
        recurrence=kind,
        key_heads=header.number("ssm.group_count"),
        key_dim=header.number("ssm.state_size"),
        value_heads=count,
        value_dim=header.number("ssm.inner_size") // count,
        conv_kernel=kernel,
    )


def _shape(keys: _Keys) -> Shape:
    layers = keys.number("layers", low=1, high=_MAX_LAYERS)
    hidden, heads = keys.number("hidden", low=1), keys.number("heads", low=1)
    if heads > hidden and keys.values.get("head_dim") is None:
        raise UnreadableModel(f"{keys.where}: its {heads} heads are more than its hidden {hidden}; mend one of them")
    head_dim, kv_heads = keys.number("head_dim", hidden // heads, low=1), keys.number("kv_heads", heads, low=1)
    nextn = _nextn_layers(keys, layers)
    is_counted = keys.architecture in _COUNTS_NEXTN
    main = layers - nextn if is_counted else layers
    experts = keys.number("experts", 0)
    width = keys.assumed("moe_ff", max(1, hidden // 4)) if experts else 0
    dense = not experts or keys.number("leading_dense", 0) or keys.architecture == "gemma4"
    is_recurrent = bool(keys.number("n_lin", 0))
    return Shape(
        architecture=keys.architecture,
        layers=main + nextn,
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        full_kv_heads=keys.number("kv_heads_full", kv_heads, low=1),
        full_head_dim=keys.number("head_dim_full", head_dim, low=1),
        feed_forward=keys.assumed("ff", 3 * width if experts else 4 * hidden) if dense else 0,
        vocab=keys.number("vocab", low=1),
        is_tied=bool(keys.values.get("tie_embeddings", False)),
        experts=experts,
        expert_feed_forward=width,
        shared_feed_forward=keys.number("shared_ff", 0),
        leading_dense=keys.number("leading_dense", 0),
        key_heads=keys.number("lin_k_heads", low=1) if is_recurrent else 0,
        value_heads=keys.number("lin_v_heads", low=1) if is_recurrent else 0,
        key_dim=keys.number("lin_k_head_dim", 128, low=1) if is_recurrent else 0,
        value_dim=keys.number("lin_v_head_dim", 128, low=1) if is_recurrent else 0,
        conv_kernel=keys.number("conv_kernel", 4, low=1) if is_recurrent else 0,
        window_layers=_window_layers(keys, main),
        recurrent_layers=_recurrent_layers(keys, main) if is_recurrent else (),
        nextn_layers=nextn,
        sole=keys.text("pattern"),
        gate=keys.text("gate"),
        latent_experts=keys.number("latent_experts", 0),
        table_rows=keys.number("ngram_rows", 0),
        table_width=keys.number("ngram_width", 0),
    )


def _nextn_layers(keys: _Keys, layers: int) -> int:
    """Those in the file: with most models only when `nextn_in_file` says so, since most files leave them out."""
    count = keys.number("nextn", 0, high=layers - 1)
    is_in_file = keys.values.get("nextn_in_file", keys.architecture in _COUNTS_NEXTN)
    return count if is_in_file else 0


def _recurrent_layers(keys: _Keys, main: int) -> tuple[int, ...]:
    if listed := _listed(keys, "lin_layers", main):
        return listed
    full = keys.number("n_full", 0)
    interval = keys.number("full_attention_interval", main // full if full else 4, low=1)
    if keys.architecture not in DELTA_NET:
        keys.assumptions.append(f"recurrent layers of {keys.architecture}: counted as gated delta nets")
    return tuple(layer for layer in range(main) if (layer + 1) % interval)


def _window_layers(keys: _Keys, main: int) -> tuple[int, ...]:
    if listed := _listed(keys, "swa_layers", main):
        return listed
    count = keys.number("n_swa_layers", 0, high=main)
    if not count or not keys.number("swa", 0):
        return ()
    period = _WINDOW_PERIODS.get(keys.architecture) or round(main / max(1, main - count))
    layers = tuple(layer for layer in range(main) if layer % period < period - 1)
    if len(layers) != count:
        keys.assumptions.append(f"which {count} of {main} layers have a window is not known: taken for the first")
        return tuple(range(count))
    return layers


def _listed(keys: _Keys, key: str, main: int) -> tuple[int, ...]:
    """The layers that the parameters name themselves."""
    named = keys.values.get(key, ())
    if not isinstance(named, (list, tuple)) or not all(isinstance(one, int) and 0 <= one < main for one in named):
        raise UnreadableModel(f"{keys.where}: its {key} is no list of layers below {main}; mend or drop it")
    return tuple(named)


def _ssm(shape: Shape) -> Ssm | None:
    if not shape.recurrent_layers:
        return None
    return Ssm(shape.conv_kernel, shape.value_heads * shape.value_dim, shape.key_dim, shape.key_heads)
