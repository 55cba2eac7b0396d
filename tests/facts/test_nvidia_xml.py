"""nvidia_xml: what `nvidia-smi -q -x` says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rigwright.hardware.capture import read_files
from rigwright.hardware.sources import nvidia_xml
from rigwright.hardware.values import PcieLink, PowerLimit

CAPTURES = Path(__file__).parents[1] / "captures"
MIB = 1024**2


def capture(name: str) -> str:
    return (CAPTURES / name / "smi.xml").read_text()


def several(*names: str, attached: int | None = None) -> str:
    """One log of the GPU elements of several captures."""
    gpus = [re.search("<gpu id=.*?</gpu>", capture(name), re.DOTALL)[0] for name in names]
    count = f"<attached_gpus>{attached or len(gpus)}</attached_gpus>"
    return f"<nvidia_smi_log>\n{count}\n" + "\n".join(gpus) + "\n</nvidia_smi_log>\n"


THREE = several("xml-p100-gcp", "xml-rtx2080-windows-x8", "xml-t4-aws-x8")


@pytest.mark.parametrize(
    ("name", "pcie", "power"),
    [
        ("xml-rtx2080-windows-x8", PcieLink(3, 3, 8, 16), PowerLimit(275.0, 275.0, 105.0, 350.0)),
        ("xml-rtx3090-vm", PcieLink(1, 4, 16, 16), PowerLimit(200.0, 350.0, 100.0, 375.0)),
        ("xml-rtx4090-gen3-host", PcieLink(1, 3, 16, 16), PowerLimit(450.0, 450.0, 10.0, 600.0)),
        ("xml-rtx4000-sff-ada-v13", PcieLink(1, 4, 16, 16), PowerLimit(70.0, 70.0, 30.0, 70.0)),
    ],
)
def test_link_and_limits_are_read_in_all_versions(name, pcie, power):
    """Old and new names of the power section, with and without the module's own limits."""
    (gpu,) = nvidia_xml.read(capture(name)).gpus
    assert (gpu.pcie, gpu.power) == (pcie, power)


def test_identity_is_read():
    """Name, UUID, place, ids, memory and display; an id that was masked is unknown."""
    reading = nvidia_xml.read(capture("xml-rtx3080-v13"))
    (gpu,) = reading.gpus
    assert (gpu.index, gpu.uuid) == (0, "GPU-19d6d965-2acc-f646-00f8-4c76979aabb4")
    assert (gpu.name, gpu.architecture, gpu.vram_bytes) == ("NVIDIA GeForce RTX 3080", "Ampere", 10240 * MIB)
    assert (gpu.pci_address, gpu.pci_id, gpu.subsystem_id) == ("0000:0c:00.0", "10de:2216", "19da:1612")
    assert (gpu.state, gpu.has_display, reading.driver_version) == ("ok", False, "595.58.03")
    assert (reading.is_driver_list, reading.is_whole) == (True, True)
    assert nvidia_xml.read(capture("xml-rtx3090-vm")).gpus[0].pci_id is None


def test_mig_devices_do_not_replace_the_gpu():
    """The memory is that of the whole GPU."""
    (gpu,) = nvidia_xml.read(capture("xml-a100-mig-netdata")).gpus
    assert (gpu.mig, gpu.mig_devices, gpu.vram_bytes) == (True, (), 40960 * MIB)


def test_cut_log_keeps_its_whole_gpus():
    """The GPU that was cut is left out; without the rest nobody knows whether the place in the list is the index."""
    reading = nvidia_xml.read(THREE[: THREE.index("Tesla T4") + 200])
    assert [gpu.name for gpu in reading.gpus] == ["Tesla P100-PCIE-16GB", "NVIDIA GeForce RTX 2080"]
    assert not reading.is_whole


def test_broken_gpu_does_not_hide_the_others():
    """Each element is read by itself."""
    reading = nvidia_xml.read(THREE.replace("<product_name>NVIDIA GeForce RTX 2080", "<product_name NVIDIA"))
    assert [(gpu.index, gpu.name) for gpu in reading.gpus] == [(0, "Tesla P100-PCIE-16GB"), (2, "Tesla T4")]
    assert not reading.is_whole


