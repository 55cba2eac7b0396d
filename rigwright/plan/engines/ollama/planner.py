"""Ollama in plans: llama.cpp's server under settings of its own."""

from __future__ import annotations

from rigwright.models.known import KnownModel, Variant
from rigwright.plan.choice import Choice
from rigwright.plan.engines.llamacpp.layered import LayeredPlanner
from rigwright.plan.engines.ollama.render import render
from rigwright.plan.engines.rendered import RenderContext, Rendered
from rigwright.plan.wish import ServiceWish
from rigwright.units import GIB


class OllamaPlanner(LayeredPlanner):
    """Ollama: one copy, layers where it puts them itself; only where the inventory names it."""

    name = "ollama"
    label = "Ollama"
    other_format = "Ollama serves GGUF files; name one, or use vllm"
    is_automatic = False
    is_deployed = False
    command = ("ollama", "serve")
    # The archive holds its CUDA libraries.
    install = "Ollama's archive, unpacked: about 2 GB to fetch"
    install_bytes = 4 * GIB
    copies_weights = True

    def contradiction(self, wish: ServiceWish, variant: Variant) -> str | None:
        """A template of Jinja: Ollama's are of another language."""
        if wish.draft_model:
            return "draft_model is brought to llama.cpp alone; take it out, or set engine to llamacpp"
        if wish.chat_template_file:
            return "Ollama has templates of another language; take chat_template_file out, or set engine to llamacpp"
        return super().contradiction(wish, variant) or _switch_error(wish, variant.known)

    def render(self, choice: Choice, target: RenderContext) -> Rendered:
        """Environment and Modelfile."""
        return render(choice, target)


def _switch_error(wish: ServiceWish, known: KnownModel | None) -> str | None:
    """Untold by a request, Ollama has every model think that can; a server has no switch for all of them."""
    if wish.thinking != "off" or (known and known.thinking == "none"):
        return None
    return (
        "thinking is off, but Ollama has no switch for all requests; write per-request and send think: false with "
        "each, or set engine to llamacpp"
    )


PLANNER = OllamaPlanner
