"""The checks of several rigs at the same time: a process for each rig, forked when all is imported and collected."""

from __future__ import annotations

import ast
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from selectors import EVENT_READ, DefaultSelector
from typing import BinaryIO

import pytest
from _pytest.runner import runtestprotocol

# Rigs that are checked at once: each waits for its answers most of the time.
_AT_ONCE = 16


@dataclass
class _Worker:
    """The process of a rig, and the checks that it has not reported."""

    pid: int
    said: BinaryIO
    waiting: list[pytest.Item]
    rest: bytes = field(default=b"")
    has_ended: bool = False


def run(
    session: pytest.Session,
    groups: Sequence[Sequence[pytest.Item]],
    *,
    ended: Callable[[pytest.Item], pytest.TestReport],
) -> None:
    """Run each group of checks in a process of its own; their reports come in as if they had run here.

    `ended` is the report of a check whose process ended before it.
    """
    left, workers = [list(group) for group in groups], DefaultSelector()
    try:
        while left or workers.get_map():
            while left and len(workers.get_map()) < _AT_ONCE:
                worker = _start(session, left.pop(0))
                workers.register(worker.said, EVENT_READ, worker)
            for key, _ in workers.select():
                worker = key.data
                for item, reports in _read(worker, ended):
                    _tell(item, reports)
                if worker.has_ended:
                    # In this order: processes that were forked later have the pipe too, and epoll would tell of its end
                    # again and again.
                    workers.unregister(worker.said)
                    worker.said.close()
    finally:
        for key in workers.get_map().values():
            os.kill(key.data.pid, 15)


def _start(session: pytest.Session, items: list[pytest.Item]) -> _Worker:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        return _Worker(pid, os.fdopen(reader, "rb", buffering=0), items)
    os.close(reader)
    status = 1
    try:
        with os.fdopen(writer, "wb") as out:
            for item, following in zip(items, [*items[1:], None], strict=True):
                reports = runtestprotocol(item, log=False, nextitem=following)
                hook = session.config.hook.pytest_report_to_serializable
                rows = [hook(config=session.config, report=report) for report in reports]
                out.write(f"{rows!r}\n".encode())  # not JSON: it knows no tuples
                out.flush()
        status = 0
    finally:
        # Nothing of the parent's is cleaned up here.
        os._exit(status)


def _read(
    worker: _Worker, ended: Callable[[pytest.Item], pytest.TestReport]
) -> Iterator[tuple[pytest.Item, list[pytest.TestReport]]]:
    """What a process has reported since; when it ended early, the rest of its checks failed."""
    chunk = os.read(worker.said.fileno(), 1 << 20)
    worker.rest += chunk
    *lines, worker.rest = worker.rest.split(b"\n")
    for line in lines:
        item = worker.waiting.pop(0)
        hook = item.config.hook.pytest_report_from_serializable
        yield item, [hook(config=item.config, data=row) for row in ast.literal_eval(line.decode())]
    if chunk:
        return
    worker.has_ended = True
    os.waitpid(worker.pid, 0)
    for item in worker.waiting:
        yield item, [ended(item)]


def _tell(item: pytest.Item, reports: list[pytest.TestReport]) -> None:
    hook = item.ihook
    hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in reports:
        hook.pytest_runtest_logreport(report=report)
    hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
