"""Reads the header of a GGUF file on this machine."""

from __future__ import annotations

from pathlib import Path

from rigwright.errors import UnreadableModel
from rigwright.models.reading import model_from_stream
from rigwright.models.values import Model


def read_model(path: Path) -> Model:
    """The model in `path`; nothing but its header is read.

    Raises:
        UnreadableModel: the file is missing, cut short, or no language model.
    """
    try:
        if not path.is_file():
            what = "is no file" if path.exists() else "does not exist"
            raise UnreadableModel(f"{path}: {what}; check the path of the model")
        with path.open("rb") as file:
            return model_from_stream(file.read, where=str(path), size_bytes=path.stat().st_size)
    except OSError as error:
        raise UnreadableModel(f"{path}: {(error.strerror or 'cannot be read').lower()}; check the file") from None
