"""Length-prefixed messages between the router and a child of ours, over a pipe.

A frame is two little-endian uint32 lengths, a JSON object, and an optional blob of bytes (vectors do not
belong in JSON). A pipe carries frames one way; one reader and, under a lock of the caller's, any writers.
"""

import json
import struct
from typing import BinaryIO

LENGTHS = struct.Struct("<II")
# Far above any real message: it turns a stray print into the pipe into an error instead of a huge allocation.
MAX_FRAME_BYTES = 1 << 30


class BrokenFrame(Exception):
    """The pipe ended inside a frame, or what came is no frame."""


def encode(message: dict, blob: bytes = b"") -> bytes:
    """One frame. Raises ValueError when it is too large for its reader."""
    body = json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")
    if len(body) + len(blob) > MAX_FRAME_BYTES:
        raise ValueError(f"a message of {len(body) + len(blob)} bytes is over the limit of {MAX_FRAME_BYTES}")
    return LENGTHS.pack(len(body), len(blob)) + body + blob


def read(pipe: BinaryIO) -> tuple[dict, bytes] | None:
    """The next (message, blob), or None when the other side has closed the pipe between two frames."""
    head = pipe.read(LENGTHS.size)
    if not head:
        return None
    n_body, n_blob = LENGTHS.unpack(_exactly(head, LENGTHS.size))
    if n_body + n_blob > MAX_FRAME_BYTES:
        raise BrokenFrame(f"a frame claims {n_body + n_blob} bytes")
    body = _exactly(pipe.read(n_body), n_body)
    blob = _exactly(pipe.read(n_blob), n_blob) if n_blob else b""
    try:
        return json.loads(body.decode("utf-8", "surrogatepass")), blob
    except ValueError as error:
        raise BrokenFrame(f"a frame holds no JSON: {error}") from error


def _exactly(data: bytes, n: int) -> bytes:
    if len(data) != n:
        raise BrokenFrame(f"the pipe ended after {len(data)} of {n} bytes")
    return data
