"""Draft: a document while it is being read. Source: the file that it is read from.

Must stay true: what `finish` gives keeps every promise of `parsed.py`, whatever the readers added.
"""

import re
from collections.abc import Iterable
from typing import BinaryIO

from offgrid.errors import BadRequest, TooLarge
from offgrid.rag.parsed import Block, Parsed
from offgrid.rag.readers.formats import Format
from offgrid.rag.readers.limits import Limits

LONE_SURROGATES = re.compile("[\ud800-\udfff]")
MERGED_CHARS = 1000  # small neighbours become one up to here
MAX_VALUE_CHARS = 500  # of one value of the metadata


def cleaned(text: str) -> str:
    """`text` with \\n as its only line end and without what no database and no JSON can hold."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if "\0" in text:
        text = text.replace("\0", "")
    return LONE_SURROGATES.sub("\ufffd", text)


class Source:
    """An open file whose format is known."""

    def __init__(self, file: BinaryIO, size: int, form: Format, declared_type: str = ""):
        self.file = file
        self.size = size  # bytes
        self.format = form
        self.declared_type = declared_type  # as its sender has it, with parameters

    def read(self) -> bytes:
        self.file.seek(0)
        return self.file.read()


class Draft:
    """Either `take` a text as it stands, once, or `add` one block after the other."""

    def __init__(self, limits: Limits):
        self.page: int | None = None  # of the blocks that are added from now on
        self.n_pages: int | None = None
        self._limits = limits
        self._metadata: dict[str, str] = {}
        self._pieces: list[str] = []
        self._blocks: list[Block] = []
        self._length = 0

    @property
    def is_empty(self) -> bool:
        return not self._blocks

    def note(self, name: str, value: str | None) -> None:
        """Metadata: the first value of a name counts."""
        value = " ".join(cleaned(value or "").split())[:MAX_VALUE_CHARS]
        if value:
            self._metadata.setdefault(name, value)

    def take(self, text: str, spans: Iterable[tuple[int, int, str, int]]) -> None:
        """The whole text, cleaned already, and (start, end, kind, level) of its blocks. Raises TooLarge."""
        self.check_room(len(text))
        self._length = len(text)
        self._pieces = [text]
        for start, end, kind, level in spans:
            self._append(Block(start, end, kind, level))

    def add(self, kind: str, text: str, level: int = 0) -> None:
        """One more block, two line ends after the one before it; white space alone is nothing. Raises TooLarge."""
        text = cleaned(text).strip()
        if not text:
            return
        gap = "\n\n" if self._pieces else ""
        self.check_room(len(gap) + len(text))
        self._length += len(gap) + len(text)
        self._pieces += (gap, text)
        level = min(max(level, 1), 6) if kind == "heading" else 0
        self._append(Block(self._length - len(text), self._length, kind, level, self.page))

    def finish(self, content_type: str) -> Parsed:
        """Raises BadRequest when there is no text."""
        if not self._blocks:
            raise BadRequest("holds no text")
        return Parsed("".join(self._pieces), tuple(self._blocks), content_type, self._metadata, self.n_pages)

    def _append(self, block: Block) -> None:
        if len(self._blocks) == self._limits.max_blocks:
            self._blocks = _merged(self._blocks)
            # Half, so that it pays: a list that hardly shrinks would be gone through for every few blocks.
            if len(self._blocks) > self._limits.max_blocks // 2:
                raise TooLarge(f"has more headings and paragraphs than the limit of {self._limits.max_blocks:,}")
        self._blocks.append(block)

    def check_room(self, n_chars: int) -> None:
        """Raises TooLarge when a text of this length cannot be added any more: before it is made."""
        if self._length + n_chars > self._limits.max_text_chars:
            raise TooLarge(f"holds more than {self._limits.max_text_chars:,} characters of text, which is the limit")


def _merged(blocks: list[Block]) -> list[Block]:
    """Neighbours of one kind and page become one block of up to MERGED_CHARS; headings stay."""
    merged = blocks[:1]
    for block in blocks[1:]:
        last = merged[-1]
        is_like = block.kind == last.kind != "heading" and block.page == last.page
        if is_like and block.end - last.start <= MERGED_CHARS:
            merged[-1] = Block(last.start, block.end, last.kind, last.level, last.page)
        else:
            merged.append(block)
    return merged
