"""The order of a deploy: packages, account, model files, releases, services, then what is no longer wanted."""

from __future__ import annotations

import gc
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import gevent
from pyinfra.api.deploy import deploy
from pyinfra.api.host import Host

from rigwright.errors import RigwrightError
from rigwright.models.variants import find_model
from rigwright.resolve.instance import Instance
from rigwright.resolve.resolve import Resolved
from rigwright.resolve.running import surplus
from rigwright.roles.base import operations as base
from rigwright.roles.base.account import account
from rigwright.roles.base.facts import NO_STATE, Rig, rig_state
from rigwright.roles.base.failures import close_with_failures, give_up
from rigwright.roles.base.probe import Probe
from rigwright.roles.base.pyinfra_private import current_host
from rigwright.roles.base.removal import remove_instance
from rigwright.roles.service import operations as service
from rigwright.roles.service.announce import announce, refusal
from rigwright.roles.service.context import RigContext, current_context
from rigwright.roles.service.engine import Engine
from rigwright.roles.service.meeting import meet
from rigwright.roles.service.preflight import preflight
from rigwright.roles.service.tuning import tune, tuning_probe
from rigwright.roles.weights import chain
from rigwright.roles.weights.operations import weights
from rigwright.spec.weights import WeightsSettings
from rigwright.weights.local import LocalModel

# By then the question is on its way.
_ASKED_SECONDS = 0.01


def serve(*engines: Engine) -> None:
    """Serve what the inventory's `rig` data wishes, with these engines; what is planned on others is left alone.

    All services of a rig are planned together, whatever is deployed.

    Raises:
        WrongInventory: before any rig is touched.
    """
    _serve(engines=engines)


@deploy("Serve")
def _serve(engines: Sequence[Engine]) -> None:
    context, host = current_context(), current_host()
    close_with_failures(host.state)
    if ready := make_ready(host, context, engines, probe_of(context, engines)):
        act(ready)


@dataclass(frozen=True, repr=False)
class Ready:
    """A rig that was read and planned: what its operations work from."""

    context: RigContext
    engines: Sequence[Engine]
    probe: Probe
    rig: Rig
    resolved: Resolved

    def __repr__(self) -> str:
        """Short: pyinfra prints the arguments of an operation."""
        return f"Ready({self.context.rig})"

    @property
    def instances(self) -> list[Instance]:
        """Those of the engines that are acted on."""
        names = {engine.name for engine in self.engines}
        return [one for one in self.resolved.instances(self.context.spec) if one.engine in names]

    @property
    def files(self) -> list[tuple[str, LocalModel]]:
        """Their model files, each once, with their paths on the rig."""
        plans, settings = {one.service: one.plan for one in self.instances}, self.context.spec.weights
        found = {path: file for plan in plans.values() for file, path in self.resolved.files(plan, settings)}
        return list(found.items())


def probe_of(context: RigContext, engines: Sequence[Engine]) -> Probe:
    """What the operations ask of a rig."""
    probe = context.probe | tuning_probe()
    for engine in engines:
        probe |= engine.probe(context.spec)
    return probe


def make_ready(host: Host, context: RigContext, engines: Sequence[Engine], probe: Probe) -> Ready | None:
    """Read a rig, plan it, say what would be done, and have the other rigs of the run know what it wants.

    None where it cannot be served, which takes it out of the run.
    """
    gevent.spawn_later(_ASKED_SECONDS, _prepare)
    # Only what no operation changes is read here: the distribution, the hardware, what is deployed.
    rig = rig_state(probe)
    if rig is None:
        give_up(host, NO_STATE)
        return None
    by_name = {engine.name: engine for engine in engines}
    try:
        meet(host, context, rig)
        context.read_headers(rig, host)
        resolved = context.resolved(rig)
        if lines := context.lock_refusal(resolved):
            raise RigwrightError("\n".join(lines))
        for name in dict.fromkeys(one.engine for one in resolved.instances(context.spec) if one.engine in by_name):
            by_name[name].ask(rig, context)
        resolved = context.resolved(rig)
    except RigwrightError as error:
        give_up(host, *refusal(error))
        return None
    announce(host, context, rig, resolved, engines)
    ready = Ready(context, engines, probe, rig, resolved)
    chain.join(host, rig, ready.files, context.spec.weights)
    return ready


