"""The cells of the KV cache: who holds which, and the only calls that change it.

A unified cache is one pool of cells, one token each; a cell belongs to one or more sequence ids and is free when the
last of them lets go. llama.cpp tells nobody how many are free, so the account is kept here, exactly: cells that were
computed in one go by one sequence are a `Span`, and an id holds the beginning of each span it shares.

Sequence ids below `n_slots` can be computed on; those above only hold cells. `device` makes the calls
(`model.Model`, or `fake.FakeModel`). Pure Python otherwise.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

MOST_IDS = 256  # llama.cpp's own limit; memory calls take all of them whatever n_seq_max is


class Device(Protocol):
    def copy(self, source: int, target: int, n: int) -> None: ...
    def forget(self, id: int, n_keep: int = 0) -> None: ...
    def state_bytes(self, id: int) -> int: ...
    def save(self, id: int) -> object: ...
    def restore(self, id: int, state: object) -> bool: ...


@dataclass(eq=False, slots=True)
class Span:
    """Cells that one sequence computed one after the other, in positions `start` to `end`. Known by identity."""

    start: int
    end: int


class KvCache:
    """Positions are contiguous from 0 in every id. Must stay true: `n_used` == cells that the device has in use."""

    def __init__(self, device: Device, n_slots: int, n_cells: int):
        self.n_cells = n_cells
        self.scratch_id = n_slots  # computable too, so that it can be saved from; empty between two calls
        self.holder_ids = range(n_slots + 1, MOST_IDS)
        self.n_used = 0
        self.n_peak = 0  # the most cells used since the pool was last empty: how far up cells may lie
        self._device = device
        self._held: dict[int, list[tuple[Span, int]]] = {}  # id → its spans, each with the position where it stops

    @property
    def n_free(self) -> int:
        return self.n_cells - self.n_used

    def length(self, id: int) -> int:
        """Tokens that an id holds."""
        spans = self._held.get(id)
        return spans[-1][1] if spans else 0

    def extended(self, id: int, n: int) -> None:
        """Note that `n` tokens of `id` were computed."""
        spans = self._held.setdefault(id, [])
        end = spans[-1][1] if spans else 0
        if spans and spans[-1][0].end == end:
            span = spans.pop()[0]  # grows: nobody has gone on from here yet
            span.end = end + n
        else:
            span = Span(end, end + n)
        spans.append((span, end + n))
        self.n_used += n
        self.n_peak = max(self.n_peak, self.n_used)

    def copy(self, source: int, target: int, n: int) -> None:
        """Let the empty id `target` share the first `n` tokens of `source`. No data moves."""
        assert not self.length(target) and n <= self.length(source), f"copy of {n} from {source} to {target}"
        self._device.copy(source, target, n)
        self._held[target] = _first(self._held[source], n)

    def keep(self, id: int, n: int) -> None:
        """Let `id` hold its first `n` tokens only."""
        self._device.forget(id, n)
        self._held[id] = _first(self._held.get(id, []), n)
        self._recount()

    def drop(self, id: int) -> None:
        self._device.forget(id)
        self._held.pop(id, None)
        self._recount()

    def save(self, id: int, most_bytes: int) -> tuple[object, int] | None:
        """(state, its bytes) of a sequence, for `restore`; None when that is more than `most_bytes`. Its cells stay."""
        # Saved from an id that only holds, a state could not be restored.
        self._device.copy(id, self.scratch_id, self.length(id))
        n_bytes = self._device.state_bytes(self.scratch_id)
        state = self._device.save(self.scratch_id) if n_bytes <= most_bytes else None
        self._device.forget(self.scratch_id)
        return None if state is None else (state, n_bytes)

    def restore(self, id: int, state: object, n_state: int, n: int) -> bool:
        """Put a saved state of `n_state` tokens into the empty id, which keeps the first `n`; False: it did not fit."""
        assert not self.length(id), f"restore over {id}"
        if n_state > self.n_free or not self._device.restore(id, state):
            return False
        self._held[id] = [(Span(0, n_state), n_state)]
        self._recount()
        if n < n_state:
            self.keep(id, n)
        return True

    def _recount(self) -> None:
        self.n_used = self.count()
        self.n_peak = max(self.n_peak, self.n_used) if self.n_used else 0

    def count(self) -> int:
        """Cells in use, counted afresh."""
        return sum(end - span.start for span, end in self._furthest(self._held).items())

    def count_only(self, ids: set[int]) -> int:
        """Cells that only these ids hold, and that would be free without them."""
        others = self._furthest(id for id in self._held if id not in ids)
        return sum(end - min(end, others.get(span, span.start)) for span, end in self._furthest(ids).items())

    def _furthest(self, ids: Iterable[int]) -> dict[Span, int]:
        """How far each span is held by any of these ids."""
        furthest: dict[Span, int] = {}
        for id in ids:
            for span, end in self._held.get(id, ()):
                furthest[span] = max(furthest.get(span, 0), end)
        return furthest


def _first(spans: list[tuple[Span, int]], n: int) -> list[tuple[Span, int]]:
    """The part of a chain of spans that covers the first `n` positions."""
    return [(span, min(end, n)) for span, end in spans if span.start < n]
