"""How many prompt tokens fit into the next step without making running streams stutter.

Pure arithmetic over measured step times. llama.cpp's attention on a CPU computes `TILE` rows as one matrix product and
fewer one by one: at 1,000 tokens of context a row takes 4.5 ms in a step of 64 and 6.3 in one of 16, at 4,000 twice and
four times as long. So a step is whole tiles where time allows: always while more people wait for their first token than
for their next one, and beside more streams when a tile takes less than `STRETCH` of their own steps; else it is as many
single rows as that time holds.
"""

TILE = 64  # rows
STRETCH = 2.8  # a step with prompt tokens takes about this many times one without, so streams keep flowing
MIN_CHUNK = 4  # tokens beside running streams, however slow they are: a long prompt must not wait for ever
LOOK_EVERY = 16  # steps beside streams, after which one without prompt tokens shows what those cost by now
WEIGHT = 0.3  # of the newest measurement in each moving average
MOST_GROWTH = 2  # by which one measurement may exceed the average: what another program did is not what a step costs


class Pace:
    """Learns the time of a step of streams only, for each number of them, of a row in tiles, and of a row alone."""

    def __init__(self, target_ms: float, max_tokens: int):
        """`target_ms`: of a step of prompts only, if a tile is not longer; `max_tokens`: the most rows of a step."""
        self.target_ms = target_ms
        self.max_tokens = max_tokens
        self.tile_row_ms = 0.0  # 0: nothing measured yet
        self.single_row_ms = 0.0
        self._decode_ms: dict[int, float] = {}  # streams in the step → ms
        self._n_mixed = 0  # steps since the last one of streams only

    def observe(self, n_decoding: int, n_prompt_tokens: int, ms: float) -> None:
        """Note a finished step."""
        n_rows = n_decoding + n_prompt_tokens
        self._n_mixed += 1
        if n_prompt_tokens == 0:
            self._n_mixed = 0
            self._decode_ms[n_decoding] = _blend(self._decode_ms.get(n_decoding, 0.0), ms)
        elif n_rows >= TILE:
            self.tile_row_ms = _blend(self.tile_row_ms, ms / n_rows)
        elif n_prompt_tokens >= MIN_CHUNK:
            rest = max(ms - self.decode_ms(n_decoding), 0.2 * ms)
            self.single_row_ms = _blend(self.single_row_ms, rest / n_prompt_tokens)

    def decode_ms(self, n_decoding: int) -> float:
        """The expected time of a step of `n_decoding` streams and no prompt, measured for the nearest number."""
        if not self._decode_ms or n_decoding == 0:
            return 0.0
        nearest = min(self._decode_ms, key=lambda n: abs(n - n_decoding))
        return self._decode_ms[nearest]

    def prompt_budget(self, n_decoding: int, n_prompts: int) -> int:
        """Prompt tokens for the next step: for `n_prompts` prompts, beside `n_decoding` streams."""
        room = self.max_tokens - n_decoding
        if n_prompts > n_decoding:
            return min(max(max(self._tiles_in(self.target_ms), 1) * TILE - n_decoding, MIN_CHUNK), room)
        if self._n_mixed >= LOOK_EVERY and n_decoding:
            return 0
        time_ms = STRETCH * self.decode_ms(n_decoding)
        if n_tiles := self._tiles_in(time_ms):
            return min(max(n_tiles * TILE - n_decoding, MIN_CHUNK), room)
        row_ms = self.single_row_ms or 2 * self.tile_row_ms
        n_rows = int((time_ms - self.decode_ms(n_decoding)) / row_ms) if row_ms else 0
        return min(max(n_rows, MIN_CHUNK), room)

    def _tiles_in(self, time_ms: float) -> int:
        """Whole tiles that are computed in that time; 0 before one was measured."""
        return int(time_ms / (TILE * self.tile_row_ms)) if self.tile_row_ms else 0


def _blend(old: float, new: float) -> float:
    return new if not old else old + WEIGHT * (min(new, MOST_GROWTH * old) - old)
