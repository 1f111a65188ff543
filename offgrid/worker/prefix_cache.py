"""Prompts and answers that were computed once and need not be computed again.

A *prefix* is the computed beginning of an earlier sequence. Hot prefixes hold cells of the KV cache, so another
sequence shares them at once; but idle cells slow every step down, so there are few. Warm prefixes are saved states in
host memory, 3 µs a token to restore where computing takes milliseconds; what several of them have in common is kept
once. Cold ones are files (`prefix_files`), which hold *trunks* only: the text that different prompts begin with, cut
where they part. Running sequences are in the tree as well: their prompts can be shared while they are being computed,
and whoever needs the same beginning waits for it.

The memory of some models cannot be cut: a recurrent state is of one point in the text, and a state of a model with a
sliding window lacks what only a shorter text would see. Such a state serves prompts that begin with all of it, so it is
saved where prompts part (trunks), and of recurrent models before the last token of a long prompt too.

Policy only: cells are moved by `kv_cache`, tokens are compared by `prefix_tree`. Used by one thread, but for `bring`.
"""

import queue
from collections import Counter
from dataclasses import dataclass

from offgrid.worker.kv_cache import Bytes, KvCache, State
from offgrid.worker.prefix_files import PrefixFiles, StoredPrefix
from offgrid.worker.prefix_tree import PrefixTree
from offgrid.worker.sequence import Sequence

MIN_SHARED = 8  # tokens; less is not worth a memory call
MIN_WORTH = 32  # tokens that must be new in a prefix for it to be saved, or to be waited for
MIN_TRUNK = 256  # tokens; a shorter beginning of several prompts is computed again sooner than it is worth a file
MIN_BRANCH = 64  # tokens that a trunk must have more than another one below it
# Two prompts may begin their own parts alike by chance ("Who", "Where"). Where a state cannot be cut afterwards, it is
# saved at a multiple of so many tokens, to serve the third one too.
STRIDE = 32


@dataclass(eq=False, slots=True)
class Prefix:
    """A cached prefix; `id` while it is hot, `state` while it is warm, never both."""

    tokens: list[int]
    n_prompt: int  # so many tokens the prompt had that it was computed for, the others are its answer
    id: int | None = None
    state: State | None = None
    is_trunk: bool = False
    stored: StoredPrefix | None = None  # the trunk's file


@dataclass(frozen=True, slots=True)
class Match:
    """What a new sequence can take: `n` tokens of `source`; and whom it had better wait for, if anybody."""

    source: Prefix | Sequence | None
    n: int
    wait_for: Sequence | None = None


