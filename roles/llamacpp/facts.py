"""What a rig says about llama.cpp: releases, services, and what they run right now."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from itertools import takewhile
from pathlib import PurePosixPath

from rigwright.plan.engines.llamacpp.capabilities import (
    Capabilities,
    kv_pairs_of,
    pinned_capabilities,
    read_capabilities,
)
from rigwright.plan.engines.llamacpp.release import PREFIX
from rigwright.plan.engines.llamacpp.settings import LlamacppSettings
from rigwright.plan.wish import ServiceWish
from rigwright.roles.base.facts import OUR_UNITS, Rig
from rigwright.roles.base.operations import STATE_DIRECTORY
from rigwright.roles.base.probe import Probe
from rigwright.roles.llamacpp.unit import current_link, key_path, unit_path

_COMMIT = re.compile(r"[0-9a-f]{40}")
# The flags that each build on the rig accepts, under the source that it was made of; some 10 kB each.
_FLAGS = f"""
for release in {PREFIX}/*/; do
  [ -e "$release/flags.txt" ] || continue
  sed -n 's/^ "identity": "\\(.*\\)",$/== \\1/p' "$release/release.json"
  cat "$release/flags.txt"
done
""".strip()


def llamacpp_probe(settings: LlamacppSettings, wishes: tuple[ServiceWish, ...]) -> Probe:
    """What the llamacpp role asks."""
    names = tuple(wish.name for wish in wishes)
    return Probe(
        files=(
            *(unit_path(wish) for wish in wishes),
            *(current_link(name) for name in names),
            *(previous_link(name) for name in names),
            *(saved_unit(name) for name in names),
            *(saved_plan(name) for name in names),
            *(plan_path(name) for name in names),
            ref_stamp(settings),
        ),
        stats=tuple(key_path(wish) for wish in wishes),
        directories=(PREFIX,),
        units=tuple(wish.unit for wish in wishes),
        ports=tuple(wish.port for wish in wishes),
        health=tuple(f"{base_url(wish.host, wish.port)}/health" for wish in wishes),
        scripts=(
            *((f"key {wish.name}", f"sha256sum <{key_path(wish)} 2>/dev/null") for wish in wishes if wish.api_key_file),
            OUR_UNITS,
            ("links", "readlink /opt/rigwright/services/*/current /opt/rigwright/services/*/previous 2>/dev/null"),
            *(() if is_pinned(settings) else (("flags", _FLAGS),)),
        ),
    )


def base_url(host: str, port: int | str) -> str:
    """The address at which the rig itself reaches a service that listens on `host`."""
    local = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{local}]:{port}" if ":" in local else f"http://{local}:{port}"


def previous_link(name: str) -> str:
    """The link to the release that a service ran before."""
    return str(PurePosixPath(current_link(name)).with_name("previous"))


def saved_unit(name: str) -> str:
    """The unit that a service had before."""
    return f"{STATE_DIRECTORY}/services/{name}/previous.service"


def saved_plan(name: str) -> str:
    """The plan that a service had before."""
    return f"{STATE_DIRECTORY}/services/{name}/previous.json"


def plan_path(name: str) -> str:
    """The record of what was planned for a service, in JSON; what verification holds against the running process."""
    return f"/etc/rigwright/{name}.json"


def ref_stamp(settings: LlamacppSettings) -> str:
    """Where the commit of a tag is remembered."""
    return f"{STATE_DIRECTORY}/refs/{hashlib.sha256(f'{settings.git} {settings.ref}'.encode()).hexdigest()[:16]}"


def source_identity(settings: LlamacppSettings, rig: Rig) -> str | None:
    """The commit or the archive's sum that is to be built; None while a tag is not resolved yet."""
    if settings.archive:
        where = settings.archive.subdirectory
        return hashlib.sha256(f"{settings.archive.sha256}/{where}".encode()).hexdigest()
    if _COMMIT.fullmatch(settings.ref):
        return settings.ref
    return (rig.content(ref_stamp(settings)) or "").strip() or None


def is_pinned(settings: LlamacppSettings) -> bool:
    """True for the release whose flags are recorded here."""
    own = LlamacppSettings.model_validate({"archive": "pinned"} if settings.archive else {})
    return settings.archive == own.archive if settings.archive else settings.ref == own.ref


def capabilities(settings: LlamacppSettings, rig: Rig) -> Capabilities:
    """What the llama-server that is to run accepts: as its own build recorded it, else as the pinned release does."""
    pairs = kv_pairs_of(settings.cmake_options)
    lines = rig.sections.get("flags", [])
    mark = f"== {source_identity(settings, rig)}"
    if mark not in lines:
        return replace(pinned_capabilities(), kv_pairs=pairs)
    own = takewhile(lambda line: not line.startswith("== "), lines[lines.index(mark) + 1 :])
    return read_capabilities("\n".join(own), settings.ref, kv_pairs=pairs)


def nvcc_path(rig: Rig) -> str:
    """The compiler that the hardware role found."""
    found = [line.removeprefix("nvcc=") for line in rig.sections.get("cuda", []) if line.startswith("nvcc=")]
    return found[0] if found else "nvcc"
