"""LM Studio: its unit as text, and what is refused. The program itself is at no index, so nothing of it was run."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from rigwright.resources import role_text
from rigwright.roles.lmstudio.deploy import WrongInventory, settings_of
from rigwright.roles.lmstudio.operations import unit_text
from rigwright.roles.lmstudio.settings import LmStudioSettings


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
        (None, "rig1: lmstudio.model: Field required"),
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
