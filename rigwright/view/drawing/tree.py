"""The PCIe paths between GPUs as a tree: what shares a switch, a host bridge, a NUMA node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

# From near to far. XGMI and NVLink hide the PCIe path of their pair: it is not known then.
LEVELS = (("PIX",), ("PXB",), ("PHB",), ("NODE", "PCIE"))
_FAR = {"PIX": 0, "PXB": 1, "PHB": 2, "PCIE": 3, "NODE": 3, "SYS": 4, "SOC": 4}

Kind = Callable[[int, int], str | None]


@dataclass(frozen=True)
class Branch:
    """GPUs whose paths meet in one place; `kinds` are the classes of the pairs that meet here, `level` is its place."""

    level: int
    members: tuple[int, ...]
    kinds: tuple[str, ...]
    children: tuple[Branch, ...] = ()


def pcie_tree(members: Sequence[int], kind: Kind, root: int = 2) -> Branch:
    """The tree over `members`, in their order.

    Its root is the NUMA node, even where all of them share a switch; what meets at level `root` meets there.
    """
    nodes = [Branch(-1, (member,), ()) for member in members]
    for level, names in enumerate(LEVELS):
        nodes = _joined(nodes, level, names, kind)
    if len(nodes) == 1 and nodes[0].level >= root:
        return nodes[0]
    return Branch(len(LEVELS), tuple(members), pcie_kinds(nodes, kind), tuple(nodes))


def pcie_kinds(nodes: Sequence[Branch], kind: Kind) -> tuple[str, ...]:
    """The PCIe classes between members of different nodes, nearest first."""
    found = {kind(a, b) for one, other in combinations(nodes, 2) for a in one.members for b in other.members}
    return tuple(sorted({name for name in found if name in _FAR}, key=lambda name: (_FAR[name], name)))


def _joined(nodes: Sequence[Branch], level: int, names: Sequence[str], kind: Kind) -> list[Branch]:
    groups: list[list[Branch]] = []
    for node in nodes:
        near = [group for group in groups if any(_is_near(node, other, names, kind) for other in group)]
        groups = [group for group in groups if group not in near]
        groups.append([*(other for group in near for other in group), node])
    places = {member: place for place, member in enumerate(member for node in nodes for member in node.members)}
    found = []
    for group in groups:
        group.sort(key=lambda node: places[node.members[0]])
        inside = tuple(sorted((member for node in group for member in node.members), key=places.__getitem__))
        found.append(group[0] if len(group) == 1 else Branch(level, inside, pcie_kinds(group, kind), tuple(group)))
    return sorted(found, key=lambda node: places[node.members[0]])


def _is_near(one: Branch, other: Branch, names: Sequence[str], kind: Kind) -> bool:
    return any(kind(a, b) in names for a in one.members for b in other.members)
