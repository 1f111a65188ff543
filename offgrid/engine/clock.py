"""A clock that rings once, at the earliest of the times it was told; without one there is no thread."""

import threading
import time
from collections.abc import Callable


class Clock:
    """`ring` is called in a thread of its own, called `name`."""

    def __init__(self, ring: Callable[[], None], name: str):
        self._ring = ring
        self._name = name
        self._timer: threading.Timer | None = None
        self._rings_at = 0.0
        self._lock = threading.Lock()

    @property
    def is_set(self) -> bool:
        return self._timer is not None

    def ring_by(self, at: float) -> None:
        """Ring at `at` (monotonic seconds) at the latest; whoever is called too early sets it again."""
        with self._lock:
            if self._timer is not None and self._rings_at <= at:
                return
            self._cancel()
            self._rings_at = at
            self._timer = threading.Timer(max(at - time.monotonic(), 0), self._run)
            self._timer.name, self._timer.daemon = self._name, True
            self._timer.start()

    def stop(self) -> None:
        with self._lock:
            self._cancel()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _run(self) -> None:
        with self._lock:
            if self._timer is not threading.current_thread():
                return  # another was set while this one began to ring
            self._timer = None
        self._ring()
