"""CSV and its kin: a row a line, cells joined as in every other table."""

import csv
from collections import Counter

from offgrid.errors import BadRequest
from offgrid.rag.readers.draft import Draft, Source, cleaned
from offgrid.rag.readers.encoding import decode
from offgrid.rag.readers.flow import CELL_GAP
from offgrid.rag.readers.text import charset_of

DELIMITERS = ",;\t|"
SAMPLE_LINES = 20
MAX_CELL_CHARS = 1_000_000


def read_csv(source: Source, draft: Draft) -> None:
    text = cleaned(decode(source.read(), charset_of(source)))
    lines = text.split("\n")
    start, delimiter = 0, _delimiter(lines[:SAMPLE_LINES])
    if lines[0].startswith("sep=") and len(lines[0]) == 5:  # as Excel writes it
        start, delimiter = 1, lines[0][4]
    csv.field_size_limit(MAX_CELL_CHARS)
    rows = csv.reader((f"{line}\n" for line in lines[start:]), delimiter=delimiter)
    table: list[str] = []
    try:
        for cells in rows:
            if row := CELL_GAP.join(" ".join(cell.split()) for cell in cells).rstrip(" |"):
                table.append(row)
            else:
                draft.add("table", "\n".join(table))
                table = []
    except csv.Error as error:
        raise BadRequest(f"cannot be read as a table: line {start + rows.line_num}: {error}") from error
    draft.add("table", "\n".join(table))


def _delimiter(lines: list[str]) -> str:
    """The one that most of the first lines hold equally often as the first of them; a comma where none does."""
    lines = [line for line in lines if line.strip()]

    def n_alike(delimiter: str) -> int:
        counts = Counter(line.count(delimiter) for line in lines)
        return max((n for count, n in counts.items() if count), default=0)

    return max(DELIMITERS, key=n_alike)
