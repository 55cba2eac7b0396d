"""The plan of a driver on a terminal: one screen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rigwright.hardware.values import Hardware
from rigwright.plan.driver import DriverPlan, PowerSetting, Step
from rigwright.units import format_bytes
from rigwright.view.hardware_table import head
from rigwright.view.hardware_words import clean

_VERDICTS = {
    "ok": ("nothing to do", "bold green"),
    "install": ("install", "bold cyan"),
    "repair": ("repair", "bold yellow"),
    "reboot": ("reboot", "bold yellow"),
    "refuse": ("REFUSED: nothing is touched", "bold red"),
}
_ONLY_POWER = ("the driver stays, power limits are set", "bold cyan")
_SOURCES = {
    "nvidia": "NVIDIA's repository",
    "distro": "the distribution's packages",
    "redhat": "Red Hat's signed packages",
    "factory": "the maker's own, left alone",
    "host": "that of the host",
    "none": "",
}
# Nothing stops for these, and a rig may go down by them.
_GRAVE = frozenset(("supply_too_small",))
_TOOLKITS = {"nvidia": "NVIDIA's repository", "distro": "the distribution", "pypi": "PyPI, without root", "none": ""}


def show(console: Console, name: str, hardware: Hardware, plan: DriverPlan, *, others: Sequence[str] = ()) -> None:
    """Print what one rig needs; `others` are rigs of which the same is true."""
    for line in head(name, hardware, others=others):
        console.print(line)
    console.print(_grid([(f"  {title}", text) for title, text in _facts(plan)], widths=(12,)))
    if plan.steps:
        rows = [(f"  {number:>2}.", Text(step.kind, "cyan"), _what(step)) for number, step in enumerate(plan.steps, 1)]
        console.print("", _grid(rows, widths=(6, 18)), sep="\n")
    refused = [one for one in plan.problems if one.code in plan.refused]
    for problem in (*refused, *(one for one in plan.problems if one not in refused)):
        style = "bold red" if problem in refused or problem.code in _GRAVE else "yellow"
        console.print("", Text.assemble(("! ", style), clean(f"{problem.where}: {problem.what}")), sep="\n")
        console.print(_grid([("  ", Text.assemble(clean(problem.do), (f"  [{problem.code}]", "dim")))], widths=(2,)))
    if plan.assumed:
        console.print("", _grid([("  ?", line) for line in plan.assumed], widths=(4,)), sep="\n")
    console.print()


def _grid(rows: Iterable[Sequence[str | Text]], *, widths: Sequence[int]) -> Table:
    """Columns of fixed widths, and a last one that takes the rest, so that long lines hang."""
    table = Table.grid()
    for width in widths:
        table.add_column(width=width)
    table.add_column(overflow="fold")
    for row in rows:
        # Names of packages and kernels come from the machine.
        *heads, last = row
        table.add_row(*heads, Text(clean(last)) if isinstance(last, str) else last)
    return table


def _facts(plan: DriverPlan) -> Iterator[tuple[str, str | Text]]:
    driver, cuda = plan.driver, plan.cuda
    yield "verdict", Text(*(_ONLY_POWER if plan.verdict == "ok" and plan.steps else _VERDICTS[plan.verdict]))
    if driver.branch or driver.version:
        modules = f", {driver.modules} modules" if driver.modules != "none" else ""
        source = f", {_SOURCES[driver.source]}" if _SOURCES[driver.source] else ""
        yield "driver", f"{driver.version or driver.branch}{modules}{source}"
    if cuda.version:
        where = cuda.path or _TOOLKITS[cuda.source]
        yield "CUDA", f"{cuda.version} for {', '.join(f'sm_{one}' for one in cuda.targets)}, {where}"
    for place, reason in enumerate(plan.reasons):
        yield "because" if place == 0 else "", reason
    if plan.download_bytes:
        yield "fetches", f"about {format_bytes(plan.download_bytes)}, {format_bytes(plan.disk_bytes)} on the disk"
    if plan.verdict != "refuse" and plan.steps:
        yield "reboot", f"yes: {plan.reboot_because}" if plan.reboot else "no"
    for place, (words, several) in enumerate(groupby(plan.power, key=_limits)):
        yield "power" if place == 0 else "", f"{words}: {', '.join(one.gpu for one in several)}"
    if plan.held:
        yield "held", ", ".join(plan.held)


def _limits(setting: PowerSetting) -> str:
    """`280 W (now 350 W), 210 to 1700 MHz`."""
    now = f" (now {setting.current_watts:g} W)" if setting.current_watts and not setting.is_set else ""
    watts = [f"{setting.watts} W{now}"] if setting.watts else []
    clocks = [f"{setting.clocks_mhz[0]} to {setting.clocks_mhz[1]} MHz"] if setting.clocks_mhz else []
    return ", ".join([*watts, *clocks])


def _what(step: Step) -> str:
    return f"{step.what}: {' '.join(step.packages)}" if step.packages else step.what
