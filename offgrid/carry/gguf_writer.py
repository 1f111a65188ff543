"""Writing a GGUF file (version 3, little-endian) in one pass, without ever holding its tensors in memory.

Source of the format: docs/gguf.md of the ggml project. The same input gives the same bytes.
"""

import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import BinaryIO

ALIGNMENT = 32  # the format's default, so no general.alignment key is needed
VERSION = 3

Value = bool | int | float | str | list[str] | list[int]


class ValueType(IntEnum):
    """The metadata types that are written here, by their numbers in the file."""

    UINT32 = 4
    INT32 = 5
    FLOAT32 = 6
    BOOL = 7
    STRING = 8
    ARRAY = 9


class TensorType(IntEnum):
    F32 = 0
    F16 = 1

    @property
    def n_bytes(self) -> int:
        """Bytes of one element."""
        return 4 if self is TensorType.F32 else 2


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor. `chunks` is read once, when its turn comes: its bytes, row by row, little-endian."""

    name: str
    shape: tuple[int, ...]  # as numpy has it, slowest dimension first
    type: TensorType
    chunks: Iterable[bytes]

    @property
    def n_bytes(self) -> int:
        return math.prod(self.shape) * self.type.n_bytes


def write_gguf(out: BinaryIO, metadata: dict[str, Value], tensors: list[Tensor]) -> None:
    """Write a whole file to `out`, which stands at its beginning; tensors are read and written in the given order.

    A metadata value's type follows from Python's: bool, int (uint32), float (float32), str, list of str, list of
    int (int32). Raises ValueError for a tensor whose chunks do not add up to its shape.
    """
    head = bytearray(b"GGUF" + struct.pack("<IQQ", VERSION, len(tensors), len(metadata)))
    for key, value in metadata.items():
        head += _string(key) + _typed(value)
    offset = 0
    for tensor in tensors:
        head += _string(tensor.name) + _description(tensor, offset)
        offset += _aligned(tensor.n_bytes)
    out.write(head.ljust(_aligned(len(head)), b"\0"))
    for tensor in tensors:
        n_written = sum(out.write(chunk) for chunk in tensor.chunks)
        if n_written != tensor.n_bytes:
            raise ValueError(f"{tensor.name} has {n_written} bytes; its shape {tensor.shape} needs {tensor.n_bytes}")
        out.write(bytes(_aligned(n_written) - n_written))


def _aligned(n_bytes: int) -> int:
    return -(-n_bytes // ALIGNMENT) * ALIGNMENT


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _typed(value: Value) -> bytes:
    if isinstance(value, bool):  # before int: a bool is one
        return struct.pack("<I?", ValueType.BOOL, value)
    if isinstance(value, int):
        return struct.pack("<II", ValueType.UINT32, value)
    if isinstance(value, float):
        return struct.pack("<If", ValueType.FLOAT32, value)
    if isinstance(value, str):
        return struct.pack("<I", ValueType.STRING) + _string(value)
    if isinstance(value[0], str):
        items, item_type = b"".join(map(_string, value)), ValueType.STRING
    else:
        items, item_type = struct.pack(f"<{len(value)}i", *value), ValueType.INT32
    return struct.pack("<IIQ", ValueType.ARRAY, item_type, len(value)) + items


def _description(tensor: Tensor, offset: int) -> bytes:
    n_dims = len(tensor.shape)
    # ggml counts dimensions fastest first, the reverse of numpy.
    return struct.pack(f"<I{n_dims}QIQ", n_dims, *reversed(tensor.shape), tensor.type, offset)
