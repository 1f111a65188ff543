"""Decides which sequences take part in the next decode, and with how many tokens.

Pure Python: knows slots, cells of the KV cache and token counts; nothing of llama.cpp, threads or HTTP.
Must stay true after every call (`check_integrity`): free slots + running sequences == n_slots, and the cells in use
never exceed n_cells.
"""

from collections import deque
from dataclasses import dataclass

from offgrid.worker.pace import Pace
from offgrid.worker.sequence import Sequence

# Cells kept for the answer of a request at admission. Not the whole max_tokens: most answers end earlier, and a
# sequence that does run out of cells is parked and computed again rather than failed.
RESERVE = 256


@dataclass(frozen=True, slots=True)
class Chunk:
    """`n` tokens of `sequence` to compute in this step, from `sequence.n_computed` on."""

    sequence: Sequence
    n: int

    @property
    def needs_logits(self) -> bool:
        return self.n == self.sequence.n_pending


class Scheduler:
    def __init__(self, n_slots: int, n_cells: int, pace: Pace):
        self.n_slots = n_slots
        self.n_cells = n_cells
        self.pace = pace
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []  # oldest first
        self._free_slots = list(range(n_slots - 1, -1, -1))

    @property
    def is_idle(self) -> bool:
        return not self.waiting and not self.running

    @property
    def n_used(self) -> int:
        """Cells that hold computed tokens."""
        return sum(s.n_computed for s in self.running)

    def add(self, sequence: Sequence) -> None:
        """Queue a new sequence. Its prompt must be shorter than its limit, and its limit at most n_cells."""
        self.waiting.append(sequence)

    def find(self, id: int) -> Sequence | None:
        return next((s for queue in (self.running, self.waiting) for s in queue if s.id == id), None)

    def can_admit(self, sequence: Sequence) -> bool:
        """Whether a waiting sequence may start now: a slot is free, and its prompt and a part of its answer find cells."""
        if not self._free_slots:
            return False
        return not self.running or sum(map(_claim, self.running)) + _claim(sequence) <= self.n_cells

    def admit(self, sequence: Sequence) -> None:
        self.waiting.remove(sequence)
        sequence.slot = self._free_slots.pop()
        self.running.append(sequence)

    def remove(self, sequence: Sequence) -> None:
        """Forget a sequence that has ended; its slot and cells are free at once."""
        if sequence.slot is None:
            self.waiting.remove(sequence)
        else:
            self._release(sequence)

    def plan(self) -> tuple[list[Chunk], list[tuple[int, Sequence]]]:
        """The next step, and the (slot, sequence) pairs that were parked to make room for it: their cells must be dropped.

        Streams that decode ride in every step; what is left of its time goes to prompts, the oldest first.
        """
        while self.waiting and self.can_admit(self.waiting[0]):
            self.admit(self.waiting[0])
        parked = []
        while not self._fits(chunks := self._chunks()):
            parked.append(self._park())
        return chunks, parked

    def _chunks(self) -> list[Chunk]:
        decoding = [Chunk(s, 1) for s in self.running if s.is_decoding]
        budget = self.pace.prompt_budget(len(decoding))
        prompts = []
        for sequence in self.running:
            if budget and not sequence.is_decoding:
                prompts.append(Chunk(sequence, min(sequence.n_pending, budget)))
                budget -= prompts[-1].n
        return decoding + prompts

    def _fits(self, chunks: list[Chunk]) -> bool:
        return self.n_used + sum(c.n for c in chunks) <= self.n_cells

    def _park(self) -> tuple[int, Sequence]:
        """Send the youngest running sequence back to the head of the queue; its tokens are computed again later."""
        sequence = self.running[-1]
        slot = sequence.slot
        self._release(sequence)
        sequence.n_computed = 0
        self.waiting.appendleft(sequence)
        return slot, sequence

    def _release(self, sequence: Sequence) -> None:
        self.running.remove(sequence)
        self._free_slots.append(sequence.slot)
        sequence.slot = None

    def check_integrity(self) -> None:
        """Raise AssertionError when the books do not balance. Called whenever the worker goes idle, and by tests."""
        slots = sorted([*self._free_slots, *(s.slot for s in self.running)])
        assert slots == list(range(self.n_slots)), f"slots {slots} of {self.n_slots}"
        assert self.n_used <= self.n_cells, f"{self.n_used} cells used of {self.n_cells}"
        assert all(s.slot is None for s in self.waiting), "a waiting sequence holds a slot"
        assert all(0 <= s.n_computed <= len(s.tokens) for s in self.running), "more computed than there is"


def _claim(sequence: Sequence) -> int:
    """Cells that a sequence holds or will soon need."""
    return min(len(sequence.tokens) + RESERVE, sequence.n_limit)
