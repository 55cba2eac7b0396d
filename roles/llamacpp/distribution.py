"""llama.cpp out of the distribution's packages: what a rig's own apt offers, and the release that is made of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rigwright import __version__
from rigwright.catalogue import load
from rigwright.hardware import Hardware
from rigwright.plan.engines.llamacpp.planner import LlamacppPlanner
from rigwright.plan.engines.llamacpp.release import TARGETS, Release, capabilities, uses_cuda
from rigwright.plan.engines.llamacpp.settings import LlamacppSettings
from rigwright.records.paths import STATE_DIRECTORY
from rigwright.resources import role_text, script
from rigwright.roles.base.channel import Script
from rigwright.roles.base.facts import Rig
from rigwright.roles.base.operations import INSTALLED_LIST
from rigwright.roles.base.probe import Probe
from rigwright.roles.service.context import RigContext

_SECTION = "llamacpp-packages"
# Without lists apt knows nothing yet; then the deploy asks after it has renewed them.
_CANDIDATES = """
if ls /var/lib/apt/lists/*_Packages* >/dev/null 2>&1; then
  echo known
  apt-cache policy {names} 2>/dev/null |
    awk '/^[^ ]/ {{ name = $1 }} $1 == "Candidate:" && $2 != "(none)" {{ print name $2 }}'
fi
"""


def packages_probe() -> Probe:
    """Which packages of llama.cpp a rig's apt could take."""
    row = load("engines")["llamacpp"]["packages"]
    return Probe(scripts=((_SECTION, _CANDIDATES.format(names=f"{row['program']} {row['cuda']}")),))


def packages_errors(planner: LlamacppPlanner, rig: Rig, context: RigContext) -> Iterator[str]:
    """Why the distribution's packages could not be taken."""
    settings = planner.settings
    if context.bundle:
        yield "rig.llamacpp.source: distro asks the rig's own sources, a bundle has none; set it to build or prebuilt"
        return
    known, *candidates = rig.sections.get(_SECTION) or ("",)
    names = [line.partition(":")[0] for line in candidates]
    missing = [name for name in settings.packages if name not in names]
    if known and missing:
        yield (
            f"rig.llamacpp.source: this rig's own sources have no {' and no '.join(missing)}; have a suite among them "
            "that does and run apt-get update, or set source to build or prebuilt"
        )


def chosen(settings: LlamacppSettings) -> Script:
    """Finds which packages the rig's sources have, once."""
    return Script(script("llamacpp", "offered.sh", "choose.sh", before=_apt(), **_asked(settings)))


def packaged(
    settings: LlamacppSettings, release: Release, known: Mapping[str, str], hardware: Hardware, *, install: bool
) -> Script:
    """Makes the release; `known` is what all ways to one know, `install` whether packages may come for it."""
    text = script(
        "llamacpp",
        *("settle.sh", "fatbins.sh", "proof.sh", "offered.sh", "unpack.sh"),
        before=_apt(),
        **known,
        **_asked(settings),
        IDENTITY=release.identity,
        MANIFEST=release.manifest(),
        TARGETS=" ".join(TARGETS),
        GPUS=" ".join(capabilities(hardware)) if uses_cuda(settings, hardware) else "",
        INSTALL="yes" if install else "",
        RECORD=INSTALLED_LIST,
        RIGWRIGHT=__version__,
    )
    return Script(text)


def _apt() -> str:
    """What packages need comes as packages do, and is noted as all are."""
    return "\n".join(role_text("base", name) for name in ("manager.sh", "apt.sh", "bring.sh"))


def _asked(settings: LlamacppSettings) -> dict[str, str]:
    return {
        "PACKAGES": " ".join(settings.packages),
        "BESIDE": str(load("engines")["llamacpp"]["packages"]["beside"]),
        "VERSION": settings.distro_version or "",
        "STAMP": f"{STATE_DIRECTORY}/refs/{settings.ref_key}",
    }
