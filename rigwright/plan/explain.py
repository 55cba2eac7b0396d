"""The reasons of a plan: why this engine, this quant, this place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from rigwright.catalogue.engines import engine_names
from rigwright.plan.alternatives import difference, users_rule
from rigwright.plan.choice import Choice
from rigwright.plan.devices import Device, spans
from rigwright.plan.drafting import DRAFTER, could_gain
from rigwright.plan.engines import label, planner_of
from rigwright.plan.ranking import MANY_USERS, goal_of
from rigwright.plan.reasons import Reason
from rigwright.plan.search_space import SearchResult, cache_loss_percent
from rigwright.units import format_bytes

# Of a KV cache of 16 bit: q8_0 takes 34 bytes for 32 elements.
_SAVED_BY_8_BIT = 1 - 34 / 64


def reasons(choice: Choice, found: SearchResult) -> tuple[Reason, ...]:
    """Engine, model and quant, place, cache: in the order in which a person asks."""
    quant = _quant(choice, found)
    lines = [_engine(choice, found), quant, _place(choice, found), _cache(choice)]
    lines += [_whole_cache(choice), _when_full(choice), _other_half(choice)]
    return (*choice.reasons, *(reason for reason in lines if reason), *_about_files(choice, quant))


def _other_half(choice: Choice) -> Reason | None:
    """That its makers have a model that drafts ahead for it, where nothing drafts and that would be faster."""
    wish, known = choice.wish, choice.variant.known
    if not known or not known.drafter or choice.engine != "llamacpp" or wish.draft != "auto" or choice.variant.drafter:
        return None
    if not could_gain(choice.devices, slots=max(wish.users, choice.load.slots)):
        return None
    size = format_bytes(known.drafter.file_bytes)
    because = (
        f"its makers have a model of {size} that drafts ahead for it, and others are {known.drafter.gain} as fast with "
        f"that: draft_model: {known.drafter.source}"
    )
    return Reason(choice=f"{DRAFTER} {known.name}", because=because)


def _engine(choice: Choice, found: SearchResult) -> Reason | None:
    wish, name = choice.wish, label(choice.engine)
    if wish.engine != "auto":
        return Reason(choice=name, because="the inventory asks for it")
    batches = planner_of(choice.engine).batches
    users = f"{wish.users} user{'s' if wish.users > 1 else ''} at a time"
    other = next((one for one in engine_names() if _is_rival(one, batches=batches)), None)
    if other is None:
        return Reason(choice=name, because=users)
    if batches and wish.users >= MANY_USERS:
        return Reason(choice=name, because=f"{users}; {users_rule(choice.engine, other)}")
    if batches:
        return Reason(choice=name, because=f"{users}; {_against(other, choice, found)}")
    if wish.users >= MANY_USERS:
        why = _why_not(other, found) or (
            f"the model comes as {choice.variant.format.upper()}, which {label(other)} does not serve"
        )
        return Reason(choice=name, because=f"{users} would be {label(other)}'s, but: {why}")
    return Reason(choice=name, because=f"{users}: it starts in seconds, which counts for a quarter of the speed")


def _against(engine: str, choice: Choice, found: SearchResult) -> str:
    """What the best of another engine is worse at, in figures."""
    theirs = [one for one in found.candidates if one.choice.engine == engine]
    if not theirs:
        return f"{label(engine)} cannot serve it here"
    best = max(theirs, key=lambda one: one.score.total)
    worse = difference(best.choice, choice) or "no better by what this goal counts"
    return f"the best of {label(engine)} is {worse}"


def _is_rival(engine: str, *, batches: bool) -> bool:
    """Whether an engine is for another number of users."""
    found = planner_of(engine)
    return found.is_automatic and found.batches != batches


def _why_not(engine: str, found: SearchResult) -> str | None:
    """What refused an engine, or by how much its nearest miss misses."""
    if refusal := next((why for what, why in found.refused.items() if what.startswith(label(engine))), None):
        return refusal
    misses = [miss for miss in found.misses if miss.engine == engine]
    miss = min(misses, key=lambda one: one.total_short_bytes, default=None)
    return f"{miss.variant.quant} on {miss.assignment.layout} is {miss.short}" if miss else None


def _quant(choice: Choice, found: SearchResult) -> Reason | None:
    variant, wish = choice.variant, choice.wish
    if wish.model.names_file:
        return None
    name = f"{variant.known.name if variant.known else variant.name} {variant.quant}"
    if wish.model.quant:
        return Reason(choice=name, because="the inventory asks for it")
    loss = "" if variant.loss_percent is None else f", {variant.loss_percent:+.1f} % perplexity over 8 bit"
    better = _next_better(choice, found)
    goal = goal_of(wish)
    return Reason(choice=name, because=f"best for {goal}: {format_bytes(variant.file_bytes)}{loss}{better}")


def _next_better(choice: Choice, found: SearchResult) -> str:
    """Why not the next better quant: what it lacks."""
    loss = choice.variant.loss_percent
    if loss is None:
        return ""
    variants = {
        one.choice.variant.quant: one.choice.variant for one in found.candidates if one.choice.engine == choice.engine
    }
    variants |= {
        miss.variant.quant: miss.variant for miss in found.misses if miss.variant.format == choice.variant.format
    }
    finer = [one for one in variants.values() if one.loss_percent is not None and one.loss_percent < loss - 0.05]
    if not finer:
        return "; nothing finer is in the catalogue"
    near = max(finer, key=lambda one: one.loss_percent or 0.0)
    same = [
        one for one in found.candidates
        if one.choice.variant is near
        and one.choice.engine == choice.engine
        and str(one.choice.layout) == str(choice.layout)
    ]  # fmt: skip
    if not same:
        return f"; {near.quant} does not fit there"
    best = max(same, key=lambda one: one.score.total)
    return f"; {near.quant} would mean {difference(best.choice, choice) or 'more memory for no gain that counts'}"


def _place(choice: Choice, found: SearchResult) -> Reason:
    layout, devices, wish = choice.layout, choice.devices, choice.wish
    if not devices:
        has_gpus = any(one.choice.devices for one in found.candidates) or any(
            miss.assignment.devices for miss in found.misses
        )
        because = "no GPU holds a part worth moving" if has_gpus else "this rig has no GPU that can serve"
        because = "the inventory says gpu: none" if wish.gpu == "none" else because
        return Reason(choice="CPU", because=because)
    where = place_label(choice)
    if isinstance(wish.gpu, int):
        return Reason(choice=where, because="the inventory names it")
    return Reason(choice=where, because=_why_place(choice, found, layout.link))


def _why_place(choice: Choice, found: SearchResult, link: str | None) -> str:
    kind, count = choice.layout.kind, len(choice.devices)
    words = {
        "single": "it holds the whole model"
        if choice.is_whole
        else "no GPU holds it whole, and this one serves it best",
        "layers": f"{_why_not_one(choice, found)}; whole layers on {count} pass "
        f"{'little' if link else 'next to nothing'} between them, so that slow slots do not matter",
        "tensor": f"each layer on {count} GPUs at once, joined by {link or 'links that nobody recorded'}",
        "pipeline": f"{count} GPUs in stages; only activations cross from one stage to the next",
    }
    because = words[kind]
    if choice.layout.replicas > 1:
        because += f"; {choice.layout.replicas} copies side by side serve more users than one over all GPUs"
    return because


def _why_not_one(choice: Choice, found: SearchResult) -> str:
    """What a single GPU would lack."""
    alone = [
        one.choice.load.context_tokens
        for one in found.candidates
        if one.choice.variant is choice.variant and one.choice.layout.kind == "single" and one.choice.is_whole
    ]
    if not alone:
        return "one GPU does not hold it"
    return f"one GPU holds it with {max(alone):,} tokens of context alone"


def place_label(choice: Choice) -> str:
    """Where it runs: `GPU 0 (RTX 3090)`, `GPUs 0+2 and 1+3`, `CPU`."""
    if not choice.devices:
        return "CPU"
    if len(choice.replicas) == 1 and len(choice.devices) == 1:
        return choice.devices[0].label
    groups = ["+".join(_number(device) for device in group) for group in choice.replicas]
    return f"GPUs {spans(groups) if len(choice.devices) == 1 else ' and '.join(groups)}"


def _number(device: Device) -> str:
    return str(device.gpu.index if device.gpu.index is not None else device.ordinal)


def _cache(choice: Choice) -> Reason | None:
    kind = choice.load.cache_type_k
    loss = choice.cache_loss_percent
    if not loss or choice.wish.cache_type != "auto":
        return None
    memory = {"q8_0": "half", "fp8": "half", "q4_0": "a quarter of"}.get(kind, "less of")
    because = f"{memory} the memory of 16 bit buys more than the {loss:.1f} % that it costs"
    return Reason(choice=f"KV cache {kind}", because=because)


def assumptions(choice: Choice) -> tuple[Reason, ...]:
    """What the header of a model leaves open, and how it was taken."""
    if not choice.variant.has_model:
        return ()
    return tuple(Reason(choice="assumed of this model", because=one) for one in choice.variant.model.assumptions)


def _about_files(choice: Choice, quant: Reason | None) -> Iterator[Reason]:
    """The catalogue's word on this file, and on names that two uploads share: advice on one is read of the other."""
    variant, known = choice.variant, choice.variant.known
    shared = [row for row in known.superseded if row.before] if known and not choice.wish.model.names_file else []
    if variant.notes and variant.quant not in [row.quant for row in shared]:
        yield Reason(choice="about this file", because=variant.notes)
    for row in shared:
        if row.quant == variant.quant or (quant and f"{row.quant} would mean" in quant.because):
            because = f"two files have this name; the one from before {row.before} is not this one: {row.why}"
            yield Reason(choice=row.quant, because=because)


