"""Work in the background: its progress, its one end, its cancelling, its bounds."""

import logging
import threading

import pytest
from running import wait_until

from offgrid.errors import BadRequest, Conflict, NotFound, StorageFull, Unavailable
from offgrid.store import task_rows
from offgrid.store import tasks as module
from offgrid.store.db import Database
from offgrid.store.tasks import N_LOG_LINES, N_THREADS, N_WAITING, SAVE_INTERVAL_S, Run, Tasks


@pytest.fixture
def db(tmp_path):
    database = Database(tmp_path / "offgrid.db")
    yield database
    database.close()


@pytest.fixture
def tasks(db):
    running = Tasks(db)
    yield running
    running.stop()


class Gate:
    """Work that tells when it has begun, and goes on when it is let: with `step` reports, until it is cancelled."""

    def __init__(self):
        self.has_begun, self.may_go_on = threading.Event(), threading.Event()

    def __call__(self, run: Run):
        self.has_begun.set()
        assert self.may_go_on.wait(10)
        run.check()
        return "done"


def start(tasks: Tasks, work, owner: str = "ada", name: str = "test"):
    return tasks.start(owner, name, "", work)


def end_of(tasks: Tasks, id: str, owner: str = "ada"):
    return wait_until(lambda: (task := tasks.get(owner, id)).is_finished and task)


def test_a_task_runs_to_its_result(tasks):
    def work(run: Run) -> dict:
        run.note("half of it")
        run.report(50)
        return {"answer": 42}

    task = end_of(tasks, start(tasks, work, name="think").id)
    assert (task.name, task.status, task.result, task.progress, task.error) == (
        *("think", "completed", {"answer": 42}, 100, None),
    )
    assert [line["message"] for line in task.logs] == ["half of it"]
    assert task.created_at <= task.started_at <= task.completed_at == task.updated_at


def test_progress_is_seen_at_once_and_kept_now_and_then(db):
    clock, step = [0.0], threading.Semaphore(0)
    seen = threading.Semaphore(0)

    def work(run: Run) -> None:
        for percent in (10, 20, 30):
            step.acquire()
            run.report(percent)
            seen.release()
        step.acquire()

    def kept() -> float:
        return db.row("SELECT progress FROM tasks")[0]

    tasks = Tasks(db, now=lambda: clock[0])
    id = start(tasks, work).id
    for percent, later_s, is_kept in ((10, 0.1, 0), (20, SAVE_INTERVAL_S, 20), (30, 0.1, 20)):
        clock[0] += later_s
        step.release()
        seen.acquire()
        assert tasks.get("ada", id).progress == tasks.list("ada", 1, 0)[0].progress == percent
        assert kept() == is_kept
    step.release()
    end_of(tasks, id)
    assert kept() == 100
    tasks.stop()


@pytest.mark.parametrize(
    ("error", "text"),
    [(BadRequest("The page is empty."), "The page is empty."), (OSError(5, "Input/output error", "/secret"), "Input")],
)
def test_a_failure_is_the_error_of_the_task(tasks, error, text):
    def work(run: Run):
        raise error

    task = end_of(tasks, start(tasks, work).id)
    assert task.status == "failed"
    assert text in task.error
    assert "secret" not in task.error


@pytest.mark.parametrize("work", [lambda run: 1 / 0, lambda run: object()], ids=["raises", "no JSON"])
def test_a_mistake_in_the_work_is_told_to_the_log_and_not_to_the_client(tasks, caplog, work):
    with caplog.at_level(logging.ERROR, "offgrid"):
        task = end_of(tasks, start(tasks, work).id)
    assert task.status == "failed"
    assert task.id in task.error
    assert "Error" not in task.error
    assert task.id in caplog.text
    assert "Traceback" in caplog.text


def test_cancelling_ends_what_works_and_what_waits(tasks):
    gates = [Gate() for _ in range(N_THREADS + 1)]
    ids = [start(tasks, gate).id for gate in gates]
    assert tasks.cancel("ada", ids[-1]).status == "cancelled"
    assert not gates[-1].has_begun.is_set()
    assert gates[0].has_begun.wait(5)
    assert tasks.cancel("ada", ids[0]).status == "running"
    gates[0].may_go_on.set()
    assert end_of(tasks, ids[0]).status == "cancelled"
    with pytest.raises(Conflict, match="cancelled"):
        tasks.cancel("ada", ids[0])
    gates[1].may_go_on.set()
    assert end_of(tasks, ids[1]).status == "completed"


def test_only_so_many_work_at_once_and_those_who_wait_come_in_their_order(tasks):
    order, gates = [], [Gate() for _ in range(N_THREADS)]
    for gate in gates:
        start(tasks, gate)
    waiting = [start(tasks, lambda run, i=i: order.append(i)).id for i in range(5)]
    for gate in gates:
        assert gate.has_begun.wait(5)
    assert [tasks.get("ada", id).status for id in waiting] == ["pending"] * 5
    gates[0].may_go_on.set()
    for id in waiting:
        end_of(tasks, id)
    assert order == [0, 1, 2, 3, 4]
    gates[1].may_go_on.set()


