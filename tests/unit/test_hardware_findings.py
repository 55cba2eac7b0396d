"""Several sources become one machine, and its owner is told what is wrong with it and what is not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rigwright.hardware import Hardware, capture
from rigwright.hardware.capture import folder_files, read_files
from rigwright.hardware.topology import group
from rigwright.view.answers.hardware import hardware_answer

LINK = "pcie.link.gen.current, pcie.link.gen.max, pcie.link.width.current, pcie.link.width.max"
UUIDS = [f"GPU-1aff65f8-8897-eaee-29e4-6871ef7491a{index}" for index in range(8)]


def query(*rows: str) -> str:
    return "\n".join([f"index, uuid, name, pci.bus_id, memory.total [MiB], {LINK}", *rows, ""])


def row(index: int, link: str = "1, 4, 16, 16", name: str = "NVIDIA GeForce RTX 3090", mib: int = 24576) -> str:
    return f"{index}, {UUIDS[index]}, {name}, 00000000:{index + 1:02X}:00.0, {mib} MiB, {link}"


def on_bus(address: str, path: str, device: str = "0x2204", vendor: str = "0x10de", **more: str) -> str:
    """A block as the collector writes it."""
    known = {"device": address, "path": path, "class": "0x030000", "vendor": vendor, "device_id": device}
    return "\n".join(f"{key}={value}" for key, value in (known | {"numa_node": "0"} | more).items()) + "\n"


def codes(hardware: Hardware) -> list[tuple[str, str]]:
    return [(problem.code, problem.where) for problem in hardware.problems]


def test_hidden_x4_slot_is_a_finding():
    """The second of two cards runs x4 where slot and card can do x16; the generation at idle is none."""
    found = read_files({"query.csv": query(row(0), row(1, "1, 4, 4, 16"))})
    assert codes(found) == [("link_width_reduced", "GPU 1")]
    assert "7.9 instead of 31.5 GB/s" in found.problems[0].what  # 16 GT/s × 128/130 / 8 × lanes


def test_card_with_eight_lanes_is_whole():
    """Two 5060 Ti of one rig say 8 and 16 lanes at best; the card has 8."""
    name = "NVIDIA GeForce RTX 5060 Ti"
    rows = [row(0, "1, 3, 8, 8", name, 16311), row(1, "1, 3, 8, 16", name, 16311)]
    assert codes(read_files({"query.csv": query(*rows)})) == []


def test_generation_counts_under_load_alone():
    """Gen 1 at idle saves power; gen 1 under load is a fault, and gen 4 under load is what the link does."""
    idle = query(row(0), row(1))
    stuck = f"index, {LINK}\n0, 4, 4, 16, 16\n1, 1, 4, 16, 16\n"
    found = read_files({"query.csv": idle, "query-load.csv": stuck})
    assert codes(found) == [("link_generation_reduced", "GPU 1")]
    assert [gpu.pcie.gen_current for gpu in found.gpus] == [4, 1]
    assert codes(read_files({"query.csv": idle})) == []


def test_reading_under_load_counts_even_when_the_one_before_was_faster():
    """A link that was fast just after the last job, and trains down under load, is slow."""
    found = read_files(
        {"query.csv": query(row(0, "4, 4, 16, 16")), "query-load.csv": f"index, {LINK}\n0, 1, 4, 8, 16\n"}
    )
    assert (found.gpus[0].pcie.gen_current, found.gpus[0].pcie.width_current) == (1, 8)
    assert set(codes(found)) == {("link_generation_reduced", "GPU 0"), ("link_width_reduced", "GPU 0")}


def test_cut_list_adds_no_gpu_to_a_whole_one():
    """A table that lost its head and shows a ninth GPU beside a whole list of one: the whole list counts."""
    table = "\n".join(TABLE.splitlines()[10:]) + "\n"
    assert [gpu.index for gpu in read_files({"query.csv": query(row(0)), "smi.txt": table}).gpus] == [0]


def test_gpu_that_was_not_put_under_load_is_not_judged_by_it():
    """GPU 1 serves somebody and was left alone: that it rests at gen 1 is no fault."""
    found = read_files({"query.csv": query(row(0), row(1)), "query-load.csv": f"index, {LINK}\n0, 4, 4, 16, 16\n"})
    assert codes(found) == []


def test_slow_copy_is_a_finding():
    """2.9 GB/s over a link that says gen 4 x16: a switch before the card is narrower."""
    rates = (
        "index, host_to_device_gbytes_per_second, device_to_host_gbytes_per_second\n0, 25.100, 25.9\n1, 2.900, 3.1\n"
    )
    found = read_files({"query.csv": query(row(0), row(1)), "transfer.csv": rates})
    assert codes(found) == [("transfer_slow", "GPU 1")]
    assert found.gpus[0].copied_gbytes_per_second == 25.1


def test_slot_narrower_than_its_card_is_told_as_that():
    """Nothing is broken when a x8 slot gives x8."""
    bus = on_bus(
        "0000:01:00.0",
        "/sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0",
        current_link_width="8",
        max_link_width="16",
        slot_max_link_width="8",
    )
    assert codes(read_files({"sysfs.txt": bus})) == [("slot_narrower_than_card", "GPU 0")]


def test_blank_rig_is_known_by_its_bus():
    """Without a driver: model, memory, capability from the catalogue; links and groups from the paths."""
    root = "/sys/devices/pci0000:00"
    blocks = [
        on_bus("0000:05:00.0", f"{root}/0000:00:03.0/0000:03:00.0/0000:04:01.0/0000:05:00.0"),
        on_bus("0000:01:00.0", f"{root}/0000:00:01.0/0000:01:00.0"),
        on_bus("0000:06:00.0", f"{root}/0000:00:03.0/0000:03:00.0/0000:04:02.0/0000:06:00.0"),
        on_bus("0000:02:00.0", f"{root}/0000:00:02.0/0000:02:00.0"),
        on_bus("0000:0b:00.0", f"{root}/0000:00:04.0/0000:0b:00.0", "0x2000", "0x1a03"),
    ]
    found = read_files({"sysfs.txt": "\n".join(blocks), "smi.txt": "nvidia-smi: not found\n"})
    assert found.gpu_count == 4
    assert [gpu.pci_address for gpu in found.gpus] == [f"0000:0{bus}:00.0" for bus in (1, 2, 5, 6)]
    first = found.gpus[0]
    assert (first.name, first.vram_bytes, first.compute_capability) == ("NVIDIA GeForce RTX 3090", 24 << 30, "8.6")
    assert (first.architecture, first.state, first.index) == ("Ampere", None, 0)
    assert {(link.first, link.second): link.kind for link in found.links}[2, 3] == "PIX"
    assert group(found).pairs == ((0, 1), (2, 3))
    assert group(found).confidence == "medium"  # a bridge shows only once a driver runs
    assert codes(found) == [("driver_missing", "nvidia-smi")]


def test_unknown_card_works_with_what_is_known():
    """A card of next year: architecture by the range of its id, nothing else is guessed."""
    found = read_files({"sysfs.txt": on_bus("0000:01:00.0", "/sys/devices/pci0000:00/0000:01:00.0", "0x2bff")})
    gpu = found.gpus[0]
    assert (gpu.pci_id, gpu.name, gpu.vram_bytes) == ("10de:2bff", None, None)
    assert gpu.architecture in (None, "Blackwell")


def test_machine_without_gpu_needs_no_driver():
    """Nobody is told to install a driver for nothing."""
    found = read_files({"sysfs.txt": "# display controllers and accelerators\n", "smi.txt": "nvidia-smi: not found\n"})
    assert (found.gpu_count, found.gpus, found.problems) == (0, (), ())


def test_graphics_of_the_cpu_are_no_gpu_beside_a_card():
    """An AMD processor's own graphics beside a 3090 is not counted."""
    root = "/sys/devices/pci0000:00"
    blocks = [
        on_bus("0000:00:02.0", f"{root}/0000:00:02.0", "0x164e", "0x1002"),
        on_bus("0000:04:00.0", f"{root}/0000:00:01.0/0000:02:00.0/0000:03:01.0/0000:04:00.0"),
        on_bus("0000:05:00.0", f"{root}/0000:00:01.0/0000:02:00.0/0000:03:02.0/0000:05:00.0"),
    ]
    found = read_files({"sysfs.txt": "\n".join(blocks)})
    assert [gpu.vendor for gpu in found.gpus] == ["NVIDIA", "NVIDIA"]
    assert [(link.first, link.second, link.kind) for link in found.links] == [(0, 1, "PIX")]


