"""A rig as pyinfra's fake connector meets it: it answers questions, and scripts leave on it what real ones would."""

from __future__ import annotations

import base64
import hashlib
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from pyinfra.api.host import Host
from pyinfra.api.state import State
from pyinfra.connectors.fake import FakeConnector
from pyinfra.connectors.util import CommandOutput, OutputLine

from rigwright.records.reading import read_record
from rigwright.records.values import marker_of
from rigwright.resources import role_text
from rigwright.roles.base.account import COMMENT

GIB = 1 << 30
SYSTEM = "ID=debian\nVERSION_ID=13\nVERSION_CODENAME=trixie\nKERNEL=6.12\nARCHITECTURE=x86_64\nMemTotal: {} kB\n"
CPU_ONLY = {"system.txt": SYSTEM.format(64 << 20), "lscpu.txt": "Model name: EPYC\nCPU(s): 16\n"}
OWN_UNIT = {"unit": "file|644|root", "unit.text": base64.b64encode(b"[Service]\n").decode()}
OWN_ACCOUNT = (f"passwd=rigwright:x:998:998:{COMMENT}:/var/lib/rigwright:/usr/sbin/nologin", "group=rigwright:x:998:")
# An engine that a test brings: where its release lies, and the script that puts it there.
TOY_RELEASE, UNPACK = "/opt/rigwright/toy/releases/1", "unpack Toy"