def test_too_many_tasks_are_refused(tasks):
    gate = Gate()
    for _ in range(N_THREADS + N_WAITING):
        start(tasks, gate)
    with pytest.raises(Unavailable, match=str(N_THREADS + N_WAITING)):
        start(tasks, gate)
    gate.may_go_on.set()


def test_a_task_is_its_owners_alone(tasks):
    gate = Gate()
    id = start(tasks, gate).id
    for attempt in (tasks.get, tasks.cancel, tasks.delete):
        with pytest.raises(NotFound):
            attempt("bob", id)
    assert (tasks.list("bob", 10, 0), tasks.count("bob"), tasks.count("ada")) == ([], 0, 1)
    gate.may_go_on.set()
    assert end_of(tasks, id).status == "completed"


def test_a_task_can_be_deleted_once_it_has_ended(tasks):
    gate = Gate()
    id = start(tasks, gate).id
    with pytest.raises(Conflict, match="Cancel it first"):
        tasks.delete("ada", id)
    gate.may_go_on.set()
    end_of(tasks, id)
    tasks.delete("ada", id)
    with pytest.raises(NotFound):
        tasks.get("ada", id)


def test_the_newest_come_first_and_the_oldest_finished_ones_are_forgotten(tasks, monkeypatch):
    monkeypatch.setattr(task_rows, "N_KEPT", 3)
    ids = [end_of(tasks, start(tasks, lambda run: None).id).id for _ in range(5)]
    assert [task.id for task in tasks.list("ada", 10, 0)] == ids[:0:-1]  # the first went when the fifth was made
    assert [task.id for task in tasks.list("ada", 1, 1)] == [ids[3]]


def test_the_lines_of_a_task_are_bounded(tasks):
    def work(run: Run) -> None:
        for i in range(N_LOG_LINES + 5):
            run.note(f"{i} " + "x" * 1000)

    logs = end_of(tasks, start(tasks, work).id).logs
    assert len(logs) == N_LOG_LINES
    assert logs[0]["message"].startswith("5 x")
    assert len(logs[0]["message"]) == module.MAX_LINE_CHARS


def test_stopping_interrupts_everything_and_waits_for_what_looks(db):
    tasks, gate = Tasks(db), Gate()
    ids = [start(tasks, gate).id for _ in range(N_THREADS + 1)]
    assert gate.has_begun.wait(5)
    gate.may_go_on.set()
    tasks.stop()
    statuses = [tasks.get("ada", id).status for id in ids]
    assert statuses[-1] == "interrupted"
    assert set(statuses) <= {"interrupted", "completed"}
    with pytest.raises(Unavailable, match="stopping"):
        start(tasks, gate)


def test_stopping_does_not_wait_for_ever_and_a_late_end_changes_nothing(db):
    tasks, gate = Tasks(db), Gate()
    id = start(tasks, gate).id
    assert gate.has_begun.wait(5)
    [thread] = [t for t in threading.enumerate() if t.name == "task:test"]
    tasks.stop(timeout_s=0.01)
    assert tasks.get("ada", id).status == "interrupted"
    gate.may_go_on.set()
    thread.join(5)
    assert tasks.get("ada", id).status == "interrupted"


def test_what_a_killed_server_did_not_finish_is_marked_at_the_next_start(db):
    rows = task_rows.TaskRows(db)
    task = rows.add("ada", "test", "")
    done = rows.add("ada", "done", "")
    done.status = "completed"
    rows.save(done)
    tasks = Tasks(db)
    found = tasks.get("ada", task.id)
    assert (found.status, found.error) == ("interrupted", task_rows.INTERRUPTED)
    assert found.completed_at >= found.created_at
    assert tasks.get("ada", done.id).status == "completed"


def test_a_result_that_finds_no_room_is_told_to_the_log_and_marked_when_the_server_stops(db, caplog):
    tasks = Tasks(db)
    gate = Gate()
    id = start(tasks, lambda run: gate(run) and "x" * 1_000_000).id
    assert gate.has_begun.wait(5)
    [n_pages] = db.row("PRAGMA page_count")
    db._writer.execute(f"PRAGMA max_page_count = {n_pages}")
    with caplog.at_level(logging.ERROR, "offgrid"):
        gate.may_go_on.set()
        wait_until(lambda: "could not be kept" in caplog.text)
    tasks.stop()
    assert tasks.get("ada", id).status == "interrupted"


def test_a_full_disk_hinders_neither_start_nor_stop(db, monkeypatch):
    def no_room(_self):
        raise StorageFull("The disk is full.")

    monkeypatch.setattr(task_rows.TaskRows, "interrupt_unfinished", no_room)
    Tasks(db).stop()


def test_no_thread_is_left_when_nothing_is_to_do(tasks):
    end_of(tasks, start(tasks, lambda run: None).id)
    wait_until(lambda: not [t for t in threading.enumerate() if t.name.startswith("task:")])
