"""One run of pyinfra over rigs of its fake connector, and what it did and said."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import click
import pyinfra
from pyinfra.api import Config, Inventory, State
from pyinfra.api.connect import connect_all
from pyinfra.api.deploy import add_deploy
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.operations import run_ops
from pyinfra.api.state import StateStage

from .machine import Connector, Machine


@dataclass
class Run:
    """One run of a deploy over some rigs: `said` is what pyinfra logged, by stage."""

    state: State
    said: dict[StateStage, list[str]]
    failed: set[str]

    def changed(self, rig: str = "rig1") -> list[str]:
        """The operations that did something on a rig, in the order in which they ran."""
        done = [(meta, self._of(rig).get(meta)) for meta in self.state.get_op_order()]
        return [self._name(key) for key, op in done if op and op.operation_meta.is_complete() and _did(op)]

    def would_change(self, rig: str = "rig1") -> list[str]:
        """The operations that a dry run says would do something."""
        return [self._name(key) for key, op in self._of(rig).items() if op.operation_meta.will_change]

    def commands(self, rig: str = "rig1") -> list[str]:
        """All commands that ran on a rig, questions too."""
        found: list[str] = self._host(rig).connector.executed_commands
        return found

    def lines(self, rig: str = "rig1", stage: StateStage | None = None) -> list[str]:
        """What was said of a rig."""
        stages = [stage] if stage is not None else list(self.said)
        mark = f"[@fake/{rig}]"
        return [
            line.removeprefix(mark).strip() for at in stages for line in self.said.get(at, []) if line.startswith(mark)
        ]

    def _host(self, rig: str) -> Any:
        return self.state.inventory.get_host(f"@fake/{rig}")

    def _of(self, rig: str) -> dict[str, Any]:
        return self.state.ops[self._host(rig)]

    def _name(self, key: str) -> str:
        return str(next(iter(self.state.get_op_meta(key).names))).removeprefix("Serve | ")


def _did(op: Any) -> bool:
    return bool(op.operation_meta.did_change() or op.operation_meta.did_error())


class _Said(logging.Handler):
    def __init__(self, state: State) -> None:
        super().__init__()
        self.state, self.lines = state, dict[StateStage, list[str]]()

    def emit(self, record: logging.LogRecord) -> None:
        lines = click.unstyle(record.getMessage()).splitlines()
        self.lines.setdefault(self.state.current_stage, []).extend(lines)


def run_deploy(
    hosts: Sequence[tuple[str, dict[str, Any]]],
    machines: Sequence[Machine],
    deploy: Callable[[], None],
    *,
    dry: bool = False,
    data: dict[str, Any] | None = None,
    load: Callable[[State, Callable[[], None]], None] = add_deploy,
) -> Run:
    """Run a deploy as `pyinfra -y` does, or as a dry run, on hosts called `@fake/rig1` and so on, with `--data`."""
    inventory = Inventory((hosts, {}), override_data=data)
    for host, machine in zip(inventory, machines, strict=True):
        host.connector_cls = partial(Connector, machine)  # pyinfra copies what is in a host's data
    state = State(inventory, Config(), check_for_changes=dry)
    said = _Said(state)
    pyinfra.logger.addHandler(said)
    level = pyinfra.logger.level
    pyinfra.logger.setLevel(logging.INFO)
    try:
        state.set_stage(StateStage.Connect)
        connect_all(state)
        state.set_stage(StateStage.Prepare)
        load(state, deploy)
        if not dry:
            state.set_stage(StateStage.Execute)
            run_ops(state)
    except PyinfraError as error:
        if str(error) != "No hosts remaining!":
            raise
    finally:
        pyinfra.logger.removeHandler(said)
        pyinfra.logger.setLevel(level)
    return Run(state, said.lines, {host.name.removeprefix("@fake/") for host in state.failed_hosts})
