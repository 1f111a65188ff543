"""/v1/loading: how far a model's loading is, once or as a stream, and reading a file ahead."""

from json import dumps

from offgrid.api.fields import Fields
from offgrid.api.models import prewarm_file
from offgrid.engine.loading import ENDS, Progress, as_json
from offgrid.errors import NotFound
from offgrid.web import sse
from offgrid.web.message import Request, Response
from offgrid.web.stream import Wakeup


def get_progress(request: Request, app) -> Response:
    """The newest word on `?model=`, else on the model whose loading began last."""
    return Response.json(as_json(app.pool.board.latest(_model_id(request, app))))


def stream_progress(request: Request, app) -> None:
    """One event now and one for each change; over when the model is ready, or cannot be loaded."""
    model_id = _model_id(request, app)
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


def prewarm_path(request: Request, app) -> Response:
    """As /v1/models/prewarm, by the path of one of the catalog's files, or by the end of it."""
    fields = Fields(request.json())
    path = fields.string("model_path") or ""
    fields.finish()
    if not path:
        raise fields.refuse("model_path", "the path of a model file", None)
    for model in app.catalog.scan():
        if not model.broken and path in (str(model.path), model.path.name, model.id):
            return prewarm_file(model)
    raise NotFound(f"{path[:200]!r} is not the path of a model here; GET /v1/models lists them.", param="model_path")


def _model_id(request: Request, app) -> str | None:
    name = request.query.get("model")
    return app.catalog.resolve(name).id if name else None
