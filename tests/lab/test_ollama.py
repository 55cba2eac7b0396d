"""Ollama on a rig: its archive, its models, pins that are raised, what others have there. The program is a stand-in."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..ollama_release import NAME, Releases, write_release
from .ollama_breakages import PLANTED, STORE

pytestmark = pytest.mark.lab

LOOK = (
    "systemctl show -P MainPID rigwright-chat; readlink /opt/rigwright/services/chat/current;"
    " sha256sum /etc/rigwright/chat.json /etc/systemd/system/rigwright-chat.service; ls /opt/rigwright/ollama/releases"
)
SCORE = "systemd-analyze security --no-pager rigwright-chat.service | tail -n1 | grep -o '[0-9]\\.[0-9]'"
# What the rig's own loopback has at a port is what this machine has there.
FORWARD = """
import socket, sys, threading
def copy(a, b):
    while data := a.recv(65536):
        b.sendall(data)
    b.shutdown(socket.SHUT_WR)
listener = socket.create_server(("127.0.0.1", int(sys.argv[2])))
while True:
    near, _ = listener.accept()
    far = socket.create_connection((sys.argv[1], int(sys.argv[2])))
    for pair in ((near, far), (far, near)):
        threading.Thread(target=copy, args=pair, daemon=True).start()
"""


# What programs of others do: the client that Ollama's makers publish on PyPI.
CLIENT = """
import json, sys
import ollama
client = ollama.Client(host=sys.argv[1])
said = {
    "list": sorted(one.model for one in client.list().models),
    "ps": [one.context_length for one in client.ps().models],
    "parameters": client.show("chat").parameters,
    "chat": client.chat("chat", messages=[{"role": "user", "content": "hi"}]).message.content,
    "generate": client.generate("chat", prompt="hi").response,
}
for call in (client.show, client.pull):
    try:
        call("nothing")
    except ollama.ResponseError as error:
        said[call.__name__] = error.status_code
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Releases]:
    """Upstream's host, as this machine and the rigs reach it."""
    host = Releases(tmp_path_factory.mktemp("releases"))
    host.add("0.34.1")
    yield host
    host.close()


@pytest.fixture(scope="module")
def rig(workshop: Any, releases: Releases) -> Iterator[str]:
    """A blank rig, which reaches upstream's host, and has what the stand-in is written in."""
    name = workshop.boot("ollama", os="trixie")
    workshop.on(name, "apt-get -qq update && apt-get -qq -y install --no-install-recommends python3 >/dev/null 2>&1")
    workshop.on(name, f"cat >/root/forward.py <<'END'\n{FORWARD}\nEND")
    forward(workshop, name, releases)
    yield name
    workshop.lab.down([name])


def forward(workshop: Any, rig: str, releases: Releases) -> None:
    """Have the rig reach upstream's host at its own loopback, until it boots."""
    program = f"python3 /root/forward.py {workshop.host_address} {releases.port}"
    workshop.on(rig, f"systemd-run -q --unit=forward {program}")


def wish(workshop: Any, releases: Releases, *, version: str = "0.34.1", **service: Any) -> dict[str, Any]:
    """`rig` data with one service of Ollama."""
    model = str(workshop.directory / "tiny.gguf")
    one = {"name": "chat", "model": model, "engine": "ollama", "port": 11500, "context": 2048} | service
    return {"services": [one], "ollama": {"version": version, "mirror": f"http://127.0.0.1:{releases.port}"}}


def deploy(workshop: Any, wanted: dict[str, Any], rig: str, **options: Any) -> Any:
    return workshop.deploy(wanted, rig, deploy="ollama", **options)


def converge(workshop: Any, wanted: dict[str, Any], rig: str) -> Any:
    """A deploy that works, and another that has nothing left to do."""
    first = deploy(workshop, wanted, rig)
    assert first.code == 0, first.output
    second = deploy(workshop, wanted, rig)
    assert (second.code, second.changed) == (0, set()), second.output
    return first


