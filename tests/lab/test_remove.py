"""deploys/remove.py gives the rig back as it was before the first deploy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rigwright.resources import script
from rigwright.roles.base.operations import INSTALLED_LIST

pytestmark = pytest.mark.lab


@pytest.fixture
def remove(workshop) -> Callable[..., Any]:
    """Runs deploys/remove.py over a rig; the rest is `--data`."""

    def of(rig: str, *data: str) -> Any:
        given = [word for one in data for word in ("--data", one)]
        return workshop.deploy(workshop.spec(), rig, deploy="remove", arguments=("-y", *given))

    return of


@pytest.fixture(scope="module")
def guest(workshop, trixie):
    """A rig that is removed from, once and again."""
    name = workshop.boot("guest", from_snapshot=trixie.snapshot)
    yield name
    workshop.lab.down([name])


def test_removal_leaves_the_rig_as_it_was(workshop, trixie, guest, remove):
    """Packages, accounts, units, files: the same before the deploy and after the removal."""
    assert len(workshop.traces(guest) - trixie.traces) > 20
    workshop.on(guest, "touch /var/lib/rigwright/weights/not-ours")
    removed = remove(guest, "remove_weights=true")
    assert removed.code == 0, removed.output
    assert "/var/lib/rigwright/weights/not-ours stays, rigwright did not bring it" in removed.lines
    assert workshop.on(guest, "find /var/lib/rigwright -type f") == "/var/lib/rigwright/weights/not-ours"
    workshop.on(guest, "rm -r /var/lib/rigwright")
    assert sorted(workshop.traces(guest) ^ trixie.traces) == []
    assert "No changes" in remove(guest).output


def test_web_server_that_the_owner_installed_in_between_goes_on(workshop, guest, remove):
    """A first run that fails, packages by hand as it said, a second run, removal: with its settings and its mark."""

    def install(names: str, *, check: bool = True) -> str:
        text = script("base", "manager.sh", "apt.sh", "bring.sh", "packages.sh", PACKAGES=names, RECORD=INSTALLED_LIST)
        return workshop.on(guest, text, check=check)

    assert "mend it with apt on the rig" in install("ncal nosuch", check=False)
    by_hand = "apt-get -qq install -y --no-install-recommends tree lighttpd >/dev/null 2>&1"
    workshop.on(guest, f"{by_hand}; echo '# mine' >>/etc/lighttpd/lighttpd.conf; systemctl start lighttpd")
    install("ncal")
    assert workshop.on(guest, f"grep -E '^(ncal|tree|lighttpd)' {INSTALLED_LIST}") == "ncal asked purge"
    removed = remove(guest)
    assert removed.code == 0, removed.output
    assert workshop.on(guest, "systemctl is-active lighttpd; tail -n1 /etc/lighttpd/lighttpd.conf") == "active\n# mine"
    assert workshop.on(guest, "apt-mark showmanual lighttpd tree; command -v ncal || :") == "lighttpd\ntree"
    workshop.on(guest, "apt-get -qq purge -y --auto-remove tree lighttpd >/dev/null 2>&1")


def test_removal_keeps_model_files_unless_told(workshop, serving, remove):
    """Weights took hours to come; a unit that is not ours stays too."""
    workshop.on(serving, "printf '[Service]\\nExecStart=/bin/true\\n' >/etc/systemd/system/rigwright-other.service")
    removed = remove(serving, "remove_packages=false")
    assert removed.code == 0, removed.output
    assert workshop.on(serving, "ls /var/lib/rigwright/weights") == "tiny.gguf"
    assert workshop.on(serving, "ls /etc/systemd/system | grep rigwright") == "rigwright-other.service"
    workshop.on(serving, "rm /etc/systemd/system/rigwright-other.service")
    assert workshop.deploy(workshop.spec(), serving).code == 0


_NOT_UNDERSTOOD = {
    "remove_service=": "remove_service: '' is no name of a service",
    "remove_servce=demo": "remove_servce: a removal does not know it; did you mean remove_service?",
    "remove_weights=no": "remove_weights: 'no' is neither true nor false",
    "remove_service=nosuch": "remove_service: no service is called nosuch; this rig has demo",
}


def test_removal_that_is_not_understood_touches_nothing(workshop, serving, remove, unharmed):
    """Not a service, not a model file, not a package."""
    for data, line in _NOT_UNDERSTOOD.items():
        outcome = remove(serving, data)
        assert outcome.code != 0 and line in outcome.output, outcome.output
        assert "Traceback" not in outcome.output


def test_one_service_leaves_nothing_but_its_model_file(workshop, serving, remove):
    """Also what systemd keeps for it in its cache; the model file is named, for nobody uses it then."""
    rig = workshop.spec()
    rig["services"] = [{**rig["services"][0], "name": "second", "port": 8081}, *rig["services"]]
    assert workshop.deploy(rig, serving).code == 0
    everything = (
        "find /opt/rigwright/services /etc/rigwright /etc/systemd /var/lib/rigwright /var/cache -name '*second*'"
    )
    # As `CacheDirectory=` of a unit for GPUs leaves it.
    cache = "/var/cache/private/rigwright-second"
    workshop.on(serving, f"mkdir -p {cache}; ln -s private/rigwright-second /var/cache/rigwright-second")
    assert cache in workshop.on(serving, everything)
    removed = remove(serving, "remove_service=second")
    assert removed.code == 0 and "no service uses it now" not in removed.output, removed.output
    assert workshop.on(serving, everything) == ""
    removed = remove(serving, "remove_service=demo")
    weights = "/var/lib/rigwright/weights/tiny.gguf"
    assert (
        f"{weights} stays, no service uses it now; rigwright weights INVENTORY --prune takes what nobody wants"
        in removed.lines
    )
    assert workshop.on(serving, f"ls {weights}") == weights
    assert "demo is not on this rig" in remove(serving, "remove_service=demo").lines
    assert workshop.deploy(workshop.spec(), serving).code == 0


def test_removal_with_folders_of_the_owners(workshop, serving, remove):
    """State and builds on another disk, weights in a folder of the owner's, an account that is in use at first."""
    move = "systemctl stop rigwright-demo; mkdir -p /data/big"
    for place in ("/var/lib/rigwright", "/opt/rigwright"):
        move += f"; mv {place} /data/{place[1:4]}; ln -s /data/{place[1:4]} {place}; echo mine >/data/{place[1:4]}/mine"
    workshop.on(serving, move)
    big = workshop.spec(weights={"directory": "/data/big"})
    assert workshop.deploy(big, serving).code == 0
    workshop.on(serving, "systemd-run -q --unit=busy --uid=rigwright sleep 600")
    failed = remove(serving, "remove_packages=false")
    assert failed.code == 1, failed.output
    assert "the account rigwright could not be removed: userdel: user rigwright is currently used by" in failed.output
    workshop.on(serving, "systemctl stop busy")
    removed = remove(serving, "remove_packages=false")
    assert removed.code == 0, removed.output
    for folder in ("/data/big", "/var/lib/rigwright/weights"):
        assert f"model files stay in {folder}: 1; --data remove_weights=true takes them too" in removed.lines
    assert "/var/lib/rigwright/mine stays, rigwright did not bring it" in removed.lines
    lists = {f"/data/var/{name}" for name in ("mine", "packages.installed", "weights.brought")}
    weights = {f"/data/{at}/{name}" for at in ("big", "var/weights") for name in ("tiny.gguf", ".tiny.gguf.rigwright")}
    find = "find /data -type f; getent passwd rigwright || :"
    assert set(workshop.on(serving, find).splitlines()) == {*lists, *weights, "/data/opt/mine"}
    removed = remove(serving, "remove_packages=false", "remove_weights=true")
    assert removed.code == 0, removed.output
    assert set(workshop.on(serving, find).splitlines()) == {
        "/data/opt/mine",
        "/data/var/mine",
        "/data/var/packages.installed",
    }
    assert "No changes" in remove(serving, "remove_packages=false", "remove_weights=true").output
    assert workshop.on(serving, "readlink /var/lib/rigwright /opt/rigwright") == "/data/var\n/data/opt"
