"""Checks the audit log against its own arithmetic, the head in the database, audit.head, and a head kept elsewhere.

Changes nothing, and may run beside a server that writes.
"""

import sqlite3
from dataclasses import dataclass

from offgrid.store.audit import AuditLog
from offgrid.store.audit_chain import ChainCheck, Mark, fingerprint, span


@dataclass(frozen=True, slots=True)
class Report:
    """What a check came to. `n_unfinished` rows at the end are newer than audit.head, as a power cut leaves them."""

    findings: list[str]
    n_rows: int
    first_seq: int
    last_seq: int
    n_unfinished: int
    key: str  # fingerprint of audit.key, "" without one
    head: Mark | None


def check_log(log: AuditLog, saved: Mark | None = None) -> Report:
    """Check every row and every signature; `saved` is an audit.head that was kept elsewhere. Raises OSError."""
    while True:
        with log.seal.look() as key:
            in_file = log.seal.head()
            anchor, head = log.ends()
            last = log.last_seq()
        check = ChainCheck(anchor.seq, anchor.hash) if anchor else ChainCheck()
        _check_signatures(check, key, anchor, head, in_file, last)
        for name, mark in (("the head in the database", head), ("audit.head", in_file), ("the saved head", saved)):
            if mark:
                check.pin(name, mark)
        _check_rows(check, log, last)
        if head and head.seq < last:
            check.find(span(head.seq + 1, last, "was", "were") + " added by somebody without the key")
        check.end()
        if not check.findings or log.ends()[0] == anchor:  # else the oldest rows were removed meanwhile: once more
            n_unfinished = max(head.seq - in_file.seq, 0) if head and in_file else 0
            name = fingerprint(key) if key else ""
            return Report(check.findings, check.n_rows, check.first_seq, check.seq, n_unfinished, name, head)


def _check_signatures(
    check: ChainCheck, key: bytes | None, anchor: Mark | None, head: Mark | None, in_file: Mark | None, last: int
) -> None:
    if key is None and not (anchor or head or last or (in_file and in_file.seq)):
        return  # nothing has ever been recorded
    if key is None:
        check.find("audit.key is missing or empty, so no signature can be checked")
        return
    if in_file is None:
        check.find("audit.head is missing or damaged")
    elif not in_file.is_signed_by(key):
        check.find("audit.head is not signed by audit.key: one of them was replaced")
    if head and not head.is_signed_by(key):
        check.find("the head in the database is not signed by audit.key: one of them was replaced")
    if head is None and last:
        check.find("the head in the database is missing")
    if anchor and not anchor.is_signed_by(key):
        check.find("the anchor, where the removed rows ended, is not signed by audit.key")


def _check_rows(check: ChainCheck, log: AuditLog, last: int) -> None:
    while check.seq < last and not check.is_full:
        try:
            rows = log.page(check.seq, last)
        except sqlite3.Error:  # text that is no UTF-8, a page of the file that is none
            rows = _next_alone(check, log)
        for row in rows:
            check.take(row)
            check.hear(row)


def _next_alone(check: ChainCheck, log: AuditLog) -> list:
    """The next row, read without its neighbours; when that cannot be, it is passed over."""
    try:
        rows = log.page(check.seq, check.seq + 1)
    except sqlite3.Error as error:
        check.skip(f"cannot be read ({error})")
        return []
    if not rows:
        check.skip("is missing")
    return rows
