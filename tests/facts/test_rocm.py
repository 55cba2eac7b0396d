"""rocm-smi as text and as JSON."""

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from rigwright.hardware.capture import read_folder
from rigwright.hardware.sources import rocm_json, rocm_text
from rigwright.hardware.values import PcieLink

CAPTURES = Path(__file__).parents[1] / "captures"
TOPOLOGY = (CAPTURES / "amd-4x-mi300a-numa-per-gpu" / "rocm-smi-showtopo.txt").read_text()
MI100 = (CAPTURES / "amd-json-4x-mi100-rocm602" / "rocm-smi.json").read_text()
PAIRS = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]

# The layouts of rocm-smi 5 and 6 without options.
TABLES = (
    "GPU  Temp (DieEdge)  AvgPwr  SCLK    MCLK     Fan  Perf  PwrCap  VRAM%  GPU%\n"
    "0    53.0c           36.0W   300Mhz  1200Mhz  0%   auto  290.0W    0%   0%\n"
    "1    55.0c           44.0W   300Mhz  1200Mhz  0%   auto  290.0W    0%   0%\n",
    "Device  Node  IDs              Temp    Power  Partitions          SCLK    MCLK     Fan  Perf  PwrCap  VRAM%\n"
    "              (DID,     GUID)  (Edge)  (Avg)  (Mem, Compute, ID)\n"
    "0       1     0x738c,   55069  53.0°C  36.0W  N/A, N/A, 0         300Mhz  1200Mhz  0%   auto  290.0W  0%\n"
    "1       2     0x738c,   41207  55.0°C  44.0W  N/A, N/A, 0         300Mhz  1200Mhz  0%   auto  290.0W  0%\n",
)


def test_rocm_topology_reads_links_from_the_link_type_matrix() -> None:
    """Weights and hops are no links; each GPU of an MI300A board is a node."""
    reading = rocm_text.read(TOPOLOGY)
    assert [(index, index) for index in range(4)] == [(gpu.index, gpu.numa_node) for gpu in reading.gpus]
    assert {pair: "XGMI" for pair in PAIRS} == reading.kinds
    assert reading.is_driver_list and reading.is_whole


def test_rocm_topology_over_pcie() -> None:
    """Cards without a bridge reach each other over PCIe."""
    reading = rocm_text.read((CAPTURES / "amd-4x-mi50-pcie-x8" / "rocm-smi-showtopo.txt").read_text())
    assert {pair: "PCIE" for pair in PAIRS} == reading.kinds
    assert [gpu.numa_node for gpu in reading.gpus] == [0, 0, 0, 0]


def test_rocm_numa_list_alone_is_a_list_of_gpus() -> None:
    """`--showtoponuma` names each GPU and its node, and says nothing of links."""
    reading = rocm_text.read((CAPTURES / "amd-8x-numa-two-nodes" / "rocm-smi-showtoponuma.txt").read_text())
    assert [gpu.numa_node for gpu in reading.gpus] == [0, 0, 0, 0, 1, 1, 1, 1]
    assert reading.kinds == {}


def test_rocm_topology_that_was_cut_is_not_whole() -> None:
    """A matrix that lacks rows does not count the GPUs, and invents no link."""
    reading = rocm_text.read(TOPOLOGY[: TOPOLOGY.index("GPU2")])
    assert not reading.is_whole
    assert reading.kinds == {}


def test_rocm_list_with_a_misprinted_index_invents_no_gpu() -> None:
    """An index beyond the count that has fewer lines than the others is not counted."""
    text = (CAPTURES / "amd-8x-numa-two-nodes" / "rocm-smi-showtoponuma.txt").read_text()
    assert list(range(8)) == [gpu.index for gpu in rocm_text.read(text.replace("GPU[7]", "GPU[9]", 1)).gpus]


def test_rocm_tables_list_gpus_and_their_caps() -> None:
    """Both layouts of the plain table, the newer with the device id."""
    old, new = (rocm_text.read(table).gpus for table in TABLES)
    assert [(gpu.index, gpu.power.current, gpu.pci_id) for gpu in old] == [(0, 290.0, None), (1, 290.0, None)]
    assert [(gpu.index, gpu.power.current, gpu.pci_id) for gpu in new] == [
        (0, 290.0, "1002:738c"),
        (1, 290.0, "1002:738c"),
    ]


def test_rocm_lists_of_facts_say_what_the_json_says() -> None:
    """The same keys, as lines."""
    cards = {key: card for key, card in json.loads(MI100).items() if key.startswith("card")}
    lines = [f"GPU[{key[4:]}]\t\t: {name}: \t\t{value}" for key, card in cards.items() for name, value in card.items()]
    assert rocm_json.read(MI100).gpus == rocm_text.read("\n".join(lines)).gpus