def act(ready: Ready) -> None:
    """The operations, in their order."""
    context, engines, probe, rig, resolved = ready.context, ready.engines, ready.probe, ready.rig, ready.resolved
    host, instances = current_host(), ready.instances
    used = [engine for engine in engines if any(one.engine == engine.name for one in instances)]
    preflight(context=context, engines=engines, probe=probe, name="Check that the rig can do it")
    names = dict.fromkeys(name for engine in used for name in engine.packages(context, rig) or ())
    if instances:
        base.packages(
            packages=tuple(names),
            probe=probe,
            install=context.spec.base.install_packages,
            bundle=context.bundle,
            name="Install packages",
        )
        account(probe=probe, name="Create the builder's account")
    for name, group in host.loop(_groups(ready.files, context.spec.weights)):
        weights(files=group, settings=context.spec.weights, probe=probe, name=f"Bring {name}")
    # By its place among all engines: for rigs of several it is one operation, in which they wait for each other.
    for engine in host.loop(engines):
        if engine in used:
            engine.install(context, probe)
    for name in host.loop(_with_keys(instances)):
        service.api_key(
            service=name,
            key=context.keys[name],
            owners=context.spec.owners,
            probe=probe,
            name=f"Write the API keys of {name}",
        )
    for name in host.loop([one.service for one in instances if not one.number and one.service in context.templates]):
        service.chat_template(
            service=name,
            text=context.templates[name],
            owners=context.spec.owners,
            probe=probe,
            name=f"Bring the chat template of {name}",
        )
    tune(context=context, probe=probe, name="Tune the machine")
    for instance in host.loop([one for one in instances if not one.cluster]):
        _serve_instance(ready, instance)
    # On all rigs of a cluster it is one operation, in which they wait for each other, whatever else each serves.
    for instance in host.loop([one for one in instances if one.cluster]):
        _serve_instance(ready, instance)
    gone = [one.name for one in surplus(resolved, rig.records) if one.service in {one.service for one in instances}]
    gone += [one.name for one in resolved.orphans] if context.spec.remove_orphans else []
    for name in host.loop(gone):
        remove_instance(instance=name, owners=context.spec.owners, probe=probe, name=f"Remove {name}")
    service.prune(probe=probe, name="Remove old releases")
    # Python would look through all that was imported once more when it exits: a tenth of a run that changes nothing.
    gc.freeze()


def _serve_instance(ready: Ready, instance: Instance) -> None:
    by_name = {engine.name: engine for engine in ready.engines}
    service.serve_instance(
        instance=instance.name,
        context=ready.context,
        engine=by_name[instance.engine],
        probe=ready.probe,
        name=f"Serve {instance.name}",
    )


@cache
def _prepare() -> None:
    """What takes its time once and needs no rig, done while the first one answers."""
    find_model("")  # reads the catalogue
    inspect.stack()  # pyinfra does so at each operation, and the first time looks at every module


def _groups(
    files: Sequence[tuple[str, LocalModel]], settings: WeightsSettings
) -> list[tuple[str, tuple[tuple[str, LocalModel], ...]]]:
    """What one operation brings each, and its name: a file, or a whole repository.

    Rigs that hand files on to each other wait for each other between operations: there each large file is one.
    """
    groups: dict[str, list[tuple[str, LocalModel]]] = {}
    names: dict[str, str] = {}
    for path, file in files:
        is_alone = not file.folder or (settings.share_within is not None and file.url is not None)
        key = path if is_alone else file.folder
        groups.setdefault(key, []).append((path, file))
        names[key] = file.source.file_name if is_alone else file.name
    return [(names[key], tuple(group)) for key, group in groups.items()]


def _with_keys(instances: Sequence[Instance]) -> list[str]:
    """The services that have API keys; replicas share them."""
    return list(dict.fromkeys(one.service for one in instances if one.wish.api_key_file))
