"""How far each model's loading is, for people who wait: the latest word on each, and whoever wants every further one.

Knows no processes. A watcher is called by the thread that brings the news, under the board's lock, so that each sees
everything in order: it must neither block nor call the board. Safe for any thread.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

IDLE, MAKING_ROOM, STARTING, LOADING, READY, FAILED = "idle", "unloading", "starting", "loading", "ready", "failed"
PHASES = (IDLE, MAKING_ROOM, STARTING, LOADING, READY, FAILED)
ENDS = (READY, FAILED)
STARTED_PERCENT = 5  # of the whole: the process is there


@dataclass(frozen=True, slots=True)
class Progress:
    """`progress` is in percent. `is_warm`: loaded before by this server, so the file is probably still in memory."""

    model_id: str = ""
    phase: str = IDLE
    progress: int = 0
    message: str = ""
    started_at: str | None = None  # RFC 3339
    elapsed_ms: int = 0
    estimated_ms: int = 0  # of the whole loading; 0: not known yet
    error: str | None = None
    is_warm: bool = False
    size_mb: int = 0


Watcher = Callable[[Progress], None]


class LoadingBoard:
    def __init__(self):
        self._latest: dict[str, Progress] = {}
        self._began: dict[str, float] = {}  # model id → monotonic seconds
        self._took_ms: dict[str, int] = {}  # model id → its last complete loading
        self._watchers: dict[Watcher, str | None] = {}
        self._lock = threading.Lock()
        self._is_over = False

    def begin(self, model_id: str, size_bytes: int) -> None:
        """A model is asked for that is not loaded."""
        with self._lock:
            self._began[model_id] = time.monotonic()
            self._latest.pop(model_id, None)  # the newest loading stands last
            self._latest[model_id] = Progress(
                model_id,
                MAKING_ROOM,
                message="looks for memory",
                started_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
                is_warm=model_id in self._took_ms,
                estimated_ms=self._took_ms.get(model_id, 0),
                size_mb=round(size_bytes / 1e6),
            )

    def note(self, model_id: str, phase: str, message: str, *, fraction: float = 0.0, error: str | None = None) -> None:
        """The next word on a model's loading; `fraction` of its file is read."""
        with self._lock:
            if (last := self._latest.get(model_id)) is None or last.phase in ENDS:
                return  # a worker that ends long after it was ready is no news about loading
            elapsed_ms = round(1e3 * (time.monotonic() - self._began[model_id]))
            percent = _percent(phase, fraction)
            if phase == READY:
                self._took_ms[model_id] = elapsed_ms
            estimated_ms = self._took_ms.get(model_id) or (
                round(100 * elapsed_ms / percent) if percent > STARTED_PERCENT else 0
            )
            news = self._latest[model_id] = replace(
                last,
                phase=phase,
                progress=max(percent, last.progress if phase == LOADING else 0),
                message=message,
                elapsed_ms=elapsed_ms,
                estimated_ms=estimated_ms,
                error=error,
            )
            for watcher, wanted in self._watchers.items():
                if wanted in (None, model_id):
                    watcher(news)

    def latest(self, model_id: str | None = None) -> Progress:
        """The newest word on one model, or on the one whose loading began last."""
        with self._lock:
            return self._now(model_id)

    def watch(self, watcher: Watcher, model_id: str | None = None) -> None:
        """Have `watcher` called with the newest word, and then with each further one until `unwatch`."""
        with self._lock:
            watcher(self._now(model_id))
            self._watchers[watcher] = model_id
            if self._is_over:
                watcher(_last_word(model_id))

    def unwatch(self, watcher: Watcher) -> None:
        with self._lock:
            self._watchers.pop(watcher, None)

    def end(self) -> None:
        """The server stops: a last word for whoever watches, now or later."""
        with self._lock:
            self._is_over = True
            for watcher, model_id in self._watchers.items():
                watcher(_last_word(model_id))

    def _now(self, model_id: str | None) -> Progress:
        if model_id is None:
            model_id = next(reversed(self._latest), "")
        latest = self._latest.get(model_id) or Progress(model_id)
        if latest.phase in (IDLE, *ENDS):
            return latest
        return replace(latest, elapsed_ms=round(1e3 * (time.monotonic() - self._began[model_id])))


def _last_word(model_id: str | None) -> Progress:
    return Progress(model_id or "", FAILED, message="cannot be loaded", error="The server is stopping.")


def _percent(phase: str, fraction: float) -> int:
    if phase == READY:
        return 100
    if phase == LOADING:
        return STARTED_PERCENT + int(fraction * (95 - STARTED_PERCENT))  # the context is made after the file is read
    return STARTED_PERCENT if phase == STARTING else 0


def as_json(progress: Progress) -> dict:
    """As `GET /v1/loading/progress` has it: `error` only when there is one."""
    return {name: value for name, value in asdict(progress).items() if name != "error" or value is not None}
