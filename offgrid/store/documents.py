"""Documents of the data stores: how one comes in, is replaced and goes.

A document comes in piece by piece (its text, its chunks, their vectors), each piece in a small transaction so that
nobody's write waits long, and is found from its `finish` on, all of it at once. One that goes is marked so at once and
cleared away by `sweep`, little by little. Must stay true: only a document whose state is READY is ever shown; in a
store no two of these have one name or one content; each has as many chunks as it says, and for the space that is
searched as many vectors, or none where there is no space.
"""

import json
import secrets
import sqlite3
import time
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from offgrid.errors import Conflict, NotFound
from offgrid.store.datastores import DataStore, Space, check_space
from offgrid.store.db import Database

INCOMING, READY, GONE = "incoming", "ready", "gone"
N_SWEPT = 500  # chunks that one transaction clears away


class SpaceChanged(Exception):
    """The store is searched in another space by now: the document needs vectors there."""


@dataclass(frozen=True, slots=True)
class Document:
    """Times are in seconds since 1970."""

    number: int
    id: str  # 32 hexadecimal digits
    name: str
    content_type: str
    n_bytes: int  # of the file
    metadata: dict[str, str]
    n_pages: int | None
    n_chunks: int
    created_at: float
    updated_at: float


@dataclass(frozen=True, slots=True)
class NewDocument:
    """What is known of a document before its chunks are. `hash` is the SHA-256 of the file."""

    name: str
    content_type: str
    n_bytes: int
    hash: bytes
    metadata: dict[str, str]
    text: str
    n_pages: int | None = None


@dataclass(frozen=True, slots=True)
class NewChunk:
    """A stretch of a document's text; `words` is what is indexed where that is not the heading and the text."""

    start: int  # characters of the document's text; the end is exclusive
    end: int
    heading: str
    text: str
    page: int | None = None
    words: str | None = None


