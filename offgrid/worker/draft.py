"""Guesses of how a text goes on, from the text itself: the tokens that followed when its last ones stood there before.

One Drafter per sequence, an index over prompt and answer. It also keeps account of how often its guesses are right.
Every token that is generated is compared with the guess, whether or not that was drafted: so a text without repeats
is found out, and one that begins to copy is noticed, without a step being spent on it.
Pure Python; knows nothing of batches and costs (`speculation.py` does).
"""

N_GRAM = 4  # tokens that must be the same; three are so by chance twice as often, and copies are found as soon
MOST_CANDIDATES = 8  # earlier places that are compared, the latest first
MOST_COMPARED = 32  # tokens before a place that are compared, to prefer the longest common text
FIRST_CHANCE = 0.3  # below what a draft needs to pay: the first guesses must come true before one is computed
WEIGHT = 0.15  # of the newest guess in the moving average


class Drafter:
    """Follows `tokens`, which its owner extends; call `advance` after each new one. Work per token: O(1)."""

    def __init__(self, tokens: list[int]):
        """Index a prompt: about 0.4 µs a token."""
        self.chance = FIRST_CHANCE  # how likely the next guess is right, by the latest ones
        self.n_matched = 0  # tokens up to now that are the same as before the guess: no guess should be longer
        self._tokens = tokens
        self._latest: dict[tuple[int, ...], int] = {}  # n-gram → the position after where it stood last
        self._earlier: dict[int, int] = {}  # such a position → the one before it with the same n-gram
        self._guess: int | None = None  # position of the token that is expected next
        for end in range(N_GRAM, len(tokens)):
            self._enter(end)
        self._look_up()

    @property
    def has_guess(self) -> bool:
        return self._guess is not None

    def advance(self) -> None:
        """Take in the token that was just appended."""
        if self._guess is not None:
            is_right = self._tokens[self._guess] == self._tokens[-1]
            self.chance += WEIGHT * (is_right - self.chance)
            self._guess, self.n_matched = (self._guess + 1, self.n_matched + 1) if is_right else (None, 0)
        self._enter(len(self._tokens) - 1)
        if self._guess is None:
            self._look_up()

    def guess(self, n: int) -> tuple[int, ...]:
        """The next `n` tokens, as they followed before; none without a guess."""
        if self._guess is None:
            return ()
        found = self._tokens[self._guess : self._guess + n]
        # Fewer than n: the text repeats its very end, so what follows the guess is the guess once more.
        return tuple(found[i % len(found)] for i in range(n))

    def _enter(self, end: int) -> None:
        """Index the n-gram before position `end`."""
        if end < N_GRAM:
            return
        key = tuple(self._tokens[end - N_GRAM : end])
        before = self._latest.get(key)
        if before is not None:
            self._earlier[end] = before
        self._latest[key] = end

    def _look_up(self) -> None:
        """Find the place whose text before it is longest the same as the end of the tokens."""
        place = self._latest.get(tuple(self._tokens[-N_GRAM:]))
        for _ in range(MOST_CANDIDATES):
            if place is None:
                return
            if (n := self._n_common(place)) > self.n_matched:
                self._guess, self.n_matched = place, n
            place = self._earlier.get(place)

    def _n_common(self, place: int) -> int:
        """Tokens before `place` that are the same as the last ones."""
        tokens, n = self._tokens, N_GRAM
        while n < min(place, MOST_COMPARED) and tokens[place - n - 1] == tokens[-n - 1]:
            n += 1
        return n
