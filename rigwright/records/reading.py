"""The answer of `roles/base/deployed.sh` as RigRecords. What cannot be read is left out; nothing here raises."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from rigwright.records.group import group_of
from rigwright.records.installed import addresses_of, installed_of, marked, systemd_of, text_of
from rigwright.records.values import MARKER, Cut, Deployed, Earlier, KeyFile, Record, RigRecords, Work
from rigwright.resources import role_text
from rigwright.spec.owner import stated_owner
from rigwright.units import whole_number

_DEPLOYED, _INSTALLED = "deployed ", "installed"
# PROMPT_CACHE of rigwright.plan.memory.values, which would import all that checks plans.
_SPARE = "prompt cache"


def script(names: Iterable[str] = ()) -> str:
    """The questions as shell, for a script that defines `section`; `names` are services that an inventory wishes."""
    return f"NAMES={shlex.quote(' '.join(names))}\n{role_text('base', 'deployed.sh')}"


def read_records(sections: Mapping[str, Sequence[str]]) -> RigRecords:
    """The sections of an answer (name -> lines) as values."""
    services = {
        name.removeprefix(_DEPLOYED): _deployed(name.removeprefix(_DEPLOYED), lines)
        for name, lines in sections.items()
        if name.startswith(_DEPLOYED)
    }
    lines = sections.get(_INSTALLED, ())
    installed, unnamed = installed_of(lines)
    left = tuple(line.removeprefix("left=") for line in lines if line.startswith("left="))
    return RigRecords(
        services,
        installed,
        unnamed,
        marked(lines, "release", "fresh"),
        systemd_of(lines),
        left,
        marked(lines, "toolkit", "spare"),
        addresses_of(lines),
    )


def is_section(name: str) -> bool:
    """Whether a section of an answer is one of these."""
    return name == _INSTALLED or name.startswith(_DEPLOYED)


def read_record(text: str | None) -> Record | None:
    """The record of a plan, of this version or of another one; None where it says nothing that can be used.

    Shape: the JSON of a ServicePlan, since 0.2 with the keys `replica`, `health`, `answer`, `work`, `drain_seconds`,
    `watch_seconds` and `owner`, and `keep_releases` where that is not 1.
    """
    try:
        data = json.loads(text or "")
        json.dumps(data, ensure_ascii=False).encode()  # what cannot be encoded could not be printed either
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict) or not isinstance(data.get("engine"), str):
        return None
    flags = tuple(_flags(data.get("flags")))
    replicas = [one for one in _list(data.get("replicas")) if isinstance(one, dict)]
    place = _number(data.get("replica")) or 0
    replica: dict[str, Any] = replicas[place] if place < len(replicas) else {}
    values = dict(flags)
    port = _number(values.get("--port")) or _number(replica.get("port"))
    group = group_of(data.get("cluster"))
    host = str(values.get("--host") or (group.head if group and group.rank else "127.0.0.1"))
    gpus = tuple(_gpu(one) for one in _list(replica.get("gpus")) if isinstance(one, dict))
    parts = list(_parts(data.get("memory")))
    return Record(
        engine=data["engine"],
        engine_version=str(data.get("engine_version") or ""),
        model=" ".join(str(data[key]) for key in ("model", "quant") if data.get(key)),
        flags=flags,
        environment=tuple(_pairs(replica.get("environment"))),
        host=host,
        port=port,
        has_key="--api-key-file" in values or data.get("has_key") is True,
        gpus=gpus,
        gpu_bytes=tuple(sum(size for device, size in parts if device == at) for at in range(len(gpus))),
        ram_bytes=sum(size for device, size in parts if device is None),
        spare_bytes=sum(_spare(data.get("memory"))),
        is_measured=bool(parts),
        health=_health(data.get("health")) or (f"{base_url(host, port)}/health" if port else ""),
        answer=data.get("answer"),
        owner=stated_owner(data.get("owner")),
        work=_work(data.get("work")),
        drain_seconds=_number(data.get("drain_seconds")),
        watch_seconds=_number(data.get("watch_seconds")) or 0,
        keep_releases=min(_number(data.get("keep_releases")) or 1, 99),
        group=group,
    )


def signed(text: str, owner: str) -> str:
    """The text of a record with this owner: what ran before may be of a version without, or of another one."""
    record = read_record(text)
    if not owner or record is None or record.owner == owner:
        return text
    return json.dumps(json.loads(text) | {"owner": owner}, ensure_ascii=False, separators=(",", ":"))


def base_url(host: str, port: int | str) -> str:
    """The address at which the rig itself reaches what listens on `host`."""
    local = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{local}]:{port}" if ":" in local else f"http://{local}:{port}"


def _deployed(name: str, lines: Sequence[str]) -> Deployed:
    pairs = dict(line.split("=", 1) for line in lines if "=" in line)
    kind, mode, owner = [*pairs.pop("unit", "").split("|"), "", ""][:3]
    unit = text_of(pairs.pop("unit.text", None)) or ""
    sent = pairs.pop("record", None)
    record, saved = text_of(sent), text_of(pairs.pop("saved.record", None))
    key = pairs.pop("key", None)
    key_sum = pairs.pop("key.sha256", "")
    health = pairs.pop("health", "")
    cut, cut_unit, cut_record = (pairs.pop(key, None) for key in ("cut", "cut.unit", "cut.record"))
    return Deployed(
        name=name,
        unit_kind=kind,
        unit=unit,
        unit_mode=mode,
        unit_owner=owner,
        record=read_record(record),
        record_text=record,
        record_sum=_sum(sent),
        current=pairs.pop("current", None),
        previous=pairs.pop("previous", None),
        saved_unit=text_of(pairs.pop("saved.unit", None)),
        saved_record=read_record(saved),
        saved_record_text=saved,
        cut=None if cut is None else _cut(cut, text_of(cut_unit), text_of(cut_record)),
        key=_key(key, key_sum, pairs.pop("key.held", "")) if key else None,
        current_place=pairs.pop("current.place", None) or None,
        exe=pairs.pop("exe", None) or None,
        directory=pairs.pop("cwd", None) or None,
        marker=pairs.pop(f"env.{MARKER}", None),
        started=_seconds(pairs.get("ExecMainStartTimestamp", "")),
        health_url=pairs.pop("health.url", ""),
        health=_number(health) or None,
        watch_sum=pairs.pop("watch", ""),
        is_watched=pairs.pop("watch.state", "") == "active enabled",
        buffers=text_of(pairs.pop("buffers", None)) or "",
        properties=pairs,
    )


def _key(line: str, sha256: str, held_sha256: str) -> KeyFile:
    modified, mode, owner = [*line.split("|"), "", ""][:3]
    return KeyFile(sha256, _number(modified) or 0, mode, owner, held_sha256)


def _cut(line: str, unit: str | None, record: str | None) -> Cut:
    """A line `/opt/…/releases/ID|`, with `proven` at its end where the new one had proven itself by then."""
    release, _, step = line.partition("|")
    ran = Earlier(unit, read_record(record), record, release) if unit and release.startswith("/") else None
    return Cut(ran, is_proven=step == "proven")


def _sum(encoded: str | None) -> str:
    try:
        return hashlib.sha256(base64.b64decode(encoded)).hexdigest() if encoded else ""
    except ValueError:
        return ""


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _number(value: Any) -> int | None:
    if isinstance(value, int):
        return value if 0 <= value < 10**19 else None
    return whole_number(value) if isinstance(value, str) else None


def _seconds(timestamp: str) -> int:
    """Seconds since 1970 of `Sat 2026-11-28 17:03:12 UTC`, 0 where it is something else."""
    weekday, _, rest = timestamp.partition(" ")
    try:
        return int(datetime.fromisoformat(f"{rest.removesuffix(' UTC')}+00:00").timestamp()) if weekday else 0
    except ValueError:
        return 0


def _flags(value: Any) -> Iterator[tuple[str, str | None]]:
    for one in _list(value):
        if isinstance(one, dict) and isinstance(one.get("name"), str):
            yield one["name"], None if one.get("value") is None else str(one["value"])


def _pairs(value: Any) -> Iterator[tuple[str, str]]:
    for one in _list(value):
        if isinstance(one, list) and len(one) == 2:
            yield str(one[0]), str(one[1])


def _health(value: Any) -> str:
    return value if isinstance(value, str) and re.fullmatch(r"https?://\S+", value) else ""


def _work(value: Any) -> Work | None:
    path, busy = (value.get("path"), value.get("busy")) if isinstance(value, dict) else (None, None)
    return Work(path, busy) if isinstance(path, str) and isinstance(busy, str) else None


def _gpu(value: Mapping[str, Any]) -> str:
    return str(value.get("uuid") or f"GPU {value.get('index')}")


def _spare(memory: Any) -> Iterator[int]:
    """The bytes of parts that grow with what others leave: prompts kept in RAM."""
    for one in _list(memory.get("parts") if isinstance(memory, dict) else None):
        if isinstance(one, dict) and one.get("name") == _SPARE and one.get("device") is None:
            yield _number(one.get("size_bytes")) or 0


def _parts(memory: Any) -> Iterator[tuple[int | None, int]]:
    """Each part of an estimate: the place of its GPU in the replica, None for RAM, and its bytes."""
    for one in _list(memory.get("parts") if isinstance(memory, dict) else None):
        size = _number(one.get("size_bytes")) if isinstance(one, dict) else None
        if size is not None:
            yield _number(one.get("device")), size
