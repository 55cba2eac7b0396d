"""What is used of pyinfra beyond the interface that its pages describe: all of it is named here, and nowhere else.

pyproject.toml holds pyinfra to the releases that this was written for; `tests/roles/test_pyinfra_private.py` says what
a newer one has changed. (`roles/hardware/waiting.py` starts pyinfra's program, whose import must come before all
others.)
"""

from __future__ import annotations

import logging
import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import gevent
import pyinfra
from paramiko import SSHClient, SSHException
from pyinfra.api import FunctionCommand, StringCommand, operation
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host
from pyinfra.api.state import State
from pyinfra.connectors.util import clear_askpass_cache, make_unix_command_for_host
from pyinfra.context import ctx_host, ctx_state

# Arguments of an operation that say how pyinfra's own channel behaves, and nothing of the command line.
_OF_ITS_CHANNEL = ("_get_pty", "_timeout", "_stdin", "_success_exit_codes")
_WHERE_PROGRAMS_LIE = ("PATH", "LD_LIBRARY_PATH")


class Command(FunctionCommand):
    """A command of our own making: pyinfra calls `execute(state, host, connector_arguments)` of it."""

    def __init__(self) -> None:
        super().__init__(_nothing, (), {})

    def execute(self, state: State, host: Host, connector_arguments: Any) -> bool:
        """Carry it out; where that fails, what was said of it is all that is said."""
        if done := self.carry_out(state, host, connector_arguments):
            return done
        pyinfra.logger.addFilter(_last_words)
        _last_words.of.add(host.print_prefix)
        return False

    def carry_out(self, state: State, host: Host, connector_arguments: Any) -> bool:
        """False when it failed, after saying why."""
        raise NotImplementedError


class _LastWords(logging.Filter):
    """pyinfra ends what failed with "Error: executed 0 commands", which no one can do anything with."""

    _COUNT = re.compile(r"executed \d+ commands")

    def __init__(self) -> None:
        super().__init__()
        self.of: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """False for that line of a host whose command of ours failed."""
        text = record.getMessage()
        prefix = next((one for one in self.of if text.startswith(one)), None)
        if prefix is None or not self._COUNT.search(text):
            return True
        self.of.discard(prefix)
        return False


_last_words = _LastWords()


# The decorator of an operation whose command calls others, which pyinfra runs at once. Its own `python.call` is one,
# but has a greenlet of its own for each host: `takes_turns` would take that for a host that waits for others.
nesting = operation(_set_in_op=False)


def current_host() -> Host:
    """The host that a deploy or an operation runs for."""
    host: Host = ctx_host.get()
    return host


def has_host() -> bool:
    """Whether a deploy or an operation runs for a host here: what a rig lacks can be said without."""
    return bool(ctx_host.isset())


def data_of(host: Host, *keys: str) -> dict[str, Any]:
    """What the inventory says of a host under these keys; without those that it has not."""
    return {key: found for key in keys if (found := host.data.get(key)) is not None}


def current_state() -> State:
    """The run that the current host is part of."""
    state: State = ctx_state.get()
    return state


def hosts_of(state: State) -> Iterable[Host]:
    """The hosts of a run: those of `--limit`, or all."""
    return state.limit_hosts or list(state.inventory)


def fail(host: Host) -> None:
    """Take a host out of the run, which goes on for the others."""
    host.state.fail_hosts({host})


def failures_of(state: State) -> Iterator[tuple[Host, bool]]:
    """The hosts that failed, and whether each was reached at all."""
    for host in state.failed_hosts:
        yield host, host in state.activated_hosts


def say(lines: list[str]) -> None:
    """Lines that are about no single host."""
    for line in lines:
        pyinfra.logger.error(line)


def tell(line: str) -> None:
    """A line of what is done on this machine, before any host is asked."""
    pyinfra.logger.info(line)


def operations_executed(host: Host) -> int:
    """How many operations of this run, ours or others', have run commands on a host."""
    return sum(operation.operation_meta.executed for operation in host.state.ops[host].values())


def has_failed(host: Host) -> bool:
    """Whether a host is out of the run."""
    return host in host.state.failed_hosts


