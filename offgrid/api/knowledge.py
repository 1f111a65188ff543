"""What everything that concerns the knowledge base shares: whose store is meant, and how its documents are shown."""

from offgrid.api.fields import Asked, Field
from offgrid.api.shapes import Flag, Number, Shape, Text, wrong
from offgrid.api.times import rfc3339
from offgrid.errors import BadRequest, PermissionDenied
from offgrid.store.datastores import DataStore
from offgrid.store.documents import Document
from offgrid.store.passages import Passage
from offgrid.web.message import Request, parse_json_object

MAX_TAGS = 50
MAX_TAG_NAME_CHARS = 200
MAX_TAG_CHARS = 2000


class Metadata(Shape):
    """What people note about a document: names with texts; numbers and booleans are taken as texts."""

    wanted = (
        f"an object of up to {MAX_TAGS} names of up to {MAX_TAG_NAME_CHARS} characters with texts of up to "
        f"{MAX_TAG_CHARS} characters"
    )

    def read(self, value: object, path: str) -> dict[str, str]:
        if not isinstance(value, dict) or len(value) > MAX_TAGS:
            raise wrong(path, self.wanted, value)
        if any(len(name) > MAX_TAG_NAME_CHARS for name in value):
            raise wrong(path, self.wanted, value)
        return {name: self._text(one, f"{path}.{name[:80]}") for name, one in value.items()}

    def _text(self, value: object, path: str) -> str:
        if isinstance(value, bool):
            return str(value).lower()
        if not isinstance(value, str | int | float) or len(str(value)) > MAX_TAG_CHARS:
            raise wrong(path, f"a text of up to {MAX_TAG_CHARS} characters", value)
        return str(value)

    def read_text(self, text: str, path: str) -> dict[str, str]:
        return self.read(_json(text, path), path)

    def schema(self) -> dict:
        value = {"type": ["string", "number", "boolean"], "maxLength": MAX_TAG_CHARS}
        return {
            "type": "object",
            "additionalProperties": value,
            "maxProperties": MAX_TAGS,
            "propertyNames": {"maxLength": MAX_TAG_NAME_CHARS},
        }


class Switch(Flag):
    """A boolean that a form spells as text."""

    def read_text(self, text: str, path: str) -> bool:
        if text.lower() not in ("true", "false", "1", "0", "on", "off"):
            raise wrong(path, self.wanted, text)
        return text.lower() in ("true", "1", "on")


class Decimal(Number):
    def read_text(self, text: str, path: str) -> float:
        try:
            return self.read(float(text), path)
        except ValueError:
            raise wrong(path, self.wanted, text) from None


STORE = Field("datastore_id", Text(1, 100, is_unicode=True), "The data store; without it, one's own knowledge base.")
DOCUMENT = {
    "id": str,
    "name": str,
    "content_type": str,
    "size": int,
    "chunk_count": int,
    "chunks": int,
    "pages": (int, None),
    "metadata": {str: str},
    "created_at": str,
    "updated_at": str,
}
CHUNK = {
    **{"id": str, "document_id": str, "content": str, "index": int, "start_char": int, "end_char": int},
    **{"page": (int, None), "heading": str, "created_at": str},
}


def require_rag(app) -> None:
    """Raise PermissionDenied where the knowledge base is switched off."""
    if not app.config.rag.enabled:
        raise PermissionDenied("The knowledge base is switched off here (rag.enabled).", code="rag_disabled")


def store_for(request: Request, app, asked: Asked | dict, level: str = "read_query") -> DataStore:
    """The store that a request names, or the caller's own. Raises NotFound, PermissionDenied."""
    require_rag(app)
    who, stores = request.who, app.knowledge.stores
    id = asked.get("datastore_id")
    return stores.get(who.owner, who.user_id or "", id, level) if id else stores.default(who.owner)


def as_json(document: Document) -> dict:
    return {
        "id": document.id,
        "name": document.name,
        "content_type": document.content_type,
        "size": document.n_bytes,
        "chunk_count": document.n_chunks,
        "chunks": document.n_chunks,
        "pages": document.n_pages,
        "metadata": document.metadata,
        "created_at": rfc3339(document.created_at),
        "updated_at": rfc3339(document.updated_at),
    }


def chunk_as_json(passage: Passage) -> dict:
    return {
        "id": passage.id,
        "document_id": passage.document_id,
        "content": passage.text,
        "index": passage.position,
        "start_char": passage.start,
        "end_char": passage.end,
        "page": passage.page,
        "heading": passage.heading,
        "created_at": rfc3339(passage.created_at),
    }


def _json(text: str, path: str) -> dict:
    try:
        return parse_json_object(text.encode("utf-8", "replace"))
    except BadRequest as error:
        raise BadRequest(f"{path}: {error.message}", param=path) from None
