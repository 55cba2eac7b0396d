"""Removal does what it understands, and else nothing; model files go when they are those that came with us."""

from __future__ import annotations

import base64
import hashlib
import os
import runpy
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api import operation

from rigwright.resources import script
from rigwright.roles.base.account import COMMENT
from rigwright.roles.base.channel import Script
from rigwright.roles.base.request import Request, WrongRequest, check_request

from .machine import OWN_UNIT, Machine
from .run import Run, run_deploy
from .test_deploy_order import AT_ONCE

ROOT = Path(__file__).parents[2]
OURS = {**OWN_UNIT, "unit.text": base64.b64encode(b"# Written by rigwright.\n").decode()}


def serving(*names: str) -> Machine:
    """A rig with services; `files` are what the rig says is ours."""
    return Machine(files={"/var/lib/rigwright/build": ""}, deployed={name: dict(OURS) for name in names})


@pytest.fixture
def run() -> Callable[..., Run]:
    """Runs deploys/remove.py over rigs, each with its inventory data; `data` is what `--data` gives."""

    def of(*rigs: tuple[Machine, dict[str, Any]], **data: Any) -> Run:
        hosts = [(f"@fake/rig{number}", {**given, **AT_ONCE}) for number, (_, given) in enumerate(rigs, start=1)]
        return run_deploy(
            hosts, [one for one, _ in rigs], lambda: runpy.run_path(str(ROOT / "deploys/remove.py")), data=data
        )

    return of


_WRONG: tuple[tuple[dict[str, Any], str], ...] = (
    (
        {"remove_service": ""},
        "remove_service: '' is no name of a service; name one, or leave it out to take everything",
    ),
    ({"remove_service": True}, "remove_service: True is no name"),
    ({"remove_servce": "chat"}, "remove_servce: a removal does not know it; did you mean remove_service?"),
    ({"service": "chat"}, "service: a removal does not know it; did you mean remove_service?"),
    (
        {"only": "chat"},
        "only: a removal does not know it; leave it out; it knows remove_service, remove_weights, remove_p",
    ),
    ({"remove_weights": "no"}, "remove_weights: 'no' is neither true nor false; say one of them"),
    ({"remove_weights": "off"}, "remove_weights: 'off' is neither"),
    ({"remove_packages": 0}, "remove_packages: 0 is neither true nor false"),
    (
        {"remove_service": "chat", "remove_weights": True},
        "remove_weights: does not go with remove_service; model files",
    ),
)


@pytest.mark.parametrize(("data", "expected"), _WRONG, ids=[str(data) for data, _ in _WRONG])
def test_what_is_not_understood_touches_no_rig(run, data, expected):
    """An empty shell variable, a typing error, a word that is no truth value: none of them means everything."""
    machine = serving("chat", "code")
    with pytest.raises(WrongRequest) as error:
        run((machine, {}), **data)
    assert error.value.message.startswith(expected)
    assert list(machine.deployed) == ["chat", "code"] and machine.files


def test_data_of_others_is_none_of_its_business(run):
    """How rigs are reached, and what an inventory holds for other deploys."""
    machine = serving("chat")
    inventory = {"rig": {}, "rig_lock": "x.yml", "remove_old_kernels": True, "service": "mine"}
    done = run((machine, inventory), fake_delay=0, _sudo=True)
    assert (done.changed(), machine.deployed) == (["Remove | Remove rigwright from the rig"], {})
    assert run((machine, inventory)).changed() == []


def test_misspelt_key_of_the_inventory_is_refused(run):
    """It would have been less than all, too."""
    with pytest.raises(WrongRequest, match="remove_servise: a removal does not know it; did you mean remove_service"):
        run((serving("chat"), {"remove_servise": "chat"}))


def test_unknown_service_is_refused_with_those_that_are_there(run):
    """On the rig and in the inventory nobody has that name."""
    machine = serving("chat", "code", "code@1")
    done = run((machine, {}), remove_service="cat")
    assert "remove_service: no service is called cat; this rig has chat, code" in done.lines()
    assert done.failed == {"rig1"} and len(machine.deployed) == 3


