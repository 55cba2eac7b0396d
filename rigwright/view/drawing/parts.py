"""What a rig's drawing is made of: cards, rows, bands, tiers, with their sizes and places."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from rigwright.hardware.values import Gpu, Nic
from rigwright.view.drawing.tree import Branch

MARGIN, PAD = 40.0, 34.0
CPU_HEIGHT, BAR_HEIGHT, NIC_WIDTH, NIC_HEIGHT = 42.0, 20.0, 106.0, 30.0


@dataclass
class Card:
    """A GPU: `x`, `y` are its upper left corner, `is_up` says that its PCIe side is the upper one."""

    place: int
    gpu: Gpu
    width: float
    height: float
    x: float = 0.0
    y: float = 0.0
    is_up: bool = True
    tier: int = 0

    @property
    def centre(self) -> float:
        """The middle of its width."""
        return self.x + self.width / 2

    @property
    def inner(self) -> float:
        """The edge from which its NVLinks leave."""
        return self.y + self.height if self.is_up else self.y


@dataclass
class Adapter:
    """A network adapter beside the GPUs that are closest to it, or several alike; `kind` is the class of their link."""

    names: tuple[str, ...]
    kind: str
    closest: tuple[int, ...]
    x: float = 0.0
    level: int = 0


@dataclass
class Bar:
    """A PCIe switch or host bridge over the cards below it; `depth` 1 is the nearest to them."""

    branch: Branch
    depth: int
    left: float
    right: float


@dataclass
class Row:
    """The cards of one panel in one band, with their PCIe side; `is_first` carries the CPU box.

    `tree` is over the cards of the row, `root` over those of the whole panel.
    """

    node: int | None
    cards: list[Card]
    tree: Branch
    root: Branch
    is_first: bool
    is_only: bool
    x: float = 0.0
    width: float = 0.0
    bars: list[Bar] = field(default_factory=list)
    adapters: list[Adapter] = field(default_factory=list)


@dataclass
class Band:
    """Rows side by side. `at` turns a distance from the outer edge into a height in the drawing."""

    rows: list[Row]
    is_up: bool = True
    outer: float = 0.0
    halo: float = 14.0

    @property
    def box(self) -> float:
        """The height of the CPU box, or of the rail that stands for it in further rows."""
        return CPU_HEIGHT if any(row.is_first for row in self.rows) else 6.0

    @property
    def bars_at(self) -> float:
        """Where the outermost bar begins."""
        stack = max((adapter.level + 1 for row in self.rows for adapter in row.adapters), default=0)
        return 12.0 + self.box + 16.0 + (stack * (NIC_HEIGHT + 6) + 6 if stack else 0)

    @property
    def depth(self) -> int:
        """How many bars stand over each other."""
        return max((bar.depth for row in self.rows for bar in row.bars), default=0)

    @property
    def cards_at(self) -> float:
        """Where the cards begin."""
        return self.bars_at + self.depth * (BAR_HEIGHT + 14) + self.halo

    @property
    def height(self) -> float:
        """From the outer to the inner edge of its panels."""
        return self.cards_at + max(card.height for row in self.rows for card in row.cards) + 26.0

    def at(self, distance: float) -> float:
        """The height of what is `distance` away from the outer edge."""
        return self.outer + distance if self.is_up else self.outer - distance

    def bar_at(self, depth: int) -> float:
        """The distance of the middle of a bar from the outer edge."""
        return self.bars_at + (self.depth - depth) * (BAR_HEIGHT + 14) + BAR_HEIGHT / 2


@dataclass
class Tier:
    """Two bands that face each other, or one alone."""

    upper: Band
    lower: Band | None = None


@dataclass
class Layout:
    """The cards by place, the tiers from top to bottom, the adapters that are near to no GPU; `width` of all."""

    cards: dict[int, Card]
    tiers: list[Tier]
    elsewhere: list[Nic]
    width: float

    @property
    def bands(self) -> Iterator[Band]:
        """All bands, from top to bottom."""
        for tier in self.tiers:
            yield tier.upper
            if tier.lower:
                yield tier.lower
