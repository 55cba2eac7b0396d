"""Where model files lie on a rig: whose directories, which disks, which contents, and what the service sees of them."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from http.server import ThreadingHTTPServer

import pytest

from rigwright.lab.tiny_model import write_tiny_model

from .conftest import wait_healthy
from .test_downloads import Hub, fetched, handler

pytestmark = pytest.mark.lab

WEIGHTS = "/var/lib/rigwright/weights"
PID = "$(systemctl show -P MainPID rigwright-demo)"


def lines(outcome) -> str:
    """What was said in red."""
    return "\n".join(outcome.lines)


def at(directory: str) -> dict[str, object]:
    """Model files in this directory."""
    return {"weights": {"directory": directory}}


def is_verified(workshop, rig, serving) -> bool:
    """Whether the independent checks agree."""
    return workshop.rigwright("verify", str(workshop.inventory(rig, serving))).code == 0


@pytest.mark.parametrize(
    "directory", ["/root/models", "/tmp/m", "/var/tmp/x/../m", "/srv/../root", "/home", "/home/it's"]
)
def test_directories_that_no_service_sees_are_refused_by_name(workshop, serving, unharmed, directory):
    """B3: before any rig is touched, with what to do."""
    outcome = workshop.deploy(workshop.spec(**at(directory)), serving)
    assert outcome.code != 0 and "Starting operation" not in outcome.output
    assert "; set it to " in outcome.output


@pytest.mark.parametrize(
    ("make", "directory", "said"),
    [
        ("install -d -o nobody /srv/ada /srv/ada/m", "/srv/ada/m", "/srv/ada: nobody may write there"),
        ("install -d -m 775 -g users /srv/grp", "/srv/grp/m", "/srv/grp: its group may write there"),
        ("install -d -m 777 /srv/all", "/srv/all", "/srv/all: every account may write there"),
        (
            "install -d -m 750 /srv/private",
            "/srv/private/m",
            "services run as nobody's account; chmod o+x /srv/private",
        ),
        (
            "install -d /home/x; ln -sfn /home/x /srv/link",
            "/srv/link",
            "/srv/link is a link to /home/x, which services",
        ),
    ],
)
def test_directories_of_others_are_refused(workshop, serving, unharmed, make, directory, said):
    """A7, M13: an account that may write there could lead root astray; one that nobody may enter serves nothing."""
    workshop.on(serving, make)
    outcome = workshop.deploy(workshop.spec(**at(directory)), serving)
    assert outcome.code == 1 and said in lines(outcome), outcome.output


def test_advice_on_a_directory_of_others_works(workshop, serving):
    """A7: chown and chmod as the line says; links that the owner planted before are not followed."""
    plant = (
        "install -d -o nobody /srv/eve /srv/eve/m; cd /srv/eve/m; echo root:x >/srv/shadow; chmod 600 /srv/shadow;"
        " for f in"
        " tiny.gguf.part .tiny.gguf.rigwright .tiny.gguf.rigwright.rigwright-new; do ln -s /srv/shadow $f; done"
    )
    workshop.on(serving, plant)
    rig = workshop.spec(**at("/srv/eve/m"))
    assert "/srv/eve: nobody may write there" in lines(workshop.deploy(rig, serving))
    workshop.on(serving, "chown root: /srv/eve /srv/eve/m; chmod go-w /srv/eve /srv/eve/m")
    outcome = workshop.deploy(rig, serving)
    assert outcome.code == 0, outcome.output
    assert workshop.on(serving, "cat /srv/shadow; stat -c '%a %U' /srv/shadow") == "root:x\n600 root"
    assert workshop.deploy(rig, serving).changed == set() and is_verified(workshop, rig, serving)


def test_weights_below_home_are_seen_with_all_that_lies_beside_them(workshop, serving):
    """B3: the whole directory is bound, whatever it is called; nothing else of /home is."""
    directory = "/home/große: models; #1 \\b"
    workshop.on(serving, "install -d -m 700 -o nobody /home/ada; touch /home/ada/secret")
    rig = workshop.spec(**at(directory))
    outcome = workshop.deploy(rig, serving)
    assert outcome.code == 0, outcome.output
    workshop.lab.exec(serving, ["touch", f"{directory}/m-00002-of-00002.gguf", f"{directory}/mmproj-F16.gguf"])
    seen = workshop.on(serving, f"find /proc/{PID}/root/home -type f -printf '%f\\n' | sort")
    assert seen.split("\n") == [".tiny.gguf.rigwright", "m-00002-of-00002.gguf", "mmproj-F16.gguf", "tiny.gguf"]
    assert workshop.on(serving, "systemd-analyze verify rigwright-demo.service 2>&1") == ""
    wanted = workshop.on(serving, "systemctl show -P RequiresMountsFor rigwright-demo")
    assert directory.replace("\\", "\\\\") in wanted
    assert workshop.deploy(rig, serving).changed == set() and is_verified(workshop, rig, serving)


def test_nothing_lands_where_a_disk_is_missing(workshop, serving):
    """H6: an empty mount point is no place for 40 GB; once the disk is there, it is."""
    unit = "[Mount]\\nWhat=tmpfs\\nWhere=/mnt/big\\nType=tmpfs\\nOptions=mode=755\\n"
    workshop.on(
        serving, f"mkdir -p /mnt/big; printf '{unit}' >/etc/systemd/system/mnt-big.mount; systemctl daemon-reload"
    )
    rig = workshop.spec(**at("/mnt/big/m"))
    before = workshop.on(serving, f"echo {PID}")
    outcome = workshop.deploy(rig, serving)
    assert outcome.code == 1 and "/mnt/big is not mounted (inactive)" in lines(outcome), outcome.output
    assert workshop.on(serving, f"echo {PID}; ls -A /mnt/big") == before
    workshop.on(serving, "systemctl start mnt-big.mount")
    assert workshop.deploy(rig, serving).code == 0
    assert workshop.on(serving, "systemctl show -P Requires,After rigwright-demo").count("mnt-big.mount") == 2
    assert workshop.deploy(rig, serving).changed == set()
    assert workshop.deploy(workshop.spec(), serving).code == 0
    workshop.on(serving, "systemctl stop mnt-big.mount; rm /etc/systemd/system/mnt-big.mount; systemctl daemon-reload")


def test_reason_that_the_rig_gives_for_a_failed_upload_is_told(workshop, serving, unharmed):
    """M9: no inodes, read-only."""
    mount = "mkdir -p /srv/{0}; mount -t tmpfs -o mode=755,size=64m,{1} tmpfs /srv/{0}"
    workshop.on(serving, mount.format("few", "nr_inodes=2"))
    few = workshop.deploy(
        workshop.spec(**at("/srv/few")) | {"weights": {"directory": "/srv/few", "reserve_bytes": 0}}, serving
    )
    workshop.on(serving, "umount /srv/few; " + mount.format("ro", "ro"))
    only = workshop.deploy(workshop.spec() | {"weights": {"directory": "/srv/ro", "reserve_bytes": 0}}, serving)
    workshop.on(serving, "umount /srv/ro")
    assert few.code == only.code == 1
    assert re.search("no inodes left|No space left on device", lines(few)), few.output
    assert "Read-only file system" in lines(only), only.output
    assert "Socket is closed" not in lines(few) + lines(only)


def test_rig_that_allows_one_session_takes_uploads(workshop, serving):
    """M10: one channel is enough."""
    conf = "/etc/ssh/sshd_config.d/one.conf"
    workshop.on(serving, f"echo MaxSessions 1 >{conf}; systemctl reload ssh")
    try:
        path = write_tiny_model(workshop.directory / "one.gguf", seed=31)
        outcome = workshop.deploy(workshop.spec(model=str(path)), serving)
        assert outcome.code == 0, outcome.output
    finally:
        workshop.on(serving, f"rm {conf}; systemctl reload ssh")


def test_second_controller_is_told_and_harms_nothing(workshop, serving):
    """H5: two upload one file over a slow line; what is checked is never written to again."""
    path = write_tiny_model(workshop.directory / "both.gguf", seed=32)
    rig = workshop.spec(model=str(path))
    workshop.lab.fault(serving, "slow-network")
    try:
        first = workshop.start(rig, serving)
        for _ in range(300):
            if workshop.on(serving, f"stat -c %s {WEIGHTS}/both.gguf.part", check=False) not in ("", "0"):
                break
            time.sleep(0.1)
        second = workshop.deploy(rig, serving)
        output, _ = first.communicate(timeout=120)
    finally:
        workshop.lab.fault(serving, "clear")
    assert first.returncode == 0, output
    assert second.code == 1 and "another run is uploading both.gguf.part right now" in lines(second), second.output
    sizes = workshop.on(serving, f"stat -c %s {WEIGHTS}/both.gguf; ls -A {WEIGHTS} | grep -c both.gguf.part || :")
    assert sizes.split() == [str(path.stat().st_size), "0"]
    assert workshop.deploy(rig, serving).changed == set() and is_verified(workshop, rig, serving)


def test_file_of_ours_with_a_new_time_stays_ours(workshop, serving):
    """M8: touched, and then replaced by the next version."""
    path = write_tiny_model(workshop.directory / "touched.gguf", seed=33)
    rig = workshop.spec(model=str(path))
    assert workshop.deploy(rig, serving).code == 0
    workshop.on(serving, f"touch -d 2020-01-01 {WEIGHTS}/touched.gguf")
    assert workshop.deploy(rig, serving).changed == {"Bring touched.gguf"}
    workshop.on(serving, f"touch -d 2021-01-01 {WEIGHTS}/touched.gguf")
    write_tiny_model(path, seed=34)
    outcome = workshop.deploy(rig, serving)
    assert outcome.code == 0 and outcome.changed == {"Bring touched.gguf", "Serve demo"}, outcome.output
    assert workshop.deploy(rig, serving).changed == set()


def test_weights_come_and_go_with_the_service_that_has_proven_them(workshop, serving):
    """B5, M15: a new content that fails leaves the old one under its name; so does a rollback."""
    path = write_tiny_model(workshop.directory / "same.gguf", seed=35)
    rig = workshop.spec(model=str(path))
    assert workshop.deploy(rig, serving).code == 0
    look = f"sha256sum <{WEIGHTS}/same.gguf; tr '\\0' '\\n' </proc/{PID}/environ | grep RIGWRIGHT_WEIGHTS"
    first = workshop.on(serving, look)
    write_tiny_model(path, seed=36)
    bad = workshop.deploy(workshop.spec(model=str(path), flags={"--lora": "/none.gguf"}), serving)
    assert bad.code == 1 and "the previous release is back and serving" in bad.output, bad.output
    assert workshop.on(serving, look) == first
    changed = workshop.deploy(rig, serving)
    assert changed.code == 0 and changed.changed == {"Serve demo"}, changed.output
    second = workshop.on(serving, look)
    assert second != first and is_verified(workshop, rig, serving)
    back = workshop.rigwright("rollback", str(workshop.inventory(rig, serving)))
    assert back.code == 0, back.output
    assert workshop.on(serving, look) == first
    workshop.on(serving, "systemctl restart rigwright-demo")
    wait_healthy(workshop, serving)
    assert workshop.deploy(rig, serving).changed == {"Serve demo"}
    assert workshop.on(serving, look) == second
    assert workshop.deploy(rig, serving).changed == set() and is_verified(workshop, rig, serving)


@pytest.fixture
def hub(workshop, serving) -> Iterator[Hub]:
    """A hub of two repositories whose files have one name."""
    hub = Hub(f"http://{workshop.host_address}:9481")
    httpd = ThreadingHTTPServer((workshop.host_address, 9481), handler(hub))
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    for number, repo in enumerate(("ann/m", "bob/m")):
        path = write_tiny_model(workshop.directory / "hub.gguf", seed=40 + number)
        hub.files[f"/{repo}/resolve/abc/Q8/m-Q8_0.gguf"] = path.read_bytes()
    yield hub
    httpd.shutdown()
    httpd.server_close()


def test_files_of_repositories_lie_by_repository(workshop, serving, hub):
    """B4: two services never share a name, and what lay with all others is not downloaded again."""
    services = [
        {"name": name, "model": f"hf:{name}/m@abc:Q8/m-Q8_0.gguf", "port": port, "context": 1024}
        for name, port in (("ann", 8085), ("bob", 8086))
    ]
    demo = workshop.spec()["services"][0]
    rig = workshop.spec(services=[demo, *services], weights={"hugging_face": hub.address})
    outcome = workshop.deploy(rig, serving)
    assert outcome.code == 0, outcome.output
    assert workshop.on(serving, f"cd {WEIGHTS}; ls *--*/*.gguf").split() == ["ann--m/m-Q8_0.gguf", "bob--m/m-Q8_0.gguf"]
    assert workshop.deploy(rig, serving).changed == set() and is_verified(workshop, rig, serving)
    flat = f"cd {WEIGHTS}; mv ann--m/m-Q8_0.gguf .; mv ann--m/.m-Q8_0.gguf.rigwright .; rm -r ann--m"
    workshop.on(serving, flat)
    hub.log.clear()
    again = workshop.deploy(rig, serving)
    assert again.code == 0 and again.changed == {"Bring m-Q8_0.gguf"}, again.output
    assert fetched(hub) == [] and workshop.on(serving, f"ls {WEIGHTS}/m-Q8_0.gguf {WEIGHTS}/ann--m/m-Q8_0.gguf")
    assert workshop.deploy(rig, serving).changed == set() and is_verified(workshop, rig, serving)
    for name in ("ann", "bob"):
        assert (
            workshop.deploy(rig, serving, deploy="remove", arguments=("-y", "--data", f"remove_service={name}")).code
            == 0
        )


@pytest.mark.faults
def test_service_waits_for_a_disk_that_is_mounted_late(workshop, trixie):
    """H6: after a reboot the mount comes after all else; the service does too, and never fails meanwhile."""
    name = workshop.boot("late", from_snapshot=trixie.snapshot)
    try:
        wait_healthy(workshop, name)
        units = {
            "slow.service": "[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nExecStart=/bin/sleep 45\n",
            "mnt-big.mount": (
                "[Unit]\nRequires=slow.service\nAfter=slow.service\n[Mount]\nWhat=/srv/disk\nWhere=/mnt/big\n"
                "Type=none\nOptions=bind\n[Install]\nWantedBy=remote-fs.target\n"
            ),
        }
        workshop.on(name, "mkdir -p /srv/disk /mnt/big")
        for unit, text in units.items():
            workshop.lab.exec(name, ["sh", "-c", f"cat >/etc/systemd/system/{unit}"], input=text)
        workshop.on(name, "systemctl daemon-reload; systemctl enable --now mnt-big.mount")
        rig = workshop.spec(**at("/mnt/big/m"))
        outcome = workshop.deploy(rig, name)
        assert outcome.code == 0, outcome.output
        workshop.lab.reboot(name)
        for _ in range(60):
            if workshop.on(name, "curl -s -m 2 http://127.0.0.1:8080/health", check=False) == '{"status":"ok"}':
                break
            time.sleep(2)
        assert workshop.on(name, "systemctl show -P NRestarts rigwright-demo; ls /mnt/big/m") == "0\ntiny.gguf"
        assert workshop.deploy(rig, name).changed == set()
    finally:
        workshop.lab.down([name])
