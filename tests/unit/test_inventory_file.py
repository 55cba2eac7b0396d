"""Files that are no inventory, and data of hosts that pyinfra passes by: said before any rig is asked."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from rigwright.cli import main
from rigwright.inventory.inventory_file import foreign_keys, problem_of
from rigwright.inventory.live import _broken
from rigwright.inventory.unreachable import with_way_out

ROOT = Path(__file__).parents[2]
WAY = ": is no Python; pyinfra's inventories are Python: rigs = ("


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("inv.yml", "all:\n  hosts:\n    rig1:\n      ansible_host: 10.0.0.1\n", WAY),
        ("inv.ini", "[rigs]\nrig1 ansible_host=10.0.0.1\n", WAY),
        ("hosts", "[rigs]\nrig1 ansible_host=10.0.0.1\n", WAY),
        (
            "site.yml",
            "- hosts: all\n  become: yes\n",
            ": is a playbook of Ansible, and no inventory; pyinfra's inventories are",
        ),
        ("x.yml", "services:\n  a:\n    image: b\n", ": is a file of Docker Compose, and no inventory; pyinfra's"),
        (
            "wishes.yml",
            "services:\n- {name: a, model: auto}\n",
            ": holds wishes, and names no rig; it goes behind --spec",
        ),
        ("Modelfile", "FROM qwen3.5:9b\n", ": is a Modelfile, or a Dockerfile, and no inventory"),
        ("config.json", '{"architectures": ["Q"]}', ": is the config.json of a model, and no inventory"),
        ("main.tf", 'resource "a" "b" {}\n', ": is a file of Terraform, and no inventory"),
        ("bad.yml", "a: [\n", WAY),
        ("rig.py", 'rigs = ([("rig1", {}\n', ":1: '(' was never closed; correct the Python"),
        (
            "rig.py",
            'rigs = ("rig1", {"ssh_user": "ada"})\n',
            ":1: rigs: its hosts are a text; put them in a list: rigs = (['rig1']",
        ),
        ("rig.py", '\nrigs = ([("rig1", {"_sudo": true})], {})\n', ":2: true: Python writes True"),
        ("rig.py", 'rigs = ([("rig1", {"x": null})], {})\n', ":1: null: Python writes None"),
        ("deploy.py", (ROOT / "deploys" / "llamacpp.py").read_text(), ": is a deploy, which comes second"),
        ("rig.py", b"\xff\xfe", ": is no text"),
    ],
)
def test_file_that_is_no_inventory_is_told_from_one(tmp_path: Path, name: str, text: str | bytes, said: str) -> None:
    """With the line, and what to write."""
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    found = problem_of(path)
    assert found and found.startswith(said) and "\n" not in found
    result = CliRunner().invoke(main, ["plan", str(path)])
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"{path}{said}" in result.stderr and "Traceback" not in result.output


@pytest.mark.parametrize(
    "text",
    [
        'rigs = ["rig1", "rig2"]\n',
        'rigs = ([("rig1", {"_sudo": True})], {"rig": {}})\n',
        'USER = "ada"\nrigs = [("rig1", {"ssh_user": USER})]\n',
        'on = True\nrigs = [("rig1", {"_sudo": on})]\n',
        "from hosts import rigs, no\n",
        'def hosts(on):\n    return [("rig1", {"_sudo": on})]\nrigs = hosts(True)\n',
    ],
)
def test_inventory_is_left_to_pyinfra(tmp_path: Path, text: str) -> None:
    """Nothing is refused that pyinfra could read."""
    (tmp_path / "rig.py").write_text(text)
    assert problem_of(tmp_path / "rig.py") is None


@pytest.mark.parametrize("path", sorted((ROOT / "inventories").glob("*.py")))
def test_our_own_inventories_are_sound(path: Path) -> None:
    """The examples."""
    assert problem_of(path) is None


def test_keys_of_ansible_are_named() -> None:
    """pyinfra would take the host's name for its address, in silence."""
    data = {"ansible_host": "10.0.0.1", "ssh_host": "x", "ssh_user": "ada", "rig": {}, "my_data": 1}
    assert [*foreign_keys(data)] == [
        "ansible_host: pyinfra does not know it; write ssh_hostname",
        "ssh_host: pyinfra does not know it; write ssh_hostname",
    ]


