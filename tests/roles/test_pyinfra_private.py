"""What we use of pyinfra beyond its interface is still there; where it is not, the failing test says what broke."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pyinfra
import pytest
from packaging.requirements import Requirement
from pyinfra.api import Config, FunctionCommand, StringCommand
from pyinfra.api.host import Host
from pyinfra.api.operation import OperationMeta
from pyinfra.api.state import State
from pyinfra.connectors.ssh import SSHConnector

ROOT = Path(__file__).parents[2]
ADAPTER = ROOT / "roles/base/pyinfra_private.py"
# What pyinfra's pages describe: operations, facts, deploys, the values they are given, the errors they raise.
# Source: docs.pyinfra.com, "API reference", "Writing operations", "Writing facts", version 3.x.
INTERFACE = re.compile(
    r"pyinfra|pyinfra\.api(\.(host|state|deploy|operation|exceptions|command))?|pyinfra\.(facts|operations)"
)
# Its import comes before all others, see there.
PROGRAM = (ROOT / "roles/hardware/waiting.py", "pyinfra_cli.main")
PRIVATE = ("fail_hosts", "limit_hosts", "print_output", "operation_meta", "get_raw_value", "is_cli", "connector")


def parameters(function: object) -> list[str]:
    return list(inspect.signature(function).parameters)  # type: ignore[arg-type]


def attributes(kind: type) -> set[str]:
    """Names of a class: of its body, its annotations, and what its methods set on self."""
    source = inspect.getsource(kind)
    return {*dir(kind), *re.findall(r"self\.(\w+)\b[^=\n]*=", source), *getattr(kind, "__annotations__", {})}


def test_pyinfra_is_the_release_that_this_was_written_for():
    """The bound in pyproject.toml leaves no other in; raise it only with this file green."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    bound = next(Requirement(line) for line in declared if line.startswith("pyinfra"))
    assert bound.specifier.contains(version("pyinfra"))
    assert not bound.specifier.contains("3.11.0"), "a minor release may change what is private"


def test_commands_of_our_own_are_executed():
    """`FunctionCommand(function, args, kwargs)` is what pyinfra executes; `Script` and `Upload` override that."""
    assert parameters(FunctionCommand.__init__)[:4] == ["self", "function", "args", "func_kwargs"], "Command broke"
    wanted = ["self", "state", "host", "connector_arguments"]
    assert parameters(FunctionCommand.execute) == wanted, "Script.execute and Upload.execute are called otherwise"
    run = inspect.getsource(importlib.import_module("pyinfra.api.operations"))
    assert "isinstance(command, FunctionCommand)" in run, "pyinfra no longer tells our commands from its own"


def test_command_line_is_made_as_pyinfra_makes_it():
    """sudo, su, doas and the environment of an operation come into a line that we send over our own channel."""
    util = importlib.import_module("pyinfra.connectors.util")
    assert parameters(util.make_unix_command_for_host)[:3] == ["state", "host", "command"], "shell_line broke"
    assert StringCommand("true").get_raw_value() == "true", "shell_line broke"
    arguments = parameters(util.extract_control_arguments) and inspect.getsource(util.extract_control_arguments)
    config = Config()
    assert not config.ENV and not config.INHERIT_ENV, "seen_environment broke: what a fact's line holds is not known"
    for name in ("_get_pty", "_timeout", "_stdin", "_success_exit_codes"):
        assert name in arguments, f"{name} is no argument of pyinfra's channel any more: shell_line leaves it out"


def test_ssh_connection_can_be_had():
    """The paramiko client of a connected host is `host.connector.client`."""
    assert "client" in attributes(SSHConnector), "ssh_client finds no connection: every script runs without progress"
    assert "connector" in attributes(Host), "ssh_client broke"


def test_run_can_be_looked_at():
    """Hosts of a run, hosts that are taken out of it, what was executed, what is shown."""
    for name in ("fail_hosts", "limit_hosts", "print_output", "ops", "inventory"):
        assert name in attributes(State), f"state.{name} is gone: see pyinfra_private.py"
    assert parameters(State.fail_hosts)[:2] == ["self", "hosts_to_fail"], "fail broke"
    assert "executed" in attributes(OperationMeta), "operations_executed broke: what is known of a rig is not forgotten"
    data = importlib.import_module("pyinfra.api.state").StateOperationHostData
    assert "operation_meta" in attributes(data), "operations_executed broke"
    context = importlib.import_module("pyinfra.context")
    assert callable(context.ctx_host.get) and callable(context.ctx_state.get), "current_host, current_state broke"


def test_inventory_can_be_found_on_the_command_line():
    """pyinfra's own parser gives the argument `inventory`, and `pyinfra.is_cli` says that there is a command line."""
    # Read, not imported: it patches the sockets of the process that imports it.
    program = Path(pyinfra.__file__).parents[1] / "pyinfra_cli"
    main = "".join((program / name).read_text() for name in ("main.py", "cli.py"))
    assert "is_cli" in main, "inventory_argument finds no inventory: locks beside it are not read"
    names = re.findall(r'@click\.argument\("(\w+)"', main)
    assert "inventory" in names, "inventory_argument broke"


def test_data_of_the_command_line_is_told_apart():
    """`--data` is the inventory's override; what a connector takes is in its `data_meta`."""
    inventory = importlib.import_module("pyinfra.api.inventory").Inventory
    assert "get_override_data" in attributes(inventory), "told_data broke: a misspelt --data is not refused"
    assert "ssh_port" in SSHConnector.data_meta, "told_data broke"


def test_difference_is_shown_as_pyinfra_shows_it():
    """Two lists of lines become coloured lines."""
    from rigwright.roles.base.pyinfra_private import colour_diff

    shown = "\n".join(colour_diff(["a"], ["b"]))
    assert "- a" in shown and "+ b" in shown, "colour_diff broke"


@pytest.mark.parametrize("path", sorted((ROOT / "roles").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_privates_are_named_in_one_place(path: Path):
    """No other module of the roles imports or touches what pyinfra's pages do not describe."""
    if path == ADAPTER:
        return
    tree = ast.parse(path.read_text())
    imported = [
        name
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
        if name.startswith("pyinfra")
    ]
    foreign = [name for name in imported if not INTERFACE.fullmatch(name) and (path, name) != PROGRAM]
    touched = [node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr in PRIVATE]
    assert not foreign and not touched, f"belongs into {ADAPTER.relative_to(ROOT)}"