@dataclass
class Machine:
    """What lies and runs on a rig. Questions are answered from it; a script leaves on it what a real one would.

    sources: what its tools say, by the file of a capture. toolkit: one of ours, as it was proven. breaks: the
    script that fails, or `question`.
    """

    sources: dict[str, str] = field(default_factory=lambda: dict(CPU_ONLY))
    uid: int = 0
    init: str = "systemd"
    nvcc: str | None = None
    toolkit: str = ""
    free_bytes: int = 50 * GIB
    free_bytes_at: dict[str, int] = field(default_factory=dict)
    packages: set[str] = field(default_factory=set)
    files: dict[str, str] = field(default_factory=dict)
    deployed: dict[str, dict[str, str]] = field(default_factory=dict)
    installed: dict[str, str] = field(default_factory=dict)
    commits: dict[str, str] = field(default_factory=dict)
    listeners: dict[int, tuple[str, int]] = field(default_factory=dict)
    account: tuple[str, ...] = ()
    key_sum: str = ""
    breaks: str = ""

    def answer(self, question: str) -> Iterator[str]:
        """The lines that the script of a Probe prints here."""
        question = plain(question)
        yield from ("@rigwright identity", f"uid={self.uid}", f"init={self.init}")
        yield from ("@rigwright packages", *(f"{name}|1" for name in self.packages))
        for number, path in re.findall(r"^file (\d+) (\S+)$", question, re.MULTILINE):
            yield f"@rigwright file {number}"
            if path in self.files:
                yield f"file|{self._stat(path)}"
                yield _encoded(self.files[path])
        for number, path in re.findall(r"^status (\d+) (\S+)$", question, re.MULTILINE):
            yield f"@rigwright stat {number}"
            if path in self.files:
                yield self._stat(path)
        for number, path in re.findall(r"^disk (\d+) (\S+)$", question, re.MULTILINE):
            free = self.free_bytes_at.get(path, self.free_bytes)
            yield from (f"@rigwright disk {number}", f"/dev/vda1 {99 * GIB} 1 {free} 1% /")
        yield "@rigwright listeners"
        for port, (program, pid) in self.listeners.items():
            yield f'LISTEN 0 512 127.0.0.1:{port} 0.0.0.0:* users:(("{program}",pid={pid},fd=3))'
        for name, values in self.deployed.items():
            yield from (f"@rigwright deployed {name}", *(f"{key}={value}" for key, value in values.items()))
        yield "@rigwright installed"
        for path, identity in self.installed.items():
            yield from (f"release={path}", f"identity={identity}")
        yield from (f"ref={key}|{commit}" for key, commit in self.commits.items())
        yield from ("nvcc=nvcc", f"nvcc.version={self.nvcc}") if self.nvcc else ()
        if self.toolkit:
            yield from (f"proven={self.toolkit}", f"toolkit={self.toolkit.partition('/bin/')[0]}")
        ours = (path for path in self.files if path.startswith(("/var/lib", "/etc/rigwright")))
        yield from ("@rigwright ours", *ours)
        account = self.account or (OWN_ACCOUNT if "/etc/rigwright" in self.files else ())
        yield from ("@rigwright account", *account) if account else ()
        for name, text in self.sources.items():
            yield from (f"@rigwright source {name}", *(f"|{line}" for line in text.splitlines()))

    def _stat(self, path: str) -> str:
        return f"{len(self.files[path])}|5|644|root"

    def run(self, command: str) -> tuple[bool, list[str]]:
        """A script of ours; whether it succeeded, and what it prints."""
        if command.startswith("printf "):  # a refusal: any shell can say it
            said = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
            return said.returncode == 0, said.stdout.splitlines()
        name = next(name for name in SCRIPTS if command.endswith(role_text(*name.split("/")) if "/" in name else name))
        if name == self.breaks:
            return False, ["::error it broke"]
        error = SCRIPTS[name](self, _variables(command))
        return not error, [f"::error {error}"] if error else []

    def add_packages(self, given: dict[str, str]) -> None:
        """packages.sh."""
        self.packages |= set(given["PACKAGES"].split())

    def add_account(self, given: dict[str, str]) -> None:
        """account.sh."""
        state = given["STATE"]
        self.files |= dict.fromkeys((given["CONFIG"], "/opt/rigwright", f"{state}/build", f"{state}/ccache"), "")

    def add_weights(self, given: dict[str, str]) -> None:
        """install.sh, download.sh: a file of seven bytes and its stamp."""
        self.files |= {given["DEST"]: "GGUF...", given["STAMP"]: f"{given['SHA256'] or 'aa'} 7 5 {given['ORIGIN']}"}

    def add_commit(self, given: dict[str, str]) -> None:
        """resolve.sh."""
        self.commits[given["STAMP"].rpartition("/")[2]] = hashlib.sha1(given["REF"].encode()).hexdigest()

    def add_sums(self, given: dict[str, str]) -> None:
        """sums.sh."""
        self.commits |= dict(line.split() for line in given["SUMS"].splitlines())

    def receive(self, given: dict[str, str]) -> None:
        """receive.sh."""
        self.installed[given["RELEASE"]] = given["SHA256"]

    def add_release(self, given: dict[str, str]) -> None:
        """build.sh."""
        self.installed[given["RELEASE"]] = given["COMMIT"]

    def add_toy(self, given: dict[str, str]) -> None:
        """What Toy's role runs."""
        self.installed[TOY_RELEASE] = "1"

    def switch(self, given: dict[str, str]) -> str | None:
        """switch.sh: who is in the way stops, and the new one answers."""
        name, record = given["NAME"], read_record(given["PLAN"])
        for unit in given["MAKE_ROOM"].split():
            self._stop(unit.removeprefix("rigwright-").removesuffix(".service"))
        old = self._stop(name)
        port, pid = int(given["URL"].rpartition(":")[2]), 100 + sum(map(ord, name))
        if port in self.listeners:
            return f"port {port} is in use"
        self.listeners[port] = (record.engine if record else "", pid)
        self.deployed[name] = {
            **OWN_UNIT,
            "unit.text": _encoded(given["UNIT_TEXT"]),
            "record": _encoded(given["PLAN"]),
            "current": given["RELEASE"],
            **_kept(old, given),
            **({"key": "4|600|root", "key.sha256": self.key_sum} if given["KEY"] else {}),
            **{"ActiveState": "active", "SubState": "running", "UnitFileState": "enabled", "MainPID": str(pid)},
            "exe": f"{given['RELEASE']}/bin/x",
            "ExecMainStartTimestamp": "Thu 1970-01-01 00:00:05 UTC",
            "env.RIGWRIGHT_UNIT": marker_of(given["UNIT_TEXT"]) or "",
            "health.url": given["HEALTH"],
            "health": "200",
            **_watch(given),
        }
        return None

    def note(self, given: dict[str, str]) -> None:
        """record.sh."""
        self.deployed[given["NAME"]] |= {"record": _encoded(given["PLAN"]), "UnitFileState": "enabled", **_watch(given)}

    def _stop(self, name: str) -> dict[str, str]:
        found = self.deployed.get(name, {})
        pid = found.get("MainPID", "0")
        self.listeners = {port: owner for port, owner in self.listeners.items() if str(owner[1]) != pid}
        if found:
            found |= {"ActiveState": "inactive", "SubState": "dead", "MainPID": "0"}
        return found

    def remove(self, given: dict[str, str]) -> None:
        """remove-service.sh."""
        self._stop(given["NAME"])
        del self.deployed[given["NAME"]]

    def remove_all(self, given: dict[str, str]) -> None:
        """remove.sh."""
        for name in list(self.deployed):
            self.remove({"NAME": name})
        self.files = {}

    def prune(self, given: dict[str, str]) -> None:
        """prune.sh."""
        used = {one.get(link) for one in self.deployed.values() for link in ("current", "previous")}
        self.installed = {path: identity for path, identity in self.installed.items() if path in used}

    def add_toolkit(self, given: dict[str, str]) -> None:
        """install.sh of roles/cuda."""
        self.toolkit = f"{given['AT']}/bin/nvcc {given['VERSION']} {given['TARGETS']}"

    def nothing(self, given: dict[str, str]) -> None:
        """prepare.sh, key.sh: what they leave is not asked for here."""


