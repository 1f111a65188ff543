"""HTML by the standard library's tolerant parser: headings, paragraphs, lists, tables, code. Scripts and
menus are dropped.
"""

import re
from html.parser import HTMLParser

from offgrid.rag.readers.draft import Draft, Source, cleaned
from offgrid.rag.readers.encoding import decode
from offgrid.rag.readers.flow import Flow
from offgrid.rag.readers.text import charset_of

DROPPED = {"script", "style", "template", "nav", "noscript", "svg", "iframe", "object", "canvas", "button", "select"}
# Elements that begin and end a stretch of text.
PARTS = {
    "address", "article", "aside", "blockquote", "body", "caption", "center", "dd", "details", "dialog", "dir", "div",
    "dl", "dt", "fieldset", "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header",
    "hgroup", "hr", "html", "legend", "li", "main", "menu", "ol", "p", "pre", "search", "section", "summary", "table",
    "tbody", "td", "textarea", "tfoot", "th", "thead", "tr", "ul",
}  # fmt: skip
HEADINGS = {f"h{n}": n for n in range(1, 7)}
LISTS = {"ul", "ol", "menu", "dir"}
META = {"author", "description", "keywords", "date"}
# As `<meta charset=…>`, `<meta http-equiv content="…; charset=…">` or `<?xml encoding="…"?>` have it.
CHARSET = re.compile(rb"<(?:meta|\?xml)[^>]*?(?:charset|encoding)\s*=\s*[\"']?\s*([-\w:.]+)", re.IGNORECASE)
CHARSET_BYTES = 4096
OPEN_TAG = re.compile(r"</?[a-zA-Z]")


def read_html(source: Source, draft: Draft) -> None:
    data = source.read()
    read_markup(cleaned(decode(data, charset_of(source) or charset_in(data))), draft)


def charset_in(data: bytes) -> str:
    """What a page says of itself. UTF-16 it cannot truly say in these bytes: such a page is UTF-8."""
    match = CHARSET.search(data[:CHARSET_BYTES])
    name = match[1].decode("ascii").lower() if match else ""
    return "" if name.startswith(("utf-16", "utf-32", "ucs")) else name


def read_markup(text: str, draft: Draft) -> None:
    """Add the content of a page to the draft."""
    text = _without_open_end(text)
    low = text.lower()
    # A <nav> that nobody closes would take the rest of the page with it.
    is_nav_open = low.rfind("<nav") > low.rfind("</nav")
    del low
    page = _Page(draft, DROPPED - {"nav"} if is_nav_open else DROPPED)
    page.feed(text)
    page.close()
    page.finish()


def _without_open_end(text: str) -> str:
    """The text without a last comment or tag that nobody closes; browsers drop them, too.

    The parser of some Pythons looks for their end again from each `<` on: 90 s for 1 MB.
    """
    if (start := text.find("<!--", text.rfind("-->") + 1)) >= 0:
        text = text[:start]
    if tag := OPEN_TAG.search(text, text.rfind(">") + 1):
        text = text[: tag.start()]
    return text


class _Page(HTMLParser):
    def __init__(self, draft: Draft, dropped: set[str]):
        super().__init__(convert_charrefs=True)
        self._draft = draft
        self._flow = Flow(draft)
        self._dropped = dropped
        self._drop_depth = 0  # of open elements with the name `_dropping`
        self._dropping = ""
        self._words: list[str] = []
        self._title: list[str] | None = None
        self._level = 0  # of the open heading
        self._n_pre = 0
        self._counters: list[int] = []  # of the open lists; -1 for one without numbers
        self._mark = ""  # of the item that was just opened

    def handle_starttag(self, tag: str, attrs: list) -> None:
        if self._drop_depth:
            self._drop_depth += tag == self._dropping
        elif tag in self._dropped:
            self._end_part()
            self._dropping, self._drop_depth = tag, 1
        elif tag in PARTS:
            self._end_part()
            self._open(tag)
        elif tag == "br":
            self._words.append("\n")
        elif tag == "title" and self._title is None:
            self._title = []
        elif tag == "img":
            self._words.append(dict(attrs).get("alt") or "")
        elif tag == "meta":
            values = dict(attrs)
            if (name := (values.get("name") or "").lower()) in META:
                self._draft.note(name, values.get("content"))

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.handle_starttag(tag, attrs)
        # In HTML <p/> is <p>; in the XHTML of e-books a dropped or whole element may be written so.
        if tag in self._dropped or tag in ("title", "td", "th", "li", "pre"):
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._drop_depth:
            self._drop_depth -= tag == self._dropping
        elif tag == "title" and self._title is not None:
            self._draft.note("title", "".join(self._title))
            self._title = None
        elif tag in PARTS:
            self._end_part()
            self._close(tag)

    def handle_data(self, data: str) -> None:
        if self._drop_depth:
            return
        if self._title is not None:
            self._title.append(data)
        else:
            self._words.append(data if self._n_pre else data.replace("\n", " "))

    def parse_marked_section(self, i: int, report: int = 1) -> int:
        try:
            return super().parse_marked_section(i, report)
        except AssertionError:  # `<![anything`: its way of saying that it does not know the word
            return self.parse_bogus_comment(i)

    def finish(self) -> None:
        self._end_part()
        self._flow.finish()

    def _open(self, tag: str) -> None:
        self._level = HEADINGS.get(tag, 0)  # also ends one that nobody closed
        if tag in LISTS:
            self._counters.append(0 if tag == "ol" else -1)
        elif tag == "li":
            if self._counters and self._counters[-1] >= 0:
                self._counters[-1] += 1
                self._mark = f"{self._counters[-1]}."
            else:
                self._mark = "-"
        elif tag == "pre":
            self._n_pre += 1
        elif tag == "table":
            self._flow.open_table()
        elif tag == "tr":
            self._flow.close_row()
        elif tag in ("td", "th"):
            self._flow.open_cell()

    def _close(self, tag: str) -> None:
        self._level = 0
        if tag in LISTS:
            if self._counters:
                self._counters.pop()
            self._mark = ""
        elif tag == "pre":
            self._n_pre = max(self._n_pre - 1, 0)
        elif tag in ("td", "th"):
            self._flow.close_cell()
        elif tag == "tr":
            self._flow.close_row()
        elif tag == "table":
            self._flow.close_table()

    def _end_part(self) -> None:
        """What was gathered is one stretch of text."""
        if not self._words:
            return
        text, self._words = "".join(self._words), []
        if self._n_pre:
            self._flow.put("code", text.strip("\n"))
            return
        text = "\n".join(" ".join(line.split()) for line in text.split("\n")).strip()
        if not text:
            return
        if self._level:
            self._flow.put("heading", text.replace("\n", " "), self._level)
        elif self._counters or self._mark:
            self._flow.put_item(text, max(len(self._counters), 1), self._mark)
            self._mark = ""
        else:
            self._flow.put("paragraph", text)
