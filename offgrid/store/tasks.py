"""Long work in the background: a function on a thread of its own, its progress and its end kept as a task.

Here, beside the rows, because everybody who has long work (api, rag, agents) may import this room. Knows nothing of
what the work does. Must stay true: at most N_THREADS work at once and N_WAITING wait, and beside them N_AT_ONCE that do
little but wait for models and people; every task ends in exactly one of ENDS, kept at once; progress is kept at most
every SAVE_INTERVAL_S for each task (an SD card wears), and read from memory meanwhile.
"""

import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from offgrid.errors import ApiError, Conflict, StorageFull, Unavailable
from offgrid.store.db import Database
from offgrid.store.task_rows import INTERRUPTED, Task, TaskRows

log = logging.getLogger(__name__)

N_THREADS = 2  # the processor belongs to the models
N_WAITING = 64
N_AT_ONCE = 64
SAVE_INTERVAL_S = 5.0
N_LOG_LINES = 100  # of one task; the oldest ones go
MAX_LINE_CHARS = 500


class Cancelled(Exception):
    """Raised in a task's function when it is to end: by a person, or, as Interrupted, because the server stops."""


class Interrupted(Cancelled):
    """The server stops; what the task has done so far may be gone on with (`Tasks.resume`)."""


class Run:
    """One task at work, as its function sees it; `report` and `note` are for that function's thread."""

    def __init__(
        self, task: Task, work: "Work", save: Callable[[Task], None], now: Callable[[], float], *, is_at_once: bool
    ):
        self.work = work
        self.is_at_once = is_at_once
        self.task = task
        self.on_end: Callable[[], None] = lambda: None
        self.is_cancelled = self.is_interrupted = False  # set by any thread; only ever to True
        self._save = save
        self._now = now
        self._saved_at = now()

    def report(self, percent: float) -> None:
        """How far it is, from 0 to 100; cheap enough to be called thousands of times. Raises Cancelled."""
        self.check()
        self.task = replace(self.task, progress=min(max(percent, 0.0), 100.0), updated_at=time.time())
        self._save_now_and_then()

    def note(self, message: str, level: str = "info") -> None:
        """A line for whoever looks at the task. Raises Cancelled."""
        self.check()
        line = {"at": time.time(), "message": message[:MAX_LINE_CHARS], "level": level}
        self.task = replace(self.task, logs=[*self.task.logs, line][-N_LOG_LINES:], updated_at=line["at"])
        self._save_now_and_then()

    def keep(self, result: Any) -> None:
        """What has come of it so far: it stays the task's result unless its work returns another."""
        self.task = replace(self.task, result=json.loads(json.dumps(result)), updated_at=time.time())
        self._save_now_and_then()

    def check(self) -> None:
        """Raise Cancelled when it is to end: for work that has nothing to report yet."""
        if self.is_interrupted:
            raise Interrupted
        if self.is_cancelled:
            raise Cancelled

    def _save_now_and_then(self) -> None:
        if self._now() - self._saved_at >= SAVE_INTERVAL_S:
            self._save(self.task)
            self._saved_at = self._now()


# What a task does. Its result is whatever JSON can hold (small: it is read with every list of tasks); what it raises
# makes the task fail: an ApiError or OSError with its message, everything else with a hint to the log.
Work = Callable[[Run], Any]


