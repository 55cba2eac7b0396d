"""One flag in the words of one release of llama-server: names and values change, what they mean does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rigwright.errors import WrongSpec
from rigwright.models.chats import switch_words
from rigwright.plan.engines.llamacpp.capabilities import Capabilities
from rigwright.plan.reasons import Reason
from rigwright.plan.service import Flag

Words = tuple[str, str | None]

# What earlier releases say instead, tried in this order; each row names when that changed.
_EARLIER: Mapping[Words, tuple[Words, ...]] = {
    # --load-mode came in July 2026 (llama.cpp PR 20834); its predecessors are gone since.
    ("--load-mode", "none"): (("--no-mmap", None),),
    ("--load-mode", "mlock"): (("--mlock", None),),
    ("--load-mode", "dio"): (("--direct-io", None),),
    # --flash-attn takes a value since August 2025. What was on or off is then computed as on.
    ("--flash-attn", "on"): (("--flash-attn", None),),
    ("--flash-attn", "auto"): (("--flash-attn", None),),
    ("--reasoning", "on"): (("--chat-template-kwargs", '{"enable_thinking":true}'),),
    ("--reasoning", "off"): (("--chat-template-kwargs", '{"enable_thinking":false}'),),
    ("--n-gpu-layers", "all"): (("--n-gpu-layers", "999"),),
    ("--fit", "on"): (("--n-gpu-layers", "999"),),
    ("--device", "none"): (("--n-gpu-layers", "0"),),
}  # fmt: skip
_EARLIER_NAMES: Mapping[str, tuple[str, ...]] = {
    "--spec-draft-n-max": ("--draft-max", "--draft"),
    "--no-ui": ("--no-webui",),
    "--temp": ("--temperature",),
}
# What a release that cannot say it does anyway.
_EARLIER_DEFAULTS = frozenset(
    (("--load-mode", "mmap"), ("--flash-attn", "off"), ("--reasoning", "auto"), ("--fit", "off"))
)
# Flags of articles that newer releases refuse, in the words of newer ones. Source: `llama-server --help` of b11434.
_LATER: Mapping[str, str] = {
    "--no-mmap": "--load-mode none", "--mmap": "--load-mode mmap", "--mlock": "--load-mode mlock",
    "--direct-io": "--load-mode dio", "--no-direct-io": "--load-mode mmap",
    "--draft-max": "--spec-draft-n-max", "--draft": "--spec-draft-n-max", "--draft-min": "--spec-draft-n-min",
}  # fmt: skip


def spelled(flags: Sequence[Flag], capabilities: Capabilities) -> tuple[list[Flag], list[Reason]]:
    """The flags as this release says them, and a reason for each that it cannot say."""
    said: list[Flag] = []
    unsaid: list[Reason] = []
    for flag in flags:
        words = _words(flag, capabilities)
        if flag.name == "--reasoning" and words and words[0] != flag.name and _is_switched(flags):
            continue  # the words for the template say it already
        if words == (flag.name, flag.value):
            said.append(flag)
        elif words:
            because = f"{flag.reason.because}; newer releases say {flag.reason.choice}"
            reason = Reason(choice=text_of(*words), because=because, source=flag.reason.source)
            said.append(Flag(name=words[0], value=words[1], reason=reason))
        elif (flag.name, flag.value) not in _EARLIER_DEFAULTS:
            because = f"llama.cpp {capabilities.release} does not know it; it was for: {flag.reason.because}"
            unsaid.append(Reason(choice=f"no {flag.reason.choice}", because=because))
    return said, unsaid


def _is_switched(flags: Sequence[Flag]) -> bool:
    """Whether what the chat template is told switches thinking."""
    told = next((flag.value or "" for flag in flags if flag.name == "--chat-template-kwargs"), "")
    return any(f'"{word}"' in told for word in switch_words())


def _words(flag: Flag, capabilities: Capabilities) -> Words | None:
    own = flag.name, flag.value
    renamed = tuple((name, flag.value) for name in _EARLIER_NAMES.get(flag.name, ()))
    ways = (own, *_EARLIER.get(own, ()), *renamed)
    return next((words for words in ways if capabilities.takes(*words)), None)


def text_of(name: str, value: str | None) -> str:
    """A flag as it is typed."""
    return name if value is None else f"{name} {value}"


def check_flags(where: str, flags: Mapping[str, object], capabilities: Capabilities) -> None:
    """Refuses what this release of llama-server would refuse when it starts.

    Raises:
        WrongSpec: a flag that it does not know, or with a value that it does not take.
    """
    for name, value in flags.items():
        if value is None or value is False:
            continue
        given = None if value is True else str(value)
        if not capabilities.takes(name, given):
            raise WrongSpec(f"{where}.flags: {_trouble(name, given, capabilities)}")


def _trouble(name: str, value: str | None, capabilities: Capabilities) -> str:
    option, server = capabilities.options.get(name), f"llama.cpp {capabilities.release}"
    if option and option.instead is None:
        if not option.value:
            return f"{name} takes no value, not {value!r}; write {name}: true"
        if value is None:
            return f"{name} needs a value; write {option.expects}"
        return f"{name} is {value!r}; write {option.expects}"
    instead = (option.instead if option else None) or _LATER.get(name, "")
    if instead.partition(" ")[0] in capabilities.options:
        return f"{name} was removed; write {instead}"
    for later, earlier in _EARLIER.items():
        if later == (name, value) and (words := next((one for one in earlier if capabilities.takes(*one)), None)):
            return f"{name} is newer than {server}; write {text_of(*words)}"
    near = capabilities.nearest(name)
    return f"{name} is unknown to {server}; " + (f"did you mean {near}?" if near else "see llama-server --help")
