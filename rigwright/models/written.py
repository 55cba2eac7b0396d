"""Where a text from a clipboard says that a model is: the words of Hugging Face, llama.cpp, Ollama and browsers."""

from __future__ import annotations

import re
import shlex
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

from rigwright.models.names import find_model, quant_called, split_quant

_HUBS = ("huggingface.co", "www.huggingface.co", "hf.co", "hf-mirror.com")
_REPOSITORY = r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*?"
_IN_REPOSITORY = re.compile(rf"(?P<repo>{_REPOSITORY})(?:@(?P<revision>[\w./-]+?))?(?:[:/](?P<rest>\S+))?")
_OWN = re.compile(r"(?:hf|huggingface):(?://)?", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z0-9][\w.+ -]*(?:[:@][\w. -]+)?")
# What a path or a signed address may have; patterns would be at more for long.
_LONGEST = 4096
_WILD = re.compile(r"[*?\[]")
# What stands before a model on a command line; options that name it, and options that choose among its files.
_PROGRAM = re.compile(
    r"(?:\$ |sudo )*(?:(?:\S*/)?llama-(?:server|cli)|llama serve|ollama (?:run|pull|show)|vllm serve|lms get|"
    r"(?:huggingface-cli|hf) download)(?: |$)"
)
_OPTION = re.compile(r"(?:-hf|-hfr|--hf-repo|-m|--model)[ =]")
_FROM_HUB, _NAMING, _CHOOSING = ("-hf", "-hfr", "--hf-repo"), ("-m", "--model"), ("--include", "-hff", "--hf-file")


def is_pattern(file: str) -> bool:
    """Whether a file of a repository is named by a pattern, `*UD-Q4_K_XL*`."""
    return bool(_WILD.search(file))


def read_source(text: str) -> dict[str, str]:
    """The keys of a model in an inventory that a text means: `name` and `quant`, `repo` and `file`, `url` or `path`.

    Raises:
        ValueError: nothing that could be a model, with what to write instead.
    """
    text = text.strip().strip("`'\"").strip()
    if len(text) > _LONGEST:
        raise ValueError(f"{text[:80]!r} and {len(text) - 80} letters more name no model; write its name alone")
    if program := _PROGRAM.match(text):
        return _on_command_line(text[program.end() :], is_download=program[0].rstrip().endswith("download"))
    if _OPTION.match(text):
        return _on_command_line(text)
    if automatic := re.fullmatch(r"auto(?::(\S+))?", text, re.IGNORECASE):
        return {"name": "auto"} | ({"quant": quant_called(automatic[1])} if automatic[1] else {})
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", text)
    if scheme and scheme[1].lower() not in ("hf", "huggingface"):
        return _at_address(text, scheme[1].lower())
    if host := next((one for one in (*_HUBS, "ollama.com") if text.lower().startswith(f"{one}/")), None):
        return _on_page(host, text[len(host) + 1 :]) or {"url": f"https://{text}"}
    if _OWN.match(text):
        return _in_repository(_OWN.sub("", text, count=1), text)
    return _plain(text)


def _plain(text: str) -> dict[str, str]:
    """A path, a repository without `hf:`, or a name."""
    is_gguf = text.lower().endswith(".gguf")
    if text.startswith(("/", "./", "../", "~")) or text in (".", "..") or "\\" in text:
        return {"path": text}
    if not is_gguf and _names_model(text):
        return _named(text)
    if "/" in text:
        found = _IN_REPOSITORY.fullmatch(text)
        # Three words that end in a file may be folders of this machine; those of a hub are called so.
        if not found or (is_gguf and not re.search(r"gguf[@:/]", text[:-5], re.IGNORECASE)) or _is_here(text):
            return {"path": text}
        return _in_repository(text, text)
    if is_gguf or not _NAME.fullmatch(text):
        return {"path": text}
    return _named(text)


