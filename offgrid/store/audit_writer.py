"""Brings events to the audit log in batches, from one thread, so that an SD card is synced once a second and not once
a request.

What is urgent is on the disk before `record` returns; the rest follows within a second. Nothing is lost in silence:
when the queue is full the caller waits. Only when the disk takes no more (full, broken) does nobody wait: the server
goes on, what finds no room in the queue is counted, and a row says how many when the disk takes rows again.
"""

import logging
import sqlite3
import threading
import time

from offgrid.errors import StorageFull
from offgrid.store.audit import AuditLog, system_entry
from offgrid.store.audit_chain import Entry
from offgrid.store.audit_repeats import Repeats

log = logging.getLogger(__name__)

MAX_WAITING = 1024  # entries
LATENESS_S = 1.0
AT_ONCE_S = 10.0  # a disk slower than this is not waited for
RETRY_S = 5.0
_DAY_S = 86400


class AuditWriter:
    """`record` may be called from any thread, between `start` and `stop`."""

    def __init__(self, audit: AuditLog, days: int):
        self.is_failing = False  # rows wait for a disk that does not take them
        self._audit, self._days = audit, days
        self._lock = threading.Lock()
        self._wanted = threading.Condition(self._lock)  # the thread has something to do
        self._moved = threading.Condition(self._lock)  # there is room, or rows were written, or cannot be
        self._waiting: list[Entry] = []
        self._n_in = self._n_out = 0  # entries that came into the queue, that have left the thread
        self._n_lost = 0
        self._is_urgent = self._is_stopping = False
        self._repeats = Repeats()
        self._pruned_on = 0  # the day, counted from 1970
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float = 10.0) -> None:
        """Write what waits. Later events are only counted as lost."""
        with self._lock:
            self._is_stopping = True
            self._wanted.notify_all()
            self._moved.notify_all()
        self._thread.join(timeout_s)
        if self._n_lost:
            log.error("%d events are missing in the audit log: they could not be written", self._n_lost)

    def record(self, entry: Entry, *, at_once: bool = False, may_flood: bool = False) -> None:
        """Add an event. `at_once`: it is on the disk on return, or the disk is failing. `may_flood`: see `Repeats`."""
        with self._lock:
            if may_flood and not self._repeats.admit(entry, time.monotonic()):
                return  # the first of its kind has woken the thread, which will ask for the count
            if len(self._waiting) >= MAX_WAITING:
                self._moved.wait_for(lambda: len(self._waiting) < MAX_WAITING or self._is_hopeless)
            if len(self._waiting) >= MAX_WAITING or self._is_stopping:
                self._n_lost += 1
                return
            self._waiting.append(entry)
            self._n_in += 1
            number = self._n_in
            self._is_urgent = self._is_urgent or at_once
            if at_once or len(self._waiting) in (1, MAX_WAITING // 2):
                self._wanted.notify()
            if at_once:
                self._moved.wait_for(lambda: self._n_out >= number or self._is_hopeless, AT_ONCE_S)

    @property
    def _is_hopeless(self) -> bool:
        return self.is_failing or self._is_stopping

    def _run(self) -> None:
        """Thread: prune, then write batch after batch until `stop`."""
        try:
            self._prune()
            while batch := self._next_batch():
                self._write(batch)
                self._prune()
        except Exception:
            log.exception("the audit log is not written any more")
            with self._lock:  # nobody may wait for a thread that has ended
                self.is_failing = True
                self._moved.notify_all()

    def _next_batch(self) -> list[Entry]:
        """What is to be written now; waits for it. Empty at the end."""
        with self._lock:
            while not self._waiting and not self._is_stopping:
                self._wanted.wait(self._repeats.wait_s(time.monotonic()))
                self._take_repeats()
            self._wanted.wait_for(self._cannot_wait, LATENESS_S)
            self._take_repeats()
            batch, self._waiting, self._is_urgent = self._waiting, [], False
            self._moved.notify_all()
            return batch

    def _cannot_wait(self) -> bool:
        return self._is_urgent or self._is_stopping or len(self._waiting) >= MAX_WAITING // 2

    def _take_repeats(self) -> None:
        counted = self._repeats.due(time.monotonic(), everything=self._is_stopping)
        self._waiting += counted
        self._n_in += len(counted)

    def _write(self, batch: list[Entry]) -> None:
        """Write until it succeeds; when stopping, once. A batch that is itself at fault is given up."""
        while True:
            n_lost = self._n_lost
            lost = [system_entry("audit lost", {"events": n_lost})] if n_lost else []
            try:
                self._audit.append(batch + lost)
                self._end_batch(len(batch), n_lost)
                return
            except Exception as error:
                if not _may_mend(error):
                    log.exception("%d events are lost to the audit log", len(batch))
                    self._give_up(len(batch))
                    return
                if not self.is_failing:
                    log.error("the audit log cannot be written, and is tried again: %s", error)
            with self._lock:
                self.is_failing = True
                self._moved.notify_all()
                was_last_try = self._is_stopping
                self._wanted.wait_for(lambda: self._is_stopping, RETRY_S)
            if was_last_try:
                self._give_up(len(batch))
                return

    def _end_batch(self, n: int, n_lost: int) -> None:
        with self._lock:
            if self.is_failing:
                log.warning("the audit log is written again; %d events are missing in it", n_lost)
            self.is_failing = False
            self._n_out += n
            self._n_lost -= n_lost
            self._moved.notify_all()

    def _give_up(self, n: int) -> None:
        with self._lock:
            self._n_out += n
            self._n_lost += n
            self._moved.notify_all()

    def _prune(self) -> None:
        """Once a day: whole days that are older than is kept."""
        today = int(time.time() // _DAY_S)
        if today == self._pruned_on:
            return
        self._pruned_on = today
        try:
            self._audit.prune((today - self._days) * _DAY_S * 1000)
        except Exception:
            log.exception("old rows of the audit log could not be removed")


def _may_mend(error: Exception) -> bool:
    """Whether the disk is at fault, and not an event that can never be written."""
    is_ours = isinstance(error, (sqlite3.IntegrityError, sqlite3.ProgrammingError))
    return isinstance(error, (StorageFull, OSError, sqlite3.DatabaseError)) and not is_ours
