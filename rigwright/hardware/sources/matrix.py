"""Matrices in which devices name both the columns and the rows (`nvidia-smi topo`): cells go by names, never by order.

A row that was cut, glued or shifted gives the cells that are certain and no others: a wrong class is worse than none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

_GPU = re.compile(r"GPU(0|[1-9][0-9]{0,2})")
_NIC = re.compile(r"(?!\S*(?:GPU|CPU|NUMA))(?=\S*[0-9])[A-WYZa-z][A-Za-z0-9_.:-]{1,31}")
_COLUMN = re.compile(r"(?:CPU|NUMA)\s+Affinity(?!\S)|GPU\s+NUMA\s+ID(?!\S)|\S+")
_TAIL = ("CPU Affinity", "NUMA Affinity", "GPU NUMA ID")
_OWN = "X"
_UNKNOWN = ("", "N/A", "-", "ERR", "ERR!")
_TAB_STOP = 8
_MOST_DEVICES = 256


@dataclass(frozen=True)
class Row:
    """A row: `cells` by the column's name, without its own; `tail` by the name of the columns after the devices."""

    cells: Mapping[str, str]
    tail: Mapping[str, str]


@dataclass
class Matrix:
    """One header and its rows.

    is_whole: every GPU of the header has its row and the other way round.
    """

    columns: tuple[str, ...]
    tail: tuple[str, ...]
    is_header_whole: bool
    rows: dict[str, Row] = field(default_factory=dict)
    strangers: set[str] = field(default_factory=set)
    has_wide_rows: bool = False
    strange_words: tuple[str, ...] = ()

    @property
    def gpus(self) -> tuple[int, ...]:
        """The GPUs that have a column and a row."""
        return tuple(index for name in self.columns if name in self.rows and (index := gpu_index(name)) is not None)

    @property
    def nics(self) -> tuple[str, ...]:
        """The other devices; where rows of them were recorded, those that have one."""
        names = [name for name in self.columns if gpu_index(name) is None]
        own_rows = [name for name in names if name in self.rows]
        return () if self.has_wide_rows else tuple(own_rows or names)

    @property
    def is_whole(self) -> bool:
        named = [name for name in self.columns if gpu_index(name) is not None]
        return self.is_header_whole and not self.strangers and all(name in self.rows for name in named)

    def unread(self) -> list[str]:
        """What the header or the rows hold and the cells do not tell."""
        rows = [row for name, row in self.rows.items() if gpu_index(name) is not None]
        others = [name for name in self.columns if gpu_index(name) is None]
        empty = sum(not row.cells for row in rows) if len(self.columns) > 1 else 0
        has_nics = bool(self.nics) or not (others or self.has_wide_rows or self.strange_words)
        has_nodes = not rows or any(row.tail for row in rows) or not self.tail
        return [
            *([f"{empty} of {len(rows)} rows"] if empty else []),
            *([] if has_nics else ["network adapters"]),
            *([] if has_nodes else ["NUMA nodes"]),
        ]

    def links(self) -> dict[tuple[str, str], set[str]]:
        """What the two rows of a pair say, in the order of the columns: one value where they agree."""
        if self.has_wide_rows and self.is_header_whole and self.strangers:
            return {}  # a column's name was lost: nobody knows which
        place = {name: number for number, name in enumerate(self.columns)}
        said: dict[tuple[str, str], set[str]] = {}
        for name, row in self.rows.items():
            for other, cell in row.cells.items():
                first, second = sorted((name, other), key=place.__getitem__)
                said.setdefault((first, second), set()).add(cell)
        return said


def gpu_index(name: str) -> int | None:
    """7 for `GPU7`, None for the name of another device."""
    found = _GPU.fullmatch(name)
    return int(found[1]) if found else None


def matrices(lines: list[str], cell: re.Pattern[str]) -> list[Matrix]:
    """Every matrix in a text; `cell` is what a cell may hold."""
    found: list[Matrix] = []
    for number, line in enumerate(lines):
        name = line.split(maxsplit=1)[0] if line.strip() else ""
        header = _header(line, cell)
        if header and not (found and header.columns == (name,) and _is_cut_row(found[-1], line)):
            found.append(header)
        elif header is None and found:
            _add_row(found[-1], line, cell, is_open=number == len(lines) - 1)
    return found


def _header(line: str, cell: re.Pattern[str]) -> Matrix | None:
    names = [" ".join(name.split()) for name in _COLUMN.findall(line)]
    if not names or gpu_index(names[0]) is None or (len(names) > 1 and not _can_follow(names[1], cell)):
        return None
    columns = tuple(_devices(names, cell))
    rest = names[len(columns) :]
    tail = tuple(name for name in rest if name in _TAIL)
    is_whole = not rest or rest[0] in _TAIL or rest[0] in ("CPU", "NUMA")
    strange = () if is_whole else tuple(name for name in rest if name not in _TAIL)
    return Matrix(columns, tail if len(tail) == len(rest) else (), is_whole, strange_words=strange)


