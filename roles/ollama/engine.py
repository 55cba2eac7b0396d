"""Ollama as an engine of services: how its archive comes to a rig, and how its models are made and proven."""

from __future__ import annotations

import json
from collections.abc import Iterator

from rigwright.errors import RigwrightError
from rigwright.plan.engines.ollama.planner import model_name
from rigwright.plan.engines.ollama.release import archives_for
from rigwright.plan.engines.ollama.request import request_of, request_path, tag_of
from rigwright.records.paths import INSTALL_DIRECTORY, STATE_DIRECTORY
from rigwright.resolve import Resolved
from rigwright.resolve.instance import Instance
from rigwright.resources import assignments, role_text
from rigwright.roles.base.channel import NO_STDIN
from rigwright.roles.base.disks import room_errors
from rigwright.roles.base.facts import Rig
from rigwright.roles.base.packages import all_names, package_names
from rigwright.roles.base.probe import Probe
from rigwright.roles.base.pyinfra_private import current_host
from rigwright.roles.ollama import operations as ollama
from rigwright.roles.service.answer import CHAT, Answer
from rigwright.roles.service.context import RigContext
from rigwright.spec.rig import RigSpec
from rigwright.units import GIB, format_bytes

# What an archive of upstream's has, and what is in it. Source: ollama 0.17.4, by an issue; the newest was not seen.
_ARCHIVE_BYTES, _INSTALLED_BYTES = 2 * GIB, 4 * GIB
_STORES = "/var/lib/private"
_NEIGHBOURS = "systemctl show -p Id,ActiveState,FragmentPath ollama.service 2>/dev/null"


class Ollama:
    """Ollama, out of its own archive: one server with one model for each service."""

    name = "ollama"
    health = "/"

    def answer(self, instance: Instance) -> Answer:
        """A chat completion of its model."""
        return CHAT._replace(body=json.dumps({"model": model_name(instance.wish), **json.loads(CHAT.body)}))

    def work(self, instance: Instance) -> None:
        """It does not tell: /api/ps says what is loaded, not whether it is at work."""

    def probe(self, spec: RigSpec) -> Probe:
        """Packages, the script of its units, what each store has of ours, room, and an Ollama of the owner's."""
        stores = tuple(f"{_STORES}/rigwright-{one.name}/rigwright" for one in spec.services if one.engine == self.name)
        files = (ollama.PROGRAM, *stores)
        return Probe(all_names("ollama"), files=files, disks=(_STORES,), scripts=(("ollama", _NEIGHBOURS),))

    def packages(self, context: RigContext, rig: Rig) -> tuple[str, ...] | None:
        """What brings and unpacks its archive, and speaks to it."""
        return package_names("ollama", rig.hardware)

    def ask(self, rig: Rig, context: RigContext) -> None:
        """The sums of upstream's release, where they are not kept yet; and say what of the owner's stays."""
        host = current_host()
        said = dict(line.split("=", 1) for line in rig.sections.get("ollama", []) if "=" in line)
        if said.get("ActiveState") == "active":
            what = "it stays as it is, and takes memory of the GPUs when it loads a model"
            host.log_styled(f"ollama.service of this rig is not rigwright's: {what}", fg="yellow")
        planner, settings = ollama.planner_of(context, rig), ollama.settings_of(context, rig)
        if planner.build(rig.hardware) is not None:
            return
        if context.bundle:
            raise RigwrightError(context.bundle.lacks([f"Ollama {settings.version}"], context.inventory))
        from rigwright.roles.ollama.published import published_sums  # http, which few runs need

        try:
            found = published_sums(settings, archives_for(settings, rig.hardware))
        except OSError as error:
            raise RigwrightError(f"the cache of this machine fails: {error}; mend it, or set XDG_CACHE_HOME") from None
        context.learn({settings.sum_key(name): digest for name, digest in found.items()})

    def preflight_errors(self, rig: Rig, context: RigContext) -> Iterator[str]:
        """Too small a disk for the release, or for its copies of weights; archives that cannot be sent."""
        try:
            release = ollama.planner_of(context, rig).build(rig.hardware)
        except RigwrightError as error:
            yield error.message
            return
        yield from _store_errors(rig, context)
        if release is None or release.directory in rig.records.installed.releases:
            return
        here = [one for one in release.archives if one.path or context.find(one.sha256)]
        if here and context.is_stdin_taken:
            yield f"Ollama's archive cannot be sent to this rig: {NO_STDIN}"
            return
        if context.bundle and len(here) < len(release.archives):
            yield context.bundle.lacks([f"Ollama {release.version}"], context.inventory)
            return
        if ollama.settings_of(context, rig).archive:
            return  # how large it is shows when it is there
        coming = (
            ("receiving Ollama", _ARCHIVE_BYTES * len(release.archives), STATE_DIRECTORY),
            ("installing Ollama", _INSTALLED_BYTES * len(release.archives), INSTALL_DIRECTORY),
        )
        yield from room_errors(rig, coming)

    def install(self, context: RigContext, probe: Probe) -> None:
        """Keep the sums of its archives, and have what is in them."""
        ollama.keep_sums(context=context, probe=probe, name="Keep the sums of Ollama")
        ollama.bring(context=context, probe=probe, name="Bring Ollama")

    def before_start(self, rig: Rig, instance: Instance, resolved: Resolved) -> str:
        """Its model is made while what serves still serves: what goes wrong there changes nothing."""
        modelfile = instance.plan.modelfile or ""
        known = {
            "MODEL": model_name(instance.wish),
            "REQUEST": request_path(modelfile),
            "REQUEST_TEXT": request_of(modelfile),
        }
        return "\n".join([*assignments(known), role_text("ollama", "prepare.sh")])


def _store_errors(rig: Rig, context: RigContext) -> Iterator[str]:
    """Where a store has no room for the copies that are made in it. Twice the weights: what arrives, and what is made
    of it, of which one goes at the next start."""
    disk, needed = rig.disks.get(_STORES), 0
    resolved = context.resolved(rig)
    for instance in resolved.instances(context.spec):
        if instance.engine != ENGINE.name:
            continue
        kept = rig.content(f"{_STORES}/rigwright-{instance.service}/rigwright") or ""
        sums = [file.sha256 for file, _ in resolved.files(instance.plan, context.spec.weights)]
        if all(sums):
            tag = tag_of(instance.plan.modelfile or "", [one for one in sums if one])
            is_made = any(line.startswith(f"{tag} ") for line in kept.splitlines())
        else:
            is_made = bool(kept)
        needed += 0 if is_made else 2 * (instance.plan.file_bytes or 0)
    if disk and disk.free_bytes < needed:
        have = format_bytes(disk.free_bytes)
        yield (
            f"Ollama's copies of the weights need {format_bytes(needed)} in {_STORES} while they are made, "
            f"the disk has {have}; free some, or mount another disk there"
        )


ENGINE = Ollama()
