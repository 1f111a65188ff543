"""The one memory budget of this server: who was promised how much, and how much may still be promised.

Every process of ours that holds a model, of whatever kind, has its promise here from before its start until after its
end. What the machine can give is read afresh at each question. Memory that one of ours has taken already is missing
from that figure, and is ours all the same; pages of a mapped model file are *not* missing from it (the kernel calls
them available), although the model needs them. Hence: capacity = available + what ours hold privately - a reserve for
the system, and room = capacity - all promises. Knows names, bytes and process ids, not models. Safe for any thread.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from offgrid.procs import machine

# For the system and for what people start next: a sixteenth of the machine, within these bounds.
LEAST_RESERVE_BYTES, MOST_RESERVE_BYTES = 64 << 20, 512 << 20


@dataclass
class _Promise:
    n_bytes: int
    pid: int | None = None  # None until its process is started


@dataclass(frozen=True, slots=True)
class Look:
    """One reading of the budget, to decide by. Memory in use moves from one reading to the next."""

    capacity: int  # what all of ours together may hold
    room: int  # what may still be promised; below 0 when other programs have taken what was promised
    promised: int


class Budget:
    def __init__(
        self,
        limit_bytes: int = 0,
        *,
        available: Callable[[], int] = machine.available_bytes,
        private: Callable[[int], int] = machine.private_bytes,
        reserve_bytes: int | None = None,
    ):
        """`limit_bytes`: all promises together never exceed it; 0 is no limit but the machine's."""
        self._limit_bytes = limit_bytes
        self._available = available
        self._private = private
        if reserve_bytes is None:
            reserve_bytes = min(max(machine.total_bytes() // 16, LEAST_RESERVE_BYTES), MOST_RESERVE_BYTES)
        self._reserve_bytes = reserve_bytes
        self._promises: dict[str, _Promise] = {}
        self._lock = threading.Lock()

    def look(self) -> Look:
        """What there is now."""
        with self._lock:
            return self._look()

    def reserve(self, name: str, n_bytes: int, look: Look | None = None) -> bool:
        """Promise `n_bytes` to `name`; False, and nothing changed, when there is not so much room.

        With `look` it is decided by that reading, less what was promised since.
        """
        with self._lock:
            assert name not in self._promises, f"{name} has its memory already"
            look = look or self._look()
            if n_bytes > look.room - max(self._promised() - look.promised, 0):
                return False
            self._promises[name] = _Promise(n_bytes)
            return True

    def attach(self, name: str, pid: int) -> None:
        """Say which process a promise is for."""
        with self._lock:
            self._promises[name].pid = pid

    def release(self, name: str) -> None:
        """Take a promise back; its process has ended. Harmless for a name without one."""
        with self._lock:
            self._promises.pop(name, None)

    def promised(self, name: str | None = None) -> int:
        """Bytes promised to `name`, or to all together."""
        with self._lock:
            if name is None:
                return self._promised()
            return self._promises[name].n_bytes if name in self._promises else 0

    @staticmethod
    def machine_bytes() -> int:
        """All the memory of the machine, whoever uses it."""
        return machine.total_bytes()

    def _look(self) -> Look:
        held = {name: self._private(promise.pid) if promise.pid else 0 for name, promise in self._promises.items()}
        capacity = max(self._available() + sum(held.values()) - self._reserve_bytes, 0)
        if self._limit_bytes:
            capacity = min(capacity, self._limit_bytes)
        # One that holds more than it was promised counts with what it holds.
        taken = sum(max(promise.n_bytes, held[name]) for name, promise in self._promises.items())
        return Look(capacity, capacity - taken, self._promised())

    def _promised(self) -> int:
        return sum(promise.n_bytes for promise in self._promises.values())
