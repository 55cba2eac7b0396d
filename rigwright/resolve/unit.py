"""The systemd unit of an instance as text: pure, so that a test can compare it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping

from rigwright.errors import Refused
from rigwright.plan.engines.planner import Planner
from rigwright.records import paths
from rigwright.records.values import MARKER, marker_of
from rigwright.resolve.instance import Instance
from rigwright.resources import render_text, template
from rigwright.shown import NOT_IN_A_LINE

_HEADER = (
    "# Written by rigwright. An edit here is never overwritten but stops the next run: put yours into {unit}.d/*.conf\n"
)
_SUMS = re.compile(r"^# weights ([0-9a-f]{64}) (/.*)$", re.MULTILINE)
# RestartSteps= and RestartMaxDelaySec=. Source: systemd 254, NEWS.
_RESTART_STEPS = 254
_CPUS = re.compile(r"^AllowedCPUs=([0-9,-]+)$", re.MULTILINE)
_WEIGHTS = re.compile(r"^Environment=RIGWRIGHT_WEIGHTS=(\w+)$", re.MULTILINE)


def quote(text: str) -> str:
    """One word of an ExecStart= or Environment= line. Source: systemd.syntax(7), systemd.service(5), COMMAND LINES.

    Raises:
        Refused: it would be more than one line.
    """
    one_line(text)
    text = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{text}"' if not text or re.search(r"[\s\"'\\;#]", text) else text


def one_line(text: str) -> str:
    """The text, which is to stand on a line of a unit.

    Raises:
        Refused: it would be more than one line.
    """
    if NOT_IN_A_LINE.search(text):
        raise Refused(f"{text[:80]!r}: holds a control character, which may start a line of its own; take it out")
    return text


def render_unit(
    instance: Instance, engine: Planner, *, weights: Mapping[str, str], systemd: int = 0, there: str = ""
) -> str:
    """The whole unit file, with its own checksum in the header and in the environment of what it starts.

    Args:
        instance: What it starts.
        engine: The planner of its engine.
        weights: The sha256 of each model file by its path, the first one first; empty while one is not known. Another
            content under the same name is another unit, and comes and goes with it.
        systemd: The version of the rig's systemd, 0 where it is not known.
        there: The unit file that lies there. The mark of that stays where what it starts would be the same.
    """
    wish, plan = instance.wish, instance.plan
    lines = [f"ExecStart={_once_it_may_join(instance)}{paths.current_link(instance.name)}/{engine.program}"]
    for word in map(quote, instance.argv):
        if word.startswith("--"):
            lines.append(f"  {word}")
        else:
            lines[-1] += f" {word}"
    # The credentials directory is the one variable that systemd itself shall fill in.
    exec_start = " \\\n".join(lines).replace("$${CREDENTIALS_DIRECTORY}", "${CREDENTIALS_DIRECTORY}")
    specific = not wish.is_loopback and instance.host not in ("0.0.0.0", "::")
    body = render_text(
        engine.template if "\n" in engine.template else template(engine.template),
        description=one_line(f"Rigwright service {instance.name} ({engine.label})"),
        after="network-online.target" if specific else "network.target",
        directory=paths.current_link(instance.name),
        exec_start=exec_start.split("\n"),
        environment=[quote(f"{key}={value}").replace("$$", "$") for key, value in _environment(instance, weights)],
        credential=instance.key_path,
        weights=list(weights.items()),
        mounts=" ".join(map(bind, _directories(instance, engine, weights))),
        binds=_binds(instance, engine, weights),
        uses_gpu=plan.uses_gpu,
        device_files=[one_line(path) for path in instance.replica.device_files],
        cpus=one_line(instance.cpus),
        locks_memory=engine.locks_memory(instance.flags),
        stop_seconds=engine.stop_seconds(instance.flags),
        allow=_allowed(instance),
        has_rdma=bool(instance.cluster and instance.cluster.has_rdma),
        devices=paths.DEVICES_UNIT,
        power=paths.POWER_UNIT,
        has_steps=systemd >= _RESTART_STEPS,
        **{key: quote(value) for key, value in engine.unit_values(wish, plan).items()},
    )
    mark = marker_of(there) if of_the_process(there) == of_the_process(body) else None
    marked = body.replace("[Service]\n", f"[Service]\nEnvironment={MARKER}={mark or _digest(body)[:12]}\n", 1)
    return _HEADER.format(unit=instance.unit_name) + f"# sha256 of the rest: {_digest(marked)}\n" + marked


def weights_in(unit: str) -> str | None:
    """The mark of the model files that a unit was written for."""
    found = _WEIGHTS.search(unit)
    return found[1] if found else None


def cpus_in(unit: str) -> str:
    """The CPUs on which what a unit starts may run; empty for all."""
    found = _CPUS.search(unit)
    return found[1] if found else ""


# What binds a process that runs: lists of its control group, what systemd itself goes by, and words for people. These
# follow a unit that is read anew. Source: systemd.resource-control(5); tests/lab/test_live_units.py.
_LIVE = re.compile(
    rf"^(?:(?!# weights )[#;].*|Environment={MARKER}=.*|"
    r"(?:IPAddress(?:Allow|Deny)|Device(?:Allow|Policy)|AllowedCPUs|Memory(?:High|Max)|"
    r"Description|Documentation|Restart\w*|StartLimitIntervalSec|TimeoutStopSec)=.*|)\n",
    re.MULTILINE,
)


def of_the_process(unit: str) -> str:
    """What of a unit's text holds for a process from its start on: a change of it needs a restart."""
    return _LIVE.sub("", unit)


