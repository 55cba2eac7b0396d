"""From a stream of bytes to a `Model`, with errors that a person can act on: shared by files and addresses."""

from __future__ import annotations

from collections.abc import Callable

from rigwright.errors import UnreadableModel
from rigwright.models.architectures import model_from_header
from rigwright.models.header import Corrupt, Header, TooShort, parse_header
from rigwright.models.parts import joined
from rigwright.models.values import Model

# How much of the start is read, in steps: a 35B model with 248,320 tokens has a header of 11 MiB.
WINDOWS_BYTES = (2 * 1024**2, 16 * 1024**2, 64 * 1024**2)

_REMEDIES = {"it is big-endian": "convert it with gguf-py's gguf_convert_endian.py"}


def model_from_stream(read: Callable[[int], bytes], *, where: str, size_bytes: int | None) -> Model:
    """The model at the start of a stream.

    Args:
        read: Gives up to that many more bytes; fewer only at the end.
        where: How messages name the stream.
        size_bytes: The size of the whole, where it is known.

    Raises:
        UnreadableModel: it is cut short, or no language model.
    """
    header = header_from_stream(read, where=where, size_bytes=size_bytes)
    return model_of((where,), lambda _: header, where=where)


def model_of(names: tuple[str, ...], read: Callable[[str], Header], *, where: str) -> Model:
    """The model whose parts have those names.

    Raises:
        UnreadableModel: it is no language model, or the parts do not belong together.
    """
    try:
        return _with_weights(model_from_header(joined(names, read)))
    except Corrupt as error:
        raise _unreadable(where, error) from None


def _with_weights(model: Model) -> Model:
    """The model, which a token can pass. llama.cpp ships files of a vocabulary alone, for its tests."""
    if model.experts and not 0 < model.experts_used <= model.experts:
        raise Corrupt(f"it uses {model.experts_used} of its {model.experts} experts")
    sums, main = model.layer_sums, model.main_layers
    if not any(sums.parameters[:main]) and not (model.experts and any(sums.expert_parameters[:main])):
        raise Corrupt("its layers hold no weights, so that it cannot answer")
    return model


def header_from_stream(read: Callable[[int], bytes], *, where: str, size_bytes: int | None) -> Header:
    """The header at the start of a stream: of a model, or of one of its parts.

    Raises:
        UnreadableModel: it is cut short, or no GGUF file.
    """
    try:
        header = _read_header(read, where=where)
    except Corrupt as error:
        raise _unreadable(where, error) from None
    if size_bytes is not None and size_bytes < header.end_bytes:
        raise UnreadableModel(
            f"{where}: has {size_bytes} bytes, its header declares {header.end_bytes}; download it again"
        )
    return header


def _unreadable(where: str, error: Corrupt) -> UnreadableModel:
    remedy = _REMEDIES.get(str(error), "name the GGUF file of a language model, or download it again")
    return UnreadableModel(f"{where}: {error}; {remedy}")


def _read_header(read: Callable[[int], bytes], *, where: str) -> Header:
    data = bytearray()
    for window in WINDOWS_BYTES:
        wanted = window - len(data)
        more = read(wanted)
        data += more
        length = len(more)
        del more  # there may be 48 MiB of it
        try:
            return parse_header(data)
        except TooShort:
            if length < wanted:
                raise UnreadableModel(
                    f"{where}: ends after {len(data)} bytes, within its header; download it again"
                ) from None
    raise UnreadableModel(f"{where}: its header is longer than {len(data)} bytes; it is damaged, download it again")
