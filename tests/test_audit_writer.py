"""The thread that writes the audit log: what is on the disk when, floods, a full disk, kills, and many threads."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from audit_bench import NOW_MS, entry, findings, opened
from running import wait_until

from offgrid.store import audit_writer
from offgrid.store.audit_check import check_log
from offgrid.store.audit_repeats import N_SINGLY
from offgrid.store.audit_writer import AuditWriter

NEVER_S = 3600


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "data"


@pytest.fixture
def opened_log(folder):
    db, log = opened(folder)
    yield db, log
    db.close()


@pytest.fixture
def log(opened_log):
    return opened_log[1]


@pytest.fixture
def start(log, monkeypatch):
    """Starts a writer that waits for ever with what is not urgent, so that tests see what does not wait."""
    started = []

    def start(days: int = 36500) -> AuditWriter:
        writer = AuditWriter(log, days)
        started.append(writer)
        writer.start()
        return writer

    monkeypatch.setattr(audit_writer, "LATENESS_S", NEVER_S)
    yield start
    for writer in started:
        writer.stop()


def recorded(log) -> list[str]:
    return [row.entry.request_id for row in reversed(log.newest(10_000))]


def test_what_is_urgent_is_on_the_disk_on_return_and_takes_along_what_waits(log, start):
    writer = start()
    writer.record(entry(1))
    assert recorded(log) == []
    writer.record(entry(2), at_once=True)
    assert recorded(log) == ["r1", "r2"]
    assert findings(log) == []


def test_what_is_not_urgent_follows_by_itself(log, start, monkeypatch):
    monkeypatch.setattr(audit_writer, "LATENESS_S", 0.01)
    start().record(entry(1))
    wait_until(lambda: recorded(log) == ["r1"])


def test_stopping_writes_what_waits(log, start):
    writer = start()
    for n in range(3):
        writer.record(entry(n))
    writer.stop()
    assert recorded(log) == ["r0", "r1", "r2"]


def test_many_rows_do_not_wait_for_the_second_to_be_over(log, start):
    writer = start()
    for n in range(audit_writer.MAX_WAITING):  # from half of them on somebody writes
        writer.record(entry(n))
    wait_until(lambda: len(recorded(log)) >= audit_writer.MAX_WAITING // 2)


def test_64_threads_keep_one_chain_and_lose_nothing(log, start):
    writer = start()

    def work(thread: int) -> None:
        for n in range(50):
            writer.record(entry(thread * 1000 + n), at_once=n % 10 == 9)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.stop()
    report = check_log(log)
    assert (report.findings, report.n_rows) == ([], 3200)
    ids = recorded(log)
    assert len(set(ids)) == 3200
    for thread in range(64):
        mine = [int(id[1:]) for id in ids if int(id[1:]) // 1000 == thread]
        assert mine == sorted(mine)


def test_a_second_process_writes_into_the_same_chain(log, folder, start):
    writer = start()
    code = (
        "import sys; from pathlib import Path; from audit_bench import opened; db, log = opened(Path(sys.argv[1]))\n"
        "for n in range(20): log.record_cli('users passwd', 'zoe', {'n': n})"
    )
    other = subprocess.Popen([sys.executable, "-c", code, str(folder)], cwd=os.path.dirname(__file__), env=_paths())
    while other.poll() is None:
        writer.record(entry(1), at_once=True)
    assert other.returncode == 0
    assert findings(log) == []
    cli = [row.entry for row in log.newest(10_000) if row.entry.role == "cli"]
    assert len(cli) == 20
    assert (cli[0].action, cli[0].target, json.loads(cli[0].detail)) == ("cli users passwd", "zoe", {"n": 19})
    assert cli[0].name


def _paths() -> dict[str, str]:
    here = os.path.dirname(os.path.abspath(__file__))
    return {**os.environ, "PYTHONPATH": os.pathsep.join([here, os.path.dirname(here)])}


def test_killed_twenty_times_it_never_reads_as_tampering_and_loses_nothing_that_was_acknowledged(folder):
    code = """
import sys, threading
from pathlib import Path
from audit_bench import entry, opened
from offgrid.store.audit_writer import AuditWriter
db, log = opened(Path(sys.argv[1]))
writer = AuditWriter(log, 36500)
writer.start()
def work(thread):
    for n in range(10_000):
        name = int(sys.argv[2]) * 1_000_000 + thread * 100_000 + n
        writer.record(entry(name), at_once=n % 2 == 1)
        if n % 2 == 1:
            sys.stdout.write(f"r{name}\\n")
            sys.stdout.flush()