def test_host_that_ends_a_run_is_named() -> None:
    """What pyinfra 3.10 printed for a host whose key file is missing, beside one that does not answer."""
    said = """
    kwargs["pkey"] = get_private_key(
pyinfra.api.exceptions.PyinfraError: No such private key file: /nokey
2026-11-28T22:27:18Z <Greenlet at 0x7f62f8de1080: <bound method Host.connect of Host(rig4)>> failed with PyinfraError
    [rig1] Could not connect ([Errno None] Unable to connect to port 9 on 127.0.0.1)
"""
    assert _broken(said) == {"rig4": "No such private key file: /nokey; correct its data in the inventory"}


UNREACHED = [
    # As pyinfra says it, and as ssh does.
    ("Could not connect ([Errno None] Unable to connect to port 22 on 10.0.0.9)", "start sshd on the rig, or correct"),
    ("ssh: connect to host 10.0.0.9 port 22: Connection refused", "start sshd on the rig, or correct ssh_hostname"),
    ("Could not connect (timed out)", "is the rig on, and reachable from here?"),
    ("ssh: connect to host 10.0.0.9 port 22: No route to host", "is the rig on, and reachable from here?"),
    ("Could not connect ([Errno 113] No route to host)", "is the rig on, and reachable from here?"),
    ("Could not resolve hostname ([Errno -2] Name or service not known)", "or write the rig's address there"),
    ("ssh: Could not resolve hostname rig: Temporary failure in name resolution", "or write the rig's address there"),
    ("Authentication error (username=ada) (Authentication failed.)", "correct ssh_user and ssh_key, or give the rig"),
    ("Authentication error (username=ada, key=~/k) (Bad authentication type)", "give the rig your key: ssh-copy-id"),
    ("SSH error (No authentication methods available)", "give the rig your key: ssh-copy-id"),
    ("ada@10.0.0.9: Permission denied (publickey,password).", "give the rig your key: ssh-copy-id"),
    ("Received disconnect from 10.0.0.9 port 22:2: Too many authentication failures", "name one key in ssh_key"),
    ("SSH host key error (Host key for 10.0.0.9 does not match.)", "ssh-keygen -R with its address"),
    ("Host key verification failed.", "ssh-keygen -R with its address"),
    ("SSH error (StrictPolicy: No host key for 10.0.0.9 found in known_hosts)", "log in once with ssh, which asks"),
    ("SSH error (Error reading SSH protocol banner)", "what answers there speaks no SSH"),
    ("kex_exchange_identification: Connection closed by remote host", "what answers there speaks no SSH"),
    ("Could not connect ([Errno 2] No such file or directory: '/home/ada/.ssh/known_hosts')", "mkdir -m 700 ~/.ssh"),
    ("SSH error (No existing session)", "is the rig on, and reachable from here?"),
]


@pytest.mark.parametrize(("said", "way"), UNREACHED, ids=[said for said, _ in UNREACHED])
def test_rig_that_is_not_reached_comes_with_what_to_do(said: str, way: str) -> None:
    """Behind the words of the tool, which stay."""
    told = with_way_out(said)
    assert told.startswith(said.rstrip(".") + "; ") and way in told and "\n" not in told


@pytest.mark.parametrize("said", ["no answer", "sudo: a password is required", "pyinfra says something new"])
def test_what_nobody_knows_stays_as_it_was_said(said: str) -> None:
    """No advice is better than a wrong one."""
    assert with_way_out(said) == said


@pytest.mark.patience
def test_missing_key_of_one_rig_silences_no_other(tmp_path: Path) -> None:
    """Each rig has its own line."""
    (tmp_path / "rig.py").write_text(
        'rigs = ([("rig1", {"ssh_hostname": "127.0.0.1", "ssh_port": 9}),'
        ' ("rig4", {"ssh_hostname": "127.0.0.1", "ssh_port": 9, "ssh_key": "/nokey"})], {})\n'
    )
    result = CliRunner().invoke(main, ["hardware", str(tmp_path / "rig.py")])
    assert result.exit_code == 1
    assert "rig1: not read: Could not connect" in result.stderr
    assert "rig4: not read: No such private key file: /nokey; correct its data in the inventory" in result.stderr
