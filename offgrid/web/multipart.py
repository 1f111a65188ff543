"""multipart/form-data (RFC 7578) as it comes in: part after part, each read piece by piece, never whole in memory.

Knows bytes only; where files go, and how large they may be, is the caller's. Must stay true: what is held at once is
bounded (a piece, a part's head); a body that ends before its last boundary is an error, never a shorter file.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from offgrid.errors import BadRequest, TooLarge

MAX_HEAD_BYTES = 16 * 1024  # of one part, and of what stands before the first
MAX_PARTS = 1000
_BOUNDARY = re.compile(r'multipart/form-data\b.*?;\s*boundary=(?:"([^"\r\n]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)
_PARAMETER = re.compile(r';\s*([A-Za-z0-9_-]+)(\*)?=(?:"((?:[^"\\]|\\.)*)"|([^;\s]*))')


@dataclass
class Part:
    """One field or file. Its bytes may be read once, and before the next part is asked for."""

    name: str
    filename: str | None  # None: a field; as the client spells it, no path of ours
    content_type: str
    pieces: Iterator[bytes]

    def text(self, max_bytes: int) -> str:
        """All of it, as UTF-8. Raises BadRequest, TooLarge."""
        found = bytearray()
        for piece in self.pieces:
            found += piece
            if len(found) > max_bytes:
                raise TooLarge(f"The field {self.name!r} has more than {max_bytes} bytes.", param=self.name)
        try:
            return found.decode()
        except UnicodeDecodeError:
            raise BadRequest(f"The field {self.name!r} is not UTF-8.", param=self.name) from None


def read_parts(content_type: str, pieces: Iterator[bytes]) -> Iterator[Part]:
    """The parts of a body, in order. Raises BadRequest."""
    match = _BOUNDARY.match(content_type)
    if not match:
        raise BadRequest("Content-Type must be multipart/form-data with a boundary.")
    body = _Buffer(pieces, b"\r\n--" + (match[1] or match[2]).encode("latin-1"))
    for _ in body.until_boundary(MAX_HEAD_BYTES):
        pass  # what stands before the first boundary means nothing
    for _ in range(MAX_PARTS):
        if body.is_last_boundary():
            return
        part = _part(body)
        yield part
        for _ in part.pieces:
            pass
    raise BadRequest(f"The form has more than {MAX_PARTS} parts.")


class _Buffer:
    """What has come of a body and is not yet used."""

    def __init__(self, pieces: Iterator[bytes], delimiter: bytes):
        self._pieces = pieces
        self._delimiter = delimiter
        self._held = b"\r\n"  # the first boundary may be the very beginning

    def until_boundary(self, max_bytes: int | None = None) -> Iterator[bytes]:
        """The bytes before the next boundary, which is used up. Raises BadRequest."""
        n_given = 0
        while (at := self._held.find(self._delimiter)) < 0:
            ready = len(self._held) - len(self._delimiter) + 1  # what follows may be the beginning of one
            if ready > 0:
                piece, self._held = self._held[:ready], self._held[ready:]
                n_given += ready
                if max_bytes is not None and n_given > max_bytes:
                    raise BadRequest("The form does not begin with its boundary.")
                yield piece
            self._more()
        if at:
            yield self._held[:at]
        self._held = self._held[at + len(self._delimiter) :]

    def is_last_boundary(self) -> bool:
        """What follows a boundary: the end of the form, or of the line."""
        line = self.line()
        if line.startswith(b"--"):
            return True
        if line.strip(b" \t"):
            raise BadRequest("The form has a boundary that goes on with something else.")
        return False

    def line(self) -> bytes:
        """Up to the next CRLF, which is used up; the last line may be without it. Raises BadRequest: too long."""
        while b"\r\n" not in self._held:
            if self._held.startswith(b"--"):
                return self._held
            if len(self._held) > MAX_HEAD_BYTES:
                raise BadRequest(f"A part of the form has a line of more than {MAX_HEAD_BYTES} bytes.")
            self._more()
        line, self._held = self._held.split(b"\r\n", 1)
        return line

    def begin_line(self) -> None:
        """A part may be empty: then its boundary's line end is that of its head."""
        self._held = b"\r\n" + self._held

    def _more(self) -> None:
        piece = next(self._pieces, None)
        if piece is None:
            raise BadRequest("The form ends before its last boundary.")
        self._held += piece


def _part(body: _Buffer) -> Part:
    headers: dict[str, str] = {}
    n_bytes = 0
    while line := body.line():
        n_bytes += len(line)
        if n_bytes > MAX_HEAD_BYTES:
            raise BadRequest(f"A part of the form has a head of more than {MAX_HEAD_BYTES} bytes.")
        name, _, value = line.decode("utf-8", "replace").partition(":")
        headers[name.strip().lower()] = value.strip()
    kind, parameters = _parameters(headers.get("content-disposition", ""))
    if kind != "form-data" or "name" not in parameters:
        raise BadRequest("A part of the form has no Content-Disposition with form-data and a name.")
    body.begin_line()
    # The line end before the boundary belongs to the boundary; the one put back here is no content.
    return Part(
        parameters["name"],
        parameters.get("filename"),
        headers.get("content-type", ""),
        _without_begin(body.until_boundary()),
    )


def _without_begin(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The pieces without the CRLF that `begin_line` has put before them."""
    to_drop = 2
    for piece in pieces:
        rest = piece[to_drop:]
        to_drop -= len(piece) - len(rest)
        if rest:
            yield rest


def _parameters(value: str) -> tuple[str, dict[str, str]]:
    """("form-data", {"name": …, "filename": …}) of a Content-Disposition; `filename*` wins (RFC 5987)."""
    kind = value.partition(";")[0].strip().lower()
    found: dict[str, str] = {}
    extended: dict[str, str] = {}
    for match in _PARAMETER.finditer(value):
        name = match[1].lower()
        if match[2]:
            charset, _, encoded = (match[4] or match[3] or "").partition("'")
            text = unquote_to_bytes(encoded.partition("'")[2])
            extended[name] = text.decode("utf-8" if charset.lower() == "utf-8" else "latin-1", "replace")
        else:
            quoted = match[3]
            # Browsers spell a quotation mark %22 (WHATWG); others put a backslash before it. A backslash before
            # anything else is part of a Windows path.
            text = re.sub(r'\\(["\\])', r"\1", quoted).replace("%22", '"') if quoted is not None else match[4]
            found.setdefault(name, text)
    return kind, found | extended
