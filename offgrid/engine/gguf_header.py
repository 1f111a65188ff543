"""The header of a GGUF file: its metadata and the list of its tensors, read without trusting a byte.

Knows the format, nothing of models: what the keys mean is `gguf.py`'s.
Must stay true: whatever the file holds, `read_header` returns or raises BrokenModel, in seconds and a bounded memory.

The file is read, not mapped: a mapped file that is cut short under us (an interrupted copy, a pulled USB stick)
would end this process by SIGBUS. The weights are not looked at, only whether they are all there.
Source of the format: docs/gguf.md of the ggml project.
"""

import os
import stat
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path

FIRST_READ_BYTES = 1 << 20  # a small model's whole header; four times more each time it does not suffice
MAX_HEADER_BYTES = 64 << 20  # the largest vocabularies (262 k tokens) need 16 MB
MAX_NAME_BYTES = 65_535  # of a key, as the format has it
KEPT_TEXT_BYTES = 1024
KEPT_NUMBERS = 1024  # of an array; per-layer values need at most 512
KEPT_TEXTS = 64  # of an array: tags, languages, labels, but no vocabulary

U32, U64 = struct.Struct("<I"), struct.Struct("<Q")
TEXT, ARRAY = 8, 9
SCALARS = {
    number: struct.Struct("<" + code) for number, code in zip([*range(8), 10, 11, 12], "BbHhIif?Qqd", strict=True)
}

# fmt: off
# Tensor type: (name, weights in a block, bytes of a block). Source: type_traits of ggml.c.
TENSOR_TYPES = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292), 16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50), 20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82), 23: ("IQ4_XS", 256, 136), 24: ("I8", 1, 1), 25: ("I16", 1, 2),
    26: ("I32", 1, 4), 27: ("I64", 1, 8), 28: ("F64", 1, 8), 29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66), 39: ("MXFP4", 32, 17), 40: ("NVFP4", 64, 36), 41: ("Q1_0", 128, 18),
}
# fmt: on

# What is found under the name of a model when it is something else.
FOREIGN_FILES = (
    (b"version https://git-lfs", "it is a Git LFS pointer: fetch the file itself, with `git lfs pull`"),
    (b"<", "it looks like a web page: the download went to a page, not to the file"),
    (b"{", "it looks like JSON"),
    (b"PK\x03\x04", "it is a zip archive: unpack it"),
    (b"\x1f\x8b", "it is a gzip archive: unpack it"),
    (b"7z\xbc\xaf", "it is a 7z archive: unpack it"),
    (b"\x28\xb5\x2f\xfd", "it is a zstd archive: unpack it"),
    (b"tjgg", "it is a GGML file from before GGUF, which cannot be read any more"),
    (b"lmgg", "it is a GGML file from before GGUF, which cannot be read any more"),
    (b"\0\0\0\0", "it begins with zeros: a copy that never finished"),
)


