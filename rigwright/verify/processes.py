"""The processes of a service: an engine may leave its work to programs that it starts."""

from __future__ import annotations

from typing import Any


def processes_of(host: Any, pid: int) -> set[int]:
    """A process of a testinfra host, and all that it started, and those."""
    rows = host.check_output("grep -sH '^PPid:' /proc/[0-9]*/status || :").splitlines()
    parents = {int(row.split("/")[2]): int(row.split()[-1]) for row in rows}
    found = [pid]
    for parent in found:
        found += [child for child, above in parents.items() if above == parent]
    return set(found)