def test_gpu_that_the_driver_does_not_list_is_named():
    """Two cards on the bus, one in nvidia-smi: the other is shown, in no group, and not counted."""
    root = "/sys/devices/pci0000:00"
    bus = [on_bus(f"0000:0{n}:00.0", f"{root}/0000:00:0{n}.0/0000:0{n}:00.0") for n in (1, 2)]
    found = read_files({"query.csv": query(row(0)), "sysfs.txt": "\n".join(bus)})
    assert found.gpu_count == 1
    assert codes(found) == [("gpu_missing_from_driver", "0000:02:00.0")]
    assert group(found).order == (0,)


def test_gpu_that_is_missing_from_a_list_without_addresses_is_counted():
    """`nvidia-smi -L` tells how many there are, not which: four on the bus and three there is one too few."""
    line = "0000:0{}:00.0 3D controller [0302]: NVIDIA Corporation GA102GL [A40] [10de:2235] (rev a1)\n"
    bus = "".join(line.format(number) for number in range(1, 5))
    listed = "".join(f"GPU {n}: NVIDIA A40 (UUID: GPU-aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeee{n})\n" for n in range(4))
    few = "".join(listed.splitlines(keepends=True)[:3])
    assert codes(read_files({"list.txt": few, "lspci.txt": bus})) == [("gpu_missing_from_driver", "GPUs")]
    assert codes(read_files({"list.txt": listed, "lspci.txt": bus})) == []
    held = bus + "\tKernel driver in use: vfio-pci\n"
    assert codes(read_files({"list.txt": few, "lspci.txt": held})) == [("gpu_passed_through", "0000:04:00.0")]


