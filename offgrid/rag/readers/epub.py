"""E-books: the chapters in their order, each a page of XHTML; title and author of the book."""

import urllib.parse

from offgrid.errors import BadRequest
from offgrid.rag.readers.draft import Draft, Source, cleaned
from offgrid.rag.readers.encoding import decode
from offgrid.rag.readers.html import charset_in, read_markup
from offgrid.rag.readers.markup import END, START, TEXT, events
from offgrid.rag.readers.opc import PROPERTIES
from offgrid.rag.readers.zipped import Archive, resolve

CONTAINER, ENCRYPTION = "META-INF/container.xml", "META-INF/encryption.xml"
CHAPTER_TYPES = ("application/xhtml+xml", "text/html", "application/x-dtbook+xml")


def read_epub(source: Source, draft: Draft) -> None:
    archive = Archive(source.file)
    package = next(
        (
            attributes.get("full-path", "")
            for kind, name, attributes in events(archive.read(CONTAINER), CONTAINER)
            if kind == START and name == "rootfile"
        ),
        "",
    )
    chapters = _read_package(archive, package, draft)
    if locked := _encrypted(archive) & set(chapters):
        raise BadRequest(f"is protected against copying (DRM): {len(locked)} of its chapters are encrypted")
    for chapter in chapters:
        data = archive.read(chapter)
        read_markup(cleaned(decode(data, charset_in(data))), draft)


def _read_package(archive: Archive, package: str, draft: Draft) -> list[str]:
    """The members that are chapters, in reading order; the book's properties are noted."""
    members: dict[str, str] = {}
    order: list[str] = []
    name, words = "", []
    for kind, value, attributes in events(archive.read(package), package):
        if kind == TEXT:
            words.append(value)
        elif kind == END:
            if value in PROPERTIES and value == name:
                draft.note(PROPERTIES[value], "".join(words))
            name = ""
        else:
            name, words = value, []
            if value == "item" and attributes.get("media-type") in CHAPTER_TYPES:
                members[attributes.get("id", "")] = resolve(urllib.parse.unquote(attributes.get("href", "")), package)
            elif value == "itemref":
                order.append(attributes.get("idref", ""))
    return list(dict.fromkeys(members[id] for id in order if id in members))


def _encrypted(archive: Archive) -> set[str]:
    if ENCRYPTION not in archive:
        return set()
    return {
        urllib.parse.unquote(attributes.get("URI", ""))
        for kind, name, attributes in events(archive.read(ENCRYPTION), ENCRYPTION)
        if kind == START and name == "CipherReference"
    }
