"""`client.kb`: documents that the server keeps and searches."""

import os
from collections.abc import Iterable
from urllib.parse import urlencode

from .errors import OffGridError
from .transport import Form, Transport

# What `add_directory` takes when nobody says; a text's extension tells the server how it is built.
EXTENSIONS = (".txt", ".md", ".rst", ".html", ".csv", ".json", ".pdf", ".docx", ".odt", ".pptx", ".xlsx", ".epub")
_PAGE = 1000


class KnowledgeBase:
    """One's own knowledge base; `client.kb.store(id)` is another data store.

    A document is a dict with "id", "name", "chunks", "size", "content_type", "metadata", "created_at".
    """

    def __init__(self, transport: Transport, datastore_id: str | None = None):
        self._transport = transport
        self._store = {} if datastore_id is None else {"datastore_id": datastore_id}

    def store(self, datastore_id: str) -> "KnowledgeBase":
        """The same for a data store of one's own, or one that is shared."""
        return KnowledgeBase(self._transport, datastore_id)

    def status(self) -> dict:
        """{"enabled", "embedding_model", "stats": {"document_count", "chunk_count", …}, "formats", …}"""
        return self._transport.call("GET", self._path("/v1/rag/status"))

    @property
    def enabled(self) -> bool:
        return self.status()["enabled"]

    def enable(self, embedding_model: str | None = None) -> bool:
        """Switch it on; with another embedding model all vectors are made anew, in a task of the server."""
        model = {} if embedding_model is None else {"embedding_model": embedding_model}
        return self._transport.take("enabled", "POST", "/v1/rag/enable", {**model, **self._store})

    def disable(self) -> bool:
        """Switch it off; True when it is off. The documents stay."""
        return not self._transport.take("enabled", "POST", "/v1/rag/disable", self._store)

    def add(
        self,
        source: "str | os.PathLike | None" = None,
        name: str | None = None,
        content: str | None = None,
        *,
        metadata: "dict[str, str] | None" = None,
        replace: bool = False,
    ) -> dict:
        """Add a document and wait until it can be found: `content`, else the file or the web address `source`.

        Raises FileNotFoundError for a source that is neither; ApiStatusError of status 409 for content that is there.
        """
        fields = {"name": name, "metadata": metadata, "replace": replace or None, **self._store}
        fields = {key: value for key, value in fields.items() if value is not None}
        path = "/v1/documents/ingest"
        if content is not None:
            body = {**fields, "name": name or str(source or "document.txt"), "content": content}
        elif source is None:
            raise TypeError("add() needs a source or content")
        elif str(source).startswith(("http://", "https://")):
            body = {**fields, "url": str(source)}
        else:
            with open(source, "rb") as file:  # raises FileNotFoundError here, not in a strange answer later
                size = os.fstat(file.fileno()).st_size
            body = Form(fields, os.fspath(source), size)
        return self._transport.take("document", "POST", path, body)

    def add_directory(
        self, path: "str | os.PathLike", extensions: "Iterable[str] | None" = None, recursive: bool = True
    ) -> "list[dict]":
        """Add the files of a folder; for each its document, or {"file", "error"} where it was refused.

        A document's name is its path within the folder; one that has changed replaces the earlier one.
        """
        wanted = tuple(extension.lower() for extension in (EXTENSIONS if extensions is None else extensions))
        return [self._add_file(root, path) for root, path in _files(os.fspath(path), wanted, recursive)]

    def _add_file(self, root: str, path: str) -> dict:
        name = os.path.relpath(path, root).replace(os.sep, "/")
        try:
            return self.add(path, name, replace=True)
        except (OffGridError, OSError) as error:
            return {"file": path, "error": str(error)}

    def list(self) -> "list[dict]":
        """All documents, newest first."""
        found: list[dict] = []
        while True:
            page = self._transport.take("documents", "GET", self._path("/v1/documents", limit=_PAGE, offset=len(found)))
            found += page
            if len(page) < _PAGE:
                return found

    def remove(self, document: str) -> bool:
        """Delete a document by its id or its name. Raises NotFound."""
        return self._transport.take("success", "DELETE", self._path("/v1/documents/delete", id=document))

    def clear(self) -> int:
        """Delete all documents; how many they were."""
        documents = self.list()
        for document in documents:
            self.remove(document["id"])
        return len(documents)

    def search(self, query: str, top_k: int = 5, threshold: float | None = None, **options) -> "list[dict]":
        """The passages that answer a question, best first.

        Each is {"content", "document_id", "document_name", "score", "chunk_index", "page", "heading", "metadata"}.
        `threshold`: the least score (cosine). `options` are further fields of POST /v1/documents/search.
        """
        least = {} if threshold is None else {"min_score": threshold}
        body = {"query": query, "top_k": top_k, **least, **options, **self._store}
        return [_passage(hit) for hit in self._transport.take("results", "POST", "/v1/documents/search", body)]

    def _path(self, path: str, **query: object) -> str:
        asked = {**query, **self._store}
        return f"{path}?{urlencode(asked)}" if asked else path


def _passage(hit: dict) -> dict:
    chunk = hit["chunk"]
    return {
        "content": chunk["content"],
        "document_id": hit["document_id"],
        "document_name": hit["document_name"],
        "score": hit["score"],
        "chunk_index": chunk["index"],
        "page": chunk.get("page"),
        "heading": chunk.get("heading", ""),
        "metadata": hit.get("metadata") or {},
    }


def _files(root: str, extensions: "tuple[str, ...]", recursive: bool) -> "Iterable[tuple[str, str]]":
    """(root, path) of each file; hidden ones are left out."""
    if not os.path.isdir(root):
        raise FileNotFoundError(f"there is no folder {root}")
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith(".")) if recursive else []
        for name in sorted(names):
            if not name.startswith(".") and name.lower().endswith(extensions):
                yield root, os.path.join(folder, name)
