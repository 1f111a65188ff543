"""OpenDocument: texts (pages where they are noted), spreadsheets (a sheet is a page), slides (a slide is a page)."""

from offgrid.errors import BadRequest
from offgrid.rag.readers.draft import Draft, Source
from offgrid.rag.readers.flow import Flow
from offgrid.rag.readers.markup import START, TEXT, events, without
from offgrid.rag.readers.opc import note_properties
from offgrid.rag.readers.zipped import Archive

CONTENT = "content.xml"
# What was deleted and is still there, remarks of readers, a list's numbers, and the alternative texts of drawings.
SKIPPED = {"tracked-changes", "annotation", "sequence-decls", "list-header", "desc", "forms"}
MOST_SPACES, MOST_REPEATS = 100, 1000  # a cell may claim to stand in a million rows


def read_odf(source: Source, draft: Draft) -> None:
    archive = Archive(source.file)
    manifest = "META-INF/manifest.xml"
    if manifest in archive and any(name == "encryption-data" for _, name, _ in events(archive.read(manifest))):
        raise BadRequest("is protected by a password: save it without one")
    note_properties(archive, draft, "meta.xml")
    _Content(draft, source.format.reader).read(archive.read(CONTENT))


class _Content:
    def __init__(self, draft: Draft, reader: str):
        self._draft = draft
        self._flow = Flow(draft)
        self._is_text, self._is_sheet = reader == "odt", reader == "ods"
        self._words: list[list[str]] = []  # of the open paragraphs, one in a note of the other
        self._n_lists = 0
        self._is_first_of_item = False
        self._is_title = self._is_in_notes = False
        self._n_tables = 0
        self._row_repeats = self._cell_repeats = 1
        self._cell_value = ""

    def read(self, data: bytes) -> None:
        if self._is_text and b"soft-page-break" in data:
            self._draft.page = 1
        for kind, name, attributes in without(events(data, CONTENT), SKIPPED):
            if kind == TEXT:
                if self._words:
                    self._words[-1].append(name)
            elif kind == START:
                self._start(name, attributes)
            else:
                self._end(name)
        self._flow.finish()
        self._draft.n_pages = self._draft.page

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        match name:
            case "p" | "h":
                self._words.append([])
                level = attributes.get("outline-level", "1")
                self._level = int(level) if name == "h" and level.isdecimal() and len(level) < 3 else 0
            case "s":
                self._add(" " * _count(attributes.get("c"), MOST_SPACES))
            case "tab":
                self._add("\t")
            case "line-break":
                self._add("\n")
            case "note-body":
                self._add(" [")
            case "list":
                self._n_lists += 1
            case "list-item":
                self._is_first_of_item = True
            case "frame":
                self._is_title = attributes.get("class") == "title"
            case "notes":
                self._is_in_notes = True
            case "soft-page-break" if self._is_text:
                self._draft.page = (self._draft.page or 1) + 1
            case "page" if not self._is_text:
                self._next_page("")
            case "table" | "table-row" | "table-cell" | "covered-table-cell":
                self._start_of_table(name, attributes)

    def _end(self, name: str) -> None:
        match name:
            case "p" | "h" if self._words:
                self._end_paragraph("".join(self._words.pop()))
            case "note-body":
                self._add("]")
            case "list":
                self._n_lists -= 1
            case "frame":
                self._is_title = False
            case "notes":
                self._is_in_notes = False
            case "table":
                self._n_tables -= 1
                self._flow.close_table()
            case "table-row":
                self._flow.close_row(self._row_repeats)
            case "table-cell" | "covered-table-cell":
                if self._cell_value and self._is_sheet:
                    self._flow.put("paragraph", self._cell_value)
                self._flow.close_cell(self._cell_repeats)
                self._cell_value = ""

    def _start_of_table(self, name: str, attributes: dict[str, str]) -> None:
        if name == "table":
            if self._is_sheet and self._n_tables == 0:
                self._next_page(attributes.get("name", ""))
            self._n_tables += 1
            self._flow.open_table()
        elif name == "table-row":
            self._row_repeats = _count(attributes.get("number-rows-repeated"), MOST_REPEATS)
        else:
            self._cell_repeats = _count(attributes.get("number-columns-repeated"), MOST_REPEATS)
            # As people see a date depends on the country; as the file has it, it is ISO.
            self._cell_value = attributes.get("date-value", "").removesuffix("T00:00:00")

    def _next_page(self, title: str) -> None:
        self._flow.flush()
        self._draft.page = (self._draft.page or 0) + 1
        self._flow.put("heading", title, 1)

    def _add(self, text: str) -> None:
        if self._words:
            self._words[-1].append(text)

    def _end_paragraph(self, text: str) -> None:
        if self._words:  # a note inside of another paragraph
            self._words[-1].append(text)
        elif self._cell_value:
            pass  # the date is shown another way
        elif self._level or self._is_title:
            self._flow.put("heading", " ".join(text.split()), self._level or 1)
        elif self._is_in_notes:
            if text.strip():
                self._flow.put("paragraph", f"Notes: {text}")
        elif self._n_lists:
            self._flow.put_item(text, self._n_lists, "-" if self._is_first_of_item else "")
            self._is_first_of_item = False
        elif text.strip():
            self._flow.put("paragraph", text)


def _count(value: str | None, most: int) -> int:
    return min(int(value), most) if value and value.isdecimal() and len(value) < 10 else 1
