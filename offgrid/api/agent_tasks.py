"""/v1/agents/tasks: runs of agents, at work and ended; which calls wait for a person, and that person's word."""

import json
from typing import Any

from offgrid.agents.runs import NAME
from offgrid.agents.steps import STEP_TYPES
from offgrid.agents.styles import STYLES
from offgrid.api import paging
from offgrid.api.answers import DONE, PAGE
from offgrid.api.endpoint import endpoint
from offgrid.api.fields import Asked, Field, required
from offgrid.api.shapes import Flag, Text
from offgrid.api.times import rfc3339
from offgrid.errors import Conflict, NotFound
from offgrid.store.task_rows import ENDS, UNFINISHED, Task
from offgrid.web.message import Request, Response

STEP = {
    "id": int,
    "type": STEP_TYPES,
    "content": str,
    "tool_name?": str,
    "tool_args?": str,
    "tool_result?": str,
    "timestamp": str,
    "duration?": int,
}
WAITING = {"call": str, "tool": str, "args": {str: object}}
TASK = {
    "id": str,
    "prompt": str,
    "model": (str, None),
    "style": (*STYLES, None),
    "status": (*UNFINISHED, *ENDS),
    "outcome": (str, None),
    "result": (str, None),
    "error": (str, None),
    "steps": [STEP],
    "waiting_for": [WAITING],
    "tokens_used": int,
    "config": {str: object},
    "created_at": str,
    "started_at": (str, None),
    "completed_at": (str, None),
}
APPROVE = required("approve", Flag(), "Whether the call may be made.", True)
CALL = Field("call", Text(1, 64), "Which call, as the approval event names it; all that wait if left out.")


@endpoint(query=paging.PAGE, answer={"tasks": [TASK], **PAGE})
def list_tasks(request: Request, app, asked: Asked) -> Response:
    """The runs of one's agents, newest first."""
    owner = request.who.owner
    found = app.tasks.list(owner, asked["limit"], asked["offset"], NAME)
    answer = {"tasks": [as_json(app, task) for task in found], "count": len(found)}
    return Response.json(answer | {"total": app.tasks.count(owner, NAME)})


@endpoint(answer=TASK)
def get_task(request: Request, app, id: str) -> Response:
    """How far a run is, what it waits for, and what came of it."""
    return Response.json(as_json(app, _task(request, app, id)))


@endpoint(body=(), answer=TASK, errors=(409,))
def cancel_task(request: Request, app, _asked: Asked, id: str) -> Response:
    """End a run; its model and its tool are told at once."""
    _task(request, app, id)
    return Response.json(as_json(app, app.tasks.cancel(request.who.owner, id)))


@endpoint(answer=DONE, errors=(409,))
def delete_task(request: Request, app, id: str) -> Response:
    """Forget a run that has ended."""
    _task(request, app, id)
    app.tasks.delete(request.who.owner, id)
    return Response.json({"success": True, "message": f"The task {id} is deleted."})


@endpoint(body=(APPROVE, CALL), answer={"status": ("approved", "refused"), "calls": [WAITING]}, errors=(409,))
def approve_call(request: Request, app, asked: Asked, id: str) -> Response:
    """Agree to a call that waits for it, or refuse it."""
    run = app.agents.live(_task(request, app, id))
    if run is None:
        raise Conflict("The task has ended, so no call of it waits for approval.", code="task_finished")
    calls = run.approvals.decide(asked["call"], is_agreed=asked["approve"])
    request.remarks |= {"approve": asked["approve"], "tools": ", ".join(call.tool for call in calls)}
    status = "approved" if asked["approve"] else "refused"
    return Response.json({"status": status, "calls": [_waiting(call) for call in calls]})


def as_json(app, task: Task) -> dict:
    run = app.agents.live(task)
    kept = run.snapshot() if run is not None else task.result or {}
    return {
        "id": task.id,
        "prompt": kept.get("prompt", task.description),
        "model": kept.get("model"),
        "style": kept.get("style"),
        "status": task.status,
        "outcome": kept.get("status") if task.is_finished else None,
        "result": kept.get("output") or None,
        "error": task.error or kept.get("error"),
        "steps": [step_json(step) for step in kept.get("steps", [])],
        "waiting_for": [_waiting(call) for call in run.approvals.waiting] if run is not None else [],
        "tokens_used": kept.get("tokens_used", 0),
        "config": kept.get("config", {}),
        "created_at": rfc3339(task.created_at),
        "started_at": rfc3339(task.started_at),
        "completed_at": rfc3339(task.completed_at),
    }


def step_json(kept: dict[str, Any]) -> dict:
    """A step as it is kept, as it is shown."""
    return {name: value for name, value in kept.items() if name != "at"} | {"timestamp": rfc3339(kept["at"])}


def tool_calls(steps: list[dict]) -> list[dict]:
    """The calls among the steps of a run."""
    return [
        {"tool": step["tool_name"], "args": json.loads(step["tool_args"]), "result": step.get("tool_result", "")}
        for step in steps
        if step["type"] == "action"
    ]


def _task(request: Request, app, id: str) -> Task:
    """Raises NotFound, also for a task of another kind."""
    task = app.tasks.get(request.who.owner, id)
    if task.name != NAME:
        raise NotFound(f"The task {id} is none of an agent; it is at /v1/tasks/{id}.", code="task_not_found")
    return task


def _waiting(call) -> dict:
    return {"call": call.id, "tool": call.tool, "args": call.arguments}
