"""The audit log: rows that are only added, each tied to the one before it, and a head that is signed outside of them.

Owns two tables; the key and the file of the head are `audit_seal.py`'s. The same head stands in the database, signed
too and committed together with its rows. What must stay true:
- Rows are committed first, and audit.head is replaced right after. Power that goes between the two leaves the file some
  rows behind a head that the key has signed: unfinished, not tampering.
- Whoever appends goes on from the newest head that the key has signed, never from whatever row happens to be the last.
  So what was cut off or put at the end meanwhile stays visible as a gap, and is said in a row of its own.
- Several processes may append (the server, a command line): the seal is held from the reading of the head to its
  writing.
What this proves and what it does not: docs/audit.md. How it is checked: `audit_check.py`.
"""

import logging
import os
import pwd
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from offgrid.errors import SetupError, StorageFull
from offgrid.store.audit_chain import BROKEN, START, ChainCheck, Entry, Mark, Row, next_hash, to_json
from offgrid.store.audit_seal import Seal
from offgrid.store.db import Database

log = logging.getLogger(__name__)

N_PAGE = 1000  # rows read or removed at once, so that nobody else waits long for the database
# An older time is that of a machine whose clock was not set: it says nothing of a row's age.
CLOCK_WAS_SET_MS = 1_700_000_000_000
_COLUMNS = ", ".join(("seq", *Entry._fields, "hash"))
_INSERT = f"INSERT INTO audit ({_COLUMNS}) VALUES ({', '.join('?' * (len(Entry._fields) + 2))})"


def system_entry(action: str, detail: Mapping[str, object], **fields: str) -> Entry:
    """An event that is no request; `detail` is what JSON can hold."""
    return Entry(action, int(time.time() * 1000), detail=to_json(detail), **fields)


class AuditLog:
    """Every method may be called from any thread, and by several processes at once."""

    def __init__(self, db: Database, folder: Path):
        self._db = db
        self.seal = Seal(folder)
        self.checking = threading.Lock()  # of those who check the whole log while others are served

    def append(self, entries: Sequence[Entry]) -> None:
        """Add rows; they are on the disk afterwards. Raises StorageFull, sqlite3.Error, OSError: nothing was added."""
        with self.seal.hold() as key:
            in_file = self.seal.head()
            with self._db.write() as sql:
                seq, hash, complaint = _end_of_chain(sql, key, in_file)
                if complaint:
                    log.error("the audit log is not as it was left: %s. `offgrid.py audit verify` says more", complaint)
                    entries = [system_entry(BROKEN, {"found": complaint}), *entries]
                rows = []
                for entry in entries:
                    seq += 1
                    hash = next_hash(hash, seq, entry)
                    rows.append((seq, *entry, hash))
                sql.executemany(_INSERT, rows)
                head = Mark.sign(key, "head", seq, hash)
                _put_mark(sql, head)
            try:
                self.seal.write_head(head)
            except OSError as error:  # the rows are there, and the next ones bring a newer head
                log.error("audit.head could not be written: %s", error)

    def record_cli(self, command: str, target: str = "", detail: Mapping[str, object] | None = None) -> None:
        """Note what somebody changed by the command line; works beside a running server. Raises SetupError.

        `command` is what they typed without values ("users passwd"), `target` what it was done to. Never a secret.
        """
        try:
            self.append([system_entry(f"cli {command}", detail or {}, name=_os_user(), role="cli", target=target)])
        except (StorageFull, sqlite3.Error, OSError) as error:
            raise SetupError(f"This is done, but it could not be written into the audit log: {error}.") from error

    def prune(self, before_ms: int) -> int:
        """Remove the rows from before a time, oldest first; returns how many. Raises as `append`.

        Rows that were written before the machine's clock was set go together with those that follow them. What is
        wrong with rows that go is said in a new one before, so that it does not go with them. Not by two at once.
        """
        first_kept = self._db.row("SELECT seq FROM audit WHERE at_ms >= ? ORDER BY seq LIMIT 1", (before_ms,))
        bound = first_kept["seq"] if first_kept else 2**63 - 1
        sql = "SELECT max(seq) AS seq FROM audit WHERE seq < ? AND at_ms >= ?"
        last = self._db.row(sql, (bound, CLOCK_WAS_SET_MS))["seq"]
        if last is None:
            return 0
        n = 0
        while (check := self._check_oldest(last)).n_rows:
            if check.findings:
                self.append([system_entry(BROKEN, {"found": text}) for text in check.findings[:3]])
            with self.seal.hold() as key, self._db.write() as sql:
                sql.execute("DELETE FROM audit WHERE seq <= ?", (check.seq,))
                _put_mark(sql, Mark.sign(key, "anchor", check.seq, check.hash))
            n += check.n_rows
        self.append([system_entry("audit prune", {"rows": n, "until": last})])
        return n

    def page(self, after: int, last: int) -> list[Row]:
        """The next rows after row `after`, up to row `last`, at most `N_PAGE`. Raises sqlite3.Error."""
        sql = f"SELECT {_COLUMNS} FROM audit WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT {N_PAGE}"
        return [_row(values) for values in self._db.read(sql, (after, last))]

    def rows(self, after: int, last: int) -> Iterator[Row]:
        """All rows after row `after`, up to row `last`, read a page at a time. Raises sqlite3.Error."""
        while page := self.page(after, last):
            yield from page
            after = page[-1].seq

    def newest(
        self, limit: int, *, before: int | None = None, user: str = "", action: str = "", since_ms: int = 0
    ) -> list[Row]:
        """Up to `limit` rows from below row `before`, newest first; `user` is an id or name, `action` a part of it."""
        found: list[Row] = []
        end = self.last_seq() + 1
        if before is not None:
            end = min(end, before)
        first = self._db.row("SELECT min(seq) AS seq FROM audit")["seq"] or 0
        where = "at_ms >= ? AND (? IN ('', user_id, name)) AND instr(action, ?)"
        while len(found) < limit and end > first:
            # By ranges of numbers: a filter that fits few rows must not hold the database until it has found them.
            sql = f"SELECT {_COLUMNS} FROM audit WHERE seq >= ? AND seq < ? AND {where} ORDER BY seq DESC LIMIT ?"
            values = (end - N_PAGE, end, since_ms, user, action, limit - len(found))
            found += [_row(row) for row in self._db.read(sql, values)]
            end -= N_PAGE
        return found

    def last_seq(self) -> int:
        return self._db.row("SELECT max(seq) AS seq FROM audit")["seq"] or 0

    def ends(self) -> tuple[Mark | None, Mark | None]:
        """(anchor, head) as the database has them: the rows after the one up to the other are the log."""
        marks = {row["kind"]: Mark(*row) for row in self._db.read(_MARKS)}
        return marks.get("anchor"), marks.get("head")

    def _check_oldest(self, last: int) -> ChainCheck:
        """The check of the oldest page of rows, up to row `last`."""
        anchor, _ = self.ends()
        check = ChainCheck(anchor.seq, anchor.hash) if anchor else ChainCheck()
        with self.seal.look() as key:
            if anchor and not (key and anchor.is_signed_by(key)):
                check.find("the anchor was not signed by audit.key")
        for row in self.page(check.seq, last):
            check.take(row)
        return check


