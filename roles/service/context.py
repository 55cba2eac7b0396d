"""RigContext: what a run knows of a rig: its checked spec, its lock, its keys; its plan, once the rig is read."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from weakref import WeakKeyDictionary

from pyinfra.api.host import Host
from pyinfra.api.state import State

from rigwright.bundle.opened import Bundle, with_bundle
from rigwright.errors import RigwrightError
from rigwright.hardware.failures import driver_failures
from rigwright.hardware.sections import SECTIONS
from rigwright.lock.file import Lock, lock_file, read_lock
from rigwright.lock.values import LockedRig
from rigwright.records.values import Deployed
from rigwright.resolve import Resolved, resolve
from rigwright.resolve.instance import Instance
from rigwright.resolve.rigs import look_at_models
from rigwright.resolve.share import Share
from rigwright.roles.base.account import account_probe
from rigwright.roles.base.facts import Rig
from rigwright.roles.base.failures import WrongInventory
from rigwright.roles.base.fetching import Find, nowhere
from rigwright.roles.base.headers import read_headers
from rigwright.roles.base.operations import base_probe
from rigwright.roles.base.probe import Probe
from rigwright.roles.base.pyinfra_private import (
    current_host,
    current_state,
    every_host,
    hosts_of,
    inventory_argument,
    su_reads_password,
    tell,
)
from rigwright.roles.weights.chain import address_probe
from rigwright.roles.weights.directory import directory_probe
from rigwright.roles.weights.facts import weights_file, weights_probe
from rigwright.spec.cluster import Membership, memberships, with_cluster
from rigwright.spec.keys import keys_of
from rigwright.spec.rig import RigSpec, parse_spec
from rigwright.spec.templates import template_path, templates_of
from rigwright.weights.local import projector_of, weights_path
from rigwright.weights.lookup import Lookup
from rigwright.weights.on_rig import FileState, files_on_rig


@dataclass(frozen=True)
class RigContext:
    """One rig's part of the inventory, ready to work from; `keys` are API keys by service,
    `templates` chat templates.

    `lock` is what is pinned for this rig, `lock_file` the file that holds it or other rigs. Where standard input is
    taken, by su for its password, no file and no key can travel. `bundle` holds what is brought, where there is one.
    `member` is the cluster that the rig is in, whose service is the last one of `spec`.
    """

    rig: str
    spec: RigSpec
    keys: dict[str, str] = field(default_factory=dict, repr=False)
    templates: dict[str, str] = field(default_factory=dict, repr=False)
    lock: LockedRig | None = None
    lock_file: str = ""
    inventory: str = "INVENTORY"
    is_stdin_taken: bool = False
    bundle: Bundle | None = None
    lookup: Lookup = field(default_factory=Lookup, repr=False, compare=False)
    member: Membership | None = None
    _share: dict[str, Share] = field(default_factory=dict, repr=False, compare=False)
    _resolved: dict[object, Resolved] = field(default_factory=dict, repr=False, compare=False)
    _learned: dict[str, str] = field(default_factory=dict, repr=False, compare=False)
    _missing: dict[str, str] = field(default_factory=dict, repr=False, compare=False)

    def __repr__(self) -> str:
        """Short: pyinfra prints the arguments of an operation."""
        return f"RigContext({self.rig})"

    @property
    def probe(self) -> Probe:
        """The one question that all operations of a run share; an engine's role adds its own."""
        weights, services = self.spec.weights, self.spec.services
        named = [
            self.lookup.model(wish.model, weights, projector=projector_of(wish))
            for wish in services
            if wish.model.names_file
        ]
        drafters = [self.lookup.model(wish.draft_model, weights) for wish in services if wish.draft_model]
        every = [file for local in (*named, *drafters) for file in local.files]
        files = [file.source for file in every if not file.folder]
        # 0.1 had the files of repositories where all the others are.
        flat = [f"{weights.directory}/{source.file_name}" for source in files]
        paths = tuple(dict.fromkeys([*(weights_path(source, weights) for source in files), *flat]))
        # A name of the catalogue comes to a file when the hardware is known: all that are there are listed.
        is_open = len(named) < len(services)
        return (
            base_probe()
            | account_probe()
            | Probe(scripts=SECTIONS, services=tuple(wish.name for wish in services))
            | weights_probe(paths, weights.directory, is_open=is_open, has_whole=any(one.folder for one in every))
            | address_probe(weights)
            | directory_probe((weights.directory,) if services else ())
            | Probe(files=tuple(map(template_path, self.templates.values())))
        )

    @property
    def find(self) -> Find:
        """Files that are at hand, by their sums."""
        return self.bundle.find if self.bundle else nowhere

    def beside(self, rig: Rig) -> list[Deployed]:
        """What is on the rig and in no service of this inventory: of another one, or an orphan."""
        return rig.records.absent(wish.name for wish in self.spec.services)

    def sums_beside(self, rig: Rig) -> str:
        """What the plan stands on of other services: the sum of each record, as `beside` of owner.sh says it."""
        wished = {wish.name for wish in self.spec.services}
        others = (one for one in rig.records.services.values() if one.service not in wished and one.record_sum)
        return "\n".join(f"{one.record_sum} {one.name}" for one in sorted(others, key=lambda one: f"{one.name}.json"))

    def read_headers(self, rig: Rig, host: Host) -> None:
        """Read the headers of model files that lie on the rig and are not known as they are now.

        Raises:
            RigwrightError: one is no model.
        """
        named = [one.path_on_rig for one in self.spec.sources if one.path_on_rig]
        paths = tuple(dict.fromkeys(path for one in named for path in files_on_rig(one)))
        found = {path: weights_file(rig, path) for path in paths}
        known = {path: FileState(file.size_bytes, file.modified) for path, file in found.items() if file}
        if known:
            read_headers(host, self.rig, tuple(known), known=known)

    def resolved(self, rig: Rig) -> Resolved:
        """The plan of the rig and its files.

        Raises:
            RigwrightError: the rig cannot serve what is wished.
        """
        hardware = replace(rig.hardware, disks=(), problems=driver_failures(rig.hardware))
        kept = rig.records.installed
        installed = replace(kept, commits={**self._learned, **kept.commits}, missing={**self._missing})
        beside = tuple((one.name, one.record_sum) for one in self.beside(rig))
        compilers = installed.nvcc, installed.toolkits
        asked = tuple(sorted(installed.commits.items())), tuple(sorted(installed.missing.items()))
        key = hardware, beside, frozenset(installed.flags), installed.releases, asked, compilers
        if key not in self._resolved:
            records = replace(rig.records, installed=installed)
            share = self._share.get("") if self.member else None
            self._resolved[key] = resolve(
                self.spec, hardware, self.lock, records=records, lookup=self.lookup, share=share
            )
        return self._resolved[key]

    def join(self, share: Share) -> None:
        """What the rig runs of its cluster's service, once all its rigs have answered: it is part of all plans."""
        self._share[""] = share
        self._resolved.clear()  # what was foreseen without it

    def learn(self, found: Mapping[str, str], *, missing: Mapping[str, str] = MappingProxyType({})) -> None:
        """What the rig does not keep yet, as `Installed.commits` would have it, and what cannot be had in this run.

        All plans of the run are made from it.
        """
        self._learned.update(found)
        self._missing.update(missing)

    @property
    def learned(self) -> dict[str, str]:
        """What was learned, for the rig to keep."""
        return {**self._learned}

    def instance(self, rig: Rig, name: str) -> Instance | None:
        """An instance of the plan by its name; None where the plan has no such one any more.

        Raises:
            RigwrightError: the rig cannot serve what is wished.
        """
        found = self.resolved(rig).instances(self.spec)
        return next((one for one in found if one.name == name), None)

    def lock_refusal(self, resolved: Resolved) -> list[str]:
        """Why the lock forbids a deploy, a line each; empty where it does not."""
        if not self.lock or resolved.is_locked:
            return []
        renew = f"rigwright plan {self.inventory} --replan --limit {self.rig}"
        first = f"{self.lock_file} no longer matches; nothing was touched. To take the new state: {renew}"
        return [first, *map(str, resolved.changes)]


