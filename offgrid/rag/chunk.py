"""Cuts a document into chunks: stretches of its text that are searched and shown one by one.

A chunk follows the document's structure: it begins at a heading where it can, ends with a sentence, a line of code or a
row of a table, and knows the headings above it. Pure: what a token is, a caller's `count` says. Must stay true: a
chunk's text is the document's text from `start` to `end`; all of the text is in some chunk, but for white space and
headings that stand as context; no chunk has more tokens than asked for, as far as those of its parts add up; none is
a part of another.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import dropwhile

from offgrid.rag.parsed import Block, Parsed
from offgrid.rag.words import index_words
from offgrid.store.documents import NewChunk

SMALL = 0.25  # a chunk with less of its room filled goes on beyond the next heading
MAX_HEADING_CHARS = 300
N_COUNTED = 512  # texts of one call
MAX_COUNTED_CHARS = 100_000

_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"')\]»”’]*\s+|(?<=[。！？])(?=\S)|\n\s*\n\s*")
_LINE_END = re.compile(r"\n+")
_BETWEEN_WORDS = re.compile(r"\s+")

Count = Callable[[list[str]], Sequence[int]]  # how many tokens each of these texts has


@dataclass(slots=True)
class Atom:
    """What is never cut: a sentence, a line, or a piece of a longer one."""

    start: int
    end: int
    n_tokens: int
    headings: str  # those above it
    page: int | None
    is_heading: bool = False
    begins_section: bool = False


def chunk(parsed: Parsed, count: Count, chunk_tokens: int, overlap_tokens: int) -> list[NewChunk]:
    """The chunks of a document, of at most `chunk_tokens`; each begins with up to `overlap_tokens` of the one before.

    Neighbours under one heading overlap, so that what is said across a cut is found.
    """
    atoms = list(_atoms(parsed, count, chunk_tokens))
    chunks = [_chunk(parsed.text, run) for run in _runs(atoms, chunk_tokens, overlap_tokens)]
    return [one for one in chunks if one is not None]


def estimate(texts: list[str]) -> list[int]:
    """A `count` without a model: words and signs, a third more than there are; each character of CJK is one."""
    return [len(re.findall(r"[぀-ヿ㐀-鿿가-힯]|[^\W\d_]{1,6}|\d{1,3}|[^\w\s]", text)) for text in texts]


def _atoms(parsed: Parsed, count: Count, most: int) -> Iterator[Atom]:
    """All atoms in order, counted; a heading is one that begins a section."""
    path: list[tuple[int, str]] = []  # (level, text) of the headings above
    pending: list[Atom] = []
    n_chars = 0
    for block in parsed.blocks:
        text = parsed.text[block.start : block.end]
        if block.kind == "heading":
            path = [(level, above) for level, above in path if level < block.level]
            path.append((block.level, _title(text)))
        headings = " > ".join(text for _, text in path)[:MAX_HEADING_CHARS]
        if block.kind == "table":
            headings = _with_header(headings, text)
        for start, end in _cut(parsed.text, block):
            is_heading = block.kind == "heading"
            pending.append(Atom(start, end, 0, headings, block.page, is_heading, is_heading))
            n_chars += end - start
            if len(pending) >= N_COUNTED or n_chars >= MAX_COUNTED_CHARS:
                yield from _counted(parsed.text, pending, count, most)
                pending, n_chars = [], 0
    yield from _counted(parsed.text, pending, count, most)


def _title(heading: str) -> str:
    """A heading without what marks it as one in Markdown or reStructuredText."""
    lines = [line for line in heading.splitlines() if any(map(str.isalnum, line))] or [heading]
    return _BETWEEN_WORDS.sub(" ", " ".join(lines)).strip(" #*=-_~`^")


def _with_header(headings: str, table: str) -> str:
    """A row further down a table means little without the names of its columns."""
    header = table.partition("\n")[0].strip()
    return (f"{headings} > {header}" if headings else header)[:MAX_HEADING_CHARS]


def _cut(text: str, block: Block) -> Iterator[tuple[int, int]]:
    """(start, end) of the sentences or lines of a block, without white space around them."""
    if block.kind == "heading":
        places: Iterator[re.Match] = iter(())
    else:
        places = (_SENTENCE_END if block.kind == "paragraph" else _LINE_END).finditer(text, block.start, block.end)
    start = block.start
    for place in places:
        yield from _trimmed(text, start, place.end())
        start = place.end()
    yield from _trimmed(text, start, block.end)


def _trimmed(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    piece = text[start:end]
    if stripped := piece.strip():
        start += len(piece) - len(piece.lstrip())
        yield start, start + len(stripped)


def _counted(text: str, atoms: list[Atom], count: Count, most: int) -> Iterator[Atom]:
    """The atoms with their lengths; those that are too long in pieces."""
    if not atoms:
        return
    lengths = count([text[atom.start : atom.end] for atom in atoms])
    for atom, n_tokens in zip(atoms, lengths, strict=True):
        atom.n_tokens = n_tokens
        if n_tokens > most:
            yield from _counted(text, _halves(text, atom), count, most)
        else:
            yield atom


def _halves(text: str, atom: Atom) -> list[Atom]:
    """An atom as two, cut between words near its middle; in the middle of what has no words."""
    middle = (atom.start + atom.end) // 2
    place = _BETWEEN_WORDS.search(text, middle, atom.end)
    cut, rest = (place.start(), place.end()) if place else (middle, middle)
    about = (atom.headings, atom.page, atom.is_heading)
    halves = [Atom(atom.start, cut, 0, *about, atom.begins_section), Atom(rest, atom.end, 0, *about)]
    return [half for half in halves if half.start < half.end]


def _runs(atoms: list[Atom], most: int, overlap: int) -> Iterator[list[Atom]]:
    """The atoms of each chunk."""
    run: list[Atom] = []
    n_tokens = 0
    for section in _sections(atoms):
        if n_tokens >= SMALL * most or n_tokens + section[0].n_tokens > most:
            yield run
            run, n_tokens = [], 0
        left = sum(atom.n_tokens for atom in section)
        for atom in section:
            # Chunks of one section are about as long as each other: no crumbs at its end.
            room = n_tokens + left
            target = room / -(-room // most) if most < room else most
            is_full = n_tokens + atom.n_tokens > most or (n_tokens and n_tokens + atom.n_tokens / 2 > target)
            if is_full and _body(run):
                yield run
                run = _tail(run, overlap, most - atom.n_tokens)
                n_tokens = sum(one.n_tokens for one in run)
            run.append(atom)
            n_tokens += atom.n_tokens
            left -= atom.n_tokens
    yield run


def _sections(atoms: list[Atom]) -> Iterator[list[Atom]]:
    """The atoms from one heading to the next; headings that follow each other begin one section."""
    section: list[Atom] = []
    for atom in atoms:
        if atom.begins_section and any(not one.is_heading for one in section):
            yield section
            section = []
        section.append(atom)
    if section:
        yield section


def _tail(run: list[Atom], overlap: int, room: int) -> list[Atom]:
    """The last atoms of a chunk that the next one begins with; never all of its text, and no heading."""
    tail: list[Atom] = []
    n_tokens = 0
    for atom in reversed(_body(run)[1:]):
        n_tokens += atom.n_tokens
        if n_tokens > min(overlap, room) or atom.is_heading:
            break
        tail.append(atom)
    return tail[::-1]


def _body(run: list[Atom]) -> list[Atom]:
    """The atoms without the headings that they begin with."""
    return list(dropwhile(lambda atom: atom.is_heading, run))


def _chunk(text: str, run: list[Atom]) -> NewChunk | None:
    """A chunk; headings that it begins with are its context and no part of its text, unless there is nothing else."""
    body = _body(run) or run[-1:]
    if not body:
        return None
    first, last = body[0], body[-1]
    piece = text[first.start : last.end]
    heading = "" if first.is_heading else first.headings
    return NewChunk(first.start, last.end, heading, piece, first.page, index_words(heading, piece))
