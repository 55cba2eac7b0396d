"""Where a text from a clipboard says that a model is: the words of Hugging Face, llama.cpp, Ollama and browsers."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from rigwright.models.command_line import Commanded, commanded
from rigwright.models.names import either, find_model, known_upload, near_names, of_maker, quant_called, split_quant
from rigwright.models.quants import quants
from rigwright.models.surroundings import HUBS, OLLAMA, OTHER_MODEL, alone

# What Ollama and Docker put before the name of a model of theirs.
_OF_OLLAMA = re.compile(r"^(?:library|ai)/(?=[a-z0-9.-]+(?::\S+)?$)")
_REPOSITORY = r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*?"
_IN_REPOSITORY = re.compile(rf"(?P<repo>{_REPOSITORY})(?:@(?P<revision>[\w./-]+?))?(?:[:/](?P<rest>\S+))?")
_OWN = re.compile(r"(?:hf|huggingface):(?://)?", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z0-9][\w.+ -]*(?:[:@][\w. -]+)?")
# What a path or a signed address may have; patterns would be at more for long.
_LONGEST = 4096
_WILD = re.compile(r"[*?\[]")
_QUANT_LIKE = re.compile(
    r"[\s:@_-]+((?:ud[\s_-]?)?(?:i?q\d|\d-?bit|fp\d|bf16|f16|int\d|w\da\d|awq|gptq|qat|exl\d|mlx|mxfp|nvfp|tq\d)\w*(?:[\s.-][a-z]{1,3}(?!\w))*)$",
    re.IGNORECASE,
)
# What other programs put before a name, to say where it is served.
_PROVIDER = re.compile(
    r"(?:ollama(?:_chat)?|lm_?studio|hosted_vllm|vllm|openrouter|litellm|openai(?=/\w+/))[/:](?=\w)", re.IGNORECASE
)
_PARTS = re.compile(r"[^\s,;|<>(){}\[\]\"'`=*]+")


def is_pattern(file: str) -> bool:
    """Whether a file of a repository is named by a pattern, `*UD-Q4_K_XL*`."""
    return bool(_WILD.search(file))


def read_source(text: str) -> dict[str, str]:
    """The keys of a model in an inventory that a text means: `name` and `quant`, `repo` and `file`, `url` or `path`.

    Raises:
        ValueError: nothing that could be a model, with what to write instead.
    """
    if len(text) > _LONGEST:
        raise ValueError(f"{text[:80]!r} and {len(text) - 80} letters more name no model; write its name alone")
    bare = alone(text)
    if not bare:
        raise ValueError("an empty text names no model; write one, like qwen3.5-35b-a3b, hf:org/repo:Q4_K_M or auto")
    if (bare != text.strip() or " " in bare) and _is_here(text):
        return {"path": text}
    text = bare
    if command := commanded(text):
        return _of_command(command)
    if automatic := re.fullmatch(r"auto(?::(\S+))?", text, re.IGNORECASE):
        return {"name": "auto"} | ({"quant": quant_called(automatic[1])} if automatic[1] else {})
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", text)
    if scheme and scheme[1].lower() not in ("hf", "huggingface"):
        return _at_address(text, scheme[1].lower())
    if text.lower().startswith(tuple(f"{host}/" for host in (*HUBS, *OLLAMA))):
        return read_source(f"https://{text}")
    if _OWN.match(text):
        return _in_repository(_OWN.sub("", text, count=1), text)
    return _plain(_OF_OLLAMA.sub("", text))


def _of_command(command: Commanded) -> dict[str, str]:
    is_place = "://" in command.model or command.model.startswith(("/", "./", "../", "~"))
    if command.is_of_hub and not is_place:
        found = _in_repository(_OWN.sub("", command.model), command.model)
    else:
        found = read_source(command.model)
    if command.quant and "name" in found and "quant" not in found and quant_called(command.quant) in quants():
        found |= {"quant": quant_called(command.quant)}
    if "repo" not in found:
        return found
    chosen = {"file": command.file, "revision": command.revision}
    return found | {key: value for key, value in chosen.items() if value}


def _plain(text: str) -> dict[str, str]:
    """A path, a repository without `hf:`, or a name."""
    if ":" in text and "/" not in text and _names_model(text.removesuffix(".gguf")):
        return _named(text.removesuffix(".gguf"))
    is_gguf = text.lower().endswith(".gguf")
    if re.match(r"\.{0,2}/|~[\w-]*/|\.\.?$", text) or "\\" in text:
        return {"path": text}
    if not is_gguf and _names_model(text):
        return _named(text)
    if (bare := _PROVIDER.sub("", text)) != text and _names_model(bare):
        return _named(bare)
    if "/" in text:
        found = _IN_REPOSITORY.fullmatch(text)
        # Three words that end in a file may be folders of this machine; those of a hub are called so.
        if (
            is_gguf and " " not in text and not (found and re.search(r"gguf[@:/]", text[:-5], re.IGNORECASE))
        ) or _is_here(text):
            return {"path": text}
        return _in_repository(text, text) if found else _among(text)
    if (is_gguf and " " not in text) or _is_here(text):
        return {"path": text}
    return _named(text) if _NAME.fullmatch(text) and ".gguf " not in text.lower() else _among(text)


def _among(text: str) -> dict[str, str]:
    """The one model that a line names among other words; a path where nothing speaks for a name.

    Raises:
        ValueError: it names several.
    """
    words = [_PROVIDER.sub("", word.strip(".:")) for word in _PARTS.findall(text)]
    files = [word for word in words if word.lower().endswith(".gguf") and "/" not in word]
    known = {word: keys for word in words if (keys := _known_keys(word))}
    repos = [keys["repo"] for keys in known.values() if "repo" in keys]
    if repos and files:
        return {"repo": repos[0], "file": files[0]}
    names = dict.fromkeys(keys.get("name") or keys["repo"] for keys in known.values())
    if len(names) > 1:
        raise ValueError(f"{text[:80]!r} names several models; write one of {either(names)}")
    if not known or OTHER_MODEL.search(text):
        is_path = text.lower().endswith(".gguf") or (re.match(r"[\w. -]*/", text) and " " not in text)
        return {"path": text} if is_path else {"name": text}
    found = next(iter(known.values()))
    quant = next((quant_called(word) for word in words if quant_called(word) in quants()), None)
    return found | ({"quant": quant} if quant and "quant" not in found and "file" not in found else {})


def _known_keys(word: str) -> dict[str, str] | None:
    """What a word names if the catalogue has it: a model, or somebody's files of one."""
    name = re.sub(r"\.gguf$", "", word, flags=re.IGNORECASE)
    if _names_model(name):
        return _named(name)
    repo = word.partition(":")[0]
    return _in_repository(word, word) if word.count("/") == 1 and known_upload(repo) else None


