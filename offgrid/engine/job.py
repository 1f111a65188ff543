"""What is asked of a model, from the moment it is asked: first it may wait for its model, then a worker has it."""

import threading
import time
from collections.abc import Callable

from offgrid.errors import ApiError
from offgrid.types import Asked, Sink


class Job:
    """One request, or with `request` None the wish that the model be loaded, which ends with a `Loaded`.

    `cancel` may be called at any time and any number of times, from any thread. Otherwise exactly one terminal event
    reaches the sink.
    """

    def __init__(
        self,
        request: Asked,
        sink: Sink,
        keep_alive_s: float | None,
        on_cancel: Callable[[], None],
    ):
        """`keep_alive_s`: how long the model is to stay afterwards; None leaves it as it is. `on_cancel` is called
        when the job is cancelled while no worker has it.
        """
        self.request = request
        self.keep_alive_s = keep_alive_s
        self.asked_at = time.monotonic()
        self.is_cancelled = False
        self._sink = sink
        self._on_cancel = on_cancel  # the worker's, once it has the job
        self._lock = threading.Lock()

    def cancel(self) -> None:
        with self._lock:
            self.is_cancelled = True
            on_cancel = self._on_cancel
        on_cancel()

    def hand_to(self, worker) -> bool:
        """Submit it to a `WorkerClient`, unless it was cancelled; False when that one takes nothing any more."""
        with self._lock:
            if self.is_cancelled:
                return True
            cancel = worker.submit(self.request, self._sink, self.keep_alive_s)
            self._on_cancel = cancel or self._on_cancel
            return cancel is not None

    def fail(self, error: ApiError) -> None:
        """End a job that no worker has."""
        with self._lock:
            is_open, self.is_cancelled = not self.is_cancelled, True
        if is_open:
            self._sink(error)
