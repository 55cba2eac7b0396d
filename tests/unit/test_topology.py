"""Which GPUs belong together: the matching is the best one, and nothing that is broken or different slips in."""

from __future__ import annotations

import time
from itertools import combinations, permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rigwright.hardware import Gpu, Hardware, Link, PcieLink
from rigwright.hardware.capture import read_files
from rigwright.hardware.topology import group, islands, link_gbytes_per_second

RANKING = ["SYS", "NODE", "PHB", "PXB", "PIX", "NV1", "NV2", "NV4"]


def card(index: int, **fields: object) -> Gpu:
    known = {"name": "NVIDIA GeForce RTX 3090", "vram_bytes": 24 << 30, "state": "ok", "vendor": "NVIDIA"}
    return Gpu(index=index, uuid=f"GPU-{index}", **(known | fields))


def rig(kinds: dict[tuple[int, int], str], gpus: list[Gpu] | None = None) -> Hardware:
    count = max(max(pair) for pair in kinds) + 1
    found = gpus or [card(index) for index in range(count)]
    links = tuple(Link(*pair, kind) for pair, kind in sorted(kinds.items()))
    return Hardware(gpus=tuple(found), links=links, gpu_count=len(found), vendor="NVIDIA")


def complete(count: int, **better: str) -> dict[tuple[int, int], str]:
    """All pairs SYS but those named: `complete(4, p03="NV4")`."""
    named = {(int(pair[1]), int(pair[2])): kind for pair, kind in better.items()}
    return {pair: named.get(pair, "SYS") for pair in combinations(range(count), 2)}


def test_crossed_bridges_become_adjacent():
    """Bridges join 0 with 3 and 1 with 2: the order puts each pair side by side."""
    found = group(rig(complete(4, p03="NV4", p12="NV4")))
    assert found.pairs == ((0, 3), (1, 2))
    assert found.quads == ((0, 3, 1, 2),)
    assert found.order == (0, 3, 1, 2)
    assert found.confidence == "high"


def test_matching_is_not_greedy():
    """The best link first would leave a bad pair: 0-1 NV2 and 2-3 SYS against 0-2 NV2 and 1-3 NV2."""
    assert group(rig(complete(4, p01="NV2", p02="NV2", p13="NV2"))).pairs == ((0, 2), (1, 3))


@st.composite
def linked_rigs(draw: st.DrawFn) -> dict[tuple[int, int], str]:
    count = draw(st.sampled_from([4, 6, 8]))
    return {pair: draw(st.sampled_from(RANKING)) for pair in combinations(range(count), 2)}


def matchings(members: tuple[int, ...]) -> list[list[tuple[int, int]]]:
    """All ways to pair an even number of GPUs."""
    if not members:
        return [[]]
    first, rest = members[0], members[1:]
    return [
        [(first, other), *more]
        for other in rest
        for more in matchings(tuple(index for index in rest if index != other))
    ]


@given(linked_rigs())
@settings(max_examples=60)
def test_matching_is_the_best_of_all(kinds):
    """No other pairing has more pairs of the best class, or as many and more of the next."""

    def classes(pairs: list[tuple[int, int]]) -> list[int]:
        return sorted((RANKING.index(kinds[pair]) for pair in pairs), reverse=True)

    count = max(max(pair) for pair in kinds) + 1
    best = max(classes(pairs) for pairs in matchings(tuple(range(count))))
    assert classes(list(group(rig(kinds)).pairs)) == best


@given(linked_rigs(), st.randoms(use_true_random=False))
@settings(max_examples=40)
def test_renumbering_gpus_does_not_change_how_good_the_groups_are(kinds, rng):
    """Indexes are names: the classes inside the groups stay the same."""
    count = max(max(pair) for pair in kinds) + 1
    names = list(range(count))
    rng.shuffle(names)
    renamed = {tuple(sorted((names[a], names[b]))): kind for (a, b), kind in kinds.items()}
    here, there = group(rig(kinds)), group(rig(renamed))
    assert sorted(kinds[pair] for pair in here.pairs) == sorted(renamed[pair] for pair in there.pairs)


def test_every_gpu_that_answers_is_in_the_order_once():
    """Nothing is lost and nothing doubled."""
    found = group(rig(complete(5, p14="NV4")))
    assert sorted(found.order) == [0, 1, 2, 3, 4]
    assert (1, 4) in found.pairs
    assert [why for _, why in found.left_out] == ["no partner left"]


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"state": "lost"}, "lost"),
        ({"state": "error"}, "reports errors"),
        ({"mig": True}, "cut into MIG devices"),
        ({"name": "NVIDIA GeForce RTX 4090"}, "no other of its model"),
        ({"vram_bytes": 22 << 30}, "no other of its model"),
    ],
)
def test_what_does_not_belong_is_in_no_group(fields, why):
    """A lost GPU, one with errors, a MIG parent and another model stay out, however good their links are."""
    gpus = [card(0, **fields), card(1), card(2), card(3)]
    found = group(rig(complete(4, p01="NV4", p23="NV4"), gpus))
    assert all(0 not in members for members in (*found.pairs, *found.quads))
    assert found.pairs == ((2, 3),)
    assert dict(found.left_out)[0] == why


