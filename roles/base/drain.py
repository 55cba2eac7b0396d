"""The wait for requests before a running instance stops: what drain.sh knows of each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from rigwright.plan.wish import DRAIN_SECONDS
from rigwright.records.reading import base_url
from rigwright.records.values import Deployed

_WORK = re.compile(r"/[\w/.?=&%-]*")
_BUSY = re.compile(r"[ -~]+")
# An engine that waits for requests by itself is given longer than this to stop; of others nobody waits for what hangs.
_LETS_REQUESTS_END_SECONDS, _LET_GO_SECONDS = 10, 3


def drains(instances: Iterable[Deployed], wished: Mapping[str, int] | int | None = None) -> str:
    """$DRAINS of drain.sh: a line for each instance.

    Args:
        instances: As they run.
        wished: The seconds of each service as an inventory has them now, or those for all; by default what their
            records say.
    """
    return "\n".join(line for one in instances if (line := _line(one, wished)))


def _line(one: Deployed, wished: Mapping[str, int] | int | None) -> str:
    record = one.record
    if record is None or record.port is None:
        return ""
    seconds = wished.get(one.service) if isinstance(wished, Mapping) else wished
    if seconds is None:
        seconds = DRAIN_SECONDS if record.drain_seconds is None else record.drain_seconds
    work, url = record.work, base_url(record.host, record.port)
    tells = work is not None and _WORK.fullmatch(work.path) and _BUSY.fullmatch(work.busy)
    told = f"{url}{work.path} {work.busy}" if work and tells else "- -"
    return f"{one.unit_name} {seconds} {record.port} {record.health} {told}"


def let_go_seconds(unit: str) -> int:
    """How long what runs by a unit may take to end while a deploy waits for it."""
    found = re.search(r"^TimeoutStopSec=(\d{1,4})$", unit, re.MULTILINE)
    seconds = int(found[1]) if found else 0
    return seconds if seconds > _LETS_REQUESTS_END_SECONDS else _LET_GO_SECONDS
