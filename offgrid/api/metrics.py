"""GET /metrics: everything that is counted, and how the server stands at this moment, for Prometheus.

Counted figures are kept where they arise (`traffic.py`, `engine/meters.py`); this module reads the others when it is
asked. What is unknown is left out. docs/monitoring.md explains each metric; a test compares the two.
"""

import os
import shutil
import sys
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import offgrid
from offgrid.api import traffic
from offgrid.api.answers import TEXT
from offgrid.api.endpoint import endpoint
from offgrid.engine import meters
from offgrid.metrics import CONTENT_TYPE, Family, Reading, exposition
from offgrid.web.message import Request, Response

BUILD = Family("offgrid_build_info", "gauge", "Versions; the value is 1.", ("version", "python", "llama_cpp_python"))
UPTIME = Family("offgrid_uptime_seconds", "gauge", "Since the server started, by a clock that never jumps.")
SESSIONS = Family("offgrid_active_sessions", "gauge", "Saved chat sessions.")
DOCUMENTS = Family("offgrid_rag_documents", "gauge", "Documents in all data stores.")
USERS = Family("offgrid_users", "gauge", "Accounts.")
DATABASE = Family("offgrid_database_bytes", "gauge", "The database with its log of recent changes.")
CACHE_DISK = Family("offgrid_prompt_cache_disk_bytes", "gauge", "Prompts kept on the disk.")
DISK = Family("offgrid_disk_bytes", "gauge", "The disk with the data folder.")
DISK_FREE = Family("offgrid_disk_free_bytes", "gauge", "Of it, what we may still use.")
MEMORY = Family("offgrid_machine_memory_bytes", "gauge", "The memory of the machine, or of the container.")
MEMORY_AVAILABLE = Family("offgrid_machine_memory_available_bytes", "gauge", "Of it, what can be taken unswapped.")
MACHINE_CPU = Family("offgrid_machine_cpu_seconds_total", "counter", "Of all cores, since the boot.", ("mode",))
BUDGET = Family("offgrid_memory_budget_bytes", "gauge", "What all models together may hold now.")

LOADED = Family("offgrid_model_loaded", "gauge", "1 for a model that is ready, 0 while it loads.", ("model",))
RESERVED = Family("offgrid_model_reserved_bytes", "gauge", "What a model may come to take.", ("model",))
AWAITING = Family("offgrid_requests_awaiting_model", "gauge", "Requests whose model is not loaded yet.", ("model",))
RUNNING = Family("offgrid_sequences_running", "gauge", "Texts that take part in the steps.", ("model",))
WAITING = Family("offgrid_sequences_waiting", "gauge", "Texts that wait for a place in the steps.", ("model",))
CELLS = Family("offgrid_kv_cells", "gauge", "Cells of the context, one token each.", ("model",))
CELLS_USED = Family("offgrid_kv_cells_used", "gauge", "Of these, cells in use.", ("model",))
CELLS_CACHED = Family("offgrid_kv_cells_cached", "gauge", "Of the used ones, cells kept for later only.", ("model",))
CACHE_MEMORY = Family("offgrid_prompt_cache_memory_bytes", "gauge", "Prompts kept in memory.", ("model",))
# What the worker's figures hold → how they are shown.
OF_FIGURES = {
    "n_running": RUNNING,
    "n_waiting": WAITING,
    "n_cells": CELLS,
    "n_used": CELLS_USED,
    "n_idle": CELLS_CACHED,
    "warm_bytes": CACHE_MEMORY,
}

