"""What every scenario is given, and what it gives back."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import prompts
from loadgen import Request
from servers import Settings

WIDTHS = (1, 4, 8, 16)  # clients at once
SHORT_WORDS = 24
# What a prompt of so many words leaves to compute when the chat template's fixed beginning is cached.
SHORT_TOKENS = 32


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much work the scenarios are: words and tokens (about one token a word), and seconds."""

    answer_tokens: int = 128
    brief_tokens: int = 32  # answers where the wait for the first token is what counts
    prefix_words: int = 640
    distinct_words: int = 300
    turnover_tokens: int = 64
    long_words: int = 4000
    idle_words: int = 512
    table_rows: int = 12
    copied_tokens: int = 240  # fewer than the table has, so that all of the answer is a copy
    idle_s: float = 60
    swaps: int = 100  # requests that each ask for another model than the one before


QUICK = Sizes(16, 8, 160, 60, 8, 600, 64, 4, 60, 3, 6)


@dataclass(frozen=True, slots=True)
class Lab:
    """What every scenario needs. `key` differs from run to run, and all texts with it."""

    settings: Settings
    sizes: Sizes
    key: str

    def requests(self, key: str, n: int, n_words: int, n_tokens: int, shared_words: int = 0) -> list[Request]:
        """`n` requests with texts of their own, all beginning with the same `shared_words`."""
        keys = [f"{self.key} {key} {i}" for i in range(n)]
        shared = prompts.text(f"{self.key} {key} shared", shared_words)
        texts = [f"{shared}\n{prompts.text(own, n_words)}".strip() for own in keys]
        return [Request(text, n_tokens, prompts.seed(own)) for text, own in zip(texts, keys, strict=True)]


@dataclass(frozen=True, slots=True)
class Finding:
    """The figures of one program in one variant of a scenario, in one round."""

    variant: str
    program: str
    figures: dict


Scenario = Callable[[Lab, int], Iterator[Finding]]