class BrokenModel(Exception):
    """This file is no usable model. `reason` goes on from the file's name: "is empty", "is truncated: …"."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class LongValue:
    """Stands for a value too long to keep: the bytes of a text, the items of an array."""

    length: int


Scalar = bool | int | float | str
Value = Scalar | LongValue | list[Scalar | LongValue]


@dataclass(frozen=True, slots=True)
class Tensor:
    name: str
    shape: tuple[int, ...]  # as the file has it: the fastest dimension first
    type: int  # a key of TENSOR_TYPES, or one that llama.cpp has learnt since
    offset: int  # bytes from the first tensor's place

    @property
    def n_weights(self) -> int:
        return prod(self.shape)

    @property
    def n_bytes(self) -> int:
        """0 for a type that is not known here: llama.cpp will judge it."""
        _, block, block_bytes = TENSOR_TYPES.get(self.type, ("", 1, 0))
        return self.n_weights // block * block_bytes


@dataclass(frozen=True, slots=True)
class Header:
    size_bytes: int  # of the file
    metadata: dict[str, Value]
    tensors: list[Tensor]


def read_header(path: Path, longest_text: int = KEPT_TEXT_BYTES) -> Header:
    """The header of the file at `path`; most of the time goes into walking over its vocabulary.

    Of a text of more than `longest_text` bytes only the length is kept. Raises BrokenModel.
    """
    try:
        size = _size_of_regular_file(path)
        with open(path, "rb") as file:
            head = file.read(FIRST_READ_BYTES)
            _check_magic(head)
            while True:
                try:
                    return _parse(_Cursor(head, size, longest_text))
                except _Beyond:
                    more = file.read(min(3 * len(head), MAX_HEADER_BYTES - len(head)))
                if not more:
                    raise BrokenModel(f"is damaged: its header does not end within {len(head):,} bytes")
                head += more
    except OSError as e:
        raise BrokenModel(f"cannot be read: {e.strerror}") from e


def _size_of_regular_file(path: Path) -> int:
    """Asked before opening: opening a FIFO waits for a writer that may never come, a device may do anything."""
    status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
        raise BrokenModel("is a directory, not a file")
    if not stat.S_ISREG(status.st_mode):
        is_fifo = stat.S_ISFIFO(status.st_mode)
        raise BrokenModel(f"is not a regular file but a {'FIFO' if is_fifo else 'device or socket'}")
    if status.st_size == 0:
        raise BrokenModel("is empty: copy it again")
    return status.st_size


def _check_magic(head: bytes) -> None:
    if head.startswith(b"GGUF"):
        return
    what = next((what for start, what in FOREIGN_FILES if head.startswith(start)), None)
    if head[8:9] == b"{":  # eight bytes of length, then JSON
        what = "it is a safetensors file: a GGUF version of this model is needed"
    raise BrokenModel(f"is not a GGUF file: {what or f'it begins with {head[:4]!r}'}")


class _Beyond(Exception):
    """The header goes on after the bytes that were read so far."""


class _Cursor:
    """Reads one value after the other; nothing is allocated for a length before the file is known to be as long."""

    def __init__(self, head: bytes, file_size: int, longest_text: int):
        self.longest_text = longest_text
        self.head = head  # the first bytes of the file
        self.file_size = file_size
        self.at = 0

    def require(self, end: int) -> None:
        """Bytes up to `end` are about to be read."""
        if end > self.file_size:
            raise BrokenModel("is truncated or damaged: its header goes on after the end of the file; copy it again")
        if end > len(self.head):
            raise _Beyond

    def number(self, form: struct.Struct) -> Scalar:
        self.require(self.at + form.size)
        (value,) = form.unpack_from(self.head, self.at)
        self.at += form.size
        return value

    def numbers(self, form: struct.Struct, n: int) -> list[Scalar] | LongValue:
        end = self.at + n * form.size
        self.require(end)
        start, self.at = self.at, end
        if n > KEPT_NUMBERS:
            return LongValue(n)
        return [value for (value,) in form.iter_unpack(self.head[start:end])]

    def count(self, what: str, least_bytes: int) -> int:
        """How many of something follow, each of at least `least_bytes`."""
        n = self.number(U64)
        if n * least_bytes > self.file_size - self.at:
            raise BrokenModel(
                f"is truncated or damaged: it claims {n} {what}, more than it has room for; copy it again"
            )
        return n

    def name(self) -> str:
        """A key or a tensor's name."""
        n = self.count("letters in a name", 1)
        if n > MAX_NAME_BYTES:
            raise BrokenModel(f"is damaged: it has a name of {n} letters")
        try:
            return self._bytes(n).decode()
        except UnicodeDecodeError:
            raise BrokenModel("is damaged: it has a name that is not UTF-8") from None

    def text(self) -> str | LongValue:
        n = self.count("letters in a text", 1)
        raw = self._bytes(n)
        return raw.decode(errors="replace") if n <= self.longest_text else LongValue(n)

    def texts(self, n: int) -> list[str | LongValue] | LongValue:
        """A vocabulary comes through here: no length of the whole is stored, so every item must be walked over."""
        if n <= KEPT_TEXTS:
            return [self.text() for _ in range(n)]
        head, end, at, length_at = self.head, len(self.head), self.at, U64.unpack_from
        for _ in range(n):
            if at + 8 > end:
                self.require(at + 8)
            at += 8 + length_at(head, at)[0]
        self.require(at)
        self.at = at
        return LongValue(n)

    def _bytes(self, n: int) -> bytes:
        self.require(self.at + n)
        start, self.at = self.at, self.at + n
        return self.head[start : self.at]


