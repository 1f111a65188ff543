"""POST /v1/models/load, /unload, /pin, /unpin, /prewarm: what is in memory, by hand instead of by asking."""

from offgrid.api.fields import Fields
from offgrid.api.generate import ask_once
from offgrid.api.keep_alive import read_keep_alive
from offgrid.api.models import LISTED, prewarm_file
from offgrid.engine.catalog import ModelFile
from offgrid.errors import BadRequest
from offgrid.types import Event
from offgrid.web.message import Request, Response


def load_model(request: Request, app) -> Response:
    """Load a model; with `wait` (the default) the answer comes when it is ready, else at once."""
    fields = Fields(request.json())
    model = _model(request, app, fields)
    keep_alive_s = read_keep_alive(fields)
    is_waiting = fields.boolean("wait", True)
    fields.finish()
    if not is_waiting:
        app.pool.submit(model, None, _forget, keep_alive_s)
        return Response.json({"success": True, "model_id": model.id, "state": "loading"}, status=202)
    loaded = ask_once(request, app, model, None, keep_alive_s)
    answer = {"success": True, "model_id": model.id, "state": "loaded", "context_length": loaded.n_ctx}
    return Response.json(answer)


def unload_model(request: Request, app) -> Response:
    """Begin to unload an idle model; a busy one is a 503."""
    fields = Fields(request.json())
    name = model_name(fields)
    fields.finish()
    is_known = any(worker.model_id == name for worker in app.pool.workers)  # its file may be gone
    model_id = name if is_known else app.catalog.resolve(name).id
    request.remarks["model"] = model_id
    was_loaded = app.pool.unload(model_id)
    return Response.json({"success": True, "model_id": model_id, "was_loaded": was_loaded})


def pin_model(request: Request, app) -> Response:
    """Keep a model loaded whatever else is asked for (and begin to load it), or with `pinned: false` no longer."""
    fields = Fields(request.json())
    model = _model(request, app, fields)
    is_pinned = fields.boolean("pinned", True)
    fields.finish()
    request.remarks["pinned"] = is_pinned
    return _pin(app, model, is_pinned=is_pinned)


def unpin_model(request: Request, app) -> Response:
    fields = Fields(request.json())
    model = _model(request, app, fields)
    fields.finish()
    return _pin(app, model, is_pinned=False)


def prewarm_model(request: Request, app) -> Response:
    """Have the system read the model's file into free memory, so that loading it later takes no disk."""
    fields = Fields(request.json())
    model = _model(request, app, fields)
    fields.finish()
    return prewarm_file(model)


def model_name(fields: Fields) -> str:
    """The model's name, under either of the names that clients use."""
    given = {key: name for key in ("model", "model_id") if (name := fields.string(key))}
    if len(set(given.values())) != 1:
        raise BadRequest("model must be the id of one model; GET /v1/models lists them.", param="model")
    return next(iter(given.values()))


def _pin(app, model: ModelFile, *, is_pinned: bool) -> Response:
    app.pool.pin(model.id, is_pinned=is_pinned)
    if is_pinned:
        app.pool.submit(model, None, _forget)
    return Response.json({"success": True, "model_id": model.id, "pinned": is_pinned})


def _model(request: Request, app, fields: Fields) -> ModelFile:
    model = app.catalog.resolve(model_name(fields))
    request.remarks["model"] = model.id
    if model.kind not in LISTED:
        raise BadRequest(f"{model.id} is of the kind {model.kind} and cannot be loaded by itself.", param="model")
    return model


def _forget(_event: Event) -> None:
    """Nobody waits: the log and /v1/loading/progress tell what came of it."""
