"""llama.cpp's own files of the machine, which set flags without a word: no service, dry run or build reads them."""

from __future__ import annotations

import json

import pytest

from .conftest import wait_healthy

pytestmark = pytest.mark.lab

SYSTEM, OWN = "/etc/llama.cpp", "/.config/llama.cpp"
SERVER = "/opt/rigwright/services/demo/current/bin/llama-server"
# Flags that the plan leaves open, some that it sets, and a value that no program of llama.cpp would start with.
FLAGS = "parallel = 3\nport = 9999\nhost = 0.0.0.0\nalias = other\ntimeout = 601\nreasoning-budget = 7\n"
BROKEN = "ctx-size = nonsense\n"


@pytest.fixture(scope="module")
def planted(workshop, serving):
    """A rig on which both files lie, in directories that are older than the process."""
    for directory in (SYSTEM, OWN):
        workshop.on(serving, f"mkdir -p {directory}; printf '%s' '{FLAGS}' >{directory}/config.ini")
    return serving


def test_program_itself_takes_its_flags_from_there(workshop, planted):
    """Without the walls of a unit: what this file is about."""
    workshop.on(planted, f"printf '%s' '{BROKEN}' >{SYSTEM}/config.ini")
    said = workshop.on(planted, f"{SERVER} --version 2>&1; echo rc $?", check=False)
    assert said.endswith("rc 1"), said
    workshop.on(planted, f"printf '%s' '{FLAGS}' >{SYSTEM}/config.ini")


def test_service_goes_on_as_planned(workshop, planted):
    """Started anew by whatever: its slots, its port and its name are the planned ones; verify says what lies there."""
    workshop.on(planted, "systemctl restart rigwright-demo")
    wait_healthy(workshop, planted)
    props = json.loads(workshop.on(planted, "curl -s http://127.0.0.1:8080/props"))
    assert (props["total_slots"], props["model_alias"]) == (1, "demo")
    assert workshop.on(planted, "ss -Hltn 'sport = :9999'") == ""
    assert "config file" not in workshop.on(planted, "journalctl -b -o cat -u rigwright-demo | tail -n 40")
    outcome = workshop.rigwright("verify", str(workshop.inventory(workshop.spec(), planted)))
    assert outcome.code == 0, outcome.output
    for directory in (SYSTEM, OWN):
        line = f"{directory}/config.ini sets flags of llama.cpp; it is hidden from rigwright-demo.service"
        assert line in " ".join(outcome.output.split()), outcome.output


def test_build_dry_run_and_switch_do_not_read_them(workshop, planted):
    """With a value that would stop each of these programs: a new release is built, tried and served; then no change."""
    for directory in (SYSTEM, OWN):
        workshop.on(planted, f"printf '%s' '{BROKEN}' >{directory}/config.ini")
    rig = workshop.spec(context=1024, llamacpp={"archive": "pinned", "cmake_options": {"RIGWRIGHT_TEST": "config"}})
    outcome = workshop.deploy(rig, planted)
    assert outcome.code == 0, outcome.output
    assert outcome.changed == {"Build llama.cpp", "Serve demo"}
    assert "dry run failed" not in outcome.output and "dry run takes" in outcome.output
    assert "--ctx-size" in workshop.on(planted, "cat /opt/rigwright/services/demo/current/flags.txt")
    assert workshop.deploy(rig, planted).changed == set()


def test_file_that_came_after_the_start_is_hidden_from_the_next_one(workshop, serving, planted):
    """There was nothing to hide when the process started; it has not read what came since."""
    workshop.on(serving, f"rm -r {SYSTEM} {OWN}; systemctl restart rigwright-demo")
    wait_healthy(workshop, serving)
    workshop.on(serving, f"mkdir {SYSTEM}; printf '%s' '{BROKEN}' >{SYSTEM}/config.ini")
    assert workshop.rigwright("verify", str(workshop.directory / workshop.file)).code == 0
    workshop.on(serving, "systemctl restart rigwright-demo")
    wait_healthy(workshop, serving)
    workshop.on(serving, f"rm -r {SYSTEM}")