def _is_here(path: str) -> bool:
    """Whether a file of this machine is called so; what no file can be called is none."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False


def _names_model(text: str) -> bool:
    """Whether the catalogue knows it as a name; a repository is one only where it is the maker's own."""
    if "/" not in text:
        return split_quant(text)[0] is not None
    name, _, quant = text.replace("@", ":").partition(":")
    return of_maker(name) is not None and (not quant or quant_called(quant) in quants())


def _named(text: str) -> dict[str, str]:
    """A name of the catalogue, or one that is not there: whoever looks for it says so."""
    known, quant = split_quant(text)
    if known:
        return {"name": known.key} | ({"quant": quant} if quant else {})
    before, _, after = text.replace("@", ":").partition(":")
    if known := find_model(before) or of_maker(before):
        return {"name": known.key} | ({"quant": quant_called(after)} if after else {})
    # A quant that is none here is told with those that are.
    if (tail := _QUANT_LIKE.search(text)) and (known := find_model(text[: tail.start()])):
        return {"name": known.key, "quant": quant_called(tail[1])}
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
    if is_pattern(rest) or re.search(r"\.[A-Za-z]\w*$", rest):
        return keys | {"file": rest}
    if "/" in rest or text[found.start("rest") - 1] == "/":
        if _names_model(f"{keys['repo'].partition('/')[2]}/{rest}"):  # behind the name of who serves it
            return _named(f"{keys['repo'].partition('/')[2]}/{rest}")
        raise ValueError(f"{whole!r} names no file of {keys['repo']}; write hf:{keys['repo']}:FILE.gguf, or :QUANT")
    return keys | ({"quant": quant_called(rest)} if rest.lower() != "latest" else {})


