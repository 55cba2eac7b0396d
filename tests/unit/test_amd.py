"""GPUs of AMD's: read without a tool of theirs, planned where the inventory says by what, refused without a driver."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rigwright.errors import DoesNotFit
from rigwright.hardware.capture import read_folder
from rigwright.hardware.values import Gpu
from rigwright.plan.devices import devices
from rigwright.plan.engines.installed import Installed
from rigwright.plan.render_nodes import with_render_nodes
from rigwright.resolve.drivers import waiting_for_driver
from rigwright.resolve.resolve import resolve
from rigwright.roles.llamacpp.engine import lacking_rocm
from rigwright.spec.file import parse_spec
from rigwright.verify import drm

SERVICE = {"name": "chat", "model": "Qwen/Qwen3-8B-GGUF:Q4_K_M"}
NODE = "/dev/dri/by-path/pci-0000:03:00.0-render"


@pytest.fixture
def amd(machine):
    """A machine with one card, whose driver answers."""
    found = machine(gpus=["Radeon RX 7900 XTX"])
    (card,) = found.gpus
    return replace(found, gpus=(replace(card, pci_address="0000:03:00.0", vendor="AMD", state="ok"),), vendor="AMD")


def resolved(hardware, model=SERVICE["model"], **settings):
    """What a deploy of one service would bring."""
    spec = parse_spec("inventory", {"services": [{**SERVICE, "model": model}], "llamacpp": settings})
    return resolve(spec, hardware), spec


def test_card_is_served_from_where_the_inventory_says_by_what(amd):
    """Without that the CPU serves, and the plan says what would."""
    found, _ = resolved(amd, backend="vulkan")
    (service,) = found.plan.services
    assert service.not_deployed is None and service.layout.kind == "single"
    assert dict((flag.name, flag.value) for flag in service.flags)["--device"] == "Vulkan0"
    assert service.replicas[0].device_files == (NODE,) and service.replicas[0].environment == ()
    assert [note.choice for note in found.plan.notes] == []
    default, _ = resolved(amd)
    assert default.plan.services[0].gpus == ()
    assert any("rig.llamacpp.backend: vulkan serves from it" in note.because for note in default.plan.notes)


def test_card_without_a_driver_is_waited_for(amd):
    """A deploy refuses, and names amdgpu and not NVIDIA's driver."""
    (card,) = amd.gpus
    found, spec = resolved(replace(amd, gpus=(replace(card, state=None, uuid=None),)), backend="vulkan")
    waiting = waiting_for_driver(found, spec, replace(amd, gpus=(replace(card, state=None, uuid=None),)))
    assert waiting and waiting.service == "chat" and "modprobe amdgpu" in waiting.do
    assert waiting_for_driver(*(resolved(amd, backend="vulkan")), amd) is None


def test_memory_is_read_from_the_kernel_where_no_tool_of_amds_is(tmp_path):
    """amdgpu tells it in sysfs, and by that it answers; what no card has is not believed."""
    text = (
        "# display controllers, accelerators and RDMA adapters\n\ndevice=0000:03:00.0\nclass=0x030000\nvendor=0x1002\n"
        "numa_node=-1\nmem_info_vram_total={}\ndevice_id=0x744c\ndriver=amdgpu\n"
    )
    (tmp_path / "sysfs.txt").write_text(text.format(25753026560))
    (card,) = read_folder(tmp_path).gpus
    assert (card.vram_bytes, card.state, card.index, card.vendor) == (25753026560, "ok", 0, "AMD")
    for strange in ("0", "-1", "9" * 30, "24 GiB or so"):
        (tmp_path / "sysfs.txt").write_text(text.format(strange))
        (card,) = read_folder(tmp_path).gpus
        assert card.state is None and card.vram_bytes in (None, 24 << 30), strange


