"""`rigwright verify` on a rig where something is broken for each check, mended again, empty, or not reached."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from .breakages import BESIDE, BREAKAGES, HELP, KEY, MEND, SERVICES, STARTED, UUID, Breakage, script
from .conftest import wait_healthy, write_in_parts

pytestmark = pytest.mark.lab

CAPTURE = Path(__file__).parents[1] / "captures" / "2x3090-nvlink-x299-lxc"
NAME = "checked"
# Nothing listens there: the port is kept for `discard`.
GONE = {"ssh_hostname": "127.0.0.1", "ssh_port": 9, "ssh_user": "root"}
REFUSED = (
    "ssh: connect to host 127.0.0.1 port 9: Connection refused; "
    "start sshd on the rig, or correct ssh_hostname and ssh_port"
)  # fmt: skip
NO_DRIVER = "this rig has no GPU of NVIDIA's"
# What no recording of a machine has: the processes on its GPUs.
SAID = "/usr/lib/rigwright-lab/machine/apps.txt"
APPS = (
    "printf 'nvidia-smi --query-compute-apps=pid,gpu_uuid --format=csv,noheader\\tapps.txt\\t0\\n'"
    f" >>/usr/lib/rigwright-lab/answers.tsv; : >{SAID}"
)

Rows = dict[tuple[str, str], dict[str, Any]]


@dataclass(frozen=True)
class Checked:
    """The rows of two runs, by check and subject, and what the first one printed."""

    broken: Rows
    mended: Rows
    code: int
    output: str


def model_of(directory: Path, service: str) -> Path:
    """The file that a service is of, the first one of three."""
    names = {"demo": "tiny", "split": "split-00001-of-00003"}
    return directory / f"{names.get(service, service)}.gguf"


@pytest.fixture(scope="module")
def shop(workshop: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A directory of its own, with a lock file, a key, and a model for each service."""
    directory = tmp_path_factory.mktemp("checked")
    for service in SERVICES:
        if service != "split":
            shutil.copy(workshop.directory / "tiny.gguf", model_of(directory, service))
    write_in_parts(directory / "split.gguf", parts=3)
    assert model_of(directory, "split").exists()
    key = directory / "key"
    key.write_text(f"{KEY}\n")
    key.chmod(0o600)
    return type(workshop)(workshop.lab, directory)


def spec(shop: Any, **changes: dict[str, Any]) -> dict[str, Any]:
    """The `rig` data, with changes to some services."""
    rows = []
    for service, (port, has_key) in SERVICES.items():
        row = {"name": service, "port": port, "context": 2048, "model": str(model_of(shop.directory, service))}
        row |= {"engine": "llamacpp", "host": "::" if service == "split" else "127.0.0.1"}
        keys = {"api_key_file": str(shop.directory / "key")} if has_key else {}
        rows.append(row | keys | changes.get(service, {}))
    return {"services": rows, "llamacpp": {"archive": "pinned", "backend": "cpu"}}


@pytest.fixture(scope="module")
def rig(shop: Any, trixie: Any) -> Iterator[str]:
    """A rig of several services as the lock file says, with GPUs that none of them uses."""
    shop.boot(NAME, from_snapshot=trixie.snapshot, hardware=str(CAPTURE))
    shop.on(NAME, APPS)
    planned = shop.rigwright("plan", str(shop.inventory(spec(shop), NAME)), "--write")
    assert planned.code == 0, planned.output
    deployed = shop.deploy(spec(shop), NAME)
    assert deployed.code == 0, deployed.output
    yield NAME
    shop.lab.down([NAME])


def verify(shop: Any, rig: dict[str, Any]) -> tuple[Any, Rows]:
    """The outcome of a run, and its rows."""
    outcome = shop.rigwright("verify", str(shop.inventory(rig, NAME)), "--json")
    found = json.loads(outcome.output)
    rows = {(row["check"], row["subject"]): row for row in found["checks"]}
    assert len(rows) == len(found["checks"]) == sum(found[name] for name in ("passed", "failed", "skipped"))
    return outcome, rows


