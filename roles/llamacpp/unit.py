"""The systemd unit of a service as text: pure, so that a test can compare it."""

from __future__ import annotations

import hashlib
import re

from rigwright.plan.service import ServicePlan
from rigwright.plan.wish import ServiceWish
from rigwright.resources import render

SERVICES = "/opt/rigwright/services"
MARKER = "RIGWRIGHT_UNIT"
_HEADER = (
    "# Written by rigwright. An edit here is never overwritten but stops the next run: put yours into {unit}.d/*.conf\n"
)
_SUM = re.compile(
    r"\A(?P<header># Written by rigwright\.[^\n]*\n)# sha256 of the rest: (?P<sum>[0-9a-f]{64})\n(?P<rest>.*)\Z",
    re.DOTALL,
)


def unit_path(wish: ServiceWish) -> str:
    """Where the unit file lives on the rig."""
    return f"/etc/systemd/system/{wish.unit}"


def key_path(wish: ServiceWish) -> str:
    """Where the API keys of a service live on the rig."""
    return f"/etc/rigwright/{wish.name}.key"


def current_link(name: str) -> str:
    """The link to the release that a service runs; switching is this one link."""
    return f"{SERVICES}/{name}/current"


def quote(text: str) -> str:
    """One word of an ExecStart= or Environment= line. Source: systemd.syntax(7), systemd.service(5), COMMAND LINES."""
    text = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{text}"' if not text or re.search(r"[\s\"'\\;#]", text) else text


def render_unit(wish: ServiceWish, plan: ServicePlan, *, weights: str) -> str:
    """The whole unit file, with its own checksum in the header and in the environment of what it starts.

    `weights` is the sha256 of the model file: another file under the same name is another unit.
    """
    words = [quote(word) for word in plan.argv]
    lines = [f"ExecStart={current_link(wish.name)}/bin/llama-server"]
    for word in words:
        if word.startswith("--"):
            lines.append(f"  {word}")
        else:
            lines[-1] += f" {word}"
    # The credentials directory is the one variable that systemd itself shall fill in.
    exec_start = " \\\n".join(lines).replace("$${CREDENTIALS_DIRECTORY}", "${CREDENTIALS_DIRECTORY}")
    specific = not wish.is_loopback and wish.host not in ("0.0.0.0", "::")
    body = render(
        "llamacpp.service.j2",
        description=f"Rigwright service {wish.name} (llama.cpp)",
        after="network-online.target" if specific else "network.target",
        exec_start=exec_start.split("\n"),
        environment=[quote(f"{key}={value}").replace("$$", "$") for key, value in _environment(wish, plan, weights)],
        credential=key_path(wish) if wish.api_key_file else "",
        bind_weights=_hidden_weights(plan),
        uses_gpu=plan.uses_gpu,
        allow="localhost" if wish.is_loopback else " ".join(("localhost", *wish.allow_from)) if wish.allow_from else "",
    )
    marked = body.replace("[Service]\n", f"[Service]\nEnvironment={MARKER}={_digest(body)[:12]}\n", 1)
    return _HEADER.format(unit=wish.unit) + f"# sha256 of the rest: {_digest(marked)}\n" + marked


def marker_of(unit: str) -> str | None:
    """The mark that a process started from this unit text carries in its environment."""
    found = re.search(rf"^Environment={MARKER}=(\w+)$", unit, re.MULTILINE)
    return found[1] if found else None


def is_ours(unit: str) -> bool:
    """True for a unit file that we wrote and nobody edited since."""
    found = _SUM.match(unit)
    return found is not None and found["sum"] == _digest(found["rest"])


def was_ours(unit: str) -> bool:
    """True for a unit file that we wrote, edited or not."""
    return unit.startswith("# Written by rigwright.")


def _environment(wish: ServiceWish, plan: ServicePlan, weights: str) -> list[tuple[str, str]]:
    pairs = [*plan.environment, ("RIGWRIGHT_WEIGHTS", weights[:16])]
    if plan.uses_gpu:
        pairs.append(("CUDA_CACHE_PATH", f"/var/cache/{wish.unit.removesuffix('.service')}"))
    return pairs


def _hidden_weights(plan: ServicePlan) -> str:
    path = plan.argv[plan.argv.index("--model") + 1]
    hidden = path.startswith(("/home/", "/root/", "/run/user/"))
    return quote(path).replace("$$", "$") if hidden else ""


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