TABLE = """\
Unable to determine the device handle for GPU1: 0000:02:00.0: Unknown Error
Thu Aug 27 18:05:38 2026
+-----------------------------------------------------------------------------------------+
| NVIDIA-SMI 610.57.04              KMD Version: 610.57.04     CUDA UMD Version: 13.3     |
+-----------------------------------------+------------------------+----------------------+
| GPU  Name                 Persistence-M | Bus-Id          Disp.A | Volatile Uncorr. ECC |
| Fan  Temp   Perf          Pwr:Usage/Cap |           Memory-Usage | GPU-Util  Compute M. |
|                                         |                        |               MIG M. |
|=========================================+========================+======================|
|   0  NVIDIA GeForce RTX 3090        On  |   00000000:01:00.0 Off |                  Off |
| 58%   87C    P1            299W /  300W |   20450MiB /  24576MiB |    100%      Default |
|                                         |                        |                  N/A |
+-----------------------------------------+------------------------+----------------------+
|   2  NVIDIA GeForce RTX 3090        On  |   00000000:03:00.0 Off |                  Off |
| 63%   86C    P1            298W /  300W |   20450MiB /  24576MiB |    100%      Default |
|                                         |                        |                  N/A |
+-----------------------------------------+------------------------+----------------------+
"""


def test_one_gpu_that_fell_silent_is_in_no_group():
    """nvidia-smi names it above the table of the others: it has its place, and the others are paired."""
    found = read_files({"smi.txt": TABLE})
    assert {gpu.index: gpu.state for gpu in found.gpus} == {0: "ok", 1: "error", 2: "ok"}
    assert {"device_handle_unknown_error", "one_gpu_lost"} <= {code for code, _ in codes(found)}
    grouping = group(found)
    assert grouping.pairs == ((0, 2),)
    assert grouping.order == (0, 2)


@pytest.mark.parametrize("reason", ["GPU is lost.  Reboot the system to recover this GPU", "Unknown Error"])
def test_silent_gpu_without_index_is_the_one_that_only_the_matrix_counts(reason):
    """The driver tells its address alone; the matrix still has its row: one GPU, which serves nothing, told once."""
    table = TABLE.replace("GPU1: 0000:02:00.0: Unknown Error", f"GPU 0000:02:00.0: {reason}")
    topo = "\tGPU0\tGPU1\tGPU2\nGPU0\t X \tNV4\tSYS\nGPU1\tNV4\t X \tSYS\nGPU2\tSYS\tSYS\t X \n"
    found = read_files({"smi.txt": table, "topo.txt": topo})
    assert [(gpu.index, gpu.state == "ok") for gpu in found.gpus] == [(0, True), (1, False), (2, True)]
    assert found.gpus[1].pci_address == "0000:02:00.0"
    assert group(found).order == (0, 2)
    assert [code for code, _ in codes(found)].count("one_gpu_lost") == 1


