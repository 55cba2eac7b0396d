"""A matrix of `nvidia-smi topo` whose lines a terminal broke, or whose blanks a paste lost: the lines as they were.

Nothing is guessed here: a version is only offered, and counts where its matrix is whole and each row's X is in place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

_TOP = re.compile(r"\s*GPU0(?=\s|GPU|NIC|mlx|CPU|$)")
_ROW_NAME = re.compile(r"\s*(GPU(?:0|[1-9][0-9]{0,2})(?![0-9])|[A-Za-z][A-Za-z0-9_.:-]{1,31}(?=\s))")
_END = re.compile(r"\s*(?:$|Legend|NIC Legend|X\s+=)")
_TAIL_GLUED = re.compile(r"(?<=\S)(?=CPU\s*Affinity|NUMA\s*Affinity|GPU\s*NUMA\s*ID)")
_TAIL_NAMES = re.compile(r"(CPU|NUMA)\s*(Affinity)|(GPU)\s*(NUMA)\s*(ID)")
# How network adapters are named that stand beside GPUs: the driver's own numbers, or those of RDMA drivers.
_DEVICE = re.compile(
    r"GPU(?:0|[1-9][0-9]{0,2})|NIC[0-9]{1,3}|mlx[0-9]_(?:bond_)?[0-9]{1,2}|bnxt_re(?:_?bond)?[0-9]{1,2}"
    r"|(?:irdma|efa_|hfi1_|rocep?|ibp?|erdma_|mana_|hns_|qedr|ionic_|rdmap)[0-9]{1,3}(?:s[0-9]{1,2}(?:f[0-9])?)?"
)
_CELL = r"(?:NV[1-9][0-9]?|PIX|PXB|PHB|NODE|SYS|SOC|X|OK|CNS|GNS|TNS|NS|DR)"
_CELLS = re.compile(rf"{_CELL}(?:{_CELL})+")
_ONE_CELL = re.compile(_CELL)
_CELL_AND_CPUS = re.compile(r"((?:PIX|PXB|PHB|NODE|SYS|SOC|X)+)([0-9][0-9,-]*)")
_NODE_AND_NONE = re.compile(r"([0-9]{1,4})(N/A)")
_TAB_STOP = 8


def mended(lines: Sequence[str]) -> Iterator[list[str]]:
    """The versions of a text with its broken lines joined, and its glued words apart."""
    joined = [found for glue in (False, True) if (found := _joined(lines, is_exact=glue))]
    for version in (list(lines), *joined):
        if version is not lines and joined and version in joined:
            yield version
        apart = _apart(version)
        if apart != version:
            yield apart


def _top(lines: Sequence[str]) -> int | None:
    """The line of the header."""
    return next((at for at, line in enumerate(lines) if _TOP.match(line) and not re.search(r"\sX(?:\s|$)", line)), None)


def _joined(lines: Sequence[str], *, is_exact: bool) -> list[str]:
    """The rows in one line each; nothing where each is in one already.

    A row begins with the name of a device and goes on in the lines that begin with none. is_exact: what goes on fills
    its line, so that a word may be parted; else the break took the place of blanks.
    """
    top = _top(lines)
    if top is None:
        return []
    later = range(top + 1, min(top + 40, len(lines)))
    second = next((at for at in later if lines[at].lstrip().startswith("GPU0")), None)
    if second is None:
        return []
    parts = [list(lines[top:second])]
    head = " ".join(parts[0])
    end = len(lines)
    for at in range(second, len(lines)):
        name = _ROW_NAME.match(lines[at])
        if _END.match(lines[at]) and lines[at].strip() != "X":
            end = at
            break
        if name and name[1] in head:
            parts.append([lines[at]])
        else:
            parts[-1].append(lines[at])
    if all(len(part) == 1 for part in parts):
        return []
    broken = [line for part in parts for line in part[:-1]]
    width = max(map(len, broken))
    stop = (width // _TAB_STOP + 1) * _TAB_STOP
    rows = ["".join([*(_filled(line, width if is_exact else stop) for line in part[:-1]), part[-1]]) for part in parts]
    return [*lines[:top], *rows, *lines[end:]]


def _filled(line: str, width: int) -> str:
    return line.ljust(width) if "\t" not in line else f"{line.rstrip()}\t"


def _apart(lines: Sequence[str]) -> list[str]:
    """The lines with glued names and cells apart. A header names what its rows name, in their order."""
    top = _top(lines)
    if top is None:
        return list(lines)
    rows = [line for line in lines[top + 1 :] if not _END.match(line)]
    named = [
        found[1] for line in rows if (found := _ROW_NAME.match(line)) and re.search(r"X|NV|SYS|PIX|PHB|NODE", line)
    ]
    header = _header(lines[top], named)
    names = set(header.split())
    return [*lines[:top], header, *(_row(line, names) for line in lines[top + 1 :])]


def _header(line: str, named: Sequence[str]) -> str:
    line = _TAIL_NAMES.sub(lambda found: " ".join(filter(None, found.groups())), _TAIL_GLUED.sub("\t", line))
    return re.sub(r"\S+", lambda found: "\t".join(_names(found[0], named)), line)


def _names(word: str, named: Sequence[str]) -> list[str]:
    """The names in a word of the header: those of the rows, one after the other, or such as adapters have."""
    for start, first in enumerate(named):
        if not word.startswith(first):
            continue
        rest, found = word, []
        for name in named[start:]:
            if not rest.startswith(name):
                break
            found.append(name)
            rest = rest[len(name) :]
        if not rest and len(found) > 1:
            return found
    parts = _DEVICE.findall(word)
    return parts if "".join(parts) == word and len(parts) > 1 else _gpus_first(word)


def _gpus_first(word: str) -> list[str]:
    """`GPU3` and what is glued behind it; the rest is a name of its own."""
    found = re.match(r"(?:GPU(?:0|[1-9][0-9]{0,2}))+(?![0-9])", word)
    gpus = re.findall(r"GPU[0-9]{1,3}", found[0]) if found else []
    rest = word[found.end() :] if found else word
    return [*gpus, *([rest] if rest else [])]


def _row(line: str, names: set[str]) -> str:
    name = _ROW_NAME.match(line)
    if not name or (name[1] not in names and not line.lstrip().startswith("GPU")):
        return line
    start = name.end(1)
    body = re.sub(r"\S+", lambda found: "\t".join(_cells(found[0])), line[start:])
    return line[:start] + ("" if body[:1].isspace() else "\t") + body


def _cells(word: str) -> list[str]:
    if _CELLS.fullmatch(word) and not _ONE_CELL.fullmatch(word):
        return _ONE_CELL.findall(word)
    if found := _CELL_AND_CPUS.fullmatch(word):
        return [*_ONE_CELL.findall(found[1]), found[2]]
    found = _NODE_AND_NONE.fullmatch(word)
    return [found[1], found[2]] if found else [word]
