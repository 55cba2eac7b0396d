"""The way back: the release and the unit that each service had before, in seconds."""

from __future__ import annotations

from pyinfra.api.deploy import deploy as pyinfra_deploy

from rigwright.roles.base.facts import current_host
from rigwright.roles.llamacpp import operations as llamacpp
from rigwright.roles.llamacpp.brief import current_brief


@pyinfra_deploy("llama.cpp rollback")
def rollback() -> None:
    """Every service of the inventory runs again what it ran before; a second time brings back the newer one."""
    brief, host = current_brief(), current_host()
    for wish in host.loop(brief.spec.services):
        llamacpp.rollback(brief.probe, wish, name=f"Bring back the earlier release of {wish.name}")
