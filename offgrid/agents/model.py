"""The model that an agent thinks with: asked through the pool like everybody's, and left as soon as nobody wants it.

Threads: an `AgentModel` belongs to its run's thread; the engine's thread calls its sinks. Must stay true: when a method
returns or raises, nothing that it asked is computed any more.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from offgrid.agents.loop import TimeOver
from offgrid.agents.styles import Reply
from offgrid.engine.catalog import ModelFile
from offgrid.engine.pool import Pool
from offgrid.errors import ApiError
from offgrid.types import (
    Asked,
    Begun,
    CallArguments,
    CallBegun,
    CountRequest,
    Delta,
    End,
    Event,
    Finish,
    GenerateRequest,
    LengthsRequest,
    Part,
    Sampling,
    Tally,
    Thought,
)

CHECK_INTERVAL_S = 0.1  # how soon it is noticed that nobody wants the answer any more
OVERTIME_S = 5.0  # beyond the run's time, for what the engine does at the end of it


class AgentModel:
    def __init__(
        self,
        pool: Pool,
        file: ModelFile,
        sampling: Sampling,
        client: str,
        tally: Tally,
        check: Callable[[], None],
        on_begun: Callable[[], None],
        on_text: Callable[[str], None],
    ):
        """`check` raises when the run is to end; `on_begun` and `on_text` are called by the engine's thread."""
        self._pool, self._file, self._sampling, self._client = pool, file, sampling, client
        self._tally, self._check, self._on_begun, self._on_text = tally, check, on_begun, on_text
        self._n_ctx = 0

    @property
    def n_ctx(self) -> int:
        if not self._n_ctx:
            self.lengths([""])
        return self._n_ctx

    def lengths(self, texts: list[str]) -> list[int]:
        found = self._submit(LengthsRequest(texts), _Collected())
        self._n_ctx = found.n_limit
        return list(found.n_tokens)

    def count(self, messages: list[dict], fields: dict) -> int:
        known = {name: fields[name] for name in ("tool_use", "thinking") if name in fields}
        return self._submit(CountRequest(messages, **known), _Collected()).n_tokens

    def ask(self, messages: list[dict], fields: dict, max_tokens: int, time_limit_s: float) -> Reply:
        asked = GenerateRequest(
            model=self._file.id,
            messages=messages,
            max_tokens=max_tokens,
            time_limit_s=time_limit_s,
            sampling=self._sampling,
            client=self._client,
            **fields,
        )
        answer = _Collected(self._on_begun, self._on_text)
        try:
            end = self._submit(asked, answer, time_limit_s + OVERTIME_S)
        finally:
            self._note(answer)
        calls = tuple((name, "".join(pieces)) for name, pieces in answer.calls)
        return Reply("".join(answer.text), "".join(answer.thought), calls, end)

    def _submit(self, asked: Asked, answer: "_Collected", timeout_s: float | None = None) -> End:
        job = self._pool.submit(self._file, asked, answer.take)
        n_checks = 0
        try:
            while not answer.ended.wait(CHECK_INTERVAL_S):
                self._check()
                n_checks += 1
                if timeout_s is not None and n_checks * CHECK_INTERVAL_S > timeout_s:
                    raise TimeOver
        finally:
            job.cancel()
        if isinstance(answer.end, ApiError):
            raise answer.end
        return answer.end

    def _note(self, answer: "_Collected") -> None:
        """What was computed, also for a step that was left before its end."""
        tally, end = self._tally, answer.end
        if isinstance(end, Finish):
            tally.prompt_tokens += end.usage.prompt_tokens
            tally.cached_tokens += end.usage.cached_tokens
            tally.completion_tokens += end.usage.completion_tokens
            tally.drafted_tokens += end.drafted.n
            tally.accepted_tokens += end.drafted.n_accepted
        elif answer.begun is not None:
            tally.prompt_tokens += answer.begun.prompt_tokens
            tally.cached_tokens += answer.begun.cached_tokens
            tally.completion_tokens += answer.n_parts  # at least


@dataclass(slots=True)
class _Collected:
    """What comes back of one request; `take` is its sink."""

    on_begun: Callable[[], None] = lambda: None
    on_text: Callable[[str], None] = lambda text: None
    text: list[str] = field(default_factory=list)
    thought: list[str] = field(default_factory=list)
    calls: list[tuple[str, list[str]]] = field(default_factory=list)
    begun: Begun | None = None
    n_parts: int = 0
    end: End | ApiError | None = None
    ended: threading.Event = field(default_factory=threading.Event)

    def take(self, event: Event) -> None:
        self.n_parts += isinstance(event, Part)
        match event:
            case Begun():
                self.begun = event
                self.on_begun()
            case Delta():
                self.text.append(event.text)
                self.on_text(event.text)
            case Thought():
                self.thought.append(event.text)
                self.on_text(event.text)
            case CallBegun():
                self.calls.append((event.name, []))
            case CallArguments():
                self.calls[event.index][1].append(event.text)
            case _:
                self.end = event
                self.ended.set()
