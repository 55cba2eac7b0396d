"""A lab: virtual rigs that boot in seconds, with real systemd, real sshd and a network of their own."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from rigwright.errors import RigwrightError
from rigwright.lab import access, boot, driver, faults, hardware, identity, network
from rigwright.lab.host import locked, require_tools
from rigwright.lab.image import ensure_image, has_image
from rigwright.lab.layout import LabPaths, RigPaths, checked_name, lab_name, lab_root
from rigwright.lab.mounts import disarm, make_disk, mount_rig, remove_tree, unmount_rig
from rigwright.lab.process import Process
from rigwright.lab.snapshots import copy_disk, find_snapshot, forget_snapshot, has_snapshot, keep_snapshot
from rigwright.lab.state import Record, load_process, load_rig, load_rigs, load_subnet, publish
from rigwright.lab.wish import Rig, RigWish


def _silent(line: str) -> None:
    """The default for `say`."""


class Lab:
    """All rigs of one name, on one network. Each call leaves the state on disk, so any process may go on."""

    def __init__(
        self, name: str | None = None, root: Path | None = None, *, say: Callable[[str], None] = _silent
    ) -> None:
        """Name the lab; by default the lab of the current directory, in the machine's lab directory."""
        self.paths = LabPaths(root or lab_root(), checked_name(name or lab_name(), what="lab"))
        self._say = say

    @property
    def name(self) -> str:
        """The lab's name."""
        return self.paths.name

    def rigs(self) -> list[Rig]:
        """The rigs that are up."""
        return [self._rig(record) for record in load_rigs(self.paths) if record.is_up]

    def rig(self, name: str) -> Rig:
        """One rig that is up."""
        return self._rig(self._running(name)[0])

    def names(self) -> list[str]:
        """All rigs of the lab, up or not."""
        return [record.name for record in load_rigs(self.paths)]

    def status(self) -> list[dict[str, object]]:
        """One row per rig, up or not."""
        rows: list[dict[str, object]] = []
        for record in load_rigs(self.paths):
            state = "up" if record.is_up else "off"
            where = self._rig(record).address
            rows.append({"name": record.name, "state": state, "address": where, **asdict(record.settled)})
        return rows

    def up(self, wishes: Iterable[RigWish]) -> list[Rig]:
        """Boot what is missing of these rigs and wait until all of them answer.

        Raises:
            RigwrightError: a wish that cannot be, or a rig that does not come up.
        """
        wanted = list({wish.name: wish for wish in wishes}.values())
        require_tools()
        with self._locked():
            for wish in wanted:
                self._check(wish)
            access.close(self.paths)
            disarm(self.paths.home)
            self._sweep()
            subnet = network.ensure_network(self.paths)
            identity.make_lab_key(self.paths)
            self._share_ccache()
            records = [self._ensure_made(wish) for wish in wanted]
            identity.write_known_hosts(self.paths, subnet=subnet)
            return self._boot([record for record in records if not record.is_up], records, subnet=subnet)

    def down(self, names: Iterable[str] | None = None) -> list[str]:
        """End rigs (default: all) and all that belonged to them, their disks too; returns their names."""
        require_tools()
        with self._locked():
            chosen = [self.paths.rig(name) for name in names] if names is not None else self._homes()
            for paths in chosen:
                if not paths.home.is_dir():
                    raise self._unknown(paths.home.name)
            for paths in chosen:
                self._remove(paths)
            if not self._homes():
                stays = network.remove_network(self.paths)
                remove_tree(self.paths.home)
                if stays:
                    self._say(stays)
        return [paths.home.name for paths in chosen]

    def exec(
        self, rig: Rig | str, argv: Sequence[str], input: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in a rig as root, without ssh."""
        name = rig if isinstance(rig, str) else rig.name
        command = self.enter(rig, argv)
        done = subprocess.run(command, input=input, capture_output=True, text=True, check=False)
        if check and done.returncode:
            said = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1]
            raise RigwrightError(f"lab: {name}: `{' '.join(argv)}` exited with {done.returncode}: {said}")
        return done

    def enter(self, rig: Rig | str, argv: Sequence[str]) -> list[str]:
        """The host's command that runs a command in a rig."""
        require_tools()
        record, _ = self._running(rig)
        return [*boot.enter(self.paths.rig(record.name)), *argv]

    def reboot(self, rig: Rig | str, hard: bool = False) -> Rig:
        """Boot a rig anew on its own disk; hard is a power cut, otherwise it shuts down first."""
        require_tools()
        with self._locked():
            record, process = self._running(rig)
            paths = self.paths.rig(record.name)
            faults.let_boot(paths)
            (boot.power_cut if hard else boot.power_off)(process, paths)
            return self._boot([record], [record], subnet=network.ensure_network(self.paths))[0]

    def fault(self, rig: Rig | str, name: str) -> str:
        """Break something in a rig, e.g. `disk-full`, or undo all of it: `clear`; returns what was done."""
        require_tools()
        with self._locked():
            record, _ = self._running(rig)
            return faults.apply(faults.Patient(self.paths, record, self._rig(record).address), name)

    def snapshot(self, rig: Rig | str, name: str) -> None:
        """Keep a copy of a rig's disk for `from_snapshot`; the rig is shut down for it and comes back."""
        require_tools()
        checked_name(name, what="snapshot")
        with self._locked():
            record, process = self._running(rig)
            paths = self.paths.rig(record.name)
            boot.power_off(process, paths)
            unmount_rig(paths)
            try:
                keep_snapshot(self.paths, record, name)
            finally:
                self._boot([record], [record], subnet=network.ensure_network(self.paths))

    def has_snapshot(self, name: str) -> bool:
        """Whether a snapshot has this name."""
        return has_snapshot(self.paths, name)

    def forget_snapshot(self, name: str) -> None:
        """Delete a snapshot."""
        forget_snapshot(self.paths, name)

    # Below: under the lab's lock.

    def _boot(self, missing: list[Record], wanted: list[Record], *, subnet: int) -> list[Rig]:
        """Start all that is missing, then wait for all, so that eight rigs take little longer than one."""
        started = [self._start(record, subnet=subnet) for record in missing]
        with ThreadPoolExecutor(max_workers=16) as pool:
            waiting = [pool.submit(self._wait, record, subnet=subnet) for record in started]
        for result in waiting:
            result.result()
        return [self._rig(record) for record in wanted]

    def _start(self, record: Record, *, subnet: int) -> Record:
        paths = self.paths.rig(record.name)
        mount_rig(paths, self.paths.images / record.image)
        identity.write_place(paths.root, self.paths, record, subnet=subnet)
        process = boot.start(self.paths, paths, hostname=record.name)
        return record.with_process(process).save(paths)

    def _wait(self, record: Record, *, subnet: int) -> None:
        paths = self.paths.rig(record.name)
        try:
            self._wait_ready(record)
        except boot.EndedWhileBooting:
            # Right after a crash the kernel may still take the last machine of this name apart, the new one with it.
            boot.power_cut(record.process, paths)
            unmount_rig(paths)
            self._wait_ready(self._start(record, subnet=subnet))
        self._say(f"{record.name}: up")

    def _wait_ready(self, record: Record) -> None:
        if record.process is not None:
            boot.wait_ready(self._rig(record), record.process, self.paths.rig(record.name))

    def _ensure_made(self, wish: RigWish) -> Record:
        """The record of a rig; its disk, keys and user are made when there is none."""
        paths = self.paths.rig(wish.name)
        if (record := load_rig(paths)) is not None:
            return record
        settled = wish.settled()
        paths.home.mkdir(parents=True)
        if settled.from_snapshot:
            kept = find_snapshot(self.paths, settled.from_snapshot)
            settled, image = replace(settled, os=kept.os, disk_bytes=kept.disk_bytes), kept.image
            copy_disk(kept.disk_image, paths.disk_image)
        else:
            image = self._image(settled.os)
            make_disk(paths.disk_image, settled.disk_bytes)
        return self._give_birth(paths, Record(wish.name, settled, image, number=self._free_number()))

    def _give_birth(self, paths: RigPaths, record: Record) -> Record:
        draft = identity.host_key_draft(paths)
        record = replace(record, host_key=identity.make_key(draft, comment=record.name))
        mount_rig(paths, self.paths.images / record.image)
        identity.write_birth(paths.root, record, host_key=draft)
        if record.settled.hardware:
            machine = hardware.find_machine(record.settled.hardware)
            (driver if record.settled.driver else hardware).install(paths.root, machine)
        return record.save(paths)

    def _image(self, release: str) -> str:
        if not has_image(self.paths, release):
            self._say(f"building the {release} base image, once")
        return ensure_image(self.paths, release).name

    def _free_number(self) -> int:
        taken = {record.number for record in load_rigs(self.paths)}
        return next(number for number in range(1, 254) if number not in taken)

    def _check(self, wish: RigWish) -> None:
        """Refuse a wish that cannot be, before anything is made or booted."""
        wish.check()
        record = load_rig(self.paths.rig(wish.name))
        if record is not None:
            record.settled.refuse_change(wish)
        machine = None if wish.hardware is None else hardware.find_machine(wish.hardware)
        if wish.driver is not None and record is None:
            driver.refuse_machine(wish.name, machine)
        if wish.from_snapshot is not None:
            kept = find_snapshot(self.paths, wish.from_snapshot)
            if wish.os not in (None, kept.os):
                raise RigwrightError(f"lab: snapshot {wish.from_snapshot} is {kept.os}, not {wish.os}; leave --os away")

    def _sweep(self) -> None:
        """Clear away what a crash left: half-made rigs, and what still hangs on rigs that no longer run."""
        for paths in self._homes():
            record = load_rig(paths)
            if record is None:
                self._remove(paths)
            elif not record.is_up:
                boot.power_cut(record.process, paths)
                unmount_rig(paths)

    def _remove(self, paths: RigPaths) -> None:
        boot.power_cut(load_process(paths), paths)
        remove_tree(paths.home)

    def _homes(self) -> list[RigPaths]:
        return [RigPaths(home) for home in sorted(self.paths.rigs.iterdir())] if self.paths.rigs.is_dir() else []

    def _share_ccache(self) -> None:
        self.paths.ccache.mkdir(exist_ok=True)
        self.paths.ccache.chmod(0o1777)

    def _running(self, rig: Rig | str) -> tuple[Record, Process]:
        """The record of a rig that is up, and the process that carries it."""
        name = rig if isinstance(rig, str) else rig.name
        checked_name(name, what="rig")
        record = next((record for record in load_rigs(self.paths) if record.name == name), None)
        if record is None:
            raise self._unknown(name)
        if record.process is None or not record.process.is_alive:
            raise RigwrightError(f"lab: {name}: is not up; run `rigwright lab up {name}`")
        return record, record.process

    def _unknown(self, name: str) -> RigwrightError:
        known = ", ".join(record.name for record in load_rigs(self.paths)) or "no rigs"
        return RigwrightError(f"lab: no rig is called {name!r}; this lab has {known}")

    def _rig(self, record: Record) -> Rig:
        subnet = load_subnet(self.paths)
        if subnet is None:
            raise RigwrightError(f"lab: {self.paths.record} is missing; run `rigwright lab up`")
        return Rig(
            record.name,
            network.address(subnet, record.number),
            record.settled.os,
            record.settled.ssh_user,
            ssh_key=self.paths.key,
            ssh_known_hosts=self.paths.known_hosts,
        )

    @contextmanager
    def _locked(self) -> Iterator[None]:
        access.refuse_foreign(self.paths.shared)
        with locked(self.paths.lock(f"lab-{self.name}")):
            try:
                yield
            finally:
                if self.paths.home.is_dir():
                    publish(self.paths)
