"""RTF: paragraphs, tables, title and author. Styles, pictures and fields' codes are passed over.

Source: the Rich Text Format Specification 1.9.1.
"""

import re
from dataclasses import dataclass, replace

from offgrid.errors import BadRequest
from offgrid.rag.readers.draft import Draft, Source
from offgrid.rag.readers.flow import Flow

MAX_DEPTH = 1000  # of groups; Word's own limit is far below
TOKEN = re.compile(
    rb"\\([a-zA-Z]{1,32})(-?\d{1,10})? ?"  # a word with its number
    rb"|\\'([0-9a-fA-F]{2})"  # a byte of the document's code page
    rb"|\\([^a-zA-Z])"  # a symbol
    rb"|([{}])|[\r\n]+|([^\\{}\r\n]+)|\\"
)
# Groups whose text is none of the document's.
SKIPPED = {
    b"fonttbl", b"colortbl", b"stylesheet", b"listtable", b"listoverridetable", b"revtbl", b"rsidtbl", b"generator",
    b"info", b"pict", b"object", b"header", b"headerl", b"headerr", b"headerf", b"footer", b"footerl", b"footerr",
    b"footerf", b"fldinst", b"xmlnstbl", b"themedata", b"colorschememapping", b"datastore", b"latentstyles",
    b"bkmkstart", b"bkmkend", b"filetbl", b"pntext", b"listtext", b"operator", b"creatim", b"revtim", b"printim",
}  # fmt: skip
SYMBOLS = {
    b"tab": "\t", b"line": "\n", b"emdash": "—", b"endash": "–", b"bullet": "•", b"lquote": "‘", b"rquote": "’",
    b"ldblquote": "“", b"rdblquote": "”", b"emspace": " ", b"enspace": " ", b"qmspace": " ", b"zwj": "\u200d",
    b"zwnj": "\u200c", b"ltrmark": "\u200e", b"rtlmark": "\u200f",
}  # fmt: skip
# None: the end of a paragraph.
SIGNS = {b"~": "\u00a0", b"_": "-", b"{": "{", b"}": "}", b"\\": "\\", b"\n": None, b"\r": None}
CODE_PAGES = {b"mac": "mac_roman", b"pc": "cp437", b"pca": "cp850"}
PROPERTIES = {b"title": "title", b"author": "author", b"subject": "subject", b"keywords": "keywords"}


@dataclass(slots=True)
class _Group:
    is_skipped: bool = False
    n_fallbacks: int = 1  # characters after \u for those who do not know it
    property: str = ""  # its text is one of the document's properties


def read_rtf(source: Source, draft: Draft) -> None:
    reader = _Rtf(draft)
    reader.read(source.read())


