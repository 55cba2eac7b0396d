"""The model that a command of a page or a shell's history is about: `llama-server -hf …`, `docker run … --model …`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import NamedTuple

# Programs whose command is about one model, and words of theirs that are no model.
_PROGRAMS = frozenset((
    "llama", "ollama", "vllm", "lms", "hf", "huggingface-cli", "modelscope", "docker", "podman", "nerdctl", "python",
    "python3", "uv", "uvx", "pipx", "wget", "curl", "aria2c", "git", "ramalama", "sglang", "lmdeploy", "from",
    "text-generation-launcher", "koboldcpp", "mlx_lm.server", "mlx_lm.generate", "llamafile", "tabbyapi", "aphrodite",
    "mistralrs", "mistralrs-server",
))  # fmt: skip
_VERBS = frozenset((
    "run", "pull", "show", "serve", "get", "load", "download", "clone", "model", "chat", "launch", "api_server",
    "server", "bench", "cp", "create", "generate", "import",
))  # fmt: skip
_LAUNCHERS = frozenset(("sudo", "env", "time", "nohup", "exec", "export", "uvx", "uv", "pipx", "doas"))
# Options that name the model, those of a hub first; that choose among its files; that say how it is quantised.
_OF_HUB = ("-hf", "-hfr", "--hf-repo", "--hf", "-dr", "--docker-repo")
_NAMING = (
    *("--model", "-m", "--model-path", "--model_path", "--model-id", "--model_id", "--model-name", "--repo-id"),
    *("--repo", "--repo_id", "--pretrained"),
)
_CHOOSING = ("--include", "-hff", "--hf-file", "--gguf-file", "--allow-patterns")
# Options without a value, of which what stands behind them might be taken for one.
_SWITCH = re.compile(
    r"-(?:it?|ti?|d|y|L|O|LO|OL|C|q|v|fa|nkvo)|--(?:no|enable|disable|use|trust)-.+|"
    r"--(?:verbose|jinja|rm|detach|interactive|tty|mlock|quiet|yes|resume|gguf|no-mmap|metrics|think|insecure|location|"
    r"force|embedding|rerank|swa-full|flash-attn|init)"
)
_PROMPT = re.compile(r"(?:\([\w.-]+\)\s*)?(?:[\w.-]+@[\w.-]+:\S*\s?)?(?:[$#%>❯!]|PS [^>]*>)\s*")
_ASSIGNED = re.compile(r"(?:export |set )?[A-Za-z_]\w*=\S*\s+(?=\S)")
_IMAGE = re.compile(r"\w[\w.-]*(?::\d+)?(?:/[\w.-]+)+(?::[\w.-]+)?(?:@sha256:\w+)?")
_ENGINE_IMAGE = re.compile(r"vllm|llama[.-]?cpp|sglang|text-generation-inference|ollama|koboldcpp|localai|lmdeploy")
_HOST = re.compile(r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co|hf-mirror\.com|ollama\.com)/|https?://")


class Commanded(NamedTuple):
    """What a command says: where the model is, whether that is a hub's, which file or quant of it."""

    model: str
    is_of_hub: bool = False
    file: str | None = None
    quant: str | None = None
    revision: str | None = None


def commanded(text: str) -> Commanded | None:
    """The model of a command, or of the first of several that has one; None where the text is none.

    Raises:
        ValueError: a command without a model.
    """
    is_command = False
    for line in re.split(r"\n|&&|;|\|", re.sub(r"\s[\\^`]\s*(?:\n|$|(?=\s))", " ", text)):
        words = _words(line)
        if words is None:
            continue
        is_command = True
        if found := _of_words(words):
            return found
    if is_command:
        raise ValueError(f"{text[:80]!r} names no model; write its name alone")
    return None


def _words(line: str) -> list[str] | None:
    """The words of a command without prompt, variables and launchers; None where it is none."""
    line = line.strip()
    if prompt := _PROMPT.match(line):
        line = line[prompt.end() :]
    for _ in range(99):
        if not (assigned := _ASSIGNED.match(line)):
            break
        line = line[assigned.end() :]
    # Pages print two dashes as one long one.
    line = re.sub(r"(?<!\S)—(?=\w)", "--", re.sub(r"(?<!\S)–(?=\w)", _dashes, line))
    try:
        words = shlex.split(re.sub(r"\\(?=\w)", r"\\\\", line), comments=True)  # folders of Windows
    except ValueError:
        words = [word.strip("\"'") for word in line.split()]
    first = 0
    while first < len(words) - 1 and words[first] in _LAUNCHERS:
        first += 2 if words[first] == "uv" and words[first + 1] == "run" else 1
    words = words[first:]
    if len(words) > 1 and (words[0] in (*_OF_HUB, *_NAMING) or is_program(words[0], words[1])):
        return words
    # Whatever the program is, who names a model so means one.
    is_named = any(word.partition("=")[0] in (*_OF_HUB, *_NAMING) for word in words[1:-1])
    return words if is_named or (words and words[0].startswith("llama-s")) else None


