"""MLX on a Mac: the property list, and the script that serves, over stand-ins for launchctl, plutil, lsof and uname.

The stand-in of mlx_lm.server answers as the real 0.32.2 did on Linux; no Mac was at hand.
"""

from __future__ import annotations

import json
import os
import plistlib
import pwd
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from rigwright.resources import role_text
from rigwright.roles.mlx.daemon import VERSION, arguments, property_list, release_id
from rigwright.roles.mlx.deploy import WrongInventory, settings_of
from rigwright.roles.mlx.facts import Daemons
from rigwright.roles.mlx.operations import serve
from rigwright.roles.mlx.settings import MlxService

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="daemons are root's to make: needs root")

_SERVER = f"""#!{sys.executable}
import http.server, json, os, sys
if os.path.exists(os.path.join(sys.argv[sys.argv.index("--model") + 1], "broken")):
    sys.exit("no such architecture")
class Handler(http.server.BaseHTTPRequestHandler):
    def say(self, body):
        self.send_response(200); self.end_headers(); self.wfile.write(json.dumps(body).encode())
    def do_GET(self): self.say({{"status": "ok"}})
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert asked["model"] == "default_model" and os.environ["HF_HUB_OFFLINE"] == "1"
        self.say({{"choices": [], "usage": {{"completion_tokens": 1}}}})
    def log_message(self, *words): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
"""
_PYTHON = """#!/bin/sh
# -I -m venv DIRECTORY, or -I -m pip … --python DIRECTORY install …
if [ "$3" = venv ]; then mkdir -p "$4/bin"; exit; fi
[ ! -e "@HOME@/no-index" ] || { echo "no matching distribution" >&2; exit 1; }
while [ "$1" != --python ]; do shift; done
cp "@HOME@/server" "$2/bin/mlx_lm.server"; chmod 755 "$2/bin/mlx_lm.server"
"""
_LAUNCHCTL = f"""#!{sys.executable}
import json, os, plistlib, signal, subprocess, sys
home, verb, word = "@HOME@", sys.argv[1], sys.argv[-1]
jobs = json.load(open(home + "/jobs")) if os.path.exists(home + "/jobs") else {{}}
open(home + "/asked", "a").write(" ".join(sys.argv[1:]) + "\\n")
name = word.removeprefix("system/")
if verb == "print": sys.exit(0 if name in jobs else 113)
if verb == "bootout":
    pid = jobs.pop(name)
    try:
        if pid > 1 and home in open(f"/proc/{{pid}}/cmdline").read(): os.kill(pid, signal.SIGKILL)
    except OSError: pass
if verb == "bootstrap":
    job = plistlib.load(open(word, "rb"))
    if job["Label"] in jobs: sys.exit(5)
    log = open(home + "/log", "a")
    started = subprocess.Popen(job["ProgramArguments"], env=os.environ | job["EnvironmentVariables"], stdout=log,
                               stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
    jobs[job["Label"]] = started.pid
json.dump(jobs, open(home + "/jobs", "w"))
"""
_TOOLS = {
    "uname": '#!/bin/sh\n[ "$1" = -s ] && echo Darwin || echo arm64\n',
    "plutil": f"#!{sys.executable}\nimport plistlib, sys\nplistlib.load(open(sys.argv[-1], 'rb'))\n",
    "lsof": f"#!{sys.executable}\nimport socket, sys\nport = sys.argv[2].rpartition(':')[2]\n"
    "sys.exit(socket.socket().connect_ex(('127.0.0.1', int(port))) != 0)\n",
    "launchctl": _LAUNCHCTL,
}


