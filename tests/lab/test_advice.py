"""Advice that deploys print: each is read from the line that prints it, followed, and the next run goes on."""

from __future__ import annotations

import re
import shutil
from typing import Any

import pytest

from rigwright.lab.tiny_model import write_tiny_model

pytestmark = pytest.mark.lab

WEIGHTS = "/var/lib/rigwright/weights"
FRESH = {"name": "fresh", "port": 8090}


def told(outcome: Any, pattern: str) -> re.Match[str]:
    """The advice in a refusal."""
    assert outcome.code == 1
    found = next(filter(None, (re.search(pattern, line) for line in outcome.lines)), None)
    assert found, outcome.output
    return found


def converged(workshop: Any, rig: dict[str, Any], name: str) -> bool:
    """A run that works, and one that has nothing left to do."""
    done = workshop.deploy(rig, name)
    assert done.code == 0, done.output
    return not workshop.deploy(rig, name).changed


def test_what_stands_in_the_way_is_moved_as_told(workshop, serving):
    """A masked unit, somebody's unit, a program on the port, a directory that no service may enter."""
    listen = 'import socket, time; s = socket.create_server(("127.0.0.1", 8090)); time.sleep(600)'
    workshop.on(serving, f"systemd-run -q --unit=other python3 -c '{listen}'; install -d -m 750 /srv/shut; sleep 1")
    workshop.on(serving, "systemctl mask -q rigwright-fresh.service")
    demo = workshop.spec()["services"][0]
    rig = workshop.spec(services=[demo, demo | FRESH], weights={"directory": "/srv/shut"})
    refused = workshop.deploy(rig, serving)
    unmask = told(refused, r"rigwright-fresh\.service is masked: .*; allow it with (systemctl unmask \S+)")[1]
    chmod = told(refused, r"/srv/shut: only root may enter .*; (chmod o\+x \S+)")[1]
    pid = told(refused, r"port 8090 is taken by python3 \(pid (\d+)\); .*or stop that program")[1]
    workshop.on(serving, f"{unmask}; {chmod}; kill {pid}")
    unit = "/etc/systemd/system/rigwright-fresh.service"
    workshop.on(serving, f"printf '[Service]\\nExecStart=/bin/true\\n' >{unit}; systemctl daemon-reload")
    told(workshop.deploy(rig, serving), rf"{unit} exists and was not written by rigwright; .*or move that unit away")
    workshop.on(serving, f"mv {unit} /root/")
    assert converged(workshop, rig, serving)
    assert workshop.on(serving, "systemctl is-active rigwright-demo rigwright-fresh") == "active\nactive"


def test_model_files_of_the_owner_are_moved_or_opened_as_told(workshop, serving):
    """Another file of that name, no model at all, the right one that nobody may read."""
    path = write_tiny_model(workshop.directory / "own.gguf", seed=71)
    rig = workshop.spec(model=str(path))
    workshop.on(serving, f"mkdir {WEIGHTS}/own.gguf")
    told(workshop.deploy(rig, serving), rf"{WEIGHTS}/own\.gguf exists and is no file; move it away")
    workshop.on(serving, f"rmdir {WEIGHTS}/own.gguf; echo no model >{WEIGHTS}/own.gguf")
    told(workshop.deploy(rig, serving), r"exists and is no GGUF file; move it away, it was not touched")
    workshop.on(serving, f"mv {WEIGHTS}/own.gguf /root/")
    assert converged(workshop, rig, serving)
    # The owner puts the same model elsewhere, for himself alone.
    rig = workshop.spec(model=str(path), weights={"directory": "/srv/own"})
    workshop.on(serving, f"install -d -m 755 /srv/own; cp {WEIGHTS}/own.gguf /srv/own/; chmod 600 /srv/own/own.gguf")
    chmod = told(workshop.deploy(rig, serving), r"(/srv/own/own\.gguf) cannot be read .*; (chmod o\+r) it")
    workshop.on(serving, f"{chmod[2]} {chmod[1]}")
    assert converged(workshop, rig, serving)
    # And then another one of that name, which the inventory does not have yet.
    write_tiny_model(path, seed=72)
    refused = workshop.deploy(rig, serving)
    told(refused, r"/srv/own/own\.gguf was there before rigwright and is another file; move it away")
    workshop.on(serving, "mv /srv/own/own.gguf /srv/own/.own.gguf.rigwright /root/")
    assert converged(workshop, rig, serving)


def test_rollback_that_is_refused_is_a_deploy_as_told(workshop, serving):
    """What a release ran with is gone: nothing changes, and the next deploy is what to do."""
    path = write_tiny_model(workshop.directory / "gone.gguf", seed=73)
    rig = workshop.spec(model=str(path))
    assert workshop.deploy(rig, serving).code == 0
    shutil.copy(workshop.directory / "tiny.gguf", path)
    assert converged(workshop, rig, serving)
    workshop.on(serving, f"rm -r {WEIGHTS}/.rigwright")
    before = workshop.on(serving, "systemctl show -P MainPID rigwright-demo")
    refused = workshop.rigwright("rollback", str(workshop.inventory(rig, serving)))
    told(refused, r"demo: gone\.gguf is no longer on this rig as this release had it; deploy what you want instead")
    assert "executed" not in refused.output
    assert workshop.on(serving, "systemctl show -P MainPID rigwright-demo") == before
    assert workshop.deploy(rig, serving).changed == set()


def test_account_of_somebody_else_is_renamed_as_told(workshop, serving):
    """It keeps what it has; ours is made beside it."""
    workshop.on(serving, "usermod -c '' -s /bin/bash rigwright; rm /var/lib/rigwright/account.created")
    advice = r"rename it with (usermod --login) and (groupmod --new-name)"
    login, group = told(workshop.deploy(workshop.spec(context=1024), serving), advice).groups()
    workshop.on(serving, f"{login} ada rigwright; {group} ada rigwright")
    assert converged(workshop, workshop.spec(context=1024), serving)
    assert workshop.on(serving, "getent passwd ada rigwright | cut -d: -f1,5").split("\n") == [
        "ada:",
        "rigwright:Rigwright builds and downloads",
    ]
    built = workshop.spec(context=1024, llamacpp={"archive": "pinned", "cmake_options": {"RIGWRIGHT_TEST": "ada"}})
    assert converged(workshop, built, serving)


def test_failed_start_is_told_with_its_reason_whatever_became_of_the_journal(workshop, serving):
    """The very last line before the end; a journal that keeps nothing, and one that is masked, cost seconds."""
    bad = workshop.spec(context=1024, flags={"--lora": "/none.gguf"})
    reason = re.compile("failed to open.*none.gguf|No such file|/none.gguf")
    assert any(map(reason.search, workshop.deploy(bad, serving).lines))
    conf = "/etc/systemd/journald.conf.d/none.conf"
    stops = (
        f"mkdir -p {conf.rpartition('/')[0]}; printf '[Journal]\\nStorage=none\\n' >{conf};"
        " systemctl restart systemd-journald",
        f"rm {conf}; systemctl mask -q --now systemd-journald.socket systemd-journald-dev-log.socket"
        " systemd-journald.service",
    )
    for stop in stops:
        workshop.on(serving, stop, check=False)
        done = workshop.deploy(bad, serving)
        assert done.code == 1 and done.seconds < 60, done.output
        assert any("the previous release is back and serving" in line for line in done.lines), done.output
