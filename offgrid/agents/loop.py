"""The loop of an agent: ask the model, call what it names, tell it what came of that, until it answers.

A state machine over a model, tools and a style, all given; knows no threads, sockets or processes. Must stay true: a
run ends in exactly one `Outcome` or an exception; the model is asked at most `max_steps` times; a budget that is used
up is told by the outcome's status, never hidden behind an answer.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from offgrid.agents import prompt
from offgrid.agents.steps import (
    COMPLETED,
    FAILED,
    LOOP,
    MAX_KEPT_CHARS,
    STEP_LIMIT,
    TIME_LIMIT,
    TOKEN_LIMIT,
    Budget,
    Call,
    Move,
    Outcome,
    Result,
    Step,
    Stopwatch,
)
from offgrid.agents.styles import Reply, Style
from offgrid.agents.tools.tool import Tool, cut
from offgrid.agents.transcript import Counter, Transcript, Turn

MOST_REPEATS = 3  # identical calls in a row, the last of which is not made
MOST_CUT = 2  # steps in a row that are too long
LAST_SHARE = 0.75  # of the time; what is left is for the answer
WHY = {
    STEP_LIMIT: "All {budget.max_steps} steps of the run were used; the last one was kept for the answer.",
    TOKEN_LIMIT: "The run's limit of {budget.max_total_tokens} tokens was reached.",
    TIME_LIMIT: "The run's time of {budget.max_s:g} s was over.",
    LOOP: "The model made the same call again and again.",
    FAILED: "The model's steps were longer than max_tokens ({budget.max_tokens}), twice in a row.",
}
CUT_ANSWER = "The answer was cut: it reached the limit of tokens, of time, or of the model's context."
NO_ANSWER = "The model gave neither an answer nor a call."


class TimeOver(Exception):
    """Raised by a Model when the run's time is over before it has answered."""


class Model(Counter, Protocol):
    def ask(self, messages: list[dict], fields: dict, max_tokens: int, time_limit_s: float) -> Reply:
        """The next step. Raises TimeOver, ApiError."""


# Makes several calls at once, of which the answers stand in the same order.
Act = Callable[[Sequence[Call]], list[Result]]


class Loop:
    def __init__(
        self,
        model: Model,
        style: Style,
        tools: Sequence[Tool],
        act: Act,
        budget: Budget,
        clock: Stopwatch,
        on_step: Callable[[Step], None],
    ):
        self.n_tokens = 0  # that the model has written
        self._model, self._style, self._tools, self._act = model, style, tools, act
        self._budget, self._clock, self._on_step = budget, clock, on_step
        self._n_asked = self._n_calls = self._n_steps = 0
        self._last_calls: list[str] = []
        self._n_repeats = self._n_cut = 0

    def run(self, who: str, conversation: Sequence[dict], task: str) -> Outcome:
        """`conversation`: what was said before, as messages. Raises ApiError, and what `act` raises."""
        base = [*self._style.opening(who, self._tools), *conversation, self._style.task(task)]
        transcript = Transcript(base, self._style.results)
        while True:
            why = self._why_last()
            try:
                move = self._next(transcript, () if why else self._tools)
            except TimeOver:
                return Outcome(TIME_LIMIT, error=self._said(TIME_LIMIT))
            if move.thought:
                self._tell("thought", move.thought)
            if move.answer is not None:
                return self._answered(move, why)
            if move.problem and (why or self._n_asked >= self._budget.max_steps):
                self._tell("error", NO_ANSWER)
                return Outcome(why or STEP_LIMIT, error=f"{self._said(why or STEP_LIMIT)} {NO_ANSWER}")
            self._go_on(transcript, move)

    # --- inside ---

    def _why_last(self) -> str:
        """Why the next step must be the answer; "" while it need not."""
        if not self._tools and not self._n_cut:
            return ""  # it can do nothing but answer
        if self._n_repeats >= MOST_REPEATS:
            return LOOP
        if self._n_cut >= MOST_CUT:
            return FAILED
        if self._n_asked >= self._budget.max_steps - 1:
            return STEP_LIMIT
        if self._n_asked and self._budget.max_total_tokens - self.n_tokens < 2 * self._budget.max_tokens:
            return TOKEN_LIMIT
        if self._clock.left_s < (1 - LAST_SHARE) * self._budget.max_s:
            return TIME_LIMIT
        return ""

    def _next(self, transcript: Transcript, tools: Sequence[Tool]) -> Move:
        if transcript.turns:
            transcript.turns[-1].hint = " ".join(filter(None, (self._remark(), prompt.NEXT if tools else prompt.LAST)))
        fields = self._style.asking(tools)
        n_left = max(1, min(self._budget.max_tokens, self._budget.max_total_tokens - self.n_tokens))
        transcript.fit(self._model, fields, n_left)
        if self._clock.left_s <= 0:
            raise TimeOver
        reply = self._model.ask(transcript.messages(), fields, n_left, self._clock.left_s)
        self._n_asked += 1
        self.n_tokens += reply.end.usage.completion_tokens
        return self._style.read(reply, self._n_calls)

    def _remark(self) -> str:
        return prompt.AGAIN if self._n_repeats > 1 else ""

    def _go_on(self, transcript: Transcript, move: Move) -> None:
        if move.problem:
            self._n_cut += 1
            self._tell("error", f"The step was cut after {self._budget.max_tokens} tokens at most, in its midst.")
            shown = move.message | {"content": cut(move.message["content"], 200) or "…"}
            transcript.add(Turn(Move(shown), [move.problem]), self._model)
            return
        self._n_cut = 0
        keys = sorted(call.key for call in move.calls)
        self._n_repeats = self._n_repeats + 1 if keys == self._last_calls else 1
        self._last_calls = keys
        self._n_calls += len(move.calls)
        if self._n_repeats >= MOST_REPEATS:
            results = [Result("This very call was made before, and is not made again.", is_error=True)] * len(
                move.calls
            )
        else:
            results = self._act(move.calls)
        for call, result in zip(move.calls, results, strict=True):
            self._tell_call(call, result)
        transcript.add(Turn(move, [result.text for result in results]), self._model)
        for call, text in zip(move.calls, transcript.turns[-1].observed, strict=True):
            self._tell("observation", cut(text, MAX_KEPT_CHARS), tool_name=call.tool)

    def _answered(self, move: Move, why: str) -> Outcome:
        self._tell("answer", move.answer)
        if why:
            return Outcome(why, move.answer, self._said(why))
        if move.is_cut:
            return Outcome(TOKEN_LIMIT if self._clock.left_s > 0 else TIME_LIMIT, move.answer, CUT_ANSWER)
        return Outcome(COMPLETED, move.answer)

    def _said(self, why: str) -> str:
        return WHY[why].format(budget=self._budget)

    def _tell_call(self, call: Call, result: Result) -> None:
        arguments = json.dumps(call.arguments, ensure_ascii=False)
        told = {"tool_name": call.tool, "tool_args": arguments, "tool_result": cut(result.text, MAX_KEPT_CHARS)}
        self._tell("action", f"{call.tool} {arguments}", took_s=result.took_s, **told)

    def _tell(self, type: str, content: str, **more: Any) -> None:
        self._n_steps += 1
        self._on_step(Step(self._n_steps, type, content, **more))
