"""/v1/tasks: how far long work in the background is, and what came of it. Whoever starts some answers with its task."""

from offgrid.api import paging
from offgrid.api.answers import DONE, PAGE
from offgrid.api.endpoint import endpoint
from offgrid.api.fields import Asked
from offgrid.api.times import rfc3339
from offgrid.store.task_rows import ENDS, UNFINISHED, Task
from offgrid.web.message import Request, Response

TASK = {
    "id": str,
    "name": str,
    "description": str,
    "status": (*UNFINISHED, *ENDS),
    "progress": float,
    "logs": [{"timestamp": str, "message": str, "level": str}],
    "result": object,
    "error": (str, None),
    "created_at": str,
    "started_at": (str, None),
    "updated_at": str,
    "completed_at": (str, None),
}


@endpoint(query=paging.PAGE, answer={"tasks": [TASK], **PAGE})
def list_tasks(request: Request, app, asked: Asked) -> Response:
    """One's tasks, newest first."""
    owner = request.who.owner
    found = app.tasks.list(owner, asked["limit"], asked["offset"])
    answer = {"tasks": [as_json(task) for task in found], "count": len(found), "total": app.tasks.count(owner)}
    return Response.json(answer)


@endpoint(answer=TASK)
def get_task(request: Request, app, id: str) -> Response:
    """How far a task is, and what came of it."""
    return Response.json(as_json(app.tasks.get(request.who.owner, id)))


@endpoint(body=(), answer=TASK, errors=(409,))
def cancel_task(request: Request, app, _asked: Asked, id: str) -> Response:
    """Cancel a task: one that waits at once, one at work a moment later."""
    return Response.json(as_json(app.tasks.cancel(request.who.owner, id)))


@endpoint(answer=DONE, errors=(409,))
def delete_task(request: Request, app, id: str) -> Response:
    """Delete a task that has ended."""
    app.tasks.delete(request.who.owner, id)
    return Response.json({"success": True, "message": f"The task {id} is deleted."})


def as_json(task: Task) -> dict:
    return {
        "id": task.id,
        "name": task.name,
        "description": task.description,
        "status": task.status,
        "progress": round(task.progress, 1),
        "logs": [_line(line) for line in task.logs],
        "result": task.result,
        "error": task.error,
        "created_at": rfc3339(task.created_at),
        "started_at": rfc3339(task.started_at),
        "updated_at": rfc3339(task.updated_at),
        "completed_at": rfc3339(task.completed_at),
    }


def _line(line: dict) -> dict:
    return {"timestamp": rfc3339(line["at"]), "message": line["message"], "level": line["level"]}