def _parse(cursor: _Cursor) -> Header:
    cursor.at = len(b"GGUF")
    _check_version(cursor.number(U32))
    n_tensors = cursor.count("tensors", 24)
    n_keys = cursor.count("keys", 13)
    metadata: dict[str, Value] = {}
    for _ in range(n_keys):
        key = cursor.name()
        if key in metadata:
            raise BrokenModel(f"is damaged: it has the key {key[:80]!r} twice")
        metadata[key] = _value(cursor, key)
    tensors = [_tensor(cursor) for _ in range(n_tensors)]
    _check_extents(cursor, metadata, tensors)
    return Header(cursor.file_size, metadata, tensors)


def _check_version(version: int) -> None:
    if version and version & 0xFFFF == 0:
        raise BrokenModel("is a big-endian GGUF file, made for another kind of machine")
    if version < 2:
        raise BrokenModel(f"is a GGUF file of version {version}, which is too old: versions 2 and 3 can be read")
    if version > 3:
        raise BrokenModel(f"is a GGUF file of version {version}, which is too new: versions 2 and 3 can be read")


def _value(cursor: _Cursor, key: str) -> Value:
    kind = cursor.number(U32)
    if kind == TEXT:
        return cursor.text()
    if kind in SCALARS:
        return cursor.number(SCALARS[kind])
    if kind != ARRAY:
        raise BrokenModel(f"is damaged: {key[:80]!r} has the unknown type {kind}")
    kind = cursor.number(U32)
    if kind == TEXT:
        return cursor.texts(cursor.count("texts", 8))
    if kind in SCALARS:
        return cursor.numbers(SCALARS[kind], cursor.count("numbers", SCALARS[kind].size))
    raise BrokenModel(
        f"is damaged: {key[:80]!r} is a list of {'lists' if kind == ARRAY else f'the unknown type {kind}'}"
    )


def _tensor(cursor: _Cursor) -> Tensor:
    name = cursor.name()
    n_dims = cursor.number(U32)
    if n_dims > 4:
        raise BrokenModel(f"is damaged: the tensor {name[:80]!r} has {n_dims} dimensions")
    shape = tuple(cursor.number(U64) for _ in range(n_dims))
    return Tensor(name, shape, type=cursor.number(U32), offset=cursor.number(U64))


def _check_extents(cursor: _Cursor, metadata: dict[str, Value], tensors: list[Tensor]) -> None:
    alignment = metadata.get("general.alignment", 32)
    if type(alignment) is not int or alignment <= 0 or alignment & (alignment - 1):
        raise BrokenModel(f"is damaged: its alignment is {str(alignment)[:80]!r}, not a power of two")
    if len({tensor.name for tensor in tensors}) < len(tensors):
        raise BrokenModel("is damaged: it has two tensors of one name")
    if not tensors:
        return
    if any(tensor.offset % alignment for tensor in tensors):
        raise BrokenModel("is damaged: a tensor stands where none can")
    first = (cursor.at + alignment - 1) // alignment * alignment
    needed, size = first + max(tensor.offset + tensor.n_bytes for tensor in tensors), cursor.file_size
    if needed > 1 << 50:
        raise BrokenModel("is damaged: it has a tensor larger than any disk")
    if needed > size:
        short = needed - size < 10_000_000
        parts = f"{size:,} of {needed:,} bytes" if short else f"{size // 10**6:,} of {needed // 10**6:,} MB"
        raise BrokenModel(f"is truncated: {parts} are there; copy it again")