_contexts: WeakKeyDictionary[State, dict[str, RigContext]] = WeakKeyDictionary()
_guard = threading.Lock()


def current_context() -> RigContext:
    """The context of the current host.

    The first host of a run checks the whole inventory, so that no rig is touched while another one's data is wrong.

    Raises:
        WrongInventory: a line for each thing that is wrong.
    """
    state = current_state()
    with _guard:
        if state not in _contexts:
            _contexts[state] = _check(state)
    return _contexts[state][current_host().name]


def make_context(
    rig: str,
    data: object,
    *,
    lock: LockedRig | None = None,
    lock_file: str = "",
    inventory: str | None = None,
    lookup: Lookup | None = None,
    is_stdin_taken: bool = False,
    member: Membership | None = None,
) -> RigContext:
    """One rig's data, checked, with its models looked at and its keys read.

    Raises:
        RigwrightError: a line for each thing that is wrong.
    """
    lookup = lookup or Lookup()
    own = {} if data is None and member else data
    spec = with_cluster(rig, parse_spec(rig, own, inventory=inventory), member)
    spec, bundle = with_bundle(spec, rig, tell)
    look_at_models({rig: spec}, lookup)
    keys, templates = keys_of(rig, spec), templates_of(rig, spec)
    inventory = inventory or "INVENTORY"
    return RigContext(rig, spec, keys, templates, lock, lock_file, inventory, is_stdin_taken, bundle, lookup, member)


def _check(state: State) -> dict[str, RigContext]:
    contexts, wrong = {}, []
    locks: dict[Path, Lock] = {}
    lookup, inventory = Lookup(), inventory_argument()
    try:
        members = memberships((host.name, host.data.get("cluster")) for host in every_host(state))
    except RigwrightError as error:
        raise WrongInventory(error.message) from None
    for host in hosts_of(state):
        try:
            path = lock_file(host.name, host.data.get("rig_lock"), inventory)
            if path and path not in locks:
                locks[path] = read_lock(path)
            locked = locks[path].rigs.get(host.name) if path else None
            contexts[host.name] = make_context(
                host.name,
                host.data.get("rig"),
                lock=locked,
                lock_file=str(path or ""),
                inventory=inventory,
                lookup=lookup,
                is_stdin_taken=su_reads_password(host),
                member=members.get(host.name),
            )
        except RigwrightError as error:
            wrong.append(error.message)
    if wrong:
        raise WrongInventory("\n".join(dict.fromkeys(line for message in wrong for line in message.splitlines())))
    return contexts
