"""Services of every engine: does each run what is planned and locked, confined, where it should, and in secret?

Run it by hand: pytest --pyargs rigwright.roles.service.verify --rigs INVENTORY
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable

import pytest

from rigwright.verify import drm
from rigwright.verify.cluster import listens_at
from rigwright.verify.subject import NOTED, RigUnderTest, ServiceUnderTest

# Hashing a release for GPUs takes a while from a slow disk.
_HASH_SECONDS = 300
# An engine that systemd started anew within so many seconds is not sound, whatever it answers now.
_SETTLED_SECONDS = 3600
# What an administrator may set beside our unit: when it starts, how much it gets, what it logs.
_HARMLESS = re.compile(
    r"Description|Documentation|After|Before|Wants|Requires|BindsTo|PartOf|RequiresMountsFor|WantsMountsFor|"
    r"Condition\w+|Assert\w+|StartLimit\w+|OnFailure|OnSuccess|Restart\w*|Timeout\w+|WatchdogSec|"
    r"Environment|Nice|OOM\w+|CPU\w+|Memory(?!DenyWriteExecute)\w+|IO\w+|Tasks\w+|Limit\w+|NUMA\w+|AllowedCPUs|"
    r"AllowedMemoryNodes|Slice|Log\w+|Syslog\w+|Standard(Output|Error)"
)
_TUNED = {
    "governor": "cat /sys/devices/system/cpu/cpufreq/policy*/scaling_governor",
    "swappiness": "cat /proc/sys/vm/swappiness",
}
_LOADER = re.compile(r"\bLD_\w+=")


def test_nothing_is_orphaned(rig: RigUnderTest, record_property: Callable[[str, object], None]) -> None:
    """Each of our units on the rig is that of a service of the inventory, or its record says of which other one."""
    wished = {wish.name for wish in rig.spec.services}
    absent = {name: rig.owner_of(name) for name in rig.names if name.partition("@")[0] not in wished}
    others = {name: owner for name, owner in absent.items() if owner and owner not in rig.spec.owners}
    for name, owner in others.items():
        record_property(NOTED, f"rigwright-{name}.service is of the inventory {owner}; verify it with that one")
    assert [name for name in absent if name not in others] == []


def test_machine_is_tuned(rig: RigUnderTest, record_property: Callable[[str, object], None]) -> None:
    """What plans asked of the machine itself is set, or was left to its owner, and will be after a boot."""
    wanted = rig.host.run("cat /etc/rigwright/tuning")
    if wanted.rc:
        return
    unit = "rigwright.tuning.service"
    state = rig.host.run("systemctl is-active %s; systemctl is-enabled %s", unit, unit).stdout.split()
    assert state == ["active", "enabled"], f"{unit} is {' and '.join(state)}; deploy again"
    applied = dict(row.split() for row in rig.host.check_output("cat /run/rigwright.tuning/applied").splitlines())
    for name, value in (row.split() for row in wanted.stdout.splitlines()):
        if applied.get(name) == "-":
            record_property(NOTED, f"{name} is as the owner of the machine has it, see journalctl -u {unit}")
            continue
        now = set(rig.host.check_output(_TUNED[name]).split())
        assert now == {value}, f"{name} is {' and '.join(sorted(now))}, not {value}; deploy again"


def test_unit_is_active_and_enabled(served: ServiceUnderTest) -> None:
    """The service runs now and will after a reboot."""
    assert served.is_deployed, f"{served.name} is not on {served.rig.name}; deploy it: pyinfra INVENTORY deploy.py"
    assert (served.properties["ActiveState"], served.properties["Result"]) == ("active", "success")
    assert served.properties["UnitFileState"] == "enabled"


def test_process_was_not_started_anew(served: ServiceUnderTest) -> None:
    """The engine does not crash again and again: systemd did not start it anew within the last hour."""
    uptime = float(served.host.check_output("cat /proc/uptime").split()[0])
    runs_seconds = uptime - int(served.properties["ExecMainStartTimestampMonotonic"]) / 1e6
    restarts = int(served.properties["NRestarts"])
    assert restarts == 0 or runs_seconds > _SETTLED_SECONDS, (
        f"started anew {restarts} times, see journalctl -u {served.unit}; an hour without one clears it, "
        f"or systemctl reset-failed {served.unit}"
    )


def test_watch_is_on_and_had_nothing_to_restart(served: ServiceUnderTest) -> None:
    """Who looks after the service is on where the inventory wants it, and restarted nothing within the last hour."""
    state = served.host.run("systemctl is-active %s", f"rigwright.watch.{served.name}.timer").stdout.strip()
    wanted = bool(served.wish.watch_seconds or served.cluster)
    assert (state == "active") == wanted, f"rigwright.watch.{served.name}.timer is {state}"
    found = served.host.run("cat -- %s", f"/var/lib/rigwright/services/{served.name}/restarts").stdout.split()
    now = int(served.host.check_output("date +%s"))
    restarts = [one for one in found if one.isdecimal() and now - int(one) < _SETTLED_SECONDS]
    assert restarts == [], (
        f"it gave no answer and was restarted {len(restarts)} times, see journalctl -u rigwright.watch.{served.name}; "
        "an hour without one clears it"
    )


def test_unit_file_is_as_written(served: ServiceUnderTest) -> None:
    """The unit file is the one that was deployed, unedited, and systemd and the process were started from it."""
    assert served.properties["FragmentPath"] == served.unit_file
    text = served.host.check_output("cat -- %s", served.unit_file)
    head, _, rest = text.partition("\n")[2].partition("\n")
    digest = served.host.check_output("tail -n +3 -- %s | sha256sum", served.unit_file).split()[0]
    assert head == f"# sha256 of the rest: {digest}"
    assert served.properties["NeedDaemonReload"] == "no", "changed since systemd read it"
    marker = re.search(r"^Environment=(RIGWRIGHT_UNIT=\w+)$", rest, re.MULTILINE)
    assert marker and marker[1] in served.environment


def test_drop_ins_change_nothing_that_matters(served: ServiceUnderTest) -> None:
    """What lies beside the unit opens no network, and changes neither the program nor its user nor its sandbox."""
    paths = served.properties["DropInPaths"].split()
    if not paths:
        return
    text = served.host.check_output("cat -- " + "%s " * len(paths), *paths).replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if "=" in line and line.strip()[0] not in "#;"]
    assert [line for line in lines if not _is_harmless(line)] == []


def _is_harmless(setting: str) -> bool:
    return bool(_HARMLESS.fullmatch(setting.partition("=")[0].strip())) and not _LOADER.search(setting)


def test_no_switch_is_unfinished(served: ServiceUnderTest) -> None:
    """Nothing is left of a switch that was cut, and what a rollback would bring back is there."""
    state, links = (f"{place}/services/{served.name}" for place in ("/var/lib/rigwright", "/opt/rigwright"))
    assert served.host.check_output("find -H %s -name 'running*' -o -name '*.rigwright-new'", state) == ""
    dangling = served.host.check_output("find -H %s -xtype l", links)
    assert dangling == ""


def test_release_is_as_built(served: ServiceUnderTest) -> None:
    """Each file of the release has the sum that was noted when it was built; none was added, none is missing."""
    noted = served.host.run("cat -- %s", f"{served.release}/sums.txt")
    if noted.rc:
        pytest.skip("this release was built before sums were noted")
    sums = "cd -- %s && find . ! -type d ! -path './.*' ! -name sums.txt -exec sha256sum {} +"
    found = served.host.check_output(sums, served.release, limit_seconds=_HASH_SECONDS)
    other = set(noted.stdout.splitlines()) ^ set(found.splitlines())
    assert sorted({line.partition("  ")[2] for line in other}) == []


def test_process_has_the_planned_flags(served: ServiceUnderTest) -> None:
    """The command line and the environment of the running process are the plan's, word for word."""
    assert served.argv == served.planned
    template = served.flag("--chat-template-file") if "--chat-template-file" in served.planned else ""
    if template.startswith("/etc/rigwright/templates/"):
        digest = served.host.check_output("sha256sum -- %s", template)
        assert digest[:16] == template.rpartition("/")[2].removesuffix(".jinja"), f"{template} was changed"
    assert {f"{name}={value}" for name, value in served.replica["environment"]} <= set(served.environment)


