"""`client.tasks`: long work that the server does in the background."""

import time
from urllib.parse import quote

from .errors import OffGridError
from .transport import Transport

UNFINISHED = ("pending", "running")
LOOK_INTERVAL_S = 0.5


class Tasks:
    """`client.tasks`; a task is a dict with "id", "status", "progress" (percent), "result" and "error"."""

    def __init__(self, transport: Transport):
        self._transport = transport

    def list(self) -> "list[dict]":
        """Newest first; up to 1000."""
        return self._transport.take("tasks", "GET", "/v1/tasks?limit=1000")

    def get(self, id: str) -> dict:
        return self._transport.call("GET", _path(id))

    def cancel(self, id: str) -> dict:
        """The task as it is now: one at work ends a moment later."""
        return self._transport.call("POST", f"{_path(id)}/cancel")

    def delete(self, id: str) -> bool:
        """Forget a task that has ended."""
        return self._transport.take("success", "DELETE", _path(id))

    def wait(self, id: str, timeout_s: float | None = None) -> dict:
        """The task when it has ended, whatever its "status" then is. Raises OffGridError when the time is up."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while (task := self.get(id)).get("status") in UNFINISHED:
            if deadline is not None and time.monotonic() >= deadline:
                raise OffGridError(f"The task {id} is still {task['status']} after {timeout_s:g} s.")
            time.sleep(LOOK_INTERVAL_S)
        return task


def _path(id: str) -> str:
    return f"/v1/tasks/{quote(id, safe='')}"
