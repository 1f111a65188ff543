"""Word documents: headings by style or outline level, lists, tables, footnotes. Pages are known where Word has noted
its breaks, or somebody made them by hand.
"""

import re
from dataclasses import dataclass, field

from offgrid.rag.readers import opc
from offgrid.rag.readers.draft import Draft, Source
from offgrid.rag.readers.flow import Flow
from offgrid.rag.readers.markup import END, START, TEXT, events, without
from offgrid.rag.readers.zipped import Archive

# Twice there (a fallback for old versions), moved away, how it was before a change, or no text of the document.
SKIPPED = {"Fallback", "moveFrom", "pPrChange", "rPrChange", "del", "instrText", "delText"}
HEADING = re.compile(r"heading ([1-9])$|(title)$", re.IGNORECASE)
BASED_ON_STEPS = 12


@dataclass(slots=True)
class _Paragraph:
    words: list[str] = field(default_factory=list)
    level: int = 0  # of a heading
    depth: int = 0  # in a list
    page: int | None = None  # where its text begins


def read_docx(source: Source, draft: Draft) -> None:
    archive = Archive(source.file)
    main = opc.main_part(archive)
    opc.note_properties(archive, draft)
    parts = {kind: member for kind, member in opc.relations(archive, main).values() if member in archive}
    levels = _heading_levels(archive, parts["styles"]) if "styles" in parts else {}
    data = archive.read(main)
    flow = Flow(draft)
    _Body(draft, flow, levels, data).read(data, main)
    for kind in ("footnotes", "endnotes"):
        if kind in parts:
            draft.page = None
            _add_notes(archive, parts[kind], flow)
    flow.finish()


def _heading_levels(archive: Archive, part: str) -> dict[str, int]:
    """Style id → level, of the styles that make headings, themselves or by the style they are based on."""
    own: dict[str, int] = {}
    based_on: dict[str, str] = {}
    style = ""
    for kind, name, attributes in events(archive.read(part), part):
        if kind != START:
            continue
        value = attributes.get("val", "")
        if name == "style":
            style = attributes.get("styleId", "")
        elif name == "name" and (match := HEADING.match(value)):
            own[style] = int(match[1] or 1)
        elif name == "outlineLvl" and value.isdecimal() and int(value) < 9:
            own.setdefault(style, int(value) + 1)
        elif name == "basedOn":
            based_on[style] = value
    levels = dict(own)
    for style in based_on:
        ancestor = style
        for _ in range(BASED_ON_STEPS):  # a style may be based on itself
            if ancestor in own:
                levels[style] = own[ancestor]
                break
            ancestor = based_on.get(ancestor, "")
    return levels


class _Body:
    def __init__(self, draft: Draft, flow: Flow, levels: dict[str, int], data: bytes):
        self._draft = draft
        self._flow = flow
        self._levels = levels
        self._open: list[_Paragraph] = []  # the last one is being read; text boxes stand inside of paragraphs
        # Word notes where its pages began when it last laid them out; without that, there are breaks made by hand.
        self._page_mark = "lastRenderedPageBreak" if b"lastRenderedPageBreak" in data else "br"
        has_pages = self._page_mark != "br" or b'w:type="page"' in data
        self._page = 1 if has_pages else None

    def read(self, data: bytes, part: str) -> None:
        is_text = False
        for kind, name, attributes in without(events(data, part), SKIPPED):
            if kind == TEXT:
                if is_text:
                    self._add(name)
            elif kind == START:
                is_text = name == "t"
                self._start(name, attributes)
            else:
                is_text = False
                self._end(name)
        self._draft.n_pages = self._page

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "p":
            self._open.append(_Paragraph())
        elif name == "tbl":
            self._flow.open_table()
        elif name == "tab":
            self._add("\t")
        elif name == "noBreakHyphen":
            self._add("-")
        elif name == "cr":
            self._add("\n")
        elif name == self._page_mark and (name != "br" or attributes.get("type") == "page"):
            self._page = (self._page or 1) + 1
        elif name == "br":
            self._add("\n")
        elif name in ("footnoteReference", "endnoteReference"):
            self._add(f"[{attributes.get('id', '')}]")
        elif self._open:
            self._style(self._open[-1], name, attributes)

    def _style(self, paragraph: _Paragraph, name: str, attributes: dict[str, str]) -> None:
        value = attributes.get("val", "")
        if name == "pStyle":
            paragraph.level = self._levels.get(value, 0)
            if value.lower().startswith("list") and not paragraph.level:
                paragraph.depth = max(paragraph.depth, 1)
        elif name == "outlineLvl" and value.isdecimal() and int(value) < 9:
            paragraph.level = int(value) + 1
        elif name == "ilvl" and value.isdecimal():
            paragraph.depth = int(value) + 1
        elif name == "numId":
            paragraph.depth = 0 if value == "0" else max(paragraph.depth, 1)

    def _add(self, text: str) -> None:
        if self._open:
            paragraph = self._open[-1]
            if not paragraph.words:
                paragraph.page = self._page
            paragraph.words.append(text)

    def _end(self, name: str) -> None:
        if name == "p" and self._open:
            paragraph = self._open.pop()
            self._draft.page = paragraph.page
            text = "".join(paragraph.words)
            if paragraph.level:
                self._flow.put("heading", " ".join(text.split()), paragraph.level)
            elif paragraph.depth:
                self._flow.put_item(text, paragraph.depth)
            elif text.strip():
                self._flow.put("paragraph", text)
        elif name == "tc":
            self._flow.close_cell()
        elif name == "tr":
            self._flow.close_row()
        elif name == "tbl":
            self._flow.close_table()


def _add_notes(archive: Archive, part: str, flow: Flow) -> None:
    """Foot- or endnotes, a paragraph each, with the number that stands in the text."""
    number, words, is_text = "", [], False
    for kind, name, attributes in without(events(archive.read(part), part), SKIPPED):
        if kind == TEXT and is_text:
            words.append(name)
        elif kind == START:
            is_text = name == "t"
            if name in ("footnote", "endnote"):
                number, words = attributes.get("id", ""), []
        elif kind == END:
            is_text = False
            if name == "p":
                words.append(" ")
            elif name in ("footnote", "endnote") and "".join(words).strip():
                flow.put("paragraph", f"[{number}] {' '.join(''.join(words).split())}")
