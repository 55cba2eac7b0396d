"""The systemd unit as text: golden, quoted, and marked so that edits are noticed."""

from __future__ import annotations

import re
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rigwright.hardware import Cpu, Gpu, Hardware
from rigwright.models.known import Variant
from rigwright.plan.choice import Choice
from rigwright.plan.devices import devices
from rigwright.plan.engines.llamacpp.planner import LlamacppPlanner
from rigwright.plan.engines.llamacpp.settings import LlamacppSettings
from rigwright.plan.engines.rendered import RenderContext
from rigwright.plan.memory import Load
from rigwright.plan.render_nodes import with_render_nodes
from rigwright.plan.service import Layout, Replica, ServicePlan
from rigwright.plan.wish import ServiceWish
from rigwright.records.values import is_ours, marker_of, was_ours
from rigwright.resolve.instance import Instance
from rigwright.resolve.unit import quote, render_unit, sandbox
from rigwright.resources import template
from rigwright.spec.weights import WeightsSettings

GIB = 1024**3
RIG = Hardware("debian", "13", "trixie", "6.12", "x86_64", Cpu("EPYC", 16, 32), 128 * GIB)
CARD = Gpu(
    index=0,
    uuid="GPU-0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9",
    vendor="NVIDIA",
    pci_address="0000:01:00.0",
    pci_id="10de:2204",
    name="NVIDIA GeForce RTX 3090",
    vram_bytes=24 * GIB,
    compute_capability="8.6",
    state="ok",
)
WITH_CARD = replace(RIG, gpus=(CARD,), driver_version="580.178")
AMD_CARD = Gpu(
    index=0,
    vendor="AMD",
    pci_address="0000:03:00.0",
    pci_id="1002:744c",
    name="Radeon RX 7900 XTX",
    vram_bytes=24 * GIB,
    state="ok",
)
WITH_AMD = replace(RIG, gpus=(AMD_CARD,), vendor="AMD")


def plan_of(wish, hardware, weights, key, planner):
    """A plan of a service whose model could not be read from here."""
    group = devices(hardware, is_preview=True)
    layout, variant = Layout(kind="single" if group else "cpu"), Variant(None, "m", "unknown", "gguf", 0)
    load = Load(wish.context, slots=1)
    choice = Choice(wish, variant, "llamacpp", layout, (group,), load, None, None, None, cache_mib=8192, is_fitted=True)
    found = planner.render(choice, RenderContext(hardware.cpu, weights, key))
    plan = ServicePlan(
        service=wish.name,
        engine="llamacpp",
        engine_version="0c1e570",
        model=variant.name,
        quant=variant.quant,
        source=wish.model,
        file_bytes=None,
        layout=layout,
        replicas=(Replica(gpus=tuple(one.ref for one in group), port=wish.port, environment=found.environments[0]),),
        device="GPU 0" if group else "CPU",
        context_tokens=wish.context,
        slots=1,
        flags=found.flags,
        reasons=found.reasons,
        memory=None,
    )
    return with_render_nodes(plan, hardware)


PLANNER, VULKAN, HIP = (LlamacppPlanner(LlamacppSettings(backend=one)) for one in ("auto", "vulkan", "hip"))
WEIGHTS = {"/var/lib/rigwright/weights/m.gguf": "ab" * 32}


def instance_of(hardware=RIG, planner=PLANNER, **wish):
    full = ServiceWish.model_validate({"name": "chat", "model": "m.gguf", "context": 4096, **wish})
    key = "${CREDENTIALS_DIRECTORY}/api-key" if full.api_key_file else None
    path = f"/var/lib/rigwright/weights/{full.model.file_name}"
    return Instance(full, plan_of(full, hardware, path, key, planner))


def unit(hardware=RIG, planner=PLANNER, **wish):
    return render_unit(instance_of(hardware, planner, **wish), planner, weights=WEIGHTS)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("cpu-loopback", unit()),
        ("amd-vulkan", unit(WITH_AMD, VULKAN)),
        ("gpu-open-with-key", unit(WITH_CARD, host="0.0.0.0", api_key_file="k", allow_from=["192.168.1.0/24"])),
    ],
)
def test_unit_matches_golden(name, text, request):
    """The whole file, as it lands on a rig; `make golden` renews it."""
    path = Path(__file__).parents[1] / "golden" / f"{name}.service"
    if request.config.getoption("--renew-golden"):
        path.write_text(text)
    assert text == path.read_text()


def test_unit_is_ours_until_somebody_edits_it():
    """An edit anywhere below the header is noticed."""
    text = unit()
    assert is_ours(text)
    edited = text.replace("RestartSec=30", "RestartSec=6")
    assert (is_ours(edited), was_ours(edited)) == (False, True)
    assert was_ours("[Unit]\nDescription=somebody else's\n") is False