def test_rocm_json_describes_cards() -> None:
    """Name from the brackets, bytes as bytes, ids and link of each card."""
    reading = rocm_json.read(MI100)
    first = reading.gpus[0]
    assert [gpu.pci_address for gpu in reading.gpus[:2]] == ["0000:83:00.0", "0000:a3:00.0"]
    assert (
        first.name,
        first.pci_id,
        first.vram_bytes,
        first.numa_node,
    ) == ("Instinct MI100", "1002:738c", 34342961152, 1)
    assert (PcieLink(4, None, 16, None), 290.0, "GPU-79ccd55167a2124a") == (first.pcie, first.power.current, first.uuid)
    assert {pair: "PCIE" for pair in PAIRS} == reading.kinds


def test_rocm_json_names_links_of_listed_cards_only() -> None:
    """A file with one card and the topology of eight has one GPU and no link."""
    reading = rocm_json.read((CAPTURES / "amd-json-mi50-vega20" / "rocm-smi.json").read_text())
    assert [(gpu.index, gpu.name, gpu.pci_id) for gpu in reading.gpus] == [
        (0, "Radeon Instinct MI50 32GB", "1002:66a1")
    ]
    assert reading.kinds == {}


def test_rocm_json_keeps_a_list_of_candidates_as_the_name() -> None:
    """One id is that of several models: their list is the name; a missing unique id is none."""
    (gpu,) = rocm_json.read((CAPTURES / "amd-json-rx6700xt-rocm612" / "rocm-smi.json").read_text()).gpus
    assert (gpu.name, gpu.uuid, gpu.vram_bytes) == ("Radeon RX 6700/6700 XT / 6800M", None, 12868124672)


def test_rocm_json_that_was_cut_keeps_the_complete_cards() -> None:
    """Cards before the cut are read, and the list is not whole."""
    reading = rocm_json.read(MI100[: MI100.index('"card2"') + 200])
    assert [gpu.index for gpu in reading.gpus] == [0, 1]
    assert not reading.is_whole


def test_rocm_json_out_of_bounds_is_nothing() -> None:
    """Depth and digits without end are no output of rocm-smi."""
    assert rocm_json.read('{"card0":' * 100_000).gpus == ()
    assert rocm_json.read("[" * 100_000 + "{").gpus == ()
    assert tuple(
        gpu.vram_bytes
        for gpu in rocm_json.read(
            '{"card0": {"PCI Bus": "0000:07:00.0", "VRAM Total Memory (B)": ' + "9" * 5000 + "}}"
        ).gpus
    ) == (None,)


@given(st.text())
def test_rocm_never_raises(text: str) -> None:
    """Whatever stands there, nothing is invented."""
    assert () == rocm_text.read(text).gpus == rocm_json.read(text).gpus


@given(st.text(max_size=8), st.integers(0, len(TOPOLOGY)), st.integers(0, 60))
def test_rocm_topology_damaged_invents_no_gpu(noise: str, place: int, lost: int) -> None:
    """A topology with a hole holds at most the four GPUs that were there, and no link of PCIe."""
    reading = rocm_text.read(TOPOLOGY[:place] + noise + TOPOLOGY[place + lost :])
    assert len(reading.gpus) <= 4
    assert set(reading.kinds) <= set(PAIRS) and set(reading.kinds.values()) <= {"XGMI"}


def test_rocm_json_card_with_measurements_only():
    """A card of which only temperature and use were asked is a card."""
    text = '{"card0": {"Temperature (Sensor edge) (C)": "30.0", "GPU use (%)": "0"}, "card1": {"GPU use (%)": "0"}}'
    assert [gpu.index for gpu in rocm_json.read(text).gpus] == [0, 1]


def test_rocm_without_driver():
    """rocm-smi says that amdgpu is not loaded in place of a list."""
    reading = rocm_text.read("ERROR:root:Driver not initialized (amdgpu not found in modules)\n")
    assert [problem.code for problem in reading.problems] == ["driver_not_running"]
    assert not reading.is_whole


def test_target_of_a_card_is_what_hip_compiles_for():
    """By its own name of it: newer rocm-smi prints the GFX version; what is none is not taken."""
    folder = CAPTURES / "amd-json-rx6700xt-rocm612"
    assert [gpu.architecture for gpu in read_folder(folder).gpus] == ["gfx1031"]
    text = "GPU[0]\t\t: Card Series: \t\tRadeon RX 7900 XTX\nGPU[0]\t\t: GFX Version: \t\t{}\n"
    assert rocm_text.read(text.format("gfx1100")).gpus[0].architecture == "gfx1100"
    assert rocm_text.read(text.format("gfx1100; rm -rf /")).gpus[0].architecture is None
