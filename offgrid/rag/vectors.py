"""The vectors of one data store in memory: which of them are most like a query.

Cosine similarity, exact up to `prefilter_from` rows. Beyond, the signs of the vectors (signs.py) choose the rows that
are worth comparing, and those are compared exactly. No SQL, no files: whoever builds it reads them from the database.

Threads: any number may search while one changes; changes wait for each other. Everything that a search reads hangs from
one `_State`, which is never changed, only replaced: a search sees the store before a change or after it, whole.

Must stay true: every slab but the last is full, and every slab is more than half alive.
"""

import threading
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from offgrid.rag.signs import Planes, distances, reach
from offgrid.rag.slabs import Slab, Tail, picture

SLAB_ROWS = 16_384  # 24 MB with 384 dimensions
PREFILTER_FROM = 100_000
SLABS_FOR_TWO = 2  # from so many on two threads compare: some milliseconds' work
# A float32 product of two unit vectors with n_dim up to some thousands is this exact, with whatever order of additions.
ROUNDING = 1e-5
# How many rows the signs let through: docs/knowledge-speed.md has what was found with how many.
LIKELY_SHARE = 0.015  # of the rows
LIKELY_PER_RESULT = 100
LIKELY_AT_LEAST = 1000
LIKELY_SAMPLE = 500  # of the likely ones: enough to guess the distance within which they all are


@dataclass(frozen=True, slots=True)
class _State:
    slabs: tuple[Slab, ...] = ()
    tail: Tail | None = None  # the memory of the last slab
    planes: Planes | None = None
    n_at_planes: int = 0  # rows when the planes were laid
    n_alive: int = 0


