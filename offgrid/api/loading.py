"""/v1/loading: how far a model's loading is, once or as a stream, and reading a file ahead."""

from json import dumps

from offgrid.api.answers import EVENTS, JSON
from offgrid.api.endpoint import endpoint
from offgrid.api.fields import Asked, Field, required
from offgrid.api.models import WARMING, prewarm_file
from offgrid.api.shapes import Text
from offgrid.engine.loading import ENDS, PHASES, Progress, as_json
from offgrid.errors import NotFound
from offgrid.web import sse
from offgrid.web.message import Request, Response
from offgrid.web.stream import Wakeup

WHICH = Field("model", Text(), "The id of a model; when left out, the one whose loading began last.")
MODEL_PATH = required("model_path", Text(1), "The path of one of the models' files, or the end of it.", "tiny.gguf")
PROGRESS = {
    "model_id": str,
    "phase": PHASES,
    "progress": int,
    "message": str,
    "started_at": (str, None),
    "elapsed_ms": int,
    "estimated_ms": int,
    "error?": str,
    "is_warm": bool,
    "size_mb": int,
}


@endpoint(query=(WHICH,), answer=PROGRESS, errors=(404,))
def get_progress(_request: Request, app, asked: Asked) -> Response:
    """The newest word on how far a model's loading is."""
    return Response.json(as_json(app.pool.board.latest(_model_id(app, asked))))


@endpoint(query=(WHICH,), answers={200: {EVENTS: PROGRESS}}, errors=(404,))
def stream_progress(request: Request, app, asked: Asked) -> None:
    """One event now and one for each change; over when the model is ready, or cannot be loaded."""
    model_id = _model_id(app, asked)
    writer = request.open_stream(sse.CONTENT_TYPE, app.guard.cors_headers(request))
    with Wakeup() as wakeup:

        def tell(news: Progress) -> None:
            writer.write(sse.event(dumps(as_json(news), ensure_ascii=False).encode("utf-8", "replace")))
            if news.phase in ENDS:
                wakeup.set()

        app.pool.board.watch(tell, model_id)
        try:
            while not request.wait_for(wakeup, app.config.server.keep_alive_interval_s):
                writer.write(sse.comment())
        finally:
            app.pool.board.unwatch(tell)
    writer.close()


@endpoint(body=(MODEL_PATH,), answers={202: {JSON: WARMING}}, errors=(404,))
def prewarm_path(_request: Request, app, asked: Asked) -> Response:
    """As /v1/models/prewarm, by the path of a model's file."""
    path = asked["model_path"]
    for model in app.catalog.scan():
        if not model.broken and path in (str(model.path), model.path.name, model.id):
            return prewarm_file(model)
    raise NotFound(f"{path[:200]!r} is not the path of a model here; GET /v1/models lists them.", param="model_path")


def _model_id(app, asked: Asked) -> str | None:
    name = asked["model"]
    return app.catalog.resolve(name).worker.id if name else None
