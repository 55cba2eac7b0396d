"""inventories/homelab.py, the documented house: every rig of it is planned, on machines like its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from rigwright.cli import main
from rigwright.inventory.rows import read_rows
from rigwright.seed.machine import bare_machine
from rigwright.spec.rig import parse_spec

ROOT = Path(__file__).parents[2]
FILE = str(ROOT / "inventories/homelab.py")
# What its comments say of each rig: cards, RAM, where the service runs, and the engine.
RIGS = {
    "quad": (["4x3090:nvlink"], "128G", "GPUs 0+1 and 2+3", "vLLM"),
    "desk": (["5090"], "64G", "GPU 0", "Ollama"),
    "attic": (["2xP40"], "64G", "GPUs 0+1", "llama.cpp"),
    "shelf": (["none"], "32G", "the CPU alone", "llama.cpp"),
}


@pytest.fixture(scope="module")
def house() -> dict[str, dict[str, Any]]:
    """The host data that pyinfra makes of it, by rig: group data among them."""
    return {row["name"]: row["data"] for row in read_rows(FILE)}


def test_house_has_the_rigs_of_its_comments(house):
    """Neither more nor less, and all of them are reached in one way, from the group data."""
    assert house.keys() == RIGS.keys()
    assert {(data["ssh_user"], data["_sudo"]) for data in house.values()} == {("ada", True)}


@pytest.mark.parametrize("rig", RIGS)
def test_rig_of_the_house_is_planned(house, rig, tmp_path, monkeypatch):
    """On such a machine, by the engine that it names."""
    cards, ram, where, engine = RIGS[rig]
    (tmp_path / "rig.yml").write_text(yaml.safe_dump({"rig": house[rig]["rig"]}))
    words = ["plan", *(word for card in cards for word in ("--gpu", card)), "--ram", ram, "--spec", "rig.yml"]
    monkeypatch.chdir(tmp_path)
    done = CliRunner(env={"COLUMNS": "100"}).invoke(main, words)
    assert done.exit_code == 0, done.output
    assert f"engine    {engine}" in done.stdout and f"runs on   {where}" in done.stdout, done.stdout


@pytest.mark.parametrize("rig", RIGS)
def test_rig_of_the_house_can_be_installed_anew(house, rig, tmp_path):
    """Its disk, its user and its key are all that an installer needs."""
    key = tmp_path / "id.pub"
    key.write_text("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGWr90JTO7/3EcwWkOta6cul18Xm0TOSLcm4FQwPhznW ada@laptop\n")
    data = house[rig] | {"ssh_key": str(key.with_suffix(""))}
    assert bare_machine(rig, parse_spec(rig, data["rig"], inventory=FILE), data).hostname == rig


def test_secrets_of_the_house_stay_out_of_git():
    """The folders that its comments name."""
    assert {"/secrets/", "/seed/"} <= set((ROOT / ".gitignore").read_text().splitlines())
    assert "secrets/chat.key" in Path(FILE).read_text()
