"""The binary header of a GGUF file: bytes in, metadata and tensor table out. No length in it is trusted.

Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3; checks as in llama.cpp's gguf.cpp.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from rigwright.models.ggml import TENSOR_TYPES
from rigwright.models.values import Tensor

MAGIC = b"GGUF"
_VERSIONS = (2, 3)
MAX_TENSORS = _MAX_ENTRIES = 100_000  # keys, tensors; the largest models have a few thousand
_MAX_STRING_BYTES = 64 * 1024**2
_MAX_KEY_BYTES = 2**16 - 1  # the specification's own limit
_MAX_ARRAY = 4096  # longer arrays (tokens, merges, scores) are stepped over and leave their length
# What is kept of a header: real ones have some hundred numbers in lists, and chat templates of 20 KB.
_MAX_KEPT_NUMBERS = 2**16
_MAX_KEPT_TEXT_BYTES, _MAX_TEXT_BYTES = 4 * 1024**2, 2**18
_MAX_NAME_BYTES = 256  # llama.cpp takes 63
_MAX_DIMENSION = 2**40
_STRING, _ARRAY = 8, 9

_LETTERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_SCALARS = {kind: struct.Struct(f"<{letter}") for kind, letter in _LETTERS.items()}
_U32, _U64 = _SCALARS[4], _SCALARS[10]


class Corrupt(Exception):
    """The bytes are no header that llama.cpp would accept; the text says why."""


class TooShort(Exception):
    """The header goes on after the bytes given."""


@dataclass(frozen=True)
class Length:
    """A long array that was stepped over: how many entries it has."""

    count: int


class Header(NamedTuple):
    """What the header says. `end_bytes` is where the last tensor ends: the size of the whole file."""

    metadata: Mapping[str, Any]
    tensors: tuple[Tensor, ...]
    end_bytes: int


def parse_header(data: bytes | bytearray) -> Header:
    """Reads the header at the start of `data`.

    Raises:
        Corrupt: this is no GGUF file, or none that llama.cpp would load.
        TooShort: `data` ends before the header does.
    """
    cursor = _Cursor(data)
    _check_start(data)
    cursor.position = 8
    tensor_count, key_count = cursor.count("tensors"), cursor.count("keys")
    metadata: dict[str, Any] = {}
    for _ in range(key_count):
        key = cursor.text(longest=_MAX_KEY_BYTES)
        if key in metadata:
            raise Corrupt(f"the key {key[:64]!r} appears twice")
        metadata[key] = cursor.value(cursor.scalar(_U32))
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 8 <= alignment <= 2**20 or alignment & (alignment - 1):
        raise Corrupt(f"its alignment is {alignment!r}, no power of two")
    return _with_tensors(cursor, metadata, tensor_count, alignment)


def _check_start(data: bytes | bytearray) -> None:
    if len(data) < 24 and data[:4] == MAGIC[: len(data)]:
        raise TooShort
    if data[:4] != MAGIC:
        raise Corrupt(f"it starts with {bytes(data[:4]).decode('ascii', 'replace')!r}, not with {MAGIC.decode()!r}")
    version = _U32.unpack_from(data, 4)[0]
    if version and not version & 0xFFFF:
        raise Corrupt("it is big-endian")
    if version not in _VERSIONS:
        raise Corrupt(f"it has GGUF version {version}, not {' or '.join(map(str, _VERSIONS))}")


def _with_tensors(cursor: _Cursor, metadata: Mapping[str, Any], count: int, alignment: int) -> Header:
    tensors: list[Tensor] = []
    end = expected = 0
    for _ in range(count):
        tensor, offset = cursor.tensor()
        if offset != expected:
            raise Corrupt(f"the tensor {tensor.name!r} lies at {offset}, not at {expected}")
        end = offset + tensor.size_bytes
        expected = _pad(end, alignment)
        tensors.append(tensor)
    start = _pad(cursor.position, alignment) if tensors else cursor.position  # a part may hold the keys alone
    return Header(metadata, tuple(tensors), start + end)


def _pad(position: int, alignment: int) -> int:
    return -(-position // alignment) * alignment


class _Cursor:
    def __init__(self, data: bytes | bytearray) -> None:
        self.data = data
        self.position = 0
        self.numbers_left = _MAX_KEPT_NUMBERS
        self.text_left = _MAX_KEPT_TEXT_BYTES

    def scalar(self, kind: struct.Struct) -> Any:
        try:
            value = kind.unpack_from(self.data, self.position)[0]
        except struct.error:
            raise TooShort from None
        self.position += kind.size
        return value

    def count(self, what: str) -> int:
        count: int = self.scalar(_U64)
        if count > _MAX_ENTRIES:
            raise Corrupt(f"it claims {count} {what}")
        return count

    def text(self, *, longest: int) -> str:
        """A string that must not be longer."""
        start = self.position + 8
        self.skip_texts(1)
        if self.position - start > longest:
            raise Corrupt(f"it holds a name of {self.position - start} bytes")
        return self.data[start : self.position].decode(errors="replace")

    def value_text(self) -> str:
        """A string, of which the start is kept: nobody reads more."""
        start = self.position + 8
        self.skip_texts(1)
        end = min(self.position, start + min(_MAX_TEXT_BYTES, self.text_left))
        self.text_left -= end - start
        return self.data[start:end].decode(errors="replace")

    def skip_texts(self, count: int) -> None:
        """Steps over `count` strings: the hot loop, for half a million tokens and merges."""
        data, position, unpack = self.data, self.position, _U64.unpack_from
        try:
            for _ in range(count):
                length = unpack(data, position)[0]
                if length > _MAX_STRING_BYTES:
                    raise Corrupt(f"it holds a string of {length} bytes")
                position += 8 + length
        except struct.error:
            raise TooShort from None
        if position > len(data):
            raise TooShort
        self.position = position

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.value_text()
        if kind == _ARRAY:
            return self.array(self.scalar(_U32), self.scalar(_U64))
        if kind not in _SCALARS:
            raise Corrupt(f"it holds a value of the unknown type {kind}")
        return self.scalar(_SCALARS[kind])

    def array(self, kind: int, count: int) -> tuple[Any, ...] | Length:
        if kind == _STRING:
            self.skip_texts(count)
            return Length(count)
        if kind not in _SCALARS:
            raise Corrupt(f"it holds an array of the unknown type {kind}")
        start = self.position
        self.position += count * _SCALARS[kind].size
        if self.position > len(self.data):
            raise TooShort
        if count > min(_MAX_ARRAY, self.numbers_left):
            return Length(count)
        self.numbers_left -= count
        return struct.unpack_from(f"<{count}{_LETTERS[kind]}", self.data, start)

    def tensor(self) -> tuple[Tensor, int]:
        """The next row of the tensor table, and where its data lies."""
        name = self.text(longest=_MAX_NAME_BYTES)
        dimensions = self.scalar(_U32)
        if not 1 <= dimensions <= 4:
            raise Corrupt(f"the tensor {name[:64]!r} has {dimensions} dimensions")
        shape = tuple(self.scalar(_U64) for _ in range(dimensions))
        kind = TENSOR_TYPES.get(self.scalar(_U32))
        if kind is None:
            raise Corrupt(f"the tensor {name[:64]!r} has a type that this version does not know")
        if not 0 < min(shape) <= max(shape) <= _MAX_DIMENSION or shape[0] % kind.block_elements:
            raise Corrupt(f"the tensor {name[:64]!r} cannot have the shape {shape} as {kind.name}")
        elements = 1
        for size in shape:
            elements *= size
        return Tensor(name, shape, kind.name, elements // kind.block_elements * kind.block_bytes), self.scalar(_U64)
