"""What a model is shown of a run: the task with what stands before it, and the steps so far, fitted into its context.

Pure but for the model, which counts tokens. Must stay true: the system message, the conversation and the task are
always whole; of the steps the oldest observations are shortened first, then the oldest steps left out, and both is said
in the text; what does not fit even then is an error, never a shorter task.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from offgrid.agents.steps import Move
from offgrid.errors import ContextLengthExceeded

MOST_OBSERVED_TOKENS = 1000  # of one step's results
SHORT_CHARS = 160  # what stays of an old observation
LEFT_OUT = "\n[{} earlier steps are left out here.]"


class Counter(Protocol):
    """A model that counts."""

    n_ctx: int  # tokens of its context, known after the first `lengths`

    def count(self, messages: list[dict], fields: dict) -> int:
        """Tokens of a prompt."""

    def lengths(self, texts: list[str]) -> list[int]:
        """Tokens of each text."""


@dataclass(slots=True)
class Turn:
    move: Move
    observed: list[str]
    hint: str = ""


@dataclass(slots=True)
class Transcript:
    """`results` writes what came of a move (`Style.results`). `base` ends with the task."""

    base: list[dict]
    results: Callable[[Move, list[str], str], list[dict]]
    turns: list[Turn] = field(default_factory=list)
    n_left_out: int = 0

    def messages(self) -> list[dict]:
        told = list(self.base)
        if self.n_left_out:
            told[-1] = told[-1] | {"content": told[-1]["content"] + LEFT_OUT.format(self.n_left_out)}
        for turn in self.turns:
            told += [turn.move.message, *self.results(turn.move, turn.observed, turn.hint)]
        return told

    def add(self, turn: Turn, counter: Counter) -> None:
        """A turn with what was observed, cut to what a step may take of the context."""
        n_most = min(MOST_OBSERVED_TOKENS, counter.n_ctx // 4) // max(len(turn.observed), 1)
        turn.observed = cut_to_tokens(turn.observed, n_most, counter)
        self.turns.append(turn)

    def fit(self, counter: Counter, fields: dict, n_reserved: int) -> int:
        """Shorten until `n_reserved` tokens are left for the answer; tokens of the prompt. Raises ApiError."""
        while (n := counter.count(self.messages(), fields)) + min(n_reserved, counter.n_ctx // 4) > counter.n_ctx:
            if not self._shorten():
                raise ContextLengthExceeded(n, counter.n_ctx, "prompt")
        return n

    def _shorten(self) -> bool:
        """Make room; False when only what must stay is left. Half at a time: each change costs the prompt's cache."""
        long = [turn for turn in self.turns[:-1] if any(len(text) > 2 * SHORT_CHARS for text in turn.observed)]
        if long:
            for turn in long[: (len(long) + 1) // 2]:
                turn.observed = [cut_to_chars(text, SHORT_CHARS) for text in turn.observed]
            return True
        if len(self.turns) > 1:
            n = len(self.turns) // 2
            del self.turns[:n]
            self.n_left_out += n
            return True
        if self.turns and any(len(text) > 2 * SHORT_CHARS for text in self.turns[0].observed):
            self.turns[0].observed = [
                cut_to_chars(text, max(len(text) // 2, SHORT_CHARS)) for text in self.turns[0].observed
            ]
            return True
        return False


def cut_to_tokens(texts: list[str], n_most: int, counter: Counter) -> list[str]:
    """Each text whole, or its beginning of at most so many tokens, saying so."""
    kept = list(texts)
    lengths = counter.lengths(texts)
    for i, (text, n_tokens) in enumerate(zip(texts, lengths, strict=True)):
        n_chars = len(text)
        while n_tokens > n_most and n_chars > 1:
            n_chars = max(1, int(n_chars * n_most / n_tokens * 0.95))
            [n_tokens] = counter.lengths([text[:n_chars]])
        kept[i] = cut_to_chars(text, n_chars)
    return kept


def cut_to_chars(text: str, n_chars: int) -> str:
    return text if len(text) <= n_chars else f"{text[:n_chars]} [cut here: {n_chars} of {len(text)} characters]"
