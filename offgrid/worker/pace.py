"""How many prompt tokens fit into the next step without making running streams stutter.

Pure arithmetic over measured step times. The cost of a step is nearly linear in its prompt tokens, and prefill on a
CPU is hardly faster in large chunks than in chunks of 32 to 64, so a step is cut by time and not by a fixed number of
tokens: beside running streams in proportion to their own steps, alone at `target_ms`, after which whoever has come in
the meantime can join.
"""

STRETCH = 2.8  # a step with prompt tokens takes at most this many times one without, so streams keep flowing
MIN_CHUNK = 8  # tokens beside running streams; fewer would let a long prompt wait for ever
MIN_CHUNK_ALONE = 32  # tokens, when no stream is waiting for its next one
MEASURABLE = 8  # prompt tokens in a step from which its time says something about them
WEIGHT = 0.3  # of the newest measurement in each moving average


class Pace:
    """Learns the time of a decode-only step for each number of streams, and of one prompt token."""

    def __init__(self, target_ms: float, max_tokens: int):
        self.target_ms = target_ms
        self.max_tokens = max_tokens
        self.ms_per_prompt_token = 0.0  # 0: nothing measured yet
        self._decode_ms: dict[int, float] = {}  # streams in the step → ms

    def observe(self, n_decoding: int, n_prompt_tokens: int, ms: float) -> None:
        """Note a finished step."""
        if n_prompt_tokens == 0:
            self._decode_ms[n_decoding] = _blend(self._decode_ms.get(n_decoding, 0.0), ms)
        elif n_prompt_tokens >= MEASURABLE:
            rest = max(ms - self.decode_ms(n_decoding), 0.2 * ms)
            self.ms_per_prompt_token = _blend(self.ms_per_prompt_token, rest / n_prompt_tokens)

    def decode_ms(self, n_decoding: int) -> float:
        """The expected time of a step of `n_decoding` streams and no prompt, measured for the nearest number."""
        if not self._decode_ms or n_decoding == 0:
            return 0.0
        nearest = min(self._decode_ms, key=lambda n: abs(n - n_decoding))
        return self._decode_ms[nearest]

    def prompt_budget(self, n_decoding: int) -> int:
        """Prompt tokens for the next step, beside `n_decoding` streams."""
        room = self.max_tokens - n_decoding
        floor = MIN_CHUNK if n_decoding else MIN_CHUNK_ALONE
        if not self.ms_per_prompt_token:
            return min(floor, room)
        time_ms = (STRETCH - 1) * self.decode_ms(n_decoding) if n_decoding else self.target_ms
        return min(max(int(time_ms / self.ms_per_prompt_token), floor), room)


def _blend(old: float, new: float) -> float:
    return new if not old else old + WEIGHT * (new - old)
