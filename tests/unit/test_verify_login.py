"""How checks reach a rig: as the inventory says, past shells that talk, within a limit, and with no word unquoted."""

from __future__ import annotations

import ast
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from testinfra.host import Host

from rigwright.errors import RigwrightError
from rigwright.spec.rig import parse_spec
from rigwright.verify.login import Login, login
from rigwright.verify.shell import Lost, Shell
from rigwright.verify.subject import RigUnderTest
from rigwright.verify.targets import Target

ROOT = Path(__file__).parents[2]
HOSTILE = [
    "x';touch${IFS}y;'.gguf",
    "it's.gguf",
    "$(touch y)",
    "`touch y`",
    "-n",
    "a\nb",
    "%s %d",
    'q"\\',
    "gr\xfcn ✓",
    "",
]


def shell(*command: str, **how: object) -> Shell:
    """A shell on this machine."""
    return Shell("here", Login(command or ("sh",), **how))  # type: ignore[arg-type]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("sh", ["sh", "bash"])
def test_a_word_arrives_as_it_is(text, sh, tmp_path, monkeypatch):
    """Whatever a name holds, it is one word of a command, and no command."""
    monkeypatch.chdir(tmp_path)
    assert shell(sh).run("printf %%s %s", text).stdout == text
    assert list(tmp_path.iterdir()) == []


def test_what_a_login_shell_says_is_no_answer():
    """Before the command, after it, on both outputs, and with the word that an answer might be."""
    talks = "echo 0; echo GGUF; echo 'no home' >&2; sh; echo '1'; echo bye >&2"
    done = shell("sh", "-c", talks).run("echo out; echo err >&2; exit 3")
    assert (done.rc, done.stdout, done.stderr) == (3, "out\n", "err\n")


def test_output_is_whole_to_the_byte():
    """An end without a line end, bytes that are no text."""
    done = shell().run("printf 'a\\n\\n'; printf '\\377'")
    assert done.stdout_bytes == b"a\n\n\xff"
    assert shell().run("printf %%s %s | od -An -tx1", done.stdout[-1]).stdout == " ff\n"


def test_a_command_that_hangs_has_an_end():
    """Each has its limit; when three did not end, the rig is asked no more."""
    hanging, began = shell("sh"), time.monotonic()
    for _ in range(3):
        with pytest.raises(Lost, match=r"^no answer within 0 s to: sleep 30$"):
            hanging.run("sleep 30", limit_seconds=0.1)
    with pytest.raises(Lost, match=r"^3 commands did not end in time; the rest was not asked$"):
        hanging.run("true")
    assert time.monotonic() - began < 5


def test_a_login_that_fails_is_one_line():
    """The last thing that was said, and the next command is not even tried."""
    closed = shell("sh", "-c", "echo welcome; echo 'This account is currently not available.'; exit 1")
    for _ in range(2):
        with pytest.raises(Lost, match=r"^This account is currently not available\.$"):
            closed.run("true")


def test_a_password_is_no_command(tmp_path):
    """What asks for it gets it on standard input; what does not ask leaves it unread."""
    stub = tmp_path / "sudo"
    stub.write_text(
        '#!/bin/sh\n[ -z "$ASKS" ] || { read -r given; echo "$given" >given; }\n'
        'while [ "$1" != sh ]; do shift; done\nexec "$@"\n'
    )
    stub.chmod(0o755)
    data = {"_sudo": True, "_sudo_password": "echo harm >harm; it's"}
    become = login("@local", data, tmp_path)
    for asks in ("", "yes"):
        found = shell(
            "sh",
            "-c",
            f"cd {tmp_path}; PATH={tmp_path}:$PATH ASKS={asks} sh",
            become=become.become,
            password=become.password,
        )
        assert found.run("cat; echo ok").stdout == "ok\n"
    assert (tmp_path / "given").read_text() == "echo harm >harm; it's\n"
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    ("data", "options"),
    [
        ({}, ["BatchMode=yes", "StrictHostKeyChecking=accept-new"]),
        ({"ssh_user": "ada", "ssh_port": 2222}, ["User=ada", "Port=2222"]),
        ({"ssh_key": "/keys/a 100% key"}, ['IdentityFile="/keys/a 100%% key"', "IdentitiesOnly=yes"]),
        ({"ssh_known_hosts_file": "/k", "ssh_strict_host_key_checking": "yes"}, ['UserKnownHostsFile="/k"']),
        ({"ssh_key_password": "geheim"}, ["BatchMode=no"]),
    ],
)
def test_ssh_is_told_what_pyinfra_is_told(data, options, tmp_path):
    """Each key of the host data is an option; a secret is in the environment alone."""
    found = login("rig1", data, tmp_path)
    assert set(options) <= set(found.command)
    assert found.command[-3:] == ("--", "rig1", "sh")
    assert "geheim" not in " ".join(found.command) + repr(found)


