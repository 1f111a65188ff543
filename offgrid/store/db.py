"""The database: one SQLite file, one connection that writes, one that reads, one that searches.

Several connections, so that neither a slow SD card's sync nor a search through many passages, which takes seconds,
stalls somebody whose key is only being looked up. Knows no table
but its own record of migrations. Must stay true: what `write` has committed survives a power cut (WAL with
synchronous=FULL); a failed write leaves nothing behind.
"""

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from offgrid.errors import SetupError, StorageFull
from offgrid.store.backup import write_copy
from offgrid.store.migrations import MIGRATIONS

log = logging.getLogger(__name__)

N_COPIES = 3  # of the database from before a migration
PATIENCE_S = 10  # for another process that writes: a backup, `offgrid users passwd`
_RECORD = "CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY, at REAL NOT NULL) STRICT"


class Database:
    """Every method may be called from any thread."""

    def __init__(self, path: Path, migrations: Sequence[tuple[str, str]] = MIGRATIONS):
        """Open or make the file and bring its shape up to date. Raises SetupError."""
        self.path = path
        self._write_lock, self._read_lock, self._search_lock = (threading.Lock() for _ in range(3))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # SQLite gives its other files the same rights
            self._writer = _connect(path)
            self._migrate(migrations)
            self._reader = _connect(path)
            self._searcher = _connect(path)
        except (sqlite3.Error, OSError) as error:
            raise SetupError(
                f"The database {path} cannot be used: {error}. If it is damaged, `offgrid.py restore` puts a backup "
                "in its place; --data-dir names another folder."
            ) from error

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of it is on the disk after the block, or nothing when it raises. Raises StorageFull."""
        with self._write_lock:
            try:
                self._writer.execute("BEGIN IMMEDIATE")
                yield self._writer
                self._writer.execute("COMMIT")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL:
                    raise StorageFull("The disk is full: nothing was saved. Make room on it and try again.") from error
                raise
            finally:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")

    def read(self, sql: str, parameters: Sequence | dict = ()) -> list[sqlite3.Row]:
        """All rows of one SELECT, as they were last committed."""
        with self._read_lock:
            return self._reader.execute(sql, parameters).fetchall()

    def search(self, sql: str, parameters: Sequence | dict = ()) -> list[sqlite3.Row]:
        """The same, for what may take long: only other searches wait for it."""
        with self._search_lock:
            return self._searcher.execute(sql, parameters).fetchall()

    def row(self, sql: str, parameters: Sequence | dict = ()) -> sqlite3.Row | None:
        """The first row of one SELECT."""
        with self._read_lock:
            return self._reader.execute(sql, parameters).fetchone()

    @property
    def n_bytes(self) -> int:
        """What the file and its log of recent changes take on the disk."""
        parts = (self.path, self.path.with_name(f"{self.path.name}-wal"))
        return sum(part.stat().st_size for part in parts if part.exists())

    def close(self) -> None:
        with self._write_lock, self._read_lock, self._search_lock:
            self._searcher.close()
            self._reader.close()
            self._writer.close()

    def _migrate(self, migrations: Sequence[tuple[str, str]]) -> None:
        self._writer.execute(_RECORD)
        taken = [row["name"] for row in self._writer.execute("SELECT name FROM migrations ORDER BY rowid")]
        known = [name for name, _ in migrations]
        if taken != known[: len(taken)]:
            raise SetupError(
                f"The database {self.path} was made by another version of OffGrid (it knows the change {taken[-1]!r}, "
                "this one does not). Start that version, or use another --data-dir."
            )
        if taken and len(taken) < len(known):
            self._copy(f"before-{known[len(taken)]}")
        for name, statements in migrations[len(taken) :]:
            with self.write() as sql:
                for statement in _statements(statements):
                    sql.execute(statement)
                sql.execute("INSERT INTO migrations VALUES (?, ?)", (name, time.time()))

    def _copy(self, name: str) -> None:
        """A copy beside the database, complete once it has its name; the oldest ones go."""
        target = self.path.with_name(f"{self.path.name}.{name}")
        write_copy(self._writer, target)
        copies = sorted(self.path.parent.glob(f"{self.path.name}.before-*"), key=lambda p: p.stat().st_mtime)
        for old in copies[:-N_COPIES]:
            old.unlink()
        log.info("the database was copied to %s before its shape changes", target)


def _connect(path: Path) -> sqlite3.Connection:
    # isolation_level=None: transactions begin and end where this module says so, not where the driver guesses.
    connection = sqlite3.connect(path, timeout=PATIENCE_S, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def _statements(script: str) -> Iterator[str]:
    """The statements of a script one by one: `executescript` would commit the transaction around them."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
