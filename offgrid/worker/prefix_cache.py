"""Prompts and answers that were computed once and need not be computed again.

A *prefix* is the computed beginning of an earlier sequence. Hot prefixes hold cells of the KV cache, so another
sequence shares them at once; but idle cells slow every step down, so there are few. Warm prefixes are saved states in
host memory, 3 µs a token to restore where computing takes milliseconds. Running sequences are in the tree as well:
their prompts can be shared while they are being computed, and whoever needs the same beginning waits for it.

Policy only: cells are moved by `kv_cache`, tokens are compared by `prefix_tree`. Used by one thread.
"""

from dataclasses import dataclass

from offgrid.worker.kv_cache import KvCache
from offgrid.worker.prefix_tree import PrefixTree
from offgrid.worker.sequence import Sequence

MIN_SHARED = 8  # tokens; less is not worth a memory call
MIN_WORTH = 32  # tokens that must be new in a prefix for it to be saved, or to be waited for


@dataclass(eq=False, slots=True)
class Prefix:
    """A cached prefix; `id` while it is hot, `state` while it is warm, never both."""

    tokens: list[int]
    id: int | None = None
    state: object = None
    n_bytes: int = 0  # of the state


@dataclass(frozen=True, slots=True)
class Match:
    """What a new sequence can take: `n` tokens of `source`; and whom it had better wait for, if anybody."""

    source: Prefix | Sequence | None
    n: int
    wait_for: Sequence | None = None