class Mac:
    """A Mac of stand-ins in a folder."""

    def __init__(self, home: Path) -> None:
        self.home, self.model = home, home / "model"
        (home / "tools").mkdir()
        (home / "daemons").mkdir()
        self.model.mkdir()
        for name in ("config.json", "tokenizer_config.json", "model.safetensors"):
            (self.model / name).write_text("{}")
        for name, text in {**{f"tools/{name}": text for name, text in _TOOLS.items()}, "python": _PYTHON}.items():
            (home / name).write_text(text.replace("@HOME@", str(home)))
            (home / name).chmod(0o755)
        (home / "server").write_text(_SERVER)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    def service(self, **changes: Any) -> MlxService:
        account = next(one.pw_name for one in pwd.getpwall() if one.pw_uid)
        keys = {"name": "chat", "model": str(self.model), "account": account, "port": self.port}
        return MlxService.model_validate(keys | {"start_timeout_seconds": 5} | changes)

    def serve(self, **changes: Any) -> subprocess.CompletedProcess[str]:
        service, python = self.service(**changes), str(self.home / "python")
        release = release_id(role_text("mlx", "requirements.txt"), python)
        text = property_list(service, f"{self.home}/base/releases/{release}")
        places = {"directory": f"{self.home}/base", "daemons": f"{self.home}/daemons"}
        done = serve(service, release=release, python=python, text=text, **places)
        path = f"{self.home}/tools:{os.environ['PATH']}"
        env = os.environ | {"PATH": path}
        return subprocess.run(["sh", "-c", done], env=env, capture_output=True, text=True, timeout=90, check=False)

    @property
    def plist(self) -> Path:
        return self.home / "daemons" / "dev.rigwright.chat.plist"

    def state(self) -> dict[str, tuple[str, bool]]:
        """What the fact of the role reads there."""
        command = Daemons().command(["dev.rigwright.chat"], str(self.home / "daemons"))
        env = os.environ | {"PATH": f"{self.home}/tools:{os.environ['PATH']}"}
        done = subprocess.run(["sh", "-c", command], env=env, capture_output=True, text=True, check=True)
        return Daemons().process(done.stdout.splitlines())

    def completes(self) -> bool:
        body = json.dumps({"model": "default_model", "messages": []})
        command = ["curl", "-qsf", "-d", body, f"http://127.0.0.1:{self.port}/v1/chat/completions"]
        return b"completion_tokens" in subprocess.run(command, capture_output=True, check=False).stdout


@pytest.fixture
def mac(open_path: Path) -> Iterator[Mac]:
    found = Mac(open_path)
    yield found
    jobs = found.home / "jobs"
    for pid in (json.loads(jobs.read_text()) if jobs.exists() else {}).values():
        end(pid, found.home)


def end(pid: int, home: Path) -> None:
    """End a process of this Mac, if it is one still: by its own id, and only where its command line names the folder.

    Never by the program kill: `kill -9 -123` of procps 4.0.2 is read as `kill -9 -1`, which ends all that runs.
    """
    with suppress(OSError):
        if pid > 1 and str(home).encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGKILL)


@as_root
@pytest.mark.runs("mlx/serve.sh")
def test_model_is_served_and_changed(mac: Mac, each_sh: str) -> None:
    """A venv, a daemon, an answer; what launchd has then is what is wanted; a change makes no second venv."""
    done = mac.serve()
    assert done.returncode == 0, done.stdout + done.stderr
    assert mac.completes()
    [(sum_, is_loaded)] = mac.state().values()
    assert is_loaded and len(sum_) == 64
    assert plistlib.loads(mac.plist.read_bytes())["UserName"] == mac.service().account
    assert mac.plist.stat().st_mode & 0o777 == 0o644
    again = mac.serve(max_tokens=64)
    assert again.returncode == 0 and "making a venv" not in again.stdout, again.stdout
    assert "64" in plistlib.loads(mac.plist.read_bytes())["ProgramArguments"]
    assert not list(mac.home.glob("daemons/*.rigwright-new"))


@as_root
@pytest.mark.runs("mlx/serve.sh")
def test_what_does_not_answer_gives_way_to_what_ran(mac: Mac, each_sh: str) -> None:
    """The property list and the process of before come back; where there was none, none is left."""
    (mac.model / "broken").touch()
    first = mac.serve(start_timeout_seconds=5)
    assert first.returncode == 1 and "chat did not load within 5 s" in first.stdout
    assert not mac.plist.exists() and mac.state() == {}
    (mac.model / "broken").unlink()
    assert mac.serve().returncode == 0
    before = mac.plist.read_bytes()
    (mac.model / "broken").touch()
    # The process that runs goes with the old list; it loads again only where the weights are whole.
    other = mac.home / "other"
    mac.model.rename(other)
    mac.model.mkdir()
    for one in other.iterdir():
        if one.name != "broken":
            (mac.model / one.name).write_text("{}")
    failed = mac.serve(model=str(other))
    assert failed.returncode == 1 and "the daemon before is back" in failed.stdout, failed.stdout
    assert mac.plist.read_bytes() == before and mac.state()["dev.rigwright.chat"][1]


