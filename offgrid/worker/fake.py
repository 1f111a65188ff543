"""A model without weights that the real engine can run: tests of scheduling need neither llama.cpp nor a file.

It keeps the same books as llama.cpp's unified KV cache and is stricter about them: a gap in the positions, more cells
than there are, or a step that is too large raises at once. Its next token depends on every token that its memory holds
for the sequence, so a wrong cell gives a wrong text: `FakeModel.expected` says what the right one is. It can also be
one whose memory cannot be cut, and then raises when that is tried.
"""

import random
import struct
import zlib
from dataclasses import dataclass

from offgrid.types import Sampling
from offgrid.worker.scheduler import Chunk
from offgrid.worker.scores import Score

EOS = 256  # tokens 0…255 are bytes
LETTERS = b"abcdefghijklmnopqrstuvwxyz  "
SAVED = struct.Struct("<iH?93x")  # position, token, is_full: 100 bytes a token


@dataclass(frozen=True, slots=True)
class Cell:
    number: int  # so that shared ones are counted once
    token: int
    is_full: bool = True  # False: its layers with a sliding window were not saved


class FakeSampler:
    """Counts that it is closed exactly once. With a seed each token depends on a draw of its own as well."""

    def __init__(self, sampling: Sampling):
        self.sampling = sampling
        self.is_closed = False
        self._draw = None if sampling.seed is None else random.Random(sampling.seed)

    def draw(self) -> int:
        return self._draw.randrange(1000) if self._draw else 0

    def close(self) -> None:
        assert not self.is_closed, "a sampler was closed twice"
        self.is_closed = True


