"""`offgrid.py audit show|verify|export`: reads the audit log, beside a running server or without one."""

import csv
import os
import re
import sqlite3
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from offgrid.errors import SetupError
from offgrid.store.audit import AuditLog
from offgrid.store.audit_chain import Entry, Mark, Row, check_lines, to_line, utc_text
from offgrid.store.audit_check import check_log
from offgrid.store.db import Database

ACTIONS = ("show", "verify", "export")
_UNITS = {"d": 86400, "h": 3600, "m": 60}


def add_arguments(parser) -> None:
    parser.add_argument("action", nargs="?", choices=ACTIONS, default="show")
    parser.add_argument("--last", type=int, default=50, metavar="N", help="show: so many rows")
    parser.add_argument("--user", default="", metavar="NAME", help="show: only this user's, by name or id")
    parser.add_argument("--since", default="", metavar="WHEN", help="show: 2026-01-31, 2026-01-31T08:00 (UTC), 7d, 12h")
    parser.add_argument("--only", default="", metavar="TEXT", help="show: only actions with this in them")
    parser.add_argument("--format", choices=("jsonl", "csv"), default="jsonl", help="export: jsonl can be verified")
    parser.add_argument("--out", default="", metavar="FILE", help="export: to a file")
    parser.add_argument("--file", default="", metavar="FILE", help="verify: an export, instead of the log itself")
    parser.add_argument("--head", default="", metavar="FILE", help="verify: also against an audit.head kept elsewhere")


def run(options, data_dir: Path) -> int:
    """Returns the exit status: 1 for a log that is not as it was written. Raises SetupError."""
    if options.action == "verify":
        return _verify(options, data_dir)
    with _opened(data_dir) as log:
        if options.action == "show":
            return _show(options, log)
        return _export(options, log)


def _show(options, log: AuditLog) -> int:
    since_ms = _since_ms(options.since)
    rows = log.newest(max(options.last, 0), user=options.user, action=options.only, since_ms=since_ms)
    for row in reversed(rows):
        print(_readable(row))
    if not rows:
        print("No such rows.", file=sys.stderr)
    return 0


def _readable(row: Row) -> str:
    entry = row.entry
    who = entry.name or "nobody"
    parts = [f"{row.seq}", utc_text(entry.at_ms), who + (f" ({entry.role})" if entry.role else ""), entry.address]
    parts += [entry.action, entry.target, f"{entry.status or ''} {entry.code}".strip(), entry.detail.strip("{}")]
    # What came from outside must not move the terminal's cursor.
    return "  ".join(re.sub(r"[^\x20-\x7e\xa0-\U0010ffff]", "?", part) for part in parts if part)


def _verify(options, data_dir: Path) -> int:
    saved = _saved_head(options.head) if options.head else None
    if options.file:
        key_path = data_dir / "audit.key"
        key = key_path.read_bytes() if key_path.exists() else None
        with _readable_file(options.file) as lines:
            check = check_lines(lines, key, saved)
        findings, about = check.findings, f"{check.n_rows} rows, {check.first_seq} to {check.seq}"
        about += "" if key else f"; without {key_path} the signatures were not checked"
    else:
        with _opened(data_dir) as log:
            report = check_log(log, saved)
        findings, about = report.findings, f"{report.n_rows} rows, {report.first_seq} to {report.last_seq}"
        about += f", key {report.key}" if report.key else ""
        about += f", head {report.head.seq} {report.head.hash.hex()}" if report.head else ""
        about += f"; {report.n_unfinished} of them newer than audit.head (a power cut)" if report.n_unfinished else ""
    for finding in findings:
        print(f"NOT RIGHT: {finding}")
    print(f"{'The log is NOT as it was written' if findings else 'The log is as it was written'}: {about}.")
    return 1 if findings else 0


def _export(options, log: AuditLog) -> int:
    write: Callable[[TextIO, AuditLog], None] = _write_csv if options.format == "csv" else _write_jsonl
    if not options.out:
        write(sys.stdout, log)
        return 0
    try:
        with open(options.out, "x", encoding="utf-8", newline="", opener=_for_ourselves) as file:
            write(file, log)
    except OSError as error:
        raise SetupError(f"{options.out} cannot be written: {error.strerror}.") from None
    return 0


def _for_ourselves(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _write_jsonl(out: TextIO, log: AuditLog) -> None:
    """The anchor if rows were removed, the rows, and the head that was signed for the last of them."""
    anchor, head = log.ends()
    if anchor:
        print(anchor.to_json(), file=out)
    for row in log.rows(anchor.seq if anchor else 0, head.seq if head else 0):
        print(to_line(row), file=out)
    if head:
        print(head.to_json(), file=out)


def _write_csv(out: TextIO, log: AuditLog) -> None:
    anchor, head = log.ends()
    writer = csv.writer(out)
    writer.writerow(["seq", "at", *Entry._fields, "hash"])
    for row in log.rows(anchor.seq if anchor else 0, head.seq if head else 0):
        writer.writerow([row.seq, utc_text(row.entry.at_ms), *map(_cell, row.entry), row.hash.hex()])


def _cell(value: str | int | None) -> str | int | None:
    """A spreadsheet computes what begins like a formula; an apostrophe keeps it text."""
    return "'" + value if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


@contextmanager
def _opened(data_dir: Path) -> Iterable[AuditLog]:
    path = data_dir / "offgrid.db"
    if not path.exists():
        raise SetupError(f"There is no {path}, so there is no audit log. --data-dir names another folder.")
    db = Database(path)
    try:
        yield AuditLog(db, data_dir)
    except (sqlite3.Error, OSError) as error:
        raise SetupError(f"The audit log in {data_dir} cannot be read: {error}.") from error
    finally:
        db.close()


@contextmanager
def _readable_file(path: str) -> Iterable[TextIO]:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            yield file
    except OSError as error:
        raise SetupError(f"{path} cannot be read: {error.strerror}.") from None


def _saved_head(path: str) -> Mark:
    try:
        return Mark.from_json(Path(path).read_bytes(), "head")
    except OSError as error:
        raise SetupError(f"{path} cannot be read: {error.strerror}.") from None
    except ValueError:
        raise SetupError(f"{path} is no copy of an audit.head.") from None


def _since_ms(text: str) -> int:
    """A time as people write it, as Unix milliseconds."""
    if not text:
        return 0
    if match := re.fullmatch(r"([0-9]{1,6})([dhm])", text):
        return int((time.time() - int(match[1]) * _UNITS[match[2]]) * 1000)
    try:
        at = datetime.fromisoformat(text)
        return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise SetupError(f"--since is {text!r}; it must be a date, 2026-01-31T08:00 (UTC), or 7d, 12h, 30m.") from None
