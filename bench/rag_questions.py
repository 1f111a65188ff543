"""The question set of rag_quality.py: questions whose answers are known, made of manuals that Debian has as packages.

Where the questions come from, none of them written for this:
- "index": entries of the printed index of PostgreSQL's manual and of the general index of Python's; the answer is the
  section that the index points to.
- "names": what the Linux man pages and git's say in their NAME that they are for; the answer is the page.

So that a question can be answered, and not by a heading:
- the target's own heading is taken out of the documents (the word "Section" stands there instead, so that the cut
  between two passages stays), and of a page its whole NAME;
- an entry whose words all stand in the headings above its target is left out; so is one of fewer than two words that
  mean something, one with signs in it (names of functions and settings), one that points to more than MAX_PLACES
  sections or to a section outside of the corpus, one whose section is longer than MAX_PASSAGE_CHARS, and of two that
  have the same words both.

Weak in: index entries are terms, not sentences; manuals are written with care and in English; what another section says
of the same matter counts as wrong, though it may answer.
"""

import hashlib
import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urldefrag

from rag_pages import Page, man_name, read_html, read_man

from offgrid.rag.words import words_of

FOLDER = Path(__file__).resolve().parent / "build" / "rag"
PACKAGES = ("manpages", "manpages-dev", "git-doc", "postgresql-doc-15", "python3.11-doc")
MAX_PLACES = 3
MIN_WORDS = 2
MAX_PASSAGE_CHARS = 12_000
MIN_PASSAGE_CHARS = 200
MAX_PAGE_CHARS = 150_000  # longer ones are lists and tables
# One page of so many is taken, of those that no question is about one of OTHERS_SHARE: all would be 40,000 chunks.
MAN_SHARE, GIT_SHARE, OTHERS_SHARE = 4, 6, 3
QUICK_SHARE = 6
# Entries that name a kind of thing in Python rather than what a section is about.
_KINDS = {"module", "statement", "object", "exception", "operator", "keyword", "function", "class", "type", "types"}

Span = tuple[str, int, int]  # document, first character, end


@dataclass(frozen=True, slots=True)
class Pair:
    question: str
    kind: str  # index or names
    answers: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class QuestionSet:
    documents: dict[str, str]  # name → Markdown
    pairs: list[Pair]  # in an order by chance, always the same


@dataclass(frozen=True, slots=True)
class _Entry:
    """An entry of an index: what it says, and (page, piece) where."""

    question: str
    kind: str
    places: tuple[tuple[str, int], ...]


def question_set(quick: bool = False) -> QuestionSet:
    """Some thousands of passages and hundreds of questions. Fetches the packages the first time (60 MB)."""
    for package in PACKAGES:
        _fetch(package)
    pages: dict[str, Page] = {}
    entries: list[_Entry] = []
    for read in (_man_pages, _git_pages, _postgresql, _python):
        new, found = read()
        pages |= new
        entries += found
    pages = {name: page for name, page in pages.items() if sum(len(p.text) for p in page.pieces) <= MAX_PAGE_CHARS}
    if quick:
        pages = {name: page for name, page in pages.items() if _chance(name) % QUICK_SHARE == 0}
    fair = [entry for entry in entries if _is_fair(entry, pages)]
    chosen = _without_rivals(_without_twins(fair), pages)
    blanked: dict[str, set[int]] = {}
    for entry in chosen:
        for name, heading in entry.places:
            blanked.setdefault(name, set()).add(heading)
    pages = {name: page for name, page in pages.items() if name in blanked or _chance(name) % OTHERS_SHARE == 0}
    written = {name: page.text(blanked.get(name, set())) for name, page in pages.items()}
    pairs = [
        Pair(entry.question, entry.kind, _spans(entry, pages, written))
        for entry in sorted(chosen, key=lambda entry: _chance(entry.question))
    ]
    return QuestionSet({name: text for name, (text, _) in written.items()}, pairs)


