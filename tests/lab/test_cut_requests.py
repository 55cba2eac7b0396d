"""What a restart costs clients who ask all the time: `RESTARTS=150 pytest tests/lab/test_cut_requests.py` counts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter

import pytest

from rigwright.records.reading import read_records
from rigwright.records.reading import script as records_script
from rigwright.records.values import Deployed
from rigwright.roles.base.drain import drains
from rigwright.roles.base.facts import _split
from rigwright.roles.service import operations

from .conftest import wait_healthy

pytestmark = [pytest.mark.lab, pytest.mark.faults]

RESTARTS = int(os.environ.get("RESTARTS", "6"))
# Four clients, who look before they use a connection again, as urllib3 and httpx do; what became of each request, one
# word. "cut" is one that was sent and has no whole answer.
CLIENT = """
import http.client, json, random, select, sys, threading, time
rig, told, keeps = sys.argv[1:]
body = json.dumps({"messages": [{"role": "user", "content": "Tell"}], "max_tokens": 4, "ignore_eos": True})
headers = {"Authorization": "Bearer sk-steady", "Content-Type": "application/json"}
def ask(client):
    try:
        if client.sock is None:
            client.connect()
    except OSError:
        return "refused"
    try:
        client.request("POST", "/v1/chat/completions", body, headers)
        answer = client.getresponse()
        said = answer.read().decode()
    except (OSError, http.client.HTTPException):
        client.close()
        return "cut"
    if answer.status == 503:
        return "refused"
    return "whole" if answer.status == 200 and '"completion_tokens":4' in said else "cut"
def go_on():
    client = http.client.HTTPConnection(rig, 8080, timeout=30)
    while True:
        if client.sock is not None and select.select([client.sock], [], [], 0)[0]:
            client.close()
        became = ask(client)
        with lock, open(told, "a") as file:
            file.write(became + "\\n")
        if not keeps or became != "whole":
            client.close()
        time.sleep(random.uniform(0.03, 0.27))
lock = threading.Lock()
for _ in range(4):
    threading.Thread(target=go_on).start()
"""


def deployed(workshop, rig) -> Deployed:
    """The service as a deploy reads it."""
    text = "section() { printf '@rigwright %s\\n' \"$*\"; }\n" + records_script(("demo",))
    return read_records(_split(workshop.on(rig, text).splitlines())).of("demo")


@pytest.mark.parametrize("keeps", ["", "keeps"])
def test_restart_cuts_hardly_a_request_of_clients_who_connect_for_each(workshop, trixie, tmp_path, keeps, capsys):
    """One rollback after the other, by the script that a rig runs; connections that are kept are closed as ever."""
    rig = workshop.boot("steady", from_snapshot=trixie.snapshot)
    (tmp_path / "keys").write_text("sk-steady\n")
    (tmp_path / "keys").chmod(0o600)
    service = {"host": "0.0.0.0", "slots": 4, "api_key_file": str(tmp_path / "keys"), "watch_seconds": 0}
    for temperature in (0.4, 0.5):
        done = workshop.deploy(workshop.spec(**service, flags={"--threads": 1, "--temp": temperature}), rig)
        assert done.code == 0, done.output
    wait_healthy(workshop, rig)
    told = tmp_path / "told"
    command = [sys.executable, "-c", CLIENT, workshop.lab.rig(rig).address, str(told), keeps]
    with subprocess.Popen(command) as client:
        time.sleep(1)
        try:
            for _ in range(RESTARTS):
                one = deployed(workshop, rig)
                assert one.way_back
                way = operations._way_back(one, one.way_back, [one.owner], drain=drains([one]))
                workshop.lab.exec(rig, ["sh"], input=way)
            time.sleep(2)
        finally:
            client.kill()
    found = Counter(told.read_text().split())
    with capsys.disabled():
        sys.stdout.write(f"\n{keeps or 'connects anew'}: {json.dumps(found)} in {RESTARTS} restarts")
    # On a machine with much else to do somebody may slip in at each try.
    assert found["whole"] > 20 and (keeps or found["cut"] <= RESTARTS // 10)
    assert workshop.on(rig, "ls -d /run/systemd/system/*.d 2>/dev/null || :") == ""
    assert workshop.on(rig, "systemctl list-units --all --plain --no-legend 'rigwright.hold*'") == ""
    workshop.lab.down([rig])