def _can_follow(name: str, cell: re.Pattern[str]) -> bool:
    """Whether it may be the second word of a header; in a row a cell stands there."""
    return name.startswith(("GPU", "CPU", "NUMA")) or _is_device(name, cell)


def _is_device(name: str, cell: re.Pattern[str]) -> bool:
    return gpu_index(name) is not None or (bool(_NIC.fullmatch(name)) and not cell.match(name))


def _devices(names: list[str], cell: re.Pattern[str]) -> Iterator[str]:
    """The devices that a header names, up to the first word that is none (`GPU0GPU1`) or is there already."""
    seen: set[str] = set()
    for name in names:
        if len(seen) == _MOST_DEVICES or name in seen or not _is_device(name, cell):
            return
        seen.add(name)
        yield name


def _is_cut_row(matrix: Matrix, line: str) -> bool:
    """Whether a lone `GPU3` is a row that lost its cells, not a header."""
    name = line.strip()
    return name in matrix.columns and name not in matrix.rows


def _add_row(matrix: Matrix, line: str, cell: re.Pattern[str], *, is_open: bool) -> None:
    name, *cells = _split(line, len(matrix.columns)) or [""]
    if name not in matrix.columns:
        if gpu_index(name) is not None:
            matrix.strangers.add(name)
        return
    taken = list(_valid(cells[: len(matrix.columns)], cell))
    if name in matrix.rows or all(word in _UNKNOWN for word in taken):
        return
    rest = cells[len(taken) :]
    is_short = len(taken) < len(matrix.columns)
    is_wide = not is_short and bool(rest) and bool(cell.fullmatch(rest[0]))
    matrix.has_wide_rows |= is_wide
    tail = None if is_short or is_wide else _tail(matrix.tail, rest)
    if not _is_in_place(matrix.columns, name, taken) or (is_short and rest and rest[0][:1].isdecimal()):
        taken = []  # a cell is missing in between: nobody knows which
    elif taken[-1] != _OWN and (tail is None or (not rest and (is_open or not matrix.is_header_whole))):
        taken.pop()  # the last cell of a cut row may be cut itself: NV1 of NV12
    by_column = {column: word for column, word in zip(matrix.columns, taken, strict=False) if cell.fullmatch(word)}
    matrix.rows[name] = Row(by_column, _without_cut(matrix, name, tail or {}) if is_open else tail or {})


def _valid(cells: list[str], cell: re.Pattern[str]) -> Iterator[str]:
    for word in cells:
        if word != _OWN and word not in _UNKNOWN and not cell.fullmatch(word):
            return
        yield word


def _is_in_place(columns: tuple[str, ...], name: str, taken: list[str]) -> bool:
    """Whether the row's X stands under its own column, or the row ends before it."""
    place = columns.index(name)
    return all((number == place) == (word == _OWN) for number, word in enumerate(taken))


def _tail(names: tuple[str, ...], rest: list[str]) -> dict[str, str] | None:
    """The columns after the devices, None where some are missing.

    Source: `0-31<tab>0<tab><tab>N/A`, and with no NUMA node `0-7<tab><tab>N/A<tab><tab>N/A`
    (github.com/Project-HAMi/HAMi/pull/99).
    """
    words = [word for word in rest if word]
    if len(words) == len(names):
        return dict(zip(names, words, strict=True))
    if len(words) < len(names) < len(rest):
        return dict(zip(names, [*rest[: len(names) - 1], rest[-1]], strict=True))
    return None


def _without_cut(matrix: Matrix, name: str, tail: dict[str, str]) -> dict[str, str]:
    """The tail of the row at which the text ends, without a last value that may be cut: `0` of `0-1`."""
    last = next((column for column in reversed(tail) if tail[column]), "")
    longer = [row.tail.get(last, "") for row in matrix.rows.values() if row.tail.get(last) != tail.get(last)]
    is_last_row = all(column in matrix.rows or column == name for column in matrix.columns if gpu_index(column))
    if is_last_row and not any(value.startswith(tail.get(last, "")) for value in longer):
        return tail
    return {column: value for column, value in tail.items() if column != last}


def _split(line: str, columns: int) -> list[str]:
    """The cells of a row, its name first; between tabs an empty cell stays one."""
    if "\t" in line.strip():
        parts = line.strip(" ").removeprefix("\t").split("\t")
        return [word for part in parts for word in (part.split() or [""])]
    words = list(re.finditer(r"\S+", line))
    cells = [word[0] for word in words[: columns + 1]]
    for before, word in pairwise(words[columns:]):
        tabs = word.start() // _TAB_STOP - before.end() // _TAB_STOP if word.start() % _TAB_STOP == 0 else 1
        cells += [""] * (tabs - 1) + [word[0]]
    return cells
