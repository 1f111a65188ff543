"""Limits that the administrator has set: how much a role's members, a user or a key may ask for.

Knows the table and a copy of it in memory; nothing of counting (`api/throttle.py`) and nothing of who exists.
Must stay true: the copy is what the table says, and is replaced as a whole, so that it is read without a lock.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, fields

from offgrid.store.db import Database

SCOPES = ("role", "user", "key")


@dataclass(frozen=True, slots=True)
class Limits:
    """None is no limit; every other value is at least 1."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None  # of prompts and answers
    tokens_per_day: int | None = None  # of prompts and answers; days are UTC
    concurrent: int | None = None  # requests that compute at the same time


NAMES = tuple(field.name for field in fields(Limits))


class LimitStore:
    """`by_subject` is (scope, id) → Limits, never changed in place. Every method may be called from any thread."""

    def __init__(self, db: Database):
        self._db = db
        self._lock = threading.Lock()  # one change at a time
        rows = db.read(f"SELECT scope, id, {', '.join(NAMES)} FROM limits")
        self.by_subject: Mapping[tuple[str, str], Limits] = {(row[0], row[1]): Limits(*row[2:]) for row in rows}

    def put(self, scope: str, id: str, limits: Limits) -> None:
        """Set all limits of one subject in the place of what was set before. Raises StorageFull."""
        values = [getattr(limits, name) for name in NAMES]
        with self._lock:
            with self._db.write() as sql:
                sql.execute("INSERT OR REPLACE INTO limits VALUES (?, ?, ?, ?, ?, ?)", (scope, id, *values))
            self.by_subject = {**self.by_subject, (scope, id): limits}

    def delete(self, scope: str, id: str) -> bool:
        """Whether there was anything to delete. Raises StorageFull."""
        with self._lock:
            with self._db.write() as sql:
                n_rows = sql.execute("DELETE FROM limits WHERE scope = ? AND id = ?", (scope, id)).rowcount
            self.by_subject = {at: limits for at, limits in self.by_subject.items() if at != (scope, id)}
            return n_rows > 0
