"""nvidia_csv: what `nvidia-smi --query-gpu=… --format=csv` says."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rigwright.hardware.sources import nvidia_csv
from rigwright.hardware.values import PcieLink, PowerLimit

CAPTURES = Path(__file__).parents[1] / "captures"
MIB = 1024**2
LOST = """index, uuid, pci.bus_id, temperature.gpu, memory.total [MiB]
0, GPU-67a571b1-79ee-1016-8ea3-c1fff3f1c1d2, 00000000:01:00.0, 41, 24576 MiB
1, GPU-3e34e62f-d88e-f448-415e-be2cbf2c6178, 00000000:0B:00.0, [GPU is lost], [GPU is lost]
2, GPU-2d540dd6-583b-cf11-80dd-cc28edc1dd62, 00000000:41:00.0, [Unknown Error], 24576 MiB
"""


def capture(name: str) -> str:
    return (CAPTURES / name).read_text()


def codes(text: str) -> list[tuple[str, str]]:
    return [(problem.code, problem.where) for problem in nvidia_csv.read(text).problems]


def test_query_names_every_field_of_a_gpu():
    """A query for all fields tells identity, memory, link, limits and display."""
    reading = nvidia_csv.read(capture("1x-rtx2080s-capture/query.csv"))
    (gpu,) = reading.gpus
    assert (gpu.index, gpu.name, gpu.vram_bytes) == (0, "NVIDIA GeForce RTX 2080 SUPER", 8192 * MIB)
    assert (gpu.pci_address, gpu.pci_id, gpu.subsystem_id) == ("0000:0c:00.0", "10de:1e81", "1458:4005")
    assert (gpu.compute_capability, gpu.has_display, gpu.mig, gpu.state) == ("7.5", True, None, "ok")
    assert gpu.pcie == PcieLink(gen_current=1, gen_max=3, width_current=16, width_max=16)
    assert gpu.power == PowerLimit(current=250.0, default=250.0, min=105.0, max=350.0)
    assert (reading.driver_version, reading.vendor) == ("595.71.05", "NVIDIA")
    assert (reading.is_driver_list, reading.is_whole, reading.problems) == (True, True, ())


def test_query_tells_mig():
    """A GPU in MIG mode says so, one that cannot be cut says nothing."""
    assert nvidia_csv.read(capture("1x-h200-mig/query.csv")).gpus[0].mig is True
    assert nvidia_csv.read(capture("1x-h100-capture/query.csv")).gpus[0].mig is False


def test_query_takes_any_columns():
    """Fields that were not asked for are unknown."""
    gpus = nvidia_csv.read(capture("2x5060ti-csv-width-max-differs/query.csv")).gpus
    assert [gpu.pcie.width_max for gpu in gpus] == [8, 16]
    assert [gpu.vram_bytes for gpu in gpus] == [None, None]


def test_rows_without_index_are_numbered():
    """nvidia-smi lists in the order of its indexes."""
    text = "name, memory.total [MiB]\nTesla T4, 15360\nNVIDIA L40S, 46068\n"
    gpus = nvidia_csv.read(text).gpus
    assert [(gpu.index, gpu.name, gpu.vram_bytes) for gpu in gpus] == [
        (0, "Tesla T4", 15360 * MIB),
        (1, "NVIDIA L40S", 46068 * MIB),
    ]


def test_command_and_blank_lines_before_the_header_are_no_rows():
    """A pasted terminal holds the command too."""
    command = capture("8x-l40s-csv-idle/command.txt")
    gpus = nvidia_csv.read(command + "\n" + capture("8x-l40s-csv-idle/query.csv")).gpus
    assert [gpu.index for gpu in gpus] == list(range(8))
    assert {gpu.pcie for gpu in gpus} == {PcieLink(1, 4, 16, 16)}


def test_best_generation_is_bound_by_card_and_host():
    """Without gen.max the smaller of both bounds it."""
    text = "index, pcie.link.gen.gpumax, pcie.link.gen.hostmax\n0, 5, 3\n"
    assert nvidia_csv.read(text).gpus[0].pcie.gen_max == 3


def test_lost_gpu_is_told_with_its_place():
    """A lost GPU among others keeps its UUID, and both codes name it."""
    reading = nvidia_csv.read(LOST)
    assert [gpu.state for gpu in reading.gpus] == ["ok", "lost", "error"]
    assert reading.gpus[1].uuid == "GPU-3e34e62f-d88e-f448-415e-be2cbf2c6178"
    assert codes(LOST) == [("csv_sentinels", "GPU 1"), ("one_gpu_lost", "GPU 1"), ("csv_sentinels", "GPU 2")]


def test_fan_that_fails_is_not_a_gpu_that_fails():
    """The GPU is ok, the fan is told."""
    text = "index, name, fan.speed [%]\n0, NVIDIA GeForce RTX 3090, [Unknown Error]\n"
    assert nvidia_csv.read(text).gpus[0].state == "ok"
    assert codes(text) == [("csv_sentinels", "GPU 0")]


def test_missing_permission_is_told_and_leaves_the_state():
    """What only root may read is unknown."""
    text = "index, name, memory.total [MiB]\n0, NVIDIA A100-SXM4-40GB, [Insufficient Permissions]\n"
    (gpu,) = nvidia_csv.read(text).gpus
    assert (gpu.state, gpu.vram_bytes) == ("ok", None)
    assert "root" in nvidia_csv.read(text).problems[0].do


def test_list_of_sentinels_names_no_gpu():
    """Error texts alone are a problem, not GPUs."""
    reading = nvidia_csv.read(capture("error-csv-lost-values/values.txt"))
    assert (reading.gpus, reading.is_driver_list, reading.is_whole) == ((), True, False)
    assert [problem.code for problem in reading.problems] == ["csv_sentinels"]


def test_cut_row_is_left_out():
    """A row needs as many cells as the header; without them the list is not whole."""
    reading = nvidia_csv.read(LOST[: LOST.index("00000000:41")])
    assert ([gpu.index for gpu in reading.gpus], reading.is_whole) == ([0, 1], False)


def test_shifted_row_is_left_out():
    """A cell that cannot be what its column says: a comma went missing somewhere."""
    swapped = "index, name, memory.total [MiB]\n0, 15360 MiB, Tesla T4\n"
    assert (nvidia_csv.read(swapped).gpus, nvidia_csv.read(swapped).is_whole) == ((), False)


def test_two_gpus_under_one_index_are_none():
    """A contradiction is left out."""
    reading = nvidia_csv.read("index, name\n0, Tesla T4\n1, Tesla T4\n1, NVIDIA L40S\n")
    assert ([gpu.index for gpu in reading.gpus], reading.is_whole) == ([0], False)


def test_samples_in_a_loop_are_one_gpu():
    """`-l 1` prints a row per second: the newest counts."""
    text = "index, pcie.link.gen.current\n0, 1\n0, 4\n"
    assert [gpu.pcie.gen_current for gpu in nvidia_csv.read(text).gpus] == [4]
    rows = "".join(f"2026/07/03 08:33:{second:02}.000, 5 %\n" for second in range(30))
    assert nvidia_csv.read("timestamp, utilization.gpu [%]\n" + rows).gpus == ()


def test_other_tables_are_no_query_of_gpus():
    """A row per process is not a GPU."""
    text = (
        "gpu_name, gpu_uuid, pid, used_gpu_memory [MiB]\nTesla T4, GPU-67a571b1-79ee-1016-8ea3-c1fff3f1c1d2, 7, 9 MiB\n"
    )
    assert not nvidia_csv.is_csv(text)
    assert nvidia_csv.read(text).gpus == ()
    assert nvidia_csv.is_csv(LOST)
    assert not nvidia_csv.is_csv(capture("1x-l40s-capture/smi-q.txt"))


@settings(max_examples=80, deadline=None)
@given(st.text(), st.integers(0, len(LOST)))
@example("0:", LOST.index("c1d2") + 3)
def test_any_text_is_read(text, place):
    """No text raises, and none adds a UUID."""
    nvidia_csv.read(text)
    found = nvidia_csv.read(LOST[:place] + text + LOST[place:])
    assert {gpu.uuid for gpu in found.gpus} <= {None, *(gpu.uuid for gpu in nvidia_csv.read(LOST).gpus)}


ROWS = """0, NVIDIA GeForce RTX 3090, 00000000:01:00.0, 24576 MiB, 1, 4, 16, 16
1, NVIDIA GeForce RTX 3090, 00000000:21:00.0, 24576 MiB, 1, 4, 8, 16
"""
FIELDS = "index,name,pci.bus_id,memory.total,pcie.link.gen.current,pcie.link.gen.max,pcie.link.width.current"


def test_csv_command_names_the_columns_of_rows_without_header():
    """With `noheader` the command before the rows says what they hold."""
    command = f"$ nvidia-smi --query-gpu={FIELDS},pcie.link.width.max --format=csv,noheader\n"
    reading = nvidia_csv.read(command + ROWS)
    assert [(gpu.index, gpu.pcie.width_current, gpu.pcie.gen_max) for gpu in reading.gpus] == [(0, 16, 4), (1, 8, 4)]
    assert reading.is_whole


def test_csv_rows_without_header_say_what_cells_show():
    """A name, a bus address and the only memory of a row are told by themselves; bare numbers are not."""
    reading = nvidia_csv.read(ROWS)
    assert [(gpu.index, gpu.name, gpu.pci_address) for gpu in reading.gpus] == [
        (0, "NVIDIA GeForce RTX 3090", "0000:01:00.0"),
        (1, "NVIDIA GeForce RTX 3090", "0000:21:00.0"),
    ]
    assert [gpu.vram_bytes for gpu in reading.gpus] == [24576 * 1024**2] * 2
    assert all(gpu.pcie.width_current is None and gpu.pcie.gen_max is None for gpu in reading.gpus)


def test_csv_rows_without_header_two_memories_tell_none():
    """Used or total: where a row has two sizes nobody knows."""
    reading = nvidia_csv.read("0, Tesla T4, 3 MiB, 15360 MiB\n1, Tesla T4, 0 MiB, 15360 MiB\n")
    assert [(gpu.index, gpu.vram_bytes) for gpu in reading.gpus] == [(0, None), (1, None)]


def test_csv_text_without_header_is_no_table():
    """Rows of other things, or of several widths, are no GPUs."""
    assert nvidia_csv.read("1234, python3, 100 MiB\n").gpus == ()
    assert nvidia_csv.read("0, Tesla T4, 15360 MiB\nsome text\n").gpus == ()


@pytest.mark.parametrize("mark", [";", "\t"])
def test_csv_of_a_spreadsheet(mark):
    """A spreadsheet parts cells by `;` or tabs, and may write 300,00 for 300.00."""
    head = mark.join(["index", "name", "power.limit [W]"])
    row = mark.join(["0", "NVIDIA RTX A6000", "300,00 W"])
    gpu = nvidia_csv.read(f"{head}\n{row}\n").gpus[0]
    assert (gpu.name, gpu.power.current) == ("NVIDIA RTX A6000", 300.0)


def test_csv_with_quotes():
    """Cells in quotes are the cells."""
    text = '"index","name","memory.total [MiB]"\n"0","NVIDIA A40","46068 MiB"\n'
    assert [(gpu.name, gpu.vram_bytes) for gpu in nvidia_csv.read(text).gpus] == [("NVIDIA A40", 46068 * 1024**2)]


def test_rows_without_header_that_were_printed_twice_are_one_gpu():
    """A command that ran twice into one file, and its first column is the index."""
    row = "0, NVIDIA GeForce RTX 5060 Ti, 595.91.07"
    other = row.replace("0", "1", 1)
    assert [gpu.index for gpu in nvidia_csv.read(f"{row}\n{other}\n{other}\n").gpus] == [0, 1]


@pytest.mark.parametrize(
    "text",
    [
        # A program's text in which both lines are one, behind a log's number.
        "60, 'index, name, pci.bus_id, memory.total [MiB]\\n0, NVIDIA GB10, 0000000F:01:00.0, 1, 1'",
        # The end of a JSON list of lines.
        '3, 3, 8, 8", "\\r1, NVIDIA GeForce RTX 5060 Ti, 3, 3, 8, 16", "\\r"]}',
        # A log's number and the index: which is which only a header tells.
        "3, 0, NVIDIA GeForce RTX 5060 Ti, 00000000:01:00.0\n4, 1, NVIDIA GeForce RTX 5060 Ti, 00000000:02:00.0\n",
        # The command was cut within a field: its columns are not those of the rows.
        "7, $ nvidia-smi --query-gpu=index,pcie.link.gen\ufffd.current --format=csv\n9, 0, 1, 4\n11, \n",
    ],
)
def test_number_that_a_log_put_before_a_row_is_no_index(text):
    """What no header explains counts only where the row shows itself what it is."""
    assert nvidia_csv.read(text).gpus == ()


def test_row_of_an_index_alone_is_no_gpu():
    """A GPU has a value; one that is lost has a sentinel. No machine has a thousand."""
    assert [gpu.index for gpu in nvidia_csv.read("index, name\n0, Tesla T4\n1, \n511, Tesla T4\n").gpus] == [0]


def test_rows_among_other_lines_name_themselves():
    """A probe prints a row under its heading: number, name and address are told, a size alone could be of anything."""
    text = "== GPUs ==\n0, NVIDIA GB10, 0000000F:01:00.0, 580.142\n1, NVIDIA GB10, 0000001F:01:00.0, 580.142\n\ndone\n"
    reading = nvidia_csv.read(text)
    assert [(gpu.index, gpu.pci_address) for gpu in reading.gpus] == [(0, "000f:01:00.0"), (1, "001f:01:00.0")]
