"""Manuals as Debian packages have them (HTML, man pages) become Markdown whose places are known.

A page keeps its blocks apart until `Page.text`, so that the one who asks may take a heading out and still know where
every passage stands. Only what these manuals are written with is understood; this is no reader of documents.
"""

import gzip
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

BLANKED = "Section"  # stands for a heading that is taken out: the cut between two passages stays, its words go


@dataclass(slots=True)
class Piece:
    """A block of a page. `level` 1 to 6: a heading; 0: anything else."""

    text: str
    level: int = 0
    is_code: bool = False


@dataclass(slots=True)
class Page:
    name: str
    pieces: list[Piece] = field(default_factory=list)
    anchors: dict[str, int] = field(default_factory=dict)  # id → the piece it stands in or before

    def heading_at(self, piece: int) -> int | None:
        """The nearest heading at or above a piece."""
        return next((i for i in range(min(piece, len(self.pieces) - 1), -1, -1) if self.pieces[i].level), None)

    def end_of(self, heading: int) -> int:
        """The piece after a heading's section, those below it included."""
        level = self.pieces[heading].level
        rest = range(heading + 1, len(self.pieces))
        return next((i for i in rest if 0 < self.pieces[i].level <= level), len(self.pieces))

    def above(self, heading: int) -> list[int]:
        """A heading and those that it stands under."""
        found, level = [heading], self.pieces[heading].level
        for i in range(heading - 1, -1, -1):
            if 0 < self.pieces[i].level < level:
                found.append(i)
                level = self.pieces[i].level
        return found

    def text(self, blanked: set[int]) -> tuple[str, list[int]]:
        """Markdown without the words of some headings, and where each piece begins in it (one more: its end)."""
        starts, parts, length = [], [], 0
        for i, piece in enumerate(self.pieces):
            written = _written(piece, BLANKED if i in blanked else piece.text)
            starts.append(length)
            parts.append(written)
            length += len(written) + 2
        return "\n\n".join(parts), [*starts, length]


def _written(piece: Piece, text: str) -> str:
    if piece.level:
        return "#" * piece.level + " " + text
    return f"```\n{text}\n```" if piece.is_code else text


# --- HTML of Sphinx, DocBook and AsciiDoc ---

_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_BREAKS = {"p", "pre", "li", "dt", "dd", "div", "ul", "ol", "dl", "table", "section", "tr", "blockquote", *_HEADINGS}
_VOID = {"br", "hr", "img", "input", "link", "meta", "col", "area", "base", "wbr"}
_LEFT_OUT = {"script", "style", "head", "nav"}
_LEFT_OUT_CLASSES = {"navheader", "navfooter", "toc", "related", "sphinxsidebar", "footer", "headerlink", "contents"}
_LEFT_OUT_IDS = {"footer"}
_BOXES = {"note", "tip", "caution", "warning", "important"}  # their titles are no headings of sections


class _Html(HTMLParser):
    def __init__(self, page: Page):
        super().__init__()
        self._page = page
        self._words: list[str] = []
        self._open: list[tuple[str, bool, bool]] = []  # (tag, whether its content is left out, whether it is a box)
        self._kind = ""  # of the block that is open: h1 to h6, pre, tr, or nothing
        self._prefix = ""

    def handle_starttag(self, tag: str, attributes) -> None:
        about = dict(attributes)
        classes = set((about.get("class") or "").split())
        is_out = bool(tag in _LEFT_OUT or _LEFT_OUT_CLASSES & classes or about.get("id") in _LEFT_OUT_IDS)
        if tag not in _VOID:
            self._open.append((tag, is_out or self._is_out(), bool(tag == "div" and _BOXES & classes)))
        if self._is_out():
            return
        if tag in _BREAKS and self._kind not in ("tr", "pre"):
            self._end_block()
            is_heading = tag in _HEADINGS and not any(is_box for _, _, is_box in self._open)
            self._kind = tag if is_heading or tag in ("pre", "tr") else ""
            if tag == "li":
                self._prefix = "- "
        elif tag in ("td", "th") and self._words:
            self._words.append(" | ")
        elif tag == "br":
            self._words.append("\n" if self._kind == "pre" else " ")
        if about.get("id"):
            self._page.anchors[about["id"]] = len(self._page.pieces)

    def handle_endtag(self, tag: str) -> None:
        if not any(tag == one for one, _, _ in self._open):
            return
        was_out = self._is_out()
        while self._open.pop()[0] != tag:
            pass
        if not was_out and (tag == self._kind or (tag in _BREAKS and self._kind not in ("tr", "pre"))):
            self._end_block()

    def handle_data(self, data: str) -> None:
        if not self._is_out():
            self._words.append(data)

    def close(self) -> None:
        super().close()
        self._end_block()

    def _is_out(self) -> bool:
        return bool(self._open) and self._open[-1][1]

    def _end_block(self) -> None:
        text, kind, prefix = "".join(self._words), self._kind, self._prefix
        text = text.strip("\n").rstrip() if kind == "pre" else " ".join(text.split())
        self._words, self._kind = [], ""
        if text:
            self._prefix = ""
            self._page.pieces.append(Piece(prefix + text, _HEADINGS.get(kind, 0), kind == "pre"))


