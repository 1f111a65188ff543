"""Everything about one generation that runs in this worker: its tokens, what of them is computed, its limits.

Derived state is derived: whether it prefills or decodes follows from `tokens` and `n_computed`.
"""

import time
from dataclasses import dataclass, field

from offgrid.types import Usage
from offgrid.worker.draft import Drafter
from offgrid.worker.reply import Reply
from offgrid.worker.scores import ScoredText
from offgrid.worker.text import TextAssembler


@dataclass(slots=True, eq=False)
class Sequence:
    id: int  # the router's number for the request
    tokens: list[int]  # the prompt, then what was generated
    n_prompt: int
    n_limit: int  # tokens, prompt included, after which it ends with "length"
    sampler: object  # a sampling.Sampler
    text: TextAssembler | Reply  # Reply: of a chat whose answer may be more than plain text
    scores: ScoredText | None = None  # None: nobody asked how likely its tokens are
    time_limit_s: float | None = None  # from its first token on, after which it ends with "length"
    client: str = ""
    drafter: Drafter | None = None  # None: nothing is drafted for it
    slot: int | None = None  # the sequence id in the KV cache while it runs
    n_computed: int = 0  # tokens whose KV cells exist
    n_cached: int = 0  # prompt tokens that came from the cache
    stops: list[int] = field(default_factory=list)  # lengths at which its state is saved on the way, ascending
    arrived: float = 0.0  # seconds, monotonic
    first_step: float = field(default=0.0)  # when its prefill began
    first_token: float = field(default=0.0)
    n_drafted: int = 0  # tokens computed on a guess
    n_accepted: int = 0  # of these, how many the sampler chose

    @property
    def n_pending(self) -> int:
        """Tokens that must be computed before the next one can be sampled."""
        return len(self.tokens) - self.n_computed

    @property
    def n_to_stop(self) -> int:
        """Tokens to compute until the next one can be sampled or its state must be saved."""
        return self.stops[0] - self.n_computed if self.stops else self.n_pending

    @property
    def n_generated(self) -> int:
        return len(self.tokens) - self.n_prompt

    @property
    def is_decoding(self) -> bool:
        """One new token to compute per step, and the next to sample: the state in which a client sees text flow."""
        return self.n_pending == 1 and self.n_generated > 0

    @property
    def is_out_of_time(self) -> bool:
        return self.time_limit_s is not None and time.monotonic() - self.first_token >= self.time_limit_s

    @property
    def usage(self) -> Usage:
        n_thinking = self.text.n_thinking if isinstance(self.text, Reply) else 0
        return Usage(self.n_prompt, self.n_generated, self.n_cached, n_thinking)