def test_selected_gpu_has_no_index():
    """`-i 2` lists one GPU of three: its place in the list is not its index."""
    reading = nvidia_xml.read(several("xml-t4-aws-x8", attached=3))
    assert ([gpu.index for gpu in reading.gpus], reading.is_whole) == ([None], False)


def without_count(text: str) -> str:
    return re.sub("<attached_gpus>.*</attached_gpus>\n", "", text)


@pytest.mark.parametrize(
    ("text", "indexes"),
    [
        (without_count(several("xml-t4-aws-x8")), [0]),  # its minor number is 0
        (without_count(several("xml-t4-aws-x8")).replace("<minor_number>0", "<minor_number>2"), [None]),
        (without_count(several("xml-t4-aws-x8")).replace("<minor_number>0</minor_number>", ""), [0]),
        (several("xml-t4-aws-x8").replace("</attached_gpus>", "</attac"), [None]),
        ("<attached_gpus>3</attached_gpus>\n" + without_count(several("xml-t4-aws-x8")), [None]),
        (without_count(several("xml-t4-aws-x8")) + "<attached_gpus>3</attached_gpus>\n", [None]),
        (without_count(several("xml-t4-aws-x8", "xml-p100-gcp")), [None, None]),  # both have the number 0
        (
            without_count(several("xml-t4-aws-x8", "xml-p100-gcp")).replace("<minor_number>0", "<minor_number>1", 1),
            [0, 1],
        ),
    ],
)
def test_log_without_a_count_is_whole_where_nothing_speaks_against_it(text, indexes):
    """A count elsewhere in the text counts, one that was cut is unknown, and minor numbers show what was left out."""
    reading = nvidia_xml.read(text)
    assert [gpu.index for gpu in reading.gpus] == indexes
    assert reading.is_whole == (None not in indexes)


def test_list_that_is_taken_for_whole_is_a_finding():
    """Where neither a count nor another list confirms it."""
    text = without_count(several("xml-t4-aws-x8"))
    alone = read_files({"smi.xml": text})
    assert [(p.code, p.where) for p in alone.problems if p.code == "gpu_count_not_said"] == [
        ("gpu_count_not_said", "smi.xml")
    ]
    confirmed = read_files({"smi.xml": text, "list.txt": f"GPU 0: Tesla T4 (UUID: {alone.gpus[0].uuid})\n"})
    assert "gpu_count_not_said" not in [p.code for p in confirmed.problems]


def test_lost_gpu_is_told():
    """Its values are the text `GPU is lost`."""
    text = THREE.replace("<total>8192 MiB", "<total>GPU is lost").replace("<gpu_temp>42 C", "<gpu_temp>GPU is lost")
    reading = nvidia_xml.read(text)
    assert [gpu.state for gpu in reading.gpus] == ["ok", "lost", "ok"]
    assert [(p.code, p.where) for p in reading.problems] == [("gpu_lost", "GPU 1"), ("one_gpu_lost", "GPU 1")]


def test_entities_are_refused():
    """A text that defines entities is no log of nvidia-smi."""
    assert nvidia_xml.read('<!DOCTYPE x [<!ENTITY a "b">]>' + THREE).gpus == ()


@pytest.mark.patience
@settings(max_examples=60, deadline=None)
@given(st.text(), st.integers(0, len(THREE)), st.integers(0, 400))
def test_any_text_is_read(text, place, lost):
    """No text raises, and none adds a UUID."""
    nvidia_xml.read(text)
    nvidia_xml.read("<nvidia_smi_log><gpu id=" + text + "</gpu></nvidia_smi_log>")
    found = nvidia_xml.read(THREE[:place] + text + THREE[place + lost :])
    assert {gpu.uuid for gpu in found.gpus} <= {None, *(gpu.uuid for gpu in nvidia_xml.read(THREE).gpus)}
