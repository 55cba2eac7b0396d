"""What travels to a rig, over a real SSH connection to a server in this process: every line that it is told to run."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import paramiko
import pytest
from pyinfra.api import Config, Inventory, State, operation
from pyinfra.api.connect import connect_all, disconnect_all
from pyinfra.api.operation import add_op
from pyinfra.api.operations import run_ops
from pyinfra.api.state import StateStage
from pyinfra.context import ctx_host, ctx_state

from rigwright.roles.base import channel as channels
from rigwright.roles.base.channel import Script, Upload, download
from rigwright.roles.base.facts import rig_state
from rigwright.roles.base.probe import Probe

PROXY = "http://me:s3cret@127.0.0.1:9"


@dataclass
class Server(paramiko.ServerInterface):
    """Runs what it is told in sh, and notes the line: what every user of a rig could read in its process list."""

    lines: list[str] = field(default_factory=list)
    port: int = 0
    refusals: int = 0

    def check_auth_password(self, username: str, password: str) -> int:
        return paramiko.AUTH_SUCCESSFUL

    def get_allowed_auths(self, username: str) -> str:
        return "password"

    def check_channel_request(self, kind: str, chanid: int) -> int:
        if self.refusals:
            self.refusals -= 1
            return paramiko.OPEN_FAILED_CONNECT_FAILED
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        self.lines.append(command.decode())
        threading.Thread(target=self._run, args=(channel, command.decode()), daemon=True).start()
        return True

    def _run(self, channel: paramiko.Channel, command: str) -> None:
        with subprocess.Popen(
            ["sh", "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as child:
            threading.Thread(target=self._feed, args=(channel, child), daemon=True).start()
            with suppress(OSError):  # who asked has gone
                while data := child.stdout.read1(1 << 16):
                    channel.sendall(data)
            child.kill()
        channel.send_exit_status(child.returncode)
        channel.close()

    @staticmethod
    def _feed(channel: paramiko.Channel, child: subprocess.Popen[bytes]) -> None:
        try:
            while data := channel.recv(1 << 16):
                child.stdin.write(data)
                child.stdin.flush()
            child.stdin.close()
        except OSError:
            pass

    def serve(self, listener: socket.socket, key: paramiko.PKey) -> None:
        """Until the listener is closed."""
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            transport = paramiko.Transport(connection)
            transport.add_server_key(key)
            transport.start_server(server=self, event=threading.Event())


@pytest.fixture
def server() -> Iterator[Server]:
    """A machine that SSH reaches."""
    found = Server()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        found.port = listener.getsockname()[1]
        key = paramiko.ECDSAKey.generate()
        threading.Thread(target=found.serve, args=(listener, key), daemon=True).start()
        yield found


@pytest.mark.patience
def test_environment_of_a_deploy_is_in_no_line(server, tmp_path):
    """`_env` may hold a proxy with a password: scripts and uploads get it, on standard input, and questions do not."""
    data = {"ssh_port": server.port, "ssh_user": "me", "ssh_password": "x", "ssh_strict_host_key_checking": "off"}
    own = {"https_proxy": PROXY, "PATH": f"{tmp_path}:/usr/bin:/bin"}
    inventory = Inventory(([("127.0.0.1", data | {"_env": own})], {}))
    state = State(inventory, Config(ENV={"ALL_PROXY": PROXY}))
    (tmp_path / "sent").write_text("content")
    asked = Probe(scripts=(("environment", 'echo "proxy=$https_proxy$ALL_PROXY"; echo "path=$PATH"'),))

    @operation(is_idempotent=False)
    def work():
        yield Script(f'printf "%s\\n" "$https_proxy" "$ALL_PROXY" "$PATH" >{tmp_path}/seen')
        yield Upload(lambda: tmp_path / "sent", f"{tmp_path}/arrived")

    state.set_stage(StateStage.Connect)
    connect_all(state)
    host = next(iter(inventory))
    state.set_stage(StateStage.Prepare)
    with ctx_state.use(state), ctx_host.use(host):
        rig = rig_state(asked)
    add_op(state, work)
    state.set_stage(StateStage.Execute)
    run_ops(state)
    disconnect_all(state)
    assert not state.failed_hosts
    assert (tmp_path / "seen").read_text() == f"{PROXY}\n{PROXY}\n{own['PATH']}\n"
    assert (tmp_path / "arrived").read_text() == "content"
    assert rig.sections["environment"] == ["proxy=", f"path={own['PATH']}:/usr/local/sbin:/usr/sbin:/sbin"]
    assert len(server.lines) >= 3
    assert [line for line in server.lines if "s3cret" in line] == []


@pytest.fixture
def connected(server, monkeypatch):
    """A host whose connection stands; a second of silence is long."""
    data = {"ssh_port": server.port, "ssh_user": "me", "ssh_password": "x", "ssh_strict_host_key_checking": "off"}
    inventory = Inventory(([("127.0.0.1", data)], {}))
    state = State(inventory, Config())
    state.set_stage(StateStage.Connect)
    connect_all(state)
    monkeypatch.setattr(channels, "SILENCE_SECONDS", 1)
    yield next(iter(inventory))
    disconnect_all(state)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sleep 20", "it was silent for 1 s"),
        ("while echo x; do sleep 0.3; done", r"it sent \d+ B in \d+ s"),
        ("cat /dev/zero", "it sent more than 1.0 MiB"),
        ("exit 1", "the connection was lost"),
    ],
)
@pytest.mark.patience
def test_fetch_from_a_rig_ends(connected, tmp_path, text, said):
    """One that says nothing, next to nothing, or something without an end: others wait for what it has."""
    began = time.monotonic()
    with pytest.raises(OSError, match=said):
        download(connected, text, tmp_path / "part", most=1 << 20)
    assert time.monotonic() - began < 8


@pytest.mark.patience
def test_what_a_rig_has_is_fetched(connected, tmp_path):
    """As it is."""
    download(connected, "head -c 300000 /dev/zero", tmp_path / "part", most=1 << 20)
    assert (tmp_path / "part").read_bytes() == bytes(300_000)


@pytest.mark.patience
def test_rig_without_a_place_for_a_session_is_asked_again(server, connected, tmp_path):
    """MaxSessions 1: on a busy rig the session before has not ended yet."""
    server.refusals = 3
    download(connected, "echo here", tmp_path / "part", most=1 << 20)
    assert (tmp_path / "part").read_text() == "here\n" and server.refusals == 0
