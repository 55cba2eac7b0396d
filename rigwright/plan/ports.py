"""The ports of a service: that of its wish, and for further copies the next ones that nobody has."""

from __future__ import annotations

from itertools import chain, islice

from rigwright.plan.choice import Choice


def ports_of(choice: Choice, taken: set[int]) -> list[int]:
    """The port of the service, then for its other copies the next ones that nobody has yet; `taken` grows."""
    first = choice.wish.port
    free = (port for port in chain(range(first + 1, 65536), range(1024, first)) if port not in taken)
    ports = [first, *islice(free, len(choice.replicas) - 1)]
    taken.update(ports)
    return ports
