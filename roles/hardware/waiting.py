"""pyinfra as a program that has imported all that it needs before it has arguments.

Each line of stdin is one run, its arguments as JSON; when it is over, its exit code goes to the file descriptor that
the program was given.
"""

from __future__ import annotations

import json
import logging
import os
import sys

from pyinfra_cli.main import main  # type: ignore[import-untyped]  # it patches sockets, so it comes first

import rigwright.roles.hardware.deploy  # noqa: F401  # what it will be told to run

ended, given = int(sys.argv[1]), os.fdopen(os.dup(0))
# pyinfra may ask for a password of sudo: nobody is there, and it must not wait for the next run.
os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
for line in given:
    logging.getLogger("pyinfra").handlers.clear()  # each run brings its own
    sys.argv = ["pyinfra", *json.loads(line)]
    try:
        main()
        status: object = 0
    except SystemExit as error:
        status = error.code or 0
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os.write(ended, f"{status if isinstance(status, int) else 1}\n".encode())
