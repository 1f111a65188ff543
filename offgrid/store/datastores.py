"""Data stores: collections of documents, each with one owner, who may share it.

Knows rows, owners and levels; what is in a store is `documents.py`'s. Must stay true: every call is one transaction;
who may not see a store learns nothing of it, not even that it is there; a store that was deleted is never found again,
though its documents are cleared away little by little.
"""

import sqlite3
import time
import uuid
from dataclasses import dataclass
from typing import Any

from offgrid.errors import Conflict, NotFound, PermissionDenied
from offgrid.store.db import Database

DEFAULT_NAME = "kb"  # of the store that everybody has, from its first use on
EVERYBODY = "*"  # as whom a store is shared with
# What sharing allows, each with all before it; LoLLMs' names.
LEVELS = ("read_query", "read_write", "revectorize", "owner")
MAX_STORES = 1000  # of one owner

_SEEN = """
SELECT s.*, CASE WHEN s.owner = :owner THEN 'owner' ELSE (
    SELECT level FROM datastore_shares WHERE store = s.number AND grantee IN (:grantee, '*')
    ORDER BY CASE level WHEN 'revectorize' THEN 0 WHEN 'read_write' THEN 1 ELSE 2 END LIMIT 1
) END AS level, v.model, v.file, v.n_dim
FROM datastores AS s LEFT JOIN vector_spaces AS v ON v.number = s.space
WHERE NOT s.is_gone
"""


@dataclass(frozen=True, slots=True)
class Space:
    """Vectors that one model made, and only these can be compared with each other."""

    number: int
    model: str  # its id
    file: str  # what tells the file from another of that name
    n_dim: int


@dataclass(frozen=True, slots=True)
class DataStore:
    """A store as one person sees it: `level` is what they may do. Times are in seconds since 1970."""

    number: int
    id: str  # a UUID
    owner: str
    name: str
    description: str
    level: str
    is_on: bool
    chunk_tokens: int
    overlap_tokens: int
    space: Space | None  # None: it is searched by words alone
    created_at: float
    updated_at: float