def test_service_of_another_rig_is_no_error(run):
    """One that an inventory has on some rigs is taken away there, with its copies, and the others stay as they are."""
    first, second = serving("chat", "code", "code@1"), serving("chat")
    done = run((first, {"rig": {"services": [{"name": "code"}]}}), (second, {}), remove_service="code")
    assert (list(first.deployed), list(second.deployed), done.failed) == (["chat"], ["chat"], set())
    again = run((first, {"rig": {"services": [{"name": "code"}]}}), (second, {}), remove_service="code")
    assert again.changed() == [] and again.failed == set()


@pytest.mark.parametrize("breaks", ["question", "base/remove.sh"])
def test_rig_that_cannot_be_asked_or_changed_fails(run, breaks):
    """Never "No changes"."""
    machine = serving("chat")
    machine.breaks = breaks
    assert run((machine, {})).failed == {"rig1"} and machine.deployed


def test_what_is_said_of_something_that_was_done_is_shown(run):
    """A script that succeeds may still have something to say: the lines of failures were dropped then."""

    @operation()
    def speak() -> Any:
        yield Script("printf '::error the cat stays\\n'")

    done = run_deploy([("@fake/rig1", AT_ONCE)], [Machine()], lambda: speak(name="Speak"))
    assert done.failed == set() and "the cat stays" in done.lines()


def test_login_that_is_not_root_is_refused(run):
    """Half of the commands would have failed without a word."""
    machine = serving("chat")
    machine.uid = 1000
    done = run((machine, {}))
    assert done.failed == {"rig1"} and machine.deployed
    assert "the SSH user is not root; set _sudo=True in the host data, or ssh_user='root'" in done.lines()


def test_request_says_what_goes():
    """By default everything but the model files."""
    assert check_request({}) == Request(None, weights=False, packages=True)
    assert check_request({"remove_weights": True, "remove_packages": False}) == Request(
        None, weights=True, packages=False
    )
    assert check_request({"remove_service": 7, "remove_weights": False}) == Request("7")


class Files:
    """Model files in a folder, with stamps and the list of what was brought."""

    def __init__(self, home: Path) -> None:
        self.home, self.brought = home, home / "weights.brought"

    def bring(self, name: str, text: str = "GGUF", *, origin: str = "upload", listed: bool = True) -> Path:
        """What install.sh, or in 0.1.0 adopt.sh after it, leaves."""
        file = self.home / name
        file.write_text(text)
        status = file.stat()
        stamp = self.home / f".{name}.rigwright"
        digest = hashlib.sha256(text.encode()).hexdigest()
        stamp.write_text(f"{digest} {status.st_size} {int(status.st_mtime)} {origin}\n")
        if listed:
            with self.brought.open("a") as file_list:
                file_list.write(f"{stamp}\n{file}\n{file}.part\n")
        return file

    def remove(self, shell: str = "sh") -> subprocess.CompletedProcess[str]:
        """What removal runs of them."""
        text = script("base", "removal.sh", BROUGHT=str(self.brought))
        return subprocess.run(
            [shell, "-c", f'{text}\nremove_weights\n[ -z "$failed" ]'], capture_output=True, text=True, check=False
        )

    def left(self) -> set[str]:
        """The names that are still there."""
        return {path.name for path in self.home.iterdir()}


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_model_files_go_when_they_are_what_was_brought(tmp_path, shell):
    """The owner's stay: found and adopted, also over one of ours, put there since, or with a stamp that is gone."""
    files = Files(tmp_path)
    files.bring("ours.gguf")
    (tmp_path / "cut.gguf.part").write_text("GG")
    with files.brought.open("a") as file_list:
        file_list.write(f"{tmp_path}/cut.gguf.part\n")
    os.utime(files.bring("touched.gguf"), (5, 5))
    files.bring("adopted.gguf", origin="found")
    files.bring("replaced.gguf").write_text("GGUF of mine")
    changed = files.bring("same-size.gguf")
    changed.write_text("FUGG")
    os.utime(changed, (5, 5))
    files.bring("no-stamp.gguf")
    (tmp_path / ".no-stamp.gguf.rigwright").unlink()
    (tmp_path / "link.gguf").symlink_to(files.bring("flat.gguf"))
    shutil.copy(tmp_path / ".flat.gguf.rigwright", tmp_path / ".link.gguf.rigwright")
    with files.brought.open("a") as file_list:
        file_list.write(f"{tmp_path}/link.gguf\n{tmp_path}/.link.gguf.rigwright\n")
    files.bring("not-listed.gguf", listed=False)
    done = files.remove(shell)
    assert (done.returncode, done.stderr) == (0, "")
    kept = {"adopted.gguf", "no-stamp.gguf", "replaced.gguf", "same-size.gguf"}
    assert files.left() == {*kept, "not-listed.gguf", ".not-listed.gguf.rigwright"}
    stays = {line.split()[1].rsplit("/", 1)[1] for line in done.stdout.splitlines() if "stays" in line}
    assert stays == kept


