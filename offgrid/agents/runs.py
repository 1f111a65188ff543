"""Runs of agents: each is a task that thinks with a model, calls tools for its owner, and tells what happens.

Owns the runs at work. Knows nothing of HTTP: events go to whoever started a run, as dicts. Must stay true: exactly one
event "done" or "error" ends a run's events; a tool that was not offered to a run is never called by it; whatever ends a
run (a person, a hang-up, the server's stop) reaches the model and the tool that work for it.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

from offgrid.agents.approvals import Approvals, needs_approval
from offgrid.agents.loop import Loop
from offgrid.agents.model import AgentModel
from offgrid.agents.steps import CANCELLED, FAILED, Budget, Call, Outcome, Result, Step, Stopwatch
from offgrid.agents.styles import STYLES
from offgrid.agents.tools.tool import Context, Tool, ToolError
from offgrid.agents.tools.toolbox import Toolbox
from offgrid.engine.catalog import ModelFile
from offgrid.engine.pool import Pool
from offgrid.errors import ApiError, BadRequest, Conflict, InternalError
from offgrid.store.task_rows import Task
from offgrid.store.tasks import Cancelled, Interrupted, Tasks
from offgrid.store.tasks import Run as TaskRun
from offgrid.types import Principal, Sampling, Tally

log = logging.getLogger(__name__)

NAME = "agent"  # of the tasks
MOST_AT_ONCE = 4  # calls of one step
MAX_DESCRIPTION_CHARS = 2000
Emit = Callable[[dict], None]  # called by the run's thread and the engine's, so it must not block


@dataclass(frozen=True, slots=True)
class Order:
    """What a run is to do. `tools`: those it may call, all of them usable by `context.who`."""

    task: str
    model: ModelFile
    sampling: Sampling
    style: str
    who: str  # what the model is told to be
    tools: tuple[Tool, ...]
    budget: Budget
    context: Context  # its `is_cancelled` is the run's own
    conversation: tuple[dict, ...] = ()
    told: dict[str, Any] = field(default_factory=dict)  # how it was asked, for whoever looks at the run


class AgentRun:
    """One run. `ended` is set when all is over; then `outcome` or `error` says how."""

    def __init__(
        self,
        order: Order,
        pool: Pool,
        toolbox: Toolbox,
        emit: Emit,
        on_end: "Callable[[AgentRun], None]",
        within: "Within",
    ):
        """`on_end` is called by the run's thread before the last event, and `within` around all its work; an ApiError
        of either becomes the run's error."""
        self.order = order
        self.tally = Tally(service="agents", model=order.model.id)
        self.approvals = Approvals()
        self.steps: list[Step] = []
        self.outcome: Outcome | None = None
        self.error: ApiError | None = None
        self.id = ""
        self.ended = threading.Event()
        self.took_s = 0.0
        self._pool, self._toolbox, self._emit, self._on_end, self._within = pool, toolbox, emit, on_end, within
        self._clock = Stopwatch(order.budget.max_s)
        self._has_begun = False
        self._task_run: TaskRun | None = None

    def snapshot(self) -> dict:
        """What of it is kept, and shown."""
        outcome = self.outcome or Outcome("")
        return {
            "prompt": self.order.task,
            "model": self.order.model.id,
            "style": self.order.style,
            "status": outcome.status or "running",
            "output": outcome.output,
            "error": outcome.error or None,
            "steps": [_step_json(step) for step in self.steps],
            "tokens_used": self.tally.prompt_tokens + self.tally.completion_tokens,
            "config": self.order.told,
        }

    def work(self, task_run: TaskRun) -> dict:
        """The function of its task. Raises what ends it without an answer."""
        self._task_run, self.id = task_run, task_run.task.id
        began = time.monotonic()
        try:
            task_run.keep(self.snapshot())
            with self._within(self):
                try:
                    self.outcome = self._loop().run(self.order.who, self.order.conversation, self.order.task)
                finally:
                    self.took_s = time.monotonic() - began
            self._on_end(self)
        except ApiError as error:
            self.error = error
            self.outcome = Outcome(FAILED, error=error.message)
        except Cancelled:
            self.outcome = Outcome(CANCELLED, error="The run was cancelled.")
            raise
        except Exception:
            log.exception("the agent run %s failed", self.id)
            self.error = InternalError(f"Something went wrong here. The log says more, under task {self.id}.")
            self.outcome = Outcome(FAILED, error=self.error.message)
        finally:
            task_run.keep(self.snapshot())
        if self.error is not None and _is_end_of_server(self.error):
            raise Interrupted
        if not self.outcome.is_answered:
            raise self.error or Conflict(self.outcome.error, code=self.outcome.status)
        return self.snapshot()

    # --- inside ---

    def _loop(self) -> Loop:
        order = self.order
        model = AgentModel(
            *(self._pool, order.model, order.sampling, order.context.who.client, self.tally),
            *(self._task_run.check, self._begin, lambda text: self._emit({"type": "token", "token": text})),
        )
        style = STYLES[order.style]
        return Loop(model, style, order.tools, self._act, order.budget, self._clock, self._take_step)

    def _begin(self) -> None:
        """By the engine's thread, before the first text."""
        if not self._has_begun:
            self._has_begun = True
            self._emit({"type": "status", "status": "thinking", "task_id": self.id})

    def _take_step(self, step: Step) -> None:
        self.steps.append(step)
        told = {"step_type": step.type, "step_id": step.id, "content": step.content}
        tool = {"tool_name": step.tool_name, "tool_args": step.tool_args, "tool_result": step.tool_result}
        self._emit({"type": "step", **told, **tool})
        self._task_run.keep(self.snapshot())

    def tell_end(self) -> None:
        """The one last event, once the task's end is kept."""
        outcome = self.outcome = self.outcome or Outcome(FAILED, error="The run could not be begun.")
        about = {"task_id": self.id, "steps": len(self.steps), "status": outcome.status}
        about["tokens_used"] = self.tally.prompt_tokens + self.tally.completion_tokens
        if self.error is None and outcome.is_answered:
            reason = {"reason": outcome.error} if outcome.error else {}  # "error" would look like a broken stream
            self._emit({"type": "done", "output": outcome.output, **about, **reason})
        else:
            self._emit({"type": "error", "error": self.error.message if self.error else outcome.error, **about})
        self.ended.set()

    def _act(self, calls: Sequence[Call]) -> list[Result]:
        if len(calls) == 1:
            return [self._call(calls[0])]
        with ThreadPoolExecutor(MOST_AT_ONCE, thread_name_prefix="agent-call") as threads:
            return list(threads.map(self._call, calls))

    def _call(self, call: Call) -> Result:
        began = time.monotonic()
        if call.tool not in {tool.name for tool in self.order.tools}:
            return Result(f"Error: There is no tool {call.tool[:80]!r} here.", is_error=True)
        settings = self.order.context.settings
        if needs_approval(call.tool, settings.approve) and (why := self._wait_for_approval(call)):
            return Result(f"Error: {why}", is_error=True, took_s=time.monotonic() - began)
        try:
            text = self._toolbox.call(call.tool, call.arguments, self._context())
        except ToolError as error:
            self._task_run.check()  # its tool may have ended because the run was to end
            return Result(f"Error: {error}", is_error=True, took_s=time.monotonic() - began)
        except ApiError as error:
            if _is_end_of_server(error):
                raise
            return Result(f"Error: {error.message}", is_error=True, took_s=time.monotonic() - began)
        self._task_run.check()
        return Result(text, took_s=time.monotonic() - began)

    def _context(self) -> Context:
        run = self._task_run
        return replace(self.order.context, is_cancelled=lambda: run.is_cancelled or self._clock.left_s <= 0)

    def _wait_for_approval(self, call: Call) -> str:
        timeout_s = self.order.context.settings.approve_timeout_s
        event = {"type": "approval", "task_id": self.id, "call": call.id, "tool": call.tool, "args": call.arguments}
        with self._clock.paused():
            return self.approvals.wait(call, timeout_s, lambda: self._emit(event), self._task_run.check)


