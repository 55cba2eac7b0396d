"""The changes that a deploy would make to the services of a rig: what runs there against what is resolved."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rigwright.errors import Refused
from rigwright.hardware.values import Hardware
from rigwright.lock.changes import flag_changes
from rigwright.plan.budget import A_DEPLOY_REFUSES
from rigwright.plan.changes import Change, changed, differences
from rigwright.plan.driver import Cuda
from rigwright.plan.driver.tables import size
from rigwright.plan.engines import label
from rigwright.plan.reasons import Reason
from rigwright.records.values import Deployed, RigRecords, marker_of
from rigwright.resolve.instance import Instance
from rigwright.resolve.resolve import Resolved
from rigwright.resolve.unit import cpus_in, live_lines, render_unit, sums_in, weights_in
from rigwright.resolve.watch import Watch, watch_of
from rigwright.spec.rig import RigSpec

_GOES_ON = "nothing restarts"


def running_changes(resolved: Resolved, spec: RigSpec, hardware: Hardware, records: RigRecords) -> tuple[Change, ...]:
    """All that a deploy of all engines would change of the services, in their order; then what it takes away."""
    found: list[Change] = []
    for instance in resolved.instances(spec):
        engine, deployed = resolved.engines[instance.engine], records.of(instance.name)
        if not engine.program:
            continue  # planned alone: no role deploys this engine yet
        try:
            release = engine.release(hardware)
        except Refused:
            release = deployed.current  # the deploy's preflight says why
        files, known = resolved.files(instance.plan, spec.weights), sums_in(deployed.unit)
        sums = {path: file.sha256 or known.get(path) or "" for file, path in files}
        unit = render_unit(
            instance, engine, weights=sums if all(sums.values()) else {}, systemd=records.systemd, there=deployed.unit
        )
        differing = list(instance_changes(instance, deployed, unit=unit, release=release))
        keep = spec.base.keep_releases
        if not differing and not instance.is_recorded_in(deployed.record_text, owner=spec.owner, keep=keep):
            differing = [Change("~", f"{instance.name} record", note="is written anew; nothing restarts")]
        elif not differing and not is_watched_as(deployed, watch_of(instance.name, deployed.record)):
            differing = [Change("~", f"{instance.name} watch", note="is set up; nothing restarts")]
        found += differing
    found += [Change("-", one.name, note="a replica too many") for one in surplus(resolved, records)]
    if spec.remove_orphans:
        found += [Change("-", one.name, note="not in the inventory") for one in resolved.orphans]
    return tuple(found)


def is_watched_as(deployed: Deployed, watch: Watch) -> bool:
    """Whether an instance is looked after by these units, or by nobody where there shall be none."""
    return deployed.watch_sum == watch.sum and (deployed.is_watched or not watch.sum)


def deploy_notes(resolved: Resolved, hardware: Hardware) -> tuple[Reason, ...]:
    """What a deploy would refuse of this plan on a rig as it is: no compiler for its GPUs; or what it brings first."""
    said = {}
    for engine in {plan.engine: resolved.engines[plan.engine] for plan in resolved.plan.services}.values():
        try:
            is_built = not engine.program or engine.release(hardware) in engine.installed.releases
        except Refused as error:
            said[error.message] = Reason(choice=A_DEPLOY_REFUSES, because=error.message)
            continue
        if engine.installed.toolkit and not is_built:
            said["toolkit"] = _toolkit_note(engine.installed.toolkit)
    return tuple(said.values())


def _toolkit_note(cuda: Cuda) -> Reason:
    where = "packages of the distribution" if cuda.source == "distro" else "wheels from PyPI, by this machine"
    download, disk = (size(f"toolkit_{cuda.source}", key) / 1e9 for key in ("download", "disk"))
    what = f"no nvcc here makes code for {', '.join(f'sm_{one}' for one in cuda.targets)}"
    return Reason(
        choice=f"CUDA {cuda.version} comes before the build",
        because=f"{what}: {where}, {download:.1f} GB, {disk:.1f} GB on the disk",
    )


def surplus(resolved: Resolved, records: RigRecords) -> list[Deployed]:
    """Replicas on the rig that a service no longer has."""
    counts = {plan.service: len(plan.replicas) for plan in resolved.plan.services}
    planned = {f"{name}@{number}" if number else name for name, count in counts.items() for number in range(count)}
    return [one for one in records.deployed if one.service in counts and one.name not in planned]


def instance_changes(instance: Instance, deployed: Deployed, *, unit: str, release: str | None) -> Iterator[Change]:
    """How an instance differs from what is planned; nothing where the very process runs that a deploy would start.

    Args:
        instance: As it is planned.
        deployed: As it lies on the rig and runs.
        unit: The text of its unit file as planned.
        release: The directory of its release, None while the rig has not asked which commit a tag is.
    """
    name = instance.name
    if not deployed.is_ours:
        yield Change("+", name, note=f"{label(instance.engine)} on {instance.plan.device}, port {instance.port}")
        return
    if deployed.cut:
        yield Change("~", f"{name} switch", note="an earlier one was cut short; it is finished")
    if deployed.unit != unit:
        is_live = takes_up(deployed, unit=unit, release=release)
        found = _live_changes(name, deployed.unit, unit) if is_live else _unit_changes(instance, deployed, unit)
        note = f"its file differs{f'; {_GOES_ON}' if is_live else ''}"
        yield from list(found) or [Change("~", f"{name} unit", note=note)]
    elif (deployed.unit_mode, deployed.unit_owner) != ("644", "root"):
        yield changed(f"{name} unit", f"{deployed.unit_mode} {deployed.unit_owner}", "644 root")
    if release and deployed.current != release:
        yield changed(f"{name} release", _last(deployed.current), _last(release))
    elif deployed.current and release is None:
        version = instance.plan.engine_version
        yield Change("~", f"{name} release", note=f"what {version} is is asked for first; it comes if it is new")
    yield from _process_changes(instance, deployed)


def takes_up(deployed: Deployed, *, unit: str, release: str | None) -> bool:
    """Whether an instance runs as it should, so that another unit file binds it as it is, and need not restart it."""
    is_from_there = deployed.marker is not None and deployed.marker == marker_of(deployed.unit) == marker_of(unit)
    is_sound = deployed.is_active and deployed.cut is None and deployed.health == 200 and not _has_other_key(deployed)
    return is_from_there and is_sound and deployed.runs_current and deployed.current == release


def _live_changes(name: str, old_unit: str, new_unit: str) -> Iterator[Change]:
    """What of a unit binds a process that goes on."""
    old, new = live_lines(old_unit), live_lines(new_unit)
    for key in dict.fromkeys((*old, *new)):
        if old.get(key) != new.get(key):
            where = f"{name} {'CPUs' if key == 'AllowedCPUs' else key}"
            yield changed(where, old.get(key), new.get(key))._replace(note=_GOES_ON)


def _unit_changes(instance: Instance, deployed: Deployed, unit: str) -> Iterator[Change]:
    """What of the plan makes another unit, as far as the record of the old one tells."""
    name, record = instance.name, deployed.record
    if record:
        if record.engine != instance.engine:
            yield changed(f"{name} engine", record.engine, instance.engine)
        yield from flag_changes(name, _words(record.flags), _words((one.name, one.value) for one in instance.flags))
        yield from differences(name, dict(record.environment), dict(instance.environment))
    if cpus_in(deployed.unit) != cpus_in(unit):
        yield changed(f"{name} CPUs", cpus_in(deployed.unit) or "all", cpus_in(unit) or "all")
    old, new = weights_in(deployed.unit), weights_in(unit)
    if old != new:
        yield changed(f"{name} weights", old, new)


def _process_changes(instance: Instance, deployed: Deployed) -> Iterator[Change]:
    """How the process differs from its files. What an ordinary user cannot see counts as right."""
    name = instance.name
    if not deployed.is_active:
        yield changed(f"{name} state", deployed.properties.get("ActiveState") or "not loaded", "active")
        return
    if not deployed.is_enabled:
        yield changed(f"{name} at boot", deployed.properties.get("UnitFileState") or "unknown", "enabled")
    if deployed.current and deployed.exe and not deployed.runs_current:
        yield changed(f"{name} program", deployed.exe, deployed.current)
    if deployed.exe and deployed.marker != marker_of(deployed.unit):
        yield Change("~", f"{name} process", note="started from another unit file")
    if instance.key_path and _has_other_key(deployed):
        yield Change("~", f"{name} process", note="started before its API keys were written")
    if deployed.health_url and deployed.health != 200:
        yield changed(f"{name} health", str(deployed.health or "no answer"), "200")


def is_only_disabled(changes: Iterable[Change], name: str) -> bool:
    """Whether all that differs is that the instance would not start at boot: the process runs as planned."""
    found = list(changes)
    return bool(found) and all(one.where == f"{name} at boot" for one in found)


def _has_other_key(deployed: Deployed) -> bool:
    """Whether the process has other keys than the file. Times tell where it does not show them: clocks may be wrong."""
    key = deployed.key
    if key is None or not deployed.exe:
        return False
    return key.held_sha256 != key.sha256 if key.held_sha256 else key.modified > deployed.started


def _words(flags: Iterable[tuple[str, str | None]]) -> list[str]:
    return [name if value is None else f"{name} {value}" for name, value in flags]


def _last(path: str | None) -> str | None:
    return path.rpartition("/")[2] if path else None
