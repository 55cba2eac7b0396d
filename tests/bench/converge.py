"""`make bench-converge`: what a run costs that changes nothing, ours against Ansible, eight rigs against one.

Both sides look after the same things; playbook.yml lists them. They alternate in one run, and a run that changes
something ends the benchmark.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from compileall import compile_dir
from dataclasses import asdict, replace
from pathlib import Path

import click
from contenders import MODEL, ROOT, Contender, Sample, ansible, converge, ours
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from ssh_counter import SshCounter

from rigwright.lab import Lab, RigWish
from rigwright.lab.tiny_model import write_tiny_model

SNAPSHOT = "bench"
FIRST = "rig1"
# Ansible's modules want both on the rig; our side wants a shell.
PYTHON = """python3 -c 'import apt' 2>/dev/null && exit
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update && apt-get -qq install -y --no-install-recommends python3 python3-apt"""

Samples = dict[str, list[Sample]]
# A file or a CI log has no width; the tables want this much.
console = Console(highlight=False, width=None if sys.stdout.isatty() else 100)


@click.command()
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="Counted runs of each, after one.")
@click.option("--rigs", type=click.IntRange(1, 64), default=8, show_default=True, help="Compare so many rigs with one.")
@click.option("--json", "target", type=click.Path(path_type=Path), help="Write every sample to this file.")
@click.option("--keep", is_flag=True, help="Leave the rigs up.")
def main(rounds: int, rigs: int, target: Path | None, keep: bool) -> None:
    """Measure runs without changes on rigs of a lab called `bench`."""
    lab = Lab("bench", say=console.print)
    result: dict[str, object] = {"rounds": rounds, "rigs": rigs, "cpus": os.cpu_count()}
    try:
        _make_first(lab)
        result["load_one"] = os.getloadavg()
        one = _against_ansible(lab, rounds)
        result["one"] = _plain(one)
        _print_one(one)
        if rigs > 1:
            _make_others(lab, rigs)
            result["load_many"] = os.getloadavg()
            many = alternate(
                [replace(ours(lab, limit=FIRST), name="1 rig"), replace(ours(lab), name=f"{rigs} rigs")], rounds
            )
            result["many"] = _plain(many)
            _print_many(many, rigs)
    finally:
        if not keep:
            lab.down()
    if target:
        target.write_text(json.dumps(result, indent=1) + "\n")


def alternate(contenders: Sequence[Contender], rounds: int, count: Callable[[], int] | None = None) -> Samples:
    """A B A B: each once to warm up, then `rounds` counted times.

    Args:
        count: tells the SSH commands since it was last called.
    """
    samples: Samples = {contender.name: [] for contender in contenders}
    for number in range(rounds + 1):
        for contender in contenders:
            if count:
                count()
            sample = contender.run_unchanged()
            if number:
                samples[contender.name].append(replace(sample, ssh_commands=count() if count else None))
        console.print(f"round {number} of {rounds}" if number else "warm", style="dim")
    return samples


def _make_first(lab: Lab) -> None:
    """One rig, converged, with the Python that Ansible wants; its disk is kept for the next time and for more rigs."""
    if not MODEL.exists():
        MODEL.parent.mkdir(exist_ok=True)
        write_tiny_model(MODEL)
    # pip does this when it installs, Ansible too; pyinfra forbids Python to do it later, and a checkout has none.
    compile_dir(ROOT / "rigwright", quiet=1)
    compile_dir(ROOT / "roles", quiet=1)
    lab.down([name for name in lab.names() if name != FIRST])
    had = lab.has_snapshot(SNAPSHOT)
    lab.up([_wish(lab, FIRST, SNAPSHOT if had else None)])
    lab.exec(FIRST, ["sh", "-c", PYTHON])
    console.print("deploying, until nothing is left to do")
    if converge(lab) or not had:
        lab.snapshot(FIRST, SNAPSHOT)
        converge(lab)


def _make_others(lab: Lab, rigs: int) -> None:
    console.print(f"booting {rigs - 1} more rigs from the first one's disk")
    lab.up([_wish(lab, f"rig{number}", SNAPSHOT) for number in range(2, rigs + 1)])
    converge(lab)


def _wish(lab: Lab, name: str, snapshot: str | None) -> RigWish:
    """A rig that is there already stays as it is."""
    return RigWish(name, from_snapshot=None if name in lab.names() else snapshot)


def _against_ansible(lab: Lab, rounds: int) -> Samples:
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch, SshCounter(lab, FIRST) as counter:
        sides = [ours(lab), ours(lab, is_confirmed=True), ansible(lab, FIRST, Path(scratch))]
        return alternate(sides, rounds, counter.take)


def _wall(samples: Sequence[Sample]) -> float:
    return statistics.median(sample.wall_seconds for sample in samples)


def _cpu(samples: Sequence[Sample]) -> float:
    return statistics.median(sample.cpu_seconds for sample in samples)


def _print_one(samples: Samples) -> None:
    table = _table("One rig", "over SSH", "to Ansible")
    ansible_wall = _wall(samples["ansible-playbook"])
    for name, runs in samples.items():
        counts = sorted({run.ssh_commands for run in runs if run.ssh_commands is not None})
        table.add_row(name, *_cells(runs), " or ".join(map(str, counts)), f"1 : {ansible_wall / _wall(runs):.1f}")
    console.print(table)


def _print_many(samples: Samples, rigs: int) -> None:
    table = _table(f"{rigs} rigs, rigwright -y")
    for name, runs in samples.items():
        table.add_row(name, *_cells(runs))
    console.print(table)
    one, many = samples.values()
    further = (_cpu(many) - _cpu(one)) / (rigs - 1)
    console.print(f"wall × {_wall(many) / _wall(one):.2f}, {further:.3f} s of controller CPU for each further rig")


def _table(title: str, *further: str) -> Table:
    table = Table(title=f"{title}, nothing to change; medians; the controller's CPU", title_justify="left", box=SIMPLE)
    table.add_column("", no_wrap=True)
    for column in ("wall", "min to max", "CPU", *further):
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _cells(runs: Sequence[Sample]) -> tuple[str, str, str]:
    walls = [run.wall_seconds for run in runs]
    return f"{_wall(runs):.2f} s", f"{min(walls):.2f} to {max(walls):.2f}", f"{_cpu(runs):.2f} s"


def _plain(samples: Samples) -> dict[str, object]:
    return {name: [asdict(run) for run in runs] for name, runs in samples.items()}


if __name__ == "__main__":
    main()
