"""A service that is open to others: keys, who may connect, and that no key shows anywhere."""

from __future__ import annotations

import hashlib
import http.server
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from rigwright.lab.tiny_model import write_tiny_model

pytestmark = pytest.mark.lab

KEY, NEXT_KEY = "sk-geheim-Zq8w7e6r5t", "sk-neuer-Qw1e2r3t4z"


@pytest.fixture
def key_file(workshop):
    path = workshop.directory / "chat.key"
    path.write_text(KEY + "\n")
    path.chmod(0o600)
    return path


def opened(workshop, key_file, **changes):
    return workshop.spec(
        host="0.0.0.0", api_key_file=str(key_file), allow_from=[f"{workshop.host_address}/32"], **changes
    )


def ask(workshop, rig, *, key=None, port=8080):
    """A request from this machine to the rig: the HTTP status, 000 without an answer."""
    address = next(one.address for one in workshop.lab.rigs() if one.name == rig)
    header = ["-H", f"Authorization: Bearer {key}"] if key else []
    command = [
        "curl",
        "-s",
        "-m",
        "3",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        *header,
        f"http://{address}:{port}/v1/models",
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def test_open_service_asks_for_its_key_and_shows_it_nowhere(workshop, serving, key_file):
    """-vv, --diff, the process list, the plan, the unit, the journal: none of them holds the key."""
    first = workshop.deploy(opened(workshop, key_file), serving, arguments=("-y", "-vvv", "--diff"))
    assert first.code == 0, first.output
    assert KEY not in first.output
    assert (ask(workshop, serving), ask(workshop, serving, key="wrong"), ask(workshop, serving, key=KEY)) == (
        "401",
        "401",
        "200",
    )
    assert workshop.on(serving, "stat -c '%a %U' /etc/rigwright/demo.key") == "600 root"
    places = "/etc /var/lib/rigwright /var/log /run/log /opt/rigwright /tmp /proc/[0-9]*/cmdline /proc/[0-9]*/environ"
    searched = f"grep -rlaFf /etc/rigwright/demo.key {places} 2>/dev/null"
    assert workshop.on(serving, searched, check=False).splitlines() == ["/etc/rigwright/demo.key"]
    path = workshop.inventory(opened(workshop, key_file), serving)
    verified = workshop.rigwright("verify", str(path))
    assert verified.code == 0, verified.output
    assert KEY not in verified.output
    assert workshop.deploy(opened(workshop, key_file), serving).changed == set()


def test_new_key_is_written_and_the_old_one_ends(workshop, serving, key_file):
    """A changed key file: the key and one restart, nothing else."""
    key_file.write_text(NEXT_KEY + "\n")
    outcome = workshop.deploy(opened(workshop, key_file), serving)
    assert outcome.code == 0, outcome.output
    assert outcome.changed == {"Write the API keys of demo", "Serve demo"}
    assert (ask(workshop, serving, key=KEY), ask(workshop, serving, key=NEXT_KEY)) == ("401", "200")


def test_only_the_allowed_network_is_let_in_by_the_unit(workshop, serving):
    """systemd is told who may connect. That the kernel obeys is not seen here: a lab's rig has no BPF firewall."""
    shown = workshop.on(serving, "systemctl show -p IPAddressAllow -p IPAddressDeny rigwright-demo")
    allowed = dict(line.split("=", 1) for line in shown.splitlines())
    assert set(allowed["IPAddressAllow"].split()) == {"127.0.0.0/8", "::1/128", f"{workshop.host_address}/32"}
    assert set(allowed["IPAddressDeny"].split()) == {"0.0.0.0/0", "::/0"}


@pytest.mark.parametrize(
    ("mode", "text", "line"), [(0o644, "abc\n", "is readable for others"), (0o600, "a b \n", "one API key per line")]
)
def test_careless_key_file_is_refused(workshop, serving, mode, text, line):
    """A key that others can read is no key; a key with blanks is a mistake."""
    path = workshop.directory / "careless.key"
    path.write_text(text)
    path.chmod(mode)
    outcome = workshop.deploy(opened(workshop, path), serving)
    assert outcome.code != 0
    assert any(line in said for said in outcome.lines), outcome.output
    assert text.strip() not in outcome.output.replace(str(path), "")


HF_TOKEN, SIGNATURE = "hf_Geheim9x8c7v6b5n4m3", "sig-Pl9k8j7h6g5f4d3s2"
# Whatever a rig says or keeps that others than root, or logs, may hold; the file of keys is root's alone.
_PLACES = (
    "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n'; journalctl --no-pager; "
    "systemctl show 'rigwright*'; systemctl cat 'rigwright*'; "
    "find / -xdev -type f -perm -o=r ! -path '/proc/*' ! -path '/sys/*' -size -2M -newermt '-1 day' -exec cat {} +; "
    "cat /var/log/auth.log /var/log/syslog /var/log/messages; cat /etc/rigwright/*.json /var/lib/rigwright/services/*/*"
)
_WATCH = (
    "rm -f /run/stop; while [ ! -e /run/stop ]; do cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n'; sleep 0.05; "
    "done | sort -u >/run/seen"
)


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Files of a folder, whatever the query says."""

    def log_message(self, *arguments: object) -> None:
        """Nothing."""


@pytest.fixture
def signed(workshop, tmp_path: Path) -> Iterator[dict[str, str]]:
    """A model at an address that is signed, as object stores do it: who has the address has the file."""
    path = write_tiny_model(tmp_path / "signed.gguf", seed=77)
    server = http.server.ThreadingHTTPServer((workshop.host_address, 9481), partial(Quiet, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://{workshop.host_address}:9481/signed.gguf?X-Amz-Signature={SIGNATURE}&token={SIGNATURE}"
    yield {"url": url, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    server.shutdown()
    server.server_close()


@pytest.mark.faults
def test_planted_secrets_show_nowhere(workshop, serving, key_file, signed, monkeypatch):
    """A key, a token, a signed address: in no log, process list, journal, open file, plan, JSON, lock or message."""
    monkeypatch.setenv("HF_TOKEN", HF_TOKEN)
    planted = (KEY, HF_TOKEN, SIGNATURE)
    wish = opened(workshop, key_file, model=signed)
    said = {}
    watcher = threading.Thread(target=workshop.on, args=(serving, _WATCH))
    watcher.start()
    try:
        said["deploy"] = workshop.deploy(wish, serving, arguments=("-y", "-vvv", "--diff"))
        assert said["deploy"].code == 0, said["deploy"].output
    finally:
        workshop.on(serving, "touch /run/stop")
        watcher.join()
    assert ask(workshop, serving, key=KEY) == "200"
    path = str(workshop.inventory(wish, serving))
    said["plan"] = workshop.rigwright("plan", path, "--why")
    said["json"] = workshop.rigwright("plan", path, "--json")
    said["lock"] = workshop.rigwright("plan", path, "--write")
    said["verify"] = workshop.rigwright("verify", path)
    locks = list(workshop.directory.glob("*.lock.yml"))
    assert locks
    said_texts = {name: outcome.output for name, outcome in said.items()}
    said_texts |= {path.name: path.read_text() for path in locks}
    for lock in locks:
        lock.unlink()
    missing = {"url": signed["url"].replace("signed.gguf", "missing.gguf"), "sha256": signed["sha256"]}
    broken = workshop.deploy(opened(workshop, key_file, model=missing), serving)
    assert broken.code != 0 and "missing.gguf" in broken.output
    said_texts["error"] = broken.output
    wrong = workshop.deploy(opened(workshop, key_file, model={**signed, "sha256": "0" * 64}), serving)
    assert wrong.code != 0
    said_texts["wrong sum"] = wrong.output
    said_texts["the rig"] = workshop.on(serving, f"{{ {_PLACES}; cat /run/seen; }} | tr -cd '\\n -~'", check=False)
    assert "signed.gguf" in said_texts["the rig"]  # it was looked at
    assert [(name, secret) for name, text in said_texts.items() for secret in planted if secret in text] == []


@pytest.mark.faults
def test_login_shell_may_be_csh(workshop, serving):
    """tcsh takes no quoted text of several lines, and said 190 lines of nonsense: the deploy works, and converges."""
    workshop.on(serving, "apt-get -qq install -y tcsh >/dev/null && usermod -s /bin/tcsh root")
    try:
        outcome = workshop.deploy(workshop.spec(port=8089), serving)
        assert (outcome.code, "Unmatched" in outcome.output) == (0, False), outcome.output
        assert workshop.deploy(workshop.spec(port=8089), serving).changed == set()
    finally:
        workshop.on(serving, "usermod -s /bin/bash root")
