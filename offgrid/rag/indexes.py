"""The vectors of the data stores in memory, each read from the database when it is first searched.

Must stay true: whoever changes a store's vectors does so between `changing` and its end, with the database and the
index in step; a search that begins afterwards sees the change. Numpy is loaded with this module, so not by the server's
start.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from offgrid.rag.vectors import Vectors
from offgrid.store.datastores import DataStore, Space
from offgrid.store.passages import Passages


class Indexes:
    """Any thread. `max_bytes`: what all together may hold; the one searched last stays however large it is."""

    def __init__(self, passages: Passages, max_bytes: int):
        self._passages = passages
        self._max_bytes = max_bytes
        self._lock = threading.Lock()  # guards the two below
        self._loaded: OrderedDict[int, tuple[int, Vectors]] = OrderedDict()  # store → (space, vectors), last used last
        self._turns: dict[int, threading.Lock] = {}  # store → whose turn it is to change or read in

    def get(self, store: DataStore, space: Space) -> Vectors:
        """The vectors of a store, read in now where they are not in memory."""
        found = self._in_memory(store, space)
        if found is None:
            with self.changing(store):
                found = self._in_memory(store, space)
                if found is None:
                    found = self._read(space)
                    with self._lock:
                        self._loaded[store.number] = (space.number, found)
                        self._drop_least_used()
        return found

    @contextmanager
    def changing(self, store: DataStore) -> Iterator[None]:
        """Nobody else changes this store's vectors, or reads them in, within the block."""
        with self._lock:
            turn = self._turns.setdefault(store.number, threading.Lock())
        with turn:
            yield

    def add(self, store: DataStore, space: Space, document: int, data: bytes) -> None:
        """Vectors of a document, before it is found; within `changing`."""
        if (vectors := self._in_memory(store, space)) is not None:
            vectors.add(document, np.array(self._passages.numbers(document)), _rows(data, space))

    def remove(self, store: DataStore, document: int) -> None:
        """Within `changing`."""
        with self._lock:
            _, vectors = self._loaded.get(store.number, (0, None))
        if vectors is not None:
            vectors.remove(document)

    def forget(self, store: DataStore) -> None:
        """Read them again at the next search, if there is one."""
        with self._lock:
            self._loaded.pop(store.number, None)

    @property
    def n_bytes(self) -> int:
        with self._lock:
            return sum(vectors.n_bytes for _, vectors in self._loaded.values())

    def _in_memory(self, store: DataStore, space: Space) -> Vectors | None:
        with self._lock:
            number, vectors = self._loaded.get(store.number, (0, None))
            if vectors is None or number != space.number:
                return None
            self._loaded.move_to_end(store.number)
            return vectors

    def _read(self, space: Space) -> Vectors:
        vectors = Vectors(space.n_dim)
        for document, numbers, data in self._passages.blocks(space):
            vectors.add(document, np.array(numbers), _rows(data, space))
        return vectors

    def _drop_least_used(self) -> None:
        while len(self._loaded) > 1 and sum(v.n_bytes for _, v in self._loaded.values()) > self._max_bytes:
            self._loaded.popitem(last=False)


def _rows(data: bytes, space: Space) -> np.ndarray:
    return np.frombuffer(data, "<f4").reshape(-1, space.n_dim)