@as_root
@pytest.mark.runs("mlx/serve.sh")
def test_nothing_of_others_is_touched(mac: Mac, each_sh: str) -> None:
    """A property list that is not ours, a port that is taken, weights that are not there, an index that fails."""
    (mac.home / "no-index").touch()
    failed = mac.serve()
    assert failed.returncode == 1 and "the packages could not be installed" in failed.stdout
    assert not list(mac.home.glob("base/releases/*")) and not (mac.home / "jobs").exists()
    (mac.home / "no-index").unlink()
    with socket.create_server(("127.0.0.1", mac.port)):
        taken = mac.serve()
    assert taken.returncode == 1 and f"port {mac.port} is taken by another program" in taken.stdout
    assert not mac.plist.exists()
    theirs = plistlib.dumps({"Label": "dev.rigwright.chat"})
    mac.plist.write_bytes(theirs)
    refused = mac.serve()
    assert refused.returncode == 1 and "is not ours; choose another name than chat" in refused.stdout
    assert mac.plist.read_bytes() == theirs
    mac.plist.unlink()
    (mac.model / "model.safetensors").unlink()
    assert "has no weights" in mac.serve().stdout
    (mac.home / "python").chmod(0o757)
    (mac.model / "model.safetensors").write_text("{}")
    assert "others than root can change" in mac.serve().stdout


def service(**keys: Any) -> MlxService:
    return MlxService.model_validate({"name": "chat", "model": "/m/qwen", "account": "ada"} | keys)


def test_command_line_is_one_that_the_program_takes() -> None:
    """Each flag is in `mlx_lm.server --help` of 0.32.2; the template is told what the family understands."""
    said = arguments(service(known_as="qwen3.5-27b", thinking="off"), "/r")
    assert shlex.join(said) == (
        "/r/bin/mlx_lm.server --model /m/qwen --host 127.0.0.1 --port 8080 --allowed-origins http://127.0.0.1 "
        "--max-tokens 8192 --decode-concurrency 4 --prompt-concurrency 4 --temp 0.7 --top-p 0.8 --top-k 20 --min-p 0 "
        """--chat-template-args '{"enable_thinking":false}'"""
    )
    assert "--temp" not in arguments(service(known_as="qwen3.5-27b", thinking="per-request"), "/r")
    assert "--chat-template-args" not in arguments(service(), "/r")


def test_property_list_is_launchds() -> None:
    """It runs as the account, is kept alive, and can fetch nothing that a request names."""
    found = plistlib.loads(property_list(service(), "/r").encode())
    assert (found["Label"], found["UserName"], found["KeepAlive"]) == ("dev.rigwright.chat", "ada", True)
    assert found["EnvironmentVariables"]["HF_HUB_OFFLINE"] == "1"
    assert found["ProgramArguments"][0] == "/r/bin/mlx_lm.server"


def test_lock_has_a_sum_for_each_package() -> None:
    """All of it is installed by --require-hashes --no-deps, so nothing may be missing."""
    lock = role_text("mlx", "requirements.txt")
    rows = [row for row in lock.replace("\\\n", "").splitlines() if row.strip()]
    assert all("==" in row and "--hash=sha256:" in row for row in rows)
    names = {row.partition("==")[0] for row in rows}
    assert {"mlx-lm", "mlx", "mlx-metal", "transformers", "tokenizers", "numpy"} <= names
    assert f"mlx-lm=={VERSION} " in lock


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (None, "mac: mlx.services: missing; services is: What it serves."),
        ({"services": {"name": "chat", "model": "m/q", "account": "a"}}, "no absolute path; download it there"),
        ({"services": {"name": "chat", "model": "/m", "account": "root"}}, "name another account"),
        (
            {"services": {"name": "chat", "model": "/m", "account": "a", "known_as": "nope"}},
            "no model of the catalogue",
        ),
        (
            {"services": [{"name": one, "model": "/m", "account": "a"} for one in ("a", "b")]},
            "two services have the port 8080; give each its own",
        ),
        (
            {"services": {"name": "chat", "model": "/m", "account": "a", "known_as": "gpt-oss-20b", "thinking": False}},
            "mac: mlx.services.chat: thinking is off, but gpt-oss-20b always thinks",
        ),
    ],
)
def test_wrong_data_is_refused_before_any_mac_is_touched(data: Any, said: str) -> None:
    """In one line that names the key."""
    with pytest.raises(WrongInventory) as error:
        settings_of("mac", data)
    assert said in error.value.message and "\n" not in error.value.message
