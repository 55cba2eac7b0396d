"""Services of every engine: does each run what is planned and locked, confined, where it should, and in secret?

Run it by hand: pytest --pyargs rigwright.roles.service.verify --rigs INVENTORY
"""

from __future__ import annotations

import re

import pytest

from rigwright.verify.subject import RigUnderTest, ServiceUnderTest


def test_nothing_is_orphaned(rig: RigUnderTest) -> None:
    """Each of our units on the rig is that of a service of the inventory."""
    wished = {wish.name for wish in rig.spec.services}
    assert [name for name in rig.names if name.partition("@")[0] not in wished] == []


def test_unit_is_active_and_enabled(served: ServiceUnderTest) -> None:
    """The service runs now and will after a reboot."""
    unit = served.host.service(served.unit)
    assert unit.is_running
    assert unit.is_enabled


def test_unit_file_is_as_written(served: ServiceUnderTest) -> None:
    """The unit file is the one that was deployed, unedited, and the process was started from it."""
    text = served.host.file(f"/etc/systemd/system/{served.unit}").content_string
    head, _, rest = text.partition("\n")[2].partition("\n")
    digest = served.host.check_output("tail -n +3 %s | sha256sum", f"/etc/systemd/system/{served.unit}").split()[0]
    assert head == f"# sha256 of the rest: {digest}"
    marker = re.search(r"^Environment=(RIGWRIGHT_UNIT=\w+)$", rest, re.MULTILINE)
    assert marker and marker[1] in served.environment


def test_process_has_the_planned_flags(served: ServiceUnderTest) -> None:
    """The command line and the environment of the running process are the plan's, word for word."""
    assert served.argv == served.planned
    assert {f"{name}={value}" for name, value in served.replica["environment"]} <= set(served.environment)


def test_plan_says_what_the_inventory_says(served: ServiceUnderTest) -> None:
    """The recorded plan is one for the inventory as it is now."""
    wish = served.wish
    assert wish.engine in ("auto", served.plan["engine"])
    assert served.plan["replicas"][0]["port"] == wish.port
    assert wish.replicas in (None, len(served.plan["replicas"]))
    # A name of the catalogue leaves the file to the plan.
    source = served.plan["source"] or {}
    if wish.model.is_chosen:
        file = source.get("path") or source.get("url") or source.get("file") or ""
        assert file.rpartition("/")[2].startswith(wish.model.file_name)
    assert wish.slots is None or "--parallel" in wish.flags or served.plan["slots"] == wish.slots
    # llama.cpp rounds a context up to whole blocks of 256 tokens.
    planned_by_us = wish.context is not None and "--ctx-size" not in wish.flags
    rounded = (wish.context, -(-(wish.context or 0) // 256) * 256)
    assert not planned_by_us or served.plan["context_tokens"] in rounded


def test_runs_what_is_locked(served: ServiceUnderTest) -> None:
    """A rig with an entry in the lock file runs its flags, on its GPUs, with the files that it names."""
    if served.locked is None:
        pytest.skip("this rig has no lock")
    assert served.wish.name in served.locked["services"]
    pinned = served.locked["services"][served.wish.name]
    replica = pinned["replicas"][served.number]
    words = [word for words in pinned["flags"] for word in words.split(" ", 1)]
    if "--port" in words:
        words[words.index("--port") + 1] = str(replica["port"])
    assert served.argv == served.filled_in(words)
    assert {f"{key}={value}" for key, value in replica["environment"].items()} <= set(served.environment)
    if "--model" not in served.argv:
        return
    directory = served.flag("--model").rpartition("/")[0]
    for file in pinned["model"]["files"]:
        name = file["name"].rpartition("/")[2]
        stamp = served.host.file(f"{directory}/.{name}.rigwright").content_string.split()
        assert file.get("sha256") in (None, stamp[0])


def test_process_runs_the_current_release(served: ServiceUnderTest) -> None:
    """The program of the process lies in the release that the link of its instance names, or it works there."""
    release = served.host.check_output("readlink %s", f"/opt/rigwright/services/{served.name}/current")
    program, directory = (served.host.check_output(f"readlink /proc/{served.pid}/{one}") for one in ("exe", "cwd"))
    assert program.startswith(f"{release}/") or directory == release


def test_process_is_not_root(served: ServiceUnderTest) -> None:
    """The engine runs as an account without rights."""
    status = served.host.check_output(f"grep -E '^(Uid|CapEff|NoNewPrivs):' /proc/{served.pid}/status")
    fields = dict(line.split(":\t", 1) for line in status.splitlines())
    assert fields["Uid"].split()[0] != "0"
    assert int(fields["CapEff"], 16) == 0
    assert fields["NoNewPrivs"] == "1"


def test_unit_file_is_sound(served: ServiceUnderTest) -> None:
    """systemd finds nothing wrong with the unit, and little that the service could harm."""
    verify = served.host.run("systemd-analyze verify %s", f"/etc/systemd/system/{served.unit}")
    assert (verify.rc, verify.stderr) == (0, "")
    score = served.host.check_output("systemd-analyze security --no-pager %s | tail -n1", served.unit)
    found = re.search(r"([\d.]+) \w+", score)
    assert found and float(found[1]) <= 2.0


def test_listens_where_it_should_and_nowhere_else(served: ServiceUnderTest) -> None:
    """The port is open on the planned address alone, and it is this process that listens there."""
    rows = served.host.check_output("ss -Hltnp %s", f"sport = :{served.port}").splitlines()
    addresses = {row.split()[3].rpartition(":")[0].strip("[]") for row in rows}
    assert addresses == {served.wish.host}
    assert all(f"pid={served.pid}," in row for row in rows)


def test_keys_stay_secret(served: ServiceUnderTest) -> None:
    """No API key shows in the process list, its environment, the unit, the plan or the journal."""
    if not served.wish.api_key_file:
        words = [word.partition("=")[0] for word in (*served.argv, *served.environment)]
        assert [word for word in words if "api-key" in word or "API_KEY" in word] == []
        pytest.skip("this service has no API keys")
    path = f"/etc/rigwright/{served.wish.name}.key"
    file = served.host.file(path)
    assert (file.mode, file.user) == (0o600, "root")
    process = f"/proc/{served.pid}/cmdline /proc/{served.pid}/environ"
    places = f"{process} /etc/systemd/system/{served.unit} /etc/rigwright/{served.name}.json"
    found = served.host.run(f"grep -laFf {path} {places}")
    assert (found.rc, found.stdout) == (1, "")
    logged = served.host.run(f"journalctl -u {served.unit} -o cat --no-pager | grep -caFf {path}")
    assert (logged.rc, logged.stdout.strip()) == (1, "0")


def test_gpus_are_used_when_planned(served: ServiceUnderTest) -> None:
    """A plan for GPUs has the process on them: an engine may fall back to the CPU and still report health."""
    gpus = served.replica["gpus"]
    if not gpus:
        assert served.plan["device"] == "CPU"
        pytest.skip("this service is planned on the CPU")
    rows = served.host.check_output("nvidia-smi --query-compute-apps=pid,gpu_uuid --format=csv,noheader").splitlines()
    for gpu in gpus:
        assert f"{served.pid}, {gpu['uuid']}" in rows