for thread in range(4):
    threading.Thread(target=work, args=(thread,)).start()
"""
    acknowledged = []
    for round in range(20):
        command = [sys.executable, "-c", code, str(folder), str(round)]
        killed = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=_paths())
        lines = [killed.stdout.readline() for _ in range(5 + round)]
        killed.send_signal(signal.SIGKILL)
        acknowledged += [line.strip() for line in [*lines, *killed.stdout] if line.endswith("\n")]
        killed.wait()
        killed.stdout.close()
        db, log = opened(folder)
        report = check_log(log)
        assert report.findings == []
        db.close()
    assert len(acknowledged) >= 20 * 5
    db, log = opened(folder)
    assert set(acknowledged) <= set(recorded(log))
    db.close()


@pytest.mark.parametrize("moment", ["before the commit", "after the commit", "in the new head", "before its name"])
def test_a_kill_at_each_step_of_a_batch_leaves_a_log_that_is_right(folder, moment):
    code = f"""
import os, signal, sys
from pathlib import Path
from audit_bench import entry, opened
from offgrid.store import audit, audit_seal
db, log = opened(Path(sys.argv[1]))
log.append([entry(1)])
die = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
moment = {moment!r}
if moment == "before the commit": audit._put_mark = die
if moment == "after the commit": log.seal.write_head = die
if moment == "in the new head": audit_seal.os.fsync = die
if moment == "before its name": audit_seal.os.replace = die
log.append([entry(2)])
"""
    done = subprocess.run([sys.executable, "-c", code, str(folder)], env=_paths(), check=False)
    assert done.returncode == -signal.SIGKILL
    db, log = opened(folder)
    report = check_log(log)
    assert report.findings == []
    assert report.n_rows == (1 if moment == "before the commit" else 2)
    assert report.n_unfinished == report.n_rows - 1
    log.append([entry(3)])
    report = check_log(log)
    assert (report.findings, report.n_unfinished) == ([], 0)
    db.close()


@pytest.mark.parametrize("n_syncs", [0, 1, 2])
def test_a_kill_while_the_key_is_made_leaves_nothing_that_looks_like_tampering(folder, n_syncs):
    code = f"""
import os, signal, sys
from pathlib import Path
from audit_bench import entry, opened
from offgrid.store import audit_seal
db, log = opened(Path(sys.argv[1]))
left, sync = {n_syncs}, os.fsync
def fsync(file):
    global left
    if left == 0: os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    sync(file)
