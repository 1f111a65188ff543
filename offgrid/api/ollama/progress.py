"""Work whose progress is told as it goes on: a line of NDJSON for each status, or only how it ended."""

import time
from collections.abc import Callable

from offgrid.api.answers import NDJSON
from offgrid.api.error_body import error_body
from offgrid.api.fields import Field
from offgrid.api.ollama.wire import line
from offgrid.api.shapes import Flag
from offgrid.errors import ApiError
from offgrid.web.message import Request, Response
from offgrid.web.stream import Wakeup

EVERY_S = 0.2  # a line about the same thing
STATUS = {"status": str, "digest?": str, "total?": int, "completed?": int}
DONE = {"status": "success"}
STREAM = Field("stream", Flag(), "false: one object when it is done.", True)

Tell = Callable[..., None]


def answer_with(request: Request, app, work: Callable[[Tell], None], *, stream: bool) -> Response | None:
    """Do `work`, which calls `tell(status, digest=, total=, completed=)`; a client that hangs up ends it.

    What it raises before it tells anything is an ordinary error. Raises ApiError, ClientGone.
    """
    with Wakeup() as never:
        if not stream:
            work(lambda status, **figures: request.wait_for(never, 0) and None)
            return Response.json(DONE)
        writer = request.open_stream(NDJSON, app.guard.cors_headers(request))
        told_at, told = 0.0, ""

        def tell(status: str, **figures: int | str) -> None:
            nonlocal told_at, told
            request.wait_for(never, 0)
            now = time.monotonic()
            is_late = now >= told_at + EVERY_S or figures.get("completed") == figures.get("total")
            if status == told and not (figures and is_late):
                return
            told_at, told = now, status
            writer.write(line({"status": status, **figures}))

        try:
            work(tell)
        except ApiError as error:
            if not writer.started:
                raise
            request.error = error
            writer.write(line(error_body(error, "ollama")))
        else:
            writer.write(line(DONE))
        writer.close()
    return None