@pytest.fixture(scope="module")
def checked(shop: Any, rig: str) -> Checked:
    """Everything is broken at once and looked at, then mended and looked at again."""
    lock = shop.directory / "inventory.lock.yml"
    text = lock.read_text()
    data = yaml.safe_load(text)
    flags = data["rigs"][rig]["services"]["edited"]["flags"]
    flags[:] = ["--threads 77" if flag.startswith("--threads ") else flag for flag in flags]
    lock.write_text(yaml.safe_dump(data))
    restart = "systemctl daemon-reload; systemctl restart rigwright-demo rigwright-restarted rigwright-garbage\n"
    shop.on(rig, script(STARTED) + restart)
    shop.on(rig, script(BESIDE))
    # This one is on its GPU, as it is planned.
    shop.on(rig, f'{HELP}on_gpu demo {UUID}; echo "$(systemctl show -P MainPID rigwright-demo), {UUID}" >{SAID}')
    for service in ("demo", "edited"):
        wait_healthy(shop, rig, SERVICES[service][0])
    outcome, broken = verify(shop, spec(shop, edited={"context": 1024}))
    shop.on(rig, "set -e\n" + "".join(f"{one.mend}\n" for one in BREAKAGES) + MEND)
    lock.write_text(text)
    for port, _ in SERVICES.values():
        wait_healthy(shop, rig, port)
    return Checked(broken, verify(shop, spec(shop))[1], outcome.code, outcome.output)


def row_of(breakage: Breakage) -> tuple[str, str]:
    return breakage.check, f"{NAME}-{breakage.service}" if breakage.service else NAME


@pytest.mark.parametrize("breakage", BREAKAGES, ids=str)
def test_check_fails_for_its_reason_and_passes_again(breakage: Breakage, checked: Checked) -> None:
    """What is broken is said; where it is mended, nothing is said."""
    row = checked.broken[row_of(breakage)]
    assert row["outcome"] == "failed"
    assert re.search(breakage.reason, row["message"]), row["message"]
    assert checked.mended[row_of(breakage)]["outcome"] in ("passed", "skipped")


def test_no_other_check_fails(checked: Checked) -> None:
    """Services do not answer for each other; a key is not in what is said of it."""
    failed = {key for key, row in checked.broken.items() if row["outcome"] == "failed"}
    assert failed == {row_of(breakage) for breakage in BREAKAGES}
    assert checked.code == 1 and KEY not in checked.output
    assert checked.broken["test_gpus_are_used_when_planned", f"{NAME}-demo"]["outcome"] == "passed"


def test_mended_rig_passes_and_skips_what_it_has_not(checked: Checked) -> None:
    """A check without anything to check says why, and is counted."""
    outcomes = Counter(row["outcome"] for row in checked.mended.values())
    skipped = {key: row["message"] for key, row in checked.mended.items() if row["outcome"] == "skipped"}
    expected = {
        ("test_gpus_are_used_when_planned", f"{NAME}-{service}"): "this service is planned on the CPU"
        for service in SERVICES
    }
    open_thinking = "the inventory leaves thinking open, or to flags of its own"
    expected |= {("test_thinks_as_wished", f"{NAME}-{service}"): open_thinking for service in SERVICES}
    for service in SERVICES:
        if service != "split":
            expected["test_further_files_are_whole", f"{NAME}-{service}"] = "this model is one file"
    for service, (_, has_key) in SERVICES.items():
        if not has_key:
            for check in ("test_keys_stay_secret", "test_asks_for_the_key"):
                expected[check, f"{NAME}-{service}"] = "this service has no API keys"
    expected["test_device_files_are_there", NAME] = NO_DRIVER
    assert skipped == expected
    assert outcomes["failed"] == 0 and outcomes["passed"] == len(checked.mended) - len(expected)


