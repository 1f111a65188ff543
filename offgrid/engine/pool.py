"""Which models are loaded: one chat model and one embedding model at a time, each in a worker process of its own.

Asking for a model loads it; a model of the same kind that is idle makes room, one that is busy is never ended for
another: the newcomer waits a moment and is then told to come back. A worker that crashed is started again by the next
request, with growing pauses when it keeps crashing. The threads of the machine are shared among the busy workers.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from offgrid.config import EngineSettings, ModelSettings
from offgrid.engine import memory
from offgrid.engine.catalog import ModelFile
from offgrid.engine.worker_client import Job, WorkerClient
from offgrid.errors import Unavailable
from offgrid.types import EmbedRequest, GenerateRequest, Sink

log = logging.getLogger(__name__)

ROOM_PATIENCE_S = 20.0  # how long a request waits for a busy model of its kind to become idle
FIRST_PAUSE_S, LONGEST_PAUSE_S = 2, 60  # after the second crash in a row, doubling
LOAD_MODES = {"auto": -1, "none": 0, "mmap": 1, "mlock": 2, "mmap+mlock": 3, "direct": 4}  # llama_load_mode
MAX_EMBED_BATCH = 2048  # tokens; the longest text that an embedding worker takes, if its model was trained for it


@dataclass
class _Crashes:
    """How often in a row a model's worker ended before it had answered anything, and when it may be started again."""

    n: int = 0
    not_before: float = 0.0  # monotonic seconds

    def note(self, worker: WorkerClient) -> None:
        self.n = 1 if worker.n_answered else self.n + 1
        pause_s = 0 if self.n < 2 else min(FIRST_PAUSE_S * 2 ** (self.n - 2), LONGEST_PAUSE_S)
        self.not_before = worker.ended_at + pause_s


