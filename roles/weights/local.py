"""The controller's side of a model: what its header says, and its checksum, computed once."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from rigwright.errors import UnreadableModel
from rigwright.models import Model, read_kept_model, read_model
from rigwright.plan.wish import ModelSource
from rigwright.roles.weights.settings import WeightsSettings


@dataclass(frozen=True)
class LocalModel:
    """A model as known before any rig is touched. `model` is None where its header could not be read from here."""

    source: ModelSource
    model: Model | None
    sha256: str | None
    size_bytes: int | None
    url: str | None = None

    @property
    def origin(self) -> str:
        """Where the file comes from, as a stamp says it."""
        return hashlib.sha256(self.url.encode()).hexdigest()[:16] if self.url else "upload"


def cache_directory() -> Path:
    """Where the controller keeps what is dear to compute or fetch: $XDG_CACHE_HOME/rigwright."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rigwright"


def inspect_model(source: ModelSource, settings: WeightsSettings) -> LocalModel:
    """Look at a model from the controller.

    Raises:
        UnreadableModel: a local file is missing, cut short, no GGUF, or not the one that `sha256` names.
    """
    if source.path is None:
        url = source.url or f"{settings.hugging_face.rstrip('/')}/{source.repo}/resolve/{source.revision}/{source.file}"
        kept = cache_directory() / "headers" / hashlib.sha256(url.encode()).hexdigest()[:32]
        is_pinned = bool(source.sha256 or re.fullmatch(r"[0-9a-f]{40}", source.revision))
        return LocalModel(source, read_kept_model(url, kept, is_pinned=is_pinned), source.sha256, None, url)
    path = Path(source.path).expanduser()
    model = read_model(path)
    digest = file_sha256(path)
    if source.sha256 and digest != source.sha256:
        raise UnreadableModel(
            f"{path}: its sha256 is {digest}, the inventory says {source.sha256}; fetch it again, or correct sha256"
        )
    return LocalModel(source, model, digest, path.stat().st_size)


def file_sha256(path: Path) -> str:
    """The sha256 of a file, remembered by path, size and time of change."""
    status = path.stat()
    key = f"{path.resolve()}|{status.st_size}|{status.st_mtime_ns}"
    store = cache_directory() / "sha256.json"
    known = _read(store)
    if key not in known:
        with path.open("rb") as file:
            known[key] = hashlib.file_digest(file, "sha256").hexdigest()
        store.parent.mkdir(parents=True, exist_ok=True)
        scratch = store.with_suffix(f".{os.getpid()}")
        scratch.write_text(json.dumps(known))
        scratch.replace(store)
    return known[key]


def _read(store: Path) -> dict[str, str]:
    try:
        known = json.loads(store.read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}