class PrefixCache:
    def __init__(self, kv: KvCache, *, hot_cells: int, warm_bytes: int, can_share: bool = True):
        """`hot_cells`: idle cells that may stay; `warm_bytes`: of saved states. `can_share` False: models whose memory
        cannot be cut (recurrent, hybrid) share nothing."""
        self.kv = kv
        self.hot_cells = hot_cells
        self.warm_bytes = warm_bytes
        self.can_share = can_share
        self.n_warm_bytes = 0
        self._tree = PrefixTree()
        self._prefixes: list[Prefix] = []  # least recently used first
        self._free_ids = list(kv.holder_ids)

    # --- a sequence begins ---

    def find(self, tokens: list[int]) -> Match:
        """The most that a prompt can share now. At least its last token is left to compute: it brings the logits."""
        source, n = None, MIN_SHARED - 1
        wait_for, n_wait = None, 0
        for holder, n_common in self._tree.matches(tokens[:-1]):
            if n_common < max(n, MIN_SHARED):
                break
            n_available = min(n_common, _n_available(holder))
            if n_available > n or (n_available == n and _cost(holder) < _cost(source)):
                source, n = holder, n_available
            if n_common > max(n_available, n_wait):
                wait_for, n_wait = holder, n_common  # it is computing just that
        if source is None:
            n = 0
        if n_wait - n < MIN_WORTH:
            wait_for = None
        return Match(source, n, wait_for)

    def open(self, sequence: Sequence, match: Match) -> None:
        """Give a sequence that has just got its slot what it shares, and let others share with it from now on."""
        if match.source is not None and self._fill(sequence, match):
            sequence.n_computed = match.n
            if not sequence.first_step:  # else it was parked, and shares what it once computed itself
                sequence.n_cached = match.n
        if self.can_share:
            self._tree.add(list(sequence.tokens), sequence)

    def _fill(self, sequence: Sequence, match: Match) -> bool:
        source = match.source
        if isinstance(source, Sequence):
            self.kv.copy(source.slot, sequence.slot, match.n)
            return True
        self._touch(source)
        if source.id is not None:
            self.kv.copy(source.id, sequence.slot, match.n)
            return True
        if not self.make_room(len(source.tokens)) or source not in self._tree:  # making room can push out this very one
            return False
        if self.kv.restore(sequence.slot, source.state, len(source.tokens), match.n):
            return True
        self._discard(source)  # the device did not take it
        return False

    # --- a sequence ends ---

    def close(self, sequence: Sequence) -> None:
        """Keep what a sequence computed as a hot prefix, and free its slot."""
        if sequence in self._tree:
            self._tree.remove(sequence)
        tokens = sequence.tokens[: sequence.n_computed]
        if self.can_share and len(tokens) >= MIN_SHARED and self._is_new(tokens):
            self._keep(sequence.slot, tokens)
        self.kv.drop(sequence.slot)
        self._cool_down()

    def _is_new(self, tokens: list[int]) -> bool:
        for holder, n_common in self._tree.matches(tokens):
            if n_common < len(tokens):
                return True
            if isinstance(holder, Prefix):
                self._touch(holder)
                return False
        return True

    def _keep(self, slot: int, tokens: list[int]) -> None:
        for shorter in self._tree.prefixes(tokens):
            if isinstance(shorter, Prefix):
                self._discard(shorter)  # whatever it could give, the new one gives too
        if not self._free_ids:
            self._evict(self._hot[0])
        prefix = Prefix(tokens, id=self._free_ids.pop())
        self.kv.copy(slot, prefix.id, len(tokens))
        self._tree.add(tokens, prefix)
        self._prefixes.append(prefix)

    # --- room ---

    def make_room(self, n_cells: int) -> bool:
        """Free idle cells until `n_cells` are free, the least recently used first; False, and nothing done, if that
        many cannot be."""
        if self.kv.n_free >= n_cells:
            return True
        if self.kv.n_free + self.n_idle < n_cells:
            return False
        for prefix in self._hot:
            if self.kv.n_free < n_cells:
                self._evict(prefix)
        return True

    def rest(self) -> None:
        """With nothing running: empty a pool whose cells lie scattered, so that the next steps look at few.

        Attention runs up to the highest cell in use, however few are used below it.
        """
        if self.kv.n_peak > 2 * self.kv.n_used + self.hot_cells:
            for prefix in self._hot:
                self._evict(prefix)

    def _cool_down(self) -> None:
        """Keep the idle cells within their bound."""
        for prefix in self._hot:
            if self.n_idle <= self.hot_cells:
                return
            self._evict(prefix)

    @property
    def _hot(self) -> list[Prefix]:
        """Hot prefixes, the least recently used first."""
        return [p for p in self._prefixes if p.id is not None]

    @property
    def n_idle(self) -> int:
        """Cells that only hot prefixes hold."""
        return self.kv.count_only({p.id for p in self._hot})

    def _evict(self, prefix: Prefix) -> None:
        """Make a hot prefix warm, or drop it when another one holds nearly all of it or memory is short."""
        n_new = len(prefix.tokens) - self._n_elsewhere(prefix)
        saved = self.kv.save(prefix.id, self.warm_bytes // 2) if n_new >= MIN_WORTH else None
        if saved is None:
            self._discard(prefix)
            return
        prefix.state, prefix.n_bytes = saved
        self._let_go(prefix)
        self.n_warm_bytes += prefix.n_bytes
        while self.n_warm_bytes > self.warm_bytes:
            self._discard(next(p for p in self._prefixes if p.state is not None))

    def _n_elsewhere(self, prefix: Prefix) -> int:
        """How much of it other prefixes have too."""
        for holder, n_common in self._tree.matches(prefix.tokens):
            if holder is not prefix and isinstance(holder, Prefix):
                return n_common
        return 0

    def _discard(self, prefix: Prefix) -> None:
        self._tree.remove(prefix)
        self._prefixes.remove(prefix)
        if prefix.id is not None:
            self._let_go(prefix)
        else:
            self.n_warm_bytes -= prefix.n_bytes

    def _let_go(self, prefix: Prefix) -> None:
        self.kv.drop(prefix.id)
        self._free_ids.append(prefix.id)
        prefix.id = None

    def _touch(self, prefix: Prefix) -> None:
        self._prefixes.remove(prefix)
        self._prefixes.append(prefix)

    def check(self, running: list[Sequence]) -> None:
        """Raise AssertionError when the books do not balance."""
        self._tree.check()
        hot = self._hot
        assert len(self._tree) == len(self._prefixes) + (len(running) if self.can_share else 0), (
            "the tree is out of step"
        )
        assert sorted([*self._free_ids, *(p.id for p in hot)]) == list(self.kv.holder_ids), "ids are lost"
        assert all(self.kv.length(p.id) == len(p.tokens) for p in hot), "a hot prefix without its cells"
        assert self.n_warm_bytes == sum(p.n_bytes for p in self._prefixes if p.state is not None) <= self.warm_bytes


def _cost(holder: Prefix | Sequence | None) -> int:
    """Tokens that must be moved to share with a holder: none with those in the cells, else the whole saved state."""
    return len(holder.tokens) if isinstance(holder, Prefix) and holder.state is not None else 0


def _n_available(holder: Prefix | Sequence) -> int:
    return holder.n_computed if isinstance(holder, Sequence) else len(holder.tokens)
