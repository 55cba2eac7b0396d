"""The switch on real rigs: what cuts it, what stands beside it, and advice of ours that works when it is followed."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator

import pytest

from rigwright.resources import template

from .conftest import wait_healthy

pytestmark = pytest.mark.lab

UNIT = "/etc/systemd/system/rigwright-demo.service"
STATE = "/var/lib/rigwright/services/demo"
KEY = "sk-geheim-Pr0xy1Se2hen3"


def pid(workshop, rig):
    """Its process."""
    return workshop.on(rig, "systemctl show -P MainPID rigwright-demo")


def context(workshop, rig):
    """What it really runs with."""
    argv = f"tr '\\0' '\\n' </proc/{pid(workshop, rig)}/cmdline"
    return workshop.on(rig, f"{argv} | grep -A1 -x -- --ctx-size | tail -n1")


def test_advice_for_a_unit_that_was_edited_works_when_followed(workshop, serving):
    """Move the change, delete the file, run again: systemd remembers the deleted file, and that is no obstacle."""
    workshop.on(serving, f"sed -i 's/^RestartSec=.*/RestartSec=77/' {UNIT}; systemctl daemon-reload")
    refused = workshop.deploy(workshop.spec(), serving)
    assert refused.code == 1
    advice = f"move the change to {UNIT}.d/local.conf and delete the file, then run again"
    assert advice in refused.output
    workshop.on(serving, f"mkdir {UNIT}.d; printf '[Service]\nRestartSec=77\n' >{UNIT}.d/local.conf; rm {UNIT}")
    again = workshop.deploy(workshop.spec(), serving)
    assert again.code == 0, again.output
    assert workshop.on(serving, "systemctl show -P RestartUSec rigwright-demo") == "1min 17s"
    workshop.on(serving, f"rm -r {UNIT}.d; systemctl daemon-reload")
    assert workshop.deploy(workshop.spec(), serving).changed == set()


def test_disabled_unit_is_enabled_without_a_restart(workshop, serving):
    """The process is the planned one: only the next boot was at stake."""
    before = pid(workshop, serving)
    workshop.on(serving, "systemctl disable -q rigwright-demo")
    assert workshop.deploy(workshop.spec(), serving).changed == {"Serve demo"}
    assert workshop.on(serving, "systemctl is-enabled rigwright-demo") == "enabled"
    assert pid(workshop, serving) == before and workshop.deploy(workshop.spec(), serving).changed == set()


def test_releases_on_another_disk_are_no_difference(workshop, serving):
    """/opt/rigwright is a link: a process shows where its program really lies."""
    workshop.on(serving, "mkdir -p /srv/opt; mv /opt/rigwright /srv/opt/; ln -s /srv/opt/rigwright /opt/rigwright")
    workshop.on(serving, "systemctl restart rigwright-demo")
    wait_healthy(workshop, serving)
    assert workshop.deploy(workshop.spec(), serving).changed == set()
    workshop.on(serving, "rm /opt/rigwright; mv /srv/opt/rigwright /opt/; systemctl restart rigwright-demo")
    wait_healthy(workshop, serving)


def test_engine_that_is_killed_while_it_starts_is_told_so(workshop, serving):
    """As the kernel does when memory runs out: systemd says it, and so do we."""
    drop = f"{UNIT}.d"
    workshop.on(serving, f"mkdir {drop}; printf '[Service]\nExecStartPost=/bin/kill -9 $MAINPID\n' >{drop}/kill.conf")
    done = workshop.deploy(workshop.spec(context=1024), serving)
    workshop.on(serving, f"rm -r {drop}; systemctl daemon-reload")
    assert done.code == 1
    assert "it was killed, as the kernel does when memory runs out: see dmesg" in done.lines, done.output
    assert any("code=killed, status=9/KILL" in line for line in done.lines)
    assert workshop.deploy(workshop.spec(), serving).code == 0
    assert workshop.deploy(workshop.spec(), serving).changed == set()


class Proxy(http.server.BaseHTTPRequestHandler):
    """A captive page: 200 to all, and a memory of what was asked."""

    seen: list[str]

    def do_GET(self) -> None:
        """Any request."""
        self.seen.append(f"{self.requestline} {self.headers}")
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'<html>"choices"</html>')

    do_POST = do_CONNECT = do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        """Nothing on the screen."""


@pytest.fixture
def proxy(workshop, serving) -> Iterator[list[str]]:
    """A proxy in the environment of all that root does on the rig, and in its curl's settings; what it was asked."""
    seen: list[str] = []
    handler = type("Handler", (Proxy,), {"seen": seen})
    with http.server.ThreadingHTTPServer((workshop.host_address, 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://{workshop.host_address}:{server.server_port}"
        names = "http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY"
        workshop.on(
            serving,
            f"for name in {names}; do echo $name={url} >>/etc/environment; done;"
            f" printf 'proxy={url}\ninclude\n' >/root/.curlrc",
        )
        yield seen
        workshop.on(serving, ": >/etc/environment; rm /root/.curlrc")
        server.shutdown()


def test_proxy_of_the_rig_sees_nothing_of_its_own_service(workshop, serving, proxy):
    """No health check, no completion and no key: a healthy service stays one, and a change is proven."""
    assert workshop.deploy(workshop.spec(), serving).changed == set()
    key = workshop.directory / "proxied.key"
    key.write_text(f"{KEY}\n")
    key.chmod(0o600)
    rig = workshop.spec(api_key_file=str(key), context=1024)
    done = workshop.deploy(rig, serving)
    assert done.code == 0, done.output
    assert workshop.deploy(rig, serving).changed == set()
    assert proxy == []
    # A clock that was ahead when they were written makes no key another one.
    workshop.on(serving, "touch -d 2038-01-01 /etc/rigwright/demo.key")
    before = pid(workshop, serving)
    assert workshop.deploy(rig, serving).changed == set() and pid(workshop, serving) == before
    key.write_text(f"{KEY}-next\n")
    assert workshop.deploy(rig, serving).changed == {"Write the API keys of demo", "Serve demo"}
    assert workshop.deploy(workshop.spec(), serving).changed == {"Serve demo"}


def test_device_files_are_made_again_at_each_try_of_a_service(workshop, serving):
    """A driver that comes late: what makes its files fails, and is tried again with the service that wants them."""
    smi = "#!/bin/sh\n[ -e /run/driver ] || exit 9\ntouch /run/nvidia0\n"
    toy = (
        "[Unit]\nWants=rigwright.devices.service\nAfter=rigwright.devices.service\nStartLimitIntervalSec=0\n"
        "[Service]\nExecStart=/bin/sh -c 'test -e /run/nvidia0 && exec sleep 99'\nRestart=always\nRestartSec=1\n"
    )
    workshop.lab.exec(serving, ["sh", "-c", "cat >/usr/local/bin/nvidia-smi"], input=smi)
    workshop.lab.exec(serving, ["sh", "-c", "cat >/run/systemd/system/toy.service"], input=toy)
    devices = "/etc/systemd/system/rigwright.devices.service"
    workshop.lab.exec(serving, ["sh", "-c", f"cat >{devices}"], input=template("devices.service"))
    try:
        workshop.on(
            serving, "chmod 755 /usr/local/bin/nvidia-smi; systemctl daemon-reload; systemctl start toy; sleep 5"
        )
        assert workshop.on(serving, "systemctl is-active toy rigwright.devices", check=False) != "active\nactive"
        workshop.on(
            serving, "touch /run/driver; for i in $(seq 40); do systemctl is-active -q toy && break; sleep 0.5; done"
        )
        assert (
            workshop.on(serving, "sleep 1; systemctl is-active toy rigwright.devices", check=False) == "active\nactive"
        )
        # No instance of ours, and nobody's orphan.
        assert "devices" not in workshop.deploy(workshop.spec(), serving).output
    finally:
        files = f"{devices} /run/systemd/system/toy.service /usr/local/bin/nvidia-smi /run/driver /run/nvidia0"
        clean = f"systemctl stop toy rigwright.devices; rm -f {files}; systemctl daemon-reload"
        workshop.on(serving, clean, check=False)


@pytest.mark.faults
@pytest.mark.parametrize("umask", ["077", "027"])
def test_umask_of_a_hardened_rig_is_not_ours(workshop, umask):
    """CIS: a blank rig on which all that root makes is closed to others is deployed to like any other."""
    name = workshop.boot(f"cis{umask}")
    try:
        workshop.on(
            name, f"sed -i '1i umask {umask}' /root/.bashrc; sed -i 's/^UMASK.*/UMASK {umask}/' /etc/login.defs"
        )
        done = workshop.deploy(workshop.spec(), name)
        assert done.code == 0, done.output
        assert workshop.deploy(workshop.spec(), name).changed == set()
        assert workshop.rigwright("verify", str(workshop.inventory(workshop.spec(), name))).code == 0
    finally:
        workshop.lab.down([name])


@pytest.fixture
def two_releases(workshop, trixie) -> Iterator[str]:
    """A rig that served P, serves A; and B, another context, that is to come. Its start takes eight seconds."""
    name = workshop.boot("cutting", from_snapshot=trixie.snapshot)
    wait_healthy(workshop, name)
    assert workshop.deploy(workshop.spec(context=4096), name).code == 0
    slow = f"mkdir -p {UNIT}.d; printf '[Service]\nExecStartPre=/bin/sleep 8\n' >{UNIT}.d/slow.conf"
    workshop.on(name, f"{slow}; systemctl daemon-reload")
    yield name
    workshop.lab.down([name])


def cut(workshop, rig, spec, *, how):
    """A deploy that is cut while the new engine starts."""
    process = workshop.start(spec, rig)
    for _ in range(300):
        if workshop.on(rig, f"cat {STATE}/running 2>/dev/null", check=False) and "1024" in workshop.on(
            rig, f"cat {UNIT}"
        ):
            break
    if how == "power":
        workshop.lab.reboot(rig, hard=True)
    else:
        workshop.on(rig, "kill -9 $(fuser /run/rigwright.lock 2>/dev/null || lsof -t /run/rigwright.lock)", check=False)
        process.kill()
    process.communicate(timeout=120)
    assert workshop.on(rig, f"cat {STATE}/running", check=False).startswith("/opt/rigwright/llamacpp/releases/")
    wait_healthy(workshop, rig)


@pytest.mark.faults
@pytest.mark.parametrize("how", ["power", "kill"])
def test_cut_switch_is_closed_by_the_next_run_and_the_way_back_is_whole(workshop, two_releases, how):
    """The faults' list, H1: the same deploy again, a bad one after it, a rollback; a rollback at once."""
    rig, new = two_releases, workshop.spec(context=1024)
    cut(workshop, rig, new, how=how)
    again = workshop.deploy(new, rig)
    assert again.code == 0 and "~ demo switch: an earlier one was cut short; it is finished" in again.lines, (
        again.output
    )
    assert workshop.on(rig, f"ls -A {STATE} | grep running", check=False) == ""
    bad = workshop.deploy(workshop.spec(context=1024, flags={"--lora": "/none.gguf"}), rig)
    assert bad.code == 1 and "the previous release is back and serving" in bad.output
    assert context(workshop, rig) == "1024"
    inventory = str(workshop.inventory(new, rig))
    for expected in ("4096", "1024"):
        assert workshop.rigwright("rollback", inventory).code == 0
        assert context(workshop, rig) == expected
    cut(workshop, rig, workshop.spec(context=1024, flags={"--temp": 0.5}), how=how)
    assert workshop.rigwright("rollback", inventory).code == 0
    assert context(workshop, rig) == "1024" and "--temp" not in workshop.on(rig, f"cat {UNIT}")
    assert workshop.deploy(new, rig).changed == set()
