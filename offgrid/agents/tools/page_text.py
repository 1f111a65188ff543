"""What a person would read of an HTML page: its text, a block a line, without scripts and menus.

Pure. Not `html.parser`: what that takes for a page that is made to be slow grows with the square of its length. Must
stay true: the page is gone through once.
"""

import html
import re
from collections.abc import Iterator

_DROPPED = {"template", "noscript", "nav", "svg", "head", "iframe", "object", "select"}
_RAW = {  # elements whose content holds no tags; the first two are dropped
    name: re.compile(rf"</{name}[\s/>]", re.IGNORECASE) for name in ("script", "style", "textarea", "title")
}
_BLOCKS = {
    *("address", "article", "aside", "blockquote", "br", "dd", "div", "dl", "dt", "figure", "footer", "form", "h1"),
    *("h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "ol", "p", "pre", "section", "table", "tr", "ul"),
}
_CELLS = {"td", "th"}
_BEGIN = re.compile(r"<[A-Za-z/!?]")  # any other < is text
_TAG = re.compile(r"</?([A-Za-z][^\s/>]*)")
_SPACES = re.compile(r"[ \t\r\f\v\u00a0]+")
_N_TRIES = 4  # to find the end of a tag whose attributes hold a ">"


def text_of_page(page: str) -> str:
    pieces, title, dropped, depth = [], "", "", 0
    for tag, text in _parts(page):
        name = tag.lstrip("/")
        if name == "title":
            title = title or text
        elif dropped and name == "body":  # before it nothing that is dropped need be closed
            dropped = ""
        elif dropped:
            depth += (tag == dropped) - (tag == f"/{dropped}")
            dropped = dropped if depth else ""
        elif not tag:
            pieces.append(text)
        elif tag in _DROPPED:
            dropped, depth = tag, 1
        elif name in _BLOCKS:
            pieces.append("\n- " if tag == "li" else "\n")
        elif tag in _CELLS:
            pieces.append(" | ")
        elif tag == "textarea":
            pieces.append(text)
    lines = (_SPACES.sub(" ", line).strip() for line in _plain("".join(pieces)).split("\n"))
    text = "\n".join(line for line in lines if line)
    title = " ".join(_plain(title).split())
    return f"{title}\n\n{text}" if title else text


def _parts(page: str) -> Iterator[tuple[str, str]]:
    """(tag, text): "" and a text; "p" or "/p" of a tag; the name of an element without tags, and its content."""
    at = 0
    while found := _BEGIN.search(page, at):
        start = found.start()
        yield "", page[at:start]
        tag = _TAG.match(page, start)
        if page.startswith("<!--", start):
            end = page.find("-->", start + 4)
            at = end + 3 if end >= 0 else len(page)
        else:
            end = _end_of_tag(page, start)
            at = end + 1 if end >= 0 else len(page)
            if tag:
                name = tag[1].lower()
                if name in _RAW and not page.startswith("</", start):
                    close = _RAW[name].search(page, at)
                    yield name, page[at : close.start() if close else len(page)]
                    at = close.start() if close else len(page)
                else:
                    yield ("/" if page.startswith("</", start) else "") + name, ""
    yield "", page[at:]


def _end_of_tag(page: str, start: int) -> int:
    """Where its ">" is, past those in quotes; -1 without one."""
    first = end = page.find(">", start)
    for _ in range(_N_TRIES):
        if end < 0 or page.count('"', start, end) % 2 == 0:
            return end if end >= 0 else first
        end = page.find(">", end + 1)
    return first


def _plain(text: str) -> str:
    try:
        return html.unescape(text)
    except ValueError:  # a number of thousands of digits, which stands for no character
        return text
