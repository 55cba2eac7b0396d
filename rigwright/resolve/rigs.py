"""The rigs of an inventory, resolved one after the other; what is wrong with one does not stop the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rigwright.errors import RigwrightError, WrongSpec
from rigwright.hardware.values import Hardware
from rigwright.lock.file import Lock, read_lock
from rigwright.plan.changes import Change
from rigwright.plan.reasons import Reason
from rigwright.plan.speed.measured import Measurement
from rigwright.records.values import NO_RECORDS, RigRecords
from rigwright.resolve.cluster import ClusterRig, shares
from rigwright.resolve.resolve import Resolved, resolve
from rigwright.resolve.running import deploy_notes, running_changes
from rigwright.resolve.share import Share
from rigwright.spec.cluster import Membership
from rigwright.spec.rig import RigSpec
from rigwright.weights.local import projector_of
from rigwright.weights.lookup import Lookup


@dataclass(frozen=True)
class RigRequest:
    """One rig to resolve; `notes` say what was assumed of its hardware, `lock` is the file that holds it or others.
    With `member` it is in a cluster, whose service is the last one of `spec`."""

    spec: RigSpec
    hardware: Hardware
    lock: Path | None = None
    records: RigRecords | None = None
    notes: Sequence[Reason] = ()
    member: Membership | None = None


@dataclass
class ResolvedRigs:
    """The rigs with a plan, and those without, each with why."""

    asked: Mapping[str, RigRequest]
    resolved: dict[str, Resolved] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)

    def changes(self, name: str) -> tuple[Change, ...]:
        """What a deploy would change on a rig."""
        asked = self.asked[name]
        return running_changes(self.resolved[name], asked.spec, asked.hardware, asked.records or NO_RECORDS)


def look_at_models(specs: Mapping[str, RigSpec], lookup: Lookup, *, origin: str | None = None) -> None:
    """Look at the models of all rigs before any rig is asked.

    Args:
        specs: What each rig shall serve, by its name.
        lookup: Remembers what was found.
        origin: The file that the wishes stand in, for messages; without it they are the inventory's.

    Raises:
        WrongSpec: a line for each model that cannot be served.
    """
    wrong: list[str] = []
    for rig, spec in specs.items():
        for index, wish in enumerate(spec.services):
            try:
                if wish.model.names_file:
                    lookup.model(wish.model, spec.weights, projector=projector_of(wish))
                else:
                    lookup.variants(wish.model, spec.weights.hugging_face)
            except RigwrightError as error:
                wrong.append(f"{origin or rig}: rig.services.{index}.model: {error.message.removeprefix('model: ')}")
            try:
                if wish.draft_model:
                    lookup.model(wish.draft_model, spec.weights)
            except RigwrightError as error:
                wrong.append(f"{origin or rig}: rig.services.{index}.draft_model: {error.message}")
    if wrong:
        raise WrongSpec("\n".join(dict.fromkeys(wrong)))


def resolve_all(
    asked: Mapping[str, RigRequest],
    lookup: Lookup,
    *,
    measurements: Sequence[Measurement] = (),
    alternatives: int = 3,
    is_preview: bool = False,
) -> ResolvedRigs:
    """A plan for each rig, or the reason why it has none; the notes beside each machine open those of its plan.

    Raises:
        RigwrightError: a lock file cannot be used.
    """
    several = ResolvedRigs(asked)
    locks: dict[Path, Lock] = {}
    for path in {one.lock for one in asked.values() if one.lock}:
        locks[path] = read_lock(path)
    together = _clusters(asked, lookup, several)
    for name, one in asked.items():
        if name in several.errors:
            continue
        try:
            resolved = resolve(
                one.spec,
                one.hardware,
                locks[one.lock].rigs.get(name) if one.lock else None,
                records=one.records or NO_RECORDS,
                lookup=lookup,
                measurements=measurements,
                alternatives=alternatives,
                is_preview=is_preview,
                share=together.get(name),
            )
        except RigwrightError as error:
            several.errors[name] = error.message
            continue
        refused = deploy_notes(resolved, one.hardware) if one.records else ()
        plan = resolved.plan.model_copy(update={"notes": (*refused, *one.notes, *resolved.plan.notes)})
        several.resolved[name] = resolved._replace(plan=plan)
    return several


def _clusters(asked: Mapping[str, RigRequest], lookup: Lookup, several: ResolvedRigs) -> dict[str, Share]:
    """What each rig of a cluster runs of its service; why it runs nothing is an error of each of them."""
    found: dict[str, Share] = {}
    for member in {one.member.spec.name: one.member for one in asked.values() if one.member}.values():
        mine = {name: one for name, one in asked.items() if one.member == member}
        rigs = {name: ClusterRig(one.spec, one.hardware, one.records or NO_RECORDS) for name, one in mine.items()}
        try:
            found |= shares(member, rigs, lookup)
        except RigwrightError as error:
            several.errors |= dict.fromkeys(mine, error.message)
    return found
