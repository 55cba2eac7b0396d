"""Preflight errors: what would stop a deploy half-way, looked for before anything is changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pyinfra.api import operation

from rigwright.errors import RigwrightError
from rigwright.plan.engines import label
from rigwright.records import paths
from rigwright.records.values import Deployed, is_ours
from rigwright.resolve.drivers import waiting_for_driver
from rigwright.resolve.instance import Instance
from rigwright.resolve.resolve import Resolved
from rigwright.roles.base.account import account_errors
from rigwright.roles.base.channel import NO_STDIN
from rigwright.roles.base.facts import Rig
from rigwright.roles.base.operations import Commands, current_rig, refuse, unbundled_packages
from rigwright.roles.base.packages import package_manager, package_names
from rigwright.roles.base.probe import Probe
from rigwright.roles.service.context import RigContext
from rigwright.roles.service.engine import Engine
from rigwright.roles.service.operations import has_key
from rigwright.roles.service.room import holder, in_the_way
from rigwright.roles.weights.directory import directory_errors
from rigwright.roles.weights.facts import verified_stamp, wanted_stamp, weights_file
from rigwright.spec.templates import template_path
from rigwright.weights.local import LocalModel

# LoadCredential= and ProtectProc=. Source: systemd 247, NEWS. An older one passes over what it does not know.
_OLDEST_SYSTEMD = 247


@operation()
def preflight(context: RigContext, engines: Sequence[Engine], probe: Probe) -> Commands:
    """Refuse a rig on which the deploy could not end well.

    + context: the rig's part of the inventory
    + engines: whose instances are deployed
    + probe: the questions that the operations of a run share
    """
    rig = yield from current_rig(probe)
    for reason in preflight_errors(rig, context, engines):
        yield from refuse(reason)
        return


def machine_errors(rig: Rig) -> Iterator[str]:
    """The first reason why nothing at all can be served from this machine."""
    if rig.uid != 0:
        yield "the SSH user is not root; set _sudo=True in the host data, or ssh_user='root'"
        return
    if rig.init != "systemd":
        yield f"its init is {rig.init}, not systemd; services are systemd units, use a machine that boots with systemd"
        return
    if 0 < rig.records.systemd < _OLDEST_SYSTEMD:
        yield (
            f"its systemd is {rig.records.systemd}, which does not know all walls of a service; "
            f"upgrade the distribution to one with {_OLDEST_SYSTEMD} or later"
        )
        return
    if package_manager(rig.hardware) is None or package_names("build", rig.hardware) is None:
        system = f"{rig.hardware.os_id} {rig.hardware.os_version}".strip()
        yield f"{system} is not known here; Debian, Ubuntu and Fedora are"


def preflight_errors(rig: Rig, context: RigContext, engines: Sequence[Engine]) -> Iterator[str]:
    """Why this rig cannot be deployed to, a line each."""
    if found := [*machine_errors(rig)]:
        yield from found
        return
    try:
        resolved = context.resolved(rig)
    except RigwrightError as error:
        yield error.message
        return
    yield from context.lock_refusal(resolved)
    names = {engine.name for engine in engines}
    mine = [one for one in resolved.instances(context.spec) if one.engine in names]
    if mine:
        yield from account_errors(rig)
    waiting = waiting_for_driver(resolved, context.spec, rig.hardware)
    if waiting and any(one.service == waiting.service for one in mine):
        planned = "would be served from the CPU beside" if waiting.is_on_cpu else "is planned on"
        yield (
            f"{waiting.service} {planned} {waiting.gpu}, for which no driver answers; {waiting.do}, or set gpu to none"
        )
    if context.is_stdin_taken and (unsent := _unsent(rig, context, resolved, mine)):
        yield f"{', '.join(unsent)} cannot be sent to this rig: {NO_STDIN}"
    yield from _unlisted(resolved, mine)
    yield from _unbundled(rig, context, resolved, mine, engines)
    if any(instance.service in resolved.models for instance in mine):
        yield from directory_errors(rig, context.spec.weights)
    for instance in mine:
        yield from _template_errors(context, instance)
        yield from _unit_errors(rig.records.of(instance.name))
        yield from _port_errors(rig, context, resolved, instance, names)
    for engine in engines:
        if any(instance.engine == engine.name for instance in mine):
            yield from engine.preflight_errors(rig, context)


def _lacking(rig: Rig, context: RigContext, resolved: Resolved, mine: Sequence[Instance]) -> list[LocalModel]:
    """The model files that are not on the rig."""
    plans = {one.service: one.plan for one in mine}.values()
    files = {path: file for plan in plans for file, path in resolved.files(plan, context.spec.weights)}
    return [
        file
        for path, file in files.items()
        if wanted_stamp(rig, path, sha256=file.sha256, origin=file.origin) is None
        # What nobody checked yet may be the right one.
        and (weights_file(rig, path) is None or verified_stamp(rig, path) is not None)
    ]


def _unlisted(resolved: Resolved, mine: Sequence[Instance]) -> Iterator[str]:
    """Whole repositories that nobody could be asked about: an engine would download them by itself, unchecked."""
    for plan in {one.service: one.plan for one in mine if one.service not in resolved.models}.values():
        if resolved.engines[plan.engine].file_format == "safetensors":
            yield (
                f"{plan.service}: which files {plan.source or plan.model} has cannot be asked from here; try again "
                f"with a connection, name a directory of this machine, or lock the plan where there is one"
            )


def _unbundled(
    rig: Rig, context: RigContext, resolved: Resolved, mine: Sequence[Instance], engines: Sequence[Engine]
) -> Iterator[str]:
    """What this rig would ask the internet for, and the bundle has not: all that it would, in one line."""
    if context.bundle is None:
        return
    lacks = [one.source.file_name for one in _lacking(rig, context, resolved, mine) if one.url]
    used = [engine for engine in engines if any(one.engine == engine.name for one in mine)]
    names = dict.fromkeys(name for engine in used for name in engine.packages(context, rig) or ())
    lacks += [*unbundled_packages(context.bundle, rig, tuple(names), install=context.spec.base.install_packages)]
    if lacks:
        yield context.bundle.lacks(lacks, context.inventory)


def _unsent(rig: Rig, context: RigContext, resolved: Resolved, mine: Sequence[Instance]) -> list[str]:
    """The files and keys that would have to travel to this rig."""
    unsent = [one.source.file_name for one in _lacking(rig, context, resolved, mine)]
    keyed = dict.fromkeys(one.service for one in mine if one.wish.api_key_file)
    templates = {one.service: context.templates[one.service] for one in mine if one.service in context.templates}
    unsent += [
        f"the chat template of {name}" for name, text in templates.items() if rig.content(template_path(text)) != text
    ]
    return unsent + [f"the keys of {name}" for name in keyed if not has_key(rig, name, context.keys[name])]


def _template_errors(context: RigContext, instance: Instance) -> Iterator[str]:
    text = context.templates.get(instance.service)
    named = next((flag.value for flag in instance.flags if flag.name == "--chat-template-file"), None)
    if text and named != template_path(text) and "--chat-template-file" not in instance.wish.flags:
        renew = f"rigwright plan {context.inventory} --replan --limit {context.rig}"
        yield f"the chat template of {instance.service} is not the locked one; to take the new one: {renew}"


def _unit_errors(deployed: Deployed) -> Iterator[str]:
    path, fragment = paths.unit_path(deployed.name), deployed.properties.get("FragmentPath", "")
    if "masked" in (deployed.properties.get("LoadState"), deployed.properties.get("UnitFileState")):
        yield f"{deployed.unit_name} is masked: it must not start; allow it with systemctl unmask {deployed.unit_name}"
    elif deployed.unit_kind and not deployed.is_ours:
        yield f"{path} exists and was not written by rigwright; rename the service, or move that unit away"
    elif deployed.unit_kind and not is_ours(deployed.unit):
        yield f"{path} was edited by hand; move the change to {path}.d/local.conf and delete the file, then run again"
    # systemd remembers a file that was deleted until it is told: that one is in nobody's way.
    elif not deployed.unit_kind and fragment and fragment != path:
        yield f"{fragment} provides {deployed.unit_name} and was not written by rigwright; rename the service"


def _port_errors(
    rig: Rig, context: RigContext, resolved: Resolved, instance: Instance, engines: set[str]
) -> Iterator[str]:
    owner = rig.listeners.get(instance.port)
    ours = holder(instance.port, rig)
    if owner is None or (ours and ours.name == instance.name):
        return
    if ours is None:
        taken = f"port {instance.port} is taken by {owner[0]}" + (f" (pid {owner[1]})" if owner[1] else "")
        yield f"{taken}; give service {instance.service} another port, or stop that program"
        return
    moving = {one.name for one in in_the_way(instance, resolved, context.spec, rig)}
    planned = next((one for one in resolved.instances(context.spec) if one.name == ours.name), None)
    if ours.name not in moving:
        yield f"port {instance.port} is that of {ours.name}; give service {instance.service} another port"
    elif planned and planned.engine not in engines:
        both = f"serve with {label(planned.engine)} in the same deploy"
        yield f"port {instance.port} is still that of {ours.name}, which moves when {both}"
