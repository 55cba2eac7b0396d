"""The main job on a blank rig, over SSH: what is said, what is done, and that a second run does nothing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from rigwright.cli.verify import checks

from ..pages import page_shows

pytestmark = pytest.mark.lab

COUNTER = """
cat >/usr/local/bin/count-ssh <<'X'
#!/bin/sh
echo "$SSH_ORIGINAL_COMMAND" | tr '\\n' ' ' >>/run/ssh-commands
echo >>/run/ssh-commands
exec sh -c "$SSH_ORIGINAL_COMMAND"
X
chmod 755 /usr/local/bin/count-ssh
echo 'ForceCommand /usr/local/bin/count-ssh' >/etc/ssh/sshd_config.d/count.conf
systemctl reload ssh
"""


@pytest.fixture
def ssh_commands(workshop, serving) -> Iterator:
    """Counts the commands that arrive over SSH, on the rig itself."""
    workshop.on(serving, COUNTER)
    yield lambda: int(workshop.on(serving, "cat /run/ssh-commands 2>/dev/null | wc -l; rm -f /run/ssh-commands"))
    workshop.on(serving, "rm -f /etc/ssh/sshd_config.d/count.conf; systemctl reload ssh")


def test_dry_run_on_a_blank_rig_names_every_change_and_makes_none(trixie):
    """--dry tells the truth before anything is there."""
    assert trixie.dry.code == 0
    steps = (
        "Install packages",
        "Create the builder's account",
        "Bring tiny.gguf",
        "Install compilers",
        "Build llama.cpp",
        "Serve demo",
    )
    for step in steps:
        assert re.search(rf"\| {re.escape(step)}\s+1 \(", trixie.dry.output), trixie.dry.output
    assert trixie.after_dry == trixie.blank


def test_first_run_shows_the_plan_with_reasons_and_the_progress(trixie):
    """A person sees what will run and why, how far the build is, and where it serves."""
    output = trixie.first.output
    assert re.search(r"--ctx-size 2048 +the inventory asks for it", output)
    assert re.search(r"built \d+ % of \d+ steps", output)
    assert "demo serves at http://127.0.0.1:8080" in output


def test_verify_passes_and_says_how_many_checks(workshop, serving):
    """The independent oracle agrees, for every rig and service."""
    path = workshop.inventory(workshop.spec(), serving)
    outcome = workshop.rigwright("verify", str(path))
    assert outcome.code == 0, outcome.output
    page_shows("docs/services.md", "verify:", outcome.output)


def test_verify_prints_json(workshop, serving):
    """A machine reads the same outcome."""
    path = workshop.inventory(workshop.spec(), serving)
    found = json.loads(workshop.rigwright("verify", str(path), "--json").output)
    outcomes = Counter(row["outcome"] for row in found["checks"])
    assert outcomes == {"passed": found["passed"], "skipped": found["skipped"]}
    assert found["failed"] == 0
    assert {"check", "subject", "rig", "outcome", "seconds", "message"} == set(found["checks"][0])
    skipped = {row["check"]: row["message"] for row in found["checks"] if row["outcome"] == "skipped"}
    assert skipped == {
        "test_runs_what_is_locked": "this rig has no lock, or serves it together with others",
        "test_keys_stay_secret": "this service has no API keys",
        "test_asks_for_the_key": "this service has no API keys",
        "test_further_files_are_whole": "this model is one file",
        "test_gpus_are_used_when_planned": "this service is planned on the CPU",
        "test_toolkit_is_whole": "nothing here is built with CUDA",
        "test_toolkit_compiles_for_every_gpu": "nothing here is built with CUDA",
        "test_device_files_are_there": "this is a container (systemd-nspawn) without a GPU of NVIDIA's: "
        "no driver is checked",
        "test_thinks_as_wished": "the inventory leaves thinking open, or to flags of its own",
    }


def test_verify_fails_when_the_inventory_has_moved_on(workshop, serving):
    """A rig that was not deployed to since the inventory changed is not as planned."""
    path = workshop.inventory(workshop.spec(context=1024), serving)
    outcome = workshop.rigwright("verify", str(path))
    assert outcome.code == 1
    assert "test_plan_says_what_the_inventory_says" in outcome.output


def test_plain_pytest_runs_the_same_checks(workshop, serving):
    """The checks are an ordinary pytest module."""
    path = workshop.inventory(workshop.spec(), serving)
    command = [sys.executable, "-m", "pytest", "-q", "--pyargs", *checks(), "--rigs", str(path)]
    done = subprocess.run(command, cwd=workshop.directory, env=workshop.environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    ours = re.search(r"^verify: (.*)$", workshop.rigwright("verify", str(path)).output, re.MULTILINE)[1]
    assert f"{ours} in " in done.stdout


def test_second_run_changes_nothing_in_one_command(workshop, serving, ssh_commands, unharmed):
    """Nothing to do costs next to nothing."""
    outcome = workshop.deploy(workshop.spec(), serving)
    assert (outcome.code, outcome.changed) == (0, set())
    assert ssh_commands() == 1


def test_dry_run_on_a_finished_rig_finds_nothing_in_one_command(workshop, serving, ssh_commands, unharmed):
    """--dry tells the truth afterwards too; plan and confirmation together cost at most six."""
    outcome = workshop.deploy(workshop.spec(), serving, arguments=("--dry",))
    assert outcome.code == 0
    assert not re.search(r"\d+ \(serving\)", outcome.output)
    assert ssh_commands() == 1


def test_changed_context_changes_the_unit_and_restarts_once(workshop, serving):
    """One word in the inventory: one operation, one restart, and the way back."""
    releases = "find /opt/rigwright/llamacpp ! -name .served -newer /etc/hostname | sort"
    look = f"systemctl show -P MainPID rigwright-demo; {releases}"
    before = workshop.on(serving, look)
    outcome = workshop.deploy(workshop.spec(context=4096), serving)
    assert outcome.code == 0, outcome.output
    assert outcome.changed == {"Serve demo"}
    assert _announced(outcome) == ["~ demo --ctx-size: 2048 -> 4096"]
    starts = workshop.on(serving, "journalctl -b -u rigwright-demo -o cat --no-pager | grep -c '^Started '")
    assert starts == "2"
    after = workshop.on(serving, look)
    assert before.splitlines()[0] != after.splitlines()[0]
    assert before.splitlines()[1:] == after.splitlines()[1:]
    assert "--ctx-size\0" in workshop.on(serving, "cat /proc/$(systemctl show -P MainPID rigwright-demo)/cmdline")
    assert workshop.deploy(workshop.spec(context=4096), serving).changed == set()


def test_rollback_brings_the_earlier_unit_back_in_seconds(workshop, serving):
    """What ran before runs again, and verification agrees with the earlier inventory."""
    path = workshop.inventory(workshop.spec(), serving)
    outcome = workshop.rigwright("rollback", str(path))
    assert outcome.code == 0, outcome.output
    assert outcome.seconds < 20
    assert workshop.rigwright("verify", str(path)).code == 0
    assert workshop.deploy(workshop.spec(), serving).changed == set()


def test_rollback_after_a_changed_port_asks_at_the_old_one(workshop, serving):
    """The way back knows where the earlier plan listened."""
    assert workshop.deploy(workshop.spec(port=8123), serving).changed == {"Serve demo"}
    back = workshop.rigwright("rollback", str(workshop.inventory(workshop.spec(port=8123), serving)))
    assert back.code == 0, back.output
    assert "demo serves at http://127.0.0.1:8080" in back.output
    assert workshop.deploy(workshop.spec(), serving).changed == set()


def test_rollback_needs_the_names_of_services_alone(workshop, serving):
    """No model, no key, a wrong value, a damaged lock, wrong data of another rig: none stands in the way back."""
    assert workshop.deploy(workshop.spec(context=4096), serving).changed == {"Serve demo"}
    broken = workshop.spec(context="x", model="gone.gguf", host="0.0.0.0", api_key_file="gone.key")
    path = workshop.inventory(broken, serving)
    path.write_text(path.read_text() + "others = [('@local', {'rig': {'services': 'none'}})]\n")
    lock = path.with_suffix(".lock.yml")
    lock.write_text("rigs: [\n")
    try:
        back = workshop.rigwright("rollback", str(path))
        assert back.code == 0, back.output
        assert _context(workshop, serving) == "2048"
    finally:
        lock.unlink()


def test_rollback_names_what_has_no_earlier_release_and_fails(workshop, serving):
    """What can go back goes back; the exit code says that this was not all."""
    rig = workshop.spec()
    rig["services"].append({**rig["services"][0], "name": "never", "port": 8081})
    back = workshop.rigwright("rollback", str(workshop.inventory(rig, serving)))
    assert back.code == 1
    assert "never is not on this rig" in back.lines
    assert _context(workshop, serving) == "4096"
    assert workshop.deploy(workshop.spec(), serving).changed == {"Serve demo"}
    absent = workshop.rigwright("rollback", "nope.py")
    assert absent.code == 1
    assert absent.lines == ["Error: nope.py: does not exist; check the path of the inventory"]


def test_other_weights_under_the_same_name_are_served(workshop, serving):
    """A model file that changed is sent and served: the process does not keep the old one."""
    from rigwright.lab.tiny_model import write_tiny_model

    path = workshop.directory / "tiny.gguf"
    first = path.read_bytes()
    write_tiny_model(path, seed=99)
    changed = workshop.deploy(workshop.spec(), serving)
    assert changed.changed == {"Bring tiny.gguf", "Serve demo"}
    assert workshop.rigwright("verify", str(workshop.inventory(workshop.spec(), serving))).code == 0
    path.write_bytes(first)
    # What it was is kept on the rig for the way back.
    assert workshop.deploy(workshop.spec(), serving).changed == {"Serve demo"}


def test_switch_that_was_cut_by_a_reboot_keeps_what_was_proven(workshop, serving):
    """A bad unit that a power cut left behind is never taken for what served before."""
    state = "/var/lib/rigwright/services/demo"
    file = "/etc/systemd/system/rigwright-demo.service"
    workshop.on(
        serving,
        f"mkdir -p {state}; readlink /opt/rigwright/services/demo/current >{state}/running;"
        f" cp -p {file} {state}/running.service; cp -p /etc/rigwright/demo.json {state}/running.json",
    )
    bad = workshop.spec(flags={"--lora": "/none.gguf"})
    first = workshop.deploy(bad, serving)
    assert "the previous release is back and serving" in first.output
    assert workshop.rigwright("verify", str(workshop.inventory(workshop.spec(), serving))).code == 0
    assert workshop.deploy(workshop.spec(), serving).changed == set()


def test_diff_shows_the_unit_before_it_changes(workshop, serving, unharmed):
    """--diff shows the flag that would change, and a dry run leaves it alone."""
    outcome = workshop.deploy(workshop.spec(context=1024), serving, arguments=("--dry", "--diff"))
    assert any("+" in line and "--ctx-size 1024" in line for line in outcome.lines)
    assert any("-" in line and "--ctx-size 2048" in line for line in outcome.lines)


def test_a_service_that_left_the_inventory_is_named(workshop, serving):
    """Nothing is removed silently, nothing is forgotten."""
    rig = workshop.spec()
    rig["services"].append({**rig["services"][0], "name": "second", "port": 8081})
    assert workshop.deploy(rig, serving).code == 0
    outcome = workshop.deploy(workshop.spec(), serving)
    assert "rigwright-second.service is on the rig but not in the inventory" in outcome.output
    verified = workshop.rigwright("verify", str(workshop.inventory(workshop.spec(), serving)))
    assert verified.code == 1
    assert re.search(r"^verify: \d\d passed, 1 failed, 9 skipped$", verified.output, re.MULTILINE), verified.output
    assert "test_nothing_is_orphaned" in verified.output
    pick = ("-y", "--data", "remove_service=second")
    removed = workshop.deploy(workshop.spec(), serving, deploy="remove", arguments=pick)
    assert removed.code == 0, removed.output
    assert workshop.on(serving, "ls /etc/systemd/system | grep rigwright-") == "rigwright-demo.service"
    # Its memory was counted as taken: what a quarter of the rest is grows.
    alone = workshop.deploy(workshop.spec(), serving)
    assert alone.changed == {"Serve demo"}
    assert [line.partition(":")[0] for line in _announced(alone)] == ["~ demo --cache-ram"]
    assert workshop.deploy(workshop.spec(), serving).changed == set()


def test_reboot_brings_the_service_back(workshop, serving):
    """Enabled means that it survives a reboot."""
    workshop.lab.reboot(serving)
    for _ in range(60):
        if workshop.on(serving, "curl -s -m 2 http://127.0.0.1:8080/health", check=False) == '{"status":"ok"}':
            break
        time.sleep(0.5)
    assert workshop.deploy(workshop.spec(), serving).changed == set()


def test_crashed_engine_is_restarted(workshop, serving):
    """A killed process comes back by itself."""
    workshop.lab.fault(serving, "kill-service")
    for _ in range(60):
        if workshop.on(serving, "systemctl show -P NRestarts rigwright-demo") != "0":
            break
        time.sleep(0.5)
    assert int(workshop.on(serving, "systemctl show -P NRestarts rigwright-demo")) >= 1
    assert workshop.on(serving, "sleep 3; curl -s -m 2 http://127.0.0.1:8080/health") == '{"status":"ok"}'


def test_engine_stops_cleanly_and_a_run_starts_it_again(workshop, serving):
    """SIGTERM is enough, well within the timeout; a stopped service is a deviation that the next run mends."""
    said = workshop.on(serving, "systemctl stop rigwright-demo 2>&1; systemctl show -P Result rigwright-demo")
    assert said.splitlines()[-1] == "success"
    outcome = workshop.deploy(workshop.spec(), serving)
    assert outcome.changed == {"Serve demo"}


def test_bookworm_is_deployed_to_and_verified(workshop, bookworm):
    """Debian 12 is as good a rig as Debian 13."""
    name = workshop.boot("old", from_snapshot=bookworm.snapshot, os="bookworm")
    try:
        assert workshop.deploy(workshop.spec(), name).changed == set()
        assert workshop.rigwright("verify", str(workshop.inventory(workshop.spec(), name))).code == 0
    finally:
        workshop.lab.down([name])


def _announced(outcome):
    """What the deploy said beforehand that it would change."""
    return [line for line in outcome.lines if re.match(r"[+~-] \w", line)]


def _context(workshop, rig):
    """The context of the process that serves."""
    argv = workshop.on(rig, "tr '\\0' '\\n' </proc/$(systemctl show -P MainPID rigwright-demo)/cmdline").split("\n")
    return argv[argv.index("--ctx-size") + 1]
