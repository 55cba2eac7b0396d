"""What Ollama's API is asked to make a model: the body of POST /api/create, from a Modelfile. Pure.

Source: api.CreateRequest of Ollama at fb3076099, and cmd/cmd.go, which makes it of a Modelfile.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterator, Sequence
from typing import Any

REQUESTS = "/opt/rigwright/ollama/requests"


def weights_of(modelfile: str) -> tuple[str, ...]:
    """The files of its FROM lines, the weights first."""
    return tuple(path for key, path in _lines(modelfile) if key == "FROM")


def request_of(modelfile: str) -> str:
    """The body as JSON, in which `@model` stands for the model's name and `@1`, `@2` for the sums of its files."""
    body: dict[str, Any] = {"model": "@model", "files": {}}
    parameters: dict[str, Any] = {}
    for key, value in _lines(modelfile):
        if key == "FROM":
            number = len(body["files"]) + 1
            body["files"][f"{number}.gguf"] = f"sha256:@{number}"
        elif key == "PARAMETER":
            name, _, text = value.partition(" ")
            parameters[name] = _typed(name, text)
        else:
            body[key.lower()] = value
    return json.dumps(body | ({"parameters": parameters} if parameters else {}), separators=(",", ":")) + "\n"


def request_path(modelfile: str) -> str:
    """Where the rig keeps it: a name by its content, so that what runs keeps its own."""
    return f"{REQUESTS}/{hashlib.sha256(request_of(modelfile).encode()).hexdigest()[:16]}.json"


def tag_of(modelfile: str, sums: Sequence[str]) -> str:
    """The tag under which model.sh keeps what is made of it: twelve hex digits over request and weights."""
    text = request_of(modelfile).replace("@model", "@")
    for number, digest in enumerate(sums, start=1):
        text = text.replace(f'@{number}"', f'{digest}"')
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _lines(modelfile: str) -> Iterator[tuple[str, str]]:
    for line in modelfile.splitlines():
        key, _, value = line.partition(" ")
        yield key, "".join(shlex.split(value)) if key == "FROM" and value.startswith('"') else value


def _typed(name: str, text: str) -> object:
    """As api.FormatParams reads it: numbers and booleans, texts in a list."""
    if name == "stop":
        return [text.strip('"')]
    try:
        return json.loads(text)
    except ValueError:
        return text
