"""The machines that a command line names, and what it wishes there: an inventory, a recording, cards in words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from rigwright.cli.completion import captures, gpus
from rigwright.cli.completion import cards as complete_cards
from rigwright.errors import WrongSpec

if TYPE_CHECKING:
    from rigwright.plan.reasons import Reason
    from rigwright.spec.rig import RigSpec

LOCAL = "@local"
# The name of a machine in words.
WORDED = "rig"
capture_option = click.option(
    "--capture",
    type=click.Path(path_type=Path),
    metavar="DIR",
    shell_complete=captures,
    help="A recorded machine instead.",
)
limit_option = click.option(
    "--limit", multiple=True, metavar="PATTERN", help="Only these rigs: a group, or a pattern of names."
)
# In the order in which --help lists them.
_OPTIONS = (
    click.option(
        "--gpu",
        "cards",
        multiple=True,
        metavar="CARDS",
        shell_complete=complete_cards,
        help="A machine in words: 4x3090, 2x3090:nvlink:x16,x8 + 4090, none.",
    ),
    click.option("--ram", metavar="SIZE", help="The RAM that it has, or would have: 64G."),
    capture_option,
    click.option(
        "--gpu-model",
        "gpu",
        metavar="NAME",
        shell_complete=gpus,
        help="What the GPUs are, where a recording does not name them.",
    ),
    click.option(
        "--with-gpu",
        "more",
        multiple=True,
        metavar="NAME",
        shell_complete=gpus,
        help="What if this GPU were there too?",
    ),
    limit_option,
)
# Options of commands that say which model it is, or where its file goes.
_OF_A_MODEL = frozenset((
    "-hf", "-hfr", "--hf-repo", "-hff", "--hf-file", "-m", "--model", "--include", "--local-dir", "--revision",
))  # fmt: skip
# Where a mistake in the only service is, for an inventory.
_WHERE = re.compile(r"^.*?rig\.services\.0\.(?:model: )?", re.MULTILINE)


class Place(NamedTuple):
    """Where to look: exactly one of `inventory`, `capture` and `cards`; `model` is what to serve there."""

    inventory: str | None
    capture: Path | None
    cards: tuple[str, ...]
    model: str | None = None

    @property
    def is_single(self) -> bool:
        """True for one machine, which no deploy knows."""
        return self.inventory in (None, LOCAL)


def machine_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say which machine is meant, and what if it were another one."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def place_of(
    inventory: str | None,
    capture: Path | None,
    cards: tuple[str, ...],
    limit: tuple[str, ...],
    model: str | None = None,
) -> Place:
    """The machines that are meant. Without an inventory the first word is the model.

    Raises:
        UsageError: there is no machine, more than one way to name it, or nothing to limit.
    """
    if (capture is not None or cards) and inventory is not None and model is None and not _is_inventory(inventory):
        inventory, model = None, inventory
    if inventory and model and (capture is not None or cards) and _is_model(inventory):
        raise click.UsageError(
            f"{inventory} and {model} are two models; name one, or several in a file of wishes: --spec"
        )
    given = [name for name, one in (("--gpu", cards), ("--capture", capture), (inventory, inventory)) if one]
    if len(given) > 1:
        raise click.UsageError(f"{' and '.join(map(str, given))} both name a machine; leave one of them out")
    if not given:
        raise click.UsageError(
            "for which machine? Name an inventory, @local, --capture DIR, or cards: --gpu 4x3090 --ram 128G"
        )
    place = Place(inventory, capture, cards, model)
    if inventory and model is None and _is_model(inventory):
        raise click.UsageError(
            f"{inventory} is a model; for which machine? --gpu 4x3090 --ram 128G, or @local before it"
        )
    if inventory and _is_cards(inventory):
        raise click.UsageError(f"{inventory} names GPUs, and no inventory; write --gpu '{inventory}'")
    if limit and place.is_single:
        raise click.UsageError("--limit chooses rigs of an inventory; this is one machine")
    return place


def _is_inventory(text: str) -> bool:
    is_command = re.search(r"\s-{1,2}\w", text)
    return text.startswith("@") or (not is_command and text.lower().endswith((".py", ".yml", ".yaml", ".ini")))


def _is_model(text: str) -> bool:
    if _is_inventory(text) or Path(text).exists():
        return False
    from rigwright.models.names import split_quant

    return split_quant(text)[0] is not None


def _is_cards(text: str) -> bool:
    """Whether a word stands for GPUs: one with a count or a number of four digits, as hosts are hardly called."""
    if (
        _is_inventory(text)
        or not re.search(r"(?<![\w.])\d{1,2}\s*[x×*]|(?<!\d)\d{4}(?!\d)", text)
        or Path(text).exists()
    ):
        return False
    from rigwright.inventory.described import described

    try:
        return bool(described([text]).hardware.gpus)
    except WrongSpec:
        return False


def service_of(model: str, **wishes: object) -> dict[str, object]:
    """The service of an inventory that a command line asks for."""
    return {"name": "chat", "model": model} | {key: value for key, value in wishes.items() if value is not None}


def of_command(text: str | None) -> tuple[Reason, ...]:
    """What a pasted command says beside the model, which is not taken: said, as its reader may count on it."""
    words = [word.partition("=")[0] for word in (text or "").split() if re.match(r"--?[a-zA-Z]", word)]
    left_out = [word for word in dict.fromkeys(words) if word not in _OF_A_MODEL]
    if not left_out:
        return ()
    from rigwright.plan.reasons import Reason

    names = ", ".join(left_out[:6]) + (" …" if len(left_out) > 6 else "")
    because = f"{names} of the command do not count; --gpu, --context, --users and --engine say such things here"
    return (Reason(choice="the model alone is taken", because=because),)


def as_written(model: str) -> str:
    """The model of a pasted command as an inventory names it; other names stay as they were typed."""
    from rigwright.plan.source import ModelSource

    if len(model.split()) < 2:
        return model
    source = ModelSource.model_validate(model)
    short = str(source).replace("@main", "", 1)
    return short if ModelSource.model_validate(short) == source else model


def spec_of(service: dict[str, object]) -> RigSpec:
    """A rig that serves this alone.

    Raises:
        WrongSpec: a line for each thing that is wrong.
    """
    from rigwright.spec.rig import parse_spec

    with without_place():
        return parse_spec("", {"services": [service]})


@contextmanager
def without_place() -> Iterator[None]:
    """Messages of what is raised, without the place in an inventory that nobody has written."""
    try:
        yield
    except WrongSpec as error:
        raise WrongSpec(_WHERE.sub("", error.message)) from None
