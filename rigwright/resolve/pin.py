"""The entry of a resolved rig in a lock file."""

from __future__ import annotations

from rigwright.errors import Refused
from rigwright.hardware.values import Hardware
from rigwright.lock.changes import stated_settings
from rigwright.lock.values import LockedRig, PinnedFile, PinnedModel, pin_hardware, pin_service
from rigwright.plan.service import ServicePlan
from rigwright.resolve.drivers import waiting_for_driver
from rigwright.resolve.resolve import Resolved
from rigwright.spec.rig import RigSpec
from rigwright.spec.weights import WeightsSettings
from rigwright.weights.cache import file_url
from rigwright.weights.hub import COMMIT, hub_facts
from rigwright.weights.local import LocalModel

# With one of these it is known what a deploy installs.
_KNOWN = {"archive", "commit", "prebuilt", "binaries"}


def pin(resolved: Resolved, spec: RigSpec, hardware: Hardware, *, rig: str) -> tuple[LockedRig, list[str]]:
    """The entry of a rig, with the commit and the checksums that the hub names, and what could not be pinned.

    Raises:
        Refused: a GPU that the plan needs has no driver yet, so that it cannot be told from another.
    """
    if waiting := waiting_for_driver(resolved, spec, hardware):
        raise Refused(
            f"{rig}: services.{waiting.service}: no driver answers for {waiting.gpu}, so that it cannot be locked; "
            f"install the driver first"
        )
    notes: list[str] = []
    services = {}
    for plan in resolved.plan.services:
        if plan.cluster:
            notes.append(f"services.{plan.service}: it is of cluster {plan.cluster.name}, which is not locked")
            continue
        wish = spec.wish(plan.service)
        local = resolved.models.get(wish.name)
        files, commit = _files(local, plan, notes, spec.weights)
        drafter = _drafter(local.drafter, plan, notes, spec.weights) if local and local.drafter else None
        source = plan.source.model_copy(update={"revision": commit}) if plan.source and commit else plan.source
        services[wish.name] = pin_service(wish, plan.model_copy(update={"source": source}), files, draft_model=drafter)
    used = {service.engine for service in services.values()}
    builds = {
        name: settings.locked_source(engine.installed.commits)
        for name, engine in resolved.engines.items()
        if name in used and (settings := engine.settings)
    }
    for name, build in builds.items():
        if not build.keys() & _KNOWN and not COMMIT.fullmatch(build.get("ref") or "0" * 40):
            notes.append(f"{name}.ref: the first deploy finds what {build['ref']} is; write the lock again then")
    return LockedRig(
        hardware=pin_hardware(hardware),
        settings=stated_settings(spec),
        builds={name: build for name, build in builds.items() if build},
        services=services,
    ), notes


def _drafter(local: LocalModel, plan: ServicePlan, notes: list[str], settings: WeightsSettings) -> PinnedModel:
    files, commit = _files(local, plan, notes, settings)
    repo, source = local.source.repo, local.source
    revision = (commit or source.revision) if repo else None
    return PinnedModel(name=source.file_name, repo=repo, revision=revision, files=tuple(files))


def _files(
    local: LocalModel | None, plan: ServicePlan, notes: list[str], settings: WeightsSettings
) -> tuple[list[PinnedFile], str | None]:
    """Each file with its sum, asked of the hub where there is one, and the commit that all are of."""
    if local is None:
        source = plan.source
        if not source or not source.repo:
            return [], None
        url = file_url(settings.hugging_face, source.repo, revision=source.revision, file=source.file or "config.json")
        return [PinnedFile(name=source.file)] if source.file else [], hub_facts(url, hub=settings.hugging_face).commit
    if local.folder:
        whole = [
            PinnedFile(name=one.source.file_name, sha256=one.sha256, size_bytes=one.size_bytes)
            for one in local.own_files
        ]
        return whole, local.source.revision if local.source.repo else None
    files, commits = [], set()
    for file in local.own_files:
        facts = hub_facts(file.url, hub=settings.hugging_face) if file.url else None
        commits |= {facts.commit} if facts and facts.commit else set()
        sha256 = file.sha256 or (facts.sha256 if facts else None)
        size = file.size_bytes or (facts.size_bytes if facts else None) or _listed_bytes(file)
        name = file.source.file or file.source.file_name
        files.append(PinnedFile(name=name, sha256=sha256, size_bytes=size))
        if sha256 is None:
            decides = "what lies on the rig" if file.source.path_on_rig else "the first download"
            notes.append(f"services.{plan.service}: no checksum of {name} is known; {decides} decides")
    is_pinned = not local.source.repo or commits or len(local.source.revision) == 40
    if not is_pinned:
        notes.append(
            f"services.{plan.service}: the hub did not say which commit {local.source.revision} is; not pinned"
        )
    return files, min(commits) if len(commits) == 1 else None


def _listed_bytes(file: LocalModel) -> int | None:
    """The size that the catalogue gives, where it is that of one file and no estimate."""
    variant = file.variant
    return variant.file_bytes if variant and variant.is_size_exact and variant.parts == 1 else None
