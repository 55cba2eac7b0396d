"""What a check looks at: a rig, and the services on it, through testinfra alone."""

from __future__ import annotations

import base64
import json
import re
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import Any, NoReturn

import pytest
from testinfra.host import Host

from rigwright.plan.wish import ServiceWish
from rigwright.verify import driver
from rigwright.verify.cluster import Part, listens_at, part_of
from rigwright.verify.login import login
from rigwright.verify.processes import processes_of
from rigwright.verify.request import ask
from rigwright.verify.shell import Lost, Shell
from rigwright.verify.targets import Target

# The first command on a rig: whether it can be reached at all, as root, what lies there of ours, and which GPUs it has.
# Records travel as base64. A unit of a job of ours is transient; one whose file is gone may run on.
_LOOK = r"""
echo "uid $(id -u)"
for file in /etc/systemd/system/rigwright-*.service; do
  if [ -e "$file" ] || [ -L "$file" ]; then file=${file##*/rigwright-}; echo "name ${file%.service}"; fi
done
for file in /etc/rigwright/*.json; do
  [ -e "$file" ] || continue
  name=${file##*/}; echo "record ${name%.json} $(base64 <"$file" | tr -d '\n')"
done
systemctl show -p Id,ActiveState,Transient 'rigwright-*.service' 2>/dev/null | awk -F= '
  $1 == "Id" { id = $2 } $1 == "ActiveState" { state = $2 } $1 == "Transient" { transient = $2 }
  /^$/ { said() } END { said() }
  function said() {
    if (id && transient != "yes" && state !~ /^(inactive|failed)?$/) {
      sub(/^rigwright-/, "", id); sub(/\.service$/, "", id); print "name " id
    }
    id = state = transient = ""
  }'
"""
# cmdline, environ and status of a process, a line each in base64; then where its program and its directory are.
_PROCESS = "cd /proc/%s && for one in cmdline environ status; do base64 <$one | tr -d '\\n'; echo; done"
_PROCESS += " && readlink exe && readlink cwd"
_PROPERTIES = (
    "LoadState",
    "ActiveState",
    "Result",
    "UnitFileState",
    "MainPID",
    "NRestarts",
    "NeedDaemonReload",
    "FragmentPath",
    "DropInPaths",
    "ExecMainStartTimestampMonotonic",
)
# A server that lets a request wait for longer hangs; a completion stands in line with those of others.
_HEALTH_SECONDS, _GET_SECONDS, _COMPLETION_SECONDS = 10, 30, 120
_TIMED_OUT = 28


# What a check that passes has to say: a property of pytest's.
NOTED = "rigwright noted"


class RigUnderTest:
    """One rig; `host` is testinfra's."""

    def __init__(self, target: Target, directory: Path) -> None:
        self.name = target.name
        self.spec = target.spec
        self.locked = target.locked
        self.shell = Shell(target.name, login(target.name, target.data, directory))
        self.host: Any = Host(self.shell)
        self.shell.set_host(self.host)
        self._seen: list[list[str]] = []

    def look(self) -> str | None:
        """Look what is there, once; why no check can run on it, in one line, None where they can."""
        # No cached property: before Python 3.12 each waits for those of all other rigs.
        try:
            self._seen = [line.split(" ") for line in self.host.check_output(_LOOK + driver.LOOK + ":").splitlines()]
            uid = next((words[1] for words in self._seen if words[0] == "uid"), "")
        except (Lost, AssertionError) as error:
            said = str(error)
            if "password is required" in said or "terminal is required" in said:
                said += "; verify does not ask for one, set _sudo_password in the host data"
            return said
        if uid != "0":
            return "the SSH user is not root; set _sudo=True in the host data, or ssh_user='root'"
        return None

    @cached_property
    def records(self) -> dict[str, str]:
        """The text of each record that lies on the rig, by instance."""
        found = {words[1]: words[2] for words in self._seen if words[0] == "record"}
        return {name: base64.b64decode(text).decode("utf-8", "replace") for name, text in found.items()}

    def owner_of(self, name: str) -> str:
        """The inventory that an instance is of, by its record; empty where that does not say."""
        try:
            return str(json.loads(self.records[name])["owner"])
        except (ValueError, TypeError, KeyError):
            return ""

    @cached_property
    def names(self) -> list[str]:
        """The names of the instances on the rig, `chat` and `chat@1`, whoever deployed them."""
        return sorted({words[1] for words in self._seen if words[0] in ("name", "record")})

    @cached_property
    def driver(self) -> driver.DriverUnderTest:
        """NVIDIA's driver."""
        return driver.DriverUnderTest(self, self._seen)

    @cached_property
    def services(self) -> list[ServiceUnderTest]:
        """What the inventory wants served here: the replicas that there are of each service, at least one."""
        found = []
        for wish in self.spec.services:
            own = re.compile(rf"{re.escape(wish.name)}(@\d+)?")
            names = [name for name in self.names if own.fullmatch(name)]
            found += [ServiceUnderTest(self, wish, name) for name in names or [wish.name]]
        return found