class DataStores:
    """Every method may be called from any thread.

    `owner` and `grantee` say who asks: whose things they own, and the account that others share with ("" for nobody's).
    Raises NotFound for a store that is not there for them, PermissionDenied for one that they may only read.
    """

    def __init__(self, db: Database):
        self._db = db

    def create(
        self, owner: str, name: str, description: str = "", *, chunk_tokens: int = 0, overlap_tokens: int = 0
    ) -> DataStore:
        """A new store; tokens 0: as the server's settings say. Raises Conflict when the owner has one of that name."""
        with self._db.write() as sql:
            id = _insert(sql, owner, name, description, chunk_tokens, overlap_tokens)
        return self.get(owner, "", id)

    def default(self, owner: str) -> DataStore:
        """The owner's own knowledge base, made now if this is the first time."""
        found = self._one("s.owner = :owner AND s.name = :name", owner=owner, grantee="", name=DEFAULT_NAME)
        if found is None:
            with self._db.write() as sql:
                try:
                    _insert(sql, owner, DEFAULT_NAME, "", 0, 0)
                except Conflict:
                    pass  # somebody was quicker
            found = self._one("s.owner = :owner AND s.name = :name", owner=owner, grantee="", name=DEFAULT_NAME)
        return found

    def get(self, owner: str, grantee: str, id: str, level: str = "read_query") -> DataStore:
        """The store, if they may do what `level` says."""
        found = self._one("s.id = :id", owner=owner, grantee=grantee, id=id)
        if found is None or found.level is None:
            raise NotFound(f"There is no data store {id[:100]!r}.", code="datastore_not_found")
        if LEVELS.index(found.level) < LEVELS.index(level):
            raise PermissionDenied(
                f"The data store {found.name!r} is shared with you as {found.level}; this needs {level}.",
                code="datastore_level",
            )
        return found

    def by_number(self, number: int) -> DataStore | None:
        """For the server's own work: as its owner sees it; None when it is gone."""
        return self._one("s.number = :number", owner="", grantee="", number=number)

    def list(self, owner: str, grantee: str) -> list[DataStore]:
        """All that somebody may search, their own first, by name."""
        rows = self._db.read(
            f"SELECT * FROM ({_SEEN}) WHERE level IS NOT NULL ORDER BY owner <> :owner, name",
            {"owner": owner, "grantee": grantee},
        )
        return [_store(row) for row in rows]

    def change(self, store: DataStore, **values: Any) -> None:
        """Set `name`, `description`, `is_on`, `chunk_tokens` or `overlap_tokens`. Raises Conflict: a name is taken."""
        columns = ", ".join(f"{column} = :{column}" for column in values)
        with self._db.write() as sql:
            try:
                sql.execute(
                    f"UPDATE datastores SET {columns}, updated_at = :now WHERE number = :number",
                    {**values, "now": time.time(), "number": store.number},
                )
            except sqlite3.IntegrityError:
                raise _taken(values["name"]) from None

    def delete(self, store: DataStore) -> None:
        """From now on it is not there. What it held is cleared away by `documents.Documents.sweep`."""
        with self._db.write() as sql:
            sql.execute("UPDATE datastores SET is_gone = 1 WHERE number = ?", (store.number,))
            sql.execute("UPDATE documents SET state = 'gone' WHERE store = ?", (store.number,))
            sql.execute("DELETE FROM intake WHERE store = ?", (store.number,))

    # --- sharing ---

    def share(self, store: DataStore, grantee: str, level: str) -> None:
        """Let an account, or EVERYBODY, do what `level` says; it replaces what they could do before."""
        with self._db.write() as sql:
            sql.execute(
                "INSERT INTO datastore_shares VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET level = excluded.level",
                (store.number, grantee, level),
            )

    def unshare(self, store: DataStore, grantee: str) -> None:
        """Raises NotFound when it is not shared with them."""
        with self._db.write() as sql:
            rows = sql.execute("DELETE FROM datastore_shares WHERE store = ? AND grantee = ?", (store.number, grantee))
            if not rows.rowcount:
                raise NotFound(f"The data store {store.name!r} is not shared with {grantee[:100]!r}.")

    def shares(self, store: DataStore) -> "list[tuple[str, str]]":
        """(grantee, level) of everybody with whom it is shared."""
        rows = self._db.read(
            "SELECT grantee, level FROM datastore_shares WHERE store = ? ORDER BY grantee", (store.number,)
        )
        return [(row["grantee"], row["level"]) for row in rows]

    # --- vectors ---

    def add_space(self, store: DataStore, model: str, file: str, n_dim: int) -> Space:
        """Room for the vectors of a model; they are searched from `use_space` on. One that is there is used again."""
        row = (store.number, model, file, n_dim)
        with self._db.write() as sql:
            known = sql.execute(
                "SELECT number FROM vector_spaces WHERE store = ? AND model = ? AND file = ? AND n_dim = ?", row
            ).fetchone()
            if known:
                return Space(known["number"], model, file, n_dim)
            made = sql.execute("INSERT INTO vector_spaces (store, model, file, n_dim) VALUES (?, ?, ?, ?)", row)
            return Space(made.lastrowid, model, file, n_dim)

    def use_space(self, store: DataStore, space: Space) -> bool:
        """Search these vectors from now on; False, and nothing has changed, while a document lacks its own.

        Raises Conflict: another space was chosen meanwhile, and this one is no more.
        """
        with self._db.write() as sql:
            check_space(sql, space)
            lacking = sql.execute(
                "SELECT 1 FROM documents AS d WHERE d.store = ? AND d.state = 'ready' AND NOT EXISTS"
                " (SELECT 1 FROM document_vectors WHERE document = d.number AND space = ?)",
                (store.number, space.number),
            ).fetchone()
            if lacking:
                return False
            sql.execute("UPDATE datastores SET space = ? WHERE number = ?", (space.number, store.number))
            sql.execute("DELETE FROM vector_spaces WHERE store = ? AND number <> ?", (store.number, space.number))
            return True

    def _one(self, condition: str, **values: Any) -> DataStore | None:
        row = self._db.row(f"{_SEEN} AND {condition}", values)
        return _store(row) if row else None


def check_space(sql: sqlite3.Connection, space: Space) -> None:
    """Raises Conflict when it is no more."""
    if sql.execute("SELECT 1 FROM vector_spaces WHERE number = ?", (space.number,)).fetchone() is None:
        raise Conflict("Another embedding model was chosen for this data store meanwhile.", code="embedding_model")


def _insert(
    sql: sqlite3.Connection, owner: str, name: str, description: str, chunk_tokens: int, overlap_tokens: int
) -> str:
    [n_stores] = sql.execute("SELECT count(*) FROM datastores WHERE owner = ? AND NOT is_gone", (owner,)).fetchone()
    if n_stores >= MAX_STORES:
        raise Conflict(f"You have {n_stores} data stores, and that is the most. Delete one first.", code="too_many")
    id, now = str(uuid.uuid4()), time.time()
    try:
        sql.execute(
            "INSERT INTO datastores (id, owner, name, description, is_on, chunk_tokens, overlap_tokens, is_gone,"
            " created_at, updated_at) VALUES (?, ?, ?, ?, 1, ?, ?, 0, ?, ?)",
            (id, owner, name, description, chunk_tokens, overlap_tokens, now, now),
        )
    except sqlite3.IntegrityError:
        raise _taken(name) from None
    return id


def _store(row: sqlite3.Row) -> DataStore:
    space = None if row["model"] is None else Space(row["space"], row["model"], row["file"], row["n_dim"])
    return DataStore(
        *(row["number"], row["id"], row["owner"], row["name"], row["description"], row["level"], bool(row["is_on"])),
        *(row["chunk_tokens"], row["overlap_tokens"], space, row["created_at"], row["updated_at"]),
    )


def _taken(name: str) -> Conflict:
    return Conflict(f"There is already a data store {name!r}.", code="datastore_exists", param="name")
