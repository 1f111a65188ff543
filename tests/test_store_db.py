"""The database: transactions that hold or leave nothing, a shape that is brought up to date once, copies before."""

import os
import sqlite3
import subprocess
import sys
import threading

import pytest

from offgrid.errors import SetupError, StorageFull
from offgrid.store.db import N_COPIES, Database

NOTES = ("notes", "CREATE TABLE notes (text TEXT NOT NULL) STRICT;\nCREATE INDEX by_text ON notes (text);\n")
COLUMN = ("a column", "ALTER TABLE notes ADD COLUMN n INTEGER NOT NULL DEFAULT 7;\n")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data" / "offgrid.db"


@pytest.fixture
def db(path):
    database = Database(path, [NOTES])
    yield database
    database.close()


def write(db: Database, text: str) -> None:
    with db.write() as sql:
        sql.execute("INSERT INTO notes VALUES (?)", (text,))


def texts(db: Database) -> list[str]:
    return [row["text"] for row in db.read("SELECT text FROM notes ORDER BY rowid")]


def test_what_was_written_is_there_after_opening_again(path, db):
    write(db, "one")
    db.close()
    again = Database(path, [NOTES])
    assert texts(again) == ["one"]
    again.close()


def test_a_failed_transaction_leaves_nothing_and_the_next_one_works(db):
    with pytest.raises(ZeroDivisionError), db.write() as sql:
        sql.execute("INSERT INTO notes VALUES ('lost')")
        print(1 / 0)
    with pytest.raises(sqlite3.IntegrityError), db.write() as sql:
        sql.execute("INSERT INTO notes VALUES (NULL)")
    write(db, "kept")
    assert texts(db) == ["kept"]


def test_readers_see_whole_transactions_and_do_not_wait_for_them(db):
    with db.write() as sql:
        sql.execute("INSERT INTO notes VALUES ('half')")
        assert texts(db) == []
    assert texts(db) == ["half"]


def test_a_full_disk_is_an_error_that_says_so_and_nothing_is_half_saved(db):
    with db.write() as sql:
        [n_pages] = sql.execute("PRAGMA page_count").fetchone()
    db._writer.execute(f"PRAGMA max_page_count = {n_pages}")  # what SQLite then says is what a full disk makes it say
    with pytest.raises(StorageFull), db.write() as sql:
        for _ in range(1000):
            sql.execute("INSERT INTO notes VALUES (?)", ("x" * 1000,))
    assert texts(db) == []
    db._writer.execute("PRAGMA max_page_count = 1000000")
    write(db, "later")
    assert texts(db) == ["later"]


def test_many_threads_write_and_read_at_once(db):
    def work(name: str) -> None:
        for i in range(20):
            write(db, f"{name} {i}")
            assert f"{name} {i}" in texts(db)

    threads = [threading.Thread(target=work, args=(str(n),)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(texts(db)) == 160


def test_a_killed_process_loses_nothing_that_was_committed(path, db):
    code = f"""
import os, signal
from pathlib import Path
from offgrid.store.db import Database
db = Database(Path({str(path)!r}), [{NOTES!r}])
for i in range(50):
    with db.write() as sql:
        sql.execute("INSERT INTO notes VALUES (?)", (str(i),))
    print(i, flush=True)
with db.write() as sql:
    sql.execute("INSERT INTO notes VALUES ('never committed')")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == [str(i) for i in range(50)], done.stderr
    assert texts(db) == [str(i) for i in range(50)]


def test_the_files_are_for_the_servers_own_user_only(path, db):
    write(db, "secret")
    for file in path.parent.iterdir():
        assert file.stat().st_mode & 0o077 == 0, file


def test_a_new_shape_is_given_to_an_old_database_after_a_copy_of_it(path, db):
    write(db, "old")
    db.close()
    newer = Database(path, [NOTES, COLUMN])
    assert [tuple(row) for row in newer.read("SELECT * FROM notes")] == [("old", 7)]
    newer.close()
    [copy] = path.parent.glob("*.before-a column")
    assert copy.stat().st_mode & 0o077 == 0
    before = Database(copy, [NOTES])
    assert [tuple(row) for row in before.read("SELECT * FROM notes")] == [("old",)]
    before.close()


def test_only_the_newest_copies_are_kept(path):
    steps = [NOTES, *((f"step {i}", f"CREATE TABLE t{i} (x);\n") for i in range(N_COPIES + 3))]
    for n in range(1, len(steps) + 1):
        Database(path, steps[:n]).close()
        for copy in path.parent.glob("*.before-*"):  # file systems with coarse times
            os.utime(copy, ns=(0, copy.stat().st_mtime_ns - 10**9))
    left = {copy.name.rpartition("-")[2] for copy in path.parent.glob("*.before-*")}
    assert left == {f"step {i}" for i in range(3, N_COPIES + 3)}


def test_a_step_that_fails_leaves_the_old_shape(path, db):
    write(db, "old")
    db.close()
    bad = ("bad", "CREATE TABLE more (x);\nINSERT INTO nowhere VALUES (1);\n")
    with pytest.raises(SetupError, match="nowhere"):
        Database(path, [NOTES, bad])
    again = Database(path, [NOTES])
    assert texts(again) == ["old"]
    assert again.read("SELECT name FROM sqlite_master WHERE name = 'more'") == []
    again.close()


def test_a_database_of_a_newer_version_is_left_alone(path, db):
    db.close()
    Database(path, [NOTES, COLUMN]).close()
    with pytest.raises(SetupError, match=r"another version of OffGrid.*'a column'"):
        Database(path, [NOTES])


def test_a_file_that_is_no_database_is_refused_with_what_to_do(path):
    path.parent.mkdir()
    path.write_bytes(b"no database " * 1000)
    with pytest.raises(SetupError, match=r"cannot be used.*backup"):
        Database(path, [NOTES])
    assert path.read_bytes() == b"no database " * 1000
