"""Needs: what a bare rig would ask the internet for, so that its plan becomes real."""

from __future__ import annotations

from dataclasses import dataclass

from rigwright.errors import Refused
from rigwright.hardware import Hardware
from rigwright.plan.driver import Cuda
from rigwright.plan.driver.wheels import Wheels, wheels
from rigwright.plan.engines import label
from rigwright.plan.engines.llamacpp.archives import LATEST, Archive, Prebuilt
from rigwright.plan.engines.llamacpp.planner import LlamacppPlanner
from rigwright.plan.engines.llamacpp.release import compiles_for_cuda, nccl_of
from rigwright.plan.engines.llamacpp.settings import LlamacppSettings
from rigwright.plan.engines.vllm.planner import VllmPlanner
from rigwright.plan.engines.vllm.release import Release, plan_release
from rigwright.resolve.resolve import Resolved
from rigwright.roles.base.packages import package_manager, package_names
from rigwright.roles.cuda.packages import package_needs
from rigwright.roles.llamacpp.packages import build_packages, running_packages
from rigwright.spec.rig import RigSpec
from rigwright.weights.local import LocalModel


@dataclass(frozen=True)
class Git:
    """A source that comes from git: what the inventory asks for, and the commit that is, where that is known."""

    address: str
    ref: str
    commit: str | None


@dataclass(frozen=True)
class Needs:
    """Those of one rig; `names` are the packages that a deploy asks for at a time, `upstream` what says which of
    upstream's own binaries are taken."""

    rig: str
    hardware: Hardware
    files: tuple[LocalModel, ...]
    archives: tuple[Archive | Prebuilt, ...]
    upstream: LlamacppSettings | None
    git: Git | None
    wheels: tuple[Wheels, ...]
    names: tuple[tuple[str, ...], ...]
    hub: str
    vllm: Release | None = None

    @property
    def system(self) -> tuple[str, str, str]:
        """Whose packages these are."""
        return self.hardware.os_id, self.hardware.os_version, self.hardware.architecture


def needs_of(rig: str, spec: RigSpec, hardware: Hardware, resolved: Resolved) -> Needs:
    """What a rig needs that is like this one, and has nothing.

    Raises:
        Refused: something of it cannot be put into a bundle.
    """
    for service in resolved.plan.services:
        if service.engine not in ("llamacpp", "vllm"):
            raise Refused(
                f"{rig}: services.{service.service} is planned on {label(service.engine)}, which no bundle holds; "
                "set engine to llamacpp or vllm"
            )
    files = [file for plan in resolved.plan.services for file, _ in resolved.files(plan, spec.weights)]
    own = tuple(file for file in files if not file.source.path_on_rig)
    used = {service.engine for service in resolved.plan.services}
    vllm = _vllm(rig, resolved, hardware) if "vllm" in used else None
    names = _vllm_packages(rig, spec, hardware) if "vllm" in used else ()
    if used == {"vllm"}:
        return Needs(rig, hardware, own, (), None, None, (), names, spec.weights.hugging_face, vllm)
    planner = resolved.engines["llamacpp"]
    if not isinstance(planner, LlamacppPlanner):
        raise Refused(f"{rig}: llama.cpp is not planned here; update rigwright")
    settings = planner.settings
    if settings.is_distro:
        raise Refused(
            f"{rig}: llama.cpp's packages of the distribution are not bundled; set source to build or prebuilt"
        )
    if settings.taken:
        _check_ref(rig, settings)
    cuda = _toolkit(rig, planner, hardware)
    made = _wheels(rig, cuda, hardware)
    nccl = nccl_of(settings, hardware, planner.installed.cuda_version)
    archives = settings.prebuilt or ((settings.archive,) if settings.archive else ())
    return Needs(
        rig,
        hardware,
        own,
        archives,
        settings if settings.taken else None,
        None if archives or settings.taken else _git(rig, settings),
        tuple(one for one in (made, nccl) if one),
        (*_packages(rig, spec, hardware, settings, cuda), *names),
        spec.weights.hugging_face,
        vllm,
    )


def _vllm(rig: str, resolved: Resolved, hardware: Hardware) -> Release | None:
    """The release whose wheels it needs; None where they lie in a directory of the inventory's anyway."""
    planner = resolved.engines["vllm"]
    if not isinstance(planner, VllmPlanner):
        raise Refused(f"{rig}: vLLM is not planned here; update rigwright")
    if planner.settings.wheels:
        return None
    if planner.settings.lock:
        raise Refused(f"{rig}: rig.vllm.lock: wheels of a lock of your own are not bundled; name wheels, a directory")
    try:
        release = plan_release(planner.settings, hardware)
    except Refused as error:
        raise Refused(f"{rig}: {error.message}") from None
    if release is None:
        raise Refused(f"{rig}: which system it has is not known; a bundle of vLLM is for one Python")
    return release


def _vllm_packages(rig: str, spec: RigSpec, hardware: Hardware) -> tuple[tuple[str, ...], ...]:
    names = package_names("vllm", hardware)
    if not spec.base.install_packages or not names:
        return ()
    manager = package_manager(hardware)
    if manager is None or manager.name != "apt":
        raise Refused(
            f"{rig}: packages of {hardware.os_id} are not bundled, those of apt alone are; have {' '.join(names)} on "
            "the rig, and set rig.base.install_packages to False"
        )
    return (names,)


def _wheels(rig: str, cuda: Cuda | None, hardware: Hardware) -> Wheels | None:
    if cuda is None or cuda.source != "pypi":
        return None
    made = wheels(cuda.version or "", hardware.architecture)
    if made is None:
        raise Refused(f"{rig}: CUDA {cuda.version} has no wheels for {hardware.architecture}; set rig.cuda.source")
    return made


def _toolkit(rig: str, planner: LlamacppPlanner, hardware: Hardware) -> Cuda | None:
    if not compiles_for_cuda(planner.settings, hardware):
        return None
    if planner.installed.toolkit is None and planner.installed.cuda_version is None:
        why = planner.installed.no_toolkit or "no CUDA toolkit fits its GPUs"
        raise Refused(f"{rig}: {why}; a bundle holds toolkits of PyPI and of the distribution, or set backend to cpu")
    return planner.installed.toolkit


def _git(rig: str, settings: LlamacppSettings) -> Git:
    commit = settings.commit({})
    if commit is None:
        _check_ref(rig, settings)
    return Git(settings.git, settings.ref, commit)


def _check_ref(rig: str, settings: LlamacppSettings) -> None:
    if settings.ref == LATEST:
        raise Refused(
            f"{rig}: rig.llamacpp.ref: latest is another release tomorrow; name a tag, or lock the plan first"
        )


def _packages(
    rig: str, spec: RigSpec, hardware: Hardware, settings: LlamacppSettings, cuda: Cuda | None
) -> tuple[tuple[str, ...], ...]:
    if not spec.base.install_packages:
        return ()
    asked = [running_packages(settings, hardware)]
    if not settings.is_prebuilt:
        asked += [build_packages(settings, hardware), package_needs(cuda, hardware) if cuda else ()]
    manager = package_manager(hardware)
    system = f"{hardware.os_id} {hardware.os_version}".strip()
    if manager is None or None in asked:
        raise Refused(f"{rig}: {system} is not known here; Debian, Ubuntu and Fedora are")
    if manager.name != "apt":
        names = " ".join(dict.fromkeys(name for one in asked for name in one or ()))
        raise Refused(
            f"{rig}: packages of {system} are not bundled, those of apt alone are; have {names} on the rig, and set "
            "rig.base.install_packages to False"
        )
    return tuple(dict.fromkeys(one for one in asked if one))