def _is_here(path: str) -> bool:
    """Whether a file of this machine is called so; what no file can be called is none."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False


def _names_model(text: str) -> bool:
    """Whether the catalogue knows it as a name; a repository of files is one only where it stands for the model."""
    if "/" not in text:
        return split_quant(text)[0] is not None
    known = find_model(text)
    return known is not None and text.strip().lower() in (alias.lower() for alias in known.aliases)


def _named(text: str) -> dict[str, str]:
    """A name of the catalogue, or one that is not there: whoever looks for it says so."""
    known, quant = split_quant(text)
    if known:
        return {"name": known.key} | ({"quant": quant} if quant else {})
    before, found, after = re.sub(r"@", ":", text).partition(":")
    if found and (known := find_model(before)):
        return {"name": known.key, "quant": quant_called(after)}
    return {"name": text}


def _in_repository(text: str, whole: str) -> dict[str, str]:
    """`org/name`, with `@revision` and `:file`, `:quant`, `:*pattern*` or `/file` behind it."""
    found = _IN_REPOSITORY.fullmatch(text.rstrip("/"))
    if not found:
        raise ValueError(
            f"{whole!r} is no Hugging Face file; write hf:org/repo@revision:file.gguf, or hf:org/repo:QUANT"
        )
    keys = {key: given for key, given in found.groupdict().items() if given and key != "rest"}
    rest = found["rest"]
    if not rest:
        return keys
    is_file = (
        is_pattern(rest) or "/" in rest or re.search(r"\.[A-Za-z]\w*$", rest) or text[found.start("rest") - 1] == "/"
    )
    if is_file:
        return keys | {"file": rest}
    return keys | ({"quant": quant_called(rest)} if rest.lower() != "latest" else {})


def _at_address(text: str, scheme: str) -> dict[str, str]:
    if scheme not in ("http", "https"):
        raise ValueError(f"{text.partition('?')[0]!r} is no http(s) address; download the file, and name its path")
    try:
        parts, host = urlsplit(text), (urlsplit(text).hostname or "").lower()
    except ValueError:
        return {"url": text}
    if host in (*_HUBS, "ollama.com") and "@" not in parts.netloc:
        text = text.removesuffix("?download=true")
        return _on_page(host, unquote(parts.path).lstrip("/"), parts.query) or {"url": text}
    return {"url": text}


def _on_page(host: str, path: str, query: str = "") -> dict[str, str] | None:
    """What a page of a hub is about; None where it is none of a model."""
    if host == "ollama.com":
        return _named(re.sub(r"^library/", "", path.strip("/")))
    words = path.strip("/").split("/")
    if len(words) < 2 or words[0] in ("datasets", "spaces", "docs", "api", "models", "collections"):
        return None
    repo = f"{words[0]}/{words[1]}"
    if len(words) > 3 and words[2] == "resolve":
        return None  # the address of a file as it is
    found = _in_repository(repo, path)
    if len(words) > 4 and words[2] in ("blob", "raw"):
        return found | {"revision": words[3], "file": "/".join(words[4:])}
    if len(words) > 3 and words[2] == "tree":
        return found | {"revision": words[3]}
    shown = re.search(r"(?:^|&)show_file_info=([^&]+)", query)
    return found | ({"file": unquote(shown[1])} if shown else {})


def _on_command_line(text: str, *, is_download: bool = False) -> dict[str, str]:
    """The model among the words behind a program."""
    try:
        words = shlex.split(text.replace("\\\n", " "))
    except ValueError:
        words = text.split()
    words = [part for word in words for part in (word.split("=", 1) if re.match(r"--?[\w-]+=", word) else [word])]
    values = dict(pairwise(words))
    given = next((values[name] for name in (*_FROM_HUB, *_NAMING) if name in values), None)
    # A word behind an option belongs to that, else it stands for itself.
    free = [word for before, word in zip(["", *words], words, strict=False) if word[:1] != "-" and before[:1] != "-"]
    model = given or (free[0] if free else None)
    if model is None:
        raise ValueError(f"{text[:80]!r} names no model; write its name alone")
    is_file_of_hub = is_download or any(name in values for name in _FROM_HUB)
    found = _in_repository(_OWN.sub("", model), model) if is_file_of_hub and "://" not in model else read_source(model)
    chosen = next((values[name] for name in _CHOOSING if name in values), None)
    if is_download and not chosen and len(free) > 1:
        chosen = free[1]
    return found | {"file": chosen} if chosen and "repo" in found else found
