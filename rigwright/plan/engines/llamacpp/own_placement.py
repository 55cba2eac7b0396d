"""The inventory's own placement over several GPUs: which of them the service has, and what each of them takes."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from rigwright.errors import Refused, WrongSpec
from rigwright.models.values import Model
from rigwright.plan.devices import Device
from rigwright.plan.engines.llamacpp.overrides import Overrides
from rigwright.plan.layouts import Group
from rigwright.plan.memory import Placement
from rigwright.plan.service import Layout
from rigwright.plan.wish import ServiceWish

_DEVICE = re.compile(r"[A-Za-z]+(\d{1,3})")
# Each moves tensors in a way that is not computed here.
_NOT_COMPUTED = ("--n-cpu-ffn", "--override-tensor", "--no-kv-offload", "--rpc")
# What --tensor-split is made whole numbers by.
_HUNDREDTHS = 100


def own_groups(wish: ServiceWish, allowed: Sequence[Device], *, copies: int) -> tuple[Group, ...]:
    """The GPUs of each copy: those that `gpu` names, or as many as the flags name, by their numbers; else the roomiest.

    Raises:
        Refused: there are fewer GPUs than copies.
        WrongSpec: flags name more GPUs than the service may use, or by numbers that they do not have there.
    """
    named = _named(wish)
    if not allowed or named == ():
        return ((),) * copies
    count = _count(wish, named, most=len(allowed) // copies)
    taken = sorted(allowed, key=lambda one: (-one.offered_bytes, one.ordinal))
    taken = sorted(taken[: count * copies], key=lambda one: one.ordinal) if count > 1 else taken[:copies]
    if len(taken) < copies:
        raise Refused(f"services.{wish.name}: {copies} copies need as many GPUs, and it may use {len(taken)}")
    return tuple(tuple(taken[start : start + count]) for start in range(0, count * copies, count))


def own_layout(wish: ServiceWish, count: int, *, copies: int) -> Layout:
    """How one copy lies on so many GPUs."""
    if count < 2:
        return Layout(kind="single" if count else "cpu", replicas=copies)
    if _mode(wish) in ("tensor", "row"):
        return Layout(kind="tensor", tensor_parallel=count, replicas=copies)
    return Layout(kind="layers", pipeline_parallel=count, replicas=copies)


def own_placement(wish: ServiceWish, model: Model, devices: Sequence[Device]) -> Placement | None:
    """What the flags come to on these GPUs; None where that is not computed."""
    overrides, named = Overrides.of(wish), _named(wish)
    in_order = named is None or list(named) == list(range(len(devices)))
    is_known = len(devices) == 1 or (_mode(wish) in ("layer", "tensor") and in_order)
    if not devices or not is_known or overrides.is_fitted or any(_is_given(wish, name) for name in _NOT_COMPUTED):
        return None
    whole = overrides.placement(model) or Placement(model.main_layers)
    if len(devices) == 1:
        return whole
    shares = _shares(wish) or ((1,) * len(devices) if _mode(wish) == "tensor" else _free(devices))
    shares = (*shares, *(0,) * (len(devices) - len(shares)))
    if _mode(wish) == "tensor":
        is_whole = whole == Placement(model.main_layers) and all(shares)
        return whole._replace(shares=shares) if is_whole else None
    split = _split(whole.gpu_layers, shares, after=model.nextn_layers + 1)
    return whole._replace(split=split) if split else None


def _split(layers: int, shares: Sequence[int], *, after: int) -> tuple[int, ...] | None:
    """The layers of each GPU, as llama.cpp counts with those `after` them; None where these are not on the last one.

    Source: `llama_model_base::load_tensors`, llama-model.cpp of llama.cpp 0c1e570.
    """
    ends, count = [*accumulate(shares)], layers + after
    places = [bisect_right([end * count for end in ends], layer * ends[-1]) for layer in range(count)]
    if set(places[layers:]) != {len(shares) - 1}:
        return None
    return tuple(places[:layers].count(place) for place in range(len(shares)))


def _free(devices: Sequence[Device]) -> tuple[int, ...]:
    """llama.cpp's own shares, of the memory that is free."""
    return tuple(device.offered_bytes >> 20 for device in devices)


def _count(wish: ServiceWish, named: tuple[int, ...] | None, *, most: int) -> int:
    """How many GPUs each copy has, of so many at most."""
    where, shares = f"services.{wish.name}.flags", _shares(wish)
    if named is not None:
        count = len(named)
        if sorted(named) != list(range(count)) or count > most:
            raise WrongSpec(
                f"{where}: --device is {wish.flags['--device']!r}, and the service numbers the {most} GPUs that it may "
                "use from 0; name GPUs of the rig in gpu, and all of them from 0 in --device"
            )
        return count
    if len(shares) > most:
        raise WrongSpec(f"{where}: --tensor-split names {len(shares)} GPUs, and the service may use {most}; name more")
    if _mode(wish) == "none":
        return 1
    if isinstance(wish.gpu, tuple) or (_is_given(wish, "--split-mode") and not shares):
        return max(1, len(shares) or most)
    return max(1, len(shares))


def _mode(wish: ServiceWish) -> str:
    return str(wish.flags.get("--split-mode") or "layer").lower()


def _is_given(wish: ServiceWish, name: str) -> bool:
    return wish.flags.get(name) not in (None, False)


def _named(wish: ServiceWish) -> tuple[int, ...] | None:
    """The numbers that --device names; none of them for `none`, None where it does not say, or names others."""
    value = wish.flags.get("--device")
    if not isinstance(value, str):
        return None
    if value.strip().lower() == "none":
        return ()
    found = [_DEVICE.fullmatch(name.strip()) for name in value.split(",")]
    return tuple(int(one[1]) for one in found if one) if all(found) else None


def _shares(wish: ServiceWish) -> tuple[int, ...]:
    """The numbers of --tensor-split in hundredths.

    Raises:
        WrongSpec: they are none.
    """
    value = wish.flags.get("--tensor-split")
    if value is None or isinstance(value, bool):
        return ()
    try:
        found = tuple(round(float(one) * _HUNDREDTHS) for one in re.split(r"[,/]", str(value)))
    except (ValueError, OverflowError):
        found = (-1,)
    if min(found) < 0 or not any(found):
        raise WrongSpec(f"services.{wish.name}.flags: --tensor-split is {value!r}; give a share of each GPU, like 3,1")
    return found
