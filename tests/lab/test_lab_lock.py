"""A lock file from end to end: planned and kept, deployed, held against what changes, renewed. Over SSH."""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from rigwright.lab.tiny_model import write_tiny_model
from rigwright.lock.file import Lock, read_lock, render_lock

from ..pages import page_shows

pytestmark = pytest.mark.lab

CAPTURE = Path(__file__).parents[1] / "captures" / "2x3090-nvlink-x299-lxc"
# The row of the catalogue whose file the hub of these tests serves.
NAME, FOLDER, FILE = "qwen3.5-0.8b:Q8_0", "unsloth/Qwen3.5-0.8B-GGUF", "Qwen3.5-0.8B-Q8_0.gguf"
COMMIT = "5" * 40
COUNTER = """cat >/usr/local/bin/count-ssh <<'X'
#!/bin/sh
echo x >>/run/ssh-commands
exec sh -c "$SSH_ORIGINAL_COMMAND"
X
chmod 755 /usr/local/bin/count-ssh
echo 'ForceCommand /usr/local/bin/count-ssh' >/etc/ssh/sshd_config.d/count.conf
systemctl reload ssh
"""


@pytest.fixture(scope="module")
def shop(workshop, tmp_path_factory):
    """A directory of its own: its lock file is nobody else's business."""
    directory = tmp_path_factory.mktemp("locked")
    shutil.copy(workshop.directory / "tiny.gguf", directory / "tiny.gguf")
    return type(workshop)(workshop.lab, directory)


@pytest.fixture(scope="module")
def locked(shop, trixie) -> Iterator[str]:
    """A rig that serves, with the GPUs of a recorded machine beside it; its build is for the CPU."""
    name = shop.boot("rig1", from_snapshot=trixie.snapshot, hardware=str(CAPTURE))
    yield name
    shop.lab.down([name])


@pytest.fixture(scope="module")
def hub(shop, locked, tmp_path_factory) -> Iterator[str]:
    """A mirror of the hub: it names the commit and the sum of the one file that it has."""
    root = tmp_path_factory.mktemp("hub")
    data = write_tiny_model(root / "model", seed=3).read_bytes()

    class Handler(SimpleHTTPRequestHandler):
        def _answer(self, *, has_body: bool) -> None:
            is_there = self.path.startswith(f"/{FOLDER}/resolve/") and self.path.endswith(f"/{FILE}")
            self.send_response(200 if is_there else 404)
            self.send_header("Content-Length", str(len(data) if is_there else 0))
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("X-Linked-Etag", f'"{hashlib.sha256(data).hexdigest()}"')
            self.send_header("X-Linked-Size", str(len(data)))
            self.end_headers()
            if has_body and is_there:
                self.wfile.write(data)

        def do_GET(self) -> None:
            self._answer(has_body=True)

        def do_HEAD(self) -> None:
            self._answer(has_body=False)

        def log_message(self, *arguments: object) -> None:
            pass

    httpd = ThreadingHTTPServer((shop.host_address, 9481), Handler)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield f"http://{shop.host_address}:9481"
    httpd.shutdown()
    httpd.server_close()


def spec(shop, **changes):
    return shop.spec(llamacpp={"archive": "pinned", "backend": "cpu"}, **changes)


def plan(shop, rig, name, *arguments):
    return shop.rigwright("plan", str(shop.inventory(rig, name)), *arguments)


def told(shop, outcome) -> str:
    """What it says to a reader of the pages, who is in that directory and has a rig.py."""
    return outcome.output.replace(f"{shop.directory}/inventory.", "rig.")


def serving(shop, name) -> str:
    look = "systemctl show -P MainPID rigwright-demo.service; cat /etc/rigwright/demo.json | sha256sum"
    return shop.on(name, look)