def _whole_cache(choice: Choice) -> Reason | None:
    """Why not the 8 bit of much published advice: what it would free, and how much faster it would be."""
    cache_bytes = choice.memory.named("KV cache") if choice.memory else 0
    is_open = choice.wish.cache_type == "auto" and not planner_of(choice.engine).batches
    if not cache_bytes or not is_open or choice.load.cache_type_k != "f16":
        return None
    if choice.layout.kind == "tensor":
        return Reason(choice="KV cache f16", because="GPUs that share each layer take no cache of 8 bit")
    saved, loss = format_bytes(round(cache_bytes * _SAVED_BY_8_BIT)), cache_loss_percent("q8_0")
    because = f"q8_0 would free {saved}, for no better file or context that counts, and cost {loss:.1f} %"
    if times := _times(choice):
        near, far = (100 * (one.token / (one.token - one.cache * _SAVED_BY_8_BIT) - 1) for one in times)
        because += f"; it is {near:.0f} % faster at {times[0].tokens:,} tokens, {far:.0f} % at {times[1].tokens:,}: "
        because += "for contexts that are always long, set cache_type"
    return Reason(choice="KV cache f16", because=because)


def _when_full(choice: Choice) -> Reason | None:
    """Why a long context is slower than the speeds that are published, most of them after short prompts."""
    if not (times := _times(choice)):
        return None
    near, far = times
    because = f"each token reads all that is cached: {far.cache * 1e3:.1f} ms for {far.tokens:,} tokens"
    because += f", {near.cache * 1e3:.1f} ms for {near.tokens:,}"
    return Reason(choice=f"{1 / far.token:.0f} tokens/s when it is full", because=because)


class _Time(NamedTuple):
    """The seconds of a token with so many tokens cached, and those of them that reading the cache takes."""

    tokens: int
    token: float
    cache: float


def _times(choice: Choice) -> tuple[_Time, _Time] | None:
    """At the usual depth, and with a full context; what lies between is the cache alone."""
    speed, tokens = choice.speed, choice.load.context_tokens
    if not speed or not speed.full_context or not speed.depth_tokens or tokens <= speed.depth_tokens:
        return None
    near, far = 1 / speed.expected, 1 / speed.full_context
    each = (far - near) / (tokens - speed.depth_tokens)
    return _Time(speed.depth_tokens, near, each * speed.depth_tokens), _Time(tokens, far, each * tokens)
