"""The owner of a service on a rig: the inventory that deployed it, by a name that every clone of it has."""

from __future__ import annotations

import re
from pathlib import Path

OWNER = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"


def owner_of(inventory: str | Path | None) -> str:
    """`home` of `rigs/home.py`; empty for an inventory that is no file, which then has to state its name."""
    path = Path(inventory) if inventory else None
    if path is None or not path.is_file():
        return ""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("-._")[:64]


def owners_in(data: object, inventory: str | Path | None) -> tuple[str, ...]:
    """The names of the inventory of this `rig` data, its own first, whatever else is wrong there."""
    said = data if isinstance(data, dict) else {}
    former = said.get("takes_over")
    own = stated_owner(said.get("owner")) or owner_of(inventory)
    names = (own, *(map(stated_owner, former) if isinstance(former, list | tuple) else ()))
    return tuple(dict.fromkeys(filter(None, names)))


def stated_owner(text: object) -> str:
    """The owner that a record names; empty where it names none, as those of earlier versions."""
    return text if isinstance(text, str) and re.fullmatch(OWNER, text) else ""