def api(workshop: Any, rig: str, path: str, body: object = None, port: int = 11500) -> Any:
    data = f"-d '{json.dumps(body)}'" if body is not None else ""
    return json.loads(workshop.on(rig, f"curl -sS {data} http://127.0.0.1:{port}{path}"))


def names(workshop: Any, rig: str) -> list[str]:
    return [one["name"] for one in api(workshop, rig, "/api/tags")["models"]]


def test_blank_rig_serves_with_ollama(workshop: Any, releases: Releases, rig: str) -> None:
    """The archive comes by its sum, the model is made of our weights, loaded and kept; twice; verified; confined."""
    wanted = wish(workshop, releases)
    before = workshop.traces(rig)
    first = converge(workshop, wanted, rig)
    assert {"Keep the sums of Ollama", "Bring Ollama", "Serve chat"} <= first.changed
    assert ("GET", "/v0.34.1/sha256sum.txt", None) in releases.asked
    models = names(workshop, rig)
    assert "chat:latest" in models and len(models) == 2 and models[1].startswith("rigwright/chat:")
    [loaded] = api(workshop, rig, "/api/ps")["models"]
    assert (loaded["context_length"], loaded["expires_at"][:4]) == (2048, "2318")
    assert workshop.on(rig, "systemd-analyze verify rigwright-chat.service 2>&1") == ""
    assert float(workshop.on(rig, SCORE)) <= 2.0
    checked = workshop.rigwright("verify", str(workshop.inventory(wanted, rig)))
    assert checked.code == 0, checked.output
    assert "test_model_is_what_was_made" in checked.output or " passed" in checked.output

    # What others pulled into it stays when the service goes, and is named.
    workshop.on(
        rig,
        f"set -e; cd {STORE}/models/manifests/registry.ollama.ai; mkdir -p library/theirs;"
        ' echo \'{"config":{},"layers":[]}\' >library/theirs/latest; chown -R --reference=library library',
    )
    removed = deploy(workshop, wanted | {"services": [], "remove_orphans": True}, rig)
    assert removed.code == 0, removed.output
    assert f"{STORE} stays, it has models that rigwright did not make" in removed.output
    assert workshop.on(rig, f"cd {STORE}/models && find . -type f") == (
        "./manifests/registry.ollama.ai/library/theirs/latest"
    )
    workshop.on(rig, f"rm -rf {STORE} /var/lib/rigwright-chat")
    gone = workshop.deploy(wanted, rig, deploy="remove", arguments=("-y", "--data", "remove_weights=true"))
    assert gone.code == 0, gone.output
    assert sorted(workshop.traces(rig) ^ before) == []


def test_model_is_there_after_a_reboot(workshop: Any, releases: Releases, rig: str) -> None:
    """It is loaded again, and made again where somebody lost it."""
    wanted = wish(workshop, releases)
    converge(workshop, wanted, rig)
    made = workshop.on(rig, f"cat {STORE}/rigwright")
    workshop.lab.reboot(rig)
    forward(workshop, rig, releases)
    active = "for i in $(seq 240); do systemctl is-active -q rigwright-chat && exit; sleep 0.5; done; exit 1"
    workshop.on(rig, active)
    assert workshop.on(rig, f"cat {STORE}/rigwright") == made
    assert len(api(workshop, rig, "/api/ps")["models"]) == 1
    assert workshop.on(rig, "journalctl -b -u rigwright-chat -o cat | grep -c 'Ollama makes the model' || :") == "0"
    for name in names(workshop, rig):
        workshop.on(rig, f'curl -sS -X DELETE -d \'{{"model":"{name}"}}\' http://127.0.0.1:11500/api/delete')
    workshop.on(rig, "systemctl restart rigwright-chat")
    assert len(names(workshop, rig)) == 2 and len(api(workshop, rig, "/api/ps")["models"]) == 1
    assert workshop.deploy(wanted, rig, deploy="ollama").changed == set()


