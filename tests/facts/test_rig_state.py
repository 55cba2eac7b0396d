"""RigState: the questions run in a real shell, and recorded answers are read right."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rigwright.hardware import collection
from rigwright.hardware.sections import SECTIONS, read_hardware
from rigwright.roles.base.facts import RemoteFile, read_rig
from rigwright.roles.base.probe import Probe

MIB = 1024**2


def ask(probe: Probe) -> list[str]:
    """The probe's script, run by this machine's own sh."""
    return subprocess.run(["sh", "-c", probe.script()], capture_output=True, text=True, check=True).stdout.splitlines()


def test_probe_reads_files_links_and_directories_whatever_they_are_called(tmp_path):
    """Quotes, dollars, newlines in content: all come back as they are."""
    odd = tmp_path / 'it\'s $HOME `id` "x"'
    odd.write_text("@rigwright end\nzwei\n\ndrei $x '\n")
    link = tmp_path / "link"
    link.symlink_to("/nowhere/at all")
    probe = Probe(files=(str(odd), str(link), str(tmp_path / "none"), str(tmp_path)), directories=(str(tmp_path),))
    rig = read_rig(probe, ask(probe))
    assert rig.content(str(odd)) == odd.read_text()
    assert rig.target(str(link)) == "/nowhere/at all"
    assert rig.files.get(str(tmp_path / "none")) is None or rig.files[str(tmp_path / "none")].kind == "none"
    assert rig.files[str(tmp_path)].kind == "other"
    assert set(rig.directories[str(tmp_path)]) == {odd.name, "link"}


def test_probe_tells_size_mode_and_owner(tmp_path):
    """What a stamp is held against."""
    file = tmp_path / "model.gguf"
    file.write_bytes(b"x" * 1234)
    file.chmod(0o640)
    probe = Probe(stats=(str(file),), disks=(str(tmp_path / "not" / "yet"),))
    rig = read_rig(probe, ask(probe))
    found = rig.files[str(file)]
    assert (found.size_bytes, found.mode, found.modified) == (1234, "640", int(file.stat().st_mtime))
    assert rig.disks[str(tmp_path / "not" / "yet")].free_bytes > 0


@pytest.mark.parametrize("number", ["9" * 5000, "٣", "²", "-1", "", "0x10"])
def test_numbers_that_are_none_end_no_run(number):
    """A rig may say anything where a number is expected; the other rigs of the run go on."""
    probe = Probe(stats=("/m",), files=("/f",), disks=("/d",))
    lines = ["@rigwright identity", f"uid={number}", "@rigwright stat 0", f"{number}|{number}|644|root"]
    lines += ["@rigwright file 0", f"file|{number}|{number}|644|root", ""]
    lines += ["@rigwright disk 0", f"/dev/vda1 {number} 1 {number} 1% /", "@rigwright listeners"]
    lines += [f'LISTEN 0 512 127.0.0.1:{number} 0.0.0.0:* users:(("x",pid={number},fd=3))']
    lines += [f'LISTEN 0 512 127.0.0.1:81 0.0.0.0:* users:(("x",pid={number},fd=3))']
    rig = read_rig(probe, lines)
    assert (rig.uid, rig.files["/m"].size_bytes) == (-1, 0)
    assert set(rig.listeners) == {81}


def test_probes_add_up():
    """Roles ask together, and no question twice."""
    both = Probe(files=("a",), services=("chat",)) | Probe(files=("a", "b"))
    assert (both.files, both.services) == (("a", "b"), ("chat",))


def test_this_machine_is_read():
    """The hardware script runs anywhere: it says what /proc and lscpu say."""
    probe = Probe(scripts=SECTIONS)
    hardware = read_rig(probe, ask(probe)).hardware
    assert hardware.ram_bytes == int(Path("/proc/meminfo").read_text().split()[1]) * 1024
    assert hardware.kernel == Path("/proc/sys/kernel/osrelease").read_text().strip()
    assert 1 <= hardware.cpu.physical_cores <= hardware.cpu.logical_cores


def as_said(**texts: str) -> dict[str, list[str]]:
    """Outputs as sections of the answer of a rig, each line behind its bar; `query_csv` is the file query.csv."""
    return {
        f"source {name.replace('_', '.')}": [f"|{line}" for line in text.split("\n")] for name, text in texts.items()
    }


def test_recorded_gpu_is_read():
    """The row that an H100 machine gave."""
    header = "index, uuid, name, memory.total [MiB], compute_cap, pci.bus_id, driver_version"
    uuid = "GPU-49dc16a9-b8a8-fba7-9cd8-b9f3aa6c8b5e"
    row = f"0, {uuid}, NVIDIA H100 80GB HBM3, 81559 MiB, 9.0, 00000000:05:00.0, 570.195.03"
    hardware = read_hardware(as_said(query_csv=f"{header}\n{row}"))
    [gpu] = hardware.usable_gpus
    found = (gpu.pci_address, gpu.name, gpu.index, gpu.uuid, gpu.vram_bytes, gpu.compute_capability)
    assert found == ("0000:05:00.0", "NVIDIA H100 80GB HBM3", 0, uuid, 81559 * MIB, "9.0")
    assert hardware.driver_version == "570.195.03"


def test_gpu_without_driver_is_known_by_its_pci_id():
    """The error text of nvidia-smi is no GPU, the PCI bus says what is there; other vendors are left out."""
    said = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver."
    blocks = [
        f"device={address}\nclass={kind}\nvendor={vendor}\ndevice_id={device}"
        for address, kind, vendor, device in (
            ("0000:01:00.0", "0x030000", "0x10de", "0x2204"),
            ("0000:07:00.0", "0x030000", "0x10de", "0x2204"),
            ("0000:0b:00.0", "0x030000", "0x1a03", "0x2000"),
        )
    ]
    hardware = read_hardware(as_said(smi_txt=said, sysfs_txt="\n\n".join(blocks)))
    assert [(gpu.pci_address, gpu.pci_id, gpu.uuid) for gpu in hardware.gpus] == [
        ("0000:01:00.0", "10de:2204", None),
        ("0000:07:00.0", "10de:2204", None),
    ]
    assert hardware.usable_gpus == ()


@pytest.mark.parametrize("cell", ["[GPU is lost]", "[Unknown Error]", "ERR!", "[N/A]"])
def test_lost_gpu_is_not_usable(cell):
    """Sentinels of nvidia-smi are never memory."""
    header = "index, uuid, name, memory.total [MiB], compute_cap, pci.bus_id, driver_version"
    row = f"0, GPU-49dc16a9-b8a8-fba7-9cd8-b9f3aa6c8b5e, NVIDIA GeForce RTX 3090, {cell}, 8.6, 00000000:01:00.0, 570"
    assert read_hardware(as_said(query_csv=f"{header}\n{row}")).usable_gpus == ()


@pytest.mark.patience
@given(st.lists(st.text(alphabet=st.characters(blacklist_characters="\n\r"))))
def test_no_answer_of_a_rig_raises(lines):
    """A parser never raises on what a machine says."""
    probe = Probe(files=("/a",), stats=("/b",), disks=("/c",), services=("d",), scripts=SECTIONS)
    names = ["file 0", "stat 0", "disk 0", "listeners", "identity", "packages", "installed", "deployed d"]
    for name in [*names, *(f"source {file}" for file in collection.FILES)]:
        keys = [f"{key}={line}" for line in lines for key in ("unit", "record", "key", "health", "flags", "ref")]
        read_rig(probe, [f"@rigwright {name}", *lines, *keys, *(f"|{line}" for line in lines)])


def test_listeners_are_named():
    """A line of `ss -Hltnp` as Debian 13 prints it."""
    line = 'LISTEN 0 512 127.0.0.1:8080 0.0.0.0:* users:(("llama-server",pid=812,fd=3))'
    rig = read_rig(Probe(), ["@rigwright listeners", line])
    assert rig.listeners == {8080: ("llama-server", 812)}


def test_remote_file_defaults_to_unknown():
    """What was not asked is None."""
    assert RemoteFile("other").content is None