class Vectors:
    """Rows of `n_dim` numbers with ids, by document.

    Up to `prefilter_from` rows a search compares all. `slab_rows` is how many rows lie together in memory.
    """

    def __init__(self, n_dim: int, *, prefilter_from: int = PREFILTER_FROM, slab_rows: int = SLAB_ROWS):
        if n_dim < 1:
            raise ValueError(f"vectors of {n_dim} dimensions; at least 1 is needed")
        self.n_dim = n_dim
        self._prefilter_from = prefilter_from
        self._slab_rows = slab_rows
        self._changing = threading.Lock()
        self._state = _State()

    def __len__(self) -> int:
        return self._state.n_alive

    @property
    def n_bytes(self) -> int:
        """Bytes of memory that its rows take, with those removed rows whose place has not been taken back yet."""
        return sum(slab.n_bytes for slab in self._state.slabs)

    def add(self, document: int, ids: np.ndarray, block: np.ndarray) -> None:
        """Take in rows of a document; searches see all of them or none.

        `ids` (n,) int64, none of them here yet; `block` (n, n_dim), made float32 of unit length. Rows of zeros stay.
        Raises ValueError, and takes nothing in, for a wrong shape, numbers that are not finite and ids that are here.
        """
        ids, block = np.asarray(ids, np.int64), np.asarray(block, np.float32)
        if ids.ndim != 1 or block.shape != (len(ids), self.n_dim):
            wanted = f"({ids.size}, {self.n_dim})"
            raise ValueError(f"a block of shape {block.shape} with ids of shape {ids.shape}; {wanted} is needed")
        if not len(ids):
            return
        peaks = np.abs(block).max(axis=1)
        if not np.isfinite(peaks).all():
            raise ValueError(f"row {int(np.argmin(np.isfinite(peaks)))} of the block holds numbers that are not finite")
        if len(np.unique(ids)) < len(ids):
            raise ValueError("an id stands twice in one block; every row needs an id of its own")
        with self._changing:
            state = self._state
            for slab in state.slabs:
                if len(known := slab.find(ids)[0]):
                    raise ValueError(f"id {ids[known[0]]} is here already; remove its document first")
            for start in range(0, len(ids), self._slab_rows):
                end = start + self._slab_rows
                rows = _unit(block[start:end], peaks[start:end])
                state = self._appended(state, rows, ids[start:end], np.full(len(rows), document, np.int64))
            self._state = self._with_planes(state)

    def remove(self, document: int) -> int:
        """Forget a document's rows; how many they were. Searches that begin from now on do not see them."""
        with self._changing:
            before = self._state
            slabs = [slab.without(document) for slab in before.slabs]
            n_alive = sum(slab.n_alive for slab in slabs)
            if n_alive == before.n_alive:
                return 0
            sparse = [slab for slab in slabs if slab.n_alive * 2 <= len(slab)]
            kept = tuple(slab for slab in slabs if slab.n_alive * 2 > len(slab))
            tail = before.tail if kept and kept[-1] is slabs[-1] else None
            state = replace(before, slabs=kept, tail=tail, n_alive=sum(slab.n_alive for slab in kept))
            for slab in sparse:  # what lives of them goes to the end: one slab's rows at most are copied at a time
                alive = slab.alive
                state = self._appended(state, slab.rows[alive], slab.ids[alive], slab.documents[alive])
            self._state = state
            return before.n_alive - n_alive

    def search(self, query: np.ndarray, n: int, allowed: Collection[int] | None = None) -> list[tuple[int, float]]:
        """The `n` rows most like `query`, the best first: (id, cosine); of equal ones the smaller id.

        `query` (n_dim,), of any length; `allowed`: the documents whose rows may be found, None: all.
        Raises ValueError for a query of another shape or with numbers that are not finite.
        """
        query = self._unit_query(query)
        state = self._state
        masks = _masks(state.slabs, allowed)
        n_rows = sum(int(np.count_nonzero(mask)) for mask in masks)
        if n < 1 or not n_rows:
            return []
        best = _Best(n)
        if state.planes is None or n_rows <= self._prefilter_from:
            _compare_all(state.slabs, masks, query, best)
        else:
            _compare_likely(state, masks, n_rows, query, best)
        return _ranked(state.slabs, best, query)

    def score(self, query: np.ndarray, ids: Sequence[int]) -> list[float]:
        """The cosine of `query` and each of these rows, as `search` gives it; nan for an id that is not here."""
        query = self._unit_query(query)
        asked, rows = self._found(ids)
        scores = np.full(len(ids), np.nan, np.float32)
        scores[asked] = _cosines(rows, query)
        return scores.tolist()

    def rows(self, ids: Sequence[int]) -> np.ndarray:
        """(n, n_dim) float32: these rows, in this order. Raises KeyError for an id that is not here."""
        asked, found = self._found(ids)
        if len(asked) < len(ids):
            raise KeyError(ids[int(np.setdiff1d(np.arange(len(ids)), asked)[0])])
        rows = np.empty((len(ids), self.n_dim), np.float32)
        rows[asked] = found
        return rows

    def _found(self, ids: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Which of `ids` (by position) are here, and their rows (n_found, n_dim)."""
        ids = np.asarray(ids, np.int64)
        asked, rows = [np.empty(0, np.int64)], [np.empty((0, self.n_dim), np.float32)]
        for slab in self._state.slabs:
            found, at = slab.find(ids)
            if len(found):
                asked.append(found)
                rows.append(slab.rows[at])
        return np.concatenate(asked), np.concatenate(rows)

    def _unit_query(self, query: np.ndarray) -> np.ndarray:
        query = np.asarray(query, np.float32)
        if query.shape != (self.n_dim,):
            raise ValueError(f"a query of shape {query.shape}; ({self.n_dim},) is needed")
        peaks = np.abs(query[np.newaxis]).max(axis=1)
        if not np.isfinite(peaks).all():
            raise ValueError("the query holds numbers that are not finite")
        return _unit(query[np.newaxis], peaks)[0]

    def _appended(self, state: _State, rows: np.ndarray, ids: np.ndarray, documents: np.ndarray) -> _State:
        """The state with these rows at its end, which may begin a new slab."""
        slabs, tail = list(state.slabs), state.tail
        signs = state.planes.signs(rows) if state.planes else None
        start = 0
        while start < len(ids):
            if tail is None or len(slabs[-1]) == len(tail):
                tail = Tail(self._slab_rows, self.n_dim, state.planes.n_words if state.planes else 0)
                slabs.append(picture(tail.rows[:0], tail.ids[:0], tail.documents[:0], None, np.empty(0, bool)))
            end = min(len(ids), start + len(tail) - len(slabs[-1]))
            piece = None if signs is None else signs[:, start:end]
            slabs[-1] = tail.extended(slabs[-1], rows[start:end], ids[start:end], documents[start:end], piece)
            start = end
        return replace(state, slabs=tuple(slabs), tail=tail, n_alive=state.n_alive + len(ids))

    def _with_planes(self, state: _State) -> _State:
        """The state with planes through the mean of its rows, once they are many, and again when they have doubled."""
        if state.n_alive < max(self._prefilter_from, 2 * state.n_at_planes):
            return state
        total = sum(slab.alive.astype(np.float32) @ slab.rows for slab in state.slabs)
        planes = Planes(total / state.n_alive)
        tail = state.tail.with_signs(planes.n_words)
        slabs = []
        for slab in state.slabs:
            signs = planes.signs(slab.rows)
            if slab is state.slabs[-1]:
                tail.signs[:, : len(slab)] = signs
                signs = tail.signs[:, : len(slab)]
            slabs.append(replace(slab, signs=signs))
        return replace(state, slabs=tuple(slabs), tail=tail, planes=planes, n_at_planes=state.n_alive)


class _Best:
    """The best rows so far, with all that may equal the last of them: what float32 cannot tell apart is kept."""

    def __init__(self, n: int):
        self.n = n
        self._floor = -np.inf
        self._parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []  # numbers of slabs, rows in them, scores
        self._n_held = 0

    def offer(self, slab: int, rows: np.ndarray | None, scores: np.ndarray) -> None:
        """Rows of a slab (None: all of it, in order) and their scores."""
        kept = np.flatnonzero(scores >= self._floor)
        if not len(kept):
            return
        rows = kept if rows is None else rows[kept]
        self._parts.append((np.full(len(kept), slab), rows, scores[kept]))
        self._n_held += len(kept)
        if self._n_held > 2 * self.n:
            self._shrink()

    def _shrink(self) -> None:
        slabs, rows, scores = self.held()
        self._floor = float(np.partition(scores, -self.n)[-self.n]) - ROUNDING
        kept = np.flatnonzero(scores >= self._floor)
        self._parts = [(slabs[kept], rows[kept], scores[kept])]
        self._n_held = len(kept)

    def join(self, other: "_Best") -> None:
        self._parts += other._parts

    def held(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Numbers of slabs, rows in them, scores: three arrays of one length, not in order."""
        slabs, rows, scores = (np.concatenate(arrays) for arrays in zip(*self._parts, strict=True))
        return slabs, rows, scores


def _masks(slabs: Sequence[Slab], allowed: Collection[int] | None) -> list[np.ndarray]:
    """For each slab (n,) bool: the rows that may be found."""
    if allowed is None:
        return [slab.alive for slab in slabs]
    documents = np.unique(np.fromiter(allowed, np.int64, len(allowed)))
    return [slab.of_documents(documents) for slab in slabs] if len(documents) else []


def _compare_all(slabs: Sequence[Slab], masks: list[np.ndarray], query: np.ndarray, best: _Best) -> None:
    work = iter(list(zip(range(len(slabs)), slabs, masks, strict=True)))
    if len(slabs) < SLABS_FOR_TWO:
        _compare(work, query, best)
        return
    # Whoever is free takes the next slab: with cores that are busy otherwise, this thread does most of it and waits for
    # one slab at most. BLAS's own threads would share each slab evenly and wait for each other every time.
    others = _Best(best.n)
    with ThreadPoolExecutor(1, thread_name_prefix="vectors") as helper:
        helping = helper.submit(_compare, work, query, others)
        _compare(work, query, best)
        helping.result()
    best.join(others)


def _compare(work: Iterator[tuple[int, Slab, np.ndarray]], query: np.ndarray, best: _Best) -> None:
    for number, slab, mask in work:
        n_rows = int(np.count_nonzero(mask))
        if n_rows == len(slab):
            best.offer(number, None, np.vecdot(slab.rows, query))
        elif n_rows:
            rows = np.flatnonzero(mask)
            # Reading all rows in order is faster than picking out more than a quarter of them.
            dense = n_rows * 4 > len(slab)
            best.offer(number, rows, np.vecdot(slab.rows, query)[rows] if dense else np.vecdot(slab.rows[rows], query))


def _compare_likely(state: _State, masks: list[np.ndarray], n_rows: int, query: np.ndarray, best: _Best) -> None:
    apart = distances([slab.signs for slab in state.slabs], state.planes.signs(query[np.newaxis]))
    n_likely = max(LIKELY_AT_LEAST, LIKELY_PER_RESULT * best.n, LIKELY_SHARE * n_rows)
    every = max(1, int(n_likely) // LIKELY_SAMPLE)
    sample = [(far if mask.all() else far[mask])[::every] for far, mask in zip(apart, masks, strict=True)]
    within = reach(np.concatenate(sample), n_likely / every)
    for number, (slab, mask, far) in enumerate(zip(state.slabs, masks, apart, strict=True)):
        rows = np.flatnonzero((far <= within) & mask)
        if len(rows):
            best.offer(number, rows, np.vecdot(slab.rows[rows], query))


def _ranked(slabs: Sequence[Slab], best: _Best, query: np.ndarray) -> list[tuple[int, float]]:
    """The best in order, by scores that do not depend on how the rows lie in memory."""
    numbers, rows, _ = best.held()
    ids = np.empty(len(rows), np.int64)
    scores = np.empty(len(rows), np.float32)
    for number in np.unique(numbers).tolist():
        here = np.flatnonzero(numbers == number)
        ids[here] = slabs[number].ids[rows[here]]
        scores[here] = _cosines(slabs[number].rows[rows[here]], query)
    order = np.lexsort((ids, -scores))[: best.n]
    return list(zip(ids[order].tolist(), scores[order].tolist(), strict=True))


def _cosines(rows: np.ndarray, query: np.ndarray) -> np.ndarray:
    """(n,) float32. Summed in float64, so that equal rows have equal scores wherever they lie."""
    return np.clip(rows.astype(np.float64) @ query.astype(np.float64), -1, 1).astype(np.float32)


def _unit(rows: np.ndarray, peaks: np.ndarray) -> np.ndarray:
    """The rows with unit length; `peaks` (n,) are their largest absolute values, which keep squares within float32."""
    scaled = rows / np.where(peaks > 0, peaks, 1)[:, np.newaxis]
    norms = np.sqrt(np.einsum("ij,ij->i", scaled, scaled))
    scaled /= np.where(norms > 0, norms, 1)[:, np.newaxis]
    return scaled