def test_contents_that_are_kept_go_with_their_stamps(tmp_path):
    """What waits for a switch, or is kept for the way back, in `.rigwright/` beside the files of that name."""
    files = Files(tmp_path)
    for name in ("01234567-m.gguf", "fedcba98-m.gguf"):
        kept = tmp_path / ".rigwright" / name
        kept.parent.mkdir(exist_ok=True)
        kept.write_text("GGUF")
        digest = hashlib.sha256(b"GGUF").hexdigest()
        kept.with_name(f".{name}.rigwright").write_text(f"{digest} 4 {int(kept.stat().st_mtime)} upload\n")
        with files.brought.open("a") as file_list:
            file_list.write(f"{kept}\n{kept.parent}/.{name}.rigwright\n")
    assert files.remove().returncode == 0
    assert files.left() == set()


def test_adopted_file_leaves_the_list_of_what_was_brought(tmp_path):
    """Ours came first, then the owner put another one in its place, and it was found right."""
    files = Files(tmp_path)
    file = files.bring("m.gguf")
    file.write_text("GGUF of mine")
    stamp = tmp_path / ".m.gguf.rigwright"
    target = {"DEST": str(file), "STAMP": str(stamp), "SHA256": "", "ORIGIN": "upload", "HIDDEN": "yes"} | {
        "RECORD": str(files.brought)
    }
    text = script("weights", "place.sh", "accept.sh", "adopt.sh", **target)
    done = subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(files.brought.read_text().splitlines()) == {str(stamp), f"{file}.part"}
    assert files.remove().returncode == 0
    assert files.left() == {"m.gguf"}


_ACCOUNTS = {
    "ours": ("rigwright:x:998:998:Rigwright builds and downloads:{state}:/usr/sbin/nologin", False, "gone"),
    "of 0.1.0": ("rigwright:x:998:998::{state}:/usr/sbin/nologin", True, "gone"),
    "of the distribution": ("rigwright:x:998:998::{state}:/usr/sbin/nologin", False, "there"),
    "made anew by the owner": ("rigwright:x:1000:1000:Ada:/home/rigwright:/bin/bash", True, "there"),
    "gone already": ("", True, ""),
}


@pytest.mark.parametrize("case", _ACCOUNTS)
def test_account_goes_when_rigwright_made_it(tmp_path, case):
    """By its comment, or by the mark of 0.1.0 where it is still what that version made."""
    line, is_marked, expected = _ACCOUNTS[case]
    if is_marked:
        (tmp_path / "account.created").touch()
    (tmp_path / "passwd").write_text(line.format(state=tmp_path) + "\n" if line else "")
    # The tester's own accounts are left alone.
    stand_in = "getent() { grep -s rigwright passwd; }; userdel() { : >passwd; }"
    text = script("base", "removal.sh", STATE=str(tmp_path), BUILDER="rigwright", COMMENT=COMMENT)
    done = subprocess.run(
        ["sh", "-c", f'{text}\n{stand_in}\nremove_account\n[ -z "$failed" ]'],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert bool((tmp_path / "passwd").read_text()) == (expected == "there")
    assert not (tmp_path / "account.created").exists()
    assert ("stays" in done.stdout) == (case == "made anew by the owner")


def test_upload_that_was_cut_is_removed(tmp_path):
    """What was begun is on the list before it begins."""
    files, target = Files(tmp_path), tmp_path / "new" / "m.gguf"
    target.parent.mkdir()
    variables = {"DEST": str(target), "STAMP": "", "SHA256": "", "ORIGIN": "upload", "RECORD": str(files.brought)}
    text = script("weights", "place.sh", "accept.sh", "prepare.sh", **variables)
    text = text.replace("/run/rigwright.lock", str(tmp_path / "lock"))
    assert subprocess.run(["sh", "-c", text], check=False).returncode == 0
    target.with_name("m.gguf.part").write_text("GG")
    assert files.remove().returncode == 0
    assert list(target.parent.iterdir()) == []