class ServiceUnderTest:
    """One service of a rig, or one replica of it."""

    def __init__(self, rig: RigUnderTest, wish: ServiceWish, name: str) -> None:
        self.rig, self.wish, self.name = rig, wish, name
        self.number = int(name.partition("@")[2] or 0)
        self.unit = f"rigwright-{name}.service"
        self.unit_file = f"/etc/systemd/system/{self.unit}"
        self._silent: str | None = None

    @property
    def host(self) -> Any:
        """The testinfra host."""
        return self.rig.host

    @cached_property
    def is_deployed(self) -> bool:
        """Whether the rig knows it: it has a record, or at least a unit."""
        return self.name in self.rig.records or self.properties["LoadState"] != "not-found"

    @cached_property
    def plan(self) -> dict[str, Any]:
        """What the deploy recorded as planned."""
        if self.name not in self.rig.records:
            pytest.fail(f"/etc/rigwright/{self.name}.json is not there")
        found: dict[str, Any] = json.loads(self.rig.records[self.name])
        return found

    @cached_property
    def engine(self) -> str:
        """The engine that it is planned on; the wished one where nothing was recorded, or what was is damaged."""
        try:
            return str(json.loads(self.rig.records[self.name])["engine"])
        except (ValueError, TypeError, KeyError):
            return self.wish.engine

    @cached_property
    def cluster(self) -> Part | None:
        """This rig's part, where several serve it together."""
        return part_of(self.rig.records.get(self.name))

    @property
    def replica(self) -> dict[str, Any]:
        """What the plan says of this replica: GPUs, port, environment."""
        found: dict[str, Any] = self.plan["replicas"][self.number]
        return found

    @property
    def port(self) -> int:
        """Its TCP port: the first replica has the one of the inventory."""
        return int(self.replica["port"]) if self.number else self.wish.port

    @cached_property
    def properties(self) -> dict[str, str]:
        """What systemd says of the unit."""
        words = [word for name in _PROPERTIES for word in ("-p", name)]
        said = self.host.check_output("systemctl show " + "%s " * len(words) + "-- %s", *words, self.unit)
        return dict(line.split("=", 1) for line in said.splitlines() if "=" in line)

    @cached_property
    def pid(self) -> int:
        """The main process of the unit."""
        found = int(self.properties["MainPID"])
        if not found:
            pytest.fail(f"{self.unit} has no process")
        return found

    @cached_property
    def pids(self) -> set[int]:
        """The main process and those that it started: an engine may leave its work to another program."""
        return processes_of(self.host, self.pid)

    @cached_property
    def _process(self) -> list[str]:
        said: str = self.host.check_output(_PROCESS, str(self.pid))
        encoded, rest = said.split("\n")[:3], said.split("\n")[3:]
        return [base64.b64decode(line).decode("utf-8", "surrogateescape") for line in encoded] + rest

    @cached_property
    def argv(self) -> list[str]:
        """The command line of the running process, without the program, and without the interpreter of a script."""
        words = self._process[0].removesuffix("\0").split("\0")
        started = f"/opt/rigwright/services/{self.name}/current/"
        return words[next((place for place, word in enumerate(words) if word.startswith(started)), 0) + 1 :]

    @property
    def environment(self) -> list[str]:
        """The environment of the running process, `NAME=value` each."""
        return self._process[1].removesuffix("\0").split("\0")

    @property
    def status(self) -> dict[str, str]:
        """What the kernel says of the running process: `Uid`, `CapEff` and more."""
        return dict(line.split(":\t", 1) for line in self._process[2].splitlines() if ":\t" in line)

    @property
    def program(self) -> str:
        """The file that the process runs."""
        return self._process[3]

    @property
    def directory(self) -> str:
        """The directory that the process works in."""
        return self._process[4]

    @cached_property
    def release(self) -> str:
        """The directory of the release that its link names, without links in it."""
        found: str = self.host.check_output("readlink -e -- %s", f"/opt/rigwright/services/{self.name}/current")
        return found

    @property
    def planned(self) -> list[str]:
        """The arguments of the plan, as the process shall show them."""
        words = [word for flag in self.plan["flags"] for word in (flag["name"], flag["value"]) if word is not None]
        return self.filled_in(words)

    def filled_in(self, words: list[str]) -> list[str]:
        """The words of a command line as the process shows them."""
        credentials = f"/run/credentials/{self.unit}"
        return [word.replace("${CREDENTIALS_DIRECTORY}", credentials) for word in words]

    @property
    def locked(self) -> dict[str, Any] | None:
        """What the lock file says of the rig, as plain data; None where it says nothing."""
        return self.rig.locked

    def flag(self, name: str) -> str:
        """The value of a flag of the running process."""
        return self.argv[self.argv.index(name) + 1]

    @property
    def given_model(self) -> str:
        """The model that its process was given: the value of --model, or the path before all flags; empty without."""
        before = list(takewhile(lambda word: not word.startswith("-"), self.argv))
        return self.flag("--model") if "--model" in self.argv else next((one for one in before if one[:1] == "/"), "")

    def get(self, path: str, *, body: object = None, key: bool = True) -> tuple[int, str]:
        """The HTTP status and body of a request that the rig makes to its own service; the key stays out of sight.

        A service that lets one wait is asked no more: that check fails, the next ones are skipped.
        """
        if self._silent:
            pytest.skip(f"not asked: {self._silent}")
        if not self._answers:
            self._wait_no_more("/health", _HEALTH_SECONDS)
        limit = _GET_SECONDS if body is None else _COMPLETION_SECONDS
        done = self._ask(path, limit, body=body, key=key)
        if done.rc == _TIMED_OUT:
            self._wait_no_more(path, limit)
        assert done.rc == 0, f"{path}: {done.stderr.strip()}"
        content, _, status = done.stdout.rstrip("\n").rpartition("\n")
        return int(status), content

    @cached_property
    def _answers(self) -> bool:
        """Whether it says anything within seconds: a refused connection and an error are answers too."""
        return bool(self._ask("/health", _HEALTH_SECONDS).rc != _TIMED_OUT)

    def _wait_no_more(self, path: str, seconds: int) -> NoReturn:
        self._silent = f"{path} was not answered within {seconds} s"
        pytest.fail(self._silent)

    def _ask(self, path: str, limit: int, *, body: object = None, key: bool = True) -> Any:
        address = listens_at(self.wish.host, self.cluster)
        key_file = f"/etc/rigwright/{self.wish.name}.key" if key and self.wish.api_key_file else ""
        return ask(self.host, address, f"{self.port}{path}", limit, body=body, key_file=key_file)