def test_lost_gpu_is_not_made_visible():
    """CUDA would refuse to start; a MIG parent and another model are visible, after the groups."""
    gpus = [card(0, state="lost"), card(1, mig=True), card(2, name="NVIDIA L4"), card(3), card(4)]
    assert group(rig(complete(5), gpus)).order == (3, 4, 2, 1)


def test_numa_node_decides_between_equal_links():
    """Eight GPUs with SYS everywhere, as a recorded machine has: pairs stay on one node."""
    nodes = [0, 1, 0, 1, 0, 1, 0, 1]
    gpus = [card(index, numa_node=node) for index, node in enumerate(nodes)]
    found = group(rig(complete(8), gpus))
    assert all(nodes[a] == nodes[b] for a, b in found.pairs)
    assert all(len({nodes[index] for index in quad}) == 1 for quad in found.quads)


def test_wider_link_decides_last():
    """Two of four equal GPUs sit in x4 slots: they are paired with each other, not one with each good one."""
    lanes = [16, 4, 16, 4]
    gpus = [card(index, numa_node=0, pcie=PcieLink(width_current=width)) for index, width in enumerate(lanes)]
    assert group(rig(complete(4), gpus)).pairs == ((0, 2), (1, 3))


def test_islands_are_components_not_cliques():
    """A chain of bridges is one island, though its ends share no link."""
    assert islands(rig(complete(5, p01="NV2", p12="NV2", p34="NV4"))) == ((0, 1, 2), (3, 4))


def test_nothing_is_grouped_by_guess():
    """Eight GPUs without a recorded link or node: any pair would be a guess. Two GPUs can only be one pair."""
    eight = Hardware(gpus=tuple(card(index) for index in range(8)), gpu_count=8, vendor="NVIDIA")
    assert group(eight).pairs == ()
    assert group(eight).confidence == "low"
    two = Hardware(gpus=(card(0), card(1)), gpu_count=2, vendor="NVIDIA")
    assert group(two).pairs == ((0, 1),)


def test_bandwidth_of_bridge_and_slot():
    """3090 bridge: 4 × 14.0625 GB/s = 56.3 (GA102 whitepaper); PCIe gen 3 x8: 8 GT/s × 128/130 / 8 × 8 = 7.9 GB/s."""
    pcie = PcieLink(gen_current=1, gen_max=3, width_current=8, width_max=16)
    found = rig(complete(4, p03="NV4", p12="NV4"), [card(index, pcie=pcie) for index in range(4)])
    rates = {(link.first, link.second): link_gbytes_per_second(found, link) for link in found.links}
    assert rates[0, 3] == pytest.approx(56.25, abs=0.1)
    assert rates[0, 1] == pytest.approx(7.88, abs=0.1)
    assert {(slow.group, slow.gbytes_per_second) for slow in group(found).bottlenecks if len(slow.group) == 4} == {
        ((0, 3, 1, 2), rates[0, 1])
    }


def sixteen() -> str:
    """`topo -m` of 16 GPUs: four boards of four with NV4, four NUMA nodes."""
    names = [f"GPU{index}" for index in range(16)]
    rows = ["\t" + "\t".join([*names, "CPU Affinity", "NUMA Affinity"])]
    for a in range(16):
        cells = ["X" if a == b else "NV4" if a // 4 == b // 4 else "SYS" for b in range(16)]
        rows.append("\t".join([names[a], *cells, f"{a // 4 * 16}-{a // 4 * 16 + 15}", str(a // 4)]))
    return "\n".join(rows)


def test_sixteen_gpus_are_read_and_grouped_in_time():
    """Reading and grouping the largest machine takes under 50 ms of CPU, the best of five."""
    files = {"topo.txt": sixteen()}
    group(read_files(files))  # imports and catalogue
    times = []
    for _ in range(5):
        began = time.process_time()
        found = group(read_files(files))
        times.append(time.process_time() - began)
    assert found.quads == ((0, 1, 2, 3), (4, 5, 6, 7), (8, 9, 10, 11), (12, 13, 14, 15))
    assert min(times) < 0.05


def test_order_of_rows_is_no_matter():
    """The same machine with its rows in any order gives the same groups."""
    header, *rows = sixteen().split("\n")
    expected = group(read_files({"topo.txt": sixteen()}))
    for shuffled in list(permutations(rows[:4]))[:6]:
        assert group(read_files({"topo.txt": "\n".join([header, *shuffled, *rows[4:]])})) == expected


def test_amd_weight_decides_between_xgmi_links():
    """On an MI250 all links are XGMI, but the two dies of one package are one hop apart, weight 15, others 30."""
    names = [f"GPU{index}" for index in range(4)]
    near = {(0, 2), (2, 0), (1, 3), (3, 1)}
    weight = [[0 if a == b else 15 if (a, b) in near else 30 for b in range(4)] for a in range(4)]
    link = [["0" if a == b else "XGMI" for b in range(4)] for a in range(4)]
    text = ["==== ROCm System Management Interface ===="]
    for title, cells in (("Weight", weight), ("Link Type", link)):
        text += [f"==== {title} between two GPUs ====", " ".join(names)]
        text += [" ".join([name, *map(str, row)]) for name, row in zip(names, cells, strict=True)]
    text.append("==== End of ROCm SMI Log ====")
    assert group(read_files({"rocm-smi-showtopo.txt": "\n".join(text)})).pairs == ((0, 2), (1, 3))
