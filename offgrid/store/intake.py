"""Files that were accepted for a data store and are not yet documents: what is left to do after a power cut.

Each has the task that works on it. Must stay true: a row goes in the transaction that makes its document found
(`documents.finish`), or when it is given up; an uploaded file belongs to its row.
"""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from offgrid.store.datastores import DataStore
from offgrid.store.db import Database


@dataclass(frozen=True, slots=True)
class Accepted:
    """One file to be taken in. `path` is ours to delete where `is_upload`."""

    name: str
    path: Path
    is_upload: bool
    content_type: str = ""
    metadata: dict[str, str] | None = None
    does_replace: bool = False
    number: int = 0
    store: int = 0
    document: int | None = None  # as far as it has come


class Intake:
    """Every method may be called from any thread."""

    def __init__(self, db: Database, uploads: Path):
        """`uploads`: the folder of uploaded files; kept are their names there, as the folder may be moved."""
        self._db = db
        self._uploads = uploads

    def add(self, store: DataStore, task: str, files: Sequence[Accepted]) -> None:
        with self._db.write() as sql:
            sql.executemany(
                "INSERT INTO intake (store, task, name, path, is_upload, content_type, metadata, does_replace)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [(store.number, task, *_columns(file)) for file in files],
            )

    def of(self, task: str) -> list[Accepted]:
        """What is left of it, in order."""
        rows = self._db.read("SELECT * FROM intake WHERE task = ? ORDER BY number", (task,))
        return [self._accepted(row) for row in rows]

    def tasks(self) -> list[str]:
        """Those that have something left, the oldest first."""
        return [row["task"] for row in self._db.read("SELECT task FROM intake GROUP BY task ORDER BY min(number)")]

    def uploads(self) -> set[str]:
        """The names of all uploaded files that still belong to somebody."""
        return {row["path"] for row in self._db.read("SELECT path FROM intake WHERE is_upload")}

    def note_document(self, number: int, document: int | None) -> None:
        with self._db.write() as sql:
            sql.execute(  # nothing when the document has been cleared away with its store
                "UPDATE intake SET document = (SELECT number FROM documents WHERE number = ?) WHERE number = ?",
                (document, number),
            )

    def give_up(self, number: int) -> None:
        with self._db.write() as sql:
            sql.execute("DELETE FROM intake WHERE number = ?", (number,))

    def _accepted(self, row: sqlite3.Row) -> Accepted:
        path = self._uploads / row["path"] if row["is_upload"] else Path(row["path"])
        about = (row["content_type"], json.loads(row["metadata"]), bool(row["does_replace"]))
        return Accepted(row["name"], path, bool(row["is_upload"]), *about, row["number"], row["store"], row["document"])


def _columns(file: Accepted) -> tuple:
    about = (file.content_type, json.dumps(file.metadata or {}), file.does_replace)
    return (file.name, file.path.name if file.is_upload else str(file.path), file.is_upload, *about)
