"""From a rig's wishes to its entry in a lock file, and from the entry back to files."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from rigwright import catalogue
from rigwright.errors import RigwrightError, WrongSpec
from rigwright.hardware.values import Hardware
from rigwright.lock.values import LockedRig, PinnedFile, PinnedService, pin_hardware, pin_service
from rigwright.models.offers import offers, split_quant
from rigwright.models.parts import part_names
from rigwright.plan.engines.llamacpp.settings import Archive, LlamacppSettings
from rigwright.plan.service import ServicePlan
from rigwright.plan.wish import ModelSource, ServiceWish
from rigwright.resolve.resolve import settle
from rigwright.spec.rig import RigSpec
from rigwright.weights.cache import file_url
from rigwright.weights.hub import hub_facts
from rigwright.weights.local import LocalModel, inspect_model, projector_of

# What builds faster or reaches another mirror makes no other rig.
_BUILD_KEYS = ("backend", "cuda_architectures", "cmake_options", "git", "ref")


def lock_rig(spec: RigSpec, hardware: Hardware) -> tuple[LockedRig, list[str]]:
    """The entry of a rig, and what could not be pinned.

    Raises:
        RigwrightError: it cannot be planned.
    """
    notes: list[str] = []
    models = {wish.name: _inspected(wish, spec) for wish in spec.services if serves_a_file(wish)}
    settled = settle(spec, models, hardware)
    services = {}
    for wish, plan in zip(spec.services, settled.plan.services, strict=True):
        local = settled.models.get(wish.name)
        files, commit = _files(local, wish, plan, notes, spec)
        source = plan.source.model_copy(update={"revision": commit}) if plan.source and commit else plan.source
        version = _version(spec.llamacpp) if plan.engine == "llamacpp" else None
        services[wish.name] = pin_service(wish, plan.model_copy(update={"source": source}), files, version=version)
    uses_build = any(service.engine == "llamacpp" for service in services.values())
    return LockedRig(
        hardware=pin_hardware(hardware),
        settings=settings_of(spec),
        build=_build(spec.llamacpp) if uses_build else {},
        services=services,
    ), notes


def serves_a_file(wish: ServiceWish) -> bool:
    """True where the wish itself names a GGUF file."""
    return wish.model.is_chosen and not (wish.model.repo and not wish.model.file)


def _inspected(wish: ServiceWish, spec: RigSpec) -> LocalModel:
    try:
        return inspect_model(wish.model, spec.weights, projector=projector_of(wish))
    except RigwrightError as error:
        raise WrongSpec(f"services.{wish.name}.model: {error.message}") from None


def _files(
    local: LocalModel | None, wish: ServiceWish, plan: ServicePlan, notes: list[str], spec: RigSpec
) -> tuple[list[PinnedFile], str | None]:
    """Each file with its sum, asked of the hub where there is one, and the commit that all are of."""
    if local is None:
        source = plan.source
        if not source or not source.repo:
            return [], None
        url = file_url(
            spec.weights.hugging_face, source.repo, revision=source.revision, file=source.file or "config.json"
        )
        return [PinnedFile(name=source.file)] if source.file else [], hub_facts(url).commit
    files, commits = [], set()
    for file in local.files:
        facts = hub_facts(file.url) if file.url else None
        commits |= {facts.commit} if facts and facts.commit else set()
        sha256 = file.sha256 or (facts.sha256 if facts else None)
        size = file.size_bytes or (facts.size_bytes if facts else None) or _listed_bytes(file)
        name = file.source.file or file.source.file_name
        files.append(PinnedFile(name=name, sha256=sha256, size_bytes=size))
        if sha256 is None:
            notes.append(f"services.{wish.name}: no checksum of {name} is known; the first download decides")
    is_pinned = not local.source.repo or commits or len(local.source.revision) == 40
    if not is_pinned:
        notes.append(f"services.{wish.name}: the hub did not say which commit {local.source.revision} is; not pinned")
    return files, min(commits) if len(commits) == 1 else None


def _listed_bytes(file: LocalModel) -> int | None:
    """The size that the catalogue gives, where it is that of one file and no estimate."""
    offer = file.offer
    return offer.file_bytes if offer and offer.is_size_exact and offer.parts == 1 else None


def settings_of(spec: RigSpec) -> dict[str, Any]:
    """What the inventory itself says on builds and paths, beyond the defaults."""
    given = spec.llamacpp.model_dump(mode="json", exclude_unset=True)
    said = {f"llamacpp.{key}": given[key] for key in _BUILD_KEYS if key in given}
    if spec.llamacpp.archive:
        said["llamacpp.archive"] = "pinned" if _is_pinned(spec.llamacpp.archive) else given["archive"]["sha256"]
    if "directory" in spec.weights.model_fields_set:
        said["weights.directory"] = spec.weights.directory
    return said


def _is_pinned(archive: Archive) -> bool:
    return archive == Archive(**catalogue.load("engines")["llamacpp"]["archive"])


def _version(settings: LlamacppSettings) -> str:
    return (
        f"sha256:{settings.archive.sha256}" if settings.archive and not _is_pinned(settings.archive) else settings.ref
    )


def _build(settings: LlamacppSettings) -> dict[str, Any]:
    archive = settings.archive.model_dump(mode="json", exclude_none=True) if settings.archive else None
    return {"ref": settings.ref, "git": settings.git} | ({"archive": archive} if archive else {})


def locked_build(settings: LlamacppSettings, locked: LockedRig) -> LlamacppSettings:
    """The settings with the locked source in place of what this version of rigwright pins."""
    if not locked.build:
        return settings
    archive = locked.build.get("archive")
    update = {
        "ref": locked.build["ref"],
        "git": locked.build["git"],
        "archive": Archive.model_validate(archive) if archive else None,
    }
    return settings.model_copy(update=update)


def locked_source(wish: ServiceWish, pinned: PinnedService) -> ModelSource:
    """The file that a lock names; that of the wish where the wish itself says where it lies."""
    first = pinned.model.files[0] if pinned.model.files else None
    if pinned.model.repo and first:
        keys = {"repo": pinned.model.repo, "revision": pinned.model.revision, "file": first.name}
        return ModelSource(**{key: value for key, value in {**keys, "sha256": first.sha256}.items() if value})
    if wish.model.url and first and first.sha256:
        return wish.model.model_copy(update={"sha256": first.sha256})
    return wish.model


def locked_model(wish: ServiceWish, pinned: PinnedService, spec: RigSpec) -> LocalModel:
    """The files of a service as its lock names them.

    Raises:
        RigwrightError: a file is not there.
    """
    source, files = locked_source(wish, pinned), pinned.model.files
    parts = part_names(source.file_name)
    beside = [file.name for file in files[1:] if PurePosixPath(file.name).name not in parts]
    known = split_quant(source.file_name)[0] if wish.model.name else None
    listed = offers(known) if known else ()
    offer = next((one for one in listed if (one.repo, one.file) == (source.repo, source.file)), None)
    sums = {PurePosixPath(file.name).name: file.sha256 for file in files if file.sha256}
    return inspect_model(
        source,
        spec.weights,
        offer=offer,
        sums=sums if source.path is None else {},
        projector=beside[0] if beside else None,
    )


def changed_file(wish: ServiceWish, pinned: PinnedService, local: LocalModel) -> str | None:
    """A line where a file on this machine is another one than that of the lock."""
    if wish.model.path is None:
        return None
    locked = {file.name: file.sha256 for file in pinned.model.files}
    for file in local.files:
        name = Path(file.source.path or "").name
        if locked.get(name) != file.sha256:
            return (
                f"services.{wish.name}.model: {name} has sha256 {file.sha256}, locked is {locked.get(name) or 'none'}"
            )
    return None
