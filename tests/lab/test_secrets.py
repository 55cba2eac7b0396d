"""A service that is open to others: keys, who may connect, and that no key shows anywhere."""

from __future__ import annotations

import subprocess

import pytest

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