def test_process_keeps_to_the_planned_cpus(
    served: ServiceUnderTest, record_property: Callable[[str, object], None]
) -> None:
    """A process that is planned near its GPUs runs on the CPUs of their NUMA node."""
    planned = _cpus(served.replica.get("cpus", ""))
    if not planned:
        return
    there = _cpus(served.host.check_output("cat /sys/devices/system/cpu/online"))
    assert planned & there, f"the rig has none of the CPUs {served.replica['cpus']} now; deploy again"
    if _cpus(served.host.check_output("systemctl show -P AllowedCPUs -- %s", served.unit)) != planned:
        record_property(NOTED, f"{served.unit} runs on other CPUs than planned, by a drop-in")
    elif "cpuset" not in served.host.run("cat /sys/fs/cgroup/cgroup.controllers").stdout.split():
        record_property(NOTED, f"the control groups of this rig keep {served.unit} to no CPUs")
    else:
        assert _cpus(served.status["Cpus_allowed_list"]) == planned & there


def _cpus(text: str) -> set[int]:
    """`0-3,8` and `0-3 8` as numbers."""
    ends = [part.split("-") for part in re.split(r"[,\s]+", text.strip()) if part]
    return {number for part in ends for number in range(int(part[0]), int(part[-1]) + 1)}


