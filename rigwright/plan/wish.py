"""A wish: one served model on a rig, as the user asks for it. The keys of `rig.services[]` in an inventory."""

from __future__ import annotations

import ipaddress
import re
from difflib import get_close_matches
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from rigwright.catalogue.engines import engine_names
from rigwright.given import COUNT, TOKENS, OneOrMore, word
from rigwright.plan.source import ModelSource
from rigwright.plan.wish_flags import STRETCHING, checked_flags
from rigwright.plan.wish_words import (
    CACHE_TYPE,
    DRAFTS,
    ENGINE,
    GOAL,
    GPUS,
    LAYOUT,
    MODE,
    MOST_DRAFTS,
    SERVICE_NAME,
    THINKING,
    Goal,
    Mode,
    Thinking,
    known_quant,
)
from rigwright.strict import Line, Strict

# Time for an answer of some thousand tokens on a fast GPU, and no answer holds a deploy for long.
DRAIN_SECONDS = 120


_MODES: dict[str, Mode] = {"on": "thinking", "off": "instruct"}


def _thinks(mode: Mode) -> bool:
    return mode.startswith("thinking")


class ServiceWish(Strict):
    """One service: a model, served by an engine, on a port."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$"), SERVICE_NAME] = Field(
        description="Names the unit, `rigwright-<name>.service`: small letters, digits, dashes, at most 40."
    )
    engine: Annotated[str, ENGINE] = Field(
        "auto",
        description="What serves the model; `auto` chooses, with reasons.",
        json_schema_extra={"enum": [*engine_names(), "auto"]},
    )
    model: ModelSource = Field(
        description="The weights: a path, an address, hf:org/repo@revision:file, a name of the catalogue, or auto."
    )
    goal: Annotated[Goal, GOAL] | None = Field(
        None, description="What counts most; by default latency, and throughput from three users on."
    )
    users: Annotated[int, Field(ge=1, le=4096), COUNT] = Field(1, description="How many are expected at the same time.")
    quants: OneOrMore[Line] = Field((), description="With a name of the catalogue: only these quants.")
    mode: Annotated[Mode, MODE] | None = Field(
        None, description="How the model shall answer, which sets thinking and sampling; by default as it was made."
    )
    thinking: Annotated[Thinking, THINKING] | None = Field(
        None,
        description="Whether it thinks before it answers where a request says nothing, `on` or `off`; `per-request` "
        "leaves that, and the sampling that depends on it, to each request. By default what `mode` means.",
    )
    vision: bool = Field(False, description="Load the projector too, so that images can be sent.")
    draft: Annotated[Annotated[int, Field(ge=0, le=MOST_DRAFTS)] | Literal["auto"], DRAFTS] = Field(
        "auto",
        description="Tokens drafted ahead by the model's own nextn layers (MTP); 0 for none, `auto` where it is likely "
        "to be faster. Costs memory; the text stays the same.",
    )
    draft_model: ModelSource | None = Field(
        None,
        description="A smaller model of the same vocabulary, one GGUF file, that drafts ahead on llama.cpp; `draft` is "
        "then how many tokens, by default 3. Costs memory, measure the gain.",
    )
    host: str = Field("127.0.0.1", description="The address to listen on; anything but loopback needs `api_key_file`.")
    port: Annotated[int, Field(ge=1, le=65535), COUNT] = Field(8080, description="The TCP port of the HTTP API.")
    context: Annotated[int, Field(ge=256), TOKENS] | None = Field(
        None, description="Tokens of context for each slot; by default what the model was trained for, if it fits."
    )
    rope: Annotated[Literal["yarn"], word(("yarn",))] | None = Field(
        None,
        description="`yarn` stretches a model to a `context` above the one that it was trained for, where its makers "
        "say that it can; short prompts pay for it in quality.",
    )
    min_context: Annotated[int, Field(ge=256), TOKENS] | None = Field(
        None,
        description="Tokens of context that each slot must have at least; the plan takes more where that is worth it.",
    )
    slots: Annotated[int, Field(ge=1, le=256), COUNT] | None = Field(
        None,
        description="Requests that each copy serves at once, each with `context`; by default one for each user, at "
        "most 8.",
    )
    replicas: Annotated[int, Field(ge=1, le=64), COUNT] | None = Field(
        None,
        description="Copies, each on GPUs of its own; by default as many as the plan finds worth it.",
    )
    cache_type: Annotated[Literal["auto", "f16", "bf16", "q8_0", "q4_0"], CACHE_TYPE] = Field(
        "auto",
        description="The type of the KV cache; auto takes f16, or q8_0 where that buys a better quant or context.",
    )
    layout: Annotated[str, LAYOUT] | None = Field(
        None,
        description="How each copy is spread over its GPUs: `single`, `layers`, `tensor`, or with numbers `tp2`, "
        "`pp4`, `tp2pp2`; by default what the plan finds best.",
    )
    alias: Line | None = Field(None, description="The model name in the API; by default the service's name.")
    gpu: Annotated[int | tuple[int, ...] | Literal["auto", "none"], GPUS] = Field(
        "auto", description="GPUs by nvidia-smi index, `auto` for those that suit best, `none` for the CPU."
    )
    chat_template_file: Line | None = Field(
        None, description="A Jinja template on this machine that takes the place of the model's own."
    )
    api_key_file: Line | None = Field(
        None, description="A file on this machine (mode 600) with one API key per line; never shown anywhere."
    )
    allow_from: OneOrMore[str] = Field(
        (), description="Networks that may connect when `host` is not loopback; empty means any."
    )
    flags: dict[str, str | int | float | bool | None] = Field(
        default_factory=dict,
        description="The engine's own flags, which win over the plan: {'--temp': 0.6}; None drops one.",
    )
    start_timeout_seconds: Annotated[int, Field(ge=5), COUNT] = Field(
        600, description="How long loading and the first completion may take before the old release comes back."
    )
    drain_seconds: Annotated[int, Field(ge=0, le=3600), COUNT] = Field(
        DRAIN_SECONDS,
        description="How long requests may go on before a restart or a removal ends them; 0 ends them at once.",
    )
    watch_seconds: Annotated[int, Field(ge=0, le=3600), COUNT] = Field(
        300,
        description="How long the engine may give no answer before it is restarted, from 30; 0 for ever.",
    )

    @field_validator("watch_seconds")
    @classmethod
    def _patient(cls, seconds: int) -> int:
        if 0 < seconds < 30:
            raise ValueError(f"{seconds} s is less than an answer may take; write 30 or more, or 0 for no watch")
        return seconds

    @field_validator("engine")
    @classmethod
    def _known_engine(cls, engine: str) -> str:
        if engine not in ("auto", *engine_names()):
            near = get_close_matches(engine, engine_names(), n=1)
            known = ", ".join(("auto", *engine_names()))
            raise ValueError(f"{engine!r} is no engine; " + (f"did you mean {near[0]}?" if near else f"use {known}"))
        return engine

    @field_validator("quants")
    @classmethod
    def _known_quants(cls, quants: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(known_quant, quants))

    @field_validator("flags")
    @classmethod
    def _long_flags(cls, flags: dict[str, Any]) -> dict[str, Any]:
        return checked_flags(flags)

    @field_validator("host")
    @classmethod
    def _address(cls, host: str) -> str:
        try:
            ipaddress.ip_address(host)
        except ValueError:
            raise ValueError(f"{host!r} is no IP address; write 127.0.0.1, 0.0.0.0 or the rig's own") from None
        if "%" in host:
            raise ValueError(f"{host!r} names an interface; write an address that means the same everywhere, like ::")
        return host

    @field_validator("allow_from")
    @classmethod
    def _networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        for network in networks:
            try:
                ipaddress.ip_network(network)
            except ValueError as error:
                raise ValueError(f"{error}; write networks like 192.168.1.0/24") from None
            # What systemd does not understand it leaves out, and then nobody may connect.
            if not re.fullmatch(r"[0-9a-fA-F:.]+(?:/[0-9]+)?", network):
                raise ValueError(f"{network!r} will not do in a unit; write networks like 192.168.1.0/24")
        return networks

    @field_validator("draft_model")
    @classmethod
    def _one_file(cls, source: ModelSource | None) -> ModelSource | None:
        if source and not (source.names_file and source.file_name.lower().endswith(".gguf")):
            raise ValueError(f"{source} names no GGUF file; write it like hf:org/repo:FILE.gguf, or ./FILE.gguf")
        return source

    @model_validator(mode="after")
    def _one_way_to_think(self) -> Self:
        if self.mode and self.thinking and self.thinking != (implied := "on" if _thinks(self.mode) else "off"):
            raise ValueError(f"mode {self.mode} means thinking: {implied}, and thinking is {self.thinking}; drop one")
        return self

    @model_validator(mode="after")
    def _one_context(self) -> Self:
        if self.context and self.min_context:
            raise ValueError("context is exact and min_context the least; give one of them")
        return self

    @model_validator(mode="after")
    def _stretched(self) -> Self:
        if self.rope and not self.context:
            raise ValueError("rope: yarn stretches to a context; name one, above what the model was trained for")
        if self.rope and (own := next((flag for flag in self.flags if flag in STRETCHING), None)):
            raise ValueError(f"rope: yarn sets {own} too; take it out of flags, or rope out")
        return self

    @model_validator(mode="after")
    def _key_when_open(self) -> Self:
        if self.is_loopback and self.allow_from:
            raise ValueError(f"allow_from does nothing while host is {self.host}; name another host, or take it out")
        if not self.is_loopback and not self.api_key_file:
            raise ValueError(f"host {self.host} is open to others; name an api_key_file, or listen on 127.0.0.1")
        return self

    @property
    def asked_mode(self) -> Mode | None:
        """The mode that `mode` names, or `thinking` stands for; None where neither says one."""
        return self.mode or _MODES.get(self.thinking or "")

    @property
    def thinks(self) -> bool | None:
        """Whether the server shall think where a request says nothing; None where the wish does not say."""
        return _thinks(self.asked_mode) if self.asked_mode else None

    @property
    def own_drafts(self) -> int:
        """Tokens that the model's own nextn layers shall draft ahead; 0 where the plan decides."""
        return 0 if self.draft_model or self.draft == "auto" else self.draft

    @property
    def is_loopback(self) -> bool:
        """True when only the rig itself can reach the service."""
        return ipaddress.ip_address(self.host).is_loopback
