"""`rigwright verify` on a rig where one thing is wrong at a time, and with a model that sees."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from typing import Any, NamedTuple

import pytest

from rigwright.lab.tiny_model import write_tiny_model

from .breakages import HELP
from .conftest import wait_healthy, write_in_parts, write_projector
from .test_hostile_hub import Answer, Host, handler

pytestmark = [pytest.mark.lab, pytest.mark.faults]

NAME = "planted"
REPOSITORY = "unsloth/Qwen3.5-9B-GGUF"
FILE, PROJECTOR = "Qwen3.5-9B-Q4_K_M.gguf", "mmproj-F16.gguf"
SEEN = f"/var/lib/rigwright/weights/{REPOSITORY.replace('/', '--')}"
# other SERVICE SED: it is started anew with a command line that is edited so, from a drop-in.
_OTHER = r"""other() {
    line=$(sed -n '/^ExecStart=/,/[^\\]$/p' "$units/rigwright-$1.service" | tr -d '\\\n')
    printf '[Service]\nExecStart=\n%s\n' "$(echo "$line" | sed -E "$2")" | drop_in "$1"
    systemctl daemon-reload
    systemctl restart "rigwright-$1"
}
# flip FILE: its last byte is another one; its size and its times stay.
flip() {
    cp -p "$1" /root/whole
    last=$(tail -c1 "$1" | od -An -tu1)
    head -c -1 /root/whole >"$1"
    printf "\\$(printf %03o $(((last + 1) % 256)))" >>"$1"
    touch -r /root/whole "$1"
}
# replace FILE: another content, with a stamp that says so, as a deploy that was never switched to.
replace() {
    printf x >>"$1"
    stamp=${1%/*}/.${1##*/}.rigwright
    echo "$(sha256sum <"$1" | cut -d' ' -f1) $(stat -c '%s %Y' "$1") upload" >"$stamp"
}
"""
_SAVE = "mkdir /root/before; cp -a --parents /etc/rigwright /etc/systemd/system /var/lib/rigwright/weights /root/before"
_MEND = """rm -rf /etc/systemd/system/rigwright-*.service.d
cp -a --remove-destination /root/before/. /
systemctl daemon-reload; systemctl reset-failed 'rigwright-*'
systemctl restart rigwright-demo rigwright-sees rigwright-split"""


class Planted(NamedTuple):
    """What is done on the rig, and the check of which service must fail for it, with what in its message."""

    how: str
    check: str
    reason: str
    service: str = "demo"


PLANTED = {
    "flag changed by hand": Planted(
        "sed -i 's/--ctx-size 2048/--ctx-size 1024/' $units/rigwright-demo.service; sign demo\n"
        "systemctl daemon-reload; systemctl restart rigwright-demo",
        "test_process_has_the_planned_flags",
        "'1024' != '2048'",
    ),
    "record edited": Planted(
        """sed -i 's/\\("--ctx-size","value":\\)"2048"/\\1"4096"/' /etc/rigwright/demo.json""",
        "test_process_has_the_planned_flags",
        "'2048' != '4096'",
    ),
    "record of another inventory": Planted(
        """sed -i 's/"owner":"inventory"/"owner":"guests"/' /etc/rigwright/demo.json""",
        "test_plan_says_what_the_inventory_says",
        r"'guests' in \(None, 'inventory'\)",
    ),
    "other port": Planted(
        "other demo 's/--port 8080/--port 9080/'",
        "test_listens_where_it_should_and_nowhere_else",
        r"\('tcp', '127\.0\.0\.1', 9080\)\] == \[\('tcp', '127\.0\.0\.1', 8080\)",
    ),
    "other model": Planted(
        "cp $weights/tiny.gguf $weights/else.gguf; other demo 's/tiny.gguf/else.gguf/'",
        "test_model_file_is_the_planned_one",
        r"else\.gguf has no stamp",
    ),
    "weights replaced, and their stamp": Planted(
        "replace $weights/tiny.gguf", "test_model_file_is_the_planned_one", "RIGWRIGHT_WEIGHTS="
    ),
    "projector replaced, and its stamp": Planted(
        f"replace {SEEN}/{PROJECTOR}", "test_model_file_is_the_planned_one", "RIGWRIGHT_WEIGHTS=", "sees"
    ),
    "projector gone bad": Planted(
        f"flip {SEEN}/{PROJECTOR}", "test_further_files_are_whole", r"'[0-9a-f]{12}\.\.\.[0-9a-f]+' == ", "sees"
    ),
    "part replaced, and its stamp": Planted(
        "replace $weights/split-00002-of-00003.gguf",
        "test_model_file_is_the_planned_one",
        "RIGWRIGHT_WEIGHTS=",
        "split",
    ),
    "part gone bad": Planted(
        "flip $weights/split-00003-of-00003.gguf",
        "test_further_files_are_whole",
        r"'[0-9a-f]{12}\.\.\.[0-9a-f]+' == ",
        "split",
    ),
    "half a projector": Planted(
        f"touch {SEEN}/{PROJECTOR}.part", "test_no_download_is_left_over", f"{PROJECTOR}.part", "sees"
    ),
    "start limit reached": Planted(
        "printf '[Unit]\\nStartLimitIntervalSec=1h\\nStartLimitBurst=1\\n[Service]\\nRestartSec=0\\n' | drop_in demo\n"
        "systemctl daemon-reload; systemctl restart rigwright-demo\n"
        "until systemctl -q is-failed rigwright-demo; do systemctl kill -s KILL rigwright-demo; sleep 0.5; done",
        "test_unit_is_active_and_enabled",
        r"\('failed', 'start-limit-hit'\)|\('failed', 'signal'\)",
    ),
}


@pytest.fixture(scope="module")
def booted(workshop: Any, trixie: Any) -> Iterator[str]:
    """A rig that serves `demo`."""
    yield workshop.boot(NAME, from_snapshot=trixie.snapshot)
    workshop.lab.down([NAME])


@pytest.fixture(scope="module")
def spec(workshop: Any, booted: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A file, three files at every address of both kinds, and a model that sees, from a hub on this machine."""
    folder, host = tmp_path_factory.mktemp("hub"), Host("")
    files = {FILE: write_tiny_model(folder / FILE), PROJECTOR: write_projector(folder / PROJECTOR)}
    for name, path in files.items():
        headers = {"X-Repo-Commit": "1" * 40, "ETag": f'"{name}"'}
        for revision in ("main", "1" * 40):
            host.answers[f"/{REPOSITORY}/resolve/{revision}/{name}"] = Answer(path.read_bytes(), headers=headers)
    server = ThreadingHTTPServer((workshop.host_address, 0), handler(host))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    model = {"model": f"hf:{REPOSITORY}@main:{FILE}", "vision": True}
    sees = {"name": "sees", "port": 8083, "context": 2048, "engine": "llamacpp", **model}
    found = workshop.spec(weights={"hugging_face": f"http://{workshop.host_address}:{server.server_port}"})
    write_in_parts(folder / "split.gguf", parts=3)
    (folder / "key").write_text("sk-geheim-Pl4nt3d\n")
    (folder / "key").chmod(0o600)
    split = {"name": "split", "port": 8084, "context": 2048, "host": "::", "api_key_file": str(folder / "key")}
    split |= {"model": str(folder / "split-00001-of-00003.gguf")}
    yield found | {"services": [*found["services"], sees, split]}
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def rig(workshop: Any, booted: str, spec: dict[str, Any]) -> str:
    """A rig that serves all three."""
    deployed = workshop.deploy(spec, NAME)
    assert deployed.code == 0, deployed.output
    workshop.on(NAME, _SAVE)
    return booted


