"""/v1/tasks: how far long work in the background is, and what came of it. Whoever starts some answers with its task."""

from offgrid.api.fields import Fields
from offgrid.api.paging import read_page
from offgrid.api.times import rfc3339
from offgrid.store.task_rows import Task
from offgrid.web.message import Request, Response

N_LISTED, MAX_LISTED = 100, 1000


def list_tasks(request: Request, app) -> Response:
    limit, offset = read_page(request, N_LISTED, MAX_LISTED)
    owner = request.who.owner
    found = app.tasks.list(owner, limit, offset)
    answer = {"tasks": [as_json(task) for task in found], "count": len(found), "total": app.tasks.count(owner)}
    return Response.json(answer)


def get_task(request: Request, app, id: str) -> Response:
    return Response.json(as_json(app.tasks.get(request.who.owner, id)))


def cancel_task(request: Request, app, id: str) -> Response:
    """The task as it is now: one at work ends a moment later."""
    Fields(request.json() if request.body else {}).finish()
    return Response.json(as_json(app.tasks.cancel(request.who.owner, id)))


def delete_task(request: Request, app, id: str) -> Response:
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
