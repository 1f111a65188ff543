"""Decides which sequences take part in the next decode, and with how many tokens.

Pure Python: knows slots, cells of the KV cache and token counts; nothing of llama.cpp, threads or HTTP.
Must stay true after every call (`check_integrity`): free slots + running sequences == n_slots, and the cells in use
are those of running sequences and cached prefixes, never more than there are.
"""

import time
from collections import Counter
from dataclasses import dataclass, replace

from offgrid.worker.kv_cache import KvCache
from offgrid.worker.pace import Pace
from offgrid.worker.prefix_cache import Match, PrefixCache
from offgrid.worker.sequence import Sequence
from offgrid.worker.speculation import Speculation

# Cells kept for the answer of a request at admission. Not the whole max_tokens: most answers end earlier, and a
# sequence that does run out of cells is parked and goes on later rather than failing.
RESERVE = 256
# Prompts are computed shortest first; every second of waiting counts as so many tokens less, so that a long one
# among many short ones gets its turn.
AGEING = 300  # tokens a second, about what such a machine computes


@dataclass(frozen=True, slots=True)
class Chunk:
    """`n` tokens of `sequence` to compute in this step, from `sequence.n_computed` on.

    `draft`: tokens that may follow them, computed along; the logits of each are wanted, as those of the last of `n`.
    """

    sequence: Sequence
    n: int
    draft: tuple[int, ...] = ()

    @property
    def needs_logits(self) -> bool:
        return self.n == self.sequence.n_pending

    @property
    def n_rows(self) -> int:
        return self.n + len(self.draft)


