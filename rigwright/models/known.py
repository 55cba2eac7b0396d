"""What is known of a model that people serve, and one file of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any, Literal, NamedTuple

from rigwright.errors import UnreadableModel
from rigwright.models.chats import Chat
from rigwright.models.parameters import model_from_parameters
from rigwright.models.repositories import as_repository
from rigwright.models.values import Model

Format = Literal["gguf", "safetensors"]
Thinking = Literal["always", "default-on", "default-off", "none"]
SizeKind = Literal["exact", "published", "estimated"]


class Sampling(NamedTuple):
    """How a model wants to be sampled; `top_k` 0 is off."""

    temperature: float
    top_p: float
    top_k: int
    min_p: float
    presence_penalty: float
    repeat_penalty: float


class Superseded(NamedTuple):
    """An upload that must not be used: another file of the same name came after it, at `before` if the day is known."""

    quant: str
    why: str
    before: str | None = None
    file_bytes: int | None = None
    is_size_exact: bool = False
    sha256: str | None = None
    revision: str | None = None
    perplexity: float | None = None


class KnownDrafter(NamedTuple):
    """A model of the same makers, in a file of its own, that drafts ahead: where it is, what others gained by it."""

    source: str
    file_bytes: int
    gain: str


@dataclass(frozen=True, eq=False)
class KnownModel:
    """One model, whatever its files.

    `sampling` is by mode: `thinking`, `thinking-coding`, `instruct`, `instruct-reasoning`. `thinking`: what it does
    unless told; one that always does cannot be told. `scores` are in percent, such as `swe_bench_verified`.
    `has_mtp`: it was trained to predict several tokens; which of its files hold that layer is told by each
    (`nextn_in_file`).
    """

    key: str
    name: str
    aliases: tuple[str, ...]
    parameters: Mapping[str, Any]
    sampling: Mapping[str, Sampling]
    thinking: Thinking
    chat: Chat
    scores: Mapping[str, float]
    total_parameters: int
    active_parameters: int
    projector_bytes: int | None
    projector_file: str | None
    license: str
    released: str
    source: str
    has_mtp: bool = False
    good_at: str = ""
    note: str = ""
    superseded: tuple[Superseded, ...] = ()
    sampling_source: str = ""
    drafter: KnownDrafter | None = None

    @property
    def native_context_tokens(self) -> int:
        """The longest context that the model was made for."""
        return int(self.parameters["native_ctx"])

    @property
    def thinks(self) -> bool:
        """True when it thinks unless told otherwise."""
        return self.thinking in ("always", "default-on")

    @property
    def can_switch(self) -> bool:
        """True when its thinking can be switched."""
        return self.thinking in ("default-on", "default-off") and self.chat.switch is not None

    @property
    def reasoning_parser(self) -> str | None:
        """vLLM's name for what reads its thinking; None where it has none."""
        return None if self.thinking == "none" else self.chat.reasoning_parser

    @property
    def tool_call_parser(self) -> str | None:
        """vLLM's name for what reads its calls of tools."""
        return self.chat.tool_call_parser

    @property
    def sees(self) -> bool:
        """True when a projector for pictures exists."""
        return self.projector_file is not None


class Drafter(NamedTuple):
    """A smaller model that drafts ahead for another: its file on the rig, with the size, and its dimensions."""

    path: str
    model: Model
    file_bytes: int


@dataclass(frozen=True)
class Variant:
    """One file, or one directory of weights, of a model: what can be downloaded and served.

    `file_bytes` is what lies on the disk, of a file in parts the sum; `size` says where the number comes from.
    `loaded_bytes` is what an engine keeps of it, where its log tells (a repository may hold a vision tower and an MTP
    layer). `loss_percent` is how much worse the perplexity is than that of 8 bit: the file's own where
    `is_loss_measured`, else the typical one of its quant. `header`: the model as the file itself tells; without it the
    dimensions come from `known`. `path` is where it will lie on the rig. `drafter` drafts ahead for it, where a service
    has one. `nextn_in_file`: the file holds the layers that draft for it, as far as the catalogue knows.
    """

    known: KnownModel | None
    name: str
    quant: str
    format: Format
    file_bytes: int
    loss_percent: float | None = None
    repo: str | None = None
    revision: str | None = None
    file: str | None = None
    sha256: str | None = None
    path: str = ""
    notes: str = ""
    parts: int = 1
    size: SizeKind = "exact"
    is_loss_measured: bool = False
    loaded_bytes: int | None = None
    source: str = ""
    nextn_in_file: bool = False
    header: Model | None = field(default=None, compare=False, repr=False)
    drafter: Drafter | None = field(default=None, compare=False, repr=False)

    @property
    def is_size_exact(self) -> bool:
        """True when `file_bytes` is the number of bytes and no rounding or guess."""
        return self.size == "exact"

    @property
    def has_model(self) -> bool:
        """True when the dimensions are known; a file whose header could not be read has none."""
        return self.header is not None or (self.known is not None and self.file_bytes > 0)

    @property
    def weights_bytes(self) -> int:
        """The bytes that an engine has to keep somewhere."""
        return self.loaded_bytes or self.file_bytes

    @cached_property
    def model(self) -> Model:
        """The dimensions: from the file's header, else computed from the catalogue (`Model.is_estimated`).

        Raises:
            UnreadableModel: the offer has neither.
        """
        if self.header:
            return self.header
        if not self.known:
            raise UnreadableModel(f"{self.name}: its dimensions are unknown; give a GGUF file whose header can be read")
        found = _reckoned(self.known, self.quant, self.weights_bytes, self.nextn_in_file)
        return as_repository(found) if self.format == "safetensors" else found


@cache
def _reckoned(known: KnownModel, quant: str, weights_bytes: int, nextn_in_file: bool) -> Model:
    parameters = {**known.parameters, "nextn_in_file": True} if nextn_in_file else known.parameters
    return model_from_parameters(known.name, parameters, file_bytes=weights_bytes, quant=quant)