def every_host(state: State) -> list[Host]:
    """The hosts of the inventory, whatever --limit says."""
    return list(state.inventory)


def takes_turns(state: State) -> bool:
    """Whether hosts may wait for others to end an operation before they begin it: --serial, or more than PARALLEL."""
    return gevent.getcurrent() not in state.pool or len(state.active_hosts) > state.config.PARALLEL


def su_reads_password(host: Host) -> bool:
    """Whether commands of a host run by su, which reads a password first."""
    return bool(host.data.get("_su_password") and (host.data.get("_su_user") or host.state.config.SU_USER))


def shows_output(state: State) -> bool:
    """Whether the user wants to see what commands print: -v."""
    return bool(state.print_output)


def executes(state: State) -> bool:
    """Whether operations were carried out: with --dry they are only told."""
    return bool(state.is_executing)


def boot_id(host: Host) -> str | None:
    """The name of a machine's boot; None where it does not answer."""
    try:
        ok, output = host.run_shell_command(StringCommand("cat /proc/sys/kernel/random/boot_id"), _timeout=20)
    except (OSError, SSHException, EOFError, PyinfraError):
        return None
    return output.stdout.strip() if ok else None


def disconnect(host: Host) -> None:
    """End the connection to a machine that goes away."""
    clear_askpass_cache(host)
    with suppress(OSError, SSHException, EOFError, PyinfraError):
        host.disconnect()


def connect_again(host: Host) -> bool:
    """Whether a connection could be made."""
    with suppress(OSError, SSHException, EOFError, PyinfraError):
        host.connect(show_errors=False, raise_exceptions=False)
    return bool(host.connected)


def ssh_client(host: Host) -> SSHClient | None:
    """The connection to a host; None where it has no SSH: other connectors have no channels."""
    client = getattr(host.connector, "client", None)
    return client if isinstance(client, SSHClient) else None


def shell_line(state: State, host: Host, text: str, arguments: dict[str, Any]) -> str:
    """`text` in sh with an operation's sudo: the line for the rig's login shell. Every user of the rig can read it.

    So the operation's environment is not in it: `exports` has that.
    """
    plain = {key: value for key, value in arguments.items() if key not in (*_OF_ITS_CHANNEL, "_env")}
    return str(make_unix_command_for_host(state, host, StringCommand(text), **plain).get_raw_value())


def exports(arguments: Mapping[str, Any]) -> str:
    """An operation's environment, `_env`, as lines of shell."""
    return "".join(f"export {shlex.quote(f'{key}={value}')}\n" for key, value in (arguments.get("_env") or {}).items())


def seen_environment(host: Host) -> dict[str, dict[str, str]]:
    """Arguments of a fact that take all of the environment off the line that it is asked by, but where programs lie.

    pyinfra writes `_env` into the command line, and a proxy or a token in it may be a secret; a question needs neither.
    """
    config = host.state.config
    named = {**dict.fromkeys(config.INHERIT_ENV), **config.ENV, **(host.data.get("_env") or {})}
    return {"_env": {key: str(value) if key in _WHERE_PROGRAMS_LIE else "" for key, value in named.items()}}


def inventory_argument() -> str | None:
    """The inventory that pyinfra was started with; None where it was not started from its command line.

    pyinfra 3.10 tells deploys nothing of it, so its own parser reads the command line once more.
    """
    if not getattr(pyinfra, "is_cli", False):
        return None
    from pyinfra_cli.cli import cli  # type: ignore[import-untyped]  # it comes without types

    context = cli.make_context("pyinfra", sys.argv[1:], resilient_parsing=True)
    found: str | None = context.params.get("inventory")
    return found


def told_data(host: Host) -> list[str]:
    """The keys that `--data` gave on the command line, but for those of pyinfra's own connector."""
    return [key for key in host.inventory.get_override_data() if key not in host.connector.data_meta]


def colour_diff(before: list[str], after: list[str]) -> Iterator[str]:
    """The lines of a difference, as pyinfra's own operations show them."""
    from pyinfra.operations.util.files import generate_color_diff  # costs 16 ms, seldom wanted

    yield from generate_color_diff(before, after)


def _nothing() -> None:
    """FunctionCommand wants a function; commands of ours override execute instead."""
