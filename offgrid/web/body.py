"""The body of a request as it comes in: whole, within a limit, or piece by piece for a handler that asks for it so.

Knows framing (Content-Length and chunks, RFC 9112, 6 and 7.1), no sockets. Must stay true: a body that was not read to
its end is the last thing of its connection, as nobody knows where the next request would begin.
"""

import re
from collections.abc import Iterator
from typing import Protocol

from offgrid.errors import BadRequest, HeadTooLarge, TooLarge
from offgrid.web.message import MAX_FIELDS, MAX_TARGET_BYTES, Request

_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?")


class ByteSource(Protocol):
    def read_line(self, max_bytes: int) -> bytes: ...

    def read_some(self, max_bytes: int) -> bytes:
        """At least one byte."""

    def send_continue(self) -> None:
        """Tell a client that waits for it to send the body."""


class Incoming:
    """The body of one request; `pieces` may be gone through once."""

    def __init__(self, source: ByteSource, request: Request):
        self._source = source
        self._is_chunked = request.is_chunked
        self._n_bytes = request.content_length
        self._is_awaited = request.expects_continue
        self.is_complete = not request.is_chunked and request.content_length == 0

    @property
    def n_bytes(self) -> int | None:
        """How long it will be, where the client said so."""
        return None if self._is_chunked else self._n_bytes

    def pieces(self, max_bytes: int | None = None) -> Iterator[bytes]:
        """Raises TooLarge as soon as more than `max_bytes` are announced, BadRequest, RequestTimeout, ClientGone."""
        if not self._is_chunked and max_bytes is not None and self._n_bytes > max_bytes:
            raise _too_large(self._n_bytes, max_bytes)
        if self._is_awaited and not self.is_complete:
            self._source.send_continue()
        yield from _chunks(self._source, max_bytes) if self._is_chunked else _exactly(self._source, self._n_bytes)
        self.is_complete = True

    def read(self, max_bytes: int) -> bytes:
        """All of it."""
        return b"".join(self.pieces(max_bytes))


def read_exactly(source: ByteSource, n_bytes: int) -> bytes:
    return b"".join(_exactly(source, n_bytes))


def _exactly(source: ByteSource, n_bytes: int) -> Iterator[bytes]:
    while n_bytes:
        piece = source.read_some(n_bytes)
        n_bytes -= len(piece)
        yield piece


def _chunks(source: ByteSource, max_bytes: int | None) -> Iterator[bytes]:
    """A chunked body, decoded; extensions and trailers are read and dropped."""
    n_read = 0
    while True:
        match = _CHUNK_SIZE.fullmatch(source.read_line(1024))
        if not match:
            raise BadRequest("The chunked body has a chunk without a readable size.")
        size = int(match[1], 16)
        if size == 0:
            break
        n_read += size
        if max_bytes is not None and n_read > max_bytes:
            raise _too_large(n_read, max_bytes)
        yield from _exactly(source, size)
        if read_exactly(source, 2) != b"\r\n":
            raise BadRequest("The chunked body has a chunk that does not end where its size says.")
    for _ in range(MAX_FIELDS + 1):
        if not source.read_line(MAX_TARGET_BYTES):
            return
    raise HeadTooLarge(f"The chunked body has more than {MAX_FIELDS} trailer fields.")


def _too_large(n_bytes: int, max_bytes: int) -> TooLarge:
    return TooLarge(f"The body has at least {n_bytes} bytes; {max_bytes} is the limit here (max_body_bytes).")
