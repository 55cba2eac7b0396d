"""llama.cpp: does each service run the planned release with the planned flags, and does it answer?

Run it by hand: pytest --pyargs rigwright.roles.llamacpp.verify --rigs INVENTORY
"""

from __future__ import annotations

import hashlib
import json
import re

from rigwright.verify.subject import ServiceUnderTest


def test_unit_is_active_and_enabled(served: ServiceUnderTest) -> None:
    """The service runs now and will after a reboot."""
    unit = served.host.service(served.wish.unit)
    assert unit.is_running
    assert unit.is_enabled


def test_process_has_the_planned_flags(served: ServiceUnderTest) -> None:
    """The command line of the running process is the plan's, word for word."""
    assert served.argv == served.planned


def test_plan_says_what_the_inventory_says(served: ServiceUnderTest) -> None:
    """The recorded plan is one for the inventory as it is now."""
    wish = served.wish
    assert served.plan["engine"] == "llamacpp" and wish.engine in ("auto", "llamacpp")
    assert served.flag("--port") == str(wish.port)
    assert served.flag("--host") == wish.host
    # A name of the catalogue leaves the file to the plan.
    assert not wish.model.is_chosen or served.flag("--model").endswith("/" + wish.model.file_name)
    assert wish.slots is None or "--parallel" in wish.flags or served.plan["slots"] == wish.slots
    # llama.cpp rounds a context up to whole blocks of 256 tokens.
    planned_by_us = wish.context is not None and "--ctx-size" not in wish.flags
    assert not planned_by_us or -(-(wish.context or 0) // 256) * 256 == served.plan["context_tokens"]


def test_runs_what_is_locked(served: ServiceUnderTest) -> None:
    """A rig with an entry in the lock file runs its flags, on its GPUs, with the files that it names."""
    if served.locked is None:
        return
    pinned = served.locked["services"][served.wish.name]
    words = [word for words in pinned["flags"] for word in words.split(" ", 1)]
    assert served.argv == served.filled_in(words)
    environment = served.host.check_output(f"tr '\\0' '\\n' </proc/{served.pid}/environ").splitlines()
    expected = {f"{key}={value}" for key, value in pinned["replicas"][0]["environment"].items()}
    assert expected <= set(environment)
    directory = served.flag("--model").rpartition("/")[0]
    for file in pinned["model"]["files"]:
        name = file["name"].rpartition("/")[2]
        stamp = served.host.file(f"{directory}/.{name}.rigwright").content_string.split()
        assert file.get("sha256") in (None, stamp[0])


def test_process_runs_the_current_release(served: ServiceUnderTest) -> None:
    """The program of the process lies in the release that the service's link names."""
    release = served.host.check_output(f"readlink /opt/rigwright/services/{served.wish.name}/current")
    assert served.host.check_output(f"readlink /proc/{served.pid}/exe") == f"{release}/bin/llama-server"
    assert json.loads(served.host.file(f"{release}/release.json").content_string)["id"] == release.rsplit("/", 1)[-1]


def test_release_is_the_wanted_source(served: ServiceUnderTest) -> None:
    """The release was built from the inventory's source, and the server reports it."""
    release = served.host.check_output(f"readlink /opt/rigwright/services/{served.wish.name}/current")
    identity = json.loads(served.host.file(f"{release}/release.json").content_string)["identity"]
    status, props = served.get("/props")
    assert status == 200
    assert identity[:9] in json.loads(props)["build_info"]
    wanted = served.rig.spec.llamacpp
    if served.locked:
        build = served.locked["build"]
        archive = build.get("archive")
        wanted = wanted.model_validate(
            {"git": build["git"], "ref": build["ref"]} | ({"archive": archive} if archive else {})
        )
    if wanted.archive:
        assert identity == hashlib.sha256(f"{wanted.archive.sha256}/{wanted.archive.subdirectory}".encode()).hexdigest()
    elif re.fullmatch("[0-9a-f]{40}", wanted.ref):
        assert identity == wanted.ref


def test_process_is_not_root(served: ServiceUnderTest) -> None:
    """The engine runs as an account without rights."""
    status = served.host.check_output(f"grep -E '^(Uid|CapEff|NoNewPrivs):' /proc/{served.pid}/status")
    fields = dict(line.split(":\t", 1) for line in status.splitlines())
    assert fields["Uid"].split()[0] != "0"
    assert int(fields["CapEff"], 16) == 0
    assert fields["NoNewPrivs"] == "1"


def test_unit_file_is_sound(served: ServiceUnderTest) -> None:
    """systemd finds nothing wrong with the unit, and little that the service could harm."""
    verify = served.host.run(f"systemd-analyze verify /etc/systemd/system/{served.wish.unit}")
    assert (verify.rc, verify.stderr) == (0, "")
    score = served.host.check_output(f"systemd-analyze security --no-pager {served.wish.unit} | tail -n1")
    found = re.search(r"([\d.]+) \w+", score)
    assert found and float(found[1]) <= 2.0


def test_listens_where_it_should_and_nowhere_else(served: ServiceUnderTest) -> None:
    """The port is open on the planned address alone."""
    rows = served.host.check_output(f"ss -Hltn 'sport = :{served.wish.port}'").splitlines()
    addresses = {row.split()[3].rpartition(":")[0].strip("[]") for row in rows}
    assert addresses == {served.wish.host}


def test_keys_stay_secret(served: ServiceUnderTest) -> None:
    """No API key shows in the process list, its environment, the unit, the plan or the journal."""
    if not served.wish.api_key_file:
        assert "--api-key" not in served.argv and "--api-key-file" not in served.argv
        return
    path = f"/etc/rigwright/{served.wish.name}.key"
    file = served.host.file(path)
    assert (file.mode, file.user) == (0o600, "root")
    process = f"/proc/{served.pid}/cmdline /proc/{served.pid}/environ"
    places = f"{process} /etc/systemd/system/{served.wish.unit} /etc/rigwright/{served.wish.name}.json"
    assert served.host.run(f"grep -qaFf {path} {places}").rc == 1
    assert served.host.run(f"journalctl -u {served.wish.unit} -o cat --no-pager | grep -qaFf {path}").rc == 1
    assert served.get("/v1/models", key=False)[0] == 401


def test_is_healthy(served: ServiceUnderTest) -> None:
    """The model is loaded."""
    status, body = served.get("/health")
    assert (status, json.loads(body)) == (200, {"status": "ok"})


def test_completes_a_chat(served: ServiceUnderTest) -> None:
    """A real completion comes back, with tokens in it."""
    body = {"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 8, "temperature": 0}
    status, text = served.get("/v1/chat/completions", body=body)
    assert status == 200
    assert json.loads(text)["usage"]["completion_tokens"] > 0


def test_props_agree_with_the_plan(served: ServiceUnderTest) -> None:
    """The server itself reports the planned context, slots, model and name."""
    status, text = served.get("/props")
    props = json.loads(text)
    assert status == 200
    assert props["total_slots"] == served.plan["slots"]
    assert props["default_generation_settings"]["n_ctx"] >= served.plan["context_tokens"]
    assert props["model_path"] == served.flag("--model")
    assert props["model_alias"] == served.flag("--alias")


def test_metrics_are_served(served: ServiceUnderTest) -> None:
    """Prometheus can scrape the service, and the completions of these checks are counted."""
    status, text = served.get("/metrics")
    if "--metrics" not in served.planned:
        assert status == 501
        return
    assert status == 200
    counted = re.search(r"^llamacpp:tokens_predicted_total (\d+)", text, re.MULTILINE)
    assert counted and int(counted[1]) > 0


def test_gpus_are_used_when_planned(served: ServiceUnderTest) -> None:
    """A plan for GPUs has the process on them: llama.cpp falls back to the CPU and still reports health."""
    gpus = served.plan["replicas"][0]["gpus"]
    if not gpus:
        assert served.plan["device"] == "CPU"
        return
    rows = served.host.check_output("nvidia-smi --query-compute-apps=pid,gpu_uuid --format=csv,noheader").splitlines()
    for gpu in gpus:
        assert f"{served.pid}, {gpu['uuid']}" in rows
