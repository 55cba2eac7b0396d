"""Clusters in inventories: data that all rigs share, where they reach each other, and what each runs of the service."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rigwright.errors import Refused, WrongSpec
from rigwright.records.values import RigRecords
from rigwright.resolve.cluster import ClusterRig, place_of, shares
from rigwright.resolve.resolve import resolve
from rigwright.resolve.unit import render_unit
from rigwright.spec.cluster import ClusterSpec, memberships, with_cluster
from rigwright.spec.rig import parse_spec
from rigwright.weights.lookup import Lookup

GIB = 1024**3
BOTH = ("rig1", "rig2")


@pytest.fixture
def data(tmp_path: Path) -> dict[str, Any]:
    """What a group says."""
    key = tmp_path / "key"
    key.write_text("sk-0123456789\n")
    key.chmod(0o600)
    service = {"model": "qwen3.6-27b", "port": 8000, "api_key_file": str(key), "context": 16384}
    return {"name": "big", "network": "10.0.0.0/24", "link": 10, "service": service}


WRONG = {
    "unlike": ({"link": 25}, r"rig2: cluster\.link: not the same as on rig1; give it to the group"),
    "unknown": ({"networc": "x"}, r"rig2: cluster\.networc: unknown key; did you mean network\?"),
    "no network": ({"network": None}, r"rig2: cluster: name either the network, .* or the interface"),
    "host bits": ({"network": "10.0.0.1/24"}, r"rig2: cluster\.network: .* has host bits set; write a network like"),
    "another engine": ({"service": {"engine": "ollama"}}, r"service\.engine is ollama; only vllm serves"),
    "loopback": ({"service": {"host": "127.0.0.1"}}, r"service\.host is 127\.0\.0\.1; leave it out"),
    "no key": ({"service": {"api_key_file": None}}, r"service has no api_key_file, and is open to the other rigs"),
    "copies": ({"service": {"replicas": 2}}, r"service\.replicas: a cluster serves one copy"),
    "GPUs": ({"service": {"gpu": 0}}, r"service\.gpu names GPUs of one rig; leave it out"),
    "a text": ("big", r"rig2: cluster: 'big' will not do: it wants keys with values"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_data_is_a_line(data: dict[str, Any], case: str) -> None:
    """Where, what, what to do; before any rig is asked."""
    given, said = WRONG[case]
    other = given if isinstance(given, str) else {**data, **given}
    if isinstance(given, dict) and "service" in given:
        other = {**data, "service": {**data["service"], **given["service"]}}
    with pytest.raises(WrongSpec) as error:
        memberships([("rig1", data), ("rig2", other)])
    assert re.search(said, error.value.message) and "\n" not in error.value.message


def test_head_is_the_first_or_the_one_that_is_named(data: dict[str, Any]) -> None:
    """Rigs without a cluster are in none; a group of one, and a head from elsewhere, are refused."""
    rows = [("rig1", data), ("other", None), ("rig2", data)]
    assert {name: one.rigs for name, one in memberships(rows).items()} == dict.fromkeys(BOTH, BOTH)
    named = data | {"head": "rig2"}
    assert memberships([("rig1", named), ("rig2", named)])["rig1"].rigs == ("rig2", "rig1")
    with pytest.raises(WrongSpec, match="rig1: cluster: big has this one rig; give the data to a group of two or more"):
        memberships([("rig1", data)])
    with pytest.raises(WrongSpec, match=r"rig1: cluster\.head: rig9 is no rig of big; its rigs are rig1, rig2"):
        memberships([(name, data | {"head": "rig9"}) for name in BOTH])


def test_service_of_a_cluster_stands_beside_those_of_the_rig(data: dict[str, Any]) -> None:
    """It is one more, and takes neither the name nor the port of another."""
    member = memberships([(name, data) for name in BOTH])["rig1"]
    own = {"services": [{"name": "chat", "model": "qwen3-8b", "port": 8000}]}
    with pytest.raises(WrongSpec, match=r"rig1: cluster\.service\.port: 8000 is that of a service of this rig"):
        with_cluster("rig1", parse_spec("rig1", own), member)
    found = with_cluster("rig1", parse_spec("rig1", {"services": []}), member)
    assert [(one.name, one.engine) for one in found.services] == [("big", "vllm")]


def spec(**keys: Any) -> ClusterSpec:
    service = {"model": "qwen3-8b", "api_key_file": "/k"}
    return ClusterSpec.model_validate({"name": "big", "service": service} | (keys or {"network": "10.0.0.0/24"}))


OWN = (("lo", "127.0.0.1/8"), ("eno1", "192.168.1.4/24"), ("enp1s0", "10.0.0.4/24"), ("enp1s0", "fe80::1/64"))


def test_address_is_the_one_in_the_network() -> None:
    """By the network or by the interface; a public one only where the inventory says so."""
    assert place_of("rig1", spec(), OWN) == ("enp1s0", "10.0.0.4")
    assert place_of("rig1", spec(interface="enp1s0"), OWN) == ("enp1s0", "10.0.0.4")
    with pytest.raises(Refused, match=r"rig1: cluster\.network: no address in 10\.9\.0\.0/24; its own are eno1 192"):
        place_of("rig1", spec(network="10.9.0.0/24"), OWN)
    with pytest.raises(Refused, match=r"rig1: cluster\.interface: no address on ib0"):
        place_of("rig1", spec(interface="ib0"), OWN)
    public = (("eno1", "8.8.8.8/24"),)
    with pytest.raises(Refused, match=r"8\.8\.8\.8 of eno1 is public, .*; join them by a private network"):
        place_of("rig1", spec(network="8.8.8.0/24"), public)
    assert place_of("rig1", spec(network="8.8.8.0/24", public=True), public) == ("eno1", "8.8.8.8")


def rigs_of(machine: Any, data: dict[str, Any], *, last: str = "10.0.0.2/24", **rig: Any) -> Any:
    """The two rigs as a run has read them; `rig` is data that the second has of its own."""
    member = memberships([(name, data) for name in BOTH])["rig1"]
    found = machine(gpus=["RTX 3090"])
    hardware = replace(found, gpus=tuple(replace(gpu, vram_bytes=24 * GIB) for gpu in found.gpus))
    addresses = {"rig1": "10.0.0.1/24", "rig2": last}
    rigs = {
        name: ClusterRig(
            with_cluster(name, parse_spec(name, rig if name == "rig2" else {}), member),
            hardware,
            RigRecords(addresses=(("en0", addresses[name]),)),
        )
        for name in BOTH
    }
    return member, rigs


def test_rigs_that_are_unlike_are_refused(machine: Any, data: dict[str, Any]) -> None:
    """One release, one path of models, an address of each; and all of them must be there."""
    lookup = Lookup()
    for last, rig, said in (
        ("10.0.0.1/24", {}, "cluster big: rig1 and rig2 both have 10.0.0.1; give each its own address"),
        ("10.0.0.2/24", {"vllm": {"kernels": False}}, r"rig2: rig\.vllm: not the same as on rig1"),
        ("10.0.0.2/24", {"weights": {"directory": "/srv/m"}}, r"rig2: rig\.weights\.directory: /srv/m, on rig1"),
    ):
        member, rigs = rigs_of(machine, data, last=last, **rig)
        with pytest.raises(Refused, match=said):
            shares(member, rigs, lookup)
    member, rigs = rigs_of(machine, data)
    with pytest.raises(Refused, match=r"cluster big: rig2 gave no answer, .*; name rig1, rig2 in --limit"):
        shares(member, {"rig1": rigs["rig1"]}, lookup)


def test_each_rig_has_its_part_in_units_that_let_in_the_others(machine: Any, data: dict[str, Any]) -> None:
    """The head listens at its private address; a worker waits until a head may take it in; nobody else connects."""
    member, rigs = rigs_of(machine, data)
    found = shares(member, rigs, Lookup())
    units = {}
    for name, rig in rigs.items():
        resolved = resolve(rig.spec, rig.hardware, records=rig.records, share=found[name])
        (instance,) = resolved.instances(rig.spec)
        units[name] = render_unit(instance, resolved.engines["vllm"], weights={}, systemd=257)
        assert instance.url == "http://10.0.0.1:8000"
        assert "IPAddressAllow=localhost 10.0.0.1 10.0.0.2\n" in units[name]
    assert "--host 10.0.0.1" in units["rig1"] and "until curl" not in units["rig1"]
    worker = units["rig2"].replace(" \\\n ", "")
    assert "[ $$? -eq 7 ]" in worker and "--headless" in worker and "--host" not in worker
    assert re.search(
        r"^ExecStart=/bin/sh -c '.*' http://10\.0\.0\.1:8000/health /opt/rigwright/services/big/current/", worker, re.M
    )


def test_own_services_get_what_the_cluster_leaves(machine: Any, data: dict[str, Any]) -> None:
    """Its GPU is the cluster's whole; what does not fit beside it is refused by name."""
    member, rigs = rigs_of(machine, data)
    found, rig = shares(member, rigs, Lookup()), rigs["rig2"]
    own = {"name": "chat", "model": "qwen3-8b", "port": 8100, "gpu": "auto", "context": 4096}
    beside = with_cluster("rig2", parse_spec("rig2", {"services": [own]}), member)
    resolved = resolve(beside, rig.hardware, records=rig.records, share=found["rig2"])
    assert [one.service for one in resolved.plan.services] == ["chat", "big"]
    assert resolved.plan.services[0].gpus == () and len(resolved.plan.services[1].gpus) == 1