class Tasks:
    """Every method may be called from any thread."""

    def __init__(self, db: Database, now: Callable[[], float] = time.monotonic):
        """Marks what an earlier server did not finish."""
        self._rows = TaskRows(db)
        self._interrupt_unfinished()
        self._now = now
        self._runs: dict[str, Run] = {}  # waiting or at work
        self._waiting: deque[Run] = deque()
        self._n_working = self._n_at_once = 0
        self._is_stopping = False
        self._changed = threading.Condition()

    def start(
        self,
        owner: str,
        name: str,
        description: str,
        work: Work,
        *,
        at_once: bool = False,
        on_end: Callable[[], None] = lambda: None,
    ) -> Task:
        """A new task; `work` is called as soon as a thread is free.

        `at_once`: on a thread of its own, now, for work that mostly waits. `on_end` is called by the thread that worked
        once the end is kept, or by the one that cancelled what had waited, and must not raise. Raises Unavailable when
        there are too many.
        """
        with self._changed:
            if self._is_stopping:
                raise Unavailable("The server is stopping.", code="server_stopping")
            n, n_most = len(self._runs) - self._n_at_once, N_THREADS + N_WAITING
            if at_once:
                n, n_most = self._n_at_once, N_AT_ONCE
            if n >= n_most:
                raise Unavailable(f"{n} tasks are unfinished, and that is the most.", retry_after_s=10)
            return self._begin(self._rows.add(owner, name, description), work, is_at_once=at_once, on_end=on_end)

    def resume(self, id: str, work: Work, on_end: Callable[[], None] = lambda: None) -> Task | None:
        """Go on with a task that an earlier server did not finish; None when there is no such task."""
        with self._changed:
            task = self._rows.reopen(id)
            return None if task is None else self._begin(task, work, on_end=on_end)

    def get(self, owner: str, id: str) -> Task:
        """Raises NotFound, also for somebody else's."""
        run = self._runs.get(id)  # before the row: it leaves memory only when its end is kept
        return run.task if run is not None and run.task.owner == owner else self._rows.get(owner, id)

    def list(self, owner: str, limit: int, offset: int, name: str | None = None) -> list[Task]:
        """Newest first; with `name` only tasks of that name."""
        live = {id: run.task for id, run in dict(self._runs).items()}
        return [live.get(task.id, task) for task in self._rows.list(owner, limit, offset, name)]

    def count(self, owner: str, name: str | None = None) -> int:
        return self._rows.count(owner, name)

    def cancel(self, owner: str, id: str) -> Task:
        """End a waiting task now, one at work as soon as it looks. Raises NotFound, Conflict when it has ended."""
        with self._changed:
            task = self.get(owner, id)
            run = self._runs.get(id)
            if run is None:
                raise Conflict(f"The task has already ended: it is {task.status}.", code="task_finished")
            run.is_cancelled = True
            has_waited = run in self._waiting
            if has_waited:
                self._waiting.remove(run)
                self._end(run, status="cancelled")
        if has_waited:
            run.on_end()
        return run.task

    def delete(self, owner: str, id: str) -> None:
        """Forget a task that has ended. Raises NotFound, Conflict while it has not."""
        self._rows.delete(owner, id)

    def stop(self, timeout_s: float = 5) -> None:
        """Cancel everything and return within the time; what has not ended by then counts as interrupted."""
        with self._changed:
            self._is_stopping = True
            self._waiting.clear()
            for run in self._runs.values():
                run.is_cancelled = run.is_interrupted = True
            self._changed.wait_for(lambda: not self._n_working and not self._n_at_once, timeout_s)
            self._runs.clear()
            self._interrupt_unfinished()

    def _interrupt_unfinished(self) -> None:
        try:
            self._rows.interrupt_unfinished()
        except StorageFull as error:  # no reason not to start, or not to stop
            log.warning("unfinished tasks could not be marked: %s", error.message)

    def _begin(
        self, task: Task, work: Work, *, is_at_once: bool = False, on_end: Callable[[], None] = lambda: None
    ) -> Task:
        """Put a pending task in the queue, or to work; the lock is held."""
        run = self._runs[task.id] = Run(task, work, self._rows.save, self._now, is_at_once=is_at_once)
        run.on_end = on_end
        if is_at_once:
            self._n_at_once += 1
            self._put_to_work(run)
        else:
            self._waiting.append(run)
            self._begin_next()
        return run.task

    def _begin_next(self) -> None:
        """Give free threads to those who wait; the lock is held."""
        while self._waiting and self._n_working < N_THREADS:
            self._n_working += 1
            self._put_to_work(self._waiting.popleft())

    def _put_to_work(self, run: Run) -> None:
        now = time.time()
        run.task = replace(run.task, status="running", started_at=now, updated_at=now)
        threading.Thread(target=self._do, args=(run,), name=f"task:{run.task.name}", daemon=True).start()

    def _do(self, run: Run) -> None:
        end = self._work(run)
        with self._changed:
            try:
                if run.task.id in self._runs:  # else `stop` did not wait for it
                    self._end(run, **end)
            except Exception:  # the disk is full: the next start marks it as interrupted
                log.exception("the end of the task %s could not be kept", run.task.id)
            if not run.is_at_once:
                self._n_working -= 1
            self._begin_next()
            self._changed.notify_all()
        run.on_end()
        with self._changed:
            self._n_at_once -= run.is_at_once
            self._changed.notify_all()

    def _work(self, run: Run) -> dict[str, Any]:
        """How the task ended, as the fields of a Task."""
        try:
            self._rows.save(run.task)
            result = json.loads(json.dumps(run.work(run)))  # as it will be read again
        except Interrupted:
            return {"status": "interrupted", "error": INTERRUPTED}
        except Cancelled:
            return {"status": "cancelled"}
        except ApiError as error:
            return {"status": "failed", "error": error.message}
        except OSError as error:
            return {"status": "failed", "error": error.strerror or str(error)}
        except Exception:
            log.exception("the task %s (%s) failed", run.task.id, run.task.name)
            hint = f"Something went wrong here. The log says more, under task {run.task.id}."
            return {"status": "failed", "error": hint}
        return {"status": "completed", "result": result, "progress": 100.0}

    def _end(self, run: Run, **end: Any) -> None:
        """Keep how it ended; the lock is held."""
        now = time.time()
        run.task = replace(run.task, **end, updated_at=now, completed_at=now)
        try:
            self._rows.save(run.task)
        finally:
            self._runs.pop(run.task.id, None)
