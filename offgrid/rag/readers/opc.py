"""What Word, PowerPoint and Excel files have in common: parts that name each other, and the document's properties."""

from offgrid.errors import BadRequest
from offgrid.rag.readers.draft import Draft
from offgrid.rag.readers.markup import END, START, TEXT, events
from offgrid.rag.readers.zipped import Archive, resolve

# element of docProps/core.xml (of a file of ODF: meta.xml) → name in the metadata
PROPERTIES = {
    "title": "title",
    "creator": "author",
    "initial-creator": "author",
    "subject": "subject",
    "description": "description",
    "keywords": "keywords",
    "keyword": "keywords",
    "language": "language",
    "created": "created",
    "creation-date": "created",
    "modified": "modified",
}


def relations(archive: Archive, part: str) -> dict[str, tuple[str, str]]:
    """Id → (kind, member) of what a part names; kind is the last word of the type. Empty where it names nothing."""
    folder, _, name = part.rpartition("/")
    path = f"{folder}/_rels/{name}.rels" if folder else f"_rels/{name}.rels"
    found = {}
    if path in archive:
        for kind, element, attributes in events(archive.read(path), path):
            if kind == START and element == "Relationship" and attributes.get("TargetMode") != "External":
                type_ = attributes.get("Type", "").rpartition("/")[2]
                found[attributes.get("Id", "")] = (type_, resolve(attributes.get("Target", ""), part))
    return found


def main_part(archive: Archive) -> str:
    """Raises BadRequest."""
    for kind, member in relations(archive, "").values():
        if kind == "officeDocument":
            return member
    raise BadRequest("is damaged: it does not say which of its parts is the document")


def note_properties(archive: Archive, draft: Draft, part: str = "docProps/core.xml") -> None:
    if part not in archive:
        return
    name, words = "", []
    for kind, value, _ in events(archive.read(part), part):
        if kind == START:
            name, words = PROPERTIES.get(value, ""), []
        elif kind == TEXT and name:
            words.append(value)
        elif kind == END and name:
            draft.note(name, "".join(words))
            name = ""