@pytest.mark.parametrize("address", ["fd00::22", "rig1.lan", "10.0.0.7"])
def test_an_address_is_taken_as_it_is(address, tmp_path):
    """A colon belongs to an address, never to a port."""
    assert login("rig1", {"ssh_hostname": address}, tmp_path).command[-2] == address
    assert login(f"@ssh/{address}", {"ssh_hostname": address}, tmp_path).command[-2] == address


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"_sudo": True}, "sudo -H -n"),
        ({"_sudo": True, "_sudo_user": "root", "_use_sudo_login": True}, "sudo -H -n -i -u root"),
        ({"_doas": True, "_doas_user": "root"}, "doas -n -u root"),
        ({"_su_user": "root", "_use_su_login": True, "_su_shell": "/bin/sh"}, "su -l -s /bin/sh root -c"),
        ({"_sudo": True, "_su_user": "root"}, "sudo -H -n su root -c"),
        ({"_dzdo": True}, "dzdo -H -n"),
    ],
)
def test_root_is_become_as_pyinfra_does(data, words, tmp_path):
    """The same words before a command."""
    assert login("rig1", data, tmp_path).become == tuple(words.split())


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("@vagrant/x", {}, "@vagrant/x: verify knows no connector @vagrant; use SSH, @local, @docker or @podman"),
        (
            "rig1",
            {"ssh_paramiko_connect_kwargs": {"gss_auth": True}},
            "rig1: ssh_paramiko_connect_kwargs cannot be taken over",
        ),
        (
            "rig1",
            {"_sudo": 1, "_sudo_password": "a", "_su_user": "b", "_su_password": "c"},
            "rig1: verify cannot give both",
        ),
    ],
)
def test_what_cannot_be_taken_over_is_refused(name, data, reason, tmp_path):
    """In one line that says what can be done."""
    with pytest.raises(RigwrightError) as raised:
        login(name, data, tmp_path)
    assert raised.value.message.startswith(reason) and "\n" not in raised.value.message


def test_no_check_puts_a_value_into_a_command():
    """Commands are literals; values come after them, and testinfra quotes them."""
    runs = {"run", "check_output", "run_expect", "run_test"}
    for path in [*(ROOT / "roles").glob("*/verify.py"), *(ROOT / "rigwright" / "verify").glob("*.py")]:
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in runs:
                if ast.unparse(call.func.value) == "subprocess":
                    continue
                assert not any(isinstance(part, ast.JoinedStr) for part in ast.walk(call.args[0])), ast.unparse(call)


def test_rigs_are_looked_at_at_the_same_time(tmp_path):
    """Each waits for the other one to be asked, too: silent rigs cost the time of one."""
    arrive = f"cd {tmp_path}; touch here-$0; n=0; until [ -e here-$1 ] || [ $n = 200 ]; do n=$((n+1)); sleep 0.1; done"
    rigs = []
    for own, other in ("ab", "ba"):
        rig = RigUnderTest(Target(own, (), {}, parse_spec(own, {"services": []})), tmp_path)
        rig.shell = Shell(own, Login(("sh", "-c", f"{arrive}; [ -e here-$1 ] && echo closed", own, other)))
        rig.host = Host(rig.shell)
        rigs.append(rig)
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(RigUnderTest.look, rigs)) == ["closed", "closed"]
