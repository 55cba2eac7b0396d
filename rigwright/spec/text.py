"""YAML as strangers may send it in a pull request: plain data, no larger in memory than in the file."""

from __future__ import annotations

from typing import Any

import yaml

# 1,000 rigs; what is larger is something else, and its parser would keep us for minutes.
LARGEST_BYTES = 16 << 20
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load_yaml(text: str) -> Any:
    """The data of a text.

    Raises:
        yaml.YAMLError: it is no YAML; or it repeats a part by an alias (`*name`): a short text may so make gigabytes.
        ValueError: a number or a date in it is none. RecursionError: it is nested too deeply.
    """
    if len(text) > LARGEST_BYTES:
        raise yaml.YAMLError(f"it is longer than {LARGEST_BYTES >> 20} MiB")
    if "&" in text:  # no alias without an anchor
        for event in yaml.parse(text, Loader=_LOADER):
            if isinstance(event, yaml.AliasEvent):
                problem = f"it holds the alias *{str(event.anchor)[:40]}, write out what it stands for"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)  # type: ignore[arg-type]  # the stubs forget libyaml's own mark
    loader = _LOADER(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return None
        _refuse_twice(root)
        return loader.construct_document(root)
    finally:
        loader.dispose()


def _refuse_twice(node: yaml.Node) -> None:
    """Refuse a mapping with a key that is there twice: YAML forbids it, its reader takes the last one."""
    waiting = [node]
    while waiting:
        node = waiting.pop()
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
        if not isinstance(node, yaml.MappingNode):
            continue
        seen: set[tuple[str, str]] = set()
        for key, value in node.value:
            waiting.append(value)
            name = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else ("", "")
            if name[0] and name in seen:
                problem = f"the key {str(key.value)[:40]} is there twice"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            seen.add(name)