def test_unit_never_gives_up_and_waits_longer_each_time():
    """A driver that DKMS builds anew comes minutes after the boot; systemd before 254 knows one wait."""
    instance = instance_of()
    old, new = (render_unit(instance, PLANNER, weights=WEIGHTS, systemd=version) for version in (253, 254))
    assert "StartLimitIntervalSec=0\n" in old and "StartLimitBurst" not in old + new
    assert "RestartSec=30\n" in old and "RestartSteps" not in old
    assert "RestartSec=5\nRestartSteps=8\nRestartMaxDelaySec=300\n" in new


def test_unit_opens_the_render_nodes_of_its_gpus_alone():
    """By their place on the bus, which no other numbering moves; ROCm's own file where it is HIP's; NVIDIA's none."""
    two = replace(WITH_AMD, gpus=(AMD_CARD, replace(AMD_CARD, index=1, pci_address="0000:0a:00.0", hip_index=3)))
    text = unit(two, VULKAN)
    opened = [line for line in text.splitlines() if line.startswith("DeviceAllow=")]
    assert opened == [f"DeviceAllow=/dev/dri/by-path/pci-0000:{one}:00.0-render rw" for one in ("03", "0a")]
    assert "--device Vulkan0,Vulkan1" in text and "VISIBLE" not in text and "nvidia" not in text
    one = replace(WITH_AMD, gpus=(replace(AMD_CARD, hip_index=3, architecture="gfx1100"),))
    by_hip = unit(one, HIP)
    assert "DeviceAllow=/dev/kfd rw\n" in by_hip and "Environment=HIP_VISIBLE_DEVICES=3\n" in by_hip
    assert "--device ROCm0" in by_hip
    unknown = unit(replace(WITH_AMD, gpus=(replace(AMD_CARD, pci_address=None),)), VULKAN)
    assert "DeviceAllow=char-drm rw\n" in unknown
    assert "device_files" not in instance_of(WITH_CARD).record(health="/health", answer={})


def test_service_on_gpus_has_their_device_files_made_first():
    """Nobody else makes them on a machine without a desktop, and the service itself may not."""
    text = unit(WITH_CARD)
    assert "Wants=rigwright.devices.service nvidia-persistenced.service\n" in text
    assert "After=rigwright.devices.service nvidia-persistenced.service rigwright.power.service\n" in text
    # Who waits for a oneshot that is started again and again waits for ever.
    assert "Type=exec\n" in template("power.service") and "Restart=" not in template("devices.service")
    # The daemon needs them too.
    assert "Before=nvidia-persistenced.service\n" in template("devices.service")
    assert "rigwright.devices" not in unit()


def devices_command(tmp_path: Path, modprobe: str | None) -> list[str]:
    """What makes the device files, with tools of a test's own; /proc/devices is a file there."""
    text = template("devices.service").replace("\\\n", "").replace("$$", "$")
    command = next(line for line in text.splitlines() if line.startswith("ExecStart="))
    tools = {name: f"echo {name} $* >>{tmp_path}/seen" for name in ("nvidia-smi", "nvidia-modprobe", "mknod")}
    tools["nvidia-smi"] += "; exit 3"
    tools["nvidia-modprobe"] += f"; {modprobe}"
    for name, script in tools.items():
        if name != "nvidia-modprobe" or modprobe:
            (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
            (tmp_path / name).chmod(0o755)
    (tmp_path / "devices").write_text("Character devices:\n195 nvidia\n509 nvidia-uvm\n\nBlock devices:\n  8 sd\n")
    return shlex.split(command.removeprefix("ExecStart=").replace("/proc/devices", f"{tmp_path}/devices"))


ASKED = "nvidia-modprobe -c 0 -u\n"
MADE = "mknod -m 666 /dev/nvidia-uvm c 509 0\nmknod -m 666 /dev/nvidia-uvm-tools c 509 1\n"


@pytest.mark.skipif(Path("/dev/nvidia-uvm").exists(), reason="this machine has the files of a GPU")
@pytest.mark.parametrize(
    ("modprobe", "asked"),
    [("exit 0", "nvidia-modprobe -c 0 -u\n"), ("exit 1", "nvidia-modprobe -c 0 -u\n"), (None, MADE)],
)
def test_device_files_of_cuda_are_made_by_the_driver_or_by_hand(tmp_path, modprobe, asked):
    """A9: by nvidia-modprobe, where there is one; whether GPUs answer, nvidia-smi alone decides."""
    command = devices_command(tmp_path, modprobe)
    assert subprocess.run(command, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}).returncode == 3
    assert (tmp_path / "seen").read_text() == f"{asked}nvidia-smi -L\n"


def test_marker_changes_with_the_unit():
    """A process can be held against the unit it was started from."""
    assert marker_of(unit()) == marker_of(unit())
    assert marker_of(unit()) != marker_of(unit(context=8192))


