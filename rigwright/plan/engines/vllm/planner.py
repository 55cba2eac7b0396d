"""vLLM in plans."""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from dataclasses import replace

from rigwright.hardware.values import Hardware
from rigwright.models.variants import Variant
from rigwright.plan.choice import Choice
from rigwright.plan.engines.modes import thinking_error
from rigwright.plan.engines.planner import Planner
from rigwright.plan.engines.rendered import RenderContext, Rendered
from rigwright.plan.engines.vllm.candidates import tensor_speed, with_tensors
from rigwright.plan.engines.vllm.cpu import on_cpu
from rigwright.plan.engines.vllm.memory import VllmChoice, estimate_vllm
from rigwright.plan.engines.vllm.overrides import known_flags
from rigwright.plan.engines.vllm.release import plan_release
from rigwright.plan.engines.vllm.render import render
from rigwright.plan.engines.vllm.settings import VllmSettings
from rigwright.plan.known_issues import Configuration
from rigwright.plan.limits import context_obstacle, draft_error
from rigwright.plan.ranking import MANY_USERS
from rigwright.plan.search_space import Candidate, SearchResult, SearchSpace
from rigwright.plan.service import Flag, ServicePlan
from rigwright.plan.wish import ServiceWish
from rigwright.plan.yarn import vllm_overrides, yarn_error
from rigwright.units import GIB, whole_number

# It batches what llama.cpp serves in slots: its own speed figures do not show that under load.
_BATCHING = 1.0
# For one or two users vLLM has one handicap: it starts in minutes instead of seconds, which is worth a quarter of the
# speed. To ask for twice the speed lost what owners measured: two RTX 3090 on NVLink make 178 to 187 tokens/s of
# Qwen3.6-35B-A3B, 114 under llama.cpp; an RTX 5090 252 to 258 instead of 172. Context is no handicap: two such cards
# hold 262,144 tokens in fp8. Source: BENCHMARKS.md of https://github.com/noonghunna/club-3090.
_SLOW_START = math.log(1.25)


# Seen after the last request: 7 s on two busy cores. Where its own limit passes with a request under way, it kills what
# works, and then waits for that client for ever: nothing is won by more.
_ENDS_SECONDS = 15


class VllmPlanner(Planner):
    """vLLM, which serves repositories of safetensors to many users."""

    name = "vllm"
    label = "vLLM"
    file_format = "safetensors"
    other_format = (
        "vLLM serves safetensors; GGUF needs a plugin that is not kept up, so name a repository or use llamacpp"
    )
    batches = True
    # It reads the key, which nobody shall see on a command line, and is `vllm serve` otherwise.
    program = "bin/serve"
    command = ("vllm", "serve")
    settings_model = VllmSettings
    settings: VllmSettings
    # The environment of 0.33 takes 9.1 GB, of which 3.5 GB are fetched.
    install = "a Python environment with vLLM: about 2 minutes and 3.5 GB to fetch"
    install_bytes = 10 * GIB

    @property
    def is_for_cpus(self) -> bool:
        """A build for CPUs."""
        return bool(self.settings and self.settings.device == "cpu")

    @property
    def version(self) -> str:
        """The release that plans are made for: that of the inventory's own lock, where it has one."""
        main = self.settings.main_pin if self.settings else None
        return main.version if main else super().version

    def release(self, hardware: Hardware) -> str | None:
        """The directory of the environment that services run; None for a rig of which nobody said what runs on it.

        Raises:
            Refused: none can be had here.
        """
        found = plan_release(self.settings, hardware)
        return found.directory if found else None

    def stop_seconds(self, flags: Sequence[Flag]) -> int:
        """What it waits for requests, and what its processes take to end after that."""
        waits = next((flag.value for flag in flags if flag.name == "--shutdown-timeout"), None)
        return (whole_number(waits or "") or 0) + _ENDS_SECONDS

    @property
    def flags(self) -> Container[str]:
        """All names that its parser takes."""
        known = known_flags(self.version)
        return known.names if known else ()

    def bias(self, wish: ServiceWish) -> float:
        """Batches under load against a slow start."""
        return _BATCHING if wish.users >= MANY_USERS else -_SLOW_START

    def contradiction(self, wish: ServiceWish, variant: Variant) -> str | None:
        """A context beyond the trained one, drafts without layers for them, a template."""
        if wish.draft_model:
            return "draft_model is brought to llama.cpp alone; take it out, or set engine to llamacpp"
        if wish.chat_template_file:
            return "chat_template_file is brought to llama.cpp alone; take it out, or set engine to llamacpp"
        if wish.rope and not yarn_error(wish, variant.model) and not vllm_overrides(wish, variant.model):
            return (
                f"rope: yarn on vLLM wants all rope parameters of {variant.model.name}, which nobody recorded; take "
                "rope out and name them in flags: {'--hf-overrides': …}, or set engine to llamacpp"
            )
        error = thinking_error(wish, variant.known)
        return error or context_obstacle(wish, variant.model) or draft_error(wish, variant)

    def search(self, wish: ServiceWish, variants: Sequence[Variant], space: SearchSpace, found: SearchResult) -> None:
        """The candidates that serve repositories of safetensors."""
        if self.settings and self.settings.device == "cpu":
            if wish.engine == self.name:
                on_cpu(wish, variants, space, found)
            return
        with_tensors(wish, variants, space, found, bias=self.bias(wish))

    def configuration(self, choice: Choice, space: SearchSpace) -> Configuration:
        """With its stages, and its type of KV cache."""
        return (
            super()
            .configuration(choice, space)
            ._replace(pipeline_parallel=choice.layout.pipeline_parallel, cache_types=(choice.load.cache_type_k,))
        )

    def evaluated(self, choice: Choice) -> Choice:
        """The choice with its memory by part, and what its cache holds."""
        if not isinstance(choice.own, VllmChoice):
            return choice
        sizes = [device.vram_bytes for device in choice.devices]
        estimate = estimate_vllm(choice.variant.model, choice.own.load, sizes)
        return replace(choice, memory=estimate.memory, own=choice.own._replace(estimate=estimate))

    def full_speed(self, candidate: Candidate, space: SearchSpace) -> float | None:
        """By the formula, at that depth."""
        choice = candidate.choice
        if choice.speed is None:
            return None
        tokens, kind = choice.load.context_tokens, choice.load.cache_type_k
        return tensor_speed(
            choice.wish, choice.variant, space, candidate.assignment, tokens, cache_type=kind, depth_tokens=tokens
        ).expected

    def weights_path(self, plan: ServicePlan) -> str:
        """The directory of its repository: the word before all flags; empty where it would download it by itself."""
        return next((flag.name for flag in plan.flags[:1] if flag.name.startswith("/")), "")

    def render(self, choice: Choice, target: RenderContext) -> Rendered:
        """Flags of `vllm serve` and the environment of each replica."""
        return render(choice, target, self.version, links=target.links)


PLANNER = VllmPlanner