def _fetch(package: str) -> None:
    """The files of a Debian package, from the machine's own sources of packages."""
    into = FOLDER / package
    if into.exists():
        return
    debs = FOLDER / "debs"
    debs.mkdir(parents=True, exist_ok=True)
    download = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", package]
    if subprocess.run(download, cwd=debs).returncode:
        subprocess.run(["apt-get", "-qq", "update"], check=True)
        subprocess.run(download, cwd=debs, check=True)
    [deb] = debs.glob(f"{package}_*.deb")
    subprocess.run(["dpkg-deb", "-x", deb, into], check=True)


# --- the manuals ---


def _man_pages() -> tuple[dict[str, Page], list[_Entry]]:
    pages, entries = {}, []
    for package in ("manpages", "manpages-dev"):
        for path in sorted((FOLDER / package).rglob("man[2-8]/*.gz")):
            if _chance(path.name) % MAN_SHARE or path.is_symlink():
                continue
            if said := man_name(path):
                section = path.parent.name.removeprefix("man")
                name = f"man/{path.name.split('.')[0]}.{section}.md"
                pages[name] = read_man(path, f"{path.name.split('.')[0]}({section})")
                entries.append(_Entry(said, "names", ((name, 0),)))
    return pages, entries


def _git_pages() -> tuple[dict[str, Page], list[_Entry]]:
    pages, entries = {}, []
    for path in sorted((FOLDER / "git-doc/usr/share/doc/git-doc").glob("*.html")):
        if _chance(path.name) % GIT_SHARE or path.is_symlink() or path.stem == "git":  # it repeats all NAMEs
            continue
        name = f"git/{path.stem}.md"
        page = read_html(path, name)
        title = [piece.text for piece in page.pieces[:3]]
        if len(title) == 3 and title[1] == "NAME" and " - " in title[2]:
            del page.pieces[1:3]
            entries.append(_Entry(title[2].partition(" - ")[2], "names", ((name, 0),)))
        pages[name] = page
    return pages, entries


def _postgresql() -> tuple[dict[str, Page], list[_Entry]]:
    """The parts for users and administrators, page by page as one reads them; and the index's entries."""
    folder = FOLDER / "postgresql-doc-15/usr/share/doc/postgresql-doc-15/html"
    pages: dict[str, Page] = {}
    file = "tutorial.html"
    while file != "libpq.html":
        pages[_name("postgresql/", file)] = read_html(folder / file, file)
        file = re.search(r'rel="next" href="([^"]+)"', (folder / file).read_text("utf-8"))[1]
    index = (folder / "bookindex.html").read_text("utf-8")
    entries, above, depth = [], [], 0
    for mark, inside in re.findall(r"<(/?dl|dt)\b[^>]*>((?:(?!</?dl|<dt|</dt).)*)", index, re.DOTALL):
        if mark == "dt":
            term = _plain(inside.partition('<a class="indexterm"')[0].partition("<em")[0])
            above = [*above[: depth - 1], term]
            links = re.findall(r'class="indexterm" href="([^"]+)"', inside)
            entries.append((", ".join(filter(None, above)), links))
        else:
            depth += 1 if mark == "dl" else -1
    return pages, _entries(entries, pages, "postgresql/")


def _python() -> tuple[dict[str, Page], list[_Entry]]:
    """The language and the tutorial; and the general index's entries."""
    folder = FOLDER / "python3.11-doc/usr/share/doc/python3.11/html"
    pages = {}
    for part in ("reference", "tutorial"):
        for path in sorted((folder / part).glob("*.html")):
            pages[_name(f"python/{part}/", path.name)] = read_html(path, path.name)
    index = (folder / "genindex-all.html").read_text("utf-8")
    entries, above = [], [""]
    for mark, inside in re.findall(r"<(/?ul|li)\b[^>]*>((?:(?!</?ul|</?li).)*)", index, re.DOTALL):
        if mark == "li":
            term = re.sub(r"\[\d+\]", "", _plain(inside)).strip(" ,")
            links = re.findall(r'href="([^"]+)"', inside)
            above[-1] = term
            entries.append((", ".join(filter(None, above)), links))
        elif mark == "ul":
            above.append("")
        elif len(above) > 1:
            above.pop()
    return pages, _entries(entries, pages, "python/")


