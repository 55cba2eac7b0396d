"""The picture and the table of a rig: whole, readable, safe with whatever a machine calls itself."""

from __future__ import annotations

import io
import random
import re
from dataclasses import replace
from functools import cache
from itertools import combinations, pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from rigwright.hardware.capture import read_folder
from rigwright.hardware.findings import findings
from rigwright.hardware.topology import Grouping, group
from rigwright.hardware.values import Gpu, Hardware, Link, Nic, Problem
from rigwright.view.drawing import draw
from rigwright.view.drawing.adapters import names
from rigwright.view.drawing.canvas import NIC_EDGE, NIC_FILL, text_width
from rigwright.view.drawing.layout import lay_out
from rigwright.view.drawing.tree import pcie_tree
from rigwright.view.hardware_table import show, summary

CAPTURES = Path(__file__).parents[1] / "captures"
NAMES = sorted(path.name for path in CAPTURES.iterdir() if path.is_dir())
SVG = "{http://www.w3.org/2000/svg}"
each_capture = pytest.mark.parametrize("name", NAMES)


def rig(count: int, kind: str, **known: object) -> Hardware:
    gpus = tuple(Gpu(index=i, uuid=f"GPU-{i}", name="RTX", state="ok", numa_node=0) for i in range(count))
    links = tuple(Link(a, b, kind) for a, b in combinations(range(count), 2))
    return Hardware(gpu_count=count, gpus=gpus, links=links, **known)


