"""What to do with a plan of a machine that no inventory names: the inventory that asks for it."""

from __future__ import annotations

import json
from collections.abc import Mapping

from rich.console import Console
from rich.text import Text

from rigwright.plan.service import ServicePlan

# What a deploy can serve with on every machine that it goes to.
_DEPLOYED = "llamacpp"


def show_next(console: Console, service: Mapping[str, object], plan: ServicePlan) -> None:
    """Print an inventory that wishes `service`, in the form of pyinfra, and the command that plans it."""
    if plan.not_deployed and "engine" not in service and plan.engine != _DEPLOYED:
        console.print(Text(f"for one that can be deployed today, add --engine {_DEPLOYED}"), highlight=False)
    console.print(Text.assemble(("to have it", "bold"), ", write rig.py with your rig's address:"), highlight=False)
    for line in inventory_of(service):
        console.print(Text(f"  {line}"), highlight=False, soft_wrap=True)
    console.print(Text("then: rigwright plan rig.py"), highlight=False)


def inventory_of(service: Mapping[str, object]) -> tuple[str, ...]:
    """The lines of an inventory with one rig. Words and numbers are in JSON as they are in Python."""
    return (
        "rigs = (",
        '    [("rig1", {"ssh_hostname": "192.168.1.50", "ssh_user": "root"})],',
        f'    {{"rig": {{"services": [{json.dumps(service)}]}}}},',
        ")",
    )
