"""Writes that can wait: many small reasons to write become one, a while after the first of them.

A `save` that fails is tried again after the same time. Must stay true: `save` never runs twice at once, and not after
`stop`.
"""

import logging
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)


class Batch:
    """Calls `save` in a thread called `name`, `after_s` after the first `mark` since the last time. From any thread."""

    def __init__(self, save: Callable[[], None], after_s: float, name: str):
        self._save = save
        self._after_s = after_s
        self._name = name
        self._timer: threading.Timer | None = None
        self._lock = threading.Lock()
        self._saving = threading.Lock()  # taken before the other one
        self._is_stopped = False

    def mark(self) -> None:
        """There is something to be saved. Costs nothing while a save is due already."""
        if self._timer is not None:
            return
        with self._lock:
            if self._timer is None and not self._is_stopped:
                self._timer = threading.Timer(self._after_s, self._run)
                self._timer.name, self._timer.daemon = self._name, True
                self._timer.start()

    def stop(self) -> None:
        """Save now what is due, and nothing from now on."""
        with self._lock:
            self._is_stopped = True
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        with self._saving:
            if timer is not None:
                self._try_to_save()

    def _run(self) -> None:
        with self._saving:
            with self._lock:
                if self._is_stopped:
                    return
                self._timer = None
            if not self._try_to_save():
                self.mark()

    def _try_to_save(self) -> bool:
        try:
            self._save()
        except Exception:
            log.exception("%s: what was noted could not be saved", self._name)
            return False
        return True
