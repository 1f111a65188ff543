"""Lines out of a stream of bytes, with a bound: what is longer is dropped while it comes, not kept.

Pure: knows no pipes. Must stay true: no more than MAX_LINE_BYTES and what was taken last are held.
"""

from dataclasses import dataclass

MAX_LINE_BYTES = 4 << 20  # a photograph as base64; parsed JSON takes many times its text
N_END_BYTES = 512  # of a dropped line, at either end: one of them names the request that it answers


@dataclass(frozen=True, slots=True)
class Cut:
    """A line that was too long: how long, and its ends."""

    n_bytes: int
    head: bytes
    tail: bytes


class Lines:
    def __init__(self, max_bytes: int = MAX_LINE_BYTES):
        self._max_bytes = max_bytes
        self._held = bytearray()  # the line that is coming in; its tail only, once it is too long
        self._n_searched = 0
        self._n_dropped = 0  # bytes of this line that are held no longer
        self._head = b""

    def take(self, data: bytes) -> list[bytes | Cut]:
        """The lines that `data` completes, without their ends; empty ones are left out."""
        self._held += data
        lines = []
        while (end := self._held.find(b"\n", self._n_searched)) >= 0:
            line = bytes(self._held[:end])
            del self._held[: end + 1]
            self._n_searched = 0
            lines.append(self._whole(line))
            self._n_dropped = 0
        self._n_searched = len(self._held)
        if len(self._held) > self._max_bytes or self._n_dropped:
            self._drop()
        return [line for line in lines if isinstance(line, Cut) or line.strip()]

    def _whole(self, line: bytes) -> bytes | Cut:
        n_bytes = self._n_dropped + len(line)
        if n_bytes <= self._max_bytes:
            return line
        return Cut(n_bytes, self._head if self._n_dropped else line[:N_END_BYTES], line[-N_END_BYTES:])

    def _drop(self) -> None:
        """Keep the ends of a line that is too long."""
        if not self._n_dropped:
            self._head = bytes(self._held[:N_END_BYTES])
        n = max(0, len(self._held) - N_END_BYTES)
        del self._held[:n]
        self._n_dropped += n
        self._n_searched = len(self._held)