Within = Callable[[AgentRun], AbstractContextManager]


class Agents:
    """All runs at work. Every method may be called from any thread."""

    def __init__(self, tasks: Tasks, pool: Pool, toolbox: Toolbox):
        self._tasks, self._pool, self._toolbox = tasks, pool, toolbox
        self._runs: dict[str, AgentRun] = {}

    def start(
        self,
        order: Order,
        emit: Emit,
        on_end: Callable[[AgentRun], None] = lambda run: None,
        within: Within = lambda run: nullcontext(),
    ) -> AgentRun:
        """Begin a run, on a thread of its own. Raises Unavailable when there are too many."""
        run = AgentRun(order, self._pool, self._toolbox, emit, on_end, within)

        def work(task_run: TaskRun) -> dict:
            self._runs[task_run.task.id] = run
            try:
                return run.work(task_run)
            finally:
                self._runs.pop(task_run.task.id, None)

        description = order.task[:MAX_DESCRIPTION_CHARS]
        owner = order.context.who.owner
        run.id = self._tasks.start(owner, NAME, description, work, at_once=True, on_end=run.tell_end).id
        return run

    def cancel(self, run: AgentRun) -> None:
        """End a run that may have ended already."""
        try:
            self._tasks.cancel(run.order.context.who.owner, run.id)
        except Conflict:
            pass  # it has

    def live(self, task: Task) -> AgentRun | None:
        """The run of a task, while it is at work."""
        return self._runs.get(task.id)

    def choose_tools(self, who: Principal, names: Sequence[str] | None) -> tuple[Tool, ...]:
        """The tools that a run for somebody may call: those named, or all. Raises BadRequest for one it may not."""
        there = {tool.name: tool for tool in self._toolbox.for_somebody(who) if not self._toolbox.why_unusable(tool)}
        if names is None:
            return tuple(there.values())
        for i, name in enumerate(names):
            if name not in there:
                raise BadRequest(self._toolbox.why_not(name, who), param=f"tools[{i}]", code="tool_not_available")
        return tuple(there[name] for name in dict.fromkeys(names))


def _step_json(step: Step) -> dict:
    told = {"id": step.id, "type": step.type, "content": step.content}
    told |= {name: value for name in ("tool_name", "tool_args", "tool_result") if (value := getattr(step, name))}
    return told | {"at": step.at} | ({"duration": int(step.took_s * 1e9)} if step.took_s else {})


def _is_end_of_server(error: ApiError) -> bool:
    return error.code == "server_stopping"
