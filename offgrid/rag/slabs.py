"""The rows of a store of vectors, in slabs of a fixed size, and what never changes about them once it can be seen.

A `Slab` is a picture: nothing that can be read through it changes any more. The last slab grows: later rows go into
the same memory behind its end, where no earlier picture reaches, and a new picture with a later end takes its place.
A removal makes a new picture of the same memory with another `alive`.

Slabs instead of one array: growing copies nothing, removing copies one slab at most, and what is computed of a slab
fits into the processor's cache. Knows nothing of queries, scores and threads.
"""

from copy import copy
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, eq=False)
class Slab:
    """Some rows, their ids and documents; `alive` says which of them count."""

    rows: np.ndarray  # (n, n_dim) float32, of unit length or zero
    ids: np.ndarray  # (n,) int64
    documents: np.ndarray  # (n,) int64
    signs: np.ndarray | None  # (n_words, n) uint64, see signs.py
    alive: np.ndarray  # (n,) bool
    n_alive: int
    by_id: np.ndarray | None  # (n_alive,) those that count, in the order of their ids; None: all, and as they are

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def n_bytes(self) -> int:
        arrays = (self.rows, self.ids, self.documents, self.signs, self.alive, self.by_id)
        return sum(array.nbytes for array in arrays if array is not None)

    def find(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which of `ids` are rows here that count: their positions in `ids`, and the rows. Two arrays of one length."""
        known = self.ids if self.by_id is None else self.ids[self.by_id]
        if not len(known):
            return np.empty(0, np.int64), np.empty(0, np.int64)
        at = np.minimum(np.searchsorted(known, ids), len(known) - 1)
        asked = np.flatnonzero(known[at] == ids)
        found = at[asked]
        return asked, found if self.by_id is None else self.by_id[found]

    def of_documents(self, documents: np.ndarray) -> np.ndarray:
        """(n,) bool: the rows that count and are of one of these documents, which are in order and at least one.

        Rows of a document mostly lie together, so it is looked up once for each stretch of them.
        """
        starts = np.flatnonzero(np.concatenate(([True], self.documents[1:] != self.documents[:-1])))
        stretches = self.documents[starts]
        at = np.minimum(np.searchsorted(documents, stretches), len(documents) - 1)
        return self.alive & np.repeat(documents[at] == stretches, np.diff(starts, append=len(self)))

    def without(self, document: int) -> "Slab":
        """The same rows, where those of `document` do not count; this very slab when it has none."""
        alive = self.alive & (self.documents != document)
        if np.count_nonzero(alive) == self.n_alive:
            return self
        return picture(self.rows, self.ids, self.documents, self.signs, alive)


def picture(rows, ids, documents, signs, alive) -> Slab:
    """A Slab of arrays that nobody changes any more."""
    n_alive = int(np.count_nonzero(alive))
    by_id = None
    if n_alive < len(ids) or not (ids[1:] > ids[:-1]).all():
        living = np.flatnonzero(alive)
        by_id = living[np.argsort(ids[living])]
    return Slab(rows, ids, documents, signs, alive, n_alive, by_id)


class Tail:
    """The memory of the slab that grows. What has been written into it is never written again."""

    def __init__(self, n_rows: int, n_dim: int, n_words: int):
        # Memory that was not written yet is not there yet: a store of ten rows takes no 24 MB.
        self.rows = np.empty((n_rows, n_dim), np.float32)
        self.ids = np.empty(n_rows, np.int64)
        self.documents = np.empty(n_rows, np.int64)
        self.signs = np.empty((n_words, n_rows), np.uint64) if n_words else None

    def __len__(self) -> int:
        return len(self.ids)

    def with_signs(self, n_words: int) -> "Tail":
        """The same memory, with room for other signs."""
        other = copy(self)
        other.signs = np.empty((n_words, len(self)), np.uint64)
        return other

    def extended(self, slab: Slab | None, rows, ids, documents, signs) -> Slab:
        """`slab`, which is this memory so far, with further rows behind its end."""
        start = len(slab) if slab else 0
        end = start + len(ids)
        self.rows[start:end] = rows
        self.ids[start:end] = ids
        self.documents[start:end] = documents
        if self.signs is not None:
            self.signs[:, start:end] = signs
        alive = np.ones(end, bool)
        if slab:
            alive[:start] = slab.alive
        seen_signs = None if self.signs is None else self.signs[:, :end]
        return picture(self.rows[:end], self.ids[:end], self.documents[:end], seen_signs, alive)
