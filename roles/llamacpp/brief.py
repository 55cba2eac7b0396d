"""All that is known of a rig before it is touched: its checked spec, its models seen from here, its keys."""

from __future__ import annotations

import ipaddress
import stat
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from weakref import WeakKeyDictionary

from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.state import State

from rigwright.errors import RigwrightError, WrongSpec
from rigwright.hardware import Hardware
from rigwright.hardware.sections import SECTIONS
from rigwright.lock.changes import wish_changes
from rigwright.lock.entry import changed_file, locked_build, locked_model, serves_a_file, settings_of
from rigwright.lock.file import Lock, read_lock
from rigwright.lock.values import LockedRig, PinnedService
from rigwright.plan.service import ServicePlan
from rigwright.plan.wish import ServiceWish
from rigwright.roles.base.facts import current_host, current_state
from rigwright.roles.base.operations import base_probe
from rigwright.roles.base.probe import Probe
from rigwright.roles.llamacpp.facts import llamacpp_probe
from rigwright.roles.llamacpp.lock import inventory_name, lock_of
from rigwright.roles.weights.facts import weights_probe
from rigwright.spec.rig import RigSpec, parse_spec
from rigwright.weights.local import LocalModel, inspect_model, projector_of, weights_path
from rigwright.weights.offers import offers_for


class WrongInventory(WrongSpec, PyinfraError):
    """What stops a run before any rig is touched, in the form that pyinfra prints as a line."""


@dataclass(frozen=True)
class Brief:
    """One rig's part of the inventory, ready to work from. Models and keys are by service name.

    A service without a model has a name of the catalogue: its file is chosen when the rig's hardware is known. `lock`
    is what is pinned for this rig, `lock_file` the file that holds it or other rigs; `changes` is what the inventory
    no longer says as the lock does. `wished` are the inventory's own words where `spec` has what is locked or chosen.
    """

    rig: str
    spec: RigSpec
    models: dict[str, LocalModel]
    keys: dict[str, str] = field(repr=False)
    wished: RigSpec | None = None
    lock: LockedRig | None = None
    lock_file: str = ""
    changes: tuple[str, ...] = ()
    inventory: str = "INVENTORY"
    plans: dict[Hardware, dict[str, ServicePlan]] = field(default_factory=dict, compare=False, repr=False)

    @property
    def is_open(self) -> bool:
        """True while the plan has yet to choose files."""
        return any(wish.name not in self.models for wish in self.spec.services)

    @property
    def probe(self) -> Probe:
        """The one question that all operations of a run share."""
        weights = self.spec.weights
        files = [file.source for local in self.models.values() for file in local.files]
        paths = tuple(weights_path(file, weights) for file in files)
        return (
            base_probe()
            | Probe(scripts=SECTIONS)
            | weights_probe(paths, weights.directory, is_open=self.is_open)
            | llamacpp_probe(self.spec.llamacpp, self.spec.services)
        )


_briefs: WeakKeyDictionary[State, dict[str, Brief]] = WeakKeyDictionary()
_lock = threading.Lock()


def current_brief() -> Brief:
    """The brief of the current host.

    The first host of a run checks the whole inventory, so that no rig is touched while another one's data is wrong.

    Raises:
        WrongInventory: a line for each thing that is wrong.
    """
    state = current_state()
    with _lock:
        if state not in _briefs:
            _briefs[state] = _check(state)
    return _briefs[state][current_host().name]


def make_brief(rig: str, data: object, *, lock: LockedRig | None = None, lock_file: str = "") -> Brief:
    """Check one rig's data, hold it against its lock, and look at its models.

    Raises:
        RigwrightError: a line for each thing that is wrong.
    """
    wished = parse_spec(rig, data)
    changes = list(wish_changes(lock, wished.services, settings_of(wished))) if lock else []
    is_locked = lock is not None and not changes
    spec = wished.model_copy(update={"llamacpp": locked_build(wished.llamacpp, lock)}) if lock and is_locked else wished
    models, keys = {}, {}
    for index, wish in enumerate(spec.services):
        where = f"{rig}: rig.services.{index}"
        pinned = lock.services[wish.name] if lock and is_locked else None
        try:
            found = _model(wish, spec, pinned)
        except RigwrightError as error:
            raise WrongSpec(f"{where}.model: {error.message}") from None
        if found:
            models[wish.name] = found
            changed = changed_file(wish, pinned, found) if pinned else None
            changes += [changed] if changed else []
        _check_networks(where, wish)
        if wish.api_key_file:
            keys[wish.name] = _read_keys(where, Path(wish.api_key_file).expanduser())
    services = tuple(with_source(wish, models.get(wish.name)) for wish in spec.services)
    spec = spec.model_copy(update={"services": services})
    return Brief(rig, spec, models, keys, wished, lock, lock_file, tuple(changes))


def with_source(wish: ServiceWish, local: LocalModel | None) -> ServiceWish:
    """The wish with the file that is certain in place of a name."""
    return wish.model_copy(update={"model": local.source}) if local else wish


def _model(wish: ServiceWish, spec: RigSpec, pinned: PinnedService | None) -> LocalModel | None:
    """The files of a service as far as they are known without the rig's hardware."""
    if pinned and (pinned.engine != "llamacpp" or not pinned.model.files):
        return None
    if pinned:
        return locked_model(wish, pinned, spec)
    if serves_a_file(wish):
        return inspect_model(wish.model, spec.weights, projector=projector_of(wish))
    if wish.model.name:
        offers_for(wish.model)  # refuses a name that the catalogue has not
    return None


def _check(state: State) -> dict[str, Brief]:
    briefs, wrong = {}, []
    locks: dict[Path, Lock] = {}
    for host in state.limit_hosts or list(state.inventory):
        try:
            path = lock_of(host)
            if path and path not in locks:
                locks[path] = read_lock(path)
            rigs = locks[path].rigs if path else {}
            data = host.data.get("rig")
            brief = make_brief(host.name, data, lock=rigs.get(host.name), lock_file=str(path or ""))
            briefs[host.name] = replace(brief, inventory=inventory_name() or brief.inventory)
        except RigwrightError as error:
            wrong.append(error.message)
    if wrong:
        raise WrongInventory("\n".join(dict.fromkeys(wrong)))
    return briefs


def _check_networks(where: str, wish: ServiceWish) -> None:
    for network in wish.allow_from:
        try:
            ipaddress.ip_network(network)
        except ValueError as error:
            raise WrongSpec(f"{where}.allow_from: {error}; write networks like 192.168.1.0/24") from None


def _read_keys(where: str, path: Path) -> str:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise WrongSpec(
            f"{where}.api_key_file: {path} cannot be read: {reason}; write one API key per line into it"
        ) from None
    if mode & 0o077:
        raise WrongSpec(f"{where}.api_key_file: {path} is readable for others (mode {mode:o}); chmod 600 it")
    keys = text.split("\n")
    if not text.strip() or any(key != key.strip() or not key.isprintable() for key in keys):
        raise WrongSpec(f"{where}.api_key_file: {path} must hold one API key per line, without blanks; write it anew")
    return text.rstrip("\n") + "\n"
