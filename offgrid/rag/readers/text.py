"""Plain text, Markdown and reStructuredText: the text stays as it stands, and its blocks are found in it."""

import re
from collections.abc import Callable, Iterator

from offgrid.rag.readers.draft import Draft, Source, cleaned
from offgrid.rag.readers.encoding import decode

Span = tuple[int, int, str, int]  # start, end, kind, level
LIST_ITEM = re.compile(r" {0,3}(?:[-*+•]|\(?\d{1,9}[.)])\s+\S")
FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
ATX = re.compile(r" {0,3}(#{1,6})(?:[ \t]+|$)")
SETEXT = re.compile(r" {0,3}(=+|-+)[ \t]*$")
TABLE_RULE = re.compile(r"(?=.*\|)[ \t|:+=-]*-[ \t|:+=-]*$")
FRONT_MATTER = re.compile(r"---[ \t]*\n(.*?)\n(?:---|\.\.\.)[ \t]*(?:\n|$)", re.DOTALL)
FRONT_LINE = re.compile(r"(title|author|date|description)[ \t]*:[ \t]*(.+)", re.IGNORECASE)
RST_ADORNMENT = re.compile(r"([!-/:-@\[-`{-~])\1{2,}[ \t]*$")
RST_TABLE = re.compile(r"[ \t]*(?:\+[-=+]{3,}|={3,}(?:[ \t]+={3,})+)")


def read_text(source: Source, draft: Draft) -> None:
    text = cleaned(decode(source.read(), charset_of(source)))
    draft.take(text, _paragraphs(text, lambda lines: "list" if LIST_ITEM.match(lines[0]) else "paragraph"))


def read_markdown(source: Source, draft: Draft) -> None:
    text = cleaned(decode(source.read(), charset_of(source)))
    start = 0
    if front := FRONT_MATTER.match(text):
        for line in filter(None, map(FRONT_LINE.match, front[1].split("\n"))):
            draft.note(line[1].lower(), line[2].strip("\"' "))
        start = front.end()
    spans = list(_markdown(text, start))
    if front and front[1].strip():
        spans.insert(0, (0, len(front[0].rstrip()), "code", 0))
    draft.take(text, spans)
    _note_title(draft, text, spans)


def read_rst(source: Source, draft: Draft) -> None:
    text = cleaned(decode(source.read(), charset_of(source)))
    spans = list(_rst(text))
    draft.take(text, spans)
    _note_title(draft, text, spans)


def charset_of(source: Source) -> str:
    """The encoding that the sender names: text/plain; charset=iso-8859-1."""
    _, _, parameters = source.declared_type.partition(";")
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return value.strip("\"' ")
    return ""


def lines_of(text: str, start: int = 0) -> Iterator[tuple[int, str]]:
    """Each line with the place of its first character, without its end."""
    while start <= len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        yield start, text[start:end]
        start = end + 1


class _Run:
    """Lines that belong to one block, until it is closed."""

    def __init__(self):
        self.start = -1
        self.lines: list[str] = []

    def push(self, at: int, line: str) -> None:
        if not self.lines:
            self.start = at
        self.lines.append(line)

    def close(self, kind: str, level: int = 0) -> Iterator[Span]:
        """The span of the lines, without white space around it; nothing when there is no more in them."""
        whole = "\n".join(self.lines)
        text = whole.strip()
        if text:
            start = self.start + whole.index(text[0])
            yield start, start + len(text), kind, level
        self.lines = []


def _paragraphs(text: str, kind_of: Callable[[list[str]], str]) -> Iterator[Span]:
    run = _Run()
    for at, line in lines_of(text):
        if line.strip():
            run.push(at, line)
        elif run.lines:
            yield from run.close(kind_of(run.lines))
    if run.lines:
        yield from run.close(kind_of(run.lines))


def _markdown(text: str, start: int) -> Iterator[Span]:
    run, fence = _Run(), ""
    for at, line in lines_of(text, start):
        opening = FENCE.match(line)
        if fence:
            run.push(at, line)
            if opening and opening[1].startswith(fence) and not line.strip(" `~"):
                yield from run.close("code")
                fence = ""
        elif opening:
            yield from run.close(_markdown_kind(run.lines))
            run.push(at, line)
            fence = opening[1]
        elif heading := ATX.match(line):
            yield from run.close(_markdown_kind(run.lines))
            run.push(at, line)
            yield from run.close("heading", len(heading[1]))
        elif len(run.lines) == 1 and (rule := SETEXT.match(line)) and _markdown_kind(run.lines) == "paragraph":
            run.push(at, line)
            yield from run.close("heading", 1 if rule[1][0] == "=" else 2)
        elif line.strip():
            run.push(at, line)
        elif run.lines:
            yield from run.close(_markdown_kind(run.lines))
    yield from run.close("code" if fence else _markdown_kind(run.lines))


def _markdown_kind(lines: list[str]) -> str:
    if len(lines) > 1 and "|" in lines[0] and TABLE_RULE.match(lines[1]):
        return "table"
    if lines and LIST_ITEM.match(lines[0]):
        return "list"
    if lines and all(line.startswith(("    ", "\t")) for line in lines):
        return "code"
    return "paragraph"


def _rst(text: str) -> Iterator[Span]:
    """Sections by their adornments, each new style one level deeper; literal blocks after `::`."""
    styles: list[str] = []
    run, is_literal = _Run(), False
    for at, line in lines_of(text):
        is_indented = line[:1] in (" ", "\t")
        if is_literal and line.strip() and not is_indented:
            yield from run.close("code")
            is_literal = False
        if is_literal:
            if line.strip() or run.lines:
                run.push(at, line)
            continue
        rule = RST_ADORNMENT.match(line)
        if rule and run.lines and len(line.rstrip()) >= len(run.lines[-1].strip()) and _is_rst_title(run.lines):
            style = line[0] + ("/" if len(run.lines) == 2 else "")
            if style not in styles:
                styles.append(style)
            run.push(at, line)
            yield from run.close("heading", styles.index(style) + 1)
        elif line.strip():
            run.push(at, line)
        elif run.lines:
            is_literal = run.lines[-1].rstrip().endswith("::")
            yield from run.close(_rst_kind(run.lines))
    yield from run.close("code" if is_literal else _rst_kind(run.lines))


def _is_rst_title(lines: list[str]) -> bool:
    """One line, or one with a rule above it."""
    if len(lines) == 1:
        return lines[0][:1] not in (" ", "\t") and not RST_ADORNMENT.match(lines[0])
    return len(lines) == 2 and RST_ADORNMENT.match(lines[0]) is not None


def _rst_kind(lines: list[str]) -> str:
    if lines and RST_TABLE.match(lines[0]):
        return "table"
    if lines and LIST_ITEM.match(lines[0]):
        return "list"
    return "paragraph"


def _note_title(draft: Draft, text: str, spans: list[Span]) -> None:
    first = next((text[start:end] for start, end, kind, _ in spans if kind == "heading"), "")
    words = [line.strip("# \t") for line in first.split("\n")]
    draft.note("title", next((line for line in words if line and not RST_ADORNMENT.match(line)), ""))
