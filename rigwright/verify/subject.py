"""What a check looks at: a rig, and the services on it, through testinfra alone."""

from __future__ import annotations

import json
from functools import cached_property
from typing import Any

import testinfra

from rigwright.plan.wish import ServiceWish
from rigwright.verify.targets import Target, backend

# The names of all services on a rig; the first command on it tells whether it can be reached at all.
_NAMES = (
    "ls -1 /etc/systemd/system /etc/rigwright 2>/dev/null | sed -nE 's/^rigwright-(.*)\\.service$/\\1/p; s/\\.json$//p'"
)


def _last_line(said: str) -> str:
    return (said.strip().splitlines() or [""])[-1].strip()


class RigUnderTest:
    """One rig; `host` is testinfra's."""

    def __init__(self, target: Target) -> None:
        self.name = target.name
        self.spec = target.spec
        self.locked = target.locked
        self._target = target

    @cached_property
    def host(self) -> Any:
        """The testinfra host."""
        address, options = backend(self._target)
        return testinfra.get_host(address, **options)

    @cached_property
    def unreachable(self) -> str | None:
        """Why no check can run on it, in one line; None where they can."""
        try:
            done = self.host.run("true")
        except Exception as error:  # noqa: BLE001  # each of testinfra's backends raises errors of its own
            # That of SSH carries the result of `ssh`, with what it said.
            result = next(iter(error.args), None)
            return _last_line(getattr(result, "stderr", str(error))) or type(error).__name__
        if done.rc == 0:
            return None
        return _last_line(done.stderr) or f"a command ended with exit code {done.rc}"

    @cached_property
    def names(self) -> list[str]:
        """The names of the instances on the rig, `chat` and `chat@1`, whoever deployed them."""
        return sorted(set(self.host.check_output(_NAMES).split()))

    @cached_property
    def services(self) -> list[ServiceUnderTest]:
        """What the inventory wants served here: the replicas that there are of each service, at least one."""
        found = []
        for wish in self.spec.services:
            names = [name for name in self.names if name.partition("@")[0] == wish.name]
            found += [ServiceUnderTest(self, wish, name) for name in names or [wish.name]]
        return found


class ServiceUnderTest:
    """One service of a rig, or one replica of it."""

    def __init__(self, rig: RigUnderTest, wish: ServiceWish, name: str) -> None:
        self.rig, self.wish, self.name = rig, wish, name
        self.number = int(name.partition("@")[2] or 0)
        self.unit = f"rigwright-{name}.service"

    @property
    def host(self) -> Any:
        """The testinfra host."""
        return self.rig.host

    @cached_property
    def plan(self) -> dict[str, Any]:
        """What the deploy recorded as planned."""
        found: dict[str, Any] = json.loads(self.host.file(f"/etc/rigwright/{self.name}.json").content_string)
        return found

    @cached_property
    def engine(self) -> str:
        """The engine that it is planned on; the wished one where nothing was recorded, or what was is damaged."""
        file = self.host.file(f"/etc/rigwright/{self.name}.json")
        try:
            return str(self.plan["engine"]) if file.exists else self.wish.engine
        except (ValueError, TypeError, KeyError):
            return self.wish.engine

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
    def pid(self) -> int:
        """The main process of the unit, 0 when none runs."""
        return int(self.host.check_output("systemctl show -P MainPID %s", self.unit))

    @cached_property
    def argv(self) -> list[str]:
        """The command line of the running process, without the program, and without the interpreter of a script."""
        words = str(self.host.check_output(f"tr '\\0' '\\n' </proc/{self.pid}/cmdline")).split("\n")
        started = f"/opt/rigwright/services/{self.name}/current/"
        return words[next((place for place, word in enumerate(words) if word.startswith(started)), 0) + 1 :]

    @cached_property
    def environment(self) -> list[str]:
        """The environment of the running process, `NAME=value` each."""
        text = self.host.check_output(f"tr '\\0' '\\n' </proc/{self.pid}/environ")
        return str(text).split("\n")

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

    def get(self, path: str, *, body: object = None, key: bool = True) -> tuple[int, str]:
        """The HTTP status and body of a request that the rig makes to its own service; the key stays out of sight."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.wish.host, self.wish.host)
        host = f"[{host}]" if ":" in host else host
        curl = "curl -sS --noproxy '*' --config - --max-time 120 -w '\\n%%{http_code}' %s"
        words = [f"http://{host}:{self.port}{path}"]
        if body is not None:
            curl += " -H 'Content-Type: application/json' -d %s"
            words.append(json.dumps(body))
        secret = "true"
        if key and self.wish.api_key_file:
            secret = 'printf \'header = "Authorization: Bearer %%s"\\n\' "$(head -n1 %s)"'
            words.insert(0, f"/etc/rigwright/{self.wish.name}.key")
        text = self.host.check_output(f"{secret} | {curl}", *words)
        content, _, status = text.rpartition("\n")
        return int(status), content
