"""A plan as command lines to paste into a shell: environment, program, one flag on each line."""

from __future__ import annotations

from collections.abc import Iterator
from shlex import quote

from rigwright.catalogue.engines import engine_names
from rigwright.plan.engines import planner_of
from rigwright.plan.service import Replica, RigPlan, ServicePlan
from rigwright.view.hardware_words import clean
from rigwright.view.words import engine_name, on, served, without_commits

# Where systemd puts the keys is no place for a shell.
_CREDENTIALS, _KEYS = "${CREDENTIALS_DIRECTORY}/", "./"


def commands(name: str, plan: RigPlan) -> Iterator[str]:
    """The lines for each copy of each service; what a person must know is in comments."""
    for service in plan.services:
        for number, replica in enumerate(service.replicas):
            yield from _head(name, service, replica)
            yield command(service, number)
            if service.modelfile:
                file = f"{service.service}.Modelfile"
                yield f"cat > {file} <<'EOF'\n{service.modelfile.rstrip()}\nEOF"
                yield f"ollama create {quote(service.service)} -f {file}"
            yield ""


def command(service: ServicePlan, number: int = 0) -> str:
    """The command line of one copy, broken after each flag."""
    replica = service.replicas[number]
    lines = [f"{key}={quote(value)}" for key, value in replica.environment]
    lines.append(" ".join(map(quote, _program(service.engine))))
    for flag in service.flags_of(number):
        words = [flag.name, flag.value] if flag.value is not None else [flag.name]
        lines.append("  " + " ".join(quote(word.replace(_CREDENTIALS, _KEYS)) for word in words))
    return " \\\n".join(lines)


def _program(engine: str) -> tuple[str, ...]:
    if engine not in engine_names():
        return (engine,)
    planner = planner_of(engine)
    return planner.command or (planner.program.rpartition("/")[2] or engine,)


def _head(name: str, service: ServicePlan, replica: Replica) -> Iterator[str]:
    engine = f"{engine_name(service.engine)} {without_commits(service.engine_version)}"
    yield clean(f"# {name} {service.service}: {served(service)}, {engine}, {on(service)}, port {replica.port}")
    if service.source:
        yield clean(f"# the weights: {service.source}")
    if service.not_deployed:
        yield clean(f"# not deployed yet: {service.not_deployed}")
    if any(_CREDENTIALS in (flag.value or "") for flag in service.flags):
        yield f"# {_KEYS}api-key: a file with one key of the API on each line"
    if any((gpu.uuid or "").startswith("GPU-what-if") for gpu in replica.gpus):
        yield "# a GPU of this plan is assumed: on the machine itself its number may be another"
