"""Releases that several rigs want: one of them builds, the others get what it built, by way of the controller."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import gevent
from paramiko import SSHException
from pyinfra.api.command import PyinfraCommand
from pyinfra.api.host import Host
from pyinfra.api.state import State

from rigwright.errors import RigwrightError
from rigwright.roles.base.channel import Script, Upload, download
from rigwright.roles.base.failures import complain
from rigwright.roles.base.pyinfra_private import Command, executes, has_failed, hosts_of, ssh_client, takes_turns
from rigwright.roles.service.kept_releases import LARGEST_BYTES, Kept, check_release
from rigwright.weights.kept import alone

_Found = TypeVar("_Found")
# With this exit code a build says that it would end so on any rig of the kind.
CANNOT_BE_BUILT = 3
# A rig that waits looks again this often, and says so this often.
_LOOK_SECONDS, _TELL_SECONDS = 1, 60
# All begin an operation at once. One that is not there by then may never be: it failed before, or has none such.
_LATE_SECONDS = 60


@dataclass
class Yard:
    """What a run knows of a release: the rigs that have it, that want it, that are at it, and whose build failed.

    substitute: a rig that builds in place of the one whose turn it is, which may never arrive.
    """

    haves: list[Host] = field(default_factory=list)
    wants: list[Host] = field(default_factory=list)
    arrived: set[Host] = field(default_factory=set)
    substitute: Host | None = None
    failed: Host | None = None

    def register(self, host: Host, *, has: bool) -> None:
        """A rig has the release, or wants it."""
        here, there = (self.haves, self.wants) if has else (self.wants, self.haves)
        if host in there:
            there.remove(host)
        if host not in here:
            here.append(host)

    def giver(self, host: Host) -> Host | None:
        """A rig of this run that has it, and can be asked."""
        return next((one for one in self.haves if one is not host and not has_failed(one) and ssh_client(one)), None)

    def builder(self, state: State) -> Host | None:
        """The rig that builds: of those that want it the first of the inventory."""
        if self.substitute in self.wants and not has_failed(self.substitute):
            return self.substitute
        order = list(state.inventory)
        return min((one for one in self.wants if not has_failed(one)), key=order.index, default=None)

    def is_mine(self, host: Host, state: State, *, waited: float = 0) -> bool:
        """Whether this rig builds: if the one that should is late, or may come after it where rigs take turns."""
        builder = self.builder(state)
        may_never_come = takes_turns(state) or waited > _LATE_SECONDS
        if builder is not host and builder not in self.arrived and executes(state) and may_never_come:
            builder = self.substitute = host
        return builder is host

    def leave(self, host: Host) -> None:
        """A rig neither builds it nor gets it: nobody waits for it."""
        self.wants = [one for one in self.wants if one is not host]


_yards: WeakKeyDictionary[State, dict[str, Yard]] = WeakKeyDictionary()


def yard_of(state: State, release: str) -> Yard:
    """What a run knows of a release, by its directory on rigs."""
    return _yards.setdefault(state, {}).setdefault(release, Yard())


def settle(host: Host, release: str, *, has: bool) -> None:
    """Which release a rig wants after all: a driver, or another run, may have changed that since the run began."""
    for directory, yard in _yards.get(host.state, {}).items():
        if directory != release:
            yard.leave(host)
        elif has:
            yard.register(host, has=True)


def builds(host: Host, release: str, kept: Kept) -> bool:
    """Whether a rig has to build a release itself, as far as is known by now."""
    yard = yard_of(host.state, release)
    if host in yard.haves or not ssh_client(host):
        return host not in yard.haves
    return yard.giver(host) is None and kept.find() is None and yard.is_mine(host, host.state)


def receives(host: Host, release: str, kept: Kept | None) -> bool:
    """Whether a rig gets a release that another one builds, or that is kept, as far as is known before any begins.

    While rigs are still being read any of several may be the one that builds: then nobody is asked for a build's room.
    """
    if not ssh_client(host):
        return False
    yard = yard_of(host.state, release)
    if yard.giver(host) or (kept and kept.find()):
        return True
    if executes(host.state):
        return yard.builder(host.state) is not host
    return sum(not has_failed(one) for one in hosts_of(host.state)) > 1


class Later(Command):
    """Commands that are known when their turn comes, such as those that send what is fetched first."""

    def __init__(self, commands: Callable[[], Sequence[PyinfraCommand]]) -> None:
        super().__init__()
        self.commands = commands

    def __repr__(self) -> str:
        return "Later(…)"

    def carry_out(self, state: State, host: Host, connector_arguments: Any) -> bool:
        """Carry them out; False where one failed, or they cannot be known, after saying why."""
        try:
            commands = self.commands()
        except RigwrightError as error:
            complain(host, error.message)
            return False
        except OSError as error:
            complain(host, f"the cache of this machine fails: {error}; mend it, or set XDG_CACHE_HOME")
            return False
        return _run(commands, state, host, connector_arguments)


class Bring(Command):
    """The commands that have a release on a rig: those that build it, or those that receive what another rig built.

    Args:
        release: Its directory on rigs.
        kept: Where its archive is kept on this machine.
        build: What builds it here.
        receive: What receives an archive: its path on this machine, its sha256.
    """

    def __init__(
        self,
        release: str,
        kept: Kept,
        *,
        build: Sequence[PyinfraCommand],
        receive: Callable[[Path, str], Sequence[PyinfraCommand]],
    ) -> None:
        super().__init__()
        self.release, self.kept, self.build, self.receive = release, kept, build, receive

    def __repr__(self) -> str:
        return f"Bring({self.release})"

    def carry_out(self, state: State, host: Host, connector_arguments: Any) -> bool:
        """Have it there; False when that failed, after saying why."""
        yard = yard_of(state, self.release)
        yard.register(host, has=False)
        yard.arrived.add(host)
        try:
            return self._bring(yard, state, host, connector_arguments)
        finally:  # others wait for it, and it may have ended by whatever error
            yard.leave(host)

    def _bring(self, yard: Yard, state: State, host: Host, arguments: Any) -> bool:
        began, told = time.monotonic(), 0.0
        if ssh_client(host) is None:  # nothing travels by way of other connectors
            return self._build(state, host, arguments)
        while True:
            try:
                found = self._archive(yard, host)
            except OSError as error:
                host.log_styled(f"the cache of this machine fails: {error}; its release is built there", fg="yellow")
                return self._build(state, host, arguments)
            if found:
                return self._receive(found, state, host, arguments)
            if yard.failed:
                complain(host, f"its release cannot be built, see {yard.failed.name}; then run again")
                return False
            if yard.is_mine(host, state, waited=time.monotonic() - began):
                return self._build(state, host, arguments)
            if not told or time.monotonic() - told > _TELL_SECONDS:
                builder = yard.builder(state)
                host.log(f"waits for {builder.name if builder else 'another rig'}, which builds its release")
                told = time.monotonic()
            gevent.sleep(_LOOK_SECONDS)

    def _archive(self, yard: Yard, host: Host) -> tuple[Path, str] | None:
        """What was built earlier, or has just been built by another rig of this run."""
        # While this looks, another one may have got it.
        if yard.giver(host) is None and ((found := _aside(self.kept.find)) or yard.giver(host) is None):
            return found
        with alone(self.kept.lock):
            while not (found := _aside(self.kept.find)) and (giver := yard.giver(host)):
                if not self._fetch(giver, host):
                    yard.haves = [one for one in yard.haves if one is not giver]
            return found

    def _fetch(self, giver: Host, host: Host) -> bool:
        """Whether its archive came from the rig that has it."""
        part = self.kept.part
        directory, _, name = self.release.rpartition("/")
        # What a release is made of everybody on its rig may read.
        text = f"cd {directory} && tar -cf - --format=gnu --owner=0 --group=0 --exclude={name}/.served {name} | gzip -1"
        try:
            if giver is host:
                host.log("this machine keeps a copy of its release")
            else:
                host.log(f"its release comes from {giver.name}")
            download(giver, text, part, most=min(LARGEST_BYTES, shutil.disk_usage(part.parent).free // 2))
            _aside(check_release, part, name)
            _aside(self.kept.keep, part)
        except (RigwrightError, OSError, SSHException, EOFError) as error:
            with suppress(OSError):
                part.unlink()
            host.log_styled(f"its release could not be fetched from {giver.name}: {error}", fg="yellow")
            return False
        return True

    def _receive(self, found: tuple[Path, str], state: State, host: Host, arguments: Any) -> bool:
        if not _run(self.receive(*found), state, host, arguments):
            return False
        yard_of(state, self.release).register(host, has=True)
        return True

    def _build(self, state: State, host: Host, arguments: Any) -> bool:
        yard = yard_of(state, self.release)
        if not _run(self.build, state, host, arguments):
            # Another one builds in its place, unless it is the source that is at fault: then none of its kind can.
            if any(isinstance(one, Script) and one.status == CANNOT_BE_BUILT for one in self.build):
                yard.failed = host
            return False
        yard.register(host, has=True)
        if ssh_client(host):
            try:
                with alone(self.kept.lock):
                    if not _aside(self.kept.find):
                        self._fetch(host, host)
            except OSError as error:
                host.log_styled(f"this machine keeps no copy of its release: {error}", fg="yellow")
        return True


def _aside(work: Callable[..., _Found], *given: Any) -> _Found:
    """What work over a whole archive finds, in a thread: connections that nobody attends to for long are given up."""
    found: _Found = gevent.get_hub().threadpool.apply(work, given)
    return found


def _run(commands: Sequence[PyinfraCommand], state: State, host: Host, arguments: Any) -> bool:
    return all(one.carry_out(state, host, arguments) for one in commands if isinstance(one, Script | Upload))