class Documents:
    """Every method may be called from any thread."""

    def __init__(self, db: Database):
        self._db = db

    # --- coming in ---

    def begin(self, store: DataStore, new: NewDocument, *, does_replace: bool) -> int:
        """Keep the text of a document that comes in; returns its number. Raises Conflict as `finish` will."""
        now = time.time()
        with self._db.write() as sql:
            _check_store(sql, store)
            _check_new(sql, store.number, new.name, new.hash, does_replace=does_replace)
            about = (new.name, new.content_type, new.n_bytes, new.hash, _to_json(new.metadata), new.n_pages)
            row = sql.execute(
                "INSERT INTO documents (id, store, state, name, content_type, n_bytes, hash, metadata, n_pages,"
                " n_chunks, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?)",
                (secrets.token_hex(16), store.number, INCOMING, *about, now, now),
            )
            data = zlib.compress(new.text.encode("utf-8", "replace"), 1)
            sql.execute("INSERT INTO document_texts VALUES (?, ?)", (row.lastrowid, data))
            return row.lastrowid

    def add_chunks(self, store: DataStore, number: int, first: int, chunks: Sequence[NewChunk]) -> None:
        """Chunks of a document that comes in, the positions `first` and on. Raises NotFound: it was given up."""
        with self._db.write() as sql:
            _incoming(sql, number)
            sql.executemany(
                "INSERT INTO chunks (store, document, position, start_char, end_char, page, heading, text, words)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (store.number, number, first + i, c.start, c.end, c.page, c.heading, c.text, c.words)
                    for i, c in enumerate(chunks)
                ],
            )

    def all_chunks_added(self, number: int, n_chunks: int) -> None:
        with self._db.write() as sql:
            sql.execute("UPDATE documents SET n_chunks = ? WHERE number = ?", (n_chunks, number))

    def incoming(self, number: int) -> int | None:
        """How many chunks a document that comes in has, 0 while they are not all there; None when it does not."""
        row = self._db.row("SELECT n_chunks FROM documents WHERE number = ? AND state = ?", (number, INCOMING))
        return row["n_chunks"] if row else None

    def add_vectors(self, number: int, space: Space, first: int, data: bytes) -> None:
        """Vectors of the chunks from position `first` on: (n, n_dim) float32, little-endian, rows of unit length."""
        with self._db.write() as sql:
            sql.execute(  # nothing when the document, or the space, has gone
                "INSERT OR REPLACE INTO vector_parts SELECT d.number, v.number, ?, ? FROM documents AS d, vector_spaces"
                " AS v WHERE d.number = ? AND d.state <> ? AND v.number = ?",
                (first, data, number, GONE, space.number),
            )

    def parts(self, number: int, space: Space) -> bytes:
        """The vectors that are there, of its chunks in their order."""
        rows = self._db.read(
            "SELECT data FROM vector_parts WHERE document = ? AND space = ? ORDER BY first", (number, space.number)
        )
        return b"".join(row["data"] for row in rows)

    def n_vectors(self, number: int, space: Space) -> int:
        """How many of its first chunks have their vectors already."""
        row = self._db.row(
            "SELECT ifnull(sum(length(data)), 0) FROM vector_parts WHERE document = ? AND space = ?",
            (number, space.number),
        )
        return row[0] // (4 * space.n_dim)

    def finish(
        self, store: DataStore, number: int, space: Space | None, *, does_replace: bool, intake: int | None = None
    ) -> tuple[Document, int | None]:
        """The document is found from now on; with the number of the one that it replaced.

        `intake` is the row that asked for it. Raises Conflict: its name or content is there; NotFound: the store was
        deleted; SpaceChanged.
        """
        with self._db.write() as sql:
            if _check_store(sql, store) != (space.number if space else None):
                raise SpaceChanged
            row = _incoming(sql, number)
            old = _check_new(sql, store.number, row["name"], row["hash"], does_replace=does_replace)
            if old is not None:
                sql.execute("UPDATE documents SET state = ? WHERE number = ?", (GONE, old))
            if space is not None:
                _pack(sql, number, space)
            now = time.time()
            sql.execute("UPDATE documents SET state = ?, updated_at = ? WHERE number = ?", (READY, now, number))
            sql.execute("UPDATE datastores SET updated_at = ? WHERE number = ?", (now, store.number))
            sql.execute("DELETE FROM intake WHERE number = ?", (intake,))
            ready = sql.execute("SELECT * FROM documents WHERE number = ?", (number,)).fetchone()
        return _document(ready), old

    # --- vectors of another model ---

    def without_vectors(self, store: DataStore, space: Space) -> list[int]:
        """The numbers of the documents that have none in this space."""
        rows = self._db.read(
            "SELECT number FROM documents AS d WHERE store = ? AND state = ? AND NOT EXISTS"
            " (SELECT 1 FROM document_vectors WHERE document = d.number AND space = ?) ORDER BY number",
            (store.number, READY, space.number),
        )
        return [row["number"] for row in rows]

    def pack_vectors(self, number: int, space: Space) -> None:
        """The parts are complete: make them one block. Nothing when the document went meanwhile.

        Raises Conflict: the store was given another space meanwhile, and this one is no more.
        """
        with self._db.write() as sql:
            check_space(sql, space)
            place = (number, space.number)
            if sql.execute("SELECT 1 FROM document_vectors WHERE document = ? AND space = ?", place).fetchone():
                sql.execute("DELETE FROM vector_parts WHERE document = ? AND space = ?", place)  # somebody was quicker
            elif sql.execute("SELECT 1 FROM documents WHERE number = ? AND state = ?", (number, READY)).fetchone():
                _pack(sql, number, space)

    # --- being there ---

    def list(self, store: DataStore, limit: int, offset: int) -> "list[Document]":
        """Newest first."""
        rows = self._db.search(
            "SELECT * FROM documents WHERE store = ? AND state = ? ORDER BY number DESC LIMIT ? OFFSET ?",
            (store.number, READY, limit, offset),
        )
        return [_document(row) for row in rows]

    def count(self, store: DataStore) -> tuple[int, int, int]:
        """(documents, chunks, bytes of their files)"""
        row = self._db.row(
            "SELECT count(*), ifnull(sum(n_chunks), 0), ifnull(sum(n_bytes), 0) FROM documents"
            " WHERE store = ? AND state = ?",
            (store.number, READY),
        )
        return tuple(row)

    def count_all(self) -> int:
        """How many there are in all stores."""
        return self._db.row("SELECT count(*) FROM documents WHERE state = ?", (READY,))[0]

    def get(self, store: DataStore, id_or_name: str) -> Document:
        """Raises NotFound."""
        row = self._db.row(
            "SELECT * FROM documents WHERE store = ?1 AND state = ?2 AND (id = ?3 OR name = ?3) ORDER BY id <> ?3",
            (store.number, READY, id_or_name),
        )
        if row is None:
            raise _not_found(id_or_name)
        return _document(row)

    def hash_of(self, store: DataStore, name: str) -> bytes | None:
        """The SHA-256 of the file that the document of this name was made of."""
        row = self._db.row(
            "SELECT hash FROM documents WHERE store = ? AND state = ? AND name = ?", (store.number, READY, name)
        )
        return row["hash"] if row else None

    def text(self, number: int) -> str:
        """Raises NotFound: it was deleted meanwhile."""
        row = self._db.row("SELECT data FROM document_texts WHERE document = ?", (number,))
        if row is None:
            raise NotFound("The document was deleted.", code="document_not_found")
        return zlib.decompress(row["data"]).decode()

    # --- going ---

    def delete(self, store: DataStore, document: Document) -> None:
        """It is found no longer. Raises NotFound when somebody else was quicker."""
        with self._db.write() as sql:
            gone = sql.execute(
                "UPDATE documents SET state = ? WHERE number = ? AND state = ?", (GONE, document.number, READY)
            )
            if not gone.rowcount:
                raise _not_found(document.id)
            sql.execute("UPDATE datastores SET updated_at = ? WHERE number = ?", (time.time(), store.number))

    def drop(self, number: int) -> None:
        """Give up a document that comes in."""
        with self._db.write() as sql:
            sql.execute("UPDATE documents SET state = ? WHERE number = ? AND state = ?", (GONE, number, INCOMING))

    def drop_unasked(self) -> None:
        """Give up what comes in for nobody: for the start, when nobody works on any."""
        with self._db.write() as sql:
            sql.execute(
                "UPDATE documents SET state = ? WHERE state <> 'ready' AND state = ? AND number NOT IN"
                " (SELECT document FROM intake WHERE document IS NOT NULL)",
                (GONE, INCOMING),
            )

    def sweep(self) -> bool:
        """Clear away a little of what has gone; False when nothing is left of it."""
        with self._db.write() as sql:
            row = sql.execute(
                "SELECT number FROM documents WHERE state <> 'ready' AND state = ? LIMIT 1",  # so the index is used
                (GONE,),
            ).fetchone()
            if row is None:
                sql.execute("DELETE FROM datastores WHERE is_gone")
                return False
            swept = sql.execute(
                "DELETE FROM chunks WHERE number IN (SELECT number FROM chunks WHERE document = ? LIMIT ?)",
                (row["number"], N_SWEPT),
            )
            if swept.rowcount < N_SWEPT:
                sql.execute("DELETE FROM documents WHERE number = ?", (row["number"],))
            return True


