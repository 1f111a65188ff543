"""What a run of an agent consists of, as values: calls, moves, steps, its budget, how it ended.

Plain data, nothing of models, tools or HTTP.
"""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

MAX_KEPT_CHARS = 2000  # of a tool's result in a step: steps are kept, and listed with every list of runs

# How a run may end. The first is an answer that the model gave of itself; the next four are budgets that were used up,
# with or without an answer that it was made to give.
COMPLETED, FAILED, CANCELLED = "completed", "failed", "cancelled"
STEP_LIMIT, TOKEN_LIMIT, TIME_LIMIT, LOOP = "step_limit", "token_limit", "time_limit", "loop"
STATUSES = (COMPLETED, STEP_LIMIT, TOKEN_LIMIT, TIME_LIMIT, LOOP, FAILED, CANCELLED)
STEP_TYPES = ("thought", "action", "observation", "answer", "error")


@dataclass(frozen=True, slots=True)
class Call:
    """`id` is the model's name for it, unique within a run."""

    id: str
    tool: str
    arguments: dict[str, Any]

    @property
    def key(self) -> str:
        """The same for identical calls."""
        return f"{self.tool} {json.dumps(self.arguments, sort_keys=True)}"


@dataclass(frozen=True, slots=True)
class Move:
    """What a model wants next: calls, or its answer. `problem`: its text is neither, and why."""

    message: dict  # the assistant's, as the next prompt shows it
    thought: str = ""
    calls: tuple[Call, ...] = ()
    answer: str | None = None
    is_cut: bool = False  # it reached a limit in the midst of its text
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a call, for the model."""

    text: str
    is_error: bool = False
    took_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happened, for people. `id` counts from 1; `tool_args` is JSON."""

    id: int
    type: str  # of STEP_TYPES
    content: str
    tool_name: str = ""
    tool_args: str = ""
    tool_result: str = ""
    at: float = field(default_factory=time.time)  # seconds since 1970
    took_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Budget:
    """What a run may use."""

    max_steps: int  # times that the model is asked
    max_tokens: int  # that it writes in one step
    max_total_tokens: int  # that it writes in all
    max_s: float  # without the time in which a person was waited for


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended. `error` says what was missing, also beside an output that it was made to give."""

    status: str
    output: str = ""
    error: str = ""

    @property
    def is_answered(self) -> bool:
        return bool(self.output)


class Stopwatch:
    """How much time a run has left; it stands still in `paused`. For any thread."""

    def __init__(self, limit_s: float):
        self.limit_s = limit_s
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._n_pauses = 0
        self._paused_at = 0.0

    @property
    def left_s(self) -> float:
        with self._lock:
            now = self._paused_at if self._n_pauses else time.monotonic()
            return self.limit_s - (now - self._began)

    @contextmanager
    def paused(self) -> Iterator[None]:
        with self._lock:
            if not self._n_pauses:
                self._paused_at = time.monotonic()
            self._n_pauses += 1
        try:
            yield
        finally:
            with self._lock:
                self._n_pauses -= 1
                if not self._n_pauses:
                    self._began += time.monotonic() - self._paused_at
