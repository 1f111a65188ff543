"""How likely the model held each token of a text, and which tokens belong to which part of the text that is shown.

Text may be held back (half a character, a possible stop string), so a token is given out with the text that its last
byte is in. Must hold: the tokens given out spell the text given out; where a stop string begins inside a token, that
token is still among them, and those after it are not.
"""

import codecs
from collections import deque
from dataclasses import dataclass

import numpy as np

from offgrid.types import TokenScore

IMPOSSIBLE = -9999.0  # instead of minus infinity, which JSON cannot say; OpenAI writes the same


@dataclass(frozen=True, slots=True)
class Score:
    logprob: float
    top: tuple[tuple[bytes, float], ...]


def log_probabilities(logits: np.ndarray, token: int, n_top: int) -> tuple[float, list[tuple[int, float]]]:
    """Of `token`, and of the `n_top` likeliest tokens, likeliest first. 50 µs for 49,152 logits, 130 with any top."""
    top = []
    highest = logits.max()
    log_sum = float(highest) + float(np.log(np.exp(logits - highest).sum()))
    if n_top := min(n_top, len(logits)):
        likeliest = np.argpartition(logits, -n_top)[-n_top:]
        likeliest = likeliest[np.argsort(-logits[likeliest], kind="stable")]
        top = [(int(t), max(float(logits[t]) - log_sum, IMPOSSIBLE)) for t in likeliest]
    return max(float(logits[token]) - log_sum, IMPOSSIBLE), top


class ScoredText:
    """The tokens of one text that are not given out yet."""

    def __init__(self, n_top: int):
        """`n_top`: how many alternatives are named for each token."""
        self.n_top = n_top
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._n_decoded = 0  # characters that the tokens so far are
        self._n_shown = 0
        self._held: deque[tuple[int, TokenScore]] = deque()  # (characters of the text that it needs to be shown, token)

    def add(self, piece: bytes, score: Score) -> None:
        """Take the next token of the text."""
        start = self._n_decoded
        if self._decoder.getstate()[0] and piece and not 0x80 <= piece[0] < 0xC0:
            start += 1  # the half character before it stays one, and is shown as a mark
        self._n_decoded += len(self._decoder.decode(piece))
        has_half = bool(self._decoder.getstate()[0])
        end = self._n_decoded + has_half
        self._held.append((end, TokenScore(piece, start, score.logprob, score.top)))

    def skip(self, n: int) -> None:
        """Give up the tokens that end in the next `n` characters: they are no part of the text that is shown."""
        self.release(n)

    def release(self, n_shown: int, *, is_last: bool = False) -> list[TokenScore]:
        """The tokens that end in the next `n_shown` characters. With `is_last` nothing more will be shown."""
        self._n_shown += n_shown
        found = []
        while self._held:
            end, token = self._held[0]
            is_cut = is_last and token.start < self._n_shown  # by a stop string, or by the end of the text
            if end > self._n_shown and not is_cut:
                break
            found.append(token)
            self._held.popleft()
        return found
