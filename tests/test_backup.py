"""Backup and restore: a copy of the database while a server runs, and a way back that cannot make things worse."""

import os
import shutil
import sqlite3
import subprocess
import sys
import threading

import pytest
from running import REPO, RunningServer

from offgrid.errors import SetupError
from offgrid.store.backup import back_up, restore
from offgrid.store.db import Database
from offgrid.store.folder import LOCK_NAME, FolderLock
from offgrid.store.sessions import Message, Sessions


@pytest.fixture
def data(tmp_path):
    """A data folder whose database has one session, `first`."""
    add(tmp_path / "data", "first")
    return tmp_path / "data"


def add(data, *names: str) -> None:
    db = Database(data / "offgrid.db")
    for name in names:
        Sessions(db).create("local", name, "", [Message("user", f"in {name}")])
    db.close()


def names(data, file: str = "offgrid.db") -> list[str]:
    """The sessions in a database, oldest first."""
    db = Database(data / file)
    found = [session.name for session in Sessions(db).list("local", 1000, 0)]
    db.close()
    return found[::-1]


def run(*words: str) -> subprocess.CompletedProcess:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OFFGRID_")}
    command = [sys.executable, str(REPO / "offgrid.py"), *words]
    return subprocess.run(command, env=clean, capture_output=True, text=True, timeout=60)


def test_a_backup_is_one_whole_file_for_its_owner_only(data, tmp_path):
    backup = tmp_path / "backup.db"
    assert back_up(data, backup) == backup.stat().st_size
    assert backup.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup.db", "data"]
    with sqlite3.connect(
        f"file:{backup}?mode=ro&immutable=1", uri=True
    ) as sql:  # as from a disc that cannot be written
        assert sql.execute("SELECT name FROM sessions").fetchall() == [("first",)]
    sql.close()


def test_what_was_deleted_is_not_in_a_backup(data, tmp_path):
    add(data, *(f"s{i}" for i in range(50)))
    db = Database(data / "offgrid.db")
    db._writer.execute("PRAGMA secure_delete = OFF")  # on in Debian's SQLite, but not everywhere
    Sessions(db).delete("local", "s7")
    db.close()
    back_up(data, tmp_path / "backup.db")
    content = (tmp_path / "backup.db").read_bytes()
    assert b"in s6" in content
    assert b"in s7" not in content


def test_a_restore_brings_back_what_was_and_keeps_what_it_replaced(data, tmp_path):
    backup = tmp_path / "backup.db"
    back_up(data, backup)
    add(data, "second")
    replaced = restore(data, backup)
    assert names(data) == ["first"]
    assert names(data, replaced.name) == ["first", "second"]
    assert replaced.stat().st_mode & 0o777 == 0o600
    assert names(tmp_path, "backup.db") == ["first"]


def test_a_restore_into_an_empty_folder_needs_nothing_there(data, tmp_path):
    back_up(data, tmp_path / "backup.db")
    assert restore(tmp_path / "new", tmp_path / "backup.db") is None
    assert names(tmp_path / "new") == ["first"]


def test_a_later_backup_takes_the_place_of_an_earlier_one_and_of_nothing_else(data, tmp_path):
    back_up(data, tmp_path / "backup.db")
    add(data, "second")
    back_up(data, tmp_path / "backup.db")
    assert names(tmp_path, "backup.db") == ["first", "second"]
    letter = tmp_path / "letter.txt"
    letter.write_text("Dear Ada")
    for target in (letter, tmp_path, data / "offgrid.db"):
        with pytest.raises(SetupError, match=str(target)):
            back_up(data, target)
    assert letter.read_text() == "Dear Ada"
    assert names(data) == ["first", "second"]


def damaged(backup) -> None:
    content = bytearray(backup.read_bytes())
    content[5000:9000] = b"\xff" * 4000
    backup.write_bytes(content)