# The server's own process has the names that every Prometheus client library uses; each is a field of ProcessUse.
PROCESS = {
    "cpu_s": Family("process_cpu_seconds_total", "counter", "Processor time of the server's own process."),
    "resident_bytes": Family("process_resident_memory_bytes", "gauge", "In RAM, with shared pages."),
    "proportional_bytes": Family("process_proportional_memory_bytes", "gauge", "In RAM, with a share of shared pages."),
    "virtual_bytes": Family("process_virtual_memory_bytes", "gauge", "Address space."),
    "n_threads": Family("process_threads", "gauge", "Threads."),
    "n_fds": Family("process_open_fds", "gauge", "Open files and sockets."),
    "started_at": Family("process_start_time_seconds", "gauge", "Its start, in seconds since 1970."),
}
WORKER = {
    "cpu_s": Family("offgrid_worker_cpu_seconds_total", "counter", "Processor time of a model's process.", ("model",)),
    "resident_bytes": Family(
        "offgrid_worker_resident_memory_bytes", "gauge", "In RAM, with the pages of the model's file.", ("model",)
    ),
    "proportional_bytes": Family(
        "offgrid_worker_proportional_memory_bytes", "gauge", "In RAM, with a share of shared pages.", ("model",)
    ),
    "n_threads": Family("offgrid_worker_threads", "gauge", "Threads of a model's process.", ("model",)),
    "n_fds": Family("offgrid_worker_open_fds", "gauge", "Open files of a model's process.", ("model",)),
}
FAMILIES = (
    *traffic.FAMILIES,
    *meters.FAMILIES,
    *(BUILD, UPTIME, SESSIONS, DOCUMENTS, USERS, DATABASE, CACHE_DISK, DISK, DISK_FREE, MEMORY, MEMORY_AVAILABLE),
    MACHINE_CPU,
    *(BUDGET, LOADED, RESERVED, AWAITING, *OF_FIGURES.values(), *PROCESS.values(), *WORKER.values()),
)


@endpoint(answers={200: {TEXT: str}})
def get_metrics(_request: Request, app) -> Response:
    """Everything that is counted, for Prometheus."""
    readings = [*app.traffic.read(), *app.pool.meters.read(), *_server(app), *_machine(app), *_models(app)]
    return Response(200, exposition(readings), {"Content-Type": CONTENT_TYPE})


def _server(app) -> Iterator[Reading]:
    yield BUILD, {(offgrid.__version__, sys.version.split()[0], _llama_version()): 1}
    yield UPTIME, {(): time.monotonic() - app.started}
    yield SESSIONS, {(): app.sessions.count()}
    yield DOCUMENTS, {(): app.knowledge.documents.count_all()}
    yield USERS, {(): app.accounts.users.count()}
    yield DATABASE, {(): app.db.n_bytes}
    yield CACHE_DISK, {(): _folder_bytes(app.config.paths.data_dir / "cache")}
    if (own := app.machine.own()) is not None:
        for field, family in PROCESS.items():
            if (value := getattr(own, field)) is not None:
                yield family, {(): value}


def _machine(app) -> Iterator[Reading]:
    disk = shutil.disk_usage(app.config.paths.data_dir)
    yield DISK, {(): disk.total}
    yield DISK_FREE, {(): disk.free}
    total, available = app.machine.memory()
    yield MEMORY, {(): total}
    yield MEMORY_AVAILABLE, {(): available}
    if (seconds := app.machine.cpu_seconds()) is not None:
        yield MACHINE_CPU, {("busy",): seconds[0], ("idle",): seconds[1]}


def _models(app) -> Iterator[Reading]:
    pool = app.pool
    workers = pool.workers
    yield BUDGET, {(): pool.capacity}
    yield LOADED, {(worker.model_id,): int(worker.is_ready) for worker in workers}
    yield RESERVED, {(worker.model_id,): pool.budget.promised(worker.model_id) for worker in workers}
    yield AWAITING, {(model_id,): n for model_id, n in pool.waiting.items()}
    for name, family in OF_FIGURES.items():
        yield family, {(w.model_id,): w.figures[name] for w in workers if name in w.figures}
    children = app.machine.children()
    for field, family in WORKER.items():
        yield family, {(id,): value for id, use in children.items() if (value := getattr(use, field)) is not None}


@cache
def _llama_version() -> str:
    from importlib.metadata import PackageNotFoundError, version  # takes as long as a tenth of the server's start

    try:
        return version("llama-cpp-python")
    except PackageNotFoundError:
        return "unknown"


def _folder_bytes(folder: Path) -> int:
    n_bytes = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                n_bytes += os.stat(os.path.join(parent, name)).st_size
            except OSError:  # it was removed meanwhile
                pass
    return n_bytes
