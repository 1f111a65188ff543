"""Where new sequences wait while the file with their beginning is read, so that neither the model nor others wait.

`submit` and `cancel` belong to the thread that takes requests in; the reader of `prefix_files` comes from its own.
"""

import threading

from offgrid.worker.engine import Engine
from offgrid.worker.kv_cache import Bytes
from offgrid.worker.prefix_cache import PrefixCache
from offgrid.worker.prefix_files import PrefixFiles, StoredPrefix
from offgrid.worker.sequence import Sequence


class Intake:
    def __init__(self, files: PrefixFiles, cache: PrefixCache, engine: Engine):
        self.files = files
        self.cache = cache
        self.engine = engine
        self._lock = threading.Lock()
        self._reading: dict[int, Sequence] = {}  # request → its sequence

    @property
    def is_idle(self) -> bool:
        return not self._reading

    def submit(self, sequence: Sequence) -> None:
        """Hand a sequence to the engine, once the file with its beginning is read, if there is one."""
        stored = self.files.find(sequence.tokens)
        if stored is None:
            self.engine.submit(sequence)
            return
        self._reading[sequence.id] = sequence
        self.files.read(stored, lambda state: self._was_read(sequence, stored, state))

    def _was_read(self, sequence: Sequence, stored: StoredPrefix, state: Bytes | None) -> None:
        if state is not None:
            self.cache.bring(stored, state)
        with self._lock:  # a cancel must find the sequence here or there
            if self._reading.pop(sequence.id, None) is not None:
                self.engine.submit(sequence)

    def cancel(self, id: int) -> None:
        with self._lock:
            if (sequence := self._reading.pop(id, None)) is None:
                self.engine.cancel(id)
            else:
                sequence.sampler.close()
