"""Chunks of documents as they are searched: by words, by number, and with their vectors.

Reads only. Must stay true: nothing of a document that is not READY is ever returned.
"""

import json
import sqlite3
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from offgrid.store.datastores import DataStore, Space
from offgrid.store.db import Database
from offgrid.store.documents import READY

_FOUND = """
SELECT c.number, bm25(chunk_words, 0.0, 1.0) AS cost
FROM chunk_words JOIN chunks AS c ON c.number = chunk_words.rowid JOIN documents AS d ON d.number = c.document
WHERE chunk_words MATCH ? AND c.store = ? AND d.state = ? {only} ORDER BY cost, c.number LIMIT ?
"""


@dataclass(frozen=True, slots=True)
class Passage:
    """A chunk, and what people need to know of its document. `start` and `end` count characters of its text."""

    number: int
    position: int  # among the document's chunks, from 0
    start: int
    end: int
    page: int | None
    heading: str
    text: str
    document: int
    document_id: str
    document_name: str
    metadata: dict[str, str]
    created_at: float  # seconds since 1970

    @property
    def id(self) -> str:
        return f"{self.number:016x}"


class Passages:
    """Every method may be called from any thread. Documents are named by their numbers."""

    def __init__(self, db: Database):
        self._db = db

    def by_words(self, store: DataStore, query: str, n: int, only: Collection[int] | None = None) -> list[int]:
        """The numbers of the chunks in which an FTS5 query finds most, the best first; `only` in these documents."""
        match = f"store : s{store.number} AND words : ({query})"
        values: list = [match, store.number, READY]
        condition = ""
        if only is not None:
            condition = "AND d.number IN (SELECT value FROM json_each(?))"
            values.append(json.dumps(sorted(only)))
        return [row["number"] for row in self._db.search(_FOUND.format(only=condition), [*values, n])]

    def get(self, store: DataStore, numbers: Collection[int]) -> dict[int, Passage]:
        """By their numbers; those that are no longer there are left out."""
        rows = self._db.read(
            "SELECT c.*, d.id, d.name, d.metadata, d.created_at FROM chunks AS c"
            " JOIN documents AS d ON d.number = c.document"
            " WHERE c.number IN (SELECT value FROM json_each(?)) AND d.store = ? AND d.state = ?",
            (json.dumps(list(numbers)), store.number, READY),
        )
        return {row["number"]: _passage(row) for row in rows}

    def documents(self, store: DataStore) -> list[sqlite3.Row]:
        """number, id, name, metadata (JSON), created_at of every document, for filters."""
        return self._db.search(
            "SELECT number, id, name, metadata, created_at FROM documents WHERE store = ? AND state = ?",
            (store.number, READY),
        )

    def texts(self, document: int, first: int, n: int) -> list[tuple[str, str]]:
        """(heading, text) of the chunks of any document, whatever its state, from position `first` on."""
        rows = self._db.read(
            "SELECT heading, text FROM chunks WHERE document = ? AND position >= ? ORDER BY position LIMIT ?",
            (document, first, n),
        )
        return [(row["heading"], row["text"]) for row in rows]

    def numbers(self, document: int) -> list[int]:
        """The numbers of its chunks, in their order."""
        rows = self._db.read("SELECT number FROM chunks WHERE document = ? ORDER BY position", (document,))
        return [row["number"] for row in rows]

    def vectors(self, document: int, space: Space) -> bytes:
        """(n_chunks, n_dim) float32, little-endian; empty when it has none in this space."""
        row = self._db.row(
            "SELECT data FROM document_vectors WHERE document = ? AND space = ?", (document, space.number)
        )
        return row["data"] if row else b""

    def blocks(self, space: Space) -> Iterator[tuple[int, list[int], bytes]]:
        """(document, numbers of its chunks, their vectors) of everything in a space, one document in memory at once."""
        rows = self._db.read(
            "SELECT v.document FROM document_vectors AS v JOIN documents AS d ON d.number = v.document"
            " WHERE v.space = ? AND d.state = ?",
            (space.number, READY),
        )
        for row in rows:
            if (data := self.vectors(row["document"], space)) and (numbers := self.numbers(row["document"])):
                yield row["document"], numbers, data


def _passage(row: sqlite3.Row) -> Passage:
    return Passage(
        *(row["number"], row["position"], row["start_char"], row["end_char"], row["page"], row["heading"], row["text"]),
        *(row["document"], row["id"], row["name"], json.loads(row["metadata"]), row["created_at"]),
    )
