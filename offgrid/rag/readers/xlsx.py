"""Excel workbooks: a sheet is a page with its name as heading; a run of rows without an empty one between is a table.

What is shown of a cell is its value: of a formula what Excel last computed, of a date the date (ISO), of a number the
number without its format.
"""

import re
from collections.abc import Iterator
from datetime import datetime, timedelta

from offgrid.rag.readers import opc
from offgrid.rag.readers.draft import Draft, Source
from offgrid.rag.readers.flow import CELL_GAP
from offgrid.rag.readers.markup import END, START, TEXT, events, without
from offgrid.rag.readers.zipped import Archive

DATE_FORMATS = {*range(14, 23), *range(27, 37), *range(45, 48), *range(50, 59)}  # of the built-in ones
NOT_CODE = re.compile(r'"[^"]*"|\\.|\[[^\]]*\]|_.|\*.')  # of a format: quoted, escaped, colours, widths
MOST_COLUMNS = 16_384
PLACE = re.compile(r"([A-Z]{1,3})")
EPOCH, EPOCH_1904 = datetime(1899, 12, 30), datetime(1904, 1, 1)
FIRST_MARCH_1900 = 61  # until there Excel counts a 29 February that 1900 did not have
ROWS_AT_ONCE = 2000  # of a table; a longer one goes on in another block, so that none is held whole


def read_xlsx(source: Source, draft: Draft) -> None:
    archive = Archive(source.file)
    main = opc.main_part(archive)
    opc.note_properties(archive, draft)
    named = opc.relations(archive, main)
    parts = {kind: member for kind, member in named.values() if member in archive}
    strings = _shared_strings(archive, parts["sharedStrings"]) if "sharedStrings" in parts else []
    epoch, sheets = EPOCH, []
    for kind, name, attributes in events(archive.read(main), main):
        if kind == START and name == "sheet":
            sheets.append((attributes.get("name", ""), attributes.get("r:id", "")))
        elif kind == START and name == "workbookPr" and attributes.get("date1904") in ("1", "true"):
            epoch = EPOCH_1904
    dates = _date_styles(archive, parts["styles"]) if "styles" in parts else set()
    draft.n_pages = len(sheets)
    for number, (title, id) in enumerate(sheets, 1):
        type_, member = named.get(id, ("", ""))
        if type_ != "worksheet":  # a chart
            continue
        draft.page = number
        draft.add("heading", title, 1)
        for table in _tables(_rows(archive, member, strings, dates, epoch)):
            draft.add("table", table)


def _shared_strings(archive: Archive, part: str) -> list[str]:
    strings, words, is_text = [], [], False
    for kind, name, _ in without(events(archive.read(part), part), {"rPh"}):  # how it is pronounced
        if kind == TEXT:
            if is_text:
                words.append(name)
        else:
            is_text = kind == START and name == "t"
            if kind == END and name == "si":
                strings.append(" ".join("".join(words).split()))
                words = []
    return strings


def _date_styles(archive: Archive, part: str) -> set[str]:
    """Numbers of the cell styles that show a date or a time."""
    dates, formats, styles, is_cell_style = set(DATE_FORMATS), set(), [], False
    for kind, name, attributes in events(archive.read(part), part):
        if name == "cellXfs":
            is_cell_style = kind == START
        elif kind == START and name == "numFmt":
            code = NOT_CODE.sub("", attributes.get("formatCode", "")).lower()
            if set(code) & set("ymdhs") and "general" not in code:
                formats.add(attributes.get("numFmtId", ""))
        elif kind == START and name == "xf" and is_cell_style:
            styles.append(attributes.get("numFmtId", "0"))
    formats |= {str(number) for number in dates}
    return {str(at) for at, number in enumerate(styles) if number in formats}


def _rows(
    archive: Archive, part: str, strings: list[str], dates: set[str], epoch: datetime
) -> Iterator[tuple[int, dict[int, str]]]:
    """(row number, column → text) for each row that has any."""
    row, column, cells = 0, 0, {}
    cell, words, is_value = {}, [], False
    for kind, name, attributes in without(events(archive.read(part), part), {"rPh", "f"}):
        if kind == TEXT:
            if is_value:
                words.append(name)
        elif kind == START:
            is_value = name in ("v", "t")
            if name == "row":
                number = attributes.get("r", "")
                row = int(number) if number.isdecimal() and len(number) < 10 else row + 1
                column, cells = -1, {}
            elif name == "c":
                cell, words = attributes, []
                column = _column(cell.get("r", ""), column + 1)
        else:
            is_value = False
            if name == "c" and words and column < MOST_COLUMNS:
                if text := _shown("".join(words), cell, strings, dates, epoch):
                    cells[column] = text
            elif name == "row" and cells:
                yield row, cells


def _column(place: str, next_one: int) -> int:
    """Of "BC12", from 0; the next one where the file does not say."""
    if (match := PLACE.match(place)) is None:
        return next_one
    number = 0
    for letter in match[1]:
        number = number * 26 + ord(letter) - 64
    return number - 1


def _shown(value: str, cell: dict[str, str], strings: list[str], dates: set[str], epoch: datetime) -> str:
    type_ = cell.get("t", "n")
    if type_ == "s":
        return strings[int(value)] if value.isdecimal() and int(value) < len(strings) else ""
    if type_ == "b":
        return "TRUE" if value == "1" else "FALSE"
    if type_ != "n":
        return " ".join(value.split())
    try:
        number = float(value)
    except ValueError:
        return " ".join(value.split())
    if cell.get("s") in dates:
        return _date(number, epoch) or value
    # Excel writes 0.1 as 0.10000000000000001.
    return value if "." not in value and "e" not in value.lower() else repr(number).removesuffix(".0")


def _date(days: float, epoch: datetime) -> str:
    """ISO; the time alone where there is no day; "" for what is no date."""
    if epoch is EPOCH and 1 <= days < FIRST_MARCH_1900 - 1:
        days += 1
    try:
        moment = epoch + timedelta(seconds=round(days * 86400))
    except (OverflowError, ValueError):
        return ""
    if 0 <= days < 1 and epoch is EPOCH:
        return moment.strftime("%H:%M:%S")
    return moment.strftime("%Y-%m-%d") if moment.time() == datetime.min.time() else moment.isoformat(" ")


def _tables(rows: Iterator[tuple[int, dict[int, str]]]) -> Iterator[str]:
    gathered: list[dict[int, str]] = []
    last = 0
    for number, cells in rows:
        if gathered and (number != last + 1 or len(gathered) == ROWS_AT_ONCE):
            yield _table(gathered)
            gathered = []
        gathered.append(cells)
        last = number
    if gathered:
        yield _table(gathered)


def _table(rows: list[dict[int, str]]) -> str:
    """A row a line, each column in its place; where most places are empty, without them."""
    columns = sorted(set().union(*rows))
    n_cells = sum(map(len, rows))
    if len(columns) * len(rows) > 10 * n_cells:
        return "\n".join(CELL_GAP.join(cells[at] for at in sorted(cells)) for cells in rows)
    return "\n".join(CELL_GAP.join(cells.get(at, "") for at in columns).rstrip(" |") for cells in rows)
