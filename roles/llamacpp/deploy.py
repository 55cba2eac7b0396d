"""The order of the changes: ground, weights, build, services."""

from __future__ import annotations

import gc

from pyinfra.api.deploy import deploy as pyinfra_deploy

from rigwright.errors import RigwrightError
from rigwright.roles.base import operations as base
from rigwright.roles.base.facts import current_host, rig_state
from rigwright.roles.llamacpp import operations as llamacpp
from rigwright.roles.llamacpp.announce import announce
from rigwright.roles.llamacpp.brief import current_brief
from rigwright.roles.llamacpp.plan import check_lock, settled
from rigwright.roles.llamacpp.preflight import preflight
from rigwright.roles.weights.operations import weights


@pyinfra_deploy("llama.cpp")
def deploy() -> None:
    """Serve what the inventory's `rig` data wishes, with llama.cpp.

    Raises:
        WrongInventory: before any rig is touched.
    """
    brief, host = current_brief(), current_host()
    probe = brief.probe
    # Only what no operation changes is read here: the distribution and the hardware.
    rig = rig_state(probe)
    if rig is None:
        host.log_styled(
            "its state could not be read: commands must run as root; check the user's sudo rights", fg="red"
        )
        host.state.fail_hosts({host})
        return
    try:
        check_lock(brief, rig)
        brief = settled(brief, rig)
    except RigwrightError as error:
        for line in error.message.splitlines():
            host.log_styled(f"cannot be deployed: {line}", fg="red")
        host.state.fail_hosts({host})
        return
    spec = brief.spec
    announce(host, brief, rig)
    preflight(probe, brief, name="Check that the rig can do it")
    base.packages(
        probe,
        base.build_packages(rig.hardware) or (),
        install=spec.base.install_packages,
        name="Install build packages",
    )
    base.account(probe, name="Create the builder's account")
    for file in host.loop([file for wish in spec.services for file in brief.models[wish.name].files]):
        weights(probe, file, settings=spec.weights, name=f"Bring {file.source.file_name}")
    llamacpp.resolve(probe, spec.llamacpp, name="Find the commit")
    llamacpp.build(probe, spec.llamacpp, name="Build")
    for wish in host.loop(spec.services):
        if wish.api_key_file:
            llamacpp.api_key(probe, wish, brief.keys[wish.name], name=f"Write the API keys of {wish.name}")
        llamacpp.service(probe, brief, wish, name=f"Serve {wish.name}")
    llamacpp.prune(probe, name="Remove old builds")
    # Python would look through all that was imported once more when it exits: a tenth of a run that changes nothing.
    gc.freeze()