class FakeModel:
    n_vocab = EOS + 1

    def __init__(
        self,
        *,
        n_ctx: int = 1024,
        n_batch: int = 64,
        one_in_n_ends: int = 40,
        is_whole: bool = False,
        n_window: int = 0,
        copies: float = 0.0,
    ):
        """`one_in_n_ends`: how rare the end of a text is; 0 is never. `is_whole` as recurrent models are; `n_window`
        tokens are seen by some of its layers, 0: all by all. `copies`: the share of tokens that are what followed
        earlier, when the text before was the same."""
        self.is_whole = is_whole
        self.n_window = n_window
        self.n_ctx = n_ctx
        self.n_batch = n_batch
        self.one_in_n_ends = one_in_n_ends
        self.copies = copies
        self.memory: dict[int, dict[int, Cell]] = {}  # sequence id → position → cell, in the order of positions
        self._n_cells_made = 0
        self.n_threads = 0
        self.n_decodes = 0
        self.n_computed = 0  # tokens, over all steps
        self.abort_next = False
        self.samplers: list[FakeSampler] = []
        self._rows: dict[int, list[int]] = {}

    @property
    def n_used(self) -> int:
        return len({cell.number for cells in self.memory.values() for cell in cells.values()})

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        return list(text.encode())

    def piece(self, token: int) -> bytes:
        return bytes([token]) if token != EOS else b""

    def shown_piece(self, token: int) -> bytes:
        return self.piece(token) or b"<eos>"

    def is_eog(self, token: int) -> bool:
        return token == EOS

    def sampler(self, sampling: Sampling, prompt: list[int], n_max: int) -> FakeSampler:
        self.samplers.append(FakeSampler(sampling))
        return self.samplers[-1]

    def decode(self, chunks: list[Chunk]) -> list[int] | None:
        self.n_decodes += 1
        assert 0 < sum(c.n_rows for c in chunks) <= self.n_batch, "a step is empty or larger than the batch"
        if self.abort_next:
            self.abort_next = False
            return None
        self._rows, rows, n_rows = {}, [], 0
        for chunk in chunks:
            sequence = chunk.sequence
            held = self.memory.setdefault(sequence.slot, {})
            start, end = sequence.n_computed, sequence.n_computed + chunk.n
            assert list(held) == list(range(start)), f"a gap: {len(held)} cells, {start} in the books"
            assert self.can_cut(sequence.slot, start), "cells that a sliding window sees are not there"
            for position, token in enumerate([*sequence.tokens[start:end], *chunk.draft], start):
                held[position] = self._cell(token)
            self.n_computed += chunk.n_rows
            rows.append(n_rows + chunk.n - 1)
            if chunk.needs_logits:
                tokens = [cell.token for cell in held.values()]
                for i in range(len(chunk.draft) + 1):
                    self._rows[rows[-1] + i] = tokens[: len(tokens) - len(chunk.draft) + i]
            n_rows += chunk.n_rows
        assert self.n_used <= self.n_ctx, f"{self.n_used} cells of {self.n_ctx}"
        return rows

    def sample(self, sampler: FakeSampler, row: int) -> int:
        assert not sampler.is_closed, "a closed sampler was asked"
        tokens = self._rows[row]  # KeyError: a row without logits, which would abort llama.cpp
        return self.next_token(tokens, sampler.draw())

    def score(self, row: int, token: int, n_top: int) -> Score:
        """The likelihood stands for the row's own text, so that a score of another row shows."""
        logprob = -float(zlib.crc32(bytes(t % 256 for t in self._rows[row])) % 1000)
        return Score(logprob, ((self.piece(token), logprob),) * n_top)

    # --- memory ---

    def forget(self, id: int, n_keep: int = 0) -> None:
        held = self.memory.get(id, {})
        assert not self.is_whole or n_keep in (0, len(held)), "a cut of what cannot be cut"
        for position in [p for p in held if p >= n_keep]:
            del held[position]

    def copy(self, source: int, target: int, start: int, end: int) -> None:
        copied = {p: cell for p, cell in self.memory[source].items() if start <= p < end}
        held = self.memory.setdefault(target, {})
        assert not held.keys() & copied.keys(), "a copy over cells: two for one position"
        assert list(copied) == list(range(start, end)), "a copy of cells that are not there"
        assert not self.is_whole or (copied == self.memory[source] and not held), "a copy of a part"
        held |= copied

    def can_cut(self, id: int, n: int) -> bool:
        held = self.memory.get(id, {})
        if self.is_whole:
            return n == len(held)
        return n <= len(held) and all(held[p].is_full for p in range(max(0, n - self.n_window), n))

    def shortest_cut(self, n: int) -> int:
        return n if self.is_whole or 0 < self.n_window < n else 0

    def state_bytes(self, id: int) -> int:
        return SAVED.size * len(self.memory[id])

    def save(self, id: int) -> bytes:
        held = self.memory[id]
        lost = max(held) + 1 - self.n_window if self.n_window else 0
        return b"".join(SAVED.pack(p, cell.token, cell.is_full and p >= lost) for p, cell in held.items())

    def restore(self, id: int, state: bytes) -> bool:
        self.memory[id] = {p: self._cell(token, is_full) for p, token, is_full in SAVED.iter_unpack(state)}
        assert self.n_used <= self.n_ctx, f"{self.n_used} cells of {self.n_ctx}"
        return True

    def _cell(self, token: int, is_full: bool = True) -> Cell:
        self._n_cells_made += 1
        return Cell(self._n_cells_made, token, is_full)

    def abort(self) -> None:
        self.abort_next = True

    def set_threads(self, n: int) -> None:
        self.n_threads = n

    # --- what the tests compare with ---

    def next_token(self, tokens: list[int], draw: int = 0) -> int:
        text = bytes(t % 256 for t in tokens)
        number = zlib.crc32(text, draw)
        if self.one_in_n_ends and number % self.one_in_n_ends == 0:
            return EOS
        if number // 64 % 1000 < 1000 * self.copies and (place := text.rfind(text[-2:], 0, -1)) >= 0:
            return tokens[place + 2]
        return LETTERS[number // 64 % len(LETTERS)]

    def expected(self, prompt: str, max_tokens: int, seed: int | None = None) -> str:
        """The text that a sequence used alone would give."""
        tokens = list(prompt.encode())
        text = b""
        sampler = FakeSampler(Sampling(seed=seed))
        while len(text) < max_tokens and (token := self.next_token(tokens, sampler.draw())) != EOS:
            tokens.append(token)
            text += bytes([token])
        return text.decode()
