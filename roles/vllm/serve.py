"""Starts `vllm serve` with the API keys that the unit hands over: they stand on no command line, and in no unit.

It lies in each release as bin/serve, and runs with its interpreter.
"""

import importlib.metadata
import os
import sys
from pathlib import Path


def keys() -> list[str]:
    """The keys in the credentials of the unit; none where it has none."""
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    file = Path(directory or "/", "api-key")
    return file.read_text("utf-8").split() if directory and file.exists() else []


def main() -> None:
    """Hand over to vLLM, as its own program would be started."""
    found, words = keys(), ["serve", *sys.argv[1:]]
    if len(found) == 1:
        os.environ["VLLM_API_KEY"] = found[0]
    elif found:  # its command line alone takes several; what is added here nobody sees from outside
        words += ["--api-key", *found]
    sys.argv = [str(Path(sys.argv[0]).with_name("vllm")), *words]
    (start,) = importlib.metadata.entry_points(group="console_scripts", name="vllm")
    sys.exit(start.load()())


if __name__ == "__main__":
    main()
