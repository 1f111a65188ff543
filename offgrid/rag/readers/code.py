"""Source code and settings: the text stays as it stands; a block begins where, after a blank line, a line is not
indented, or at a section of an ini or TOML file. True of most languages, and harmless in the others.
"""

import re
from collections.abc import Iterator

from offgrid.rag.readers.draft import Draft, Source, cleaned
from offgrid.rag.readers.encoding import decode
from offgrid.rag.readers.text import Span, charset_of, lines_of

GOES_ON = tuple(" \t)]}")  # a line that begins so belongs to what is above it, whatever stands between
SECTION = re.compile(r"\[[^\]]*\]\]?[ \t]*$")
PYTHON_CODING = re.compile(rb"[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")


def read_code(source: Source, draft: Draft) -> None:
    data = source.read()
    text = cleaned(decode(data, charset_of(source) or _declared(data)))
    draft.take(text, split(text))


def split(text: str) -> Iterator[Span]:
    """The blocks of code; white space between two of them is in neither."""
    start = end = 0
    is_after_blank = False
    for at, line in lines_of(text):
        if not line.strip():
            is_after_blank = True
            continue
        if end > start and (SECTION.match(line) or (is_after_blank and not line.startswith(GOES_ON))):
            yield start, end, "code", 0
            start = at
        elif end == 0:
            start = at
        end = at + len(line.rstrip())
        is_after_blank = False
    if end > start:
        yield start, end, "code", 0


def _declared(data: bytes) -> str:
    """As Python and Emacs write it, in the first two lines."""
    for line in data[:400].split(b"\n")[:2]:
        if match := PYTHON_CODING.match(line):
            return match[1].decode("ascii")
    return ""
