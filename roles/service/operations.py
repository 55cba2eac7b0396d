"""Keys, units and switches: instances run what is planned, go back to what ran before, or are taken away."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping, Sequence

from pyinfra.api import operation
from pyinfra.api.operation import OperationMeta

from rigwright.errors import RigwrightError
from rigwright.records import paths
from rigwright.records.reading import read_record, signed
from rigwright.records.values import Deployed, Earlier
from rigwright.resolve.running import instance_changes, is_only_disabled, is_watched_as, takes_up
from rigwright.resolve.unit import bind, render_unit, sandbox
from rigwright.resolve.watch import watch_of
from rigwright.resources import role_text, script, template
from rigwright.roles.base.channel import Script
from rigwright.roles.base.drain import drains, let_go_seconds
from rigwright.roles.base.facts import Rig
from rigwright.roles.base.operations import Commands, current_rig, refuse
from rigwright.roles.base.probe import Probe
from rigwright.roles.base.pyinfra_private import current_host
from rigwright.roles.service.answer import CHAT_VARIABLES, Proof, proof_of, serves_at
from rigwright.roles.service.context import RigContext
from rigwright.roles.service.diff import show_diff
from rigwright.roles.service.engine import Engine
from rigwright.roles.service.meeting import is_broken, meets, met
from rigwright.roles.service.regroup import groups_of, is_apart
from rigwright.roles.service.room import in_the_way, leaves_for
from rigwright.roles.weights.facts import waiting, wanted_stamp
from rigwright.spec.templates import template_path
from rigwright.weights.local import LocalModel

# How long a rollback waits for a model to load; the inventory's own limit may be unreadable by then.
_ROLLBACK_SECONDS = 600
# Whose it is; a unit brings its model files with it, and may swap places with another.
_OWNER = role_text("base", "owner.sh")
_WATCH = "\n".join([role_text("base", "remove-unit.sh"), role_text("service", "watch-set.sh")])
_PLACE = role_text("service", "hold.sh"), role_text("service", "swap.sh"), role_text("weights", "place.sh")
_BEFORE = "\n".join((_OWNER, role_text("base", "drain.sh"), _WATCH, *_PLACE))


@operation()
def api_key(service: str, key: str, owners: tuple[str, ...], probe: Probe) -> Commands:
    """Have the API keys on the rig, readable for root alone from the first byte. The text travels on standard input.

    + service: whose keys
    + key: their text, one per line
    + owners: the names of the inventory
    + probe: the questions that the operations of a run share
    """
    rig = yield from current_rig(probe)
    if has_key(rig, service, key):
        return
    whose = {"NAME": service, "OWNERS": " ".join(owners)}
    yield Script(
        script("service", "key.sh", before=_OWNER, FILE=paths.key_path(service), MODE="600", **whose), stdin=key
    )


@operation()
def chat_template(service: str, text: str, owners: tuple[str, ...], probe: Probe) -> Commands:
    """Have a chat template on the rig, under a name of its content: what runs keeps its own.

    + service: whose template
    + text: a Jinja text
    + owners: the names of the inventory
    + probe: the questions that the operations of a run share
    """
    rig = yield from current_rig(probe)
    path = template_path(text)
    if rig.content(path) != text:
        whose = {"NAME": service, "OWNERS": " ".join(owners)}
        yield Script(script("service", "key.sh", before=_OWNER, FILE=path, MODE="644", **whose), stdin=text)


@operation()
def serve_instance(instance: str, context: RigContext, engine: Engine, probe: Probe) -> Commands:
    """Have an instance run as planned, proven by its first answer; what ran before comes back if it does not.

    + instance: its name, `chat` or `chat@1`
    + context: the rig's part of the inventory
    + engine: the role of its engine
    + probe: the questions that the operations of a run share
    """
    rig = yield from current_rig(probe)
    try:
        resolved = context.resolved(rig)
        planner = resolved.engines[engine.name]
        release = planner.release(rig.hardware)
    except RigwrightError as error:
        yield from refuse(error.message)
        return
    wanted = next((one for one in resolved.instances(context.spec) if one.name == instance), None)
    if wanted is None or wanted.engine != engine.name or release is None:
        yield from refuse(f"{instance}: the plan of this rig changed while it was deployed to; run again")
        return
    if wanted.cluster and (reason := is_broken(current_host(), context)):
        yield from refuse(reason)
        return
    deployed = rig.records.of(instance)
    sums = _sums(rig, resolved.files(wanted.plan, context.spec.weights))
    unit = render_unit(wanted, planner, weights=sums, systemd=rig.records.systemd, there=deployed.unit)
    # The dry run sees the contents that wait for the switch under their names.
    places = [f"BindReadOnlyPaths={bind(kept)}:{bind(path)}" for kept, path in waiting(rig, sums)]
    walls = [*sandbox(unit), *(line.replace("%%", "%") for line in places)]
    answer = engine.answer(wanted)
    owner, keep = context.spec.owner, context.spec.base.keep_releases
    record = wanted.record(
        health=engine.health, answer=answer._asdict(), work=engine.work(wanted), owner=owner, keep=keep
    )
    watch = watch_of(instance, read_record(record))
    owners = " ".join(context.spec.owners)
    changes = tuple(instance_changes(wanted, deployed, unit=unit, release=release))
    if changes and not is_only_disabled(changes, instance):
        show_diff(instance, deployed.unit, unit)
        leaving = in_the_way(wanted, resolved, context.spec, rig)
        undone = _to_undo(deployed, rig, context.spec.owners)
        before_start = engine.before_start(rig, wanted, resolved)
        seconds = {wish.name: wish.drain_seconds for wish in context.spec.services}
        yield Script(
            script(
                "service",
                "answer.sh",
                "switch.sh",
                before="\n".join([_BEFORE, role_text("service", "sandbox.sh"), before_start]),
                SANDBOX=shlex.join(word for line in walls for word in ("-p", line)),
                **_switch(deployed, unit=unit, release=release, record=record, owners=owners),
                SERVICES=" ".join(wish.name for wish in context.spec.services),
                BESIDE=context.sums_beside(rig),
                **Proof(wanted.url, wanted.key_path, f"{wanted.url}{engine.health}", answer).variables(),
                MAKE_ROOM=" ".join(one.unit_name for one in leaving),
                UNDO=_undo(undone, context.spec.owners),
                DRAINS=drains([deployed, *leaving, *undone], seconds),
                SERVES=serves_at(wanted.host, wanted.port),
                MEETS=meets(wanted.cluster),
                TIMEOUT=wanted.wish.start_timeout_seconds,
            )
        )
    elif changes or deployed.record_text != record or not is_watched_as(deployed, watch):
        file = paths.record_path(instance)
        given = {"PLAN": record, "PLAN_FILE": file, "UNIT": deployed.unit_name, "NAME": instance, "OWNERS": owners}
        yield Script(script("service", "record.sh", before=f"{_OWNER}\n{_WATCH}", **given, **watch.variables()))


@operation()
def bring_back(
    instance: str, together: tuple[str, ...], owners: tuple[str, ...], probe: Probe, drain_seconds: int | None = None
) -> Commands:
    """Bring back the release and the unit that an instance had before; a second time brings back the newer one.

    Of a switch that was cut it is what ran before that.

    + instance: its name
    + together: all instances that are brought back: they may have swapped places
    + owners: the names of the inventory
    + probe: the questions that the operations of a run share
    + drain_seconds: how long requests may go on before it stops; by default what its record says
    """
    rig = yield from current_rig(probe)
    deployed = rig.records.of(instance)
    back = deployed.way_back
    record = back.record if back else None
    if back is None or record is None or record.port is None:
        yield from refuse(f"{instance}: no earlier release is kept on this rig; deploy the version you want instead")
        return
    if groups_of(deployed) and (reason := is_apart(current_host(), instance)):
        yield from refuse(reason)
        return
    others = [one for one in rig.records.deployed if one.name in together and one.name != instance and one.is_active]
    held, undone = [one for one in others if leaves_for(one, record)], _to_undo(deployed, rig, owners)
    waiting_for = drains([deployed, *held, *undone], drain_seconds)
    yield Script(_way_back(deployed, back, owners, make_room=held, undo=_undo(undone, owners), drain=waiting_for))


@operation()
def prune(probe: Probe) -> Commands:
    """Remove releases that no instance runs and none would roll back to, but for the older ones that shall stay.

    One that none ever ran stays for a day. Toolkits that no release was built with go too, and what a build or an
    installation left that was cut.

    + probe: the questions that the operations of a run share
    """
    rig = yield from current_rig(probe)
    if rig.records.has_spare_releases or rig.records.left or rig.records.spare_toolkits:
        yield Script(script("base", "prune.sh"))


@operation()
def report_left_out(reasons: tuple[str, ...], tried: Mapping[str, OperationMeta]) -> Commands:
    """Fail this rig where not all was done, after all that could be.

    + reasons: why something was not even tried, a line each
    + tried: the operations before this one, by instance; each said why it failed
    """
    failed = [name for name, done in tried.items() if done.is_complete() and done.did_error()]
    lines = [*reasons, *([f"{', '.join(failed)}: not brought back, see above"] if failed else [])]
    if lines:
        yield from refuse("\n".join(lines))


def has_key(rig: Rig, service: str, key: str) -> bool:
    """Whether the API keys of a service are on the rig, for root alone."""
    found = rig.records.of(service).key
    digest = hashlib.sha256(key.encode()).hexdigest()
    return found is not None and (found.sha256, found.mode, found.owner) == (digest, "600", "root")


def _sums(rig: Rig, files: Sequence[tuple[LocalModel, str]]) -> dict[str, str]:
    """The sum of each wanted file by its path; empty while one of them is not on the rig."""
    found = {path: wanted_stamp(rig, path, sha256=file.sha256, origin=file.origin) for file, path in files}
    sums = {path: stamp.sha256 for path, stamp in found.items() if stamp}
    return sums if len(sums) == len(found) else {}


def _way_back(
    deployed: Deployed,
    back: Earlier,
    owners: Sequence[str],
    *,
    make_room: Sequence[Deployed] = (),
    undo: str = "",
    drain: str = "",
) -> str:
    """The switch to what an instance ran before."""
    record = back.record
    return script(
        "service",
        "answer.sh",
        "switch.sh",
        before=_BEFORE,
        **_switch(
            deployed,
            unit=back.unit,
            release=back.release,
            record=signed(back.record_text or "", deployed.owner),
            owners=" ".join(owners),
        ),
        SERVICES="",
        BESIDE="any",
        **proof_of(record, deployed.service).variables(),
        MAKE_ROOM=" ".join(one.unit_name for one in make_room),
        UNDO=undo,
        DRAINS=drain,
        SERVES=serves_at(record.host, record.port) if record and record.port else "",
        MEETS=met(record),
        TIMEOUT=_ROLLBACK_SECONDS,
    )


def _to_undo(deployed: Deployed, rig: Rig, owners: Sequence[str]) -> list[Deployed]:
    """Those of the inventory which hold the place that an instance had: it stopped for them."""
    if deployed.is_active or deployed.record is None:
        return []
    moved: dict[str, Deployed] = {}
    places = [deployed.record]
    while places:
        place = places.pop()
        for one in rig.records.deployed:
            if not one.is_of(owners):
                continue
            back = one.way_back
            if one.name in (deployed.name, *moved) or not one.is_active or not leaves_for(one, place):
                continue
            moved[one.name] = one
            places += [back.record] if back and back.record else []
    return list(moved.values())


def _undo(moved: Sequence[Deployed], owners: Sequence[str]) -> str:
    """Shell that brings them back to where they were."""
    ways = [_way_back(one, one.way_back, owners) for one in moved if one.way_back]
    units = [one.unit_name for one in moved]
    stop = [*(f"drain {unit} || :" for unit in units), f"systemctl stop {' '.join(units)}"]
    return "\n".join([*stop, *(f"sh -c {shlex.quote(text)}" for text in ways)]) if ways else ""


def _switch(deployed: Deployed, *, unit: str, release: str, record: str, owners: str) -> dict[str, str]:
    """The variables of switch.sh that are no proof of the new one."""
    return {
        "NAME": deployed.name,
        "UNIT": deployed.unit_name,
        "UNIT_TEXT": unit,
        "RELEASE": release,
        "PLAN": record,
        "PLAN_FILE": paths.record_path(deployed.name),
        "OWNERS": owners,
        "SEEN": (seen := deployed.properties.get("InvocationID", "")),
        "TAKES_UP": seen if takes_up(deployed, unit=unit, release=release) else "",
        "LET_GO": str(let_go_seconds(deployed.unit)),
        "DEVICES": template("devices.service") if paths.DEVICES_UNIT in unit else "",
        "DEVICES_UNIT": paths.DEVICES_UNIT,
        **watch_of(deployed.name, read_record(record)).variables(),
        **CHAT_VARIABLES,
    }
