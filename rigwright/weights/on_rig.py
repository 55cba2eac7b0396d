"""The headers of model files that lie on rigs, kept here once they were read: plans are made from them too."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from rigwright.errors import UnreadableModel
from rigwright.models.header import Header
from rigwright.models.parts import part_names
from rigwright.models.reading import header_from_stream, model_of
from rigwright.models.values import Model
from rigwright.units import whole_number
from rigwright.weights.cache import cache_directory
from rigwright.weights.remote import Read, keep


class FileState(NamedTuple):
    """What tells one content of a file from the next without reading it."""

    size_bytes: int
    modified: int


def files_on_rig(path: str) -> tuple[str, ...]:
    """The file, and those of the other parts where it is one of several."""
    file = PurePosixPath(path)
    return tuple(str(file.with_name(name)) for name in part_names(file.name))


def model_on_rig(rig: str, path: str) -> Model | None:
    """The model at a path of a rig as it was last read; None where it never was.

    Raises:
        UnreadableModel: it is no language model, or its parts do not belong together.
    """
    paths = {PurePosixPath(one).name: one for one in files_on_rig(path)}
    kept = {name: _kept(rig, one) for name, one in paths.items()}
    if not all(one.is_file() for one in kept.values()):
        return None

    def header(name: str) -> Header:
        return _header(BytesIO(kept[name].read_bytes()).read, rig, paths[name], _state(kept[name]))

    return model_of(tuple(paths), header, where=f"{path} of {rig}")


def unread(rig: str, states: Mapping[str, FileState]) -> list[str]:
    """The files whose header was never read, or not of what lies there now."""
    return [path for path, state in states.items() if _state(_kept(rig, path)) != state]


def keep_header(rig: str, path: str, state: FileState, read: Read) -> None:
    """Read a header and keep it.

    Raises:
        UnreadableModel: it is cut short, or no GGUF file.
    """
    seen = bytearray()

    def counted(wanted: int) -> bytes:
        data = read(wanted)
        seen.extend(data)
        return data

    kept = _kept(rig, path)
    keep(_note(kept), b"")  # a run that ends here leaves no content under another's state
    try:
        _header(counted, rig, path, state)
    except UnreadableModel:
        if seen or not state.size_bytes:
            raise
        what = "path_on_rig takes a GGUF file; a directory of safetensors comes from this machine, or from a hub"
        raise UnreadableModel(f"{path} of {rig}: is no file that can be read; {what}") from None
    keep(kept, bytes(seen))
    keep(_note(kept), f"{state.size_bytes} {state.modified}".encode())


def _header(read: Read, rig: str, path: str, state: FileState | None) -> Header:
    size = state.size_bytes if state else None
    try:
        return header_from_stream(read, where=f"{path} of {rig}", size_bytes=size)
    except UnreadableModel as error:
        raise UnreadableModel(error.message.replace("download it again", "bring it again")) from None


def _kept(rig: str, path: str) -> Path:
    return cache_directory() / "headers" / hashlib.sha256(f"{rig}\n{path}".encode()).hexdigest()[:32]


def _note(kept: Path) -> Path:
    return kept.with_name(f"{kept.name}.state")


def _state(kept: Path) -> FileState | None:
    try:
        words = _note(kept).read_text("ascii").split()
    except (OSError, ValueError):
        return None
    numbers = [whole_number(word) for word in words]
    if len(numbers) != 2 or numbers[0] is None or numbers[1] is None:
        return None
    return FileState(numbers[0], numbers[1])
