"""`amd-smi topology`: tables of access, weight, hops and link type, of GPUs by their PCI addresses, in order.

Source: amd-smi 24 to 26, its legend.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from rigwright.hardware.reading import Pair, Reading
from rigwright.hardware.sources import amd_smi, cells, rocm_text
from rigwright.hardware.values import Gpu

_TITLE = re.compile(r"\s*([A-Z][A-Z -]{2,30}) TABLE:\s*")
_ADDRESS = re.compile(r"[0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7]")
_CELL = re.compile(r"[A-Za-z0-9/.,:_%-]{1,24}")

Table = dict[tuple[str, str], str]


def read(text: str) -> Reading:
    """GPUs and links; a row without a cell for each column says nothing."""
    tables: dict[str, Table] = {}
    columns: list[str] = []
    order: list[str] = []
    rows: set[str] = set()
    title = ""
    for line in cells.lines(text):
        words = line.split()
        if found := _TITLE.fullmatch(line):
            title, columns = found[1].strip(), []
        elif words and all(map(_ADDRESS.fullmatch, words)) and (len(words) > 1 or not columns):
            columns = [word.lower() for word in words]
            order = order or columns
        elif columns and words and words[0].lower() in columns and len(words) == len(columns) + 1:
            row = words[0].lower()
            rows.add(row)
            if all(map(_CELL.fullmatch, words[1:])):
                pairs = zip(columns, words[1:], strict=True)
                tables.setdefault(title, {}).update({(row, column): word for column, word in pairs if column != row})
    places = {address: index for index, address in enumerate(dict.fromkeys(order)) if address in rows}
    is_whole = bool(places) and len(places) == len(set(order)) == len(order)
    kinds = _by_pair(tables.get("LINK TYPE", {}), places)
    weights = _by_pair(tables.get("WEIGHT", {}), places)
    p2p = _by_pair(tables.get("ACCESS", {}), places)
    return Reading(
        gpus=tuple(Gpu(index=index, pci_address=cells.pci_address(at), vendor="AMD") for at, index in places.items()),
        kinds={pair: kind for pair, kind in kinds.items() if kind in rocm_text.KINDS},
        weights={pair: int(word) for pair, word in weights.items() if word.isdecimal() and len(word) < 7},
        p2p={pair: amd_smi.P2P[word] for pair, word in p2p.items() if word in amd_smi.P2P},
        vendor="AMD" if places else None,
        is_driver_list=True,
        is_whole=is_whole,
    )


def _by_pair(table: Table, places: Mapping[str, int]) -> dict[Pair, str]:
    """What both rows of a pair say alike, or the one that was recorded."""
    said: dict[Pair, set[str]] = {}
    for (row, column), word in table.items():
        if row in places and column in places:
            a, b = places[row], places[column]
            said.setdefault((min(a, b), max(a, b)), set()).add(word)
    return {pair: words.pop() for pair, words in said.items() if len(words) == 1}