class Pool:
    def __init__(self, settings: EngineSettings, write_log: Callable[[str, str], None], cache_dir: Path | None = None):
        """`write_log(model_id, line)` takes what the workers print; `cache_dir`: where they keep prompts, if at all."""
        self.settings = settings
        self.cache_dir = cache_dir
        self.n_threads = settings.threads or len(os.sched_getaffinity(0))
        self._write_log = write_log
        self._workers: dict[str, WorkerClient] = {}  # kind → its worker
        self._crashes: dict[str, _Crashes] = {}  # model id → since its last success
        self._changed = threading.Condition()  # guards all of the above
        self._sharing = threading.Lock()  # one division of the threads at a time
        self._is_stopping = False

    def submit(self, model: ModelFile, request: GenerateRequest | EmbedRequest, sink: Sink) -> Job:
        """Hand a request to the model's worker, starting it first if need be.

        Returns at once unless a busy model is in the way. Raises Unavailable; what goes wrong later reaches
        the sink.
        """
        while True:
            with self._changed:
                worker = self._worker_for(model)
            if (job := worker.submit(request, sink)) is not None:
                return job

    def load(self, model: ModelFile) -> None:
        """Start loading a model without a request for it."""
        with self._changed:
            self._worker_for(model)

    @property
    def workers(self) -> list[WorkerClient]:
        return [w for w in list(self._workers.values()) if not w.has_ended]

    @property
    def n_active(self) -> int:
        return sum(w.n_active for w in self.workers)

    def stop(self, grace_s: float) -> None:
        """Take nothing new, give running requests `grace_s` seconds to end, then end the workers."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self.n_active, grace_s)
            workers = list(self._workers.values())
        for worker in workers:
            worker.stop(Unavailable("The server is stopping.", code="server_stopping"))

    # --- below here the lock is held ---

    def _worker_for(self, model: ModelFile) -> WorkerClient:
        deadline = time.monotonic() + ROOM_PATIENCE_S
        while True:
            if self._is_stopping:
                raise Unavailable("The server is stopping.", code="server_stopping")
            current = self._workers.get(model.kind)
            if current is not None and current.has_ended:
                self._take_leave(model.kind, current)
                current = None
            if current is None:
                return self._start(model)
            if current.model_id == model.id and not current.is_leaving:
                return current
            if not current.n_active and not current.is_leaving:
                self._unload(current, model)
            if not self._changed.wait(deadline - time.monotonic()):
                raise Unavailable(
                    f"{current.model_id} is loaded and busy, and one {model.kind} model is loaded at a time. "
                    f"Ask for {current.model_id}, or try again.",
                    retry_after_s=10,
                )

    def _unload(self, worker: WorkerClient, newcomer: ModelFile) -> None:
        """Begin to end an idle worker. Its end wakes `_changed`; waiting for it here would hold the lock it needs."""
        log.info("%s makes room for %s", worker.model_id, newcomer.id)
        worker.is_leaving = True
        error = Unavailable(f"{worker.model_id} has just been unloaded. Try again.")
        threading.Thread(target=worker.stop, args=(error,), name=f"unload:{worker.model_id}", daemon=True).start()

    def _take_leave(self, kind: str, worker: WorkerClient) -> None:
        del self._workers[kind]
        if worker.failure is not None:
            self._crashes.setdefault(worker.model_id, _Crashes()).note(worker)

    def _start(self, model: ModelFile) -> WorkerClient:
        pause_s = self._crashes.get(model.id, _Crashes()).not_before - time.monotonic()
        if pause_s > 0:
            raise Unavailable(
                f"The engine for {model.id} keeps ending; it may be started again in {pause_s:.0f} s. See the log.",
                code="engine_crashed",
                retry_after_s=max(1, round(pause_s)),
            )
        worker = WorkerClient(
            model.id,
            self._worker_settings(model),
            max_active=self.settings.parallel + self.settings.max_queue,
            load_timeout_s=self.settings.load_timeout_s,
            write_log=lambda line: self._write_log(model.id, line),
            on_change=self._on_change,
        )
        worker.start()
        self._workers[model.kind] = worker
        return worker

    def _worker_settings(self, model: ModelFile) -> dict:
        """The fields of `worker.model.ModelSettings` for this model on this machine."""
        own = self.settings.models.get(model.id, ModelSettings())
        is_chat = model.kind == "chat"
        available = memory.available_bytes()
        if is_chat:
            asked = own.ctx_size or self.settings.ctx_size or None
            kv_type = self.settings.kv_cache_type
            n_ctx = memory.choose_n_ctx(model.info, available, self.settings.parallel, asked, kv_type=kv_type)
            n_batch = min(self.settings.batch_size, n_ctx)
        else:
            n_ctx = n_batch = min(MAX_EMBED_BATCH, max(model.info.n_ctx_train, self.settings.batch_size))
        return {
            "path": str(model.path),
            "kind": model.kind,
            "n_ctx": n_ctx,
            "n_parallel": self.settings.parallel,
            "n_threads": own.threads or self.n_threads,
            "n_batch": n_batch,
            "kv_type": self.settings.kv_cache_type if is_chat else "f16",
            "flash_attention": self.settings.flash_attention,
            "load_mode": LOAD_MODES[self.settings.load_mode],
            "step_target_ms": self.settings.step_target_ms,
            "hot_cells": self.settings.cache_hot_tokens,
            "warm_bytes": min(self.settings.cache_ram_mb * 1_000_000, available // 8),
            "cache_dir": str(self.cache_dir or ""),
            "cold_bytes": self.settings.cache_disk_mb * 1_000_000 if self.cache_dir else 0,
            "speculation": own.speculation or self.settings.speculation,
            "chat_template": own.chat_template,
            "strip_accents": model.info.strips_accents,
        }

    # --- called by workers, without a lock ---

    def _on_change(self) -> None:
        with self._changed:
            self._changed.notify_all()
        self._share_threads()

    def _share_threads(self) -> None:
        """Busy workers together never compute with more threads than there are: fighting costs nine tenths."""
        with self._sharing:
            workers = self.workers
            n_busy = sum(1 for w in workers if w.n_active) or 1
            for worker in workers:
                worker.set_threads(max(1, self.n_threads // n_busy))