_MARKS = "SELECT kind, seq, hash, signature FROM audit_marks"


def _end_of_chain(sql: sqlite3.Connection, key: bytes, in_file: Mark | None) -> tuple[int, bytes, str]:
    """(number, hash) of the row that the next one follows, and what is wrong with the end of the log, if anything."""
    row = sql.execute("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1").fetchone()
    marks = {row["kind"]: Mark(*row) for row in sql.execute(_MARKS)}
    anchor, in_db = marks.get("anchor"), marks.get("head")
    last_seq, last_hash = (row["seq"], row["hash"]) if row else (anchor.seq, anchor.hash) if anchor else (0, START)
    signed = [mark for mark in (in_file, in_db) if mark and mark.is_signed_by(key)]
    newest = max(signed, key=lambda mark: mark.seq, default=None)
    if newest is None:
        complaint = "neither audit.head nor the head in the database is signed by audit.key"
        return last_seq, last_hash, complaint
    if in_file is None or not in_file.is_signed_by(key):
        complaint = "audit.head is missing, or not signed by audit.key"
    elif (in_db is None and newest.seq) or (in_db and not in_db.is_signed_by(key)):
        complaint = "the head in the database is missing, or not signed by audit.key"
    elif last_seq != newest.seq:
        complaint = f"the last row is {last_seq}, and the signed head says {newest.seq}"
    elif last_hash != newest.hash:
        complaint = f"the last row, {last_seq}, is not the one that was signed"
    else:
        return newest.seq, newest.hash, ""
    return max(newest.seq, last_seq), newest.hash, complaint


def _os_user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # in a container
        return f"uid {os.geteuid()}"


def _put_mark(sql: sqlite3.Connection, mark: Mark) -> None:
    sql.execute(
        "INSERT OR REPLACE INTO audit_marks (kind, seq, hash, signature) VALUES (?, ?, ?, ?)",
        (mark.kind, mark.seq, mark.hash, mark.signature),
    )


def _row(values: sqlite3.Row) -> Row:
    seq, *fields, hash = values
    return Row(seq, Entry(*fields), hash)
