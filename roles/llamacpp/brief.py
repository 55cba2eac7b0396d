"""All that is known of a rig before it is touched: its checked spec, its models seen from here, its keys."""

from __future__ import annotations

import ipaddress
import stat
import threading
from dataclasses import dataclass, field
from pathlib import Path
from weakref import WeakKeyDictionary

from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.state import State

from rigwright.errors import RigwrightError, WrongSpec
from rigwright.plan.wish import ServiceWish
from rigwright.roles.base.facts import current_host, current_state
from rigwright.roles.base.operations import base_probe
from rigwright.roles.base.probe import Probe
from rigwright.roles.hardware.facts import SECTIONS
from rigwright.roles.llamacpp.facts import llamacpp_probe
from rigwright.roles.weights.facts import weights_path, weights_probe
from rigwright.roles.weights.local import LocalModel, inspect_model
from rigwright.spec import RigSpec, parse_spec


class WrongInventory(WrongSpec, PyinfraError):
    """What stops a run before any rig is touched, in the form that pyinfra prints as a line."""


@dataclass(frozen=True)
class Brief:
    """One rig's part of the inventory, ready to work from. Models and keys are by service name."""

    rig: str
    spec: RigSpec
    models: dict[str, LocalModel]
    keys: dict[str, str] = field(repr=False)

    @property
    def probe(self) -> Probe:
        """The one question that all operations of a run share."""
        weights = self.spec.weights
        paths = tuple(weights_path(wish.model, weights) for wish in self.spec.services)
        return (
            base_probe()
            | Probe(scripts=SECTIONS)
            | weights_probe(paths, weights.directory)
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


def make_brief(rig: str, data: object) -> Brief:
    """Check one rig's data and look at its models.

    Raises:
        RigwrightError: a line for each thing that is wrong.
    """
    spec = parse_spec(rig, data)
    models, keys = {}, {}
    for index, wish in enumerate(spec.services):
        where = f"{rig}: rig.services.{index}"
        try:
            models[wish.name] = inspect_model(wish.model, spec.weights)
        except RigwrightError as error:
            raise WrongSpec(f"{where}.model: {error.message}") from None
        _check_networks(where, wish)
        if wish.api_key_file:
            keys[wish.name] = _read_keys(where, Path(wish.api_key_file).expanduser())
    return Brief(rig, spec, models, keys)


def _check(state: State) -> dict[str, Brief]:
    briefs, wrong = {}, []
    for host in state.limit_hosts or list(state.inventory):
        try:
            briefs[host.name] = make_brief(host.name, host.data.get("rig"))
        except RigwrightError as error:
            wrong.append(error.message)
    if wrong:
        raise WrongInventory("\n".join(wrong))
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