def test_loopback_service_admits_no_other_address():
    """The kernel itself refuses what is not the rig."""
    assert "IPAddressDeny=any\nIPAddressAllow=localhost\n" in unit()
    assert "IPAddressAllow=localhost 10.0.0.0/8" in unit(host="10.0.0.2", api_key_file="k", allow_from=["10.0.0.0/8"])


def test_key_is_a_credential_and_never_an_argument():
    """The process list shows a path, the unit shows a path."""
    text = unit(host="0.0.0.0", api_key_file="/secret/place")
    assert "LoadCredential=api-key:/etc/rigwright/chat.key" in text
    assert "${CREDENTIALS_DIRECTORY}/api-key" in text
    assert "/secret/place" not in text


@pytest.mark.parametrize(
    ("flags", "locks"),
    [
        *(({"--load-mode": mode}, True) for mode in ("mlock", "mmap+mlock")),
        *(({"--load-mode": mode}, False) for mode in ("mmap", "none")),
        ({}, False),
    ],
)
def test_memory_is_locked_as_the_flags_say(flags, locks):
    """Without the limit llama-server warns and goes on; the dry run has it too, and other units stay as they were."""
    text = unit(flags=flags)
    assert ("LimitMEMLOCK=infinity" in text.splitlines()) is locks
    assert ("LimitMEMLOCK=infinity" in sandbox(text)) is locks
    reasons = instance_of(flags=flags).plan.reasons
    assert [one.choice for one in reasons if "MEMLOCK" in one.choice] == ["LimitMEMLOCK=infinity"] * locks


def test_sandbox_is_all_of_a_unit_but_its_life():
    """A line that a template gains is a wall of the dry run too, unless it is named as none."""
    text = unit(WITH_CARD, host="0.0.0.0", api_key_file="k", allow_from=["10.0.0.0/8"])
    body = text.partition("[Service]\n")[2].partition("[Install]")[0]
    lines = [line for line in body.splitlines() if re.match(r"\w+=", line)]
    walls = sandbox(text)
    left = {line.partition("=")[0] for line in lines if line not in walls} - {"IPAddressAllow"}
    life = {
        "Environment",
        "Type",
        "ExecStart",
        "LoadCredential",
        "Restart",
        "RestartSec",
        "TimeoutStopSec",
        "OOMPolicy",
    }
    assert left == life | {"CacheDirectory"}
    assert {"IPAddressAllow=localhost", "IPAddressAllow=10.0.0.0/8"} <= set(walls)
    opened = {"DeviceAllow=char-nvidia rw", "DeviceAllow=char-nvidia-uvm rw"}
    assert opened | {"DynamicUser=yes", "NoNewPrivileges=yes"} <= set(walls)
    assert next(line for line in walls if line.startswith("SystemCall")) == "SystemCallArchitectures=native"
    bound = '\n[Service]\nType=exec\nBindReadOnlyPaths="/home/a/50%% of it.gguf"\n\n[Install]\nWantedBy=x\n'
    assert sandbox(bound) == ('BindReadOnlyPaths="/home/a/50% of it.gguf"',)


@given(st.text(alphabet=st.characters(blacklist_categories=("Cc", "Cs")), max_size=40))
def test_quote_survives_systemd(text):
    """systemd's own rules, undone by hand: unquote, then %% and $$ are single again."""
    quoted = quote(text)
    assert "\n" not in quoted
    inner = quoted[1:-1] if quoted.startswith('"') else quoted
    plain = inner.replace("\\\\", "\0").replace('\\"', '"').replace("\0", "\\").replace("%%", "%").replace("$$", "$")
    assert plain == text
    if not quoted.startswith('"'):
        assert quoted and not set(quoted) & set(" \t\"'\\;#")


def test_directory_that_a_home_hides_is_bound_whole():
    """B3: all parts of a model and its projector lie there; a colon in its name separates nothing. Nothing else is."""
    directory = "/home/a:b100%"
    weights = {f"{directory}/m-0000{number}-of-00002.gguf": "ab" * 32 for number in (1, 2)}
    text = render_unit(instance_of(), PLANNER, weights=weights | {"/srv/x.gguf": "cd" * 32})
    binds = [line for line in text.splitlines() if line.startswith("BindReadOnlyPaths=")]
    assert binds == ['BindReadOnlyPaths="/home/a:b100%%"']


@pytest.mark.parametrize(
    "directory",
    [
        *("/root/m", "/root", "/tmp/m", "/var/tmp/x/../m", "/srv/../root", "/home", "/", "//tmp", "/run/m", "/dev/shm"),
        *("/home/it's", "/srv/../../proc/m", "/srv/./../tmp/a"),
    ],
)
def test_directory_that_no_service_sees_is_refused(directory):
    """B3: whatever way round it is written."""
    with pytest.raises(ValidationError):
        WeightsSettings(directory=directory)


def test_directory_is_written_the_short_way():
    """`/srv/../home/x` is where a home is, and bound."""
    assert WeightsSettings(directory="/srv/../home/x").directory == "/home/x"
