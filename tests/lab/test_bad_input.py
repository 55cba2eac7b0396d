"""Every mistake: one line that says where, what and what to do; exit code not 0; what serves goes on serving."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.lab


def refused(outcome, text):
    """The run failed, with this line and without a traceback."""
    assert outcome.code != 0, outcome.output
    found = [line for line in outcome.lines if text in line]
    assert found, outcome.output
    assert "Traceback" not in outcome.output
    return found


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"contxt": 1}, "serving: rig.services.0.contxt: unknown key; did you mean context?"),
        ({"port": "x"}, "serving: rig.services.0.port: 'x' is no whole number; write one, like 4"),
        ({"model": "absent.gguf"}, "serving: rig.services.0.model: absent.gguf: does not exist on this machine; check"),
        (
            {"api_key_file": "absent.key", "host": "0.0.0.0"},
            "serving: rig.services.0.api_key_file: absent.key cannot be read",
        ),
    ],
)
def test_wrong_inventory_touches_no_rig(workshop, serving, unharmed, change, line):
    """What is wrong in the inventory is said before any rig is asked anything."""
    outcome = workshop.deploy(workshop.spec(**change), serving)
    refused(outcome, line)
    assert "Starting operation" not in outcome.output


def test_two_services_on_one_port(workshop, serving, unharmed):
    """Two services cannot share a port."""
    rig = workshop.spec()
    rig["services"].append({**rig["services"][0], "name": "b"})
    refused(workshop.deploy(rig, serving), "serving: rig: two services have the port 8080; give each its own")


def test_one_wrong_rig_stops_all_before_any_is_touched(workshop, serving, unharmed):
    """A fleet is checked as a whole: the good rig is not changed while another one's data is wrong."""
    good = workshop.inventory(workshop.spec(context=1024), serving).read_text()
    outcome = workshop.deploy_file(good + "\nothers = [('@local', {'rig': {'services': [{'name': 'a'}]}})]\n")
    refused(outcome, "@local: rig.services.0.model: missing")
    assert "Starting operation" not in outcome.output


def test_truncated_model(workshop, serving, unharmed):
    """A file that is shorter than its header says is refused before the rig is touched."""
    cut = workshop.directory / "cut.gguf"
    cut.write_bytes((workshop.directory / "tiny.gguf").read_bytes()[:-1000])
    outcome = workshop.deploy(workshop.spec(model=str(cut)), serving)
    refused(outcome, "cut.gguf")
    assert "Starting operation" not in outcome.output


def test_model_that_is_no_gguf(workshop, serving, unharmed):
    """A file of another kind is refused before the rig is touched."""
    (workshop.directory / "page.gguf").write_text("<html>404</html>" * 100)
    refused(workshop.deploy(workshop.spec(model=str(workshop.directory / "page.gguf")), serving), "page.gguf")


def test_wrong_sha256_of_a_local_model(workshop, serving, unharmed):
    """The checksum of the inventory is held against the file before it is sent."""
    source = {"path": str(workshop.directory / "tiny.gguf"), "sha256": "0" * 64}
    refused(workshop.deploy(workshop.spec(model=source), serving), "the inventory says 000000")


def test_disk_too_small_for_the_model(workshop, serving, unharmed):
    """Said before a byte is sent."""
    other = workshop.directory / "other.gguf"
    from rigwright.lab.tiny_model import write_tiny_model

    write_tiny_model(other, seed=7)
    outcome = workshop.deploy(workshop.spec(model=str(other), weights={"reserve_bytes": 10**15}), serving)
    refused(outcome, "; free some, or set rig.weights.directory")
    assert "uploaded" not in outcome.output


def test_weights_of_somebody_else_are_not_overwritten(workshop, serving):
    """A file of that name which is not ours stays as it is."""
    workshop.on(serving, "printf GGUFmine >/var/lib/rigwright/weights/mine.gguf")
    shutil.copy(workshop.directory / "tiny.gguf", workshop.directory / "mine.gguf")
    refused(workshop.deploy(workshop.spec(model=str(workshop.directory / "mine.gguf")), serving), "it was not touched")
    assert workshop.on(serving, "cat /var/lib/rigwright/weights/mine.gguf") == "GGUFmine"
    workshop.on(serving, "rm /var/lib/rigwright/weights/mine.gguf")


def test_weights_that_are_already_there_are_adopted(workshop, serving):
    """The right file, put there by hand, is used and not sent again; removal leaves it."""
    workshop.on(serving, "mkdir -p /data && cp /var/lib/rigwright/weights/tiny.gguf /data/")
    outcome = workshop.deploy(workshop.spec(weights={"directory": "/data"}), serving)
    assert outcome.code == 0, outcome.output
    assert "uploaded" not in outcome.output
    assert workshop.on(serving, "cat /data/.tiny.gguf.rigwright").endswith(" found")
    assert workshop.deploy(workshop.spec(), serving).code == 0