audit_seal.os.fsync = fsync
log.append([entry(1)])
"""
    done = subprocess.run([sys.executable, "-c", code, str(folder)], env=_paths(), check=False)
    assert done.returncode == -signal.SIGKILL
    db, log = opened(folder)
    assert findings(log) == []
    log.append([entry(2)])
    assert findings(log) == []
    assert recorded(log)[-1] == "r2"
    db.close()


# --- a disk that takes no more ---


def fill(db) -> None:
    [n_pages] = db._writer.execute("PRAGMA page_count").fetchone()
    db._writer.execute(f"PRAGMA max_page_count = {n_pages}")  # what SQLite then says is what a full disk makes it say


def free(db) -> None:
    db._writer.execute("PRAGMA max_page_count = 1000000")


def test_a_full_disk_stops_nobody_and_what_found_no_room_is_counted(opened_log, start, monkeypatch):
    db, log = opened_log
    monkeypatch.setattr(audit_writer, "RETRY_S", 0.01)
    monkeypatch.setattr(audit_writer, "MAX_WAITING", 8)
    writer = start()
    writer.record(entry(0), at_once=True)
    fill(db)
    big = '{"x":"' + "x" * 5000 + '"}'
    writer.record(entry(1, detail=big), at_once=True)  # returns, although it cannot be written
    assert writer.is_failing
    for n in range(2, 30):
        writer.record(entry(n, detail=big), at_once=True)
    free(db)
    wait_until(lambda: not writer.is_failing)
    writer.record(entry(30), at_once=True)
    assert findings(log) == []
    kept = [row.entry for row in log.newest(100)]
    [lost] = [json.loads(e.detail)["events"] for e in kept if e.action == "audit lost"]
    assert lost + sum(1 for e in kept if e.request_id) == 31
    assert lost >= 10


def test_stopping_with_a_full_disk_ends(opened_log, start, caplog):
    db, log = opened_log
    writer = start()
    writer.record(entry(0), at_once=True)
    fill(db)
    for n in range(40):
        writer.record(entry(n, detail='{"x":"' + "x" * 5000 + '"}'))
    writer.stop()
    assert not writer._thread.is_alive()
    assert "40 events are missing" in caplog.text
    free(db)
    assert findings(log) == []


def test_a_head_that_cannot_be_written_loses_no_rows(log, folder):
    log.append([entry(1)])
    (folder / "audit.head.part").mkdir()  # in the way
    log.append([entry(2)])
    (folder / "audit.head.part").rmdir()
    assert check_log(log).n_unfinished == 1
    log.append([entry(3)])
    assert (recorded(log), findings(log)) == (["r1", "r2", "r3"], [])


def test_an_event_that_cannot_be_written_takes_no_later_one_with_it(log, start, caplog):
    writer = start()
    writer.record(entry(1, key_id=2**70), at_once=True)  # too large for SQLite
    writer.record(entry(2), at_once=True)
    assert recorded(log)[0] == "r2"
    assert "lost to the audit log" in caplog.text
    assert not writer.is_failing
    assert findings(log) == []


def test_nobody_waits_for_a_thread_that_has_ended_by_a_fault(start, monkeypatch, caplog):
    monkeypatch.setattr(audit_writer, "MAX_WAITING", 4)
    writer = start()
    monkeypatch.setattr(writer, "_take_repeats", lambda: 1 / 0)
    for n in range(20):
        writer.record(entry(n), at_once=True)
    assert writer.is_failing
    assert "not written any more" in caplog.text


def test_a_full_queue_makes_the_request_wait_and_nothing_is_lost(log, start, monkeypatch):
    monkeypatch.setattr(audit_writer, "MAX_WAITING", 4)
    append, is_open = log.append, threading.Event()

    def slowly(entries):
        assert is_open.wait(5)
        append(entries)

    monkeypatch.setattr(log, "append", slowly)
    writer = start()
    n_recorded = []

    def work():
        for n in range(20):
            writer.record(entry(n))
            n_recorded.append(n)

    thread = threading.Thread(target=work)
    thread.start()
    wait_until(lambda: len(writer._waiting) == 4)
    assert len(n_recorded) < 20
    is_open.set()
    thread.join()
    writer.stop()
    assert recorded(log) == [f"r{n}" for n in range(20)]


# --- floods ---


def test_the_count_of_a_flood_is_written_when_its_minute_is_over_also_when_nothing_else_happens(
    log, start, monkeypatch
):
    monkeypatch.setattr("offgrid.store.audit_repeats.WINDOW_S", 0.3)
    writer = start()
    for n in range(N_SINGLY + 5):
        writer.record(entry(n), at_once=True, may_flood=True)
    assert len(recorded(log)) == N_SINGLY
    monkeypatch.setattr(audit_writer, "LATENESS_S", 0)
    wait_until(lambda: len(recorded(log)) == N_SINGLY + 1)
    assert json.loads(log.newest(1)[0].entry.detail)["times"] == 5


def test_stopping_writes_the_counts(log, start):
    writer = start()
    for n in range(N_SINGLY + 5):
        writer.record(entry(n), may_flood=True)
    writer.stop()
    assert json.loads(log.newest(1)[0].entry.detail)["times"] == 5


# --- old rows ---


def test_days_that_are_older_than_is_kept_are_removed_at_the_start(log, start):
    today_ms = int(time.time() // 86400) * 86_400_000
    log.append(
        [entry(0, today_ms - 3 * 86_400_000), entry(1, today_ms - 2 * 86_400_000), entry(2, today_ms - 86_400_000)]
    )
    writer = start(days=2)
    writer.record(entry(3), at_once=True)
    assert [id for id in recorded(log) if id] == ["r1", "r2", "r3"]
    assert findings(log) == []


def test_the_newest_rows_are_found_by_who_what_and_when(log):
    log.append([entry(n, name="bo" if n % 100 == 3 else "al", user_id=None) for n in range(2500)])
    assert [row.seq for row in log.newest(3)] == [2500, 2499, 2498]
    assert [row.seq for row in log.newest(2, before=2404)] == [2403, 2402]
    assert [row.seq for row in log.newest(99, user="bo")] == list(range(2404, 0, -100))
    assert log.newest(5, user="nobody") == []
    assert len(log.newest(5000, action="/role")) == 2500
    assert log.newest(5, action="DELETE") == []
    assert len(log.newest(99, since_ms=NOW_MS + 2490)) == 10
    assert log.newest(5, before=2**62)[0].seq == 2500
    assert log.newest(5, before=1) == []