def _check_store(sql: sqlite3.Connection, store: DataStore) -> int | None:
    """The number of the space that it is searched in. Raises NotFound."""
    row = sql.execute("SELECT space FROM datastores WHERE number = ? AND NOT is_gone", (store.number,)).fetchone()
    if row is None:
        raise NotFound(f"The data store {store.name!r} was deleted.", code="datastore_not_found")
    return row["space"]


def _incoming(sql: sqlite3.Connection, number: int) -> sqlite3.Row:
    """The row of a document that comes in. Raises NotFound: it was given up, as its store was deleted, say."""
    row = sql.execute("SELECT * FROM documents WHERE number = ? AND state = ?", (number, INCOMING)).fetchone()
    if row is None:
        raise NotFound("The document was given up while it came in.", code="document_not_found")
    return row


def _check_new(sql: sqlite3.Connection, store: int, name: str, hash: bytes, *, does_replace: bool) -> int | None:
    """The number of the document of that name, which may be replaced. Raises Conflict."""
    same = sql.execute(
        "SELECT * FROM documents WHERE store = ? AND state = ? AND hash = ?", (store, READY, hash)
    ).fetchone()
    if same is not None:
        is_named = "" if same["name"] == name else f", under the name {same['name']!r}"
        raise Conflict(
            f"This content is in the store already{is_named} (document {same['id']}).", code="duplicate_document"
        )
    named = sql.execute(
        "SELECT * FROM documents WHERE store = ? AND state = ? AND name = ?", (store, READY, name)
    ).fetchone()
    if named is None:
        return None
    if not does_replace:
        raise Conflict(
            f"There is another document {name!r} in the store ({named['id']}). Give this one another name, or send "
            '"replace": true.',
            code="document_exists",
            param="name",
        )
    return named["number"]


def _pack(sql: sqlite3.Connection, number: int, space: Space) -> None:
    parts: Iterable[sqlite3.Row] = sql.execute(
        "SELECT data FROM vector_parts WHERE document = ? AND space = ? ORDER BY first", (number, space.number)
    )
    data = b"".join(part["data"] for part in parts)
    [n_chunks] = sql.execute("SELECT n_chunks FROM documents WHERE number = ?", (number,)).fetchone()
    if len(data) != 4 * space.n_dim * n_chunks:
        raise RuntimeError(f"document {number} has {n_chunks} chunks and {len(data)} bytes of vectors")
    sql.execute("INSERT OR REPLACE INTO document_vectors VALUES (?, ?, ?)", (number, space.number, data))
    sql.execute("DELETE FROM vector_parts WHERE document = ? AND space = ?", (number, space.number))


def _document(row: sqlite3.Row) -> Document:
    about = (row["n_bytes"], json.loads(row["metadata"]), row["n_pages"], row["n_chunks"])
    times = (row["created_at"], row["updated_at"])
    return Document(row["number"], row["id"], row["name"], row["content_type"], *about, *times)


def _to_json(metadata: dict[str, str]) -> str:
    return json.dumps(metadata, ensure_ascii=False).encode("utf-8", "replace").decode()


def _not_found(id_or_name: str) -> NotFound:
    return NotFound(f"There is no document {id_or_name[:200]!r}.", code="document_not_found")