def cut(backup) -> None:
    os.truncate(backup, backup.stat().st_size // 2)


def emptied(backup) -> None:
    backup.write_bytes(b"")


def no_database(backup) -> None:
    backup.write_bytes(b"PK\x03\x04" * 5000)


def of_another_program(backup) -> None:
    backup.unlink()
    with sqlite3.connect(backup) as sql:
        sql.execute("CREATE TABLE birds (name)")
    sql.close()


def of_a_newer_version(backup) -> None:
    with sqlite3.connect(backup) as sql:
        sql.execute("INSERT INTO migrations VALUES ('from the future', 0)")
    sql.close()


@pytest.mark.parametrize("spoil", [damaged, cut, emptied, no_database, of_another_program, of_a_newer_version])
def test_what_is_no_good_backup_is_refused_and_nothing_changes(data, tmp_path, spoil):
    backup = tmp_path / "backup.db"
    back_up(data, backup)
    spoil(backup)
    content = backup.read_bytes()
    before = {path.name: path.read_bytes() for path in data.iterdir()}
    with pytest.raises(SetupError, match=r"backup\.db"):
        restore(data, backup)
    assert {path.name: path.read_bytes() for path in data.iterdir()} == before
    with pytest.raises(SetupError, match=r"backup\.db"):
        back_up(data, backup)
    assert backup.read_bytes() == content


def test_a_damaged_database_is_replaced_and_kept_as_it_is_with_its_log(data, tmp_path):
    back_up(data, tmp_path / "backup.db")
    (data / "offgrid.db").write_bytes(b"damaged " * 1000)
    (data / "offgrid.db-wal").write_bytes(b"its log")
    replaced = restore(data, tmp_path / "backup.db")
    assert replaced.read_bytes() == b"damaged " * 1000
    assert (data / "offgrid.db.replaced-wal").read_bytes() == b"its log"
    assert names(data) == ["first"]


def test_a_restore_that_finds_no_room_leaves_everything_as_it_was(data, tmp_path, monkeypatch):
    back_up(data, tmp_path / "backup.db")
    add(data, "second")

    def no_room(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", no_room)
    with pytest.raises(SetupError, match="No space left"):
        restore(data, tmp_path / "backup.db")
    assert names(data) == ["first", "second"]
    assert not [path for path in data.iterdir() if path.suffix in (".part", ".restored")]
    FolderLock(data).release()


def test_a_backup_of_nothing_and_a_restore_from_nothing_are_sentences(data, tmp_path):
    with pytest.raises(SetupError, match="no database in"):
        back_up(tmp_path, tmp_path / "backup.db")
    with pytest.raises(SetupError, match=r"no file .*nothing\.db"):
        restore(data, tmp_path / "nothing.db")
    with pytest.raises(SetupError, match="the database itself"):
        restore(data, data / "offgrid.db")


def test_the_folder_belongs_to_one_at_a_time(tmp_path):
    lock = FolderLock(tmp_path / "data")
    with pytest.raises(SetupError, match=f"process {os.getpid()}"):
        FolderLock(tmp_path / "data")
    lock.release()
    FolderLock(tmp_path / "data").release()
    assert (tmp_path / "data" / LOCK_NAME).read_text() == ""


# --- with a server ---


@pytest.fixture
def server(tmp_path):
    running = RunningServer(tmp_path / "data", "--models-dir", str(tmp_path))
    yield running
    running.stop()


def create(server: RunningServer, name: str) -> None:
    assert server.request("/v1/sessions", {"name": name})[0] == 201


def test_a_backup_of_a_running_server_holds_all_it_has_acknowledged_and_stops_nobody(server, tmp_path):
    made, is_enough = [], threading.Event()

    def write() -> None:
        while not is_enough.is_set():
            create(server, f"s{len(made)}")
            made.append(f"s{len(made)}")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(3):
            n_before = len(made)
            done = run("backup", str(tmp_path / f"b{number}.db"), "--data-dir", str(server.data_dir))
            assert (done.returncode, done.stderr) == (0, "")
            kept = names(tmp_path, f"b{number}.db")
            assert len(kept) >= n_before
            assert kept == [f"s{i}" for i in range(len(kept))]
    finally:
        is_enough.set()
        writer.join()


def test_a_folder_with_a_server_takes_no_restore_and_no_second_server(server, tmp_path):
    create(server, "kept")
    backup = str(tmp_path / "backup.db")
    assert run("backup", backup, "--data-dir", str(server.data_dir)).returncode == 0
    for words in (("restore", backup), ("serve", "--port", "0")):
        done = run(*words, "--data-dir", str(server.data_dir))
        assert done.returncode == 2
        assert f"process {server.process.pid}" in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert server.request("/v1/sessions/kept")[0] == 200


def test_after_a_restore_the_server_answers_from_the_backup(tmp_path):
    flags = (tmp_path / "data", "--models-dir", str(tmp_path))
    backup = str(tmp_path / "backup.db")
    server = RunningServer(*flags)
    create(server, "before")
    assert run("backup", backup, "--data-dir", str(tmp_path / "data")).returncode == 0
    create(server, "after")
    server.stop()
    done = run("restore", backup, "--data-dir", str(tmp_path / "data"))
    assert done.returncode == 0, done.stderr
    assert "offgrid.db.replaced" in done.stdout
    again = RunningServer(*flags)
    assert [s["name"] for s in again.request("/v1/sessions")[2]["sessions"]] == ["before"]
    again.stop()


@pytest.mark.parametrize("command", ["backup", "restore"])
def test_without_a_file_the_sentence_says_how(command, tmp_path):
    done = run(command, "--data-dir", str(tmp_path))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"offgrid.py {command} FILE" in done.stderr