SCRIPTS: dict[str, Callable[[Machine, dict[str, str]], str | None]] = {
    "base/packages.sh": Machine.add_packages,
    "base/account.sh": Machine.add_account,
    "base/remove-service.sh": Machine.remove,
    "base/remove.sh": Machine.remove_all,
    "weights/prepare.sh": Machine.nothing,
    "weights/install.sh": Machine.add_weights,
    "weights/download.sh": Machine.add_weights,
    "llamacpp/resolve.sh": Machine.add_commit,
    "llamacpp/build.sh": Machine.add_release,
    "llamacpp/sums.sh": Machine.add_sums,
    "llamacpp/receive.sh": Machine.receive,
    "cuda/place.sh": Machine.nothing,
    "cuda/install.sh": Machine.add_toolkit,
    "service/key.sh": Machine.nothing,
    "service/record.sh": Machine.note,
    "service/switch.sh": Machine.switch,
    "base/prune.sh": Machine.prune,
    UNPACK: Machine.add_toy,
}


def plain(command: str) -> str:
    """The script that a question's one line holds; any other command as it is."""
    found = re.match(r"asked=([A-Za-z0-9+/=]+); eval ", command)
    return base64.b64decode(found[1]).decode() if found else command


def is_question(command: str) -> bool:
    """Whether a command is the script of a Probe, which changes nothing."""
    return plain(command).endswith("section end\nexit 0")


def _watch(given: dict[str, str]) -> dict[str, str]:
    """What deployed.sh tells of who looks after an instance."""
    text = "".join(given[f"WATCH_{name}"] for name in ("SERVICE", "TIMER", "PROGRAM"))
    return {"watch": hashlib.sha256(text.encode()).hexdigest(), "watch.state": "active enabled"} if text else {}


def _kept(old: dict[str, str], given: dict[str, str]) -> dict[str, str]:
    """What is kept for a rollback: what ran before, and was something else."""
    if not old or (old.get("current"), old["unit.text"]) == (given["RELEASE"], _encoded(given["UNIT_TEXT"])):
        return {key: old[key] for key in ("previous", "saved.unit", "saved.record") if key in old}
    return {"previous": old["current"], "saved.unit": old["unit.text"], "saved.record": old["record"]}


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _variables(command: str) -> dict[str, str]:
    """The assignments between the functions that all scripts share and the script itself."""
    rest, found = command.removeprefix(role_text("base", "prelude.sh") + "\n"), {}
    while match := re.match(r"""([A-Z_0-9]+)=((?:'[^']*'|"'"|[\w@%+=:,./-]+)*)\n""", rest):
        found[match[1]] = "".join(shlex.split(match[2]))
        rest = rest[match.end() :]
    return found


class Connector(FakeConnector):
    """pyinfra's fake connector, whose responses come from a machine."""

    def __init__(self, machine: Machine, state: State, host: Host) -> None:
        super().__init__(state, host)
        self.machine = machine

    def _lookup_response(self, command_str: str) -> tuple[bool, CommandOutput]:
        command_str = plain(command_str)
        if is_question(command_str):
            is_done, lines = self.machine.breaks != "question", list(self.machine.answer(command_str))
        else:
            is_done, lines = self.machine.run(command_str)
        return is_done, CommandOutput([OutputLine("stdout", line) for line in lines])