def read_html(path: Path, name: str) -> Page:
    page = Page(name)
    parser = _Html(page)
    parser.feed(path.read_text("utf-8", "replace"))
    parser.close()
    return page


# --- man pages, as the Linux man-pages project writes them ---

_FONT = re.compile(r"\\f(?:\[[^]]*\]|\(..|.)|\\[&/,|^%:]|\\s[-+]?\d")
_CHARACTERS = {"aq": "'", "dq": '"', "bu": "*", "em": "—", "en": "–", "lq": "“", "rq": "”", "oq": "‘", "cq": "’"}
_CHARACTERS |= {"ti": "~", "ha": "^", "rs": "\\", "co": "©", "mc": "µ", "mu": "×", "->": "→", "<=": "≤", ">=": "≥"}
_NAMED = re.compile(r"\\\[([^]]+)\]|\\\((..)|\\\*\((..)")
_BLOCK_ENDS = {"PP", "P", "LP", "IP", "TP", "HP", "RS", "RE", "TQ", "sp", "TE", "EE", "fi", "ad", "nh", "hy"}
_FONTS = {"B", "I", "R", "BR", "RB", "BI", "IB", "IR", "RI", "SM", "SB"}


def read_man(path: Path, name: str) -> Page:
    """A page without its NAME, which stands in `named` of `man_name`."""
    page = Page(name, [Piece(name, 1)])
    lines: list[str] = []
    is_code, section = False, ""

    def end_block() -> None:
        text = "\n".join(lines) if is_code else " ".join(" ".join(lines).split())
        lines.clear()
        if text.strip() and section != "NAME":
            page.pieces.append(Piece(text, 0, is_code))

    for line in gzip.decompress(path.read_bytes()).decode("utf-8", "replace").split("\n"):
        if line.startswith(('.\\"', "'\\\"", '\\"')):
            continue
        macro, words = _macro(line)
        if macro in ("SH", "SS"):
            end_block()
            section = " ".join(words) if macro == "SH" else section
            page.pieces.append(Piece(" ".join(words), 2 if macro == "SH" else 3))
        elif macro in _BLOCK_ENDS or macro in ("nf", "EX", "TS"):
            end_block()
            is_code = macro in ("nf", "EX", "TS") or (is_code and macro not in ("EE", "fi", "TE"))
        elif macro in _FONTS or macro in ("UR", "MT", "ME", "UE"):
            lines.append(("" if len(macro) > 1 and macro != "SM" else " ").join(words))
        elif not macro:
            lines.append(_plain(line))
    end_block()
    page.pieces = [p for i, p in enumerate(page.pieces) if not (p.level and p.text == "NAME" and i == 1)]
    return page


def man_name(path: Path) -> str:
    """What a page's NAME says that it is for; "" where it is only a link to another page."""
    text = gzip.decompress(path.read_bytes()).decode("utf-8", "replace")
    found = re.search(r'^\.SH "?NAME"?\n(.*?)^\.SH', text, re.MULTILINE | re.DOTALL)
    name = " ".join(_plain(" ".join(_macro(line)[1] or [line])) for line in found[1].split("\n")) if found else ""
    return " ".join(name.partition(" - ")[2].split())


def _macro(line: str) -> tuple[str, list[str]]:
    """(macro, its words) of a line of roff; ("", []) of one of text."""
    if not line.startswith("."):
        return "", []
    macro, _, rest = line[1:].strip().partition(" ")
    return macro, [_plain(word.strip('"')) for word in re.findall(r'"[^"]*"|(?:\\.|[^\s"\\])+', rest)]


def _plain(text: str) -> str:
    text = _NAMED.sub(lambda found: _CHARACTERS.get(found[1] or found[2] or found[3], ""), _FONT.sub("", text))
    return text.replace("\\-", "-").replace("\\ ", " ").replace("\\~", " ").replace("\\e", "\\").replace("\\c", "")