class _Rtf:
    def __init__(self, draft: Draft):
        self._draft = draft
        self._flow = Flow(draft)
        self._groups = [_Group()]
        self._code_page = "cp1252"
        self._bytes = bytearray()  # \'hh that follow each other: one character may be two of them
        self._words: list[str] = []
        self._n_to_pass = 0  # characters that stand for one that \u has given
        self._half = 0  # the first of two halves of a character beyond U+FFFF
        self._level = 0
        self._is_row = False

    def read(self, data: bytes) -> None:
        at = 0
        while match := TOKEN.match(data, at):
            at = match.end()
            word, number, byte, sign, brace, text = match.groups()
            if byte is None and self._bytes:
                self._end_bytes()
            if word is not None:
                if word == b"bin":  # bytes that are no RTF
                    at += min(max(int(number or 0), 0), len(data) - at)
                else:
                    self._control(word, None if number is None else int(number))
            elif byte is not None:
                self._byte(int(byte, 16))
            elif sign is not None:
                self._sign(sign)
            elif brace is not None:
                self._brace(brace)
            elif text is not None:
                self._text(text)
        self._end_bytes()
        self._end_paragraph()
        self._flow.finish()

    def _brace(self, brace: bytes) -> None:
        if brace == b"{":
            if len(self._groups) >= MAX_DEPTH:
                raise BadRequest(f"is nested deeper than {MAX_DEPTH} groups")
            self._groups.append(replace(self._groups[-1], property=""))
        elif len(self._groups) > 1:
            group = self._groups.pop()
            if group.property:
                self._draft.note(group.property, "".join(self._words))
                self._words = []

    def _control(self, word: bytes, number: int | None) -> None:
        group = self._groups[-1]
        if word in SKIPPED:
            group.is_skipped = True
        elif word in PROPERTIES and len(self._groups) > 1 and self._groups[-2].is_skipped:
            group.is_skipped, group.property, self._words = False, PROPERTIES[word], []
        elif word == b"ansicpg" and number:
            self._code_page = _known_code_page(f"cp{number}")
        elif word in CODE_PAGES:
            self._code_page = CODE_PAGES[word]
        elif word == b"uc":
            group.n_fallbacks = min(max(number or 0, 0), 100)
        elif group.is_skipped:
            return
        elif word == b"u" and number is not None:
            self._unicode(number & 0xFFFF)
            self._n_to_pass = group.n_fallbacks
        elif word in SYMBOLS:
            self._words.append(SYMBOLS[word])
        elif word in (b"par", b"sect", b"page"):
            self._end_paragraph()
        elif word == b"outlinelevel":
            self._level = min((number or 0) + 1, 6)
        elif word == b"pard":
            self._level = 0
        elif word in (b"cell", b"row"):
            self._table(word)

    def _table(self, word: bytes) -> None:
        if not self._is_row:
            self._is_row = True
            self._flow.open_table()
        if word == b"cell":
            self._flow.open_cell()
            self._flow.put("paragraph", self._taken())
            self._flow.close_cell()
        else:
            self._flow.close_row()

    def _sign(self, sign: bytes) -> None:
        if sign == b"*":  # what follows is for those who know it, and those we know are named in SKIPPED or PROPERTIES
            self._groups[-1].is_skipped = True
        elif not self._groups[-1].is_skipped and (character := SIGNS.get(sign, "")) != "":
            if character is None:
                self._end_paragraph()
            else:
                self._add(character)

    def _byte(self, byte: int) -> None:
        if self._groups[-1].is_skipped:
            return
        if self._n_to_pass:
            self._n_to_pass -= 1
        else:
            self._bytes.append(byte)

    def _end_bytes(self) -> None:
        if self._bytes:
            self._words.append(self._bytes.decode(self._code_page, "replace"))
            self._bytes.clear()

    def _text(self, text: bytes) -> None:
        if not self._groups[-1].is_skipped:
            self._add(text.decode(self._code_page, "replace"))

    def _add(self, text: str) -> None:
        n_passed = min(self._n_to_pass, len(text))
        self._n_to_pass -= n_passed
        self._words.append(text[n_passed:])

    def _unicode(self, unit: int) -> None:
        if 0xD800 <= unit < 0xDC00:
            self._half = unit
        elif 0xDC00 <= unit < 0xE000 and self._half:
            self._words.append(chr(0x10000 + ((self._half - 0xD800) << 10) + unit - 0xDC00))
            self._half = 0
        else:
            self._words.append(chr(unit))

    def _taken(self) -> str:
        words, self._words = self._words, []
        return "".join(words)

    def _end_paragraph(self) -> None:
        if self._is_row:
            if not "".join(self._words).strip():
                return
            # Text after a row and outside of a cell ends the table; inside a cell it is read with it.
            self._is_row = False
            self._flow.close_table()
        text = self._taken()
        if text.strip():
            self._flow.put("heading" if self._level else "paragraph", text, self._level)


def _known_code_page(name: str) -> str:
    try:
        "".encode(name)
    except LookupError:
        return "cp1252"
    return name
