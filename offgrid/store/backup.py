"""Copies of the database: a backup while a server runs, and putting one in the place of the database.

Must stay true: a file under its final name is a whole and checked database on the disk, whenever the power goes; what
a restore replaces is kept beside it.
"""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from offgrid.errors import SetupError
from offgrid.store.folder import FolderLock
from offgrid.store.migrations import MIGRATIONS

DATABASE_NAME = "offgrid.db"
REPLACED = ".replaced"  # after the database's name: what the last restore took away
WAL = "-wal"  # after a database's name: what SQLite has not yet moved into it


def back_up(data_dir: Path, target: Path) -> int:
    """Write a copy of the database as it is now to `target`, replacing an earlier backup; returns its bytes.

    A server may run meanwhile, and is not held up. Raises SetupError.
    """
    source = data_dir / DATABASE_NAME
    if not source.is_file():
        raise SetupError(f"There is no database in {data_dir}. --data-dir names another folder.")
    if target.exists():
        if target.is_dir() or target.samefile(source):
            raise SetupError(f"{target} cannot be the backup; name a file, for example offgrid-backup.db.")
        _check_is_ours(target)  # nothing else is overwritten
    with _failing_as(f"The database {source} cannot be backed up to {target}"), closing(_open(source, "rw")) as sql:
        write_copy(sql, target)
    return target.stat().st_size


def restore(data_dir: Path, backup: Path) -> Path | None:
    """Put a backup in the place of the database; returns where the replaced one is now, None when there was none.

    Raises SetupError: `backup` is damaged, no database of OffGrid's or of a newer version, or a server is running.
    """
    if not backup.is_file():
        raise SetupError(f"There is no file {backup}.")
    database = data_dir / DATABASE_NAME
    if database.exists() and database.samefile(backup):
        raise SetupError(f"{backup} is the database itself.")
    _check_is_ours(backup)
    lock = FolderLock(data_dir)
    part = database.with_name(DATABASE_NAME + ".restored")
    try:
        with _failing_as(f"{backup} cannot be put in the place of {database}"):
            with closing(_open(backup, "ro")) as sql:
                write_copy(sql, part)
            aside = _put_aside(database) if database.exists() else None
            # A write-ahead log that stayed would be read into the database that has its name now.
            for suffix in (WAL, "-shm"):
                database.with_name(DATABASE_NAME + suffix).unlink(missing_ok=True)
            _sync(data_dir)
            os.replace(part, database)
            _sync(data_dir)
    finally:
        part.unlink(missing_ok=True)
        lock.release()
    return aside


def write_copy(source: sqlite3.Connection, target: Path) -> None:
    """A copy of what `source` has committed, under its name once it is whole, checked and on the disk; 0600.

    One file that can be read anywhere, without a log beside it. Raises sqlite3.Error, OSError.
    """
    part = target.with_name(target.name + ".part")
    part.unlink(missing_ok=True)
    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    try:
        # Not `Connection.backup`, which copies page by page: what was deleted would be in the copy's unused pages.
        source.execute("VACUUM INTO ?", (str(part),))
        with closing(_open(part, "rw")) as copy:
            copy.execute("PRAGMA journal_mode = DELETE")
            _check_integrity(copy)
        _sync(part)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
    _sync(target.parent)


def _check_is_ours(path: Path) -> None:
    """Raises SetupError unless it is an undamaged database of OffGrid's that this version can use."""
    with _failing_as(f"{path} is not a backup of OffGrid's, or it is damaged"), closing(_open(path, "ro")) as sql:
        _check_integrity(sql)
        taken = [row[0] for row in sql.execute("SELECT name FROM migrations ORDER BY rowid")]
    known = [name for name, _ in MIGRATIONS]
    if taken != known[: len(taken)]:
        raise SetupError(f"{path} was made by another version of OffGrid (it knows the change {taken[-1]!r}).")


def _check_integrity(sql: sqlite3.Connection) -> None:
    faults = [row[0] for row in sql.execute("PRAGMA integrity_check(1)")]
    if faults != ["ok"]:
        raise sqlite3.DatabaseError(faults[0])


def _put_aside(database: Path) -> Path:
    """Copy the database, damaged or not, with its log as it is; returns the copy's path."""
    aside = database.with_name(DATABASE_NAME + REPLACED)
    for suffix in (WAL, ""):
        old, kept = database.with_name(database.name + suffix), aside.with_name(aside.name + suffix)
        kept.unlink(missing_ok=True)
        if old.exists():
            os.close(os.open(kept, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            shutil.copyfile(old, kept)
            _sync(kept)
    # So that the database is whole without its log: the power may go before the new one is in its place.
    try:
        with closing(_open(database, "rw")) as sql:
            sql.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error:
        pass  # it is damaged, and kept as it was
    return aside


def _open(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None)


def _sync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _failing_as(sentence: str) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise SetupError(f"{sentence}: {error}.") from error
