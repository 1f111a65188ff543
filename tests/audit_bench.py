"""An audit log in a folder, and events to put into it."""

from pathlib import Path

from offgrid.store.audit import AuditLog
from offgrid.store.audit_chain import Entry
from offgrid.store.audit_check import check_log
from offgrid.store.db import Database

NOW_MS = 1_900_000_000_000


def opened(folder: Path) -> tuple[Database, AuditLog]:
    db = Database(folder / "offgrid.db")
    return db, AuditLog(db, folder)


def entry(n: int, at_ms: int = NOW_MS, **fields) -> Entry:
    """Event `n`, with something in every field."""
    given = {
        "request_id": f"r{n}",
        "user_id": "u1",
        "name": "Zoë ✓",
        "role": "user",
        "key_id": 7,
        "address": "10.0.0.1",
        "target": f"u{n}",
        "status": 403,
        "code": "refused",
        "took_ms": 12,
        "detail": '{"model":"tiny"}',
    }
    return Entry("POST /v1/users/{id}/role", at_ms + n, **{**given, **fields})


def findings(log: AuditLog, **kw) -> list[str]:
    return check_log(log, **kw).findings
