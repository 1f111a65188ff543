"""A model without weights that the real engine can run: tests of scheduling need neither llama.cpp nor a file.

It keeps the same books as llama.cpp's unified KV cache and is stricter about them: a gap in the positions, more cells
than there are, or a step that is too large raises at once. Its next token depends on every token that its memory holds
for the sequence, so a wrong cell gives a wrong text: `FakeModel.expected` says what the right one is.
"""

import zlib

from offgrid.types import Sampling
from offgrid.worker.scheduler import Chunk

EOS = 256  # tokens 0…255 are bytes
LETTERS = b"abcdefghijklmnopqrstuvwxyz  "


class FakeSampler:
    """Counts that it is closed exactly once."""

    def __init__(self, sampling: Sampling):
        self.sampling = sampling
        self.is_closed = False

    def close(self) -> None:
        assert not self.is_closed, "a sampler was closed twice"
        self.is_closed = True


class FakeModel:
    def __init__(self, *, n_ctx: int = 1024, n_batch: int = 64, one_in_n_ends: int = 40):
        """`one_in_n_ends`: how rare the end of a text is; 0 is never."""
        self.n_ctx = n_ctx
        self.n_batch = n_batch
        self.one_in_n_ends = one_in_n_ends
        self.memory: dict[int, list[tuple[int, int]]] = {}  # sequence id → (number of the cell, token)
        self._n_cells_made = 0
        self.n_threads = 0
        self.n_decodes = 0
        self.n_computed = 0  # tokens, over all steps
        self.abort_next = False
        self.samplers: list[FakeSampler] = []
        self._rows: dict[int, list[int]] = {}

    @property
    def n_used(self) -> int:
        return len({number for cells in self.memory.values() for number, _ in cells})

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        return list(text.encode())

    def piece(self, token: int) -> bytes:
        return bytes([token])

    def is_eog(self, token: int) -> bool:
        return token == EOS

    def sampler(self, sampling: Sampling, prompt: list[int], n_max: int) -> FakeSampler:
        self.samplers.append(FakeSampler(sampling))
        return self.samplers[-1]

    def decode(self, chunks: list[Chunk]) -> list[int] | None:
        self.n_decodes += 1
        assert 0 < sum(c.n for c in chunks) <= self.n_batch, "a step is empty or larger than the batch"
        if self.abort_next:
            self.abort_next = False
            return None
        self._rows, rows = {}, []
        for chunk in chunks:
            sequence = chunk.sequence
            held = self.memory.setdefault(sequence.slot, [])
            assert len(held) == sequence.n_computed, f"a gap: {len(held)} cells, {sequence.n_computed} in the books"
            held += map(self._cell, sequence.tokens[sequence.n_computed : sequence.n_computed + chunk.n])
            self.n_computed += chunk.n
            rows.append(len(rows))
            if chunk.needs_logits:
                self._rows[rows[-1]] = [token for _, token in held]
        assert self.n_used <= self.n_ctx, f"{self.n_used} cells of {self.n_ctx}"
        return rows

    def is_finite(self, row: int) -> bool:
        return True

    def sample(self, sampler: FakeSampler, row: int) -> int:
        assert not sampler.is_closed, "a closed sampler was asked"
        return self.next_token(self._rows[row])  # KeyError: a row without logits, which would abort llama.cpp

    # --- memory: cells are numbers, so that shared ones are counted once ---

    def forget(self, id: int, n_keep: int = 0) -> None:
        del self.memory.get(id, [])[n_keep:]

    def copy(self, source: int, target: int, n: int) -> None:
        assert not self.memory.get(target), "a copy over cells: two for one position"
        assert len(self.memory[source]) >= n, "a copy of cells that are not there"
        self.memory[target] = self.memory[source][:n]

    def state_bytes(self, id: int) -> int:
        return 100 * len(self.memory[id])

    def save(self, id: int) -> list[int]:
        return [token for _, token in self.memory[id]]

    def restore(self, id: int, state: list[int]) -> bool:
        self.memory[id] = [self._cell(token) for token in state]
        assert self.n_used <= self.n_ctx, f"{self.n_used} cells of {self.n_ctx}"
        return True

    def _cell(self, token: int) -> tuple[int, int]:
        self._n_cells_made += 1
        return self._n_cells_made, token

    def abort(self) -> None:
        self.abort_next = True

    def set_threads(self, n: int) -> None:
        self.n_threads = n

    # --- what the tests compare with ---

    def next_token(self, tokens: list[int]) -> int:
        number = zlib.crc32(bytes(t % 256 for t in tokens))
        if self.one_in_n_ends and number % self.one_in_n_ends == 0:
            return EOS
        return LETTERS[number // 64 % len(LETTERS)]

    def expected(self, prompt: str, max_tokens: int) -> str:
        """The text that a sequence used alone would give."""
        tokens = list(prompt.encode())
        text = b""
        while len(text) < max_tokens and (token := self.next_token(tokens)) != EOS:
            tokens.append(token)
            text += bytes([token])
        return text.decode()
