"""Tasks as they are kept: what long work was asked for, by whom, and what came of it.

Knows rows only; the work itself is `tasks.py`'s. Must stay true: a task ends once, in one of ENDS, but that an
interrupted one may be gone on with; an owner never sees
another's task.
"""

import json
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from offgrid.errors import Conflict, NotFound
from offgrid.store.db import Database

UNFINISHED = ("pending", "running")
ENDS = ("completed", "failed", "cancelled", "interrupted")
INTERRUPTED = "The server ended before this task did."
N_KEPT = 200  # finished tasks of one owner; the oldest ones go


@dataclass(slots=True)
class Task:
    """Times are in seconds since 1970."""

    id: str  # 32 hexadecimal digits
    owner: str
    name: str
    description: str
    created_at: float
    updated_at: float
    status: str = "pending"
    progress: float = 0  # percent
    logs: list[dict] = field(default_factory=list)  # {"at", "message", "level"}
    result: Any = None  # whatever JSON can hold
    error: str | None = None
    started_at: float | None = None
    completed_at: float | None = None

    @property
    def is_finished(self) -> bool:
        return self.status in ENDS


class TaskRows:
    """Every method may be called from any thread."""

    def __init__(self, db: Database):
        self._db = db

    def add(self, owner: str, name: str, description: str) -> Task:
        """A new pending task; of the owner's finished ones the newest N_KEPT stay."""
        now = time.time()
        task = Task(secrets.token_hex(16), owner, name, description, now, now)
        with self._db.write() as sql:
            sql.execute(
                "INSERT INTO tasks (id, owner, name, description, status, progress, logs, created_at, updated_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (task.id, owner, name, description, task.status, 0, "[]", now, now),
            )
            sql.execute(
                f"DELETE FROM tasks WHERE number IN (SELECT number FROM tasks WHERE owner = ? AND status IN {ENDS}"
                " ORDER BY number DESC LIMIT -1 OFFSET ?)",
                (owner, N_KEPT),
            )
        return task

    def save(self, task: Task) -> None:
        """Write what may have changed; nothing when it was deleted or has ended before."""
        with self._db.write() as sql:
            sql.execute(
                "UPDATE tasks SET status = ?, progress = ?, logs = ?, result = ?, error = ?, started_at = ?,"
                f" updated_at = ?, completed_at = ? WHERE id = ? AND status IN {UNFINISHED}",
                (
                    *(task.status, task.progress, json.dumps(task.logs)),
                    *(None if task.result is None else json.dumps(task.result), task.error),
                    *(task.started_at, task.updated_at, task.completed_at, task.id),
                ),
            )

    def interrupt_unfinished(self) -> None:
        """Mark every task that nobody works on any more: for the start, and the end, of the only server."""
        now = time.time()
        with self._db.write() as sql:
            sql.execute(
                "UPDATE tasks SET status = 'interrupted', error = ?, updated_at = ?, completed_at = ?"
                f" WHERE status IN {UNFINISHED}",
                (INTERRUPTED, now, now),
            )

    def reopen(self, id: str) -> Task | None:
        """Make an interrupted task a pending one; None when there is none with this id."""
        with self._db.write() as sql:
            row = sql.execute(
                "UPDATE tasks SET status = 'pending', error = NULL, started_at = NULL, completed_at = NULL,"
                " updated_at = ? WHERE id = ? AND status = 'interrupted' RETURNING *",
                (time.time(), id),
            ).fetchone()
        return _task(row) if row else None

    def get(self, owner: str, id: str) -> Task:
        """Raises NotFound, also for somebody else's."""
        row = self._db.row("SELECT * FROM tasks WHERE id = ? AND owner = ?", (id, owner))
        if row is None:
            raise _not_found(id)
        return _task(row)

    def list(self, owner: str, limit: int, offset: int, name: str | None = None) -> list[Task]:
        """Newest first; with `name` only tasks of that name."""
        rows = self._db.read(
            "SELECT * FROM tasks WHERE owner = ?1 AND (?2 IS NULL OR name = ?2)"
            " ORDER BY number DESC LIMIT ?3 OFFSET ?4",
            (owner, name, limit, offset),
        )
        return [_task(row) for row in rows]

    def count(self, owner: str, name: str | None = None) -> int:
        row = self._db.row("SELECT count(*) FROM tasks WHERE owner = ?1 AND (?2 IS NULL OR name = ?2)", (owner, name))
        return row[0]

    def delete(self, owner: str, id: str) -> None:
        """Raises NotFound, and Conflict for one that has not ended."""
        with self._db.write() as sql:
            row = sql.execute("SELECT status FROM tasks WHERE id = ? AND owner = ?", (id, owner)).fetchone()
            if row is None:
                raise _not_found(id)
            if row["status"] in UNFINISHED:
                raise Conflict(
                    f"The task is {row['status']}. Cancel it first: POST /v1/tasks/{id}/cancel.", code="task_unfinished"
                )
            sql.execute("DELETE FROM tasks WHERE id = ?", (id,))


def _task(row) -> Task:
    values = {key: row[key] for key in row.keys() if key != "number"}  # noqa: SIM118 - a Row iterates its values
    values["logs"] = json.loads(row["logs"])
    values["result"] = None if row["result"] is None else json.loads(row["result"])
    return Task(**values)


def _not_found(id: str) -> NotFound:
    return NotFound(f"There is no task {id[:200]!r}.", code="task_not_found")
