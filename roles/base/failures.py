"""Failures of rigs: said in red where they happen, and once more where a run of several rigs ends."""

from __future__ import annotations

import atexit
from collections.abc import Iterator
from weakref import WeakKeyDictionary, ref

from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host
from pyinfra.api.state import State

from rigwright.errors import WrongSpec
from rigwright.roles.base.pyinfra_private import executes, fail, failures_of, hosts_of, say

_reasons: WeakKeyDictionary[Host, str] = WeakKeyDictionary()
_notes: WeakKeyDictionary[Host, str] = WeakKeyDictionary()
_closed: WeakKeyDictionary[State, bool] = WeakKeyDictionary()


class WrongInventory(WrongSpec, PyinfraError):
    """What stops a run before any rig is touched, in the form that pyinfra prints as a line."""


def complain(host: Host, *lines: str) -> None:
    """Say why something failed on a rig; the first line of the last failure is its reason where the run ends."""
    for line in lines:
        host.log_styled(line, fg="red")
    if lines:
        _reasons[host] = lines[0]


def remember(host: Host, line: str) -> None:
    """What a rig still wants when the run ends, though nothing failed; an empty line takes that back."""
    _notes[host] = line


def give_up(host: Host, *lines: str) -> None:
    """Say why, and take the rig out of the run."""
    complain(host, *lines)
    fail(host)


def close_with_failures(state: State) -> None:
    """Have the rigs that failed listed at the end: pyinfra's table leaves out those that it could not reach."""
    if not _closed.setdefault(state, False):
        _closed[state] = True
        atexit.register(_tell, ref(state))


def _tell(run: ref[State]) -> None:
    if state := run():
        say(list(summary(state)))
        if executes(state):
            say([f"{host.name}: {line}" for host in hosts_of(state) if (line := _notes.get(host))])


def summary(state: State) -> Iterator[str]:
    """A line for each rig that failed, with its reason; none where one rig was all there is."""
    hosts, lines = list(hosts_of(state)), []
    for host, was_reached in failures_of(state):
        reason = _reasons.get(host, "see above") if was_reached else "could not be reached, see above"
        lines.append(f"  {host.name}: {reason}")
    if lines and len(hosts) > 1:
        yield f"{len(lines)} of {len(hosts)} rigs failed:"
        yield from sorted(lines)
