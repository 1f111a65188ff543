"""One bit for each dimension of a vector: on which side of a plane it lies. Vectors alike lie on mostly the same sides.

The angle between two vectors shows in the number of planes that lie between them. That number takes six words for 384
dimensions instead of 1536 bytes, so it tells quickly which rows are worth comparing; it never decides an order.

The planes go through the mean of the rows: embeddings of one model may lie in a narrow cone, and seen from zero all of
them are on the same side of most planes. Their directions are random, at right angles to each other: with the axes
themselves, a model with a few large dimensions would have a few bits that matter and many that do not. What was found
without either is in docs/knowledge-speed.md. Knows arrays only.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np

WORD_BITS = 64
STEP_ROWS = 4096  # rows whose signs are taken at once: the intermediate matrix stays small
SEED = 1


class Planes:
    """Planes through `centre` (n_dim,), one for each dimension."""

    def __init__(self, centre: np.ndarray):
        n_dim = len(centre)
        self._turn = _directions(n_dim)
        self._offsets = centre.astype(np.float32) @ self._turn  # (n_dim,)
        self.n_words = -(-n_dim // WORD_BITS)

    def signs(self, rows: np.ndarray) -> np.ndarray:
        """(n, n_dim) float32 → (n_words, n) uint64; bits beyond the last dimension are 0."""
        signs = np.zeros((len(rows), self.n_words * WORD_BITS // 8), np.uint8)
        for start in range(0, len(rows), STEP_ROWS):
            bits = np.packbits(rows[start : start + STEP_ROWS] @ self._turn > self._offsets, axis=1)
            signs[start : start + STEP_ROWS, : bits.shape[1]] = bits
        return np.ascontiguousarray(signs.view(np.uint64).T)


@cache  # beside a busy model this takes seconds instead of milliseconds: once for all stores of one dimension
def _directions(n_dim: int) -> np.ndarray:
    """(n_dim, n_dim) float32: columns of unit length at right angles to each other."""
    axes = np.random.default_rng(SEED).standard_normal((n_dim, n_dim))
    return np.linalg.qr(axes)[0].astype(np.float32)


def distances(signs: Sequence[np.ndarray], sides: np.ndarray) -> list[np.ndarray]:
    """How many planes lie between rows and one other: (n_words, n) uint64 each, and (n_words, 1) → (n,) uint16 each."""
    widest = max(words.shape[1] for words in signs)
    between = np.empty((len(sides), widest), np.uint64)  # written again for each: memory that is in the cache already
    counts = np.empty(between.shape, np.uint8)
    found = []
    for words in signs:
        n = words.shape[1]
        np.bitwise_xor(words, sides, out=between[:, :n])
        np.bitwise_count(between[:, :n], out=counts[:, :n])
        found.append(counts[:, :n].sum(axis=0, dtype=np.uint16))
    return found


def reach(distances: np.ndarray, n_wanted: float) -> int:
    """The smallest distance within which there are at least `n_wanted` rows, or all."""
    n_within = np.cumsum(np.bincount(distances))
    return int(min(np.searchsorted(n_within, n_wanted), len(n_within) - 1))
