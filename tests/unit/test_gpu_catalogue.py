"""The catalogue of GPUs: rows that can be trusted, and a search that does not guess."""

import json
from pathlib import Path

import pytest

from rigwright import catalogue
from rigwright.hardware.models import architecture, find, pcie_gbytes_per_second

MIB = 1024**2
GIB = 1024**3
ROWS = catalogue.load("gpus")["gpus"]
CAPTURES = Path(__file__).parents[1] / "captures"


def test_catalogue_names_a_source_for_every_row() -> None:
    """Each source key is explained in the header."""
    keys = set(catalogue.load("gpus")["source_keys"])
    for row in ROWS:
        words = {word for value in row["sources"].values() for word in value.replace(",", "").split()}
        assert words - {"(max)", "(min)"} <= keys, row["name"]
        assert "default" in row["sources"]


def test_catalogue_gives_a_pci_id_to_one_model() -> None:
    """An id of its own is in no other row."""
    parts = [part for row in ROWS for part in row.get("variants", [row])]
    ids = [device for part in parts for device in [*part.get("pci_ids", []), *part.get("shared_pci_ids", [])]]
    assert sorted(set(ids)) == sorted(ids)


def test_catalogue_agrees_with_its_ranges_of_ids() -> None:
    """Architecture and capability of a row are those of the range that holds its ids."""
    for row in ROWS:
        for part in row.get("variants", [row]):
            for device in part.get("pci_ids", []):
                kind, capability = architecture(device)
                assert row.get("architecture") == kind, row["name"]
                assert capability in (None, row.get("compute_capability")), row["name"]


@pytest.mark.parametrize(
    ("expected", "name", "mebibytes"),
    [
        ("NVIDIA GeForce RTX 3090", "NVIDIA GeForce RTX 3090", 24576),
        ("NVIDIA GeForce RTX 3090", "GeForce RTX 3090", None),
        ("NVIDIA GeForce RTX 3090 Ti", "NVIDIA GeForce RTX 3090 Ti", 24564),
        ("NVIDIA A100-SXM4-40GB", "A100-SXM4-40GB", None),
        ("NVIDIA A100-SXM4-80GB", "NVIDIA A100-SXM4-80GB", 81920),
        ("NVIDIA H200", "NVIDIA H200", 143771),
        ("Tesla V100-SXM2-32GB", "Tesla V100-SXM2-32GB", None),
        ("NVIDIA L40S", "NVIDIA L40S", 46068),
        ("NVIDIA GeForce RTX 5060 Ti 16GB", "NVIDIA GeForce RTX 5060 Ti", 16311),
        ("NVIDIA GeForce RTX 5060 Ti 8GB", "NVIDIA GeForce RTX 5060 Ti", 8151),
        (None, "NVIDIA GeForce RTX 3080", 12288),
        (None, "NVIDIA GeForce RTX 3060 Laptop GPU", 6144),
        (None, "NVIDIA GeForce RTX 30...", 24576),
        (None, "NVIDIA GeForce GTX 1650", 4096),
        ("NVIDIA GeForce RTX 2080", "GeForce RTX 2080", 8192),
        (None, "", None),
    ],
)
def test_find_by_name_guesses_nothing(expected: str | None, name: str, mebibytes: int | None) -> None:
    """A name finds its model; where models share it the memory decides, and laptops have models of their own."""
    model = find(name, vram_bytes=mebibytes * MIB if mebibytes else None)
    assert expected == (model.name if model else None)


@pytest.mark.parametrize(
    ("name", "mebibytes", "pci_id", "gbytes_per_second"),
    [
        # GDDR6 of 16 and 18, GDDR7 of 24 and 28 Gbit/s, on buses of 96 to 256 bits.
        ("NVIDIA GeForce RTX 4050 Laptop GPU", 6141, "10de:28a1", 96 * 16 / 8),
        ("NVIDIA GeForce RTX 4060 Laptop GPU", 8188, "10de:28e0", 128 * 16 / 8),
        ("NVIDIA GeForce RTX 4070 Laptop GPU", 8188, "10de:2820", 128 * 16 / 8),
        ("NVIDIA GeForce RTX 4080 Laptop GPU", 12282, "10de:27a0", 192 * 18 / 8),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", 16376, "10de:2717", 256 * 18 / 8),
        ("NVIDIA GeForce RTX 5060 Laptop GPU", 8151, "10de:2d19", 128 * 24 / 8),
        ("NVIDIA GeForce RTX 5070 Laptop GPU", 8151, "10de:2d18", 128 * 24 / 8),
        ("NVIDIA GeForce RTX 5070 Ti Laptop GPU", 12227, "10de:2f18", 192 * 28 / 8),
        ("NVIDIA GeForce RTX 5080 Laptop GPU", 16303, "10de:2c19", 256 * 28 / 8),
        ("NVIDIA GeForce RTX 5090 Laptop GPU", 24463, "10de:2c18", 256 * 28 / 8),
    ],
)
def test_laptops_have_memory_of_their_own(name: str, mebibytes: int, pci_id: str, gbytes_per_second: float) -> None:
    """A laptop's GPU is not the card of its name: less memory, and slower."""
    by_name, by_id = find(name, None, mebibytes * MIB), find(None, pci_id)
    assert by_name and by_id and by_name == by_id and by_name.name == name
    assert by_name.bandwidth_gbytes_per_second == gbytes_per_second
    card = find(name.removesuffix(" Laptop GPU"))
    assert card is None or (card.bandwidth_gbytes_per_second or 0) > gbytes_per_second


