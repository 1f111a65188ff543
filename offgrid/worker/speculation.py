"""Decides which running streams compute drafted tokens along with their own, and how many.

A drafted row is computed in the same step as the token before it; if the sampler chooses just that token, the next
one can be sampled in this step too. What a row costs is measured (on a machine that waits for its memory next to
nothing, on one that waits for its arithmetic half a step); how likely it is right says `draft.Drafter`. A step of
exactly `pace.TILE` rows is a case of its own: there it costs less than one of 40, so a sure copy is drafted in tiles.
Must hold: more tokens per second for all together, and no stream much slower than without (`PATIENCE`).
Pure arithmetic; whether a draft is right, the sequence's own sampler decides in `engine.py`.
"""

from collections.abc import Sequence as ListLike

from offgrid.worker.pace import TILE, Pace
from offgrid.worker.sequence import Sequence

FEWEST_DRAFTED = 3  # tokens of a step: the first one costs most, nearly a step of its own
MARGIN = 1.15  # times as many tokens per second must be expected, for chances are estimates; 1.05 lost up to 5 %
PATIENCE = 1.1  # times its usual wait for a token: the most that a stream may expect for the sake of others
FIRST_COST = 0.5  # of a drafted row, in rows of a step without drafts, before it was measured
LOGITS_COST = 1.25  # of a row with logits, in rows of a prompt's tile, before it was measured
WEIGHT = 0.2  # of the newest measurement in the moving averages
FORGIVING = 0.02  # how fast a cost that holds drafts back fades, so that they are tried again some day


class Speculation:
    def __init__(self, max_rows: int, pace: Pace):
        """`max_rows`: the most rows with logits in a step, those of the streams included."""
        self.pace = pace
        self._max_rows = max_rows
        self._costs: dict[int, float] = {}  # streams in the step → cost of a drafted row, in rows without drafts
        self._tile_ms = 0.0  # time of a step of a whole tile with drafts; 0: not measured yet

    def drafts(self, sequences: list[Sequence], n_free: int) -> list[tuple[int, ...]]:
        """The tokens to compute along with each of these decoding sequences; at most `n_free` cells for all."""
        if not any(s.drafter.has_guess for s in sequences):
            return [()] * len(sequences)
        room = min(n_free, self._max_rows - len(sequences))
        chances = [s.drafter.chance if s.drafter.has_guess else 0.0 for s in sequences]
        # Not longer than what was the same up to now: who changes every tenth word is not followed for a page.
        most = [max(0, min(s.drafter.n_matched, s.n_limit - len(s.tokens) - 1)) for s in sequences]
        lengths = self.lengths(chances, most, room)
        return [s.drafter.guess(n) for s, n in zip(sequences, lengths, strict=True)]

    def lengths(self, chances: ListLike[float], most: ListLike[int], room: int) -> list[int]:
        """How many tokens to draft for each stream, so that all together are fastest.

        `chances`: how likely each stream's next guess is right, 0 without one; `most`: the longest useful draft of
        each; `room`: the most drafted tokens of all.
        """
        n_streams = len(chances)
        # The i-th token of a draft counts only if all before it are right as well.
        rows = [(chance**i, s) for s, chance in enumerate(chances) if chance for i in range(1, min(most[s], room) + 1)]
        rows.sort(reverse=True)
        times = self._times(n_streams, min(room, len(rows)))
        lengths, best = [0] * n_streams, [0] * n_streams
        gains = [1.0] * n_streams  # tokens that each stream can expect of the step
        n_expected, best_speed = float(n_streams), MARGIN
        for n_drafted, ((chance, s), time) in enumerate(zip(rows, times, strict=False), 1):
            lengths[s] += 1
            gains[s] += chance
            n_expected += chance
            speed = n_expected / n_streams / time
            if n_drafted >= FEWEST_DRAFTED and speed > best_speed and time <= PATIENCE * min(gains):
                best, best_speed = lengths.copy(), speed
        self._forgive(n_streams, is_held_back=not any(best))
        return best

    def observe(self, n_streams: int, n_drafted: int, ms: float) -> None:
        """Note a finished step of streams only in which `n_drafted` tokens were computed along."""
        plain_ms = self.pace.decode_ms(n_streams)
        if n_streams + n_drafted == TILE:
            known_ms = self._tile_ms or ms
            self._tile_ms = known_ms + WEIGHT * (ms - known_ms)
        elif plain_ms:
            measured = max(ms / plain_ms - 1, 0) * n_streams / n_drafted
            cost = self._cost(n_streams)
            self._costs[n_streams] = cost + WEIGHT * (measured - cost)

    def _times(self, n_streams: int, n_most: int) -> list[float]:
        """The expected time of a step with 1, 2, … `n_most` drafted rows, by that of one without."""
        cost = self._cost(n_streams) / n_streams
        times = [1 + cost * n for n in range(1, n_most + 1)]
        tile_ms, plain_ms = self._tile_ms or self._first_tile_ms, self.pace.decode_ms(n_streams)
        if 0 < TILE - n_streams <= n_most and tile_ms and plain_ms:
            times[TILE - n_streams - 1] = tile_ms / plain_ms
        return times

    def _cost(self, n_streams: int) -> float:
        """Of one drafted row beside so many streams, measured for the nearest number of them."""
        if not self._costs:
            return FIRST_COST
        return self._costs[min(self._costs, key=lambda n: abs(n - n_streams))]

    @property
    def _first_tile_ms(self) -> float:
        return LOGITS_COST * TILE * self.pace.tile_row_ms

    def _forgive(self, n_streams: int, *, is_held_back: bool) -> None:
        """Let costs that may have been bad luck fade."""
        cost = self._cost(n_streams)
        if is_held_back and cost > FIRST_COST:
            self._costs[n_streams] = cost + FORGIVING * (FIRST_COST - cost)
        if self._tile_ms > self._first_tile_ms > 0:
            self._tile_ms += FORGIVING * (self._first_tile_ms - self._tile_ms)
