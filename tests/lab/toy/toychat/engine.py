"""The toy engine as a role: its program is a script that is written to the rig."""

from __future__ import annotations

from collections.abc import Iterator

from pyinfra.api import operation

from rigwright.resolve import Resolved
from rigwright.resolve.instance import Instance
from rigwright.resources import assignments
from rigwright.roles.base.channel import Script
from rigwright.roles.base.facts import Rig
from rigwright.roles.base.operations import Commands, current_rig
from rigwright.roles.base.probe import Probe
from rigwright.roles.service.answer import Answer
from rigwright.roles.service.context import RigContext
from rigwright.spec.rig import RigSpec

_PROGRAM = """#!/usr/bin/python3
import json, os, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
model = options["--model"]
names = [name for name in os.listdir(model) if name[0] != "."] if os.path.isdir(model) else []
files = [os.path.join(model, name) for name in names] or [model]
size = sum(len(open(file, "rb").read()) for file in files)
# As one that computes there has it.
gpus = [f"/dev/nvidia{index}" for index in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if index]
gpus = [open(path) for path in gpus if os.path.exists(path)]
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer({"status": "ok"})
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer({"reply": os.environ["TOY_WORDS"], "bytes": size})
    def answer(self, value):
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
ThreadingHTTPServer((options["--host"], int(options["--port"])), Handler).serve_forever()
"""

_INSTALL = """
mkdir -p "$RELEASE.new/bin"
printf %s "$PROGRAM" >"$RELEASE.new/bin/toychat"
chmod 755 "$RELEASE.new/bin/toychat"
printf '{\\n "identity": "%s",\\n "engine": "%s"\\n}\\n' "$ENGINE" "$ENGINE" >"$RELEASE.new/release.json"
mv -T "$RELEASE.new" "$RELEASE"
"""


class Toy:
    """The toy engine."""

    name = "toychat"
    health = "/health"

    def answer(self, instance: Instance) -> Answer:
        """The words that the inventory gives it."""
        return Answer("/say", "{}", "reply")

    def work(self, instance: Instance) -> None:
        """It does not tell."""

    def probe(self, spec: RigSpec) -> Probe:
        """Python for its program."""
        return Probe(packages=("python3",))

    def packages(self, context: RigContext, rig: Rig) -> tuple[str, ...]:
        """Python."""
        return ("python3",)

    def ask(self, rig: Rig, context: RigContext) -> None:
        """Nobody."""

    def preflight_errors(self, rig: Rig, context: RigContext) -> Iterator[str]:
        """Nothing."""
        return iter(())

    def install(self, context: RigContext, probe: Probe) -> None:
        """Write its program."""
        install(engine=self.name, context=context, probe=probe, name="Write the toy's program")

    def before_start(self, rig: Rig, instance: Instance, resolved: Resolved) -> str:
        """Nothing."""
        return ""


@operation()
def install(engine: str, context: RigContext, probe: Probe) -> Commands:
    """Have its release on the rig."""
    rig = yield from current_rig(probe)
    release = context.resolved(rig).engines[engine].release(rig.hardware)
    if release not in rig.records.installed.releases:
        given = {"RELEASE": str(release), "PROGRAM": _PROGRAM, "ENGINE": engine}
        yield Script("\n".join(["set -eu", *assignments(given), _INSTALL]))


ENGINE = Toy()
