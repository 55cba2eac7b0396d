"""Recordings: nothing in them tells whose machine it is, and they are read as the machine was."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rigwright.errors import RigwrightError
from rigwright.hardware.capture import folder_files, read_files, read_folder
from rigwright.hardware.record import redact, write
from rigwright.lab.hardware import answers, find_machine

CAPTURES = Path(__file__).parents[1] / "captures"
MACHINES = sorted(path.name for path in CAPTURES.iterdir() if path.is_dir())


def hidden(text: str) -> str:
    return redact({"file.txt": text})["file.txt"]


@pytest.mark.parametrize("machine", MACHINES)
def test_redacted_machine_is_read_as_before(machine: str) -> None:
    """Columns, blocks and tables stay readable; an AMD GPU has another unique id."""
    files = folder_files(CAPTURES / machine)
    before, after = read_files(files), read_files(redact(files))
    if before.vendor == "AMD":
        assert len({gpu.uuid for gpu in before.gpus}) == len({gpu.uuid for gpu in after.gpus})
        before, after = (
            replace(found, gpus=tuple(replace(gpu, uuid=None) for gpu in found.gpus)) for found in (before, after)
        )
    assert before == after


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("    Serial Number                         : 1324321002473", "    Serial Number                         : "),
        ("    Serial Number                         : N/A", "    Serial Number                         : N/A"),
        ("        Chassis Serial Number     : XS-17\n    Minor Number : 0", "        Chassis Serial Number     : "),
        ("    Board Part Number                     : 692-2G520-0200-000", "    Board Part Number "),
        ("\t\t<serial>0324217145110</serial>", "\t\t<serial>[redacted]</serial>"),
        ("<chassis_serial_number>N/A</chassis_serial_number>", "<chassis_serial_number>N/A</chassis_serial_number>"),
        ('{"card0": {"Serial Number": "692024000810", "Card SKU": "D1640700"}}', '"Card SKU": "D1640700"}}'),
        ("GPU[0]\t\t: Serial Number: 692024000810", "GPU[0]\t\t: Serial Number: [redacted]"),
        ("      Serial Number (system): C02XK1YAJG5J", "      Serial Number (system): [redacted]"),
        ("      Hardware UUID: 564D2A3C-1B0E-4B77-9D4E-1C2D3E4F5A6B", "      Hardware UUID: [redacted]"),
        ("      Provisioning UDID: 00006001-000A1D2E0C88801E", "      Provisioning UDID: [redacted]"),
        ("\tCapabilities: [148 v1] Device Serial Number b4-2e-99-ff-ff-3a-00-17", "Device Serial Number [redacted]"),
        ("link/ether b4:2e:99:3a:00:17 brd", "link/ether [redacted] brd"),
        ("inet 192.168.178.21/24, fe80::b62e:99ff:fe3a:17, 2001:db8:0:1:0:0:0:5", "inet [redacted]/24, [redacted]"),
        ("ada@gpu7:~/llm$ nvidia-smi topo -m", "$ nvidia-smi topo -m"),
        ("(base) [root@gpu7 ~]# nvidia-smi", "$ nvidia-smi"),
        ("Nov 21 05:08:08 gpu7 kernel: NVRM: Xid (PCI:0000:0c:00): 79", ":08 host kernel: NVRM: Xid (PCI:0000:0c:"),
        ("2026-11-21T05:08:08,123456+00:00 gpu7 kernel: NVRM: x", "+00:00 host kernel: NVRM: x"),
        ("cannot open /home/ada/bin/llama-server", "/home/user/bin/llama-server"),
        ("x86_64  525.60.11  Release Build  (ada@gpu7)", "x86_64  525.60.11  Release Build  ([redacted])"),
        ("[ 0.0] Command line: root=/dev/mapper/gpu7--vg-root modprobe.blacklist=nouveau", "Command line: [redacted]"),
        ("Xid (PCI:0000:0c:00): 31, pid=4711, name=ada-train.py, Ch 0", "31, pid=4711, name=[redacted], Ch 0"),
        ("amdgpu: Process ada-train pid 4711 thread ada-t:cs0 pid 4712", "[redacted] pid 4711 thread [redacted] pid"),
        ("\t\t\t[V2] Vendor specific: XS-17", "[V2] Vendor specific: [redacted]"),
        ("\t\t\t[YA] Asset tag: XS-17", "[YA] Asset tag: [redacted]"),
        ("deb https://ada:XS-17@repo.gpu7.example/debian trixie main", "deb https://[redacted]/ trixie main"),
        ("baseurl=https://repo.gpu7.example/XS-17/el9", "baseurl=https://[redacted]/"),
        ("500 http://gpu7.example/debian trixie/main amd64 Packages", "500 http://[redacted]/debian trixie/main amd64"),
        ("signer:         gpu7 Secure Boot Module Signature key", "signer:         [redacted] Secure Boot Module"),
        ("\tAsset Tag: XS-17", "Asset Tag: [redacted]"),
        ("<rack_serial_number>XS-17</rack_serial_number><pdi>0x0324217145110</pdi>", "<pdi>[redacted]</pdi>"),
    ],
)  # fmt: skip
def test_what_tells_the_owner_is_hidden(said: str, kept: str) -> None:
    """Serial numbers, addresses, host and user names."""
    secrets = ("1324321002473", "XS-17", "692-2G520", "0324217145110", "692024000810", "C02XK1YAJG5J", "564D2A3C",
               "00006001", "2e-99", "2e:99", "192.168", "fe80", "2001:db8", "gpu7", "ada")  # fmt: skip
    assert kept in hidden(said)
    assert [secret for secret in secrets if secret in hidden(said)] == []


@pytest.mark.parametrize(
    "said",
    [
        "GPU 0: NVIDIA H100 (UUID: GPU-49dc16a9-b8a8-fba7-9cd8-b9f3aa6c8b5e)",
        "    VBIOS Version                         : 96.00.61.00.01",
        "        Image Version                     : G520.0200.00.05",
        "Driver Version                                : 590.48.01",
        "0000:0c:00.0 VGA compatible controller [0300]: NVIDIA Corporation GA102 [10de:2204] (rev a1)",
        "Timestamp                                     : Tue Jul 14 08:12:38 2026",
        "    VBIOS Version                         : 94.12.42.10.A9",
        "NVRM: Xid (PCI:0000:0c:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.",
        "\t\t\t[EC] Engineering changes: A5",
        "KERNEL=5.15.167.4-microsoft-standard-WSL2",
        "GPU0\t X \tNV4\t0-15,32-47\t0\t\tN/A",
        "KERNEL=6.8.0-45-generic",
        "deb https://developer.download.nvidia.com/compute/cuda/repos/debian13/x86_64/ /",
        "signer:         DKMS module signing key",
        "ii  linux-image-generic 5.15.0.122.122",
        "ii  cuda-cudart-12-4 12.4.127-1",
        "     580.95.05-0ubuntu0.24.04.2 500",
    ],
)
def test_what_readers_need_is_kept(said: str) -> None:
    """Versions, times and CPU lists look like addresses and are none."""
    assert said == hidden(said)


def test_secret_columns_are_blank_and_stay_in_place() -> None:
    """serial and hostname of a wide query."""
    text = "index, serial, name, hostname\n0, 1324321002473, NVIDIA H100, gpu7.example.org\n1, [N/A], NVIDIA H100, x\n"
    assert hidden(text) == (
        "index, serial, name, hostname\n0, [redacted], NVIDIA H100, [redacted]\n1, [N/A], NVIDIA H100, [redacted]\n"
    )


def test_processes_are_dropped() -> None:
    """From the plain table, from -q, from XML and from rocm-smi's JSON."""
    files = folder_files(CAPTURES / "1x-rtx4080s-capture") | {
        "smi.xml": (CAPTURES / "xml-rtx2080-windows-x8" / "smi.xml").read_text(),
        "rocm-smi.json": '{"system": {"PID4711": "kwin_wayland, 1, 0, 0"}}',
    }
    clean = redact(files)
    assert any("kwin_wayland" in text for text in files.values())
    for name, text in clean.items():
        assert not re.search(r"kwin_wayland|plasma|Xwayland|WindowsApps|StartMenu", text), name
    lines = clean["smi.txt"].splitlines()
    assert lines[-1] == files["smi.txt"].splitlines()[-1]
    assert len({len(line) for line in lines[-5:]}) == 1


def test_recording_is_read_as_the_machine_was(tmp_path: Path) -> None:
    """`--capture` of a recording shows what the live reading showed; the lab replays it."""
    recorded = folder_files(CAPTURES / "1x-h100-capture")
    files = redact({name: text for name, text in recorded.items() if "load" not in name})
    write(tmp_path / "mybox", files, name="rig1")
    assert read_folder(tmp_path / "mybox") == read_files(files)
    meta = json.loads((tmp_path / "mybox" / "meta.json").read_text())
    assert (meta["id"], meta["gpus"], meta["driver_version"]) == ("mybox", ["NVIDIA H100 80GB HBM3"], "590.48.01")
    assert meta["files"] == sorted(files)
    machine = find_machine(str(tmp_path / "mybox"))
    assert ("nvidia-smi topo -m", "topo.txt", "0") in answers(machine)


def test_recording_overwrites_nothing(tmp_path: Path) -> None:
    """A folder with something in it is refused."""
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RigwrightError, match=r"is not empty; name a new folder"):
        write(tmp_path, {"smi.txt": "x"}, name="rig1")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@given(st.text())
def test_no_text_raises(text: str) -> None:
    """Whatever a rig said."""
    hidden(text)
    assert hidden(hidden(text)) == hidden(text)
