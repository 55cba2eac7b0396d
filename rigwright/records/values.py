"""RigRecords: what deploys left on a rig, as values: services as they were deployed and as they run, releases, keys."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from rigwright.plan.engines.installed import NOTHING, Installed
from rigwright.records import paths
from rigwright.records.group import Group
from rigwright.records.marks import MARKER as MARKER
from rigwright.records.marks import is_ours as is_ours
from rigwright.records.marks import marker_of as marker_of
from rigwright.records.marks import was_ours as was_ours
from rigwright.units import whole_number


@dataclass(frozen=True)
class Work:
    """Where an instance tells what it is doing: a path, and the pattern of its answer while a request is under way."""

    path: str
    busy: str


@dataclass(frozen=True)
class Record:
    """The plan that a service was deployed by, as far as it can be read.

    flags: each with its value, None for a bare one. gpus: UUID, or `GPU <index>` where there was none, in the engine's
    order. gpu_bytes: what the plan gave it of each. spare_bytes: what of ram_bytes it took because it was left. health:
    the address that answers 200 while it is healthy. answer: the request that proves that it serves. owner: the
    inventory that deployed it, empty where the record does not say. work, drain_seconds: how it tells of requests, and
    how long these may go on before it stops; None where the record does not say. watch_seconds: how long it may be
    silent before it is restarted, 0 for ever. keep_releases: how many older releases of its engine shall stay.
    """

    engine: str
    engine_version: str = ""
    model: str = ""
    flags: tuple[tuple[str, str | None], ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    host: str = "127.0.0.1"
    port: int | None = None
    has_key: bool = False
    gpus: tuple[str, ...] = ()
    gpu_bytes: tuple[int, ...] = ()
    ram_bytes: int = 0
    spare_bytes: int = 0
    is_measured: bool = False
    health: str = ""
    answer: object = None
    owner: str = ""
    work: Work | None = None
    drain_seconds: int | None = None
    watch_seconds: int = 0
    keep_releases: int = 1
    group: Group | None = None

    @property
    def argv(self) -> tuple[str, ...]:
        """The arguments, without the program."""
        return tuple(word for name, value in self.flags for word in (name, value) if word is not None)


@dataclass(frozen=True)
class KeyFile:
    """The file of a service's API keys: never its content. held_sha256: that of what its process has, where known."""

    sha256: str = ""
    modified: int = 0
    mode: str = ""
    owner: str = ""
    held_sha256: str = ""


@dataclass(frozen=True)
class Earlier:
    """What an instance ran: the text of its unit, its record as read and as it lies there, its release's directory."""

    unit: str
    record: Record | None
    record_text: str | None
    release: str


@dataclass(frozen=True)
class Cut:
    """A switch that is under way, or was cut: what ran before it, None where nothing did, and whether the new one had
    proven itself by then."""

    ran: Earlier | None = None
    is_proven: bool = False


@dataclass(frozen=True)
class Deployed:
    """One service, or one replica of it (`chat@1`), as it lies on the rig and as it runs.

    unit_kind: `file`, `link`, `other`, empty where there is none. unit, saved_unit: the texts of the unit and of the
    one before. record, saved_record: the same of the plan; the texts beside them are what the files hold, record_sum is
    the sha256 of the first, empty without. current, previous: directories of releases; current_place: where the first
    really lies, if that is elsewhere. cut: a switch that nobody has finished. exe, directory: the program and the
    working directory of its process. watch_sum: the sha256 of what looks after it, empty without; is_watched: that is
    on. buffers: what dry runs said. properties: of `systemctl show`. health: an HTTP status, None where nobody answers.
    """

    name: str
    unit_kind: str = ""
    unit: str = ""
    unit_mode: str = ""
    unit_owner: str = ""
    record: Record | None = None
    record_text: str | None = None
    record_sum: str = ""
    current: str | None = None
    current_place: str | None = None
    previous: str | None = None
    saved_unit: str | None = None
    saved_record: Record | None = None
    saved_record_text: str | None = None
    cut: Cut | None = None
    key: KeyFile | None = None
    properties: Mapping[str, str] = field(default_factory=dict)
    exe: str | None = None
    directory: str | None = None
    marker: str | None = None
    started: int = 0
    health_url: str = ""
    health: int | None = None
    watch_sum: str = ""
    is_watched: bool = False
    buffers: str = ""

    @property
    def service(self) -> str:
        """The service that it is a replica of."""
        return self.name.partition("@")[0]

    @property
    def owner(self) -> str:
        """The inventory that deployed it, empty where nothing says so; of a damaged record the one before it tells."""
        known = self.record or self.saved_record
        return known.owner if known else ""

    def is_of(self, owners: Collection[str]) -> bool:
        """Whether it is an inventory's that has these names. What nobody signed is, as before there were owners."""
        return not self.owner or self.owner in owners

    @property
    def unit_name(self) -> str:
        """`rigwright-chat.service`."""
        return f"rigwright-{self.name}.service"

    @property
    def is_ours(self) -> bool:
        """True for a unit file that rigwright wrote, edited or not."""
        return self.unit_kind == "file" and was_ours(self.unit)

    @property
    def is_active(self) -> bool:
        """Running now."""
        return self.properties.get("ActiveState") == "active" and self.properties.get("SubState") == "running"

    @property
    def runs_current(self) -> bool:
        """True where the program lies in the current release, or works there: an interpreter lies elsewhere."""
        places = {self.current, self.current_place} - {None}
        return any((self.exe or "").startswith(f"{place}/") or self.directory == place for place in places)

    @property
    def is_enabled(self) -> bool:
        """Starts again after a reboot."""
        return self.properties.get("UnitFileState") == "enabled"

    @property
    def way_back(self) -> Earlier | None:
        """What a rollback brings: what ran before, with the place at which it proves that it serves; None without.

        Of a switch that was cut it is what ran before that; where nothing did, what lies there is to prove itself.
        """
        release = self.previous or self.current
        if self.cut is None:
            kept = (
                Earlier(self.saved_unit, self.saved_record, self.saved_record_text, release)
                if self.saved_unit and release
                else None
            )
        elif self.cut.ran:
            kept = self.cut.ran
        else:
            kept = (
                Earlier(self.unit, self.record, self.record_text, self.current) if self.unit and self.current else None
            )
        return kept if kept and kept.record and kept.record.port else None

    @property
    def pid(self) -> int:
        """The main process, 0 where none runs."""
        return whole_number(self.properties.get("MainPID", "0")) or 0


