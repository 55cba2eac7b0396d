"""Ollama in plans: llama.cpp's server under settings of its own."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from rigwright.errors import WrongSpec
from rigwright.hardware.values import Hardware, Vendor
from rigwright.models.known import KnownModel, Variant
from rigwright.plan.choice import Choice
from rigwright.plan.engines.llamacpp.layered import LayeredPlanner
from rigwright.plan.engines.ollama.release import Release, release_of
from rigwright.plan.engines.ollama.render import render
from rigwright.plan.engines.ollama.request import request_path, weights_of
from rigwright.plan.engines.ollama.settings import OllamaSettings
from rigwright.plan.engines.rendered import RenderContext, Rendered
from rigwright.plan.service import ServicePlan
from rigwright.plan.wish import ServiceWish
from rigwright.units import GIB

_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


class OllamaPlanner(LayeredPlanner):
    """Ollama: one copy, layers where it puts them itself; only where the inventory names it."""

    name = "ollama"
    label = "Ollama"
    other_format = "Ollama serves GGUF files; name one, or use vllm"
    is_automatic = False
    program = "bin/ollama"
    settings_model = OllamaSettings
    # The archive holds its CUDA libraries.
    install = "Ollama's archive, unpacked: about 2 GB to fetch"
    install_bytes = 4 * GIB
    copies_weights = True

    @property
    def vendors(self) -> frozenset[Vendor]:
        """NVIDIA's, and AMD's where the archive with ROCm is asked for."""
        has_rocm = isinstance(self.settings, OllamaSettings) and self.settings.rocm
        return frozenset(("NVIDIA", "AMD")) if has_rocm else super().vendors

    def build(self, hardware: Hardware) -> Release | None:
        """The release of this rig; None while a sum of its archives is not known.

        Raises:
            Refused: there is none for it.
        """
        settings = self.settings if isinstance(self.settings, OllamaSettings) else OllamaSettings()
        return release_of(settings, hardware, self.installed.commits)

    def release(self, hardware: Hardware) -> str | None:
        """Its directory."""
        found = self.build(hardware)
        return found.directory if found else None

    def weights_path(self, plan: ServicePlan) -> str:
        """What the Modelfile is made from; it stays there, for the model is made anew from it where it is gone."""
        return next(iter(weights_of(plan.modelfile or "")), "")

    def unit_values(self, wish: ServiceWish, plan: ServicePlan) -> Mapping[str, str]:
        """The account of its unit, which its store is of; the name of its model, and what it is made from."""
        return {
            "user": account_of(wish.name),
            "model": model_name(wish),
            "request": request_path(plan.modelfile or ""),
        }

    def contradiction(self, wish: ServiceWish, variant: Variant) -> str | None:
        """A template of Jinja: Ollama's are of another language."""
        if wish.draft_model:
            return "draft_model is brought to llama.cpp alone; take it out, or set engine to llamacpp"
        if wish.chat_template_file:
            return "Ollama has templates of another language; take chat_template_file out, or set engine to llamacpp"
        if found := super().contradiction(wish, variant) or _switch_error(wish, variant.known):
            return found
        if variant.parts > 1:
            return "Ollama takes a GGUF in one file, and this one has several; name another, or set engine to llamacpp"
        return None

    def render(self, choice: Choice, target: RenderContext) -> Rendered:
        """Environment and Modelfile."""
        model_name(choice.wish)
        return render(choice, target)


def _switch_error(wish: ServiceWish, known: KnownModel | None) -> str | None:
    """Untold by a request, Ollama has every model think that can; a server has no switch for all of them."""
    if wish.thinking != "off" or (known and known.thinking == "none"):
        return None
    return (
        "thinking is off, but Ollama has no switch for all requests; write per-request and send think: false with "
        "each, or set engine to llamacpp"
    )


def model_name(wish: ServiceWish) -> str:
    """The name of its model in the API.

    Raises:
        WrongSpec: the alias is none that Ollama takes.
    """
    name = wish.alias or wish.name
    if not _MODEL.fullmatch(name):
        raise WrongSpec(
            f"services.{wish.name}.alias: Ollama's models are called by letters, digits, dots and dashes, not {name!r}"
        )
    return name


def account_of(service: str) -> str:
    """The account that systemd makes for a service while it runs: as its unit is called, where that is no longer than
    an account's name may be."""
    name = f"rigwright-{service}"
    return name if len(name) <= 31 else f"rigwright-{hashlib.sha256(name.encode()).hexdigest()[:16]}"


PLANNER = OllamaPlanner
