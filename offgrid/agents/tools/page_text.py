"""What a person would read of an HTML page: its text, a block a line, without scripts and menus. Pure."""

import re
from html.parser import HTMLParser

_DROPPED = {"script", "style", "template", "noscript", "nav", "svg", "head", "iframe", "object", "select"}
_BLOCKS = {
    *("address", "article", "aside", "blockquote", "br", "dd", "div", "dl", "dt", "figure", "footer", "form", "h1"),
    *("h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "ol", "p", "pre", "section", "table", "tr", "ul"),
}
_CELLS = {"td", "th"}


def text_of_page(html: str) -> str:
    reader = _Reader()
    reader.feed(html)
    reader.close()
    lines = (re.sub(r"[ \t\r\f\v\u00a0]+", " ", line).strip() for line in "".join(reader.pieces).split("\n"))
    text = "\n".join(line for line in lines if line)
    return f"{reader.title.strip()}\n\n{text}" if reader.title.strip() else text


class _Reader(HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self.title = ""
        self._dropped = ""  # the element that is being left out
        self._depth = 0  # of elements of that name in it
        self._is_title = False

    def handle_starttag(self, tag: str, attrs: list) -> None:
        if tag == "title" and not self.title:
            self._is_title = True
        if tag == "body" and self._dropped == "head":  # which may be left unclosed
            self._dropped = ""
        if self._dropped:
            self._depth += tag == self._dropped
        elif tag in _DROPPED:
            self._dropped, self._depth = tag, 1
        elif tag in _BLOCKS:
            self.pieces.append("\n- " if tag == "li" else "\n")
        elif tag in _CELLS:
            self.pieces.append(" | ")

    def handle_endtag(self, tag: str) -> None:
        if tag == "title":
            self._is_title = False
        if self._dropped:
            self._depth -= tag == self._dropped
            if not self._depth:
                self._dropped = ""
        elif tag in _BLOCKS:
            self.pieces.append("\n")

    def handle_data(self, data: str) -> None:
        if self._is_title:
            self.title += data
        elif not self._dropped:
            self.pieces.append(data)