def test_other_parameters_are_another_model(workshop: Any, releases: Releases, rig: str) -> None:
    """What no longer serves is kept for the way back, and goes with the next one; models of others stay."""
    converge(workshop, wish(workshop, releases), rig)
    first = workshop.on(rig, f"cut -d' ' -f1 {STORE}/rigwright").split()
    workshop.on(rig, 'curl -sS -d \'{"source":"chat","destination":"mine"}\' http://127.0.0.1:11500/api/copy')
    for temperature in (0.5, 0.7):
        converge(workshop, wish(workshop, releases, flags={"--temperature": temperature}), rig)
    shown = api(workshop, rig, "/api/show", {"model": "chat"})
    assert "temperature" in shown["parameters"] and "0.7" in shown["parameters"]
    models = names(workshop, rig)
    kept = workshop.on(rig, f"cut -d' ' -f1 {STORE}/rigwright").split()
    assert len(kept) == 2 and first[-1] not in kept
    assert sorted(models) == sorted(["chat:latest", "mine:latest", *(f"rigwright/chat:{tag}" for tag in kept)])
    path = str(workshop.inventory(wish(workshop, releases, flags={"--temperature": 0.7}), rig))
    back = workshop.rigwright("rollback", path)
    assert back.code == 0, back.output
    assert "0.5" in api(workshop, rig, "/api/show", {"model": "chat"})["parameters"]


def test_pin_is_raised_and_a_broken_one_goes_back(workshop: Any, releases: Releases, rig: str) -> None:
    """Another version is installed beside, switched to, proven; one that does not answer leaves what served serving."""
    converge(workshop, wish(workshop, releases), rig)
    releases.add("0.35.0")
    raised = converge(workshop, wish(workshop, releases, version="0.35.0"), rig)
    assert {"Bring Ollama", "Serve chat"} <= raised.changed
    assert api(workshop, rig, "/api/version")["version"] == "0.35.0"
    for version, broken in (("0.35.1", "answers"), ("0.35.2", "load"), ("0.35.3", "starts")):
        releases.add(version, broken=broken)
        failed = deploy(workshop, wish(workshop, releases, version=version), rig)
        assert failed.code != 0, failed.output
        said = "what runs goes on running" if broken == "starts" else "the previous release is back and serving"
        assert broken == "starts" or said in failed.output, failed.output
        assert api(workshop, rig, "/api/version")["version"] == "0.35.0", failed.output
        answer = {"model": "chat", "messages": [{"role": "user", "content": "hi"}]}
        assert api(workshop, rig, "/v1/chat/completions", answer)["choices"]
    converge(workshop, wish(workshop, releases, version="0.35.0"), rig)
    mislabelled = releases.directory / "v0.36.0"
    digest = write_release(mislabelled / NAME, "0.35.0")
    (mislabelled / "sha256sum.txt").write_text(f"{digest}  {NAME}\n")
    failed = deploy(workshop, wish(workshop, releases, version="0.36.0"), rig)
    assert failed.code != 0 and "bin/ollama --version does not say 0.36.0" in failed.output, failed.output


def member(name: str, kind: bytes = tarfile.REGTYPE, leads_to: str = "", size: int = 0) -> tarfile.TarInfo:
    """A member of an archive."""
    one = tarfile.TarInfo(name)
    one.type, one.linkname, one.size, one.mode = kind, leads_to, size, 0o755
    return one


def given(workshop: Any, releases: Releases, archive: dict[str, Any]) -> dict[str, Any]:
    """The wish with an archive that the inventory names."""
    return wish(workshop, releases) | {"ollama": {"version": "0.37.0", "archive": archive}}