class PrefixCache:
    def __init__(self, kv: KvCache, *, hot_cells: int, warm_bytes: int, files: PrefixFiles | None = None):
        """`hot_cells`: idle cells that may stay; `warm_bytes`: of saved states; `files`: where trunks are kept too."""
        self.kv = kv
        self.hot_cells = hot_cells
        self.warm_bytes = warm_bytes
        self.files = files
        self.n_warm_bytes = 0
        self._is_whole = kv.device.is_whole
        self._is_windowed = kv.device.n_window > 0
        self._whole: list[Sequence] = []  # running ones that are not in the tree, as their memory cannot be cut
        self._tree = PrefixTree()
        self._prefixes: list[Prefix] = []  # least recently used first
        self._n_users: Counter[State] = Counter()  # prefixes that need a state, directly or for another one
        self._free_ids = list(kv.holder_ids)
        self._arrivals: queue.SimpleQueue[tuple[StoredPrefix, Bytes]] = queue.SimpleQueue()

    # --- a sequence begins ---

    def bring(self, stored: StoredPrefix, data: Bytes) -> None:
        """Take in a state that was read from its file, before the next `find`. Any thread."""
        self._arrivals.put((stored, data))

    def find(self, tokens: list[int]) -> Match:
        """The most that a prompt can share now. At least its last token is left to compute: it brings the logits."""
        self._take_arrivals()
        source, n = None, MIN_SHARED - 1
        wait_for, n_wait = None, 0
        for holder, n_common in self._tree.matches(tokens[:-1]):
            if n_common < max(n, MIN_SHARED):
                break
            n_available = self._n_available(holder, n_common)
            if n_available > n or (n_available == n and _cost(holder) < _cost(source)):
                source, n = holder, n_available
            if isinstance(holder, Sequence) and n_common > max(holder.n_computed, n_wait):
                wait_for, n_wait = holder, n_common  # it is computing just that
        for running in self._whole:
            if running.stops and running.tokens[: running.stops[-1]] == tokens[:-1]:
                wait_for, n_wait = running, len(tokens) - 1  # its state will be saved just there
        if source is None:
            n = 0
        is_twin = n_wait == len(tokens) - 1  # a choice of the same request, most likely: what is read once serves all
        if n_wait - n < (1 if is_twin else MIN_WORTH):
            wait_for = None
        return Match(source, n, wait_for)

    def _n_available(self, holder: Prefix | Sequence, n_common: int) -> int:
        """How many of the tokens that it has in common with somebody a holder can give."""
        if isinstance(holder, Prefix) and holder.state is not None:
            is_long_enough = n_common >= self.kv.device.shortest_cut(len(holder.tokens))
            return n_common if is_long_enough else 0
        is_running = isinstance(holder, Sequence)
        n = min(n_common, holder.n_computed) if is_running else n_common
        if self._is_windowed and not self.kv.can_cut(holder.slot if is_running else holder.id, n):
            return 0
        return n

    def open(self, sequence: Sequence, match: Match) -> None:
        """Give a sequence that has just got its slot what it shares, and let others share with it from now on."""
        if match.source is not None and self._fill(sequence, match):
            sequence.n_computed = match.n
            if not sequence.first_step:  # else it was parked, and shares what it once computed itself
                sequence.n_cached = match.n
        if self._is_whole:
            sequence.stops = self._stops(sequence)
            self._whole.append(sequence)
        else:
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
        has_room = self.make_room(source.state.n_cells)
        if not has_room or source not in self._tree:  # making room can push out this very one
            return False
        if self.kv.restore(sequence.slot, source.state, match.n):
            self._store(source)
            return True
        self._discard(source)  # the device did not take it
        return False

    def _take_arrivals(self) -> None:
        while not self._arrivals.empty():
            stored, data = self._arrivals.get()
            if (trunk := self._trunk_at(stored.tokens)) is not None:
                trunk.stored = stored
                continue
            n = len(stored.tokens)
            state = State(0, n, data, len(data))
            self._add_warm(Prefix(stored.tokens, n, state=state, is_trunk=True, stored=stored))

    # --- a sequence ends ---

    def close(self, sequence: Sequence) -> None:
        """Keep what a sequence computed, and free its slot."""
        if sequence in self._tree:
            self._tree.remove(sequence)
        tokens = sequence.tokens[: sequence.n_computed]
        if self._is_whole:
            self._whole.remove(sequence)
            self._save_beginning(sequence, len(tokens), is_trunk=False)
        elif len(tokens) >= MIN_SHARED:
            if n := self._trunk_length(sequence):
                self._save_beginning(sequence, n, is_trunk=True)
            if self.kv.device.shortest_cut(n := sequence.n_prompt - 1) > 0:
                self._save_beginning(sequence, n, is_trunk=False)
            if self._is_new(tokens):
                self._keep(sequence, tokens)
        self.kv.drop(sequence.slot)
        self._cool_down()

    def _is_new(self, tokens: list[int]) -> bool:
        for holder, n_common in self._tree.matches(tokens):
            if n_common < len(tokens):
                return True
            if isinstance(holder, Prefix) and self._n_available(holder, n_common):
                self._touch(holder)
                return False
        return True

    def _keep(self, sequence: Sequence, tokens: list[int]) -> None:
        for shorter in self._tree.prefixes(tokens):
            if isinstance(shorter, Prefix) and shorter.id is not None:
                self._discard(shorter)  # whatever it could give, the new one gives too
        if not self._free_ids:
            self._evict(self._hot[0])
        prefix = Prefix(tokens, sequence.n_prompt, id=self._free_ids.pop())
        self.kv.copy(sequence.slot, prefix.id, len(tokens))
        self._tree.add(tokens, prefix)
        self._prefixes.append(prefix)

    # --- trunks ---

    def _trunk_length(self, sequence: Sequence) -> int:
        """How many tokens of a prompt begin another one too, and are not kept by themselves yet; 0: too few."""
        if self.files is None and not self._is_windowed:
            return 0  # in memory, common beginnings are kept once without that
        n_least = MIN_BRANCH if self._is_windowed else MIN_TRUNK
        n_kept = n_trunk = 0
        for holder, n_common in self._tree.matches(sequence.tokens[: sequence.n_prompt - 1]):
            if n_common < n_least:
                break
            if isinstance(holder, Prefix) and holder.is_trunk:
                n_kept = max(n_kept, self._n_available(holder, n_common))
            elif n_trunk < n_common < len(holder.tokens) and not _goes_on_from(sequence, holder, n_common):
                n_trunk = n_common
        n_trunk -= n_trunk % STRIDE if self._is_windowed else 0
        return n_trunk if n_trunk - n_kept >= MIN_BRANCH else 0

    def _save_beginning(self, sequence: Sequence, n: int, *, is_trunk: bool) -> None:
        """Make the first `n` tokens of a sequence a warm prefix."""
        tokens = sequence.tokens[:n]
        if n < MIN_SHARED or not self.kv.can_cut(sequence.slot, n) or not (is_trunk or self._is_new(tokens)):
            return
        state = self.kv.save(sequence.slot, n, self.warm_bytes // 2)
        if state is not None:
            prefix = Prefix(tokens, sequence.n_prompt, state=state, is_trunk=is_trunk)
            self._store(prefix)
            self._add_warm(prefix)

    def _store(self, prefix: Prefix) -> None:
        """Have a trunk written to its file, unless it is."""
        if prefix.is_trunk and prefix.stored is None and self.files is not None and len(prefix.tokens) >= MIN_TRUNK:
            prefix.stored = self.files.save(prefix.tokens, prefix.state.data)

    def _trunk_at(self, tokens: list[int]) -> Prefix | None:
        """The trunk that consists of just these tokens."""
        found = (p for p in self._tree.prefixes(tokens) if isinstance(p, Prefix) and len(p.tokens) == len(tokens))
        return next((p for p in found if p.is_trunk), None)

    # --- models whose memory cannot be cut ---

    def _stops(self, sequence: Sequence) -> list[int]:
        """Where to save the state of a prompt on its way: where it parts from another one, and before its last token,
        for the same prompt again and for templates that write an answer differently than it was given."""
        stops, n_last = [], sequence.n_computed
        prompt = sequence.tokens[: sequence.n_prompt - 1]
        _, n_branch = next(self._tree.matches(prompt), (None, 0))
        for n in (n_branch - n_branch % STRIDE, len(prompt)):
            if n - n_last >= MIN_WORTH:
                stops.append(n)
                n_last = n
        return stops

    def stopped(self, sequence: Sequence) -> None:
        """Save the state of a sequence that has reached one of its stops."""
        n = sequence.stops.pop(0)
        self._save_beginning(sequence, n, is_trunk=n < sequence.n_prompt - 1)

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
        n, n_elsewhere, base = len(prefix.tokens), *self._elsewhere(prefix)
        start = n_elsewhere if base is not None else 0
        state = self.kv.save(prefix.id, n, self.warm_bytes // 2, base, start) if n - n_elsewhere >= MIN_WORTH else None
        if state is None:
            self._discard(prefix)
            return
        self._remove(prefix)
        superseded = [] if self._is_windowed else self._tree.prefixes(prefix.tokens)
        self._add_warm(Prefix(prefix.tokens, prefix.n_prompt, state=state))
        for shorter in superseded:  # its states stay as long as the new one builds on them
            if (
                isinstance(shorter, Prefix)
                and shorter.state is not None
                and not shorter.is_trunk
                and shorter in self._tree
            ):
                self._discard(shorter)

    def _elsewhere(self, prefix: Prefix) -> tuple[int, State | None]:
        """How much of a hot prefix another one has too; and the state to build on, if that one is warm."""
        for holder, n_common in self._tree.matches(prefix.tokens):
            if holder is prefix or not isinstance(holder, Prefix) or not self._n_available(holder, n_common):
                continue
            if holder.state is None or self._is_windowed or n_common < MIN_WORTH:
                return n_common, None
            return n_common, next(state for state in holder.state.chain if state.start < n_common)
        return 0, None

    def _add_warm(self, prefix: Prefix) -> None:
        self._tree.add(prefix.tokens, prefix)
        self._prefixes.append(prefix)
        for state in prefix.state.chain:
            self._n_users[state] += 1
            if self._n_users[state] == 1:
                self.n_warm_bytes += state.n_bytes
        while self.n_warm_bytes > self.warm_bytes:
            self._discard(next(p for p in self._prefixes if p.state is not None))

    def _discard(self, prefix: Prefix) -> None:
        self._remove(prefix)
        if prefix.stored is not None:
            prefix.stored.is_loaded = False
        if prefix.state is not None:
            for state in prefix.state.chain:
                self._n_users[state] -= 1
                if not self._n_users[state]:
                    del self._n_users[state]
                    self.n_warm_bytes -= state.n_bytes

    def _remove(self, prefix: Prefix) -> None:
        """Take a prefix out of the books, and free its cells if it is hot."""
        self._tree.remove(prefix)
        self._prefixes.remove(prefix)
        if prefix.id is not None:
            self.kv.drop(prefix.id)
            self._free_ids.append(prefix.id)

    def _touch(self, prefix: Prefix) -> None:
        self._prefixes.remove(prefix)
        self._prefixes.append(prefix)

    def check(self, running: list[Sequence]) -> None:
        """Raise AssertionError when the books do not balance."""
        self._tree.check()
        hot, warm = self._hot, [p for p in self._prefixes if p.state is not None]
        n_sequences = 0 if self._is_whole else len(running)
        assert len(self._tree) == len(self._prefixes) + n_sequences, "the tree is out of step"
        assert sorted([*self._free_ids, *(p.id for p in hot)]) == list(self.kv.holder_ids), "ids are lost"
        assert all(self.kv.length(p.id) == len(p.tokens) for p in hot), "a hot prefix without its cells"
        assert all(p.state.end == len(p.tokens) for p in warm), "a warm prefix with another state"
        assert self._n_users == Counter(state for p in warm for state in p.state.chain), "states are lost"
        assert self.n_warm_bytes == sum(state.n_bytes for state in self._n_users) <= self.warm_bytes


def _goes_on_from(sequence: Sequence, earlier: Prefix | Sequence, n_common: int) -> bool:
    """Whether a prompt is a later turn of the same conversation, which has the answer in other tokens than were
    generated: then they part for good, and nobody else will begin with what they have in common."""
    return earlier.n_prompt - 1 <= n_common < sequence.n_prompt - 1


def _cost(holder: Prefix | Sequence | None) -> int:
    """Tokens that must be moved to share with a holder: none with those in the cells, else the whole saved state."""
    return holder.state.n_cells if isinstance(holder, Prefix) and holder.state is not None else 0