def live_lines(unit: str) -> dict[str, str]:
    """The other settings, each with its values: a change of them binds a process that runs."""
    found: dict[str, str] = {}
    for line in "".join(one[0] for one in _LIVE.finditer(unit)).splitlines():
        key, is_setting, value = line.partition("=")
        if is_setting and key.isalnum() and key != "Environment":
            found[key] = f"{found[key]} {value}" if key in found else value
    return found


# What a unit says of its life: how it starts and ends, what it is given. All else in [Service] says what it may do.
_LIFE = re.compile(
    r"Type|Exec\w+|Environment\w*|LoadCredential|WorkingDirectory|\w+Directory|Restart\w*|Timeout\w+|OOMPolicy"
)


def sandbox(unit: str) -> tuple[str, ...]:
    """The walls of a unit, `ProtectSystem=strict` and so on: for a program that shall run as its service would.

    In the form of `systemd-run -p`, which fills in no %, and takes `localhost` only where it stands alone.
    """
    body = unit.partition("\n[Service]\n")[2].partition("\n[Install]\n")[0]
    pairs = [line.partition("=") for line in body.splitlines() if re.match(r"\w+=", line)]
    walls = [(key, value.replace("%%", "%")) for key, _, value in pairs if not _LIFE.fullmatch(key)]
    split = [(key, value.split() if key.startswith("IPAddress") else [value]) for key, value in walls]
    return tuple(f"{key}={value}" for key, values in split for value in values)


def sums_in(unit: str) -> dict[str, str]:
    """The sha256 of each model file that a unit was written for, by its path; units of 0.1 do not tell."""
    return {path: sha256 for sha256, path in _SUMS.findall(unit)}


def is_hidden(path: str) -> bool:
    """Whether a path lies where the sandbox hides everything that is not bound."""
    return path.startswith(("/home/", "/root/", "/run/user/"))


def _mark(sums: Iterable[str]) -> str:
    """The first digits of the sum of one file, or of the sums of several."""
    first, *rest = [*sums] or ["unknown"]
    return (_digest("\n".join((first, *rest))) if rest else first)[:16]


def _environment(instance: Instance, weights: Mapping[str, str]) -> list[tuple[str, str]]:
    pairs = [*instance.environment, ("RIGWRIGHT_WEIGHTS", _mark(weights.values()))]
    if instance.plan.uses_gpu:
        compiled = "MESA_SHADER_CACHE_DIR" if instance.replica.device_files else "CUDA_CACHE_PATH"
        pairs.append((compiled, f"/var/cache/{instance.unit_name.removesuffix('.service')}"))
    return pairs


def _allowed(instance: Instance) -> str:
    """Who may connect; empty for everybody, which it never is for a cluster: most ports of that ask for no password."""
    wish, cluster = instance.wish, instance.cluster
    members = [one.address for one in cluster.members] if cluster else []
    networks = () if wish.is_loopback else (*members, *wish.allow_from)
    return one_line(" ".join(("localhost", *networks))) if wish.is_loopback or networks else ""


# A head that serves has its group, and takes nobody else in; one that does not answer at all cannot be met. One that
# refuses a connection is on its way: 7 of curl(1).
_JOIN = 'until curl -q -s --noproxy "*" -m 3 -o /dev/null "$0"; [ $? -eq 7 ]; do sleep 1; done; exec "$@"'


def _once_it_may_join(instance: Instance) -> str:
    """What a rig that follows a head does first; empty for all others."""
    return f"/bin/sh -c {_word(_JOIN)} {instance.url}/health " if instance.is_follower else ""


def _word(text: str) -> str:
    """A word of ExecStart= in single quotes."""
    return "'" + text.replace("%", "%%").replace("$", "$$") + "'"


def _directories(instance: Instance, engine: Planner, weights: Iterable[str]) -> list[str]:
    """The directories of its model files: what it is given may be one itself."""
    files, given = [*weights], engine.weights_path(instance.plan)
    if given.startswith("/") and not any(path.startswith(f"{given}/") for path in files):
        files.insert(0, given)
    return list(dict.fromkeys(path.rpartition("/")[0] for path in files))


def _binds(instance: Instance, engine: Planner, weights: Iterable[str]) -> list[str]:
    """What of its files the sandbox would hide: the directories of models, for all their parts; other files alone."""
    directories = _directories(instance, engine, weights)
    others = [flag.value for flag in instance.flags if flag.value and flag.value.rpartition("/")[0] not in directories]
    # systemd 257 cannot start what has a quote in the path of a bind.
    others = [path for path in others if not re.search("[\"']", path)]
    return [bind(path) for path in directories if is_hidden(path)] + [
        bind(path, "-") for path in others if is_hidden(path)
    ]


def bind(path: str, may_be_absent: str = "") -> str:
    """A path for RequiresMountsFor= and BindReadOnlyPaths=, where a colon outside of quotes separates."""
    text = (may_be_absent + path).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{text}"' if re.search(r"[\s\"'\\;#:]", text) else text


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
