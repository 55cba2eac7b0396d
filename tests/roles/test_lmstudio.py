"""LM Studio: its unit as text, and what is refused. The program itself is at no index, so nothing of it was run."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from rigwright.resources import role_text, script
from rigwright.roles.lmstudio.deploy import WrongInventory, settings_of
from rigwright.roles.lmstudio.operations import UNIT, unit_text
from rigwright.roles.lmstudio.settings import LmStudioSettings

from .room import Room

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="scripts work as root, in mounts of their own: needs root")
FILE = f"/etc/systemd/system/{UNIT}"
# What an OpenAI-like server says, as far as the script reads it.
ANSWER = """#!/bin/sh
echo '{"choices": [], "usage": {"completion_tokens": 1}}'
"""


@pytest.fixture
def room(each_sh: str, open_path: Path) -> Room:
    """A rig with the account ada, who has LM Studio; nothing of LM Studio's runs there."""
    found = Room.made(open_path / "room")
    home = open_path / "ada"
    (home / ".lmstudio/bin").mkdir(parents=True)
    (home / ".lmstudio/bin/lms").write_text("#!/bin/sh\n")
    (home / ".lmstudio/bin/lms").chmod(0o755)
    found.tool("id", '#!/bin/sh\n[ "$3" = ada ] && echo 1000\n')
    found.tool("getent", f"#!/bin/sh\necho ada:x:1000:1000::{home}:/bin/sh\n")
    found.tool("curl", ANSWER)
    return found


def serving(room: Room, *, account: str = "ada", text: str | None = None) -> str:
    words = {"UNIT": UNIT, "TEXT": text or unit_text(service()), "ACCOUNT": account, "PORT": 1234, "ALIAS": "chat"}
    words |= {"HOME_OF": str(room.home.parent / "ada"), "SECONDS_TO_START": 60}
    return script("lmstudio", "serve.sh", before=role_text("base", "own-unit.sh"), **words)


@as_root
@pytest.mark.runs("lmstudio/serve.sh")
def test_unit_is_brought_and_one_that_completes_nothing_goes(room: Room) -> None:
    """The unit of before comes back, to the letter; where there was none, none is left."""
    room.tool("curl", "#!/bin/sh\nexit 22\n")
    assert "LM Studio completes nothing" in room.run(serving(room), code=1)
    assert not room.path(FILE).is_file() or room.path(FILE).stat().st_size == 0
    room.tool("curl", ANSWER)
    assert "chat serves on 127.0.0.1:1234" in room.run(serving(room))
    assert room.path(FILE).read_text() == unit_text(service())
    room.tool("curl", "#!/bin/sh\nexit 22\n")
    said = room.run(serving(room, text=unit_text(service(port=4321))), code=1)
    assert "the unit before is back" in said
    assert room.path(FILE).read_text() == unit_text(service())


@as_root
def test_what_is_missing_is_named_and_nothing_is_touched(room: Room) -> None:
    """An account, LM Studio itself; and a unit of that name by somebody else stays."""
    assert "there is no account eve" in room.run(serving(room, account="eve"), code=1)
    (room.home.parent / "ada/.lmstudio/bin/lms").unlink()
    assert "install llmster as ada, run again" in room.run(serving(room), code=1)
    assert not room.path(FILE).exists()
    room.put(FILE, "[Service]\n")
    assert "was not written by rigwright; it stays" in room.run(serving(room), code=1)
    assert room.path(FILE).read_text() == "[Service]\n"


def service(**keys: Any) -> LmStudioSettings:
    return LmStudioSettings.model_validate({"model": "openai/gpt-oss-20b", "account": "ada"} | keys)


def test_unit_is_lm_studios_own_with_model_and_port() -> None:
    """lmstudio.ai/docs/developer/core/headless_llmster: the daemon, the model, the server, by the account."""
    lines = unit_text(service(context="64k")).splitlines()
    lms = "/home/ada/.lmstudio/bin/lms"
    assert [line for line in lines if line.startswith(("Exec", "User", "Type", "Remain", "Environment"))] == [
        "Type=oneshot",
        "RemainAfterExit=yes",
        "User=ada",
        "Environment=HOME=/home/ada",
        f"ExecStartPre={lms} daemon up",
        f"ExecStartPre={lms} load openai/gpt-oss-20b -y --context-length 65536 --identifier chat",
        f"ExecStart={lms} server start --port 1234",
        f"ExecStop={lms} daemon down",
    ]


def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    """But that this machine has no LM Studio."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed here")
    unit = tmp_path / "rigwright.lmstudio.service"
    unit.write_text(unit_text(service()))
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    ours = [line for line in done.stderr.splitlines() if unit.name in line and "is not executable" not in line]
    assert ours == []


def test_installer_is_never_run() -> None:
    """It has no checksum: who wants it runs it, as the account; the script names what is missing."""
    text = role_text("lmstudio", "serve.sh")
    assert "install.sh" not in text and "has no checksum" in text


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"account": "ada"}, "rig1: lmstudio.model: missing; model is: "),
        ({"model": "a", "account": "ada", "alais": "b"}, "rig1: lmstudio.alais: unknown key; did you mean alias?"),
        ({"model": "a b; rm -rf /", "account": "ada"}, "rig1: lmstudio.model: "),
        ({"model": "a", "account": "Ada Lovelace"}, "rig1: lmstudio.account: "),
        ({"model": "a", "account": "ada", "alias": "%h"}, "rig1: lmstudio.alias: "),
        ({"model": "a", "account": "ada", "host": "0.0.0.0"}, "rig1: lmstudio.host: "),
    ],
)
def test_wrong_data_is_refused_before_any_rig_is_touched(data: Any, said: str) -> None:
    """Nothing that systemd or a shell would read as something else comes into the unit."""
    with pytest.raises(WrongInventory) as error:
        settings_of("rig1", data)
    assert error.value.message.startswith(said) and "\n" not in error.value.message
