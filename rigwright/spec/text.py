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
    return yaml.load(text, Loader=_LOADER)
