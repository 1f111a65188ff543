"""Chat sessions: conversations kept under a name, each with one owner.

Knows rows and limits, nothing of HTTP or models. Must stay true: every call is one transaction, so a message that was
acknowledged is there and a refused one has left nothing; an owner never sees another's session; `n_messages` and
`n_bytes` of a session are those of its messages.
"""

import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from offgrid.errors import Conflict, NotFound, TooLarge
from offgrid.store.db import Database

MAX_SESSIONS = 10_000  # of one owner
MAX_MESSAGES = 10_000  # in one session
MAX_BYTES = 4 << 20  # of all texts in one session, as UTF-8; several times the longest context
MAX_PAGE_BYTES = 4 << 20  # of texts in one page of the list: it is built in memory

_PAGE = """
SELECT s.id, s.name, s.model_id, s.created_at, s.updated_at, m.role, m.content, m.at
FROM (SELECT *, sum(n_bytes) OVER (ORDER BY changed DESC) - n_bytes AS n_bytes_before
      FROM (SELECT * FROM sessions WHERE owner = :owner AND (:name IS NULL OR name = :name)
            ORDER BY changed DESC LIMIT :limit OFFSET :offset)) AS s
LEFT JOIN session_messages AS m ON m.session = s.id
WHERE s.n_bytes_before < :max_bytes
ORDER BY s.changed DESC, m.id
"""
_NEXT_CHANGE = "(SELECT ifnull(max(changed), 0) + 1 FROM sessions WHERE owner = :owner)"


@dataclass(frozen=True, slots=True)
class Message:
    role: str
    content: str
    at: float = 0  # seconds since 1970; given when it is kept


@dataclass(slots=True)
class Session:
    name: str
    model_id: str  # "" for none
    created_at: float  # seconds since 1970
    updated_at: float
    messages: list[Message] = field(default_factory=list)


class Sessions:
    """Every method may be called from any thread. Raises NotFound also for what belongs to somebody else."""

    def __init__(self, db: Database):
        self._db = db

    def create(self, owner: str, name: str, model_id: str, messages: Sequence[Message]) -> Session:
        """Raises Conflict when the owner has one of that name or too many, TooLarge."""
        now = time.time()
        row = {"owner": owner, "name": name, "model_id": model_id, "now": now}
        with self._db.write() as sql:
            [n_sessions] = sql.execute("SELECT count(*) FROM sessions WHERE owner = ?", (owner,)).fetchone()
            if n_sessions >= MAX_SESSIONS:
                raise Conflict(
                    f"You have {n_sessions} sessions, and that is the most. Delete one first.", code="too_many"
                )
            try:
                sql.execute(
                    "INSERT INTO sessions (owner, name, model_id, created_at, updated_at, changed, n_messages, n_bytes)"
                    f" VALUES (:owner, :name, :model_id, :now, :now, {_NEXT_CHANGE}, 0, 0)",
                    row,
                )
            except sqlite3.IntegrityError:
                raise Conflict(f"There is already a session {name!r}.", code="session_exists", param="name") from None
            kept = _append(sql, owner, name, messages, now)
        return Session(name, model_id, now, now, kept)

    def append(self, owner: str, name: str, messages: Sequence[Message]) -> None:
        """Put messages at the end, all or none, with no other between them. Raises NotFound, TooLarge."""
        with self._db.write() as sql:
            _append(sql, owner, name, messages, time.time())

    def get(self, owner: str, name: str) -> Session:
        found = self._page(owner, limit=1, name=name)
        if not found:
            raise _not_found(name)
        return found[0]

    def list(self, owner: str, limit: int, offset: int) -> list[Session]:
        """The ones changed last first; fewer than `limit` where their texts exceed MAX_PAGE_BYTES, but never none."""
        return self._page(owner, limit=limit, offset=offset)

    def count(self, owner: str | None = None) -> int:
        """How many there are, of one owner or of all."""
        row = self._db.row("SELECT count(*) FROM sessions WHERE ?1 IS NULL OR owner = ?1", (owner,))
        return row[0]

    def delete(self, owner: str, name: str) -> None:
        with self._db.write() as sql:
            if not sql.execute("DELETE FROM sessions WHERE owner = ? AND name = ?", (owner, name)).rowcount:
                raise _not_found(name)

    def _page(self, owner: str, *, limit: int, offset: int = 0, name: str | None = None) -> "list[Session]":
        asked = {"owner": owner, "name": name, "limit": limit, "offset": offset, "max_bytes": MAX_PAGE_BYTES}
        found: dict[int, Session] = {}  # in the order of the rows
        for row in self._db.read(_PAGE, asked):
            session = found.get(row["id"])
            if session is None:
                session = Session(row["name"], row["model_id"], row["created_at"], row["updated_at"])
                found[row["id"]] = session
            if row["role"] is not None:
                session.messages.append(Message(row["role"], row["content"], row["at"]))
        return list(found.values())


def _append(sql: sqlite3.Connection, owner: str, name: str, messages: Sequence[Message], now: float) -> list[Message]:
    n_bytes = sum(len(message.content.encode()) for message in messages)
    row = sql.execute(
        "UPDATE sessions SET n_messages = n_messages + :n_messages, n_bytes = n_bytes + :n_bytes, updated_at = :now,"
        f" changed = {_NEXT_CHANGE} WHERE owner = :owner AND name = :name RETURNING id, n_messages, n_bytes",
        {"n_messages": len(messages), "n_bytes": n_bytes, "now": now, "owner": owner, "name": name},
    ).fetchone()
    if row is None:
        raise _not_found(name)
    for number, most, what in ((row["n_messages"], MAX_MESSAGES, "messages"), (row["n_bytes"], MAX_BYTES, "bytes")):
        if number > most:
            raise TooLarge(
                f"The session {name!r} would have {number} {what}; {most} is the most. Begin another session.",
                code="session_full",
            )
    kept = [Message(message.role, message.content, now) for message in messages]
    sql.executemany(
        "INSERT INTO session_messages (session, role, content, at) VALUES (?, ?, ?, ?)",
        [(row["id"], message.role, message.content, message.at) for message in kept],
    )
    return kept


def _not_found(name: str) -> NotFound:
    return NotFound(f"There is no session {name[:200]!r}.", code="session_not_found")
