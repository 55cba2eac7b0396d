"""What a check looks at: a rig and its services, through testinfra alone."""

from __future__ import annotations

import json
import shlex
from functools import cached_property
from typing import Any

import testinfra

from rigwright.plan.wish import ServiceWish
from rigwright.verify.inventory import Target, backend


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

    @property
    def services(self) -> list[ServiceUnderTest]:
        """What the inventory wants served here."""
        return [ServiceUnderTest(self, wish) for wish in self.spec.services]


class ServiceUnderTest:
    """One service of a rig."""

    def __init__(self, rig: RigUnderTest, wish: ServiceWish) -> None:
        self.rig, self.wish, self.host_name = rig, wish, rig.name

    @property
    def host(self) -> Any:
        """The testinfra host."""
        return self.rig.host

    @cached_property
    def plan(self) -> dict[str, Any]:
        """What the deploy recorded as planned."""
        found: dict[str, Any] = json.loads(self.host.file(f"/etc/rigwright/{self.wish.name}.json").content_string)
        return found

    @cached_property
    def pid(self) -> int:
        """The main process of the unit, 0 when none runs."""
        return int(self.host.check_output(f"systemctl show -P MainPID {self.wish.unit}"))

    @cached_property
    def argv(self) -> list[str]:
        """The command line of the running process, without the program."""
        text = self.host.check_output(f"tr '\\0' '\\n' </proc/{self.pid}/cmdline")
        return str(text).split("\n")[1:]

    @property
    def planned(self) -> list[str]:
        """The arguments of the plan, as the process shall show them."""
        words = [word for flag in self.plan["flags"] for word in (flag["name"], flag["value"]) if word is not None]
        return self.filled_in(words)

    def filled_in(self, words: list[str]) -> list[str]:
        """The words of a command line as the process shows them."""
        credentials = f"/run/credentials/{self.wish.unit}"
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
        curl = f"curl -sS --config - --max-time 120 -w '\\n%{{http_code}}' http://{host}:{self.wish.port}{path}"
        if body is not None:
            curl += f" -H 'Content-Type: application/json' -d {shlex.quote(json.dumps(body))}"
        secret = f'printf \'header = "Authorization: Bearer %s"\\n\' "$(head -n1 /etc/rigwright/{self.wish.name}.key)"'
        text = self.host.check_output(f"{secret if key and self.wish.api_key_file else 'true'} | {curl}")
        content, _, status = text.rpartition("\n")
        return int(status), content
