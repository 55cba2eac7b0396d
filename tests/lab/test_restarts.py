"""Every change under a steady stream of completions: systemd counts the restarts, and no request fails beside them."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from rigwright.lab.tiny_model import write_tiny_model

from ..pages import page_shows
from .conftest import wait_healthy, write_in_parts, write_projector
from .test_hostile_hub import Answer, Host, handler

pytestmark = [pytest.mark.lab, pytest.mark.faults]

WEIGHTS = "/var/lib/rigwright/weights"
RELEASES = "/opt/rigwright/llamacpp/releases"
UNIT = "rigwright-demo.service"
REPOSITORY = "unsloth/Qwen3.5-9B-GGUF"
MODEL, PROJECTOR = "Qwen3.5-9B-Q4_K_M.gguf", "mmproj-F16.gguf"
# What systemd's journal calls them, whatever its language. Source: sd-messages.h.
STARTED, STOPPING = "39f53479d3a045ac8e11786248231fbf", "de5b426a63be47a7b6ac3eaac82e2f6f"
# Two clients, one that reads a stream: begin, end and what went wrong of each request, a line each.
CLIENT = """
import http.client, json, sys, threading, time
rig, told = sys.argv[1:]
def ask(streams):
    body = {"messages": [{"role": "user", "content": "Tell"}], "max_tokens": 12, "ignore_eos": True, "stream": streams}
    headers = {"Authorization": "Bearer sk-steady", "Content-Type": "application/json"}
    client = http.client.HTTPConnection(rig, 8080, timeout=60)
    client.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    answer = client.getresponse()
    said = answer.read().decode()
    client.close()
    is_whole = said.rstrip().endswith("[DONE]") if streams else '"completion_tokens":12' in said
    return "" if answer.status == 200 and is_whole else f"{answer.status} {said[-200:]}"
def go_on(streams):
    while True:
        begin = time.monotonic()
        try:
            failed = ask(streams)
        except Exception as error:
            failed = repr(error)
        line = json.dumps({"begin": begin, "end": time.monotonic(), "failed": failed})
        with lock, open(told, "a") as file:
            file.write(line + "\\n")
        time.sleep(0.3)
lock = threading.Lock()
for streams in (True, False):
    threading.Thread(target=go_on, args=(streams,)).start()
