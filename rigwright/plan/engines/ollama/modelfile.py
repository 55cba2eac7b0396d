"""Ollama's Modelfile: the weights, how they are spoken to, and the parameters of an answer."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches

from rigwright.errors import WrongSpec
from rigwright.models.chats import speakers
from rigwright.plan.choice import Choice
from rigwright.plan.engines.modes import mode_of, per_request_sampling, sampling_of
from rigwright.plan.engines.rendered import RenderContext
from rigwright.plan.reasons import Reason

# Source: the JSON tags of api.Options and api.Runner, Ollama at fb3076099, without those that are deprecated.
PARAMETERS = (
    "num_ctx", "num_batch", "num_gpu", "main_gpu", "use_mmap", "num_thread", "draft_num_predict", "num_keep", "seed",
    "num_predict", "top_k", "top_p", "min_p", "typical_p", "repeat_last_n", "temperature", "repeat_penalty",
    "presence_penalty", "frequency_penalty", "stop",
)  # fmt: skip
# What published advice puts there, and what does that instead.
_ELSEWHERE = {
    "flash_attn": "write --ollama-flash-attention",
    "cache_type_k": "set cache_type",
    "cache_type_v": "set cache_type",
    "ctx_size": "set context",
    "parallel": "set slots",
    "enable_thinking": "send think: false with each request",
}


def modelfile_of(choice: Choice, target: RenderContext) -> tuple[str, tuple[Reason, ...]]:
    """The text of the Modelfile, and the reasons for what is in it and what is not.

    Raises:
        WrongSpec: the inventory names a parameter that Ollama does not know.
    """
    parameters = dict(_parameters(choice))
    own = dict(_own(choice))
    lines = [f"FROM {_quoted(target.weights_path)}"]
    if choice.wish.vision and target.projector_path:
        lines.append(f"FROM {_quoted(target.projector_path)}")
    speaker = _speaker(choice)
    lines += [f"RENDERER {speaker}", f"PARSER {speaker}"] if speaker else []
    given = {name: value for name, value in (parameters | own).items() if value is not None}
    lines += [f"PARAMETER {name} {value}" for name, value in given.items()]
    return "\n".join(lines) + "\n", tuple(_reasons(choice, parameters, own, speaker))


def _parameters(choice: Choice) -> Iterator[tuple[str, str]]:
    yield "num_ctx", str(choice.load.context_tokens)
    if choice.wish.own_drafts:
        yield "draft_num_predict", str(choice.wish.own_drafts)
    for name, value in sampling_of(choice.wish, choice.variant.known).items():
        yield name, f"{value:g}"


def _speaker(choice: Choice) -> str | None:
    """The name of the renderer and parser that Ollama has for this family; None where it has none of one name."""
    known = choice.variant.known
    return known.chat.ollama if known else speakers().get(choice.variant.model.architecture)


def _own(choice: Choice) -> Iterator[tuple[str, str | None]]:
    """The inventory's flags that are parameters: `--num-gpu` is num_gpu; None drops one."""
    for flag, value in choice.wish.flags.items():
        if flag.startswith("--ollama-"):
            continue
        name = flag[2:].replace("-", "_")
        if name not in PARAMETERS:
            raise WrongSpec(f"services.{choice.wish.name}.flags: {flag}: {_unknown(name)}")
        if isinstance(value, bool):
            yield name, str(value).lower() if name == "use_mmap" else None
        else:
            yield name, None if value is None else str(value)


def _unknown(name: str) -> str:
    if name in _ELSEWHERE:
        return f"Ollama has no parameter {name}; {_ELSEWHERE[name]}"
    near = get_close_matches(name, PARAMETERS, n=1)
    hint = f"did you mean --{near[0].replace('_', '-')}?" if near else "write one of its PARAMETERs, or --ollama-…"
    return f"Ollama has no parameter {name}; {hint}"


def _quoted(path: str) -> str:
    return f'"{path}"' if " " in path else path


def _reasons(
    choice: Choice, parameters: dict[str, str], own: dict[str, str | None], speaker: str | None
) -> Iterator[Reason]:
    known, wish = choice.variant.known, choice.wish
    yield Reason(choice=f"FROM {choice.variant.name}", because="Ollama copies the file into its store: twice the disk")
    if speaker:
        because = "an imported GGUF gets no renderer by itself, and tool calls and thinking then break"
        yield Reason(
            choice=f"RENDERER {speaker}", because=because, source="https://github.com/ollama/ollama/issues/17636"
        )
    if known and "temperature" in parameters:
        because = f"what its makers recommend for {mode_of(wish, known)}; Ollama's own defaults are others"
        yield Reason(choice="PARAMETER temperature …", because=because)
    if "num_gpu" not in own:
        because = "without it the layers are fitted to the memory that is free; 99 would end in out of memory instead"
        yield Reason(choice="no PARAMETER num_gpu", because=because)
    if wish.thinking == "per-request":
        yield Reason(choice="thinking by request", because="think: false or true in it; untold, whoever can thinks")
        yield Reason(choice="no PARAMETER of one mode", because=per_request_sampling(known))
    elif (known is None or known.can_switch) and mode_of(wish, known).startswith("instruct"):
        because = "no parameter of a model switches it; send think: false with each request"
        yield Reason(choice="thinking stays on", because=because)
    for name, value in own.items():
        instead = f" instead of {parameters[name]}" if name in parameters else ""
        choice_text = f"PARAMETER {name} {value}" if value is not None else f"no PARAMETER {name}"
        yield Reason(choice=choice_text, because=f"the inventory says so{instead}")