def _at_address(text: str, scheme: str) -> dict[str, str]:
    """The file at an address, or what its page is about.

    Raises:
        ValueError: it is neither.
    """
    if scheme == "lmstudio" and (found := re.search(r"[?&]model=([^&]+)", text)):
        return read_source(unquote(found[1]))
    if scheme == "file":
        return {"path": unquote(re.sub(r"^file://[^/]*", "", text))}
    if scheme in ("ollama", "docker"):
        return _named(_OF_OLLAMA.sub("", text.partition("://")[2]))
    if scheme not in ("http", "https"):
        raise ValueError(f"{text.partition('?')[0]!r} is no http(s) address; download the file, and name its path")
    try:
        parts, host = urlsplit(text), (urlsplit(text).hostname or "").lower()
    except ValueError:
        return {"url": text}
    path = unquote(parts.path).lstrip("/")
    if host in (*HUBS, *OLLAMA) and "@" not in parts.netloc:
        text = text.removesuffix("?download=true")
        if subject := _on_page(host, path, parts.query):
            return subject
    if _is_file(path):
        return {"url": text}
    if host not in HUBS and (known := next(filter(_names_model, reversed(path.split("/"))), None)):
        return _named(known)
    last = path.rstrip("/").rpartition("/")[2]
    near = near_names(last) if re.search(r"\d", last) else ()
    advice = (
        f"did you mean {either(near)}?" if near else "write the model's name, hf:org/repo:QUANT, or a file's address"
    )
    raise ValueError(f"{text.partition('?')[0]!r} is a page, and no file; {advice}")


def _is_file(path: str) -> bool:
    """Whether a file lies there, and nothing for people to read."""
    return path.lower().endswith(".gguf") or bool(re.search(r"(?:^|/)(?:resolve|raw|download|blobs|files|dl)/", path))


def _on_page(host: str, path: str, query: str = "") -> dict[str, str] | None:
    """What a page of a hub is about; None where it is none of a model."""
    words = path.strip("/").split("/")
    if host in OLLAMA and words[0] in ("search", "models", "blog", "download", "docs", "pricing"):
        return None
    if host in OLLAMA:
        return _named("/".join(words[1:2] if words[0] == "library" else words[:2])) if words[0] else None
    if len(words) < 2 or words[0] in ("datasets", "spaces", "docs", "api", "models", "collections", "papers", "blog"):
        return None
    if len(words) > 3 and words[2] == "resolve":
        return None  # the address of a file as it is
    repo = words[1].partition("?")[0]
    found = _in_repository(f"{words[0]}/{repo}", path)
    if len(words) > 4 and words[2] in ("blob", "raw"):
        return found | {"revision": words[3], "file": "/".join(words[4:])}
    if len(words) > 4 and words[2] == "tree":
        return found | {"revision": words[3], "file": f"{'/'.join(words[4:])}/*"}
    if len(words) > 3 and words[2] == "tree" and not (words[3] == "main" and _names_model(found.get("repo", ""))):
        return found | {"revision": words[3]}
    shown = re.search(r"(?:^|&)show_file_info=([^&]+)", query)
    if shown:
        return found | {"file": unquote(shown[1])}
    return _named(found["repo"]) if set(found) == {"repo"} and _names_model(found["repo"]) else found