def test_silent_gpu_is_none_that_answers():
    """A list of indexes and names alone, and the address of one that failed: which it is cannot be told."""
    listed = "index, name\n0, NVIDIA GeForce RTX 3090\n"
    said = "Unable to determine the device handle for GPU 0000:02:00.0: GPU is lost.\n"
    found = read_files({"query.csv": listed, "smi.txt": said})
    assert [gpu.state for gpu in found.gpus if gpu.index == 0] == ["ok"]


def test_gpu_that_the_kernel_lost_is_lost_whatever_the_tool_says():
    """Xid 79 names the bus address; nvidia-smi may still list the card for a while."""
    log = "[ 1843.30] NVRM: Xid (PCI:0000:02:00): 79, pid=812, GPU has fallen off the bus.\n"
    found = read_files({"query.csv": query(row(0), row(1), row(2)), "dmesg.txt": log})
    assert [gpu.state for gpu in found.gpus] == ["ok", "lost", "ok"]
    assert "fallen_off_bus" in {code for code, _ in codes(found)}
    assert group(found).pairs == ((0, 2),)


def test_first_source_wins_and_disagreement_is_told():
    """The query and the list name other GPUs at one index: recorded at different times."""
    listed = f"GPU 0: NVIDIA GeForce RTX 3090 (UUID: {UUIDS[5]})\n"
    found = read_files({"query.csv": query(row(0)), "list.txt": listed})
    assert found.gpus[0].uuid == UUIDS[0]
    problem = next(problem for problem in found.problems if problem.code == "sources_disagree")
    assert "list.txt" in problem.what
    assert UUIDS[5] in problem.what


def test_masked_uuids_tell_no_gpu_from_another():
    """A recording with zeros for every UUID still has as many GPUs as rows."""
    masked = "GPU-00000000-0000-0000-0000-000000000000"
    rows = [row(index).replace(UUIDS[index], masked) for index in range(4)]
    listed = "".join(f"GPU {index}: NVIDIA GeForce RTX 3090 (UUID: {masked})\n" for index in range(4))
    assert len(read_files({"query.csv": query(*rows), "list.txt": listed}).gpus) == 4


@pytest.mark.parametrize(
    ("kind", "p2p", "code"),
    [("NV2", "OK", "nvlink_down"), ("NV4", "CNS", "nvlink_without_p2p"), ("NV4", "OK", None)],
)
def test_bridge_that_does_not_do_its_best(kind, p2p, code):
    """A 3090 bridge has four links, and direct access over it works: GA102 whitepaper."""
    topo = f"\tGPU0\tGPU1\nGPU0\t X \t{kind}\nGPU1\t{kind}\t X \n"
    matrix = f" \tGPU0\tGPU1\t\n GPU0\tX\t{p2p}\t\n GPU1\t{p2p}\tX\t\n"
    found = read_files({"query.csv": query(row(0), row(1)), "topo.txt": topo, "p2p.txt": matrix})
    assert codes(found) == ([(code, "GPU 0 and GPU 1")] if code else [])


def test_links_to_the_switches_that_are_down():
    """Eight H100: all have 18 links to the switches, GPU 3 has 16."""
    names = [f"GPU{index}" for index in range(8)]
    rows = ["\t" + "\t".join(names)]
    for a in range(8):
        rows.append("\t".join([names[a], *("X" if a == b else "NV16" if 3 in (a, b) else "NV18" for b in range(8))]))
    cards = query(*(row(index, "5, 5, 16, 16", "NVIDIA H100 80GB HBM3", 81559) for index in range(8)))
    assert codes(read_files({"topo.txt": "\n".join(rows), "query.csv": cards})) == [("nvlink_down", "GPU 3")]


def test_loaded_module_and_library_of_two_versions():
    """After an upgrade without a reboot."""
    files = {
        "smi.txt": "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 595.84\n",
        "proc-driver-nvidia-version.txt": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  595.71.05  Tue Jun 2026\n",
    }
    found = read_files(files)
    assert (found.gpu_count, found.gpus) == (None, ())
    assert "driver_library_mismatch" in {code for code, _ in codes(found)}