NOT_DEPLOYED = Deployed("")


@dataclass(frozen=True)
class RigRecords:
    """All that rigwright left on a rig. `services` is by instance, `chat` and `chat@1`, and has the names asked for.

    unnamed: releases that are there and do not tell what they were built from. fresh: those of the last day that no
    instance ran yet. left: what installations left that were cut. systemd: its version, 0 where it did not tell.
    spare_toolkits: those of ours that no release was built with, and that are not wanted now. addresses: those of the
    rig, each with its interface and the length of its network: `10.0.0.1/24`.
    """

    services: Mapping[str, Deployed] = field(default_factory=dict)
    installed: Installed = NOTHING
    unnamed: tuple[str, ...] = ()
    fresh: frozenset[str] = frozenset()
    systemd: int = 0
    left: tuple[str, ...] = ()
    spare_toolkits: frozenset[str] = frozenset()
    addresses: tuple[tuple[str, str], ...] = ()

    def of(self, name: str) -> Deployed:
        """An instance; one without anything where there is none."""
        return self.services.get(name) or Deployed(name)

    def instances_of(self, service: str) -> list[Deployed]:
        """The deployed instances of a service, in order."""
        return [one for one in self.deployed if one.service == service]

    @property
    def deployed(self) -> list[Deployed]:
        """The instances that have a unit of ours, in order of their names."""
        return [self.services[name] for name in sorted(self.services, key=_by_number) if self.services[name].is_ours]

    @property
    def damage(self) -> list[str]:
        """What is there and cannot be read, a line each with what becomes of it. It stands in no run's way."""
        found = []
        for name, one in sorted(self.services.items()):
            if one.record_text is not None and one.record is None:
                found.append(f"{paths.record_path(name)}: cannot be read; the next deploy writes it anew")
            if one.saved_record_text is not None and one.saved_record is None:
                lost = f"there is no way back to what {name} ran before"
                found.append(f"{paths.saved_record_path(name)}: cannot be read; {lost}")
        for release in self.unnamed:
            anew = f"to build it anew, delete {release} and deploy"
            found.append(f"{release}/release.json: cannot be read; {anew}")
        return found

    @property
    def used_releases(self) -> set[str]:
        """The directories of the releases that an instance runs, or would go back to."""
        links = {link for one in self.services.values() for link in (one.current, one.previous) if link}
        return links | {one.cut.ran.release for one in self.services.values() if one.cut and one.cut.ran}

    @property
    def has_spare_releases(self) -> bool:
        """Whether a release may go: nobody runs it or would go back to it, and neither its age nor a wish keeps it."""
        keep = max((one.record.keep_releases for one in self.services.values() if one.record), default=1)
        unused = Counter(map(_engine_of, self.installed.releases - self.used_releases - self.fresh))
        return any(count >= keep for count in unused.values())

    def absent(self, services: Iterable[str]) -> list[Deployed]:
        """The instances of services that are not among the ones named."""
        named = set(services)
        return [one for one in self.deployed if one.service not in named]


NO_RECORDS = RigRecords()


def _engine_of(release: str) -> str:
    """The directory of all releases of its engine."""
    return release.rpartition("/")[0]


def _by_number(name: str) -> tuple[str, int]:
    service, _, replica = name.partition("@")
    return service, whole_number(replica) or 0