def test_an_engine_that_hangs_is_one_failure_in_seconds(shop: Any, rig: str, checked: Checked) -> None:
    """Its health is asked once, with a limit; what else would wait for it is skipped and says why."""
    shop.on(rig, "systemctl kill -s STOP rigwright-demo")
    outcome, rows = verify(shop, spec(shop))
    shop.on(rig, "systemctl kill -s CONT rigwright-demo")
    assert outcome.seconds < 90
    why = "/health was not answered within 10 s"
    asked = {"test_is_healthy", "test_release_is_the_wanted_source", "test_completes_a_chat"}
    asked |= {"test_props_agree_with_the_plan", "test_metrics_are_served"}
    said = {
        check: (row["outcome"], row["message"])
        for (check, subject), row in rows.items()
        if subject == f"{NAME}-demo" and why in (row["message"] or "")
    }
    assert set(said) == asked
    assert said.pop("test_is_healthy") == ("failed", f"Failed: {why}")
    assert set(said.values()) == {("skipped", f"not asked: {why}")}
    assert [key for key, row in rows.items() if row["outcome"] == "failed"] == [("test_is_healthy", f"{NAME}-demo")]


def test_neither_a_proxy_nor_settings_of_the_rig_have_a_say(shop: Any, rig: str, checked: Checked) -> None:
    """The rig's environment names a proxy, root's curl settings name another: no key goes there."""
    proxy = "http://127.0.0.1:9556"
    listen = (
        "import socket; s = socket.create_server(('127.0.0.1', 9556))\nwhile True: s.accept(); open('/tmp/asked', 'w')"
    )
    shop.on(
        rig,
        f"printf 'http_proxy={proxy}\\nALL_PROXY={proxy}\\n' >>/etc/environment\n"
        f"printf 'proxy = {proxy}\\ninclude\\n' >/root/.curlrc\n"
        f"cat >/root/proxy.py <<'END'\n{listen}\nEND\nsystemd-run -q --unit=proxy python3 /root/proxy.py",
    )
    outcome, _ = verify(shop, spec(shop))
    assert outcome.code == 0, outcome.output
    assert shop.on(rig, "ls /tmp/asked", check=False) == ""
    shop.on(rig, "systemctl stop proxy; rm /root/.curlrc /root/proxy.py; sed -i /9556/d /etc/environment")


def test_rig_without_services_is_checked_for_the_rest_beside_one_out_of_reach(shop: Any, rig: str) -> None:
    """What needs a service is skipped and counted; the rig that is not there is one line, and fails the run."""
    empty = {"services": [], "llamacpp": {"archive": "pinned", "backend": "cpu"}}
    (shop.directory / "inventory.lock.yml").unlink()
    removed = shop.deploy(empty | {"remove_orphans": True}, rig)
    assert removed.code == 0, removed.output
    outcome, rows = verify(shop, empty)
    assert outcome.code == 0
    of_rig = {breakage.check for breakage in BREAKAGES if breakage.service is None}
    assert {check for (check, _), row in rows.items() if row["outcome"] == "passed"} == of_rig
    rest = {row["message"] for (check, _), row in rows.items() if check not in of_rig}
    assert rest == {"this rig has no service", NO_DRIVER}

    # As on a distribution with dnf.
    shop.on(rig, "mv /usr/bin/dpkg /usr/bin/dpkg.aside")
    path = shop.inventory(empty, rig)
    path.write_text(f"{path.read_text()}rigs[0].append(('gone', {GONE}))\n")
    both = shop.rigwright("verify", str(path))
    assert both.code == 1
    assert [line for line in both.output.splitlines() if "gone" in line] == [f"gone: unreachable: {REFUSED}"]
    passed = len(of_rig) - 1
    assert both.output.splitlines()[-1] == f"verify: {passed} passed, 1 failed, {len(rows) - passed} skipped"


def test_rig_out_of_reach_is_one_line_and_a_failure(workshop: Any, tmp_path: Path) -> None:
    """For a person and for a machine."""
    path = tmp_path / "gone.py"
    path.write_text(f"rigs = ([('gone', {GONE})], {{'rig': {{'services': []}}}})\n")
    outcome = workshop.rigwright("verify", str(path))
    assert (outcome.code, outcome.output) == (1, f"Error: gone: unreachable: {REFUSED}\n")
    outcome = workshop.rigwright("verify", str(path), "--json")
    found = json.loads(outcome.output)
    assert (outcome.code, found["failed"], found["passed"], found["skipped"]) == (1, 1, 0, 0)
    assert [(row["check"], row["subject"], row["message"]) for row in found["checks"]] == [
        ("reachable", "gone", REFUSED)
    ]
