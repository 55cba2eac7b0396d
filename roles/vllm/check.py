"""Holds a command line to the parser of the vLLM that is to take it: `refused: WHY`, and 3, if it does not.

It runs on the rig with the interpreter of a release, without a GPU and without a network.
"""

import os
import sys
from typing import NoReturn

# Without a GPU vLLM does not know what it is for, and parses nothing.
os.environ["VLLM_TARGET_DEVICE"] = "cpu"
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
_REFUSED, _UNKNOWN = 3, 4


def refuse(why: str) -> NoReturn:
    """End with a reason."""
    sys.stdout.write(f"refused: {' '.join(why.split())[:400]}\n")
    sys.stdout.flush()
    sys.exit(_REFUSED)


def main(words: list[str]) -> None:
    """Parse the words as `vllm serve` would."""
    try:
        from vllm.entrypoints.cli import serve

        # The module has another place in each version.
        cli_args = sys.modules[serve.make_arg_parser.__module__]
    except (ImportError, AttributeError, KeyError) as error:
        sys.stdout.write(f"{error}\n")
        sys.exit(_UNKNOWN)
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    parser = cli_args.make_arg_parser(FlexibleArgumentParser(prog="vllm serve"))
    parser.error = refuse
    known = {name for action in parser._actions for name in action.option_strings}
    for word in words:
        name = word.split("=")[0].replace("_", "-")
        # It takes any beginning of a flag that is one flag's alone.
        if word.startswith("--") and name not in known:
            refuse(f"{name} is no flag of this vLLM")
    asked = parser.parse_args(words)
    try:
        cli_args.validate_parsed_serve_args(asked)
        getattr(cli_args, "validate_api_server_args", lambda _: None)(asked)
    except (TypeError, ValueError, KeyError) as error:
        refuse(str(error))
    parsers(getattr(asked, "reasoning_parser", None))


def parsers(name: str | None) -> None:
    """Refuse a reasoning parser that is not there: its own parser takes any text."""
    if not name:
        return
    try:
        from vllm.reasoning import ReasoningParserManager

        listed = list(ReasoningParserManager.list_registered())
    except (ImportError, AttributeError):
        return
    if name not in listed:
        refuse(f"--reasoning-parser {name}: this vLLM has {', '.join(sorted(listed))}")


if __name__ == "__main__":
    main(sys.argv[1:])
