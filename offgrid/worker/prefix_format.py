"""The file of one saved prefix: its tokens and its state, and whether they are what was written.

llama.cpp's own state files are not used: they name neither the model nor its settings, and a truncated one ends the
process. Layout, little-endian: `HEAD`; the tokens, int32 each; the state. The checksums are CRC-32: they are against
torn writes and worn-out SD cards, not against people, who could replace a model as well; 15 MB take 4 ms, while SHA-256
takes 9, and the interpreter is free meanwhile.

Knows files, nothing of folders, threads or models. Raise VERSION with every change of what a state means.
"""

import os
import stat
import struct
import zlib
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

MAGIC = b"OGPREFIX"
VERSION = 1
# Magic, version, n_tokens, n_state_bytes, fingerprint, CRC of the state, CRC of all before it and of the tokens.
HEAD = struct.Struct("<8sIIQ32sII")
TOKEN_BYTES = 4


class NotOurs(Exception):
    """The file was not written by this module: leave it alone."""


class Broken(Exception):
    """The file is ours, and damaged or of another version: it is of no use to anybody."""


@dataclass(frozen=True, slots=True)
class Head:
    """What stands before the state; `fingerprint` says for which model and settings."""

    fingerprint: bytes
    tokens: list[int]
    n_state_bytes: int
    state_crc: int


def size_of(n_tokens: int, n_state_bytes: int) -> int:
    return HEAD.size + TOKEN_BYTES * n_tokens + n_state_bytes


def pack_head(fingerprint: bytes, tokens: list[int], state: bytes) -> bytes:
    """The bytes that stand before `state` in its file."""
    body = np.asarray(tokens, "<i4").tobytes()
    fields = (MAGIC, VERSION, len(tokens), len(state), fingerprint, zlib.crc32(state))
    return HEAD.pack(*fields, _head_crc(fields, body)) + body


def _head_crc(fields: tuple, body: bytes) -> int:
    return zlib.crc32(body, zlib.crc32(HEAD.pack(*fields, 0)))


def open_regular(path: str | os.PathLike) -> BinaryIO:
    """Open a file that is neither link, pipe nor device. Raises NotOurs; OSError for a link and a missing file."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe would make us wait
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotOurs(path)
    return os.fdopen(descriptor, "rb", buffering=0)


def is_ours(path: str | os.PathLike) -> bool:
    """Whether a file was written by this module, whatever has become of it since."""
    try:
        with open_regular(path) as file:
            return file.read(len(MAGIC)) == MAGIC
    except (NotOurs, OSError):
        return False


def read_head(file: BinaryIO) -> Head:
    """The checked head of a file that was just opened; the state is not looked at. Raises NotOurs, Broken, OSError."""
    raw = file.read(HEAD.size)
    if not raw.startswith(MAGIC):
        raise NotOurs("another kind of file")
    if len(raw) < HEAD.size:
        raise Broken("cut off")
    *fields, head_crc = HEAD.unpack(raw)
    _, version, n_tokens, n_state_bytes, fingerprint, state_crc = fields
    if version != VERSION:
        raise Broken(f"version {version}")
    # Before anything is read by these numbers: they may be anything.
    if os.fstat(file.fileno()).st_size != size_of(n_tokens, n_state_bytes):
        raise Broken("of the wrong size")
    body = file.read(TOKEN_BYTES * n_tokens)
    if len(body) != TOKEN_BYTES * n_tokens or _head_crc(tuple(fields), body) != head_crc:
        raise Broken("a damaged head")
    return Head(fingerprint, np.frombuffer(body, "<i4").tolist(), n_state_bytes, state_crc)


def read_state(file: BinaryIO, head: Head) -> bytearray:
    """The checked state, from a file whose head was just read. Raises Broken, OSError."""
    state = bytearray(head.n_state_bytes)
    view, n = memoryview(state), 0
    while n < len(state):
        n_read = file.readinto(view[n:])
        if not n_read:
            raise Broken("cut off")
        n += n_read
    if zlib.crc32(state) != head.state_crc:
        raise Broken("a damaged state")
    return state
