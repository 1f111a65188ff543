"""One chat answer while it grows: which of its text is thinking, which is content, and which calls tools.

The text itself is read by `dialects.reply`; here stands what the worker adds: bytes to text, stop strings (in the
content only), the budget for thinking, and when the answer begins to be held to a form. Belongs to the model's thread.
"""

import codecs
from collections import deque
from typing import Protocol

from offgrid.dialects.reply import Part, ReplyParser
from offgrid.worker.refused import Refused
from offgrid.worker.text import StopFilter

LONGEST_TAIL = 400  # characters of raw text that are kept: the longest end of a thought, and a token


class Holder(Protocol):
    """What holds a text to a form: a `sampling.Sampler`."""

    is_held: bool

    def hold(self, text: str) -> bool:
        """Begin to, with what follows `text`; False: the form does not allow that text."""


class Reply:
    def __init__(
        self,
        parser: ReplyParser,
        stop: tuple[str, ...],
        spelled: dict[int, bytes],
        *,
        budget: int | None,
        cut: list[int],
        holder: Holder | None,
    ):
        """`spelled`: control tokens that are markup here. `budget`: tokens of thinking, after which the tokens `cut`,
        the end of thinking, follow. `holder`: what holds the answer to its form once thinking has ended; with it an
        answer follows in any case. Where it holds already, the form rules what is thought as well."""
        self.spelled = spelled
        self.n_thinking = 0  # tokens
        self.n_calls = 0  # that were given out
        self.forced: deque[int] = deque()  # tokens that come next, whatever the model would say
        self._parser = parser
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._stops = StopFilter(stop)
        self._budget = budget
        self._cut = cut
        self._holder = holder
        self._tail = ""  # the end of the raw text
        self._limit_thinking()

    @property
    def is_stopped(self) -> bool:
        return self._stops.is_stopped

    @property
    def stopped_by(self) -> str:
        return self._stops.stopped_by

    @property
    def owes_answer(self) -> bool:
        """The text must not end here: it is in the midst of thinking, and an answer of a form was asked for."""
        return self._holder is not None and self._is_free and bool(self._cut)

    @property
    def _is_free(self) -> bool:
        """It is thinking, and no form says what."""
        return self._parser.is_thinking and not (self._holder and self._holder.is_held)

    def end_thinking(self) -> None:
        self.forced.extend(self._cut)

    def push(self, piece: bytes) -> list[Part]:
        """What a token's bytes add to the answer. Raises Refused: its form does not allow how it begins."""
        text = self._decode(piece)
        was_thinking = self._parser.is_thinking
        parts = self._parser.push(text)
        if was_thinking or self._parser.is_thinking:
            self.n_thinking += 1
            self._limit_thinking()
        if self._holder is not None and not self._holder.is_held:
            self._tail = (self._tail + text)[-LONGEST_TAIL:]
            if was_thinking and not self._parser.is_thinking:
                self._begin_answer()
        return self._shown(parts)

    def flush(self) -> list[Part]:
        """What was held back, now that no more will come."""
        if self.is_stopped:
            return []
        parts = self._shown(self._parser.push(self._decode(b"", True)) + self._parser.flush())
        rest = self._stops.flush()
        return [*parts, Part("content", rest, len(rest))] if rest else parts

    def _limit_thinking(self) -> None:
        is_over = self._budget is not None and self.n_thinking >= self._budget
        if is_over and self._is_free and not self.forced:
            self.end_thinking()

    def _begin_answer(self) -> None:
        """Hold the answer to its form, from the text on that the token brought beside the end of thinking."""
        begun = self._tail.rpartition(self._parser.dialect.thinking[1])[2]
        if not self._holder.hold(begun.strip()):
            message = "The model ended its thinking and began its answer in one token, which the answer's form forbids."
            raise Refused(kind="internal", message=message)

    def _shown(self, parts: list[Part]) -> list[Part]:
        """The same parts without what stop strings hold back or end."""
        shown = []
        for part in parts:
            if part.kind == "content":
                text = self._stops.push(part.text)
                if text:
                    shown.append(Part("content", text, len(text)))
            elif not self.is_stopped:
                if rest := self._stops.flush():
                    shown.append(Part("content", rest, len(rest)))
                shown.append(part)
        return shown