def texts(svg: str) -> list[str]:
    return [node.text or "" for node in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def printed(hardware: Hardware, *, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    show(console, "rig", hardware, group(hardware))
    return console.file.getvalue()


@cache
def drawn(name: str) -> tuple[Hardware, str]:
    """A capture and its picture."""
    hardware = read_folder(CAPTURES / name)
    return hardware, draw(name, hardware, group(hardware))


@each_capture
def test_drawing_of_a_capture_shows_every_gpu_inside_its_frame(name):
    """Every recorded machine can be drawn: each GPU once, no text cut off by the edge, the same twice."""
    hardware, svg = drawn(name)
    root = ElementTree.fromstring(svg)
    width, height = (float(root.attrib[side]) for side in ("width", "height"))
    shown = [text for text in texts(svg) if re.fullmatch("[0-9]+", text)]
    assert sorted(shown) == sorted(str(gpu.index) for gpu in hardware.gpus if gpu.index is not None)
    for node in root.iter(f"{SVG}text"):
        size, x, y = (float(node.attrib[key]) for key in ("font-size", "x", "y"))
        reach = text_width(node.text or "", size, is_bold="font-weight" in node.attrib)
        left = x - reach / 2 if node.attrib.get("text-anchor") == "middle" else x
        assert left >= 0 and left + reach <= width and 0 < y < height, node.text
    assert svg == draw(name, hardware, group(hardware))


@each_capture
def test_texts_of_a_drawing_do_not_overlap(name):
    """Every word can be read: no text lies over another one."""
    boxes = []
    for node in ElementTree.fromstring(drawn(name)[1]).iter(f"{SVG}text"):
        size, x, y = (float(node.attrib[key]) for key in ("font-size", "x", "y"))
        reach = text_width(node.text or "", size, is_bold="font-weight" in node.attrib)
        left = x - reach / 2 if node.attrib.get("text-anchor") == "middle" else x
        boxes.append((left, y - size * 0.75, left + reach, y + size * 0.1, node.text))
    assert [
        (a[4], b[4]) for a, b in combinations(boxes, 2) if a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
    ] == []


def test_drawing_of_crossed_pairs_puts_them_next_to_each_other():
    """GPUs stand in the order of the groups, so that a bridge is short."""
    hardware = read_folder(CAPTURES / "4x-crossed-pairs-03-12-p2p-cns")
    kinds = {(link.first, link.second): link.kind for link in hardware.links}
    layout = lay_out(hardware, group(hardware), lambda a, b: kinds.get((min(a, b), max(a, b))))
    assert [card.place for band in layout.bands for row in band.rows for card in row.cards] == [0, 3, 1, 2]


def test_drawing_draws_all_to_all_as_one_bus():
    """28 NVLinks that are alike are one bar with a label, not 28 lines."""
    assert "NVLink: every pair NV18" in texts(draw("rig", rig(8, "NV18"), group(rig(8, "NV18"))))


def test_drawing_draws_a_mesh_link_by_link():
    """Each of the 16 links of a hybrid cube mesh has a line with a label of its own."""
    hardware = read_folder(CAPTURES / "8x-v100-sxm2-dgx1-mesh")
    labels = [text for text in texts(draw("rig", hardware, group(hardware))) if re.match("NV[12] [0-9]+ GB/s", text)]
    assert len(labels) == 16


def test_drawing_marks_lost_and_mig_gpus():
    """What cannot run a model as a whole stands out."""
    gpus = (Gpu(index=0, state="lost"), Gpu(index=1, uuid="GPU-1", state="ok", mig=True, mig_devices=("1g.10gb",)))
    shown = texts(draw("rig", Hardware(gpu_count=2, gpus=gpus), Grouping()))
    assert {"lost: does not answer", "MIG: 1 devices", "GPU that does not work"} <= set(shown)


@pytest.mark.parametrize(("hardware", "words"), [(Hardware(), "GPUs not known"), (Hardware(gpu_count=0), "no GPU")])
def test_drawing_of_a_rig_without_gpus_says_so(hardware, words):
    """An empty picture is no answer."""
    assert words in texts(draw("rig", hardware, group(hardware)))


@settings(max_examples=30)
@given(st.text(), st.text())
def test_drawing_and_table_survive_any_name(name, other):
    """Names come from machines: whatever they hold, the picture is well-formed XML and a terminal obeys nothing."""
    gpus = (Gpu(index=0, uuid="GPU-0", name=name, state="ok", pci_address=other, numa_affinity=name),)
    problem = Problem(code="x", where=name, what=other, do=name)
    hardware = Hardware(
        gpu_count=1, gpus=gpus, nics=(Nic(other, {0: "PIX"}),), problems=(problem,), driver_version=name
    )
    svg = draw(name, hardware, group(hardware))
    ElementTree.fromstring(svg.encode())
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", svg + printed(hardware))


def test_drawing_holds_no_script_whatever_a_name_says():
    """Markup in a name is text."""
    evil = Hardware(gpu_count=1, gpus=(Gpu(index=0, name='"><script>alert(1)</script>', state="ok"),))
    svg = draw("</svg><script>", evil, group(evil))
    assert {node.tag for node in ElementTree.fromstring(svg).iter()} & {f"{SVG}script", f"{SVG}image"} == set()


@pytest.mark.patience
@settings(max_examples=30)
@given(st.integers(0, 20), st.data())
def test_drawing_survives_any_matrix(count, data):
    """Any classes between any number of GPUs on any nodes: each GPU is drawn once."""
    kinds = st.sampled_from(
        ["NV1", "NV2", "NV18", "XGMI", "PIX", "PXB", "PHB", "NODE", "SYS", "SOC", "PCIE", "???", None]
    )
    nodes = st.sampled_from([0, 1, 8, None])
    gpus = tuple(Gpu(index=i, uuid=f"GPU-{i}", state="ok", numa_node=data.draw(nodes)) for i in range(count))
    links = tuple(Link(a, b, data.draw(kinds)) for a, b in combinations(range(count), 2))
    hardware = Hardware(gpu_count=count, gpus=gpus, links=links)
    shown = [text for text in texts(draw("rig", hardware, group(hardware))) if re.fullmatch("[0-9]+", text)]
    assert sorted(map(int, shown)) == list(range(count))


def test_tree_keeps_switches_below_their_host_bridge():
    """PIX pairs under one PHB are two switches on one host bridge."""
    near = {(0, 1), (2, 3)}
    tree = pcie_tree(range(4), lambda a, b: "PIX" if (min(a, b), max(a, b)) in near else "PHB")
    assert (tree.kinds, [child.members for child in tree.children]) == (("PHB",), [(0, 1), (2, 3)])


@each_capture
def test_table_fits_a_narrow_terminal(name):
    """80 columns are enough, and a pipe gets plain text."""
    text = printed(read_folder(CAPTURES / name))
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "\x1b" not in text


def test_table_tells_groups_with_their_slowest_link_and_the_order():
    """The answer to "which GPUs belong together" is two lines."""
    text = printed(read_folder(CAPTURES / "8x-v100-sxm2-dgx1-mesh"))
    assert "TP=2: 0+3 NV2 52 GB/s, 1+2 NV2 52 GB/s" in text  # 2 x 25.781 GB/s, as nvlink.txt has it
    assert "CUDA_VISIBLE_DEVICES=0,3,1,2,4,7,5,6" in text


def test_table_shows_sixteen_gpus_in_one_matrix():
    """The matrix of a big machine is not cut into blocks on 80 columns."""
    lines = printed(rig(16, "NV6")).splitlines()
    assert [line.count("NV6") for line in lines if line.startswith("GPU15")] == [15]


def test_table_tells_where_direct_access_works():
    """The rarer status is listed, the other one is the rest."""
    assert "direct access: OK 0-3 1-2, CNS elsewhere" in printed(
        read_folder(CAPTURES / "4x-crossed-pairs-03-12-p2p-cns")
    )


def test_summary_has_a_line_for_each_rig():
    """Several rigs end in one line each."""
    console = Console(file=io.StringIO(), width=80)
    summary(console, {"one": rig(2, "NV4"), "two": Hardware()})
    lines = console.file.getvalue().splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [["one", "2x"], ["two", "GPUs"]]


def test_table_names_what_was_not_read():
    """A file that nobody understood, and the part of one."""
    hardware = Hardware(gpu_count=1, gpus=(Gpu(index=0),), not_read=("notes.txt", "topo.txt (network adapters)"))
    assert "not read: notes.txt, topo.txt (network adapters)" in printed(hardware)


def test_table_of_many_adapters_tells_the_nearest_of_each_gpu():
    """26 virtual functions are no 26 columns: the close one matters, of many alike three and how many more."""
    kinds = [{0: "PIX" if place == 20 else "NODE", 1: "NODE" if place < 18 else "SYS"} for place in range(26)]
    nics = tuple(Nic(f"mlx5_{place}", one) for place, one in enumerate(kinds))
    text = printed(Hardware(gpu_count=2, gpus=(Gpu(index=0), Gpu(index=1)), links=(Link(0, 1, "NV4"),), nics=nics))
    assert "nearest adapters of GPU 0: PIX mlx5_20" in text
    assert "nearest adapters of GPU 1: NODE mlx5_0, mlx5_1, mlx5_2 and 15 more" in text
    assert "N25" not in text


def test_drawing_of_a_group_in_parts_tells_its_slowest_link():
    """A group over two sockets is the slowest one: its class stands beside its members."""
    gpus = tuple(Gpu(index=i, uuid=f"GPU-{i}", name="RTX", state="ok", numa_node=i // 3) for i in range(6))
    near = {(0, 1), (4, 5)}
    links = tuple(
        Link(a, b, "PIX" if (a, b) in near else "NODE" if a // 3 == b // 3 else "SYS")
        for a, b in combinations(range(6), 2)
    )
    hardware = Hardware(gpu_count=6, gpus=gpus, links=links)
    labels = texts(draw("rig", hardware, group(hardware)))
    assert "TP=2 2+3 SYS" in labels


def test_table_of_intel_gpus_has_no_words_of_cuda():
    """What nothing here serves is named, and gets no order to set."""
    gpus = tuple(Gpu(index=index, vendor="Intel", name="Arc Pro B50") for index in range(2))
    hardware = Hardware(vendor="Intel", gpu_count=2, gpus=gpus)
    assert "CUDA" not in printed(hardware) + "".join(texts(draw("rig", hardware, group(hardware))))
    assert "not served yet" in printed(hardware)


def eight(nics: tuple[Nic, ...], kind: str = "NV18") -> Hardware:
    """Eight GPUs on two sockets that NVSwitches join."""
    gpus = tuple(Gpu(index=i, uuid=f"GPU-{i}", name="RTX", state="ok", numa_node=i // 4) for i in range(8))
    links = tuple(Link(a, b, kind) for a, b in combinations(range(8), 2))
    return Hardware(gpu_count=8, gpus=gpus, links=links, nics=nics)


def adapter(name: str, near: dict[int, str]) -> Nic:
    node = min(near) // 4
    return Nic(name, {index: near.get(index, "NODE" if index // 4 == node else "SYS") for index in range(8)})


def wires(svg: str) -> list[list[tuple[float, float]]]:
    """The corners of the wires of adapters; a wire begins in the middle of its adapter."""
    paths = [node.attrib for node in ElementTree.fromstring(svg).iter(f"{SVG}path")]
    found = [re.findall(r"[-0-9.]+", path["d"]) for path in paths if path.get("stroke") == NIC_EDGE]
    return [list(zip(map(float, found[::2]), map(float, found[1::2]), strict=True)) for found in found]


def boxes(svg: str) -> dict[str, tuple[float, float, float, float]]:
    """The edges of each adapter, by the text in it."""
    root = ElementTree.fromstring(svg)
    shown = [(float(node.attrib["x"]), float(node.attrib["y"]), node.text or "") for node in root.iter(f"{SVG}text")]
    found = {}
    for node in root.iter(f"{SVG}rect"):
        if node.attrib.get("fill") == NIC_FILL and float(node.attrib["width"]) > 50:
            x, y, width, height = (float(node.attrib[side]) for side in ("x", "y", "width", "height"))
            text = " ".join(text for at, down, text in shown if x < at < x + width and y < down < y + height)
            found[text] = (x, y, x + width, y + height)
    return found


def centres(svg: str) -> dict[int, float]:
    """The middle of each GPU's card, by its index."""
    found = {}
    for node in ElementTree.fromstring(svg).iter(f"{SVG}rect"):
        hint = node.find(f"{SVG}title")
        if hint is not None and (match := re.match(r"GPU ([0-9]+),", hint.text or "")):
            found[int(match[1])] = float(node.attrib["x"]) + float(node.attrib["width"]) / 2
    return found


def is_through(wire: list[tuple[float, float]], box: tuple[float, float, float, float]) -> bool:
    left, top, right, bottom = box
    return any(
        max(a[0], b[0]) > left + 1 and min(a[0], b[0]) < right - 1 and max(a[1], b[1]) > top + 1
        and min(a[1], b[1]) < bottom - 1
        for a, b in pairwise(wire)
    )  # fmt: skip


def some_adapters(seed: int) -> tuple[Nic, ...]:
    rng = random.Random(seed)
    found = []
    for place in range(rng.randrange(1, 15)):
        first = rng.randrange(8)
        count = rng.choice([1, 1, 1, 2, 4])
        near = [index for index in range(first, first + count) if index // 4 == first // 4]
        kind = rng.choice(["PIX", "PXB", "PHB", "NODE"])
        found.append(adapter(f"mlx5_{place}", dict.fromkeys(near, kind)))
    return tuple(found)


@pytest.mark.parametrize("kind", ["NV18", "PIX", "PHB", "NODE"])
@pytest.mark.parametrize("seed", range(25))
def test_no_wire_of_an_adapter_runs_through_another(seed, kind):
    """Whatever stands where: what seems to hang behind another adapter is read as if it did."""
    hardware = eight(some_adapters(seed), kind)
    svg = draw("rig", hardware, group(hardware))
    found = boxes(svg)
    assert found
    for wire in wires(svg):
        others = [box for box in found.values() if not (box[0] < wire[0][0] < box[2] and box[1] < wire[0][1] < box[3])]
        assert len(others) == len(found) - 1
        assert not any(is_through(wire, box) for box in others)


@pytest.mark.parametrize("seed", range(25))
def test_adapter_of_one_gpu_hangs_on_its_line(seed):
    """`PIX to GPU 5` ends at the line of GPU 5, also where the places beside it are taken."""
    hardware = eight(some_adapters(seed))
    svg = draw("rig", hardware, group(hardware))
    middle = centres(svg)
    for text, box in boxes(svg).items():
        owner = re.search(r"P(?:IX|XB|HB) to GPU ([0-9])$", text)
        mine = [wire for wire in wires(svg) if box[0] < wire[0][0] < box[2] and box[1] < wire[0][1] < box[3]]
        assert mine, text
        if owner:
            assert [wire[-1][0] for wire in mine] == [middle[int(owner[1])]], text


def test_adapters_that_are_alike_are_one_box():
    """Eighteen virtual functions are no tower; what is close to a GPU stays beside it."""
    nics = tuple(adapter(f"NIC{place}", {0: "NODE"}) for place in range(18))
    hardware = eight((*nics, adapter("NIC18", {1: "PIX"})))
    svg = draw("rig", hardware, group(hardware))
    assert set(boxes(svg)) == {"NIC0-17 18 · NODE", "NIC18 PIX to GPU 1"}


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (["mlx5_0"], "mlx5_0"),
        (["mlx5_0", "mlx5_1", "mlx5_2", "mlx5_6"], "mlx5_0-2,6"),
        (["eth0", "ib0", "ib1"], "eth0 … ib1"),
        (["a", "b"], "a … b"),
        (["mlx5_1", "mlx5_01"], "mlx5_1 … mlx5_01"),
    ],
)
def test_names_of_adapters_in_one_box(given, shown):
    """Numbers as the kernel lists CPUs; other names from the first to the last."""
    assert names(given) == shown


def test_drawing_marks_the_gpu_outside_its_island():
    """The one without a wire says why, and has the sign of a fault."""
    kinds = {(a, b): "SYS" if 2 in (a, b) else "NV18" for a, b in combinations(range(8), 2)}
    whole = eight(())
    whole = replace(whole, gpus=tuple(replace(gpu, name="NVIDIA B200") for gpu in whole.gpus))
    broken = replace(whole, links=tuple(Link(a, b, kind) for (a, b), kind in kinds.items()))
    shown = texts(draw("rig", findings(broken, []), group(broken)))
    assert shown.count("NVLinks down") == 1
    assert "a fault, told above" in shown
    assert "NVLinks down" not in texts(draw("rig", findings(whole, []), group(whole)))


def test_drawing_marks_the_gpus_of_a_finding():
    """A slow slot is a card's: the card has a sign, the legend its meaning."""
    problem = Problem("link_width_reduced", "GPU 1", "the PCIe link runs x4", "reseat it")
    svg = draw("rig", replace(rig(2, "PHB"), problems=(problem,)), Grouping())
    assert texts(svg).count("!") == 2  # on the card, in the legend
    assert "a finding, told above" in texts(svg)


def test_table_tells_direct_access_without_a_matrix():
    """`topo -p2p r` alone: whether GPUs may reach each other is known, how is not."""
    links = tuple(Link(a, b, None, "OK" if (a, b) == (0, 1) else "CNS") for a, b in combinations(range(3), 2))
    text = printed(Hardware(gpu_count=3, gpus=tuple(Gpu(index=i) for i in range(3)), links=links))
    assert "direct access: OK 0-1, CNS elsewhere" in text


def test_table_tells_the_nearest_adapters_where_their_columns_do_not_fit():
    """Nine adapters beside eight GPUs on 80 columns: a line for each GPU in place of blocks of SYS; on 120 all."""
    nics = tuple(adapter(f"mlx5_{index}", {index: "PXB"}) for index in range(8))
    hardware = eight((*nics, adapter("mlx5_8", {7: "NODE"})))
    narrow, wide = printed(hardware), printed(hardware, width=120)
    assert narrow.count("GPU0 ") == 1
    assert "nearest adapters of GPU 5: PXB mlx5_5" in narrow
    assert "nearest" not in wide
    assert "NIC8" in wide
