"""Which models are loaded: as many as fit into the one memory budget, each in a worker process of its own.

Asking for a model loads it. Where the room is short, idle models leave, the one unused for longest first; a busy or
pinned one is never ended for another. A request for which there is no room yet waits here, not in its handler, so that
a client who hangs up is noticed; after a while the busy models in its way take nothing new until they had their turn,
and at last it is told to come back. A worker that crashed is started again by the next request, with growing pauses
when it keeps crashing. The threads of the machine are shared among the busy workers.

`_review` looks at everything and does what is due; every change and one clock call it. The clock runs only while
something is to happen by itself. Who must leave is decided in `residency.py`, what a model needs in `load_plan.py`.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from offgrid.engine.catalog import ModelFile
from offgrid.engine.clock import Clock
from offgrid.engine.crashes import Crashes
from offgrid.engine.job import Job
from offgrid.engine.load_plan import LoadPlan, context_of, plan_load
from offgrid.engine.loading import FAILED, LOADING, MAKING_ROOM, READY, STARTING, LoadingBoard
from offgrid.engine.measure import Measurements
from offgrid.engine.meters import Meters
from offgrid.engine.newcomer import Newcomer
from offgrid.engine.residency import Resident, make_room
from offgrid.engine.worker_client import WorkerClient
from offgrid.errors import ApiError, InsufficientMemory, Unavailable
from offgrid.procs.budget import Budget
from offgrid.sections import EngineSettings
from offgrid.types import Asked, Sink

log = logging.getLogger(__name__)

PATIENCE_S = 30.0  # how long a request waits for room that busy models hold
TURN_S = 5.0  # so long busy models go on taking requests although another waits for their room
SMALL_MACHINE_BYTES = 1_200_000_000  # a Pi with 1 GB: memory and SD card are for the model alone
CLEAR_FIT = 1.25  # with so much more room than the formula says, nothing needs to be measured


class Pool:
    def __init__(
        self,
        settings: EngineSettings,
        budget: Budget,
        write_log: Callable[[str, str], None],
        cache_dir: Path | None = None,
    ):
        """`write_log(model_id, line)` takes what the workers print; `cache_dir`: where they keep prompts, if at all."""
        self.settings = settings
        self.budget = budget
        self.cache_dir = cache_dir
        self.n_threads = settings.threads or len(os.sched_getaffinity(0))
        self.board = LoadingBoard()
        self.meters = Meters()
        self._write_log = write_log
        self._workers: dict[str, WorkerClient] = {}  # model id → its worker
        self._newcomers: dict[str, Newcomer] = {}  # model id → who waits, in the order of asking
        self._pinned = {id for id, own in settings.models.items() if own.pinned}
        self._draining: frozenset[str] = frozenset()  # busy, and take nothing new until they have made room
        self._crashes = Crashes()
        self._measurements = Measurements(self._on_change)
        self._clock = Clock(self._on_change, "pool:clock")
        self._changed = threading.Condition()  # guards all of the above
        self._is_reviewing = self._is_stale = False
        self._sharing = threading.Lock()  # one division of the threads at a time
        self._is_stopping = False

    # --- from any thread ---

    def submit(
        self,
        model: ModelFile,
        request: Asked,
        sink: Sink,
        keep_alive_s: float | None = None,
    ) -> Job:
        """Hand a request to the model's worker, or keep it until there is one; returns at once.

        With `request` None only the model is loaded. `keep_alive_s`: how long it is to stay afterwards, below 0 until
        its room is needed. Raises Unavailable; what goes wrong later reaches the sink.
        """
        model = model.worker
        job = Job(request, sink, keep_alive_s, self._on_change)
        while True:
            with self._changed:
                if self._is_stopping:
                    raise _stopping()
                worker = self._worker_for(model.id)
                if worker is None:
                    self._wait_for_model(model, job)
                    return job
            if job.hand_to(worker):
                return job

    def unload(self, model_id: str) -> bool:
        """Begin to end a model's worker; False when it is not loaded. Raises Unavailable when it is busy."""
        with self._changed:
            worker = self._workers.get(model_id)
            if worker is None or worker.has_ended:
                return False
            if not self._unload(worker, "as was asked for"):
                raise Unavailable(f"{model_id} is busy with {worker.n_active} requests. Try again.", retry_after_s=5)
            return True

    def pin(self, model_id: str, *, is_pinned: bool) -> None:
        """Keep a model whatever happens, once it is loaded; or no longer."""
        with self._changed:
            (self._pinned.add if is_pinned else self._pinned.discard)(model_id)
        self._on_change()

    def is_pinned(self, model_id: str) -> bool:
        return model_id in self._pinned

    @property
    def capacity(self) -> int:
        """Bytes that all models together may hold, by a fresh look at the machine."""
        return self.budget.look().capacity

    def plan(self, model: ModelFile, capacity: int) -> LoadPlan:
        """How the model would be started if it had all of `capacity` to itself. Raises InsufficientMemory."""
        return plan_load(model, self.settings, capacity, self.n_threads)

    @property
    def workers(self) -> list[WorkerClient]:
        return [w for w in list(self._workers.values()) if not w.has_ended]

    @property
    def waiting(self) -> dict[str, int]:
        """Requests that wait for their model to be loaded, by model."""
        unplaced = {id: sum(not j.is_cancelled for j in new.jobs) for id, new in list(self._newcomers.items())}
        return unplaced | {w.model_id: w.n_active for w in self.workers if not w.is_ready}

    @property
    def n_active(self) -> int:
        return sum(w.n_active for w in self.workers)

    def stop(self, grace_s: float) -> None:
        """Take nothing new, give running requests `grace_s` seconds to end, then end the workers."""
        with self._changed:
            self._is_stopping = True
            for newcomer in self._newcomers.values():
                newcomer.fail(_stopping())
            self._newcomers.clear()
            self.board.end()
            self._changed.wait_for(lambda: not self.n_active, grace_s)
            workers = list(self._workers.values())
            self._clock.stop()
        self._measurements.stop()
        for worker in workers:
            worker.stop(_stopping())

    # --- below here the lock is held ---

    def _worker_for(self, model_id: str) -> WorkerClient | None:
        """The worker that takes requests for a model now."""
        worker = self._workers.get(model_id)
        is_open = worker is not None and not worker.has_ended and not worker.is_leaving
        return worker if is_open and model_id not in self._draining else None

    def _wait_for_model(self, model: ModelFile, job: Job) -> None:
        newcomer = self._newcomers.setdefault(model.id, Newcomer(model))
        newcomer.model = model
        chosen = self.settings.for_model(model.id)
        newcomer.add(job, chosen.parallel + chosen.max_queue)
        self._review()

    def _review(self) -> None:
        """Do whatever is due. What it does may change things again: then it looks once more."""
        self._is_stale = True
        if self._is_reviewing:
            return
        self._is_reviewing = True
        try:
            while self._is_stale and not self._is_stopping:
                self._is_stale = False
                self._review_once(time.monotonic())
        finally:
            self._is_reviewing = False

    def _review_once(self, now: float) -> None:
        for worker in [w for w in self._workers.values() if w.has_ended]:
            del self._workers[worker.model_id]
            self.budget.release(worker.model_id)
            self._crashes.note(worker)
        for worker in list(self._workers.values()):
            if (expires_at := self._expires_at(worker)) is not None and expires_at <= now:
                self._unload(worker, f"unused for {worker.keep_alive_s:g} s")
        self._place_newcomers(now)
        self._set_clock(now)

    def _expires_at(self, worker: WorkerClient) -> float | None:
        is_idle = worker.is_ready and not worker.n_active and not worker.is_leaving
        if not is_idle or worker.keep_alive_s < 0 or worker.model_id in self._pinned:
            return None
        return worker.used_at + worker.keep_alive_s

    def _place_newcomers(self, now: float) -> None:
        """Start what fits; in the order of asking, though a small model may pass one that waits for busy ones."""
        promised = 0  # to newcomers for whom others are leaving already
        draining: set[str] = set()
        for id, newcomer in list(self._newcomers.items()):
            newcomer.drop_cancelled()
            newcomer.drop_late(asked_before=now - PATIENCE_S)
            try:
                if newcomer.jobs:
                    if (worker := self._worker_for(id)) is None:
                        worker, promised = self._place(newcomer, promised)
                    if worker is not None:
                        newcomer.hand_to(worker)
                    elif now >= newcomer.asked_at + TURN_S:
                        draining.update(newcomer.in_the_way)
            except ApiError as error:
                self.board.note(id, FAILED, "cannot be loaded", error=error.message)
                newcomer.fail(error)
            if not newcomer.jobs:
                del self._newcomers[id]
        if draining != self._draining:
            # Newcomers for a model that drains no longer stood behind it: look at them again.
            self._is_stale = self._is_stale or bool(self._draining - draining)
            self._draining = frozenset(draining)

    def _place(self, newcomer: Newcomer, promised: int) -> tuple[WorkerClient | None, int]:
        """Start a newcomer's worker if there is room, else see to it that there will be.

        `promised` is what earlier newcomers are about to get; returned with what this one is about to get. Raises
        InsufficientMemory: it cannot fit, Unavailable: it keeps crashing.
        """
        model, newcomer.in_the_way = newcomer.model, ()
        if model.id in self._workers:
            return None, promised  # its last process is leaving, or drains
        if not newcomer.is_announced:
            newcomer.is_announced = True
            self.board.begin(model.id, model.size_bytes)
        self._crashes.check(model.id)
        look = self.budget.look()
        room = look.room - promised
        if (plan := self._plan_within(model, look.capacity - self._pinned_bytes(), room)) is None:
            return None, promised  # until it is measured
        plan = plan.squeezed(room)
        if room >= plan.need_bytes:
            if self.budget.reserve(model.id, plan.need_bytes, look):
                return self._start(model, plan), promised
            self._is_stale = True  # somebody was quicker: look again
            return None, promised
        verdict = make_room(self._residents(), plan.need_bytes - room)
        if not verdict.can_fit:
            raise Unavailable(f"Other programs hold the memory that {model.id} needs. Try again.", retry_after_s=10)
        for id in verdict.leave:
            self._unload(self._workers[id], f"makes room for {model.id}")
        newcomer.in_the_way = verdict.wait_for
        if verdict.wait_for:
            self.board.note(model.id, MAKING_ROOM, f"waits for {', '.join(verdict.wait_for)}")
            return None, promised
        self.board.note(model.id, MAKING_ROOM, "makes room")
        return None, promised + plan.need_bytes

    def _plan_within(self, model: ModelFile, most_bytes: int, room: int) -> LoadPlan | None:
        """How to start a model; None while it is being measured, because the formula leaves open whether it fits.

        `most_bytes` is what it could have if all others left that may. Raises InsufficientMemory.
        """
        plan = None
        try:
            plan = plan_load(model, self.settings, most_bytes, self.n_threads)
        except InsufficientMemory:
            if model.kind != "chat":
                raise
        if plan is not None and (model.kind != "chat" or plan.need_bytes * CLEAR_FIT <= room):
            return plan
        is_known, measured = self._measurements.get(model, **context_of(model, self.settings))
        return plan_load(model, self.settings, most_bytes, self.n_threads, measured) if is_known else None

    def _pinned_bytes(self) -> int:
        return sum(self.budget.promised(id) for id in self._workers if id in self._pinned)

    def _residents(self) -> list[Resident]:
        return [
            Resident(
                worker.model_id,
                self.budget.promised(worker.model_id),
                worker.used_at,
                is_busy=worker.n_active > 0,
                is_pinned=worker.model_id in self._pinned,
                is_leaving=worker.is_leaving,
            )
            for worker in self._workers.values()
        ]

    def _start(self, model: ModelFile, plan: LoadPlan) -> WorkerClient:
        chosen = self.settings.for_model(model.id)
        self.board.note(model.id, STARTING, "starting the engine")
        worker = self._workers[model.id] = WorkerClient(
            model.id,
            plan.settings | self._prompts_on_disk(chosen),
            max_active=chosen.parallel + chosen.max_queue,
            load_timeout_s=chosen.load_timeout_s,
            write_log=lambda line: self._write_log(model.id, line),
            on_change=self._on_change,
            on_progress=lambda phase, fraction: self._note(worker, phase, fraction),
            meters=self.meters,
            keep_alive_s=chosen.keep_alive_s,
        )
        worker.start()
        if worker.pid is not None:
            self.budget.attach(model.id, worker.pid)
        return worker

    def _prompts_on_disk(self, chosen: EngineSettings) -> dict:
        if self.cache_dir is None or self.budget.machine_bytes() < SMALL_MACHINE_BYTES:
            return {}
        return {"cache_dir": str(self.cache_dir), "cold_bytes": chosen.cache_disk_mb * 1_000_000}

    def _unload(self, worker: WorkerClient, reason: str) -> bool:
        """Begin to end an idle worker; False when it is busy after all. Waiting here would hold the lock it needs."""
        if not worker.is_leaving:
            if not worker.begin_to_leave():
                return False
            log.info("%s leaves: %s", worker.model_id, reason)
            error = Unavailable(f"{worker.model_id} has just been unloaded. Try again.")
            name = f"unload:{worker.model_id}"
            threading.Thread(target=worker.stop, args=(error,), name=name, daemon=True).start()
        return True

    def _set_clock(self, now: float) -> None:
        """See to it that somebody looks again when the next thing is due."""
        due = [at for worker in self._workers.values() if (at := self._expires_at(worker)) is not None]
        for newcomer in self._newcomers.values():
            if newcomer.in_the_way:
                turn_at = newcomer.asked_at + TURN_S
                due.append(turn_at if turn_at > now else newcomer.asked_at + PATIENCE_S)
        if due:
            self._clock.ring_by(min(due))

    # --- called by workers, jobs, the clock and the measuring, without a lock ---

    def _on_change(self) -> None:
        with self._changed:
            self._review()
            self._changed.notify_all()
        self._share_threads()

    def _note(self, worker: WorkerClient, phase: str, fraction: float) -> None:
        """News of a worker's loading, for those who watch it."""
        words = {LOADING: "reading the file", READY: "ready", FAILED: "cannot be loaded"}
        error = worker.failure.message if phase == FAILED and worker.failure else None
        self.board.note(worker.model_id, phase, words[phase], fraction=fraction, error=error)

    def _share_threads(self) -> None:
        """Busy workers together never compute with more threads than there are: fighting costs nine tenths."""
        with self._sharing:
            workers = self.workers
            n_busy = sum(1 for w in workers if w.n_active) or 1
            for worker in workers:
                worker.set_threads(max(1, self.n_threads // n_busy))


def _stopping() -> Unavailable:
    return Unavailable("The server is stopping.", code="server_stopping")