class Scheduler:
    def __init__(
        self, n_slots: int, kv: KvCache, cache: PrefixCache, pace: Pace, speculation: Speculation | None = None
    ):
        """With `speculation` every sequence must have a drafter; None: nothing is drafted."""
        self.n_slots = n_slots
        self.kv = kv
        self.cache = cache
        self.pace = pace
        self.speculation = speculation
        self.waiting: list[Sequence] = []  # in the order of arrival
        self.running: list[Sequence] = []  # in the order of admission
        self._free_slots = list(range(n_slots - 1, -1, -1))

    @property
    def is_idle(self) -> bool:
        return not self.waiting and not self.running

    def add(self, sequence: Sequence) -> None:
        """Queue a new sequence: its prompt shorter than its limit, and its limit at most the cells there are."""
        self.waiting.append(sequence)

    def find(self, id: int) -> Sequence | None:
        return next((s for queue in (self.running, self.waiting) for s in queue if s.id == id), None)

    def remove(self, sequence: Sequence) -> None:
        """Forget a sequence that has ended. Its slot is free at once; what it computed stays while there is room."""
        if sequence.slot is None:
            self.waiting.remove(sequence)
        else:
            self._release(sequence)

    def computed(self, chunk: Chunk) -> None:
        """Take a computed chunk into the books; of its draft, nothing yet."""
        self.kv.extended(chunk.sequence.slot, chunk.n)
        chunk.sequence.n_computed += chunk.n
        chunk.sequence.n_drafted += len(chunk.draft)
        if chunk.sequence.stops and not chunk.sequence.n_to_stop:
            self.cache.stopped(chunk.sequence)

    def accepted(self, sequence: Sequence) -> None:
        """Take the next drafted token of a sequence into the books: it is the one that was sampled."""
        self.kv.extended(sequence.slot, 1)
        sequence.n_computed += 1
        sequence.n_accepted += 1

    def forget_rejected(self, sequence: Sequence) -> None:
        """Free the cells of what was drafted and not accepted."""
        self.kv.keep(sequence.slot, sequence.n_computed)

    def plan(self) -> list[Chunk]:
        """The next step, at least one token of it.

        Streams that decode ride in every step; what is left of its time goes to prompts.
        """
        self._admit_who_can()
        while not self.cache.make_room(_n_tokens(chunks := self._chunks())):
            self._park()
        return self._with_drafts(chunks)

    # --- who runs ---

    def _admit_who_can(self) -> None:
        """Move waiting sequences into slots, in a fair order; who waits for somebody's prefix lets others pass."""
        for sequence in self._in_turn():
            if not self._free_slots:
                return
            match = self.cache.find(sequence.tokens)
            if match.wait_for is not None:
                continue
            if not self.can_admit(sequence, match):
                return  # nobody overtakes a long prompt that waits for room
            self.admit(sequence, match)

    def _in_turn(self) -> list[Sequence]:
        """The waiting sequences: whose client has the fewest running comes first, then who came first."""
        if len(self.waiting) < 2:
            return list(self.waiting)
        n_ahead = Counter(s.client for s in self.running)
        turns = []
        for i, sequence in enumerate(self.waiting):
            turns.append((n_ahead[sequence.client], i))
            n_ahead[sequence.client] += 1
        return [self.waiting[i] for _, i in sorted(turns)]

    def can_admit(self, sequence: Sequence, match: Match) -> bool:
        """Whether a slot is free, and cells for its prompt and a part of its answer beside what the others may need."""
        if not self._free_slots:
            return False
        if not self.running:
            return True  # alone it fits: its limit is within the pool
        shared = match.n if isinstance(match.source, Sequence) else 0
        wanted = sum(map(_n_future, self.running)) + _n_future(sequence) - shared
        return wanted <= self.kv.n_free + self.cache.n_idle

    def admit(self, sequence: Sequence, match: Match) -> None:
        self.waiting.remove(sequence)
        sequence.slot = self._free_slots.pop()
        self.cache.open(sequence, match)
        self.running.append(sequence)

    def _park(self) -> None:
        """Send the youngest running sequence back to the queue, to go on when there is room."""
        sequence = self.running[-1]
        self._release(sequence)
        sequence.n_computed = 0
        self.waiting.insert(0, sequence)

    def _release(self, sequence: Sequence) -> None:
        self.running.remove(sequence)
        self.cache.close(sequence)
        self._free_slots.append(sequence.slot)
        sequence.slot = None

    # --- what is computed ---

    def _chunks(self) -> list[Chunk]:
        decoding = [Chunk(s, 1) for s in self.running if s.is_decoding]
        prefilling = self._shortest_first()
        budget = self.pace.prompt_budget(len(decoding), len(prefilling))
        prompts = []
        for sequence in prefilling:
            if budget <= 0:
                break
            prompts.append(Chunk(sequence, min(sequence.n_to_stop, budget)))
            budget -= prompts[-1].n
        return decoding + prompts

    def _shortest_first(self) -> list[Sequence]:
        prefilling = [s for s in self.running if not s.is_decoding]
        if len(prefilling) > 1:
            now = time.monotonic()
            prefilling.sort(key=lambda s: s.n_pending - AGEING * (now - s.arrived))
        return prefilling

    def _with_drafts(self, chunks: list[Chunk]) -> list[Chunk]:
        """Let streams compute guesses along, in cells that are free anyway: nobody is parked or evicted for them.

        Not while a prompt is read: its steps are as long as streams can bear already, and those between show what the
        streams cost by themselves.
        """
        if self.speculation is None or not all(sequence.is_decoding for sequence in self.running):
            return chunks
        drafts = self.speculation.drafts([c.sequence for c in chunks], self.kv.n_free - len(chunks))
        return [replace(c, draft=draft) if draft else c for c, draft in zip(chunks, drafts, strict=True)]

    def figures(self) -> dict:
        """How it stands, for the router: sequences, cells, bytes, and the slots that are taken: (slot, id of the
        request, tokens of its prompt, of these cached, computed tokens, generated tokens, how many may follow)."""
        return {
            "n_running": len(self.running),
            "n_waiting": len(self.waiting),
            "n_cells": self.kv.n_cells,
            "n_used": self.kv.n_used,
            "n_idle": self.cache.n_idle,
            "warm_bytes": self.cache.n_warm_bytes,
            "slots": [
                (s.slot, s.id, s.n_prompt, s.n_cached, s.n_computed, s.n_generated, s.n_limit - len(s.tokens))
                for s in self.running
            ],
        }

    def rest(self) -> None:
        """Tidy up; called when nothing runs."""
        self.cache.rest()
        self.check_integrity()

    def check_integrity(self) -> None:
        """Raise AssertionError when the books do not balance."""
        slots = sorted([*self._free_slots, *(s.slot for s in self.running)])
        assert slots == list(range(self.n_slots)), f"slots {slots} of {self.n_slots}"
        assert self.kv.n_used == self.kv.count() <= self.kv.n_cells, (
            f"{self.kv.n_used} cells, counted {self.kv.count()}"
        )
        assert all(s.slot is None for s in self.waiting), "a waiting sequence holds a slot"
        assert all(self.kv.length(s.slot) == s.n_computed for s in self.running), "cells and sequences differ"
        self.cache.check(self.running)


def _n_tokens(chunks: list[Chunk]) -> int:
    return sum(chunk.n for chunk in chunks)


def _n_future(sequence: Sequence) -> int:
    """Cells that a sequence will soon need beside those it has."""
    return sequence.n_pending + min(RESERVE, sequence.n_limit - len(sequence.tokens))
