"""Runs a program's inputs by their seeds, many side by side: what headers.py, records.py and recordings.py share."""

from __future__ import annotations

import argparse
import os
import resource
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import click

# Of addresses, of which Python with its libraries takes a third.
LIMIT_BYTES = 1 << 30
LIMIT_SECONDS = 5.0
_CHUNK = 250


class Fuzz(NamedTuple):
    """What is damaged, and who reads it.

    prepare: what the inputs are made of, once in each process, before its memory is limited. damaged: the input of a
    seed, and what was done to it, as `where:mutation` or `mutation`. read: how it ended, in a word, and what is wrong
    with that; whatever it raises is wrong too.
    """

    what: str
    prepare: Callable[[], Any]
    damaged: Callable[[int], tuple[Any, list[str]]]
    read: Callable[[Any], tuple[str, str | None]]


def main(fuzz: Fuzz, description: str | None, *, count: int = 10_000) -> int:
    """The command line; 1 when an input did harm."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=count, help="how many inputs")
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    wish = parser.parse_args()
    began, end = time.monotonic(), wish.seed + wish.count
    chunks = [range(at, min(at + _CHUNK, end)) for at in range(wish.seed, end, _CHUNK)]
    counts: Counter[str] = Counter()
    failures = most = 0
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for done, wrong, kibibytes in pool.map(partial(try_seeds, fuzz), chunks):
            counts += done
            failures += len(wrong)
            most = max(most, kibibytes)
            for line in wrong:
                click.echo(line, err=True)
    lines = ", ".join(f"{count} {name}" for name, count in counts.most_common())
    seconds = time.monotonic() - began
    click.echo(f"{wish.count} {fuzz.what} in {seconds:.0f} s, {most >> 10} MiB, {failures} failures; {lines}")
    return bool(failures)


def try_seeds(fuzz: Fuzz, seeds: range) -> tuple[Counter[str], list[str], int]:
    """Many seeds in one process: what was done and how it ended, all failures, and the most memory of the process."""
    fuzz.prepare()
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES))
    counts: Counter[str] = Counter()
    failures = []
    for seed in seeds:
        given, done = fuzz.damaged(seed)
        began, outcome = time.process_time(), ""
        try:
            outcome, wrong = fuzz.read(given)
        except BaseException as error:  # noqa: BLE001  any exception, MemoryError too, is the finding
            wrong = f"{type(error).__name__}: {str(error)[:200]}"
        seconds = time.process_time() - began
        if seconds > LIMIT_SECONDS:
            wrong = f"took {seconds:.1f} s"
        counts.update([*filter(None, [outcome]), *(entry.rpartition(":")[2] for entry in done)])
        if wrong:
            failures.append(f"seed {seed}: {', '.join(done)}: {wrong}")
    return counts, failures, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
