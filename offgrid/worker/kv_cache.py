"""The cells of the KV cache: who holds which, and the only calls that change it.

A unified cache is one pool of cells, one token each; a cell belongs to one or more sequence ids and is free when the
last of them lets go. llama.cpp tells nobody how many are free, so the account is kept here, exactly: cells that were
computed in one go by one sequence are a `Span`, and an id holds the beginning of each span it shares.

Cells can be saved into host memory as a `State`, which may hold the end of a sequence only and build on another state:
many conversations over one document keep the document once.

Sequence ids below `n_slots` can be computed on; those above only hold cells. `device` makes the calls
(`model.Model`, or `fake.FakeModel`). Pure Python otherwise.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

MOST_IDS = 256  # llama.cpp's own limit; memory calls take all of them whatever n_seq_max is


Bytes = bytes | bytearray | memoryview  # or anything else with a buffer, such as a numpy array of uint8


class Device(Protocol):
    is_whole: bool  # recurrent or hybrid: neither a sequence nor a state can be cut, and no part of it copied
    n_window: int  # of the layers with a sliding window; 0: there are none

    def copy(self, source: int, target: int, start: int, end: int) -> None: ...
    def forget(self, id: int, n_keep: int = 0) -> None: ...
    def can_cut(self, id: int, n: int) -> bool: ...
    def shortest_cut(self, n: int) -> int: ...
    def state_bytes(self, id: int) -> int: ...
    def save(self, id: int) -> Bytes: ...
    def restore(self, id: int, state: Bytes) -> bool: ...


@dataclass(eq=False, slots=True)
class Span:
    """Cells that one sequence computed one after the other, in positions `start` to `end`. Known by identity."""

    start: int
    end: int


@dataclass(eq=False, slots=True)
class State:
    """Saved cells in positions `start` to `end` of a sequence; its beginning up to `start` is that of `base`."""

    start: int
    end: int
    data: Bytes
    n_bytes: int
    base: "State | None" = None

    @property
    def chain(self) -> Iterator["State"]:
        """This state, what it builds on, and so on: the last cells first."""
        state = self
        while state is not None:
            yield state
            state = state.base

    @property
    def n_cells(self) -> int:
        """The most cells in use while it is being restored."""
        return max(state.end for state in self.chain)


class KvCache:
    """Positions are contiguous from 0 in every id. Must stay true: `n_used` == cells that the device has in use."""

    def __init__(self, device: Device, n_slots: int, n_cells: int):
        self.n_cells = n_cells
        self.scratch_id = n_slots  # computable too, so that it can be saved from; empty between two calls
        self.holder_ids = range(n_slots + 1, MOST_IDS)
        self.n_used = 0
        self.n_peak = 0  # the most cells used since the pool was last empty: how far up cells may lie
        self.device = device
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
        self.device.copy(source, target, 0, n)
        self._held[target] = _first(self._held[source], n)

    def keep(self, id: int, n: int) -> None:
        """Let `id` hold its first `n` tokens only."""
        self.device.forget(id, n)
        self._held[id] = _first(self._held.get(id, []), n)
        self._recount()

    def drop(self, id: int) -> None:
        self.device.forget(id)
        self._held.pop(id, None)
        self._recount()

    def can_cut(self, id: int, n: int) -> bool:
        """Whether the first `n` tokens of an id are there to be gone on from."""
        return n <= self.length(id) and self.device.can_cut(id, n)

    def save(self, id: int, n: int, most_bytes: int, base: State | None = None, start: int = 0) -> State | None:
        """The first `n` tokens of a sequence, whose cells stay; None when that is more than `most_bytes`.

        With `base`, a state of the same tokens up to `start` at least, only the cells from there on are saved.
        """
        # Saved from an id that only holds, a state could not be restored; and a state is always of all cells of an id.
        self.device.copy(id, self.scratch_id, start, n)
        n_bytes = self.device.state_bytes(self.scratch_id)
        data = self.device.save(self.scratch_id) if n_bytes <= most_bytes else None
        self.device.forget(self.scratch_id)
        return None if data is None else State(start, n, data, n_bytes, base)

    def restore(self, id: int, state: State, n: int) -> bool:
        """Put a saved state into the empty id, which keeps the first `n` tokens; False, and it is empty, when the cells
        or the device do not allow it."""
        assert not self.length(id), f"restore over {id}"
        if state.n_cells > self.n_free:
            return False
        end = n
        parts = []  # the first cells first, each with the position where it stops
        for part in state.chain:
            if part.start < end:
                parts.insert(0, (part, min(part.end, end)))
            end = min(end, part.start)
        for part, end in parts:
            if not self._restore_part(id, part):
                self.drop(id)
                return False
            if end < part.end:
                self.keep(id, end)
        return True

    def _restore_part(self, id: int, part: State) -> bool:
        # A restored state replaces all that an id held, so what builds on other cells comes by way of another id.
        target = id if not part.start else self.scratch_id
        if not self.device.restore(target, part.data):
            return False
        if part.start:
            self.device.copy(target, id, part.start, part.end)
            self.device.forget(target)
        self._held.setdefault(id, []).append((Span(part.start, part.end), part.end))
        self._recount()
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