def test_gpu_in_ram_has_what_the_kernel_lets_it_have(machine):
    """Half of it by default; more where its owner raised the limit, and by how the plan says."""
    gpu = Gpu(index=0, vendor="AMD", name="Radeon 8060S", ram_share=0.5, state="ok", pci_address="0000:c3:00.0")
    strix = replace(machine(ram_gib=128), gpus=(gpu,), gpu_count=1, vendor="AMD")
    raised = replace(strix, gpus=(replace(gpu, gtt_bytes=120 << 30),))
    lowered = replace(strix, gpus=(replace(gpu, gtt_bytes=16 << 30),))
    offered = [devices(one, is_preview=True)[0].offered_bytes >> 30 for one in (strix, raised, lowered)]
    assert offered == [63, 119, 15]
    because = [
        next(note.because for note in plan.notes if note.choice == "one memory")
        for plan in (resolved(one, backend="vulkan")[0].plan for one in (strix, raised, lowered))
    ]
    pages = int(0.95 * (128 << 18)) - (1 << 18)
    words = f"; the kernel parameter ttm.pages_limit={pages} (on older kernels amdgpu.gttsize={pages // 256})"
    assert f"amdgpu's own limit is half{words}, and a boot, would give it 121 GiB" in because[0]
    assert "kernel" not in because[1] and f"amdgpu lets it have 16.0 GiB{words}" in because[2]


@pytest.mark.parametrize("model", ["gpt-oss-120b", "qwen3.5-122b-a10b", "qwen3.5-35b-a3b"])
@pytest.mark.parametrize("ram_gib", [32, 64, 125])
def test_gpu_in_ram_never_leaves_a_part_to_the_cpu(machine, model, ram_gib):
    """It is the same memory: a model is whole on the GPU or on the CPU, or refused with the limit and its cure."""
    gpu = Gpu(index=0, vendor="AMD", name="Radeon 8060S", ram_share=0.5, state="ok", pci_address="0000:c3:00.0")
    strix = replace(machine(ram_gib=ram_gib), gpus=(gpu,), gpu_count=1, vendor="AMD")
    try:
        service = resolved(strix, model=model, backend="vulkan")[0].plan.services[0]
    except DoesNotFit as error:
        assert "ttm.pages_limit=" in error.message or "this rig offers" in error.message
        return
    flags = {flag.name: flag.value for flag in service.flags}
    assert service.in_ram is None and "--n-cpu-moe" not in flags
    assert flags.get("--n-gpu-layers", "all") == "all"


def test_strix_halo_of_128_gb_holds_gpt_oss_120b(machine):
    """Half of 125 GiB holds its 59 GiB whole, at the 51.8 tokens/s that the public toolboxes of it measured."""
    gpu = Gpu(index=0, vendor="AMD", name="Radeon 8060S", ram_share=0.5, state="ok", pci_address="0000:c3:00.0")
    strix = replace(machine(ram_gib=125), gpus=(gpu,), gpu_count=1, vendor="AMD")
    service = resolved(strix, model="gpt-oss-120b", backend="vulkan")[0].plan.services[0]
    assert service.gpus and service.in_ram is None
    assert service.speed and service.speed.low < 51.8 < service.speed.high


@pytest.mark.parametrize(
    ("rocm", "said"), [("", "no ROCm is in /opt/rocm"), ("5.7.1", "is 5.7.1"), ("6.1.0", None), ("10.0", None)]
)
def test_build_for_hip_wants_rocm(rocm, said):
    """None is brought: it is refused before anything is touched."""
    found = lacking_rocm(Installed(rocm=rocm))
    assert (found is None) if said is None else (said in found and "set backend to vulkan" in found)


FDINFO = """pos:\t0
flags:\t02100002
drm-driver:\tamdgpu
drm-client-id:\t7
drm-pdev:\t{address}
drm-memory-vram:\t{kib} KiB
drm-memory-gtt: \t2048 KiB
pos:\t0
flags:\t0100000
"""


def test_process_that_has_no_memory_on_its_card_is_told():
    """By the kernel's account of its open files; of ROCm's by as many GPUs with memory as it opens."""
    on_it = FDINFO.format(address="0000:03:00.0", kib=18874368)
    assert drm.idle([NODE], on_it) == [] == drm.idle(["char-drm"], on_it)
    for said in ("", FDINFO.format(address="0000:03:00.0", kib=0), FDINFO.format(address="0000:0a:00.0", kib=9000)):
        assert drm.idle([NODE], said) == [NODE], said
    other = NODE.replace("03", "0a")
    assert drm.idle([NODE, other], on_it) == [other]
    assert drm.idle([NODE, "/dev/kfd"], "18874368000\n") == []
    assert drm.idle([NODE, other, "/dev/kfd"], "18874368000\n0\n") == [NODE, other]


def test_plan_without_amds_cards_has_no_device_files(machine):
    """NVIDIA's units open them all, by the names of its drivers."""
    hardware = machine(gpus=["RTX 3090"])
    (service,) = resolved(hardware)[0].plan.services
    assert service.gpus and with_render_nodes(service, hardware).replicas[0].device_files == ()