def test_archives_that_are_not_taken(workshop: Any, releases: Releases, rig: str, tmp_path: Path) -> None:
    """A wrong sum, a cut download, members that lead out, and too much: refused, and what serves goes on."""
    converge(workshop, wish(workshop, releases, version="0.34.1"), rig)
    before = workshop.on(rig, LOOK)
    path = tmp_path / NAME

    write_release(path, "0.37.0")
    refused = deploy(workshop, given(workshop, releases, {"path": str(path), "sha256": "a" * 64}), rig)
    assert refused.code != 0 and "the inventory says aaaa" in refused.output, refused.output
    for hostile in (
        [member("../../../etc/cron.d/x")],
        [member("/etc/cron.d/x")],
        [member("lib/out", tarfile.SYMTYPE, "/etc"), member("lib/out/x")],
        [member("lib/out", tarfile.SYMTYPE, "../../../../../../etc")],
        [member("lib/hard", tarfile.LNKTYPE, "bin/ollama")],
        [member("lib/pipe", tarfile.FIFOTYPE)],
        [member("lib/disk", tarfile.BLKTYPE)],
        [member(f"lib/{number}") for number in range(20001)],
    ):
        digest = write_release(path, "0.37.0", more=hostile)
        refused = deploy(workshop, given(workshop, releases, {"path": str(path), "sha256": digest}), rig)
        assert refused.code != 0 and "; rig.ollama: it was not installed" in refused.output, refused.output
        assert (
            workshop.on(
                rig, "ls /etc/cron.d/x /etc/x 2>/dev/null; ls -A /opt/rigwright/ollama/releases | grep '^\\.' || :"
            )
            == ""
        )
    assert workshop.on(rig, LOOK) == before

    # The connection ends again and again; it goes on where it ended.
    releases.add("0.37.1", more=[member("lib/ollama/noise", size=0)])
    where = f"http://{workshop.host_address}:{releases.port}/v0.37.1/{NAME}"
    wrong = {"url": where, "sha256": "b" * 64}
    refused = deploy(workshop, wish(workshop, releases) | {"ollama": {"version": "0.37.1", "archive": wrong}}, rig)
    assert refused.code != 0 and "expected bbbb" in refused.output, refused.output
    assert workshop.on(rig, LOOK) == before


def test_download_that_is_cut_goes_on(workshop: Any, releases: Releases, rig: str) -> None:
    """Each answer ends early, and the next one is asked for the rest."""
    releases.add("0.38.0", more=[member("./lib/ollama/noise", size=600_000)])
    releases.cut, releases.asked = 200_000, []
    try:
        converge(workshop, wish(workshop, releases, version="0.38.0"), rig)
    finally:
        releases.cut = 0
    ranges = [wanted for _, path, wanted in releases.asked if path.endswith(NAME) and wanted]
    assert "bytes=200000-" in ranges and "bytes=400000-" in ranges


def test_disk_that_is_full_leaves_what_serves(workshop: Any, releases: Releases, rig: str) -> None:
    """The store has no room for another copy: said before anything stops."""
    converge(workshop, wish(workshop, releases), rig)
    before = workshop.on(rig, LOOK)
    workshop.on(rig, f"mount -t tmpfs -o size=64m tmpfs /srv && cp -a {STORE}/. /srv/ && mount --bind /srv {STORE}")
    try:
        failed = deploy(workshop, wish(workshop, releases, flags={"--temperature": 0.1}), rig)
        assert failed.code != 0 and "what runs goes on running" in failed.output, failed.output
        assert "Ollama's copy of its weights needs" in failed.output, failed.output
    finally:
        workshop.on(rig, f"umount {STORE} /srv", check=False)
    assert workshop.on(rig, LOOK) == before