def test_lock_is_written_deployed_held_and_renewed(shop, locked):
    """What is kept is what runs; a changed wish is refused line by line before the rig is touched, until renewed."""
    written = plan(shop, spec(shop), locked, "--write")
    assert written.code == 0, written.output
    file = shop.directory / "inventory.lock.yml"
    text = file.read_text()
    entry = read_lock(file).rigs[locked]
    assert [gpu.name for gpu in entry.hardware.gpus] == ["NVIDIA GeForce RTX 3090"] * 2
    assert (
        entry.services["demo"].model.files[0].sha256
        == hashlib.sha256((shop.directory / "tiny.gguf").read_bytes()).hexdigest()
    )

    first = shop.deploy(spec(shop), locked)
    assert first.code == 0, first.output
    assert f"as {file} says" in first.output and "plan otherwise" not in first.output
    assert shop.deploy(spec(shop), locked).changed == set()
    assert shop.rigwright("verify", str(shop.directory / "inventory.py")).code == 0
    again = plan(shop, spec(shop), locked, "--write")
    assert (again.code, file.read_text()) == (0, text), again.output
    assert "nothing differs" in again.output

    before = serving(shop, locked)
    refused = shop.deploy(spec(shop, context=1024), locked)
    assert refused.code == 1
    assert any("~ services.demo.context: 2048 -> 1024" in line for line in refused.lines), refused.output
    assert any("rigwright plan" in line and "--replan --limit rig1" in line for line in refused.lines)
    assert "Starting operation" not in refused.output and "Traceback" not in refused.output
    assert serving(shop, locked) == before

    held = plan(shop, spec(shop, context=1024), locked, "--write")
    assert (held.code, file.read_text()) == (1, text)
    assert f"{locked}: ~ services.demo.context: 2048 -> 1024" in held.output
    seen = plan(shop, spec(shop, context=1024), locked)
    page_shows("docs/plan.md", "what a deploy would change\n  ~ demo --ctx-size: 2048 -> 1024", told(shop, seen))
    assert plan(shop, spec(shop, context=1024), locked, "--replan").code == 0
    outcome = shop.deploy(spec(shop, context=1024), locked)
    assert outcome.code == 0, outcome.output
    assert outcome.changed == {"Serve demo"}
    assert "--ctx-size\n1024" in shop.on(
        locked, "tr '\\0' '\\n' </proc/$(systemctl show -P MainPID rigwright-demo)/cmdline"
    )


def test_rig_that_lost_a_gpu_is_refused(shop, locked):
    """The lock that the data names says three GPUs, the rig has two: it is named, and nothing is touched."""
    entry = read_lock(shop.directory / "inventory.lock.yml").rigs[locked]
    third = entry.hardware.gpus[1].model_copy(update={"index": 2, "uuid": "GPU-0c0ffee0-0000-0000-0000-000000000000"})
    hardware = entry.hardware.model_copy(update={"gpus": (*entry.hardware.gpus, third)})
    other = shop.directory / "other.yml"
    other.write_text(render_lock(Lock(rigs={locked: entry.model_copy(update={"hardware": hardware})}), "inventory.py"))
    before = serving(shop, locked)
    arguments = ("-y", "--data", f"rig_lock={other}")
    refused = shop.deploy(spec(shop, context=1024), locked, arguments=arguments)
    assert refused.code == 1
    lost = "- GPU 2 (NVIDIA GeForce RTX 3090, GPU-0c0ffee0-0000-0000-0000-000000000000): is not there"
    assert any(lost in line for line in refused.lines), refused.output
    shutil.copy(other, shop.directory / "inventory.lock.yml")
    differs = shop.deploy(spec(shop, context=4096), locked)
    page_shows("docs/plan.md", "[rig1] cannot be deployed: rig.lock.yml", told(shop, differs))
    assert serving(shop, locked) == before


def test_name_of_the_catalogue_is_settled_in_one_reading(shop, locked, hub):
    """The plan chooses the file, its header is read, the rig fetches it; a second run costs no command more."""
    (shop.directory / "inventory.lock.yml").unlink()
    rig = spec(shop, model=NAME, weights={"hugging_face": hub})
    outcome = shop.deploy(rig, locked)
    assert outcome.code == 0, outcome.output
    assert {f"Bring {FILE}", "Serve demo"} <= outcome.changed
    shop.on(locked, COUNTER)
    assert shop.deploy(rig, locked).changed == set()
    assert int(shop.on(locked, "wc -l </run/ssh-commands")) <= 3
    assert shop.rigwright("verify", str(shop.directory / "inventory.py")).code == 0

    assert plan(shop, rig, locked, "--write").code == 0
    pinned = read_lock(shop.directory / "inventory.lock.yml").rigs[locked].services["demo"].model
    assert (pinned.repo, pinned.revision, pinned.files[0].name) == (FOLDER, COMMIT, FILE)
    assert pinned.files[0].sha256
    process = serving(shop, locked).splitlines()[0]
    kept = shop.deploy(rig, locked)
    assert "plan otherwise" not in kept.output
    # The record on the rig now names the commit; what runs is the same.
    assert kept.changed == {"Serve demo"} and serving(shop, locked).splitlines()[0] == process
    assert shop.deploy(rig, locked).changed == set()
    assert shop.rigwright("verify", str(shop.directory / "inventory.py")).code == 0