@pytest.mark.parametrize(
    ("expected", "name", "pci_id", "mebibytes"),
    [
        ("NVIDIA GeForce RTX 3090", None, "10DE:2204", None),
        ("NVIDIA GeForce RTX 3090", "something else", "10de:2204", None),
        ("NVIDIA GeForce RTX 3060 Ti", "NVIDIA GeForce RTX 3060 Ti", "10de:2489", 8192),
        (None, "NVIDIA GeForce RTX 3060 Ti", "10de:24c9", 8192),
        ("Quadro RTX 8000", None, "10de:1e30", 48601),
        ("Quadro RTX 8000", "Quadro RTX 8000", "10de:1e30", None),
        (None, "Quadro RTX 6000", "10de:1e30", 24576),
        ("AMD Instinct MI50 32GB", "Radeon Instinct MI50 32GB", "1002:66a1", 32752),
        (None, "Radeon RX 6700/6700 XT / 6800M", "1002:73df", 12272),
    ],
)
def test_find_by_pci_id_comes_first(expected: str | None, name: str | None, pci_id: str, mebibytes: int | None) -> None:
    """The id decides; one that models share needs the memory or the name."""
    model = find(name, pci_id, mebibytes * MIB if mebibytes else None)
    assert expected == (model.name if model else None)


def test_find_knows_cards_that_were_soldered() -> None:
    """The recorded RTX 2080 Ti of 22528 MiB is one, with more memory than delivered."""
    model = find("NVIDIA GeForce RTX 2080 Ti", vram_bytes=22528 * MIB)
    assert model and (
        model.vram_bytes,
        model.bandwidth_gbytes_per_second,
        model.nvlink_links,
        model.nvlink_is_bridge,
    ) == (22 * GIB, 616, 2, True)


def test_architecture_of_cards_without_a_row() -> None:
    """The range of an id tells; where it holds several chips the capability stays open."""
    assert architecture("10de:2503") == ("Ampere", "8.6")
    assert architecture("10de:1E87") == ("Turing", "7.5")
    assert architecture("10de:2941") == ("Blackwell", None)
    assert (None, None) == architecture("1002:738c") == architecture(None) == architecture("10de:ffff")


@pytest.mark.parametrize(
    ("gen", "lanes", "expected"),
    [(1, 16, 2.5 * 16 * 0.8 / 8), (3, 16, 8 * 16 * 128 / 130 / 8), (4, 8, 15.754), (5, 16, 63.015), (6, 16, 121.0)],
)
def test_pcie_rate_is_signalling_rate_times_encoding(gen: int, lanes: int, expected: float) -> None:
    """8b/10b up to gen 2, 128b/130b up to gen 5, flits from gen 6."""
    assert expected == pytest.approx(pcie_gbytes_per_second(gen, lanes), abs=0.001)


def test_recorded_machines_name_models_as_they_are() -> None:
    """Where a recording names a GPU that the catalogue has, the search finds that one and no other."""
    names = {name for meta in CAPTURES.glob("*/meta.json") for name in json.loads(meta.read_text()).get("gpus") or []}
    found = {name: model.name for name in names if (model := find(name))}
    assert len(found) >= 15
    assert {name: name for name in found if name in {row["name"] for row in ROWS}} == {
        name: model for name, model in found.items() if name in {row["name"] for row in ROWS}
    }


def test_shared_name_tells_what_its_models_have_in_common():
    """A 5060 Ti of unknown size has 8 lanes and capability 12.0, and no memory size is guessed."""
    found = find("NVIDIA GeForce RTX 5060 Ti")
    assert found is not None
    assert (found.name, found.pcie_lanes, found.compute_capability) == ("NVIDIA GeForce RTX 5060 Ti", 8, "12.0")
    assert found.vram_bytes is None
    assert found.bandwidth_gbytes_per_second is None


@pytest.mark.parametrize(
    ("name", "mebibytes", "lanes"),
    [
        ("NVIDIA GeForce RTX 4060", 8188, 8),
        ("NVIDIA GeForce RTX 4060 Ti", 8188, 8),
        ("NVIDIA GeForce RTX 4060 Ti", 16380, 8),
        ("NVIDIA GeForce RTX 5060", 8151, 8),
        ("Tesla V100-SXM3-32GB", 32480, 16),
        ("AMD Instinct MI300X", 196592, 16),
    ],
)
def test_catalogue_knows_the_lanes_of_cards_with_eight(name, mebibytes, lanes):
    """x8 of a card that has eight lanes is its full width."""
    found = find(name, None, mebibytes * MIB)
    assert found is not None
    assert found.pcie_lanes == lanes
