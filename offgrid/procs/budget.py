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

    def reserve(self, name: str, n_bytes: int) -> bool:
        """Promise `n_bytes` to `name`; False, and nothing changed, when there is not so much room."""
        with self._lock:
            assert name not in self._promises, f"{name} has its memory already"
            if n_bytes > self._room():
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
                return sum(promise.n_bytes for promise in self._promises.values())
            return self._promises[name].n_bytes if name in self._promises else 0

    @staticmethod
    def machine_bytes() -> int:
        """All the memory of the machine, whoever uses it."""
        return machine.total_bytes()

    def capacity(self) -> int:
        """What all of ours together may hold, now."""
        with self._lock:
            return self._capacity()

    def room(self) -> int:
        """What may still be promised, now; below 0 when other programs have taken what was promised."""
        with self._lock:
            return self._room()

    def _capacity(self) -> int:
        held = sum(self._private(promise.pid) for promise in self._promises.values() if promise.pid)
        of_machine = max(self._available() + held - self._reserve_bytes, 0)
        return min(of_machine, self._limit_bytes) if self._limit_bytes else of_machine

    def _room(self) -> int:
        # One that holds more than it was promised counts with what it holds.
        taken = sum(max(p.n_bytes, self._private(p.pid) if p.pid else 0) for p in self._promises.values())
        return self._capacity() - taken