def _plain(html: str) -> str:
    text = re.sub(r"<[^>]+>", "", html)
    for name, sign in (("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"), ("&#39;", "'"), ("&quot;", '"')):
        text = text.replace(name, sign)
    return " ".join(text.split()).strip(" ,")


def _entries(terms: list[tuple[str, list[str]]], pages: dict[str, Page], folder: str) -> list[_Entry]:
    """Those whose every place is the section of a page that is there."""
    found = []
    for term, links in terms:
        places = [_place(link, pages, folder) for link in links]
        if places and None not in places:
            found.append(_Entry(term, "index", tuple(dict.fromkeys(places))))
    return found


def _place(link: str, pages: dict[str, Page], folder: str) -> tuple[str, int] | None:
    file, anchor = urldefrag(link)
    name = _name(folder, file)
    page = pages.get(name)
    piece = page.anchors.get(anchor) if page and anchor else 0
    heading = page.heading_at(piece) if page and piece is not None else None
    return None if heading is None else (name, heading)


def _name(folder: str, file: str) -> str:
    return f"{folder}{file.removesuffix('.html')}.md"


# --- which entries are fair ---


def _is_fair(entry: _Entry, pages: dict[str, Page]) -> bool:
    words = set(words_of(entry.question))
    is_prose = re.fullmatch(r"[A-Za-z][A-Za-z ,/-]*\.?", entry.question) is not None
    if entry.kind == "index" and (not is_prose or words & _KINDS):
        return False
    if len(words) < MIN_WORDS or not 1 <= len(entry.places) <= MAX_PLACES:
        return False
    for name, heading in entry.places:
        page = pages.get(name)
        if page is None:
            return False
        n_chars = sum(len(piece.text) for piece in page.pieces[heading + 1 : page.end_of(heading)])
        above = " ".join(page.pieces[i].text for i in page.above(heading)).casefold()
        if not MIN_PASSAGE_CHARS <= n_chars <= MAX_PASSAGE_CHARS or all(_stem(word) in above for word in words):
            return False
    return True


def _stem(word: str) -> str:
    return word[: max(4, len(word) - 3)]


def _without_twins(entries: list[_Entry]) -> list[_Entry]:
    """Of entries with the same words only one that all of them can stand for: the same places; else none."""
    by_words: dict[frozenset, list[_Entry]] = {}
    for entry in entries:
        by_words.setdefault(frozenset(map(_stem, words_of(entry.question))), []).append(entry)
    return [same[0] for same in by_words.values() if len({entry.places for entry in same}) == 1]


def _without_rivals(entries: list[_Entry], pages: dict[str, Page]) -> list[_Entry]:
    """Those whose words do not all stand in the heading of another section, nor what they say in another page."""
    headings = [
        (name, i, piece.text.casefold())
        for name, page in pages.items()
        for i, piece in enumerate(page.pieces)
        if piece.level
    ]
    texts = {name: "\n".join(piece.text for piece in page.pieces).casefold() for name, page in pages.items()}
    return [
        entry
        for entry in entries
        if not any(
            all(_stem(word) in heading for word in words_of(entry.question))
            and not any(name == own and at <= i < pages[own].end_of(at) for own, at in entry.places)
            for name, i, heading in headings
        )
        and not (
            entry.kind == "names"
            and any(entry.question.casefold() in text for name, text in texts.items() if name != entry.places[0][0])
        )
    ]


def _spans(entry: _Entry, pages: dict[str, Page], written: dict[str, tuple[str, list[int]]]) -> tuple[Span, ...]:
    """Where in the documents the sections of an entry stand, without their headings."""
    starts = {name: written[name][1] for name, _ in entry.places}
    return tuple((name, starts[name][at + 1], starts[name][pages[name].end_of(at)]) for name, at in entry.places)


def _chance(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


if __name__ == "__main__":
    import sys

    made = question_set(quick="--quick" in sys.argv)
    print(json.dumps({"documents": len(made.documents), "chars": sum(map(len, made.documents.values()))}))
    for pair in made.pairs:
        print(f"{pair.kind:6} {pair.question[:70]:70} {pair.answers[0][0]} {pair.answers[0][2] - pair.answers[0][1]}")