def test_plan_says_what_the_inventory_says(served: ServiceUnderTest) -> None:
    """The recorded plan is one for the inventory as it is now."""
    wish, plan = served.wish, served.plan
    owner, replicas = plan.get("owner"), plan["replicas"]
    assert owner in (None, *served.rig.spec.owners), f"it is of the inventory {owner}"
    assert wish.engine in ("auto", plan["engine"]), _otherwise("engine", plan["engine"], wish.engine)
    assert replicas[0]["port"] == wish.port, _otherwise("port", replicas[0]["port"], wish.port)
    assert wish.replicas in (None, len(replicas)), _otherwise("replicas", len(replicas), wish.replicas)
    # A name of the catalogue leaves the file to the plan.
    source = plan["source"] or {}
    if wish.model.names_file:
        named = (source.get(key) for key in ("path", "path_on_rig", "url", "file"))
        file = next(filter(None, named), "").rstrip("/").rpartition("/")[2]
        assert file.startswith(wish.model.file_name), _otherwise("model", file, wish.model.file_name)
    slots = plan["slots"]
    is_slots = wish.slots is None or "--parallel" in wish.flags or slots == wish.slots
    assert is_slots, _otherwise("slots", slots, wish.slots)
    # llama.cpp rounds a context up to whole blocks of 256 tokens.
    planned_by_us = wish.context is not None and "--ctx-size" not in wish.flags
    rounded = (wish.context, -(-(wish.context or 0) // 256) * 256)
    is_context = not planned_by_us or plan["context_tokens"] in rounded
    assert is_context, _otherwise("context", plan["context_tokens"], wish.context)


def _otherwise(key: str, deployed: object, wished: object) -> str:
    return f"{key}: {deployed} was deployed, the inventory says {wished}; deploy again to have it"


def test_runs_what_is_locked(served: ServiceUnderTest) -> None:
    """A rig with an entry in the lock file runs its flags, on its GPUs, with the files that it names."""
    if served.locked is None or served.cluster:
        pytest.skip("this rig has no lock, or serves it together with others")
    assert served.wish.name in served.locked["services"]
    pinned = served.locked["services"][served.wish.name]
    replica = pinned["replicas"][served.number]
    words = [word for words in pinned["flags"] for word in words.split(" ", 1)]
    if "--port" in words:
        words[words.index("--port") + 1] = str(replica["port"])
    assert served.argv == served.filled_in(words)
    assert {f"{key}={value}" for key, value in replica["environment"].items()} <= set(served.environment)
    if not (given := served.given_model):
        return
    # The first file of a whole repository, whose directory it is given, is its config.json.
    is_whole = pinned["model"]["files"][:1] and pinned["model"]["files"][0]["name"] == "config.json"
    directory = given if is_whole else given.rpartition("/")[0]
    for file in pinned["model"]["files"]:
        name = file["name"].rpartition("/")[2]
        stamp = served.host.check_output("cat -- %s", f"{directory}/.{name}.rigwright").split()
        assert file.get("sha256") in (None, stamp[0])


def test_process_runs_the_current_release(served: ServiceUnderTest) -> None:
    """The program of the process lies in the release that the link of its instance names, or it works there."""
    assert served.program.startswith(f"{served.release}/") or served.directory == served.release


def test_process_is_not_root(served: ServiceUnderTest) -> None:
    """The engine runs as an account without rights."""
    assert served.status["Uid"].split()[0] != "0"
    assert int(served.status["CapEff"], 16) == 0
    assert served.status["NoNewPrivs"] == "1"


def test_unit_file_is_sound(served: ServiceUnderTest) -> None:
    """systemd finds nothing wrong with the unit, and little that the service could harm."""
    verify = served.host.run("systemd-analyze verify %s", served.unit_file)
    assert (verify.rc, verify.stderr) == (0, "")
    score = served.host.check_output("systemd-analyze security --no-pager %s | tail -n1", served.unit)
    found = re.search(r"([\d.]+) \w+", score)
    assert found and float(found[1]) <= 2.0


def test_listens_where_it_should_and_nowhere_else(served: ServiceUnderTest) -> None:
    """This process listens on the planned address and port, and nowhere else; nobody else has that port."""
    if served.cluster and served.cluster.rank:
        pytest.skip("another rig of its cluster answers the requests of this service")
    rows = [row.split() for row in served.host.check_output("ss -Hlntup").splitlines()]
    own = [(row[0], *_place(row[4])) for row in rows if f"pid={served.pid}," in row[-1]]
    planned = ("tcp", str(listens_at(served.wish.host, served.cluster)), served.port)
    assert own == [planned]
    others = [row[4] for row in rows if row[0] == "tcp" and _place(row[4])[1] == served.port]
    assert len(others) == 1


def _place(address: str) -> tuple[str, int]:
    """The address and the port of a row of `ss`, which writes `*` for all addresses of both kinds."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]").partition("%")[0]
    return "::" if host == "*" else str(ipaddress.ip_address(host)), int(port)


def test_keys_stay_secret(served: ServiceUnderTest) -> None:
    """No API key shows in the process list, its environment, the unit, the plan or the journal."""
    if not served.wish.api_key_file:
        words = [word.partition("=")[0] for word in (*served.argv, *served.environment)]
        assert [word for word in words if "api-key" in word or "API_KEY" in word] == []
        pytest.skip("this service has no API keys")
    path = f"/etc/rigwright/{served.wish.name}.key"
    file = served.host.file(path)
    assert (file.mode, file.user) == (0o600, "root")
    places = [f"/proc/{served.pid}/cmdline", f"/proc/{served.pid}/environ", served.unit_file]
    places.append(f"/etc/rigwright/{served.name}.json")
    found = served.host.run("grep -laFf %s -- " + "%s " * len(places), path, *places)
    assert (found.rc, found.stdout) == (1, "")
    logged = served.host.run("journalctl -u %s -o cat --no-pager | grep -caFf %s", served.unit, path)
    assert (logged.rc, logged.stdout.strip()) == (1, "0")


def test_gpus_are_used_when_planned(served: ServiceUnderTest) -> None:
    """A plan for GPUs has the process on them: an engine may fall back to the CPU and still report health."""
    gpus = served.replica["gpus"]
    if not gpus:
        assert served.plan["device"] == "CPU"
        pytest.skip("this service is planned on the CPU")
    if nodes := served.replica.get("device_files"):
        said = "".join(served.host.run(drm.QUESTION, str(pid), str(pid)).stdout for pid in served.pids)
        idle = drm.idle(nodes, said)
        assert idle == [], f"{served.unit} has nothing on {', '.join(idle)}: does the CPU serve?"
        return
    asked = served.host.run("nvidia-smi --query-compute-apps=pid,gpu_uuid --format=csv,noheader")
    assert asked.rc == 0, f"no driver answers: {(asked.stdout + asked.stderr).strip()[:200]}"
    rows = {row.partition(", ")[2] for row in asked.stdout.splitlines() if int(row.split(",")[0]) in served.pids}
    idle = [gpu["uuid"] for gpu in gpus if gpu["uuid"] not in rows]
    assert idle == [], f"{served.unit} has nothing on {', '.join(idle)}: does the CPU serve? see rigwright driver"