NAMES = [
    "topo.txt",
    "p2p.txt",
    "nvlink.txt",
    "query.csv",
    "query-load.csv",
    "smi.xml",
    "smi-q.txt",
    "smi.txt",
    "list.txt",
]
NAMES += ["lspci.txt", "lscpu.txt", "numactl.txt", "rocm-smi.json", "rocm-smi-showtopo.txt", "SPDisplaysDataType.txt"]
NAMES += [
    "sysfs.txt",
    "dmesg.txt",
    "system.txt",
    "transfer.csv",
    "values.txt",
    "proc-driver-nvidia-version.txt",
    "other",
]


@given(st.dictionaries(st.sampled_from(NAMES), st.text(max_size=400), max_size=4))
def test_no_text_of_a_machine_raises_or_becomes_a_gpu(files):
    """Whatever a tool prints, reading it ends with values."""
    found = read_files(files)
    hardware_answer(found)
    assert found.gpus == ()


PIECES = """GPU0 GPU1 GPU_0: X NV4 SYS index ,_ 0 1 | +---+ [N/A] ERR! uuid MiB 00000000:01:00.0 0000:01:00.0 LnkSta:
x16 Speed_8GT/s VGA_compatible_controller: NVIDIA (UUID:_ ) <gpu_id= </gpu> <nvidia_smi_log> card0 {" ":_ } device=
path=/sys"""
WORDS = st.sampled_from(["\t", " ", "\n", UUIDS[0], *(piece.replace("_", " ") for piece in PIECES.split())])


@given(st.dictionaries(st.sampled_from(NAMES), st.lists(WORDS, max_size=60).map("".join), max_size=3))
def test_words_of_the_formats_in_any_order_raise_nothing(files):
    """Almost right is the worst."""
    hardware_answer(read_files(files))


def test_log_alone_tells_no_count():
    """A kernel log that names one lost GPU says nothing of how many there are."""
    log = "[ 1843.30] NVRM: Xid (PCI:0000:02:00): 79, pid=812, GPU has fallen off the bus.\n"
    found = read_files({"dmesg.txt": log})
    assert (found.gpu_count, [(gpu.index, gpu.pci_address) for gpu in found.gpus]) == (None, [(None, "0000:02:00.0")])


def test_outputs_that_were_pasted_together_are_all_read():
    """One file with two matrices and a list."""
    topo = "\tGPU0\tGPU1\nGPU0\t X \tPHB\nGPU1\tPHB\t X \n"
    p2p = " \tGPU0\tGPU1\t\n GPU0\tX\tGNS\t\n GPU1\tGNS\tX\t\n"
    listed = "".join(f"GPU {index}: NVIDIA GeForce RTX 5090 (UUID: {UUIDS[index]})\n" for index in range(2))
    found = read_files(
        {"report.txt": f"$ nvidia-smi -L\n{listed}$ nvidia-smi topo -m\n{topo}$ nvidia-smi topo -p2p r\n{p2p}"}
    )
    assert [(link.kind, link.p2p) for link in found.links] == [("PHB", "GNS")]
    assert [gpu.name for gpu in found.gpus] == ["NVIDIA GeForce RTX 5090"] * 2


def test_csv_without_header_is_read_by_its_command(tmp_path):
    """`command.txt` holds the query."""
    (tmp_path / "command.txt").write_text("$ nvidia-smi --query-gpu=index,name,memory.total --format=csv,noheader\n")
    (tmp_path / "query.csv").write_text("0, NVIDIA L4, 23034 MiB\n1, NVIDIA L4, 23034 MiB\n")
    found = read_files(folder_files(tmp_path))
    assert [(gpu.index, gpu.vram_bytes) for gpu in found.gpus] == [(0, 23034 << 20), (1, 23034 << 20)]


def test_every_finding_is_in_the_documentation():
    """A code that a person reads can be looked up; `xid_N` stands for all Xids."""
    package = Path(capture.__file__).parent
    page = (package.parents[1] / "docs" / "hardware.md").read_text()
    known = set(re.findall(r"`([a-z0-9]+(?:_[a-zN0-9]+)+)`", page))
    code = r"([a-z0-9]+(?:_[a-z0-9]+)+)"
    everywhere = {
        lines for path in package.rglob("*.py") for lines in re.findall(rf'Problem\(\s*"{code}"', path.read_text())
    }
    tables = [(package / "sources" / name).read_text() for name in ("nvidia_said.py", "kernel_log.py")]
    lines = everywhere | {lines for text in tables for lines in re.findall(rf'(?:, |\()"{code}",', text)}
    assert len(lines) > 30
    assert {re.sub(r"^xid_[0-9]+$", "xid_N", code) for code in lines} - known == set()