def test_port_taken_by_another_program(workshop, serving, unharmed):
    """The program that has the port is named, and nothing is tried."""
    listen = 'import socket, time; s = socket.create_server(("127.0.0.1", 9999)); time.sleep(600)'
    workshop.on(serving, f"systemd-run -q --unit=other python3 -c '{listen}'; sleep 1")
    outcome = workshop.deploy(workshop.spec(port=9999), serving)
    workshop.on(serving, "systemctl stop other")
    refused(outcome, "port 9999 is taken by python3")


def test_unit_of_the_same_name_that_is_not_ours(workshop, serving, unharmed):
    """A unit that somebody else wrote is never overwritten."""
    unit = "/etc/systemd/system/rigwright-mine.service"
    workshop.on(serving, f"printf '[Service]\\nExecStart=/bin/true\\n' >{unit}")
    outcome = workshop.deploy(workshop.spec(name="mine", port=8090), serving)
    kept = workshop.on(serving, f"cat {unit}; rm {unit}")
    refused(outcome, "exists and was not written by rigwright; rename the service")
    assert kept == "[Service]\nExecStart=/bin/true"


def test_unit_that_was_edited_by_hand(workshop, serving):
    """An edit is never overwritten; the message says where it belongs."""
    unit = "/etc/systemd/system/rigwright-demo.service"
    workshop.on(serving, f"cp {unit} /root/saved; sed -i 's/^RestartSec=.*/RestartSec=77/' {unit}")
    outcome = workshop.deploy(workshop.spec(context=1024), serving)
    assert workshop.on(serving, f"grep -c RestartSec=77 {unit}; mv /root/saved {unit}; systemctl daemon-reload") == "1"
    refused(outcome, "was edited by hand; move the change to")


def test_drop_in_of_the_user_is_respected(workshop, serving):
    """The place for the user's own changes stays theirs, and a run with nothing to do stays one."""
    drop = "/etc/systemd/system/rigwright-demo.service.d"
    workshop.on(
        serving, f"mkdir -p {drop}; printf '[Service]\\nRestartSec=9\\n' >{drop}/local.conf; systemctl daemon-reload"
    )
    outcome = workshop.deploy(workshop.spec(), serving)
    assert (outcome.code, outcome.changed) == (0, set())
    assert workshop.on(serving, "systemctl show -P RestartUSec rigwright-demo") == "9s"
    workshop.on(serving, f"rm -r {drop}; systemctl daemon-reload")


def test_engine_that_exits_at_start_gives_way_to_what_ran_before(workshop, serving):
    """Its last log lines are shown, and the earlier unit serves again."""
    outcome = workshop.deploy(workshop.spec(flags={"--lora": "/none.gguf"}), serving)
    refused(outcome, "/none.gguf")
    refused(outcome, "the previous release is back and serving")
    assert workshop.rigwright("verify", str(workshop.inventory(workshop.spec(), serving))).code == 0
    assert workshop.deploy(workshop.spec(), serving).changed == set()


@pytest.mark.parametrize("flags", [{"--rope-scaling": "nonsense"}, {"--no-such-flag": 1}])
def test_flag_that_the_engine_would_refuse(workshop, serving, unharmed, flags):
    """What the pinned release does not know is named before anything is changed."""
    outcome = workshop.deploy(workshop.spec(flags=flags), serving)
    refused(outcome, next(iter(flags)))
    assert "Serve demo" not in outcome.output


def test_new_service_that_exits_at_start_is_taken_away_again(workshop, serving, unharmed):
    """Nothing ran before, so nothing is left behind."""
    rig = workshop.spec()
    rig["services"].append({**rig["services"][0], "name": "bad", "port": 8085, "flags": {"--lora": "/none.gguf"}})
    refused(workshop.deploy(rig, serving), "nothing ran before, the unit was taken away again")
    assert workshop.on(serving, "systemctl is-failed rigwright-bad.service", check=False) != "failed"


