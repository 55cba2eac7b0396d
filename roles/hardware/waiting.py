"""pyinfra as a program that has imported all that it needs before it has arguments: they come as JSON on stdin.

Nothing is done where stdin ends without any.
"""

from __future__ import annotations

import json
import sys

from pyinfra_cli.main import main  # type: ignore[import-untyped]  # it patches sockets, so it comes first

import rigwright.roles.hardware.deploy  # noqa: F401  # what it will be told to run

if given := sys.stdin.read():
    sys.argv = ["pyinfra", *json.loads(given)]
    main()
