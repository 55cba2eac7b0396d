"""A directory of model files on this machine, which is looked into before a hub is asked."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from rigwright.errors import WrongSpec
from rigwright.given import at_home
from rigwright.plan.source import ModelSource
from rigwright.weights.hub import COMMIT


def offline_file(source: ModelSource, sha256: str | None, directory: str | None) -> Path | None:
    """Where a file lies there, by its sum or by its repository; None where it does not.

    Raises:
        WrongSpec: there is no such directory.
    """
    if directory is None:
        return None
    root = at_home(directory)
    if not root.is_dir():
        raise WrongSpec(f"{root} is no directory on this machine; correct rig.weights.offline")
    return next((path for path in _places(root, source, sha256) if path.is_file()), None)


def source_sum(source: ModelSource) -> str:
    """A sum over where a file comes from: bundles name it so, for the address itself may hold a secret."""
    return hashlib.sha256(source.identity.encode()).hexdigest()


def by_source(root: Path, total: str) -> Path:
    """The file of a `source_sum` in a directory that was unpacked from a bundle."""
    return root / f"source-{total}"


def _places(root: Path, source: ModelSource, sha256: str | None) -> Iterator[Path]:
    """`SUM`, `SUM.gguf`, as bundles have it, `org/repo/FILE`, `org--repo/FILE` as on rigs, as `hf download` has it."""
    if sha256:
        yield root / sha256
        yield root / f"{sha256}.gguf"
    yield by_source(root, source_sum(source))
    if not source.repo or not source.file:
        return
    flat = source.repo.replace("/", "--")
    yield root / source.repo / source.file
    yield root / flat / source.file
    cache = root / f"models--{flat}"
    commit = source.revision
    try:
        if not COMMIT.fullmatch(commit):
            commit = (cache / "refs" / commit).read_text("ascii").strip()
    except (OSError, ValueError):
        return
    if COMMIT.fullmatch(commit):
        yield cache / "snapshots" / commit / source.file
