"""Whatever cuts a run short, the next one finishes the work: Ctrl-C, a dropped connection, a reboot."""

from __future__ import annotations

import base64
import json
import re
import signal
import subprocess
import time

import pytest

from rigwright.lab.inventory import host_data

from .conftest import wait_healthy

pytestmark = pytest.mark.lab

BUILDING = "systemctl list-units --plain --no-legend 'rigwright-build-*' | grep -c running"


def rebuild(workshop, number):
    """A spec whose build differs from all others by one option, so that a build must run."""
    return workshop.spec(llamacpp={"archive": "pinned", "cmake_options": {"RIGWRIGHT_TEST": str(number)}, "jobs": 1})


def wait_until_building(workshop, rig):
    """Until compiling has begun."""
    log = "cat /var/lib/rigwright/build/*/log 2>/dev/null | grep -c '^\\[[1-9]'"
    for _ in range(600):
        if int(workshop.on(rig, log, check=False) or 0) > 0:
            return
        time.sleep(0.1)
    raise AssertionError(workshop.on(rig, "cat /var/lib/rigwright/build/*/log", check=False))


@pytest.fixture
def slow_compiler(workshop, serving):
    """Without its cache the compiler is slow enough to be interrupted."""
    shared = "/var/cache/rigwright-lab"
    hide = f"rm -rf /run/bare; mkdir -m 1777 /run/bare && touch /run/bare/bare && mount --bind /run/bare {shared}"
    back = f"[ ! -e {shared}/bare ] || umount {shared}"
    workshop.on(serving, f"{hide}; rm -rf /var/lib/rigwright/ccache/*")
    yield lambda: workshop.on(serving, back)
    workshop.on(serving, back)


def test_control_c_leaves_the_build_running_and_the_next_run_attaches(workshop, serving, slow_compiler):
    """Ctrl-C ends the watching, not the work."""
    process = workshop.start(rebuild(workshop, 1), serving)
    wait_until_building(workshop, serving)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert workshop.on(serving, BUILDING) == "1"
    _finish(workshop, serving, rebuild(workshop, 1), slow_compiler, expect="attaching to the build of")


def test_dropped_connection_is_said_and_the_next_run_attaches(workshop, serving, slow_compiler):
    """The rig works on; the message says so."""
    process = workshop.start(rebuild(workshop, 2), serving)
    wait_until_building(workshop, serving)
    workshop.lab.fault(serving, "ssh-drop")
    output, _ = process.communicate(timeout=90)
    assert process.returncode == 1
    assert re.search(r"run again", output), output
    assert "Traceback" not in output
    assert workshop.on(serving, BUILDING) == "1"
    _finish(workshop, serving, rebuild(workshop, 2), slow_compiler, expect="attaching to the build of")


@pytest.mark.faults
def test_rig_that_vanishes_behind_a_jump_host_is_noticed(workshop, serving, trixie):
    """No socket of ours would notice: it is asked, and the run ends with what to do; then the next one goes on."""
    name = workshop.boot("behind", from_snapshot=trixie.snapshot)
    try:
        wait_healthy(workshop, name)
        rigs = {one.name: host_data(one) for one in workshop.lab.rigs()}
        gate, behind = rigs[serving], rigs[name]
        config = workshop.directory / "jump_config"
        config.write_text(
            f"Host *\n IdentityFile {gate['ssh_key']}\n IdentitiesOnly yes\n StrictHostKeyChecking accept-new\n"
            f" UserKnownHostsFile {workshop.directory / 'jump_known'}\n User root\n"
            f"Host inside\n HostName {behind['ssh_hostname']}\n ProxyJump gate\n"
            f"Host gate\n HostName {gate['ssh_hostname']}\n"
        )
        login = {"ssh_hostname": "inside", "ssh_config_file": str(config), "ssh_strict_host_key_checking": "accept-new"}
        login["ssh_known_hosts_file"] = str(workshop.directory / "jump_known")
        drop = "/etc/systemd/system/rigwright-demo.service.d"
        slow = f"mkdir {drop}; printf '[Service]\nExecStartPre=/bin/sleep 150\n' >{drop}/slow.conf"
        workshop.on(name, f"{slow}; systemctl daemon-reload")
        process = workshop.start(workshop.spec(context=1024), name, login=login)
        for _ in range(300):
            if workshop.on(name, "cat /var/lib/rigwright/services/demo/running 2>/dev/null", check=False):
                break
            time.sleep(0.1)
        found = subprocess.run(["ip", "-j", "route", "get", behind["ssh_hostname"]], capture_output=True, check=True)
        link = json.loads(found.stdout)[0]["dev"]
        subprocess.run(["ip", "link", "set", link, "down"], check=True)
        try:
            output, _ = process.communicate(timeout=150)
        finally:
            process.kill()
            subprocess.run(["ip", "link", "set", link, "up"], check=True)
        assert process.returncode == 1, output
        assert "the connection was lost; the work on the rig goes on, run again to pick it up" in output
        workshop.on(name, f"rm -r {drop}; systemctl daemon-reload; systemctl restart rigwright-demo")
        again = workshop.deploy(workshop.spec(context=1024), name, login=login)
        assert again.code == 0, again.output
        assert workshop.deploy(workshop.spec(context=1024), name, login=login).changed == set()
    finally:
        workshop.lab.down([name])