def test_ollama_of_the_owner_stays(workshop: Any, releases: Releases, rig: str) -> None:
    """A unit of install.sh is named and left alone; its port is nobody else's."""
    converge(workshop, wish(workshop, releases), rig)
    program = workshop.on(rig, "readlink -f /opt/rigwright/services/chat/current") + "/bin/ollama"
    unit = (
        f"[Service]\nExecStart={program} serve\nEnvironment=OLLAMA_HOST=127.0.0.1:11434 OLLAMA_MODELS=/root/models\n"
        "[Install]\nWantedBy=default.target\n"
    )
    workshop.on(rig, f"printf '{unit}' >/etc/systemd/system/ollama.service && systemctl enable -q --now ollama")
    time.sleep(1)
    look = (
        "systemctl show -P MainPID ollama; sha256sum /etc/systemd/system/ollama.service; ls /etc/systemd/system/ollama*"
    )
    before = workshop.on(rig, look)
    done = deploy(workshop, wish(workshop, releases), rig)
    assert done.code == 0 and "ollama.service of this rig is not rigwright's" in done.output, done.output
    refused = deploy(workshop, wish(workshop, releases, port=11434), rig)
    assert refused.code != 0 and "port 11434 is taken by" in refused.output, refused.output
    assert workshop.on(rig, look) == before
    workshop.on(rig, "systemctl disable -q --now ollama && rm /etc/systemd/system/ollama.service")


def test_two_pinned_ollamas_on_one_rig(workshop: Any, releases: Releases, rig: str) -> None:
    """Each has its port and its store."""
    wanted = wish(workshop, releases)
    wanted["services"].append(wanted["services"][0] | {"name": "other", "port": 11600})
    converge(workshop, wanted, rig)
    listed = api(workshop, rig, "/api/tags", port=11600)["models"]
    assert listed[0]["name"] == "other:latest"
    assert "other:latest" not in names(workshop, rig)
    checked = workshop.rigwright("verify", str(workshop.inventory(wanted, rig)))
    assert checked.code == 0, checked.output

    gone = workshop.deploy(wanted, rig, deploy="remove", arguments=("-y", "--data", "remove_service=other"))
    assert gone.code == 0 and workshop.on(rig, "ls -d /var/lib/private/*other /var/lib/*other 2>/dev/null || :") == ""
    assert "chat:latest" in names(workshop, rig)


def test_each_check_sees_what_it_is_for(workshop: Any, releases: Releases, rig: str) -> None:
    """What is broken is told, each by its own check."""
    wanted = wish(workshop, releases)
    converge(workshop, wanted, rig)
    workshop.on(rig, "\n".join(PLANTED.values()))
    checked = workshop.rigwright("verify", str(workshop.inventory(wanted, rig)))
    assert checked.code == 1
    assert [name for name in PLANTED if name.removeprefix("test_").replace("_", " ") not in checked.output
            and name not in checked.output] == [], checked.output  # fmt: skip


def test_client_of_its_makers_is_served(workshop: Any, releases: Releases, rig: str, tmp_path: Path) -> None:
    """The package `ollama` of PyPI lists, shows, chats, and reads the errors."""
    python = tmp_path / "venv/bin/python"
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    pip = [python, "-m", "pip", "install", "-q", "ollama==0.6.3"]
    installed = subprocess.run(pip, capture_output=True, text=True, check=False)
    if installed.returncode:
        pytest.skip(f"pip cannot install the client: {installed.stderr[-200:]}")
    converge(workshop, wish(workshop, releases), rig)
    # Its network alone: Python is that of this machine.
    inside = [*workshop.lab.enter(rig, [])[:2], "--net", "--"]
    done = subprocess.run(
        [*inside, python, "-c", CLIENT, "http://127.0.0.1:11500"], capture_output=True, text=True, check=False
    )
    said = json.loads(done.stdout or "{}")
    assert said, done.stderr
    assert "chat:latest" in said["list"] and said["ps"] == [2048] and "num_ctx" in said["parameters"]
    assert (said["chat"], said["generate"], said["show"], said["pull"]) == ("Hello", "Hello", 404, 500)