def _dashes(found: re.Match[str]) -> str:
    rest = found.string[found.end() :]
    return "-" if re.match(r"(?:hf[rf]?|ngl|ot|fa|np|ub|ts|sm|\w)(?!\S)", rest) else "--"


def is_program(word: str, after: str) -> bool:
    """Whether a word begins a command that is about a model; `llama` is the name of one too."""
    name = _program(word)
    if name == "llama":  # which is a model's name too
        return after in _VERBS or after.startswith("-")
    return name in _PROGRAMS or bool(re.fullmatch(r"llama-[a-z-]+", name))


def _program(word: str) -> str:
    return re.split(r"[/\\]", word)[-1].lower().removesuffix(".exe")


def _of_words(words: Sequence[str]) -> Commanded | None:
    name = _program(words[0])
    rest = list(words if words[0].startswith("-") else words[1:])
    if name in ("docker", "podman", "nerdctl"):
        rest = _inside(rest)
    elif name.startswith("python") and rest[:1] == ["-m"]:
        rest = rest[2:]
    inner = [place for place, word in enumerate(rest[:-1]) if is_program(word, rest[place + 1])]
    if inner and name not in ("wget", "curl", "git"):
        rest = rest[inner[-1] + 1 :]
    rest = [part for word in rest for part in (word.split("=", 1) if re.match(r"--?[\w-]+=", word) else [word])]
    return _of_options(rest, is_fetch=name in ("wget", "curl", "aria2c", "git"), is_download="download" in rest[:2])


def _inside(words: list[str]) -> list[str]:
    """What a container is told to run: what stands behind an engine's image, or a program; `model run` has none."""
    if words[:1] == ["model"]:
        return words
    image = next((place for place in range(len(words)) if _is_image(words, place)), None)
    if image is not None:
        return words[image + 1 :]
    inner = [place for place, word in enumerate(words[:-1]) if is_program(word, words[place + 1])]
    return words[inner[-1] :] if inner else []


def _is_image(words: list[str], place: int) -> bool:
    """Whether a word is the image of an engine: it has a slash, and is no volume and no value of an option."""
    word, before = words[place], words[place - 1] if place else ""
    if before[:1] == "-" and "=" not in before and not _SWITCH.fullmatch(before):
        return False
    return bool(_IMAGE.fullmatch(word) and _ENGINE_IMAGE.search(word.lower()))


def _of_options(words: Sequence[str], *, is_fetch: bool, is_download: bool) -> Commanded | None:
    values: dict[str, list[str]] = {}
    free: list[str] = []
    behind: list[str] = []
    for before, word in zip(["", *words], words, strict=False):
        if word[:1] == "-" and len(word) > 1:
            continue
        if before[:1] == "-" and not _SWITCH.fullmatch(before):
            values.setdefault(before, []).append(word)
            behind.append(word)
        else:
            free.append(word)
    if is_fetch:
        found = next((word for word in (*free, *behind) if _HOST.match(word)), None)
        return Commanded(found) if found else None
    while free and (free[0].lower() in _VERBS or free[0].endswith((".py", ".sh"))):
        free.pop(0)
    if any(kind in ("dataset", "space") for kind in values.get("--repo-type", [])):
        return None
    hub = next((values[name][0] for name in _OF_HUB if name in values), None)
    model = hub or next((values[name][0] for name in _NAMING if name in values), None)
    if model is None:
        model = free[0] if free else next((word for word in reversed(behind) if _is_likely(word)), None)
        free = free[1:]
    if model is None:
        return None
    chosen = [word for name in _CHOOSING for word in values.get(name, [])]
    return Commanded(
        model,
        bool(hub) or is_download,
        _file_of([*chosen, *free] if is_download else chosen),
        next((values[name][0] for name in ("--quantization", "-q", "--quant") if name in values), None),
        next((values[name][0] for name in ("--revision",) if name in values), None),
    )


def _file_of(words: Sequence[str]) -> str | None:
    """Of several files the one with the model: no projector, no file of words, no pattern that fits all."""
    own = [
        word
        for word in words
        if not re.search(r"mmproj|imatrix|\.(?:json|md|txt|jinja|model|py)$", word, re.IGNORECASE)
    ]
    return next((word for word in own if word not in ("*", "*.gguf", "*.safetensors")), None)


def _is_likely(word: str) -> bool:
    return bool(re.fullmatch(r"[\w.-]+/[\w.-]+(?::[\w.-]+)?|[a-z][\w.-]*:[\w.-]+", word))