"""


@dataclass
class Shop:
    """The rig, its inventory as it changes, and what lies in the hub."""

    workshop: Any
    rig: str
    folder: Path
    hub: Host
    service: dict[str, Any] = field(default_factory=dict)
    keys: dict[str, Any] = field(default_factory=dict)
    beside: list[dict[str, Any]] = field(default_factory=list)

    def deploy(self, **changes: Any) -> Any:
        """The deploy, with changes to the service from now on; None takes one back."""
        self.service = {key: value for key, value in (self.service | changes).items() if value is not None}
        done = self.workshop.deploy(self.spec, self.rig)
        assert done.code == 0, done.output
        return done

    @property
    def spec(self) -> dict[str, Any]:
        """The `rig` data."""
        return {"llamacpp": {"archive": "pinned"}, **self.keys, "services": [self.service, *self.beside]}

    def file(self, name: str, text: str) -> str:
        """A file of the user's."""
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o600)
        return str(path)

    def show(self, name: str, path: Path, commit: str) -> None:
        """Let the hub have this file, as a large one of a commit."""
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        headers = {"X-Linked-ETag": f'"{digest}"', "X-Linked-Size": str(path.stat().st_size)}
        headers["X-Repo-Commit"] = commit * 40
        for revision in ("main", commit * 40):
            self.hub.answers[f"/{REPOSITORY}/resolve/{revision}/{name}"] = Answer(path.read_bytes(), headers=headers)

    def binaries(self, name: str) -> dict[str, Any]:
        """The release that runs, in the form of upstream's archives, and another one by its sum."""
        path = self.folder / f"{name}.tar.gz"
        if not path.exists():
            at = self.workshop.on(self.rig, "readlink /opt/rigwright/services/demo/current")
            command = ["tar", "-czf", "-", "-C", f"{at}/bin", "--transform", f"s,^\\.,{name},", "."]
            path.write_bytes(
                subprocess.run(self.workshop.lab.enter(self.rig, command), capture_output=True, check=True).stdout
            )
        return {"prebuilt": {"path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}}

    def releases(self) -> list[str]:
        """What lies on the rig."""
        return sorted(self.workshop.on(self.rig, f"ls -A {RELEASES}").split())

    @property
    def asked(self) -> Path:
        """What the clients write."""
        return self.folder / "asked"

    def requests(self, since: float) -> list[dict[str, Any]]:
        """Those that ended since then."""
        rows = [json.loads(line) for line in self.asked.read_text().splitlines()]
        return [row for row in rows if row["end"] > since]

    def on(self, script: str) -> str:
        """A shell script on the rig."""
        return str(self.workshop.on(self.rig, script))


def nothing(shop: Shop) -> Any:
    done = shop.deploy()
    assert done.changed == set()
    return done


def second_service(shop: Shop) -> Any:
    shop.beside = [{"name": "other", "port": 8081, "context": 2048, "model": shop.service["model"]}]
    return shop.deploy()


def second_service_taken_away(shop: Shop) -> Any:
    shop.beside = []
    shop.keys["remove_orphans"] = True
    return shop.deploy()


def receipt_lost(shop: Shop) -> Any:
    assert '"host"' in shop.on(f"cat {RELEASES}/*/receipt.json"), "each release says where it is from"
    shop.on(f"mv {RELEASES}/*/receipt.json /root/")
    done = shop.deploy()
    shop.on("mv /root/receipt.json /opt/rigwright/services/demo/current/")
    return done


def allowed_networks(shop: Shop) -> Any:
    """This machine's, which the clients are on; an address of the rig's own is outside of it, and the kernel knows."""
    ask = f"curl -s -m 2 --interface 127.0.0.1 http://{shop.workshop.lab.rig(shop.rig).address}:8080/health"
    shop.on("ip address add 192.0.2.7/32 dev lo")
    outside = "curl -s -m 2 -o /dev/null -w '%{http_code}' --interface 192.0.2.7 http://192.0.2.7:8080/health || :"
    assert shop.on(outside) == "200"
    done = shop.deploy(allow_from=[f"{shop.workshop.host_address.rpartition('.')[0]}.0/24"])
    assert "IPAddressAllow: localhost" in done.output and "nothing restarts" in done.output, done.output
    assert (shop.on(outside), shop.on(ask)) == ("000", '{"status":"ok"}')
    assert shop.deploy().changed == set()
    return done


def template(text: str) -> Callable[[Shop], Any]:
    return lambda shop: shop.deploy(chat_template_file=shop.file("own.jinja", text))


def further_key(shop: Shop) -> Any:
    shop.file("keys", "sk-steady\nsk-another\n")
    return shop.deploy()


def other_weights(shop: Shop) -> Any:
    write_tiny_model(Path(shop.service["model"]), seed=2)
    return shop.deploy()


def other_part(shop: Shop) -> Any:
    part = Path(shop.service["model"].replace("00001-of", "00002-of"))
    content = part.read_bytes()
    part.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    return shop.deploy()


def other_projector(shop: Shop) -> Any:
    path = shop.folder / PROJECTOR
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    shop.show(MODEL, shop.folder / MODEL, "2")
    shop.show(PROJECTOR, path, "2")
    done = shop.deploy(model=f"hf:{REPOSITORY}@{'2' * 40}:{MODEL}")
    assert shop.deploy().changed == set()
    return done


def release(name: str) -> Callable[[Shop], Any]:
    def change(shop: Shop) -> Any:
        shop.keys["llamacpp"] = shop.binaries(name)
        return shop.deploy()

    return change


def older_release_kept(shop: Shop) -> Any:
    shop.keys["base"] = {"keep_releases": 2}
    before = shop.releases()
    done = release("d")(shop)
    assert len(shop.releases()) == 3 and set(before) < set(shop.releases())
    return done


def fewer_releases_kept(shop: Shop) -> Any:
    del shop.keys["base"]
    done = shop.deploy()
    assert len(shop.releases()) == 2
    return done


def weights_listed(shop: Shop, *options: str) -> Any:
    done = shop.workshop.rigwright("weights", str(shop.workshop.inventory(shop.spec, shop.rig)), *options)
    assert done.code == 0, done.output
    return done


def weights_that_nobody_wants(shop: Shop) -> Any:
    """Of all that came in these tests the files of now and of the way back stay, byte for byte."""
    wanted = shop.on("cat /etc/systemd/system/rigwright-*.service /var/lib/rigwright/services/*/previous.service")
    names = set(re.findall(r"^# weights \w+ (\S+)$", wanted, re.MULTILINE))
    shop.on(
        f"cd {WEIGHTS}; cp tiny.gguf mine.gguf; echo more >>s-00001-of-00003.gguf; (exec 9<s-00003-of-00003.gguf;"
        " setsid sleep 300 <&9 9<&- >/dev/null 2>&1 &); ls -A >/dev/null"
    )
    states = {}
    for age, expected in (("", "young"), ("find . -name '.*.rigwright' -exec touch -d '2 days ago' {} +", "spare")):
        shop.on(f"cd {WEIGHTS}; {age or ':'}")
        (rig,) = json.loads(weights_listed(shop, "--json").output).values()
        states = {file["path"]: file["state"] for file in rig["files"]}
        assert {path for path, state in states.items() if state in ("used", "kept")} == names
        assert expected in states.values() and f"{WEIGHTS}/mine.gguf" not in states
    assert states[f"{WEIGHTS}/s-00001-of-00003.gguf"] == "changed"
    assert states[f"{WEIGHTS}/s-00003-of-00003.gguf"] == "open"
    gone = {path for path, state in states.items() if state == "spare"}
    before = shop.on(f"find {WEIGHTS} -type f -name '*.gguf' -exec sha256sum {{}} +").splitlines()
    assert f"{WEIGHTS}/s-00002-of-00003.gguf" in gone
    done = weights_listed(shop, "--prune")
    page_shows("docs/weights.md", "rig1  ", done.output)
    after = shop.on(f"find {WEIGHTS} -type f -name '*.gguf' -exec sha256sum {{}} +").splitlines()
    assert set(before) - set(after) == {line for line in before if line.split("  ")[1] in gone}
    assert "no service wants it" not in re.sub("no service wants it, .*", "", weights_listed(shop, "--prune").output)
    return done


def rollback(shop: Shop) -> Any:
    done = shop.workshop.rigwright("rollback", str(shop.workshop.inventory(shop.spec, shop.rig)))
    assert done.code == 0, done.output
    assert "served nobody" in done.output or "nothing was restarted" in done.output
    waited = sum(map(int, re.findall(r"has no request under way, after (\d+) s", done.output)))
    assert done.seconds - waited < 10
    return done


def release_that_is_collected(shop: Shop) -> Any:
    before = shop.releases()
    shop.on(f"mkdir {RELEASES}/.deadbeef")
    done = release("c")(shop)
    assert len(shop.releases()) == 2 and len(before) == 2, "the one that runs, and the one before"
    assert shop.releases() != before
    return done


def flag_that_nobody_knows(shop: Shop) -> Any:
    done = shop.workshop.deploy(
        shop.spec | {"services": [shop.service | {"flags": {"--threads": 1, "--lora": "/none.gguf"}}]}, shop.rig
    )
    assert done.code == 1 and "the previous release is back and serving" in done.output, done.output
    return done


CHANGES: dict[str, tuple[Callable[[Shop], Any], int]] = {
    "nothing": (nothing, 0),
    "limits of waiting": (lambda shop: shop.deploy(drain_seconds=60, watch_seconds=400, start_timeout_seconds=300), 0),
    "a receipt is lost": (receipt_lost, 0),
    "a second service": (second_service, 0),
    "it is taken away": (second_service_taken_away, 0),
    "a flag": (lambda shop: shop.deploy(flags={"--threads": 1, "--temp": 0.5}), 1),
    "its name in the API": (lambda shop: shop.deploy(alias="tiny"), 1),
    "who may connect": (allowed_networks, 0),
    "everybody may again": (lambda shop: shop.deploy(allow_from=None), 0),
    "rollback to those networks": (rollback, 0),
    "and once more": (rollback, 0),
    "a further API key": (further_key, 1),
    "a chat template": (template("{% for message in messages %}{{ message.content }}{% endfor %}"), 1),
    "its text": (template("{% for message in messages %}[{{ message.content }}]{% endfor %}"), 1),
    "weights of the same name": (other_weights, 1),
    "a model of three files": (lambda shop: shop.deploy(model=str(shop.folder / "s-00001-of-00003.gguf")), 1),
    "its second file": (other_part, 1),
    "a model that sees": (lambda shop: shop.deploy(model=f"hf:{REPOSITORY}@main:{MODEL}", vision=True), 1),
    "its projector": (other_projector, 1),
    "another release": (release("a"), 1),
    "one more, the first goes": (release_that_is_collected, 1),
    "one more, and both earlier ones stay": (older_release_kept, 1),
    "fewer releases shall stay": (fewer_releases_kept, 0),
    "weights that nobody wants": (weights_that_nobody_wants, 0),
    "rollback": (rollback, 1),
    "rollback once more": (rollback, 1),
    "a flag that nobody knows": (flag_that_nobody_knows, 2),
}


@pytest.fixture(scope="module")
def shop(workshop: Any, trixie: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A rig that serves, a hub, and two clients that ask one completion after the other."""
    folder, hub = tmp_path_factory.mktemp("shop"), Host("")
    write_tiny_model(folder / "tiny.gguf")
    write_in_parts(folder / "s.gguf", parts=3)
    found = Shop(workshop, workshop.boot("rig1", from_snapshot=trixie.snapshot), folder, hub)
    server = ThreadingHTTPServer((workshop.host_address, 0), handler(hub))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    found.show(MODEL, write_tiny_model(folder / MODEL, seed=3), "1")
    found.show(PROJECTOR, write_projector(folder / PROJECTOR), "1")
    found.keys["weights"] = {"hugging_face": f"http://{workshop.host_address}:{server.server_port}"}
    found.service = {"name": "demo", "port": 8080, "context": 2048, "host": "0.0.0.0", "slots": 2}
    found.service["flags"] = {"--threads": 1}
    found.deploy(model=str(folder / "tiny.gguf"), api_key_file=found.file("keys", "sk-steady\n"))
    wait_healthy(workshop, found.rig)
    client = subprocess.Popen([sys.executable, "-c", CLIENT, workshop.lab.rig(found.rig).address, found.asked])
    yield found
    client.kill()
    client.wait()
    server.shutdown()
    server.server_close()
    workshop.lab.down([found.rig])


def moments(shop: Shop, kind: str, since: float) -> list[float]:
    """When the service's unit did so, by systemd's own journal, in seconds of the rig's clock that never jumps."""
    found = shop.on(
        f"journalctl --sync; journalctl -q -o json --output-fields=MESSAGE_ID _PID=1 UNIT={UNIT} MESSAGE_ID={kind}"
    )
    times = [int(json.loads(line)["__MONOTONIC_TIMESTAMP"]) / 1e6 for line in found.splitlines()]
    return [time for time in times if time > since]


@pytest.mark.parametrize("name", CHANGES)
def test_change_restarts_as_often_as_it_must_and_costs_no_request_else(shop, capsys, name):
    """The starts that systemd counted; what failed, failed while nobody was served by the deploy's own word."""
    change, expected = CHANGES[name]
    began = float(shop.on("sleep 1; cut -d' ' -f1 /proc/uptime"))
    done = change(shop)
    shop.on("sleep 1")
    starts, stops = moments(shop, STARTED, began), moments(shop, STOPPING, began)
    told = [float(seconds) for seconds in re.findall(r"demo served nobody for (\d+\.\d) s", done.output)]
    rows = shop.requests(began)
    failed = [row for row in rows if row["failed"]]
    assert len(starts) == expected, done.output
    assert shop.on(f"systemctl show -P NRestarts {UNIT}") == "0"
    assert len(told) == (1 if expected else 0), done.output
    cut = [row for row in failed if stops and row["begin"] < stops[0]]
    with capsys.disabled():
        away = f"nobody served for {told[0]} s" if told else "no restart"
        kinds = f"{len(rows)} completions, {len(failed)} failed, {len(cut)} of them cut"
        sys.stdout.write(f"\n{name}: {away}; {kinds}; {done.seconds:.1f} s in all")
    until = stops[0] + told[0] + 0.1 if told else 0
    outside = [row for row in failed if not (stops and stops[0] - 0.1 < row["end"] < until)]
    assert outside == []
    assert [row for row in rows if not row["failed"] and row["begin"] > until], "it goes on"