def test_context_that_cannot_fit(workshop, serving, unharmed):
    """Each alone would fit: the planner names what it would lie beside, and a way out, before anything is changed."""
    ram = int(workshop.on(serving, "awk '/MemTotal/ { print $2 }' /proc/meminfo")) * 1024
    # 8 GiB of KV cache and state, and more.
    wide = workshop.spec(context=32768, slots=256, cache_type="f16")["services"][0]
    services = [{**wide, "name": f"wide{n}", "port": 9000 + n} for n in range(ram // 2**33 + 2)]
    outcome = workshop.deploy(workshop.spec(services=services), serving)
    line = refused(outcome, "services.wide")[0]
    assert "it fits this rig alone, but not beside wide0" in line and ";" in line
    assert "Serve wide0" not in outcome.output


def test_missing_packages_are_named_when_they_may_not_be_installed(workshop, serving, unharmed):
    """Another tool owns the packages: say what is missing, where something is to be built."""
    workshop.on(serving, "dpkg --force-depends -r pkg-config >/dev/null 2>&1; true")
    built = {"archive": "pinned", "cmake_options": {"RIGWRIGHT_TEST": "1"}}
    assert workshop.deploy(workshop.spec(base={"install_packages": False}), serving).changed == set()
    outcome = workshop.deploy(workshop.spec(base={"install_packages": False}, llamacpp=built), serving)
    workshop.on(serving, "apt-get -qq install -y pkg-config >/dev/null 2>&1")
    refused(outcome, "missing packages: pkg-config; install them, or set rig.base.install_packages")


@pytest.mark.parametrize("recorded", ["1x-h100-capture"])
def test_gpu_rig_without_a_toolkit(workshop, trixie, recorded):
    """A recorded GPU is planned for, and the missing compiler is named before anything is changed."""
    name = workshop.boot("gpu", from_snapshot=trixie.snapshot, hardware=recorded)
    try:
        outcome = workshop.deploy(workshop.spec(context=1024, gpu=0) | {"cuda": {"source": "none"}}, name)
        refused(outcome, "GPUs answer, but nvcc is not installed; install the CUDA toolkit")
        assert "NVIDIA H100" in outcome.output
        # Left to the plan, wheels come first: said before the deploy is typed.
        planned = workshop.rigwright("plan", str(workshop.inventory(workshop.spec(context=1024, gpu=0), name)))
        assert planned.code == 0 and "CUDA 13.0 comes before the build" in planned.output, planned.output
        before = workshop.on(name, "systemctl show -P MainPID rigwright-demo")
        cpu = workshop.spec(llamacpp={"archive": "pinned", "backend": "cpu"})
        assert workshop.deploy(cpu, name).code == 0
        assert workshop.on(name, "systemctl show -P MainPID rigwright-demo") == before
        assert workshop.deploy(cpu, name).changed == set()
    finally:
        workshop.lab.down([name])


def test_ssh_refused(workshop, serving):
    """No SSH server answers."""
    refused(workshop.deploy(workshop.spec(), serving, login={"ssh_port": 1}), "Could not connect")


@pytest.fixture(scope="module")
def wrong_key(workshop):
    """A key that no rig knows."""
    path = workshop.directory / "wrong"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path


def test_ssh_wrong_key(workshop, serving, wrong_key):
    """The key is not the one that the rig knows."""
    refused(workshop.deploy(workshop.spec(), serving, login={"ssh_key": str(wrong_key)}), "Authentication error")


def test_ssh_host_key_changed(workshop, serving, wrong_key):
    """A rig that is not the one we knew is not talked to."""
    address = next(rig.address for rig in workshop.lab.rigs() if rig.name == serving)
    known = workshop.directory / "known_hosts"
    known.write_text(f"{address} {' '.join(wrong_key.with_suffix('.pub').read_text().split()[:2])}\n")
    outcome = workshop.deploy(workshop.spec(), serving, login={"ssh_known_hosts_file": str(known)})
    refused(outcome, "Host key for")


def test_user_without_sudo_rights(workshop, trixie):
    """An account that may not become root is told so."""
    name = workshop.boot("powerless", from_snapshot=trixie.snapshot, ssh_user="ada", sudo=False)
    try:
        refused(workshop.deploy(workshop.spec(), name), "its state could not be read: commands must run as root")
    finally:
        workshop.lab.down([name])


def test_user_who_is_not_root_and_does_not_ask_for_sudo(workshop, trixie):
    """Without _sudo the rig is read, and refused before anything is changed."""
    name = workshop.boot("plain", from_snapshot=trixie.snapshot, ssh_user="ada")
    try:
        outcome = workshop.deploy(workshop.spec(context=1024), name, login={"_sudo": False})
        refused(outcome, "the SSH user is not root; set _sudo=True in the host data")
    finally:
        workshop.lab.down([name])


def test_user_with_sudo_deploys(workshop, trixie):
    """A user with sudo is as good as root: from change to verification."""
    name = workshop.boot("sudoer", from_snapshot=trixie.snapshot, ssh_user="ada")
    try:
        outcome = workshop.deploy(workshop.spec(context=1024, model=_second(workshop)), name)
        assert outcome.code == 0, outcome.output
        assert outcome.changed == {"Bring second.gguf", "Serve demo"}
        assert workshop.deploy(workshop.spec(context=1024, model=_second(workshop)), name).changed == set()
        path = workshop.inventory(workshop.spec(context=1024, model=_second(workshop)), name)
        assert workshop.rigwright("verify", str(path)).code == 0
    finally:
        workshop.lab.down([name])


def _second(workshop):
    from rigwright.lab.tiny_model import write_tiny_model

    return str(write_tiny_model(workshop.directory / "second.gguf", "llama"))


@pytest.mark.skipif(Path("/run/systemd/system").is_dir(), reason="this machine runs systemd: none without it is here")
def test_machine_without_systemd(workshop):
    """A container without an init is refused by name. This very machine is one."""
    outcome = workshop.deploy_file(f"rigs = [('@local', {{'rig': {workshop.spec()!r}}})]\n")
    refused(outcome, "not systemd; services are systemd units")
