"""Reads the headers of GGUF files on this machine."""

from __future__ import annotations

from pathlib import Path

from rigwright.errors import UnreadableModel
from rigwright.models.header import Header
from rigwright.models.names import of_file
from rigwright.models.parts import part_names
from rigwright.models.reading import header_from_stream, model_of
from rigwright.models.values import Model


def read_model(path: Path) -> Model:
    """The model in `path`; nothing but its header is read, and those of its other parts when it is one of several.

    Raises:
        UnreadableModel: a file is missing, cut short, or no language model.
    """
    names = part_names(path.name)
    try:
        if len(names) > 1 and path.exists():
            for number, name in enumerate(names, 1):
                if not (path.parent / name).exists():
                    where = f"part {number} of {len(names)} is not beside {path.name}"
                    raise UnreadableModel(f"{path.parent / name}: {where}; download it too")
        return model_of(names, lambda name: _header(path.parent / name), where=str(path))
    except OSError as error:
        raise UnreadableModel(f"{path}: {(error.strerror or 'cannot be read').lower()}; check the file") from None


def _header(path: Path) -> Header:
    if not path.is_file():
        what = "is no file" if path.exists() else "does not exist"
        known, quant = of_file(path.name)
        other = f", or name the catalogue's: {known.key}{f':{quant}' if quant else ''}" if known else ""
        # Whose folder is not here either may be that of a file which the rig has already.
        if path.is_absolute() and not path.parent.exists():
            other += ", or name its repository and set weights.directory where the rig has it"
        raise UnreadableModel(f"{path}: {what} on this machine; check the path of the model{other}")
    with path.open("rb") as file:
        return header_from_stream(file.read, where=str(path), size_bytes=path.stat().st_size)
