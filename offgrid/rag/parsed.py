"""What a document holds once it is read: its text, and where in it which stretches belong together.

The values that travel between reading, cutting and showing. Knows no format.
Must stay true: blocks are in order, do not overlap, and cover all of the text but white space.
"""

from dataclasses import dataclass

KINDS = ("heading", "paragraph", "code", "table", "list")


@dataclass(frozen=True, slots=True)
class Block:
    """A stretch of the text that belongs together. Of a table each line is a row, the first usually its header."""

    start: int  # characters of the text
    end: int  # exclusive
    kind: str  # of KINDS
    level: int = 0  # of a heading: 1 to 6
    page: int | None = None  # from 1, where the format has pages, slides or sheets


@dataclass(frozen=True, slots=True)
class Parsed:
    text: str  # what is searched and shown: \n as line end, no NUL, no lone surrogates, otherwise as the file has it
    blocks: tuple[Block, ...]
    content_type: str  # media type of what was read, which may differ from what was claimed
    metadata: dict[str, str]  # title, author, … where the file says so
    n_pages: int | None = None
