"""A rig's wishes from a YAML file, each mistake with its line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from rigwright.errors import WrongSpec
from rigwright.spec.other_tools import kind_of, kind_of_data
from rigwright.spec.rig import RigSpec, parse_spec
from rigwright.spec.text import load_yaml
from rigwright.units import whole_number

_WAY = "write services: with at least one service, like - {name: chat, model: qwen3.5-9b}"
_PATH = re.compile(r"rig(?:\.[^:\s]+)?")


def read_spec(file: Path, *, inventory: str | None = None) -> RigSpec:
    """The `rig` data of a YAML file, with or without the key `rig` above it; `inventory` has the rigs that it is for.

    Raises:
        WrongSpec: a line for each thing that is wrong, `rig.yml:7: rig.services.0.contxt: unknown key; …`
    """
    text = _read(file)
    data, is_bare, root = _load(file, text)
    try:
        return parse_spec(str(file), data, inventory=inventory)
    except WrongSpec as error:
        lines = error.message.splitlines()
        raise WrongSpec("\n".join(_with_line(file, line, root, is_bare=is_bare) for line in lines)) from None


def _read(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except OSError as error:
        raise WrongSpec(f"{file}: cannot be read: {error.strerror}; name a YAML file") from None
    except UnicodeDecodeError:
        raise WrongSpec(f"{file}: is no text; name a YAML file") from None


def _load(file: Path, text: str) -> tuple[Any, bool, yaml.Node | None]:
    """The data, whether it stands without `rig`, and the nodes that know their lines."""
    try:
        data, root = load_yaml(text), yaml.compose(text, yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise WrongSpec(f"{file}{line}: {error.problem or 'is no YAML'}; correct the YAML") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise WrongSpec(f"{file}: is no YAML: {str(error).splitlines()[0]}; correct it") from None
    if data is None:
        raise WrongSpec(f"{file}: is empty; write services: with at least one service")
    if kind := kind_of_data(data) or (isinstance(data, str) and kind_of(text)):
        raise WrongSpec(f"{file}: is {kind}; {_WAY}")
    if not isinstance(data, dict):
        raise WrongSpec(f"{file}: holds no keys; {_WAY}")
    if "model" in data and "services" not in data and "rig" not in data:
        raise WrongSpec(f"{file}: model: a service stands in a list; {_WAY}")
    if "rig" not in data:
        return data, True, root
    if others := [str(key) for key in data if key != "rig"]:
        raise WrongSpec(f"{file}: {others[0]}: unknown key beside rig; put it under rig, or take it out")
    return data["rig"], False, root


def _with_line(file: Path, message: str, root: yaml.Node | None, *, is_bare: bool) -> str:
    """`rig.yml: rig.services.0.contxt: …` as `rig.yml:7: …`."""
    rest = message.removeprefix(f"{file}: ")
    found = _PATH.match(rest)
    if rest == message or not found:
        return message
    keys = found[0].split(".")[1 if is_bare else 0 :]
    node, line = root, root.start_mark.line if root else 0
    for key in keys:
        below = _below(node, key)
        if below is None:
            break
        line, node = below
    return f"{file}:{line + 1}: {rest}"


def _below(node: yaml.Node | None, key: str) -> tuple[int, yaml.Node] | None:
    """The line and the value of a key, or of an entry of a list."""
    if isinstance(node, yaml.MappingNode):
        return next(((name.start_mark.line, value) for name, value in node.value if name.value == key), None)
    place = whole_number(key)
    if isinstance(node, yaml.SequenceNode) and place is not None and place < len(node.value):
        value = node.value[place]
        return value.start_mark.line, value
    return None
