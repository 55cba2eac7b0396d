"""What a shell offers at Tab: models, quants, GPUs, recorded machines. Nothing is asked of anybody."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from click import Context, Parameter
from click.shell_completion import CompletionItem

_MAKERS = re.compile(r"^(?:NVIDIA-)?(?:GeForce-|Tesla-)?|^AMD-")


def models(context: Context, parameter: Parameter, incomplete: str) -> list[CompletionItem]:
    """The names of the catalogue, and after a colon the quants of one."""
    from rigwright.models.variants import find_model, known_models, variants

    name, colon, quant = incomplete.partition(":")
    if colon and (known := find_model(name)):
        quants = dict.fromkeys(one.quant for one in variants(known))
        return [CompletionItem(f"{name}:{one}") for one in quants if one.lower().startswith(quant.lower())]
    keys = [known for known in known_models() if known.key.startswith(incomplete.lower())]
    return [CompletionItem(known.key, help=known.good_at) for known in keys]


def models_or_files(context: Context, parameter: Parameter, incomplete: str) -> list[CompletionItem]:
    """Models where the machine is named by an option, else inventories."""
    is_named = any(context.params.get(name) for name in ("cards", "capture"))
    return models(context, parameter, incomplete) if is_named else [CompletionItem(incomplete, type="file")]


def cards(context: Context, parameter: Parameter, incomplete: str) -> list[CompletionItem]:
    """GPUs, with the count that is written already: `4x` goes on as `4xRTX-3090`."""
    count, times, name = incomplete.rpartition("x")
    if not times or not count.strip().isdecimal():
        return gpus(context, parameter, incomplete)
    return [CompletionItem(f"{count}x{item.value}", help=item.help) for item in gpus(context, parameter, name)]


def gpus(context: Context, parameter: Parameter, incomplete: str) -> list[CompletionItem]:
    """The GPUs of the catalogue, with dashes for blanks, which a shell would take apart."""
    from rigwright.errors import WrongSpec
    from rigwright.inventory.what_if import gpu_model
    from rigwright.plan.speed.names import gpu_names

    wanted, found = incomplete.lower().replace(" ", "-"), {}
    for full in gpu_names():
        name = _MAKERS.sub("", "-".join(full.split()))
        if not name.lower().startswith(wanted):
            continue
        with suppress(WrongSpec):  # one whose memory is the machine's cannot be put into another
            gpu_model(name)
            found[name] = full
    return [CompletionItem(name, help=found[name]) for name in sorted(found)]


def captures(context: Context, parameter: Parameter, incomplete: str) -> list[CompletionItem]:
    """Folders: those that hold a recorded machine, and those on the way to one."""
    folder, begun = os.path.split(incomplete)
    place = Path(folder or ".").expanduser()
    try:
        found = sorted(path for path in place.iterdir() if path.is_dir() and path.name.startswith(begun))
    except OSError:
        return []
    shown = [path for path in found if begun.startswith(".") or not path.name.startswith(".")]
    before = incomplete.removesuffix(begun)
    return [CompletionItem(f"{before}{path.name}{'' if is_capture(path) else '/'}") for path in shown]


def is_capture(folder: Path) -> bool:
    """Whether a folder holds what `rigwright hardware --record` writes, or what people paste."""
    try:
        return any(path.suffix in (".txt", ".xml", ".csv", ".json") for path in folder.iterdir())
    except OSError:
        return False
