"""The systemd unit of an instance as text: pure, so that a test can compare it."""

from __future__ import annotations

import hashlib
import re

from rigwright.errors import Refused
from rigwright.plan.engines.planner import Planner
from rigwright.plan.wish import ServiceWish
from rigwright.records import paths
from rigwright.records.values import MARKER
from rigwright.resolve.instance import Instance
from rigwright.resources import render_text, template
from rigwright.shown import NOT_IN_A_LINE

_HEADER = (
    "# Written by rigwright. An edit here is never overwritten but stops the next run: put yours into {unit}.d/*.conf\n"
)
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


def render_unit(instance: Instance, engine: Planner, *, weights: str) -> str:
    """The whole unit file, with its own checksum in the header and in the environment of what it starts.

    `weights` is the sha256 of the model file: another file under the same name is another unit.
    """
    wish, plan = instance.wish, instance.plan
    lines = [f"ExecStart={paths.current_link(instance.name)}/{engine.program}"]
    for word in map(quote, instance.argv):
        if word.startswith("--"):
            lines.append(f"  {word}")
        else:
            lines[-1] += f" {word}"
    # The credentials directory is the one variable that systemd itself shall fill in.
    exec_start = " \\\n".join(lines).replace("$${CREDENTIALS_DIRECTORY}", "${CREDENTIALS_DIRECTORY}")
    specific = not wish.is_loopback and wish.host not in ("0.0.0.0", "::")
    body = render_text(
        engine.template if "\n" in engine.template else template(engine.template),
        description=one_line(f"Rigwright service {instance.name} ({engine.label})"),
        after="network-online.target" if specific else "network.target",
        directory=paths.current_link(instance.name),
        exec_start=exec_start.split("\n"),
        environment=[quote(f"{key}={value}").replace("$$", "$") for key, value in _environment(instance, weights)],
        credential=instance.key_path,
        bind_weights=_hidden_weights(engine.weights_path(plan)),
        uses_gpu=plan.uses_gpu,
        allow=_allowed(wish),
    )
    marked = body.replace("[Service]\n", f"[Service]\nEnvironment={MARKER}={_digest(body)[:12]}\n", 1)
    return _HEADER.format(unit=instance.unit_name) + f"# sha256 of the rest: {_digest(marked)}\n" + marked


def weights_in(unit: str) -> str | None:
    """The first digits of the sha256 of the model file that a unit was written for."""
    found = _WEIGHTS.search(unit)
    return found[1] if found else None


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


def _environment(instance: Instance, weights: str) -> list[tuple[str, str]]:
    pairs = [*instance.environment, ("RIGWRIGHT_WEIGHTS", weights[:16])]
    if instance.plan.uses_gpu:
        pairs.append(("CUDA_CACHE_PATH", f"/var/cache/{instance.unit_name.removesuffix('.service')}"))
    return pairs


def _allowed(wish: ServiceWish) -> str:
    """Who may connect; empty for everybody."""
    networks = () if wish.is_loopback else wish.allow_from
    return one_line(" ".join(("localhost", *networks))) if wish.is_loopback or networks else ""


def _hidden_weights(path: str) -> str:
    """A path below a directory that the sandbox hides, quoted; empty for any other."""
    hidden = path.startswith(("/home/", "/root/", "/run/user/"))
    return quote(path).replace("$$", "$") if hidden else ""


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