def test_reboot_in_the_middle_of_the_build_is_made_good(workshop, serving, slow_compiler):
    """After a reboot nothing builds any more: the next run takes up what is there."""
    process = workshop.start(rebuild(workshop, 3), serving)
    wait_until_building(workshop, serving)
    workshop.lab.reboot(serving, hard=True)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 1, output
    assert "Traceback" not in output
    outcome = workshop.deploy(workshop.spec(llamacpp=rebuild(workshop, 3)["llamacpp"] | {"jobs": 2}), serving)
    assert outcome.code == 0, outcome.output
    assert workshop.rigwright("verify", str(workshop.inventory(workshop.spec(), serving))).code == 0


def _finish(workshop, rig, spec, fast_again, *, expect):
    """Attach, then let the build end quickly: the unit is stopped, the cache is back, and a last run finishes it."""
    second = workshop.start(spec, rig)
    seen = ""
    for line in second.stdout:
        seen += line
        if expect in line:
            break
    assert expect in seen, seen
    workshop.on(rig, "systemctl stop 'rigwright-build-*'")
    fast_again()
    rest, _ = second.communicate(timeout=120)
    assert second.returncode == 1
    assert "what runs goes on running" in rest
    quick = workshop.spec(llamacpp=spec["llamacpp"] | {"jobs": 2})
    outcome = workshop.deploy(quick, rig)
    assert outcome.code == 0, outcome.output
    assert {"Build llama.cpp", "Serve demo"} <= outcome.changed
    assert workshop.deploy(spec, rig).changed == set()


def leave(workshop, rig, data, path):
    """Bytes in a file on the rig."""
    workshop.lab.exec(rig, ["sh", "-c", f"base64 -d >{path}"], input=base64.b64encode(data).decode())


def test_upload_that_was_cut_is_continued(workshop, serving):
    """Half of a model on the rig is not sent again."""
    from rigwright.lab.tiny_model import write_tiny_model

    path = write_tiny_model(workshop.directory / "half.gguf", seed=11)
    data = path.read_bytes()
    half = len(data) // 2
    leave(workshop, serving, data[:half], "/var/lib/rigwright/weights/half.gguf.part")
    outcome = workshop.deploy(workshop.spec(model=str(path)), serving)
    assert outcome.code == 0, outcome.output
    assert workshop.on(serving, "ls -A /var/lib/rigwright/weights | grep -c part", check=False) == "0"


def test_upload_with_a_wrong_beginning_is_refused_and_then_made_anew(workshop, serving):
    """A leftover of another file is found out by its sum, thrown away, and the next run succeeds."""
    from rigwright.lab.tiny_model import write_tiny_model

    path = write_tiny_model(workshop.directory / "mixed.gguf", seed=12)
    junk = b"GGUF" + b"x" * 5000
    leave(workshop, serving, junk, "/var/lib/rigwright/weights/mixed.gguf.part")
    first = workshop.deploy(workshop.spec(model=str(path)), serving)
    assert first.code == 1
    assert "the file was not installed" in first.output
    assert workshop.on(serving, "ls /var/lib/rigwright/weights | grep -c '^mixed'", check=False) == "0"
    assert workshop.deploy(workshop.spec(model=str(path)), serving).code == 0
