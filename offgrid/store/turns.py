"""Who may do the next costly thing: a few at once, the others in turns by name, so that nobody's crowd delays another.

Knows nothing of what is done. Must stay true: while somebody waits, nothing is free.
"""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from offgrid.errors import Unavailable


class Turns:
    """Up to `n_at_once` turns at a time; `most_waiting` wait, of one name `most_waiting_each`. From any thread.

    `refusal` is what the others are told.
    """

    def __init__(self, n_at_once: int, most_waiting: int, most_waiting_each: int, refusal: str):
        self._refusal = refusal
        self._lock = threading.Lock()
        self._n_free = n_at_once
        self._most, self._most_each = most_waiting, most_waiting_each
        self._waiting: dict[str, deque[threading.Event]] = {}  # by name; the first one's turn is next
        self.n_waiting = 0

    @contextmanager
    def turn(self, name: str) -> Iterator[None]:
        """Wait for a turn, and hold it in the block. Raises Unavailable when too many wait already."""
        self._begin(name)
        try:
            yield
        finally:
            self._end()

    def _begin(self, name: str) -> None:
        with self._lock:
            if self._n_free:
                self._n_free -= 1
                return
            if self.n_waiting >= self._most or len(self._waiting.get(name, ())) >= self._most_each:
                raise Unavailable(self._refusal, retry_after_s=5)
            called = threading.Event()
            self._waiting.setdefault(name, deque()).append(called)
            self.n_waiting += 1
        called.wait()

    def _end(self) -> None:
        with self._lock:
            if not self._waiting:
                self._n_free += 1
                return
            name = next(iter(self._waiting))
            line = self._waiting.pop(name)
            line.popleft().set()
            self.n_waiting -= 1
            if line:
                self._waiting[name] = line  # behind the others
