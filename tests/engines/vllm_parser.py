"""Checks vLLM command lines with vLLM's own parser, on a machine without a GPU.

`make check-vllm` makes the environment that it needs, with vLLM itself (9 GB). What the parser
alone lets pass is checked here too: abbreviated flags, and reasoning parsers that do not exist. Source: vLLM 0.33.0,
where VLLM_TARGET_DEVICE=cpu makes the CUDA wheel parse without a GPU.

    vllm_parser.py PLAN.json …      the services of plans (`services[].flags`) that vLLM serves; or lists of words
    vllm_parser.py --catalogue      prints rigwright/catalogue/vllm_flags.yml of the installed version
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["VLLM_TARGET_DEVICE"] = "cpu"
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")


class Parser:
    """vLLM's parser of `vllm serve`, and the names it knows."""

    def __init__(self) -> None:
        import vllm
        from vllm.entrypoints.common.cli_args import make_arg_parser
        from vllm.reasoning import ReasoningParserManager
        from vllm.tool_parsers import ToolParserManager
        from vllm.utils.argparse_utils import FlexibleArgumentParser

        self.version = vllm.__version__
        self.parser = make_arg_parser(FlexibleArgumentParser(prog="vllm serve"))
        self.names = {name for action in self.parser._actions for name in action.option_strings}
        self.reasoning_parsers = sorted(ReasoningParserManager.list_registered())
        self.tool_parsers = sorted(ToolParserManager.list_registered())

    def refusal(self, words: list[str]) -> str | None:
        """Why vLLM would refuse a command line; None when it takes it."""
        from vllm.entrypoints.common.cli_args import validate_api_server_args, validate_parsed_serve_args

        if not words or words[0].startswith("-"):
            return "the model is not the first word"
        unknown = [word for word in words if word.startswith("--") and word.split("=")[0] not in self.names]
        if unknown:
            return f"unknown or abbreviated: {', '.join(unknown)}"
        said = io.StringIO()
        try:
            with contextlib.redirect_stderr(said):
                args = self.parser.parse_args(words)
                validate_parsed_serve_args(args)
                validate_api_server_args(args)
        except SystemExit:
            return said.getvalue().strip().splitlines()[-1]
        except Exception as error:  # noqa: BLE001  (whatever a validator of vLLM raises is its refusal)
            return f"{type(error).__name__}: {error}"
        if args.model_tag != words[0]:
            return f"takes {args.model_tag} for the model, not {words[0]}"
        return next(self._strangers(args), None)

    def _strangers(self, args: argparse.Namespace) -> Iterator[str]:
        """Values that the parser lets pass, as plugins may define them, and that nobody defines here."""
        named = args.reasoning_parser
        if named and named not in self.reasoning_parsers:
            yield f"no reasoning parser {named!r}"
        for action in self.parser._actions:
            value = getattr(args, action.dest, None)
            if not action.choices and isinstance(value, str) and (listed := choices_of(action)) and value not in listed:
                yield f"{action.option_strings[0]} {value}: none of {', '.join(listed)}"


def commands(text: str) -> Iterator[tuple[str, list[str]]]:
    """The command lines of a plan, with the names of their services; a list of words is one by itself."""
    read = json.loads(text)
    if isinstance(read, list) and all(isinstance(word, str) for word in read):
        yield "words", read
        return
    rigs = [read] if "services" in read else list(read.values() if isinstance(read, dict) else read)
    for service in (service for rig in rigs for service in rig.get("services", ())):
        if service["engine"] == "vllm":
            flags = ((flag["name"], flag.get("value")) for flag in service["flags"])
            yield service["service"], [str(word) for flag in flags for word in flag if word is not None]


def choices_of(action: argparse.Action) -> list[str]:
    """What an action takes; where plugins may add to it, vLLM prints a list in place of a name."""
    listed: Any = action.choices or ()
    if not listed and str(action.metavar).startswith("["):
        listed = ast.literal_eval(str(action.metavar))
    return sorted(str(choice) for choice in listed if str(choice) != "None")


def is_json(kind: Any) -> bool:
    """True for `json.loads`, also where vLLM wraps it so that the text None is taken too."""
    inner = [cell.cell_contents for cell in getattr(kind, "__closure__", None) or ()]
    return any(getattr(one, "__name__", "") in ("loads", "parse_dataclass") for one in (kind, *inner))


def catalogue(parser: Parser) -> dict[str, Any]:
    """What rigwright/catalogue/vllm_flags.yml holds of one version."""
    bare: list[str] = []
    valued: list[str] = []
    same: dict[str, str] = {}
    choices: dict[str, list[str]] = {}
    texts: list[str] = []
    for action in parser.parser._actions:
        first, *others = [name for name in action.option_strings if name.startswith("--")] or [""]
        if not first or first == "--help":
            continue
        (bare if action.nargs == 0 else valued).append(first)
        same |= {other: first for other in others}
        if listed := choices_of(action):
            choices[first] = listed
        if is_json(action.type):
            texts.append(first)
    return {
        "bare": sorted(bare),
        "valued": sorted(valued),
        "json": sorted(texts),
        "same": dict(sorted(same.items())),
        "choices": dict(sorted(choices.items())),
        "reasoning_parsers": parser.reasoning_parsers,
        "tool_call_parsers": parser.tool_parsers,
    }


def say(line: str) -> None:
    """Writes one line."""
    sys.stdout.write(line + "\n")


def main() -> int:
    """Prints one line for each command, and fails if one is refused."""
    parser = Parser()
    if sys.argv[1:] == ["--catalogue"]:
        import yaml

        say("# The flags of `vllm serve`. `same` are other names of a flag, and what undoes it.")
        say("# Made by tests/engines/vllm_parser.py --catalogue from the parser of the version itself.")
        text = yaml.safe_dump({parser.version: catalogue(parser)}, width=118, default_flow_style=None, sort_keys=False)
        say(text.rstrip())
        return 0
    refused = 0
    for path in sys.argv[1:]:
        for name, words in commands(Path(path).read_text("utf-8")):
            why = parser.refusal(words)
            refused += why is not None
            say(f"{'REFUSED' if why else 'ok':8}{Path(path).name} {name}: {why or ' '.join(words)}")
    say(f"vLLM {parser.version}: {refused} refused")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