def verify(workshop: Any, spec: dict[str, Any]) -> tuple[Any, dict[tuple[str, str], Any]]:
    """The outcome, and its rows by check and subject."""
    outcome = workshop.rigwright("verify", str(workshop.inventory(spec, NAME)), "--json")
    return outcome, {(row["check"], row["subject"]): row for row in json.loads(outcome.output)["checks"]}


def test_models_of_several_files_are_served_and_verified(workshop, spec, rig):
    """Parts, a projector of the hub, an address of both kinds; a second deploy changes nothing."""
    assert "--mmproj" in workshop.on(rig, "tr '\\0' ' ' </proc/$(systemctl show -P MainPID rigwright-sees)/cmdline")
    outcome, rows = verify(workshop, spec)
    assert outcome.code == 0, outcome.output
    for check, service in (("further_files_are_whole", "sees"), ("further_files_are_whole", "split")):
        assert rows[f"test_{check}", f"{NAME}-{service}"]["outcome"] == "passed"
    listens = rows["test_listens_where_it_should_and_nowhere_else", f"{NAME}-split"]
    assert listens["outcome"] == "passed"
    assert workshop.deploy(spec, rig).changed == set()


@pytest.mark.parametrize("name", PLANTED)
def test_planted_defect_is_found_by_the_check_for_it(workshop, spec, rig, name):
    """And, once it is mended, no more."""
    one = PLANTED[name]
    workshop.on(rig, HELP + _OTHER + one.how)
    try:
        if "restart" in one.how or "other " in one.how:
            settle(workshop)
        outcome, rows = verify(workshop, spec)
    finally:
        workshop.on(rig, _MEND + f"; rm -f /var/lib/rigwright/weights/else.gguf {SEEN}/*.part; rm -rf /root/kept")
        for port in (8080, 8083, 8084):
            wait_healthy(workshop, rig, port)
    row = rows[one.check, f"{NAME}-{one.service}"]
    assert (outcome.code, row["outcome"]) == (1, "failed")
    assert re.search(one.reason, row["message"]), row["message"]


def test_all_is_well_again(workshop, spec, rig):
    """Nothing of what was planted stays."""
    outcome, _ = verify(workshop, spec)
    assert outcome.code == 0, outcome.output


def settle(workshop: Any) -> None:
    """Wait until the engine listens somewhere, or has failed for good."""
    workshop.on(
        NAME,
        "for n in $(seq 60); do ss -Hltnp | grep -q llama-server && systemctl -q is-active rigwright-demo && break;"
        " systemctl -q is-failed rigwright-demo && break; sleep 0.5; done",
    )
