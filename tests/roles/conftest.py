"""Rigs as their state is read, without a rig: blank ones, serving ones, ones with the GPUs of a shop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rigwright.hardware import Cpu, Disk, Gpu, Hardware, Link
from rigwright.lab.tiny_model import write_tiny_model
from rigwright.plan.engines.installed import Installed
from rigwright.records.reading import read_record
from rigwright.records.values import Deployed, KeyFile, RigRecords, marker_of
from rigwright.resolve.instance import Instance
from rigwright.resolve.unit import render_unit
from rigwright.resolve.watch import watch_of
from rigwright.roles.base.facts import Rig
from rigwright.roles.llamacpp.engine import ENGINE
from rigwright.roles.service.context import RigContext, make_context

GIB = 1 << 30
HARDWARE = Hardware("debian", "13", "trixie", "6.12", "x86_64", Cpu("EPYC", 8, 16), 64 * GIB)
DISK = Disk("/var/lib/rigwright", 99 * GIB, 50 * GIB)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that was read before."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real GGUF file."""
    return write_tiny_model(tmp_path_factory.mktemp("model") / "m.gguf", "llama")


@pytest.fixture(scope="session")
def cards() -> Callable[..., Hardware]:
    """Machines with RTX 3090s."""
    return _with_cards


@pytest.fixture(scope="session")
def blank() -> Callable[..., Rig]:
    """Rigs that nothing was deployed to."""
    return _blank


@pytest.fixture(scope="session")
def serving() -> Callable[..., Rig]:
    """Rigs on which all instances of a plan run as planned."""
    return _serving


def _with_cards(count: int = 1, *, gibibytes: int = 24, has_driver: bool = True) -> Hardware:
    """A machine with so many RTX 3090, and NVLinks between neighbours."""
    gpus = tuple(
        Gpu(
            index=index if has_driver else None,
            uuid=f"GPU-{index}" if has_driver else None,
            pci_address=f"0000:0{index + 1}:00.0",
            pci_id="10de:2204",
            vendor="NVIDIA",
            name="NVIDIA GeForce RTX 3090" if has_driver else None,
            vram_bytes=gibibytes * GIB if has_driver else None,
            compute_capability="8.6" if has_driver else None,
            state="ok" if has_driver else None,
            mig=False if has_driver else None,
        )
        for index in range(count)
    )
    links = tuple(Link(first, first + 1, "NV4") for first in range(0, count - 1, 2))
    return replace(HARDWARE, gpus=gpus, gpu_count=count, links=links)


def _blank(hardware: Hardware = HARDWARE, **changes: Any) -> Rig:
    """A rig that nothing was deployed to; where it has GPUs, the CUDA toolkit is there."""
    installed = Installed(cuda_version="13.0" if hardware.gpus else None)
    rig = Rig(hardware, uid=0, init="systemd", disks={DISK.path: DISK}, records=RigRecords({}, installed))
    return replace(rig, **changes)


def _serving(context: RigContext, rig: Rig, *, weights: str = "") -> Rig:
    """A rig on which all llama.cpp instances of a plan run as planned."""
    resolved = context.resolved(rig)
    services, releases, listeners = dict(rig.records.services), set(rig.records.installed.releases), {}
    for number, instance in enumerate(resolved.instances(context.spec), start=7):
        planner = resolved.engines[instance.engine]
        release = planner.release(rig.hardware) or "/opt/rigwright/x/releases/y"
        files = resolved.files(instance.plan, context.spec.weights) if weights else ()
        unit = render_unit(instance, planner, weights={path: file.sha256 or weights for file, path in files})
        services[instance.name] = _deployed(instance, unit, release, owner=context.spec.owner, pid=number)
        releases.add(release)
        listeners[instance.port] = (instance.engine, number)
    installed = replace(rig.records.installed, releases=frozenset(releases))
    return replace(rig, records=RigRecords(services, installed), listeners=listeners)


def _deployed(instance: Instance, unit: str, release: str, *, owner: str = "", pid: int = 7) -> Deployed:
    """An instance that runs as planned."""
    answer, work = ENGINE.answer(instance)._asdict(), ENGINE.work(instance)
    text = instance.record(health="/health", answer=answer, work=work, owner=owner)
    properties = {"ActiveState": "active", "SubState": "running", "UnitFileState": "enabled", "MainPID": str(pid)}
    return Deployed(
        name=instance.name,
        unit_kind="file",
        unit=unit,
        unit_mode="644",
        unit_owner="root",
        record=read_record(text),
        record_text=text,
        current=release,
        key=KeyFile("", 900, "600", "root") if instance.key_path else None,
        properties=properties,
        exe=f"{release}/bin/llama-server",
        marker=marker_of(unit),
        started=1000,
        health_url=f"{instance.url}/health",
        health=200,
        watch_sum=watch_of(instance.name, read_record(text)).sum,
        is_watched=True,
    )


@pytest.fixture
def context(model: Path) -> Callable[..., RigContext]:
    """A context for `rig` data; a service without a model serves the tiny file."""

    def of(*services: dict[str, Any], **rig: Any) -> RigContext:
        rows = [{"model": str(model), "context": 2048, **service} for service in services]
        return make_context("rig1", {"services": rows, **rig})

    return of
