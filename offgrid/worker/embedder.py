"""The loop of an embedding worker: texts of all callers are mixed into calls of a few hundred tokens.

Attention runs over the whole batch, so calls of 128 to 512 tokens are the quickest; one text of every caller in turn
goes into each call, so that somebody's ten thousand chunks do not hold up somebody else's one question.
"""

import queue
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from offgrid.worker.channel import Channel
from offgrid.worker.library import L
from offgrid.worker.meter import Meter
from offgrid.worker.model import Model
from offgrid.worker.scheduler import Chunk
from offgrid.worker.sequence import Sequence
from offgrid.worker.text import TextAssembler

CALL_TOKENS = 512  # the most tokens of one call, unless one text alone is longer
MAX_TEXTS = 64  # sequences of one call


@dataclass(eq=False, slots=True)
class EmbedJob:
    """One request: its texts as tokens, and the vectors that are done, (n_texts, n_dim) float32."""

    id: int
    texts: list[list[int]]
    vectors: list[np.ndarray] = field(default_factory=list)

    @property
    def n_tokens(self) -> int:
        return sum(map(len, self.texts))


class Embedder:
    def __init__(self, model: Model, channel: Channel):
        self.model = model
        self.channel = channel
        self.meter = Meter(channel)
        self.jobs: deque[EmbedJob] = deque()  # whose turn it is stands first
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    # --- from any thread ---

    def submit(self, job: EmbedJob) -> None:
        """Queue a job of at least one text, each of 1 to `model.n_batch` tokens."""
        self._inbox.put(lambda: self.jobs.append(job))

    def cancel(self, id: int) -> None:
        self._inbox.put(lambda: self._drop(id))

    def set_threads(self, n: int) -> None:
        self._inbox.put(lambda: self.model.set_threads(n))

    # --- the model's thread ---

    def run(self) -> None:
        while True:
            self.step()

    def step(self) -> None:
        if self.meter.is_due or (not self.jobs and self._inbox.empty()):
            self.meter.report({"n_running": len(self.jobs)})
        while not self.jobs or not self._inbox.empty():
            self._inbox.get()()
        picked = self._pick()
        for job, i in picked:
            if i == 0:
                self.channel.begin(job.id, job.n_tokens)
        self.channel.flush()
        started = time.monotonic()
        vectors = self._compute([job.texts[i] for job, i in picked])
        self.meter.note_step(len(picked), time.monotonic() - started)
        for (job, _), vector in zip(picked, vectors, strict=True):
            job.vectors.append(vector)
        for job in [job for job in self.jobs if len(job.vectors) == len(job.texts)]:
            self._finish(job)

    def _pick(self) -> list[tuple[EmbedJob, int]]:
        """The (job, index of text) pairs of the next call: one text of each job in turn, while they fit."""
        picked, n_tokens = [], 0
        upcoming = {job.id: len(job.vectors) for job in self.jobs}
        while len(picked) < MAX_TEXTS:
            job = next((j for j in self.jobs if upcoming[j.id] < len(j.texts)), None)
            if job is None:
                break
            n_tokens += len(job.texts[upcoming[job.id]])
            if picked and n_tokens > CALL_TOKENS:
                break
            picked.append((job, upcoming[job.id]))
            upcoming[job.id] += 1
            self.jobs.remove(job)
            self.jobs.append(job)
        return picked

    def _compute(self, texts: list[list[int]]) -> list[np.ndarray]:
        """The unit vectors of `texts`, each (n_dim,) float32."""
        chunks = [Chunk(_sequence(slot, tokens), len(tokens)) for slot, tokens in enumerate(texts)]
        self.model.decode(chunks)
        vectors = [self._vector(slot) for slot in range(len(texts))]
        for slot in range(len(texts)):
            self.model.forget(slot)  # encoders keep nothing; a causal model used as an embedder does
        return vectors

    def _vector(self, slot: int) -> np.ndarray:
        raw = L.llama_get_embeddings_seq(self.model.ctx, slot)
        vector = np.ctypeslib.as_array(raw, (self.model.n_embd,)).copy()  # the next call overwrites it
        norm = float(np.linalg.norm(vector))
        return vector / norm if norm else vector

    def _finish(self, job: EmbedJob) -> None:
        self.jobs.remove(job)
        vectors = np.stack(job.vectors)  # (n_texts, n_dim) float32
        if not np.isfinite(vectors).all():
            message = "The model computes vectors that are not numbers (NaN): its file is damaged. Copy it again."
            self.channel.refuse(job.id, {"kind": "internal", "message": message})
            return
        about = {"op": "vectors", "id": job.id, "n_dim": vectors.shape[1], "n_tokens": job.n_tokens}
        self.channel.send(about, vectors.astype("<f4").tobytes())

    def _drop(self, id: int) -> None:
        for job in [job for job in self.jobs if job.id == id]:
            self.jobs.remove(job)


def _sequence(slot: int, tokens: list[int]) -> Sequence:
    return Sequence(0, tokens, len(tokens), len(tokens), sampler=None, text=TextAssembler(), slot=slot)
