"""POST /v1/models/load, /unload, /pin, /unpin, /prewarm: what is in memory, by hand instead of by asking."""

from offgrid.api.answers import JSON
from offgrid.api.endpoint import endpoint
from offgrid.api.fields import Asked, Field
from offgrid.api.generate import ask_once
from offgrid.api.keep_alive import KEEP_ALIVE, read_keep_alive
from offgrid.api.models import LISTED, WARMING, prewarm_file
from offgrid.api.shapes import Flag, Text
from offgrid.engine.catalog import ModelFile
from offgrid.errors import BadRequest
from offgrid.types import Event
from offgrid.web.message import Request, Response

EXAMPLE = "SmolLM2-135M-Instruct"
ONE_MODEL = (
    Field("model", Text(), "The id of a model, as GET /v1/models lists them. It must be given.", example=EXAMPLE),
    Field("model_id", Text(), "The same, as some clients call it."),
)
WAIT = Field("wait", Flag(), "Answer when it is ready; false: at once.", True)
PINNED = Field("pinned", Flag(), "false takes the pin away.", True)
LOADED = {"success": True, "model_id": str, "state": "loaded", "context_length": int}
LOADING = {"success": True, "model_id": str, "state": "loading"}
PIN = {"success": True, "model_id": str, "pinned": bool}


@endpoint(body=(*ONE_MODEL, *KEEP_ALIVE, WAIT), answers={200: {JSON: LOADED}, 202: {JSON: LOADING}}, errors=(404, 507))
def load_model(request: Request, app, asked: Asked) -> Response:
    """Load a model."""
    model = _model(request, app, asked)
    keep_alive_s = read_keep_alive(asked)
    if not asked["wait"]:
        app.pool.submit(model, None, _forget, keep_alive_s)
        return Response.json({"success": True, "model_id": model.id, "state": "loading"}, status=202)
    loaded = ask_once(request, app, model, None, keep_alive_s)
    answer = {"success": True, "model_id": model.id, "state": "loaded", "context_length": loaded.n_ctx}
    return Response.json(answer)


@endpoint(body=ONE_MODEL, answer={"success": True, "model_id": str, "was_loaded": bool}, errors=(404,))
def unload_model(request: Request, app, asked: Asked) -> Response:
    """Begin to unload an idle model; a busy one is a 503."""
    name = model_name(asked)
    is_known = any(worker.model_id == name for worker in app.pool.workers)  # its file may be gone
    model_id = name if is_known else app.catalog.resolve(name).worker.id
    request.remarks["model"] = model_id
    was_loaded = app.pool.unload(model_id)
    return Response.json({"success": True, "model_id": model_id, "was_loaded": was_loaded})


@endpoint(body=(*ONE_MODEL, PINNED), answer=PIN, errors=(404, 507))
def pin_model(request: Request, app, asked: Asked) -> Response:
    """Keep a model loaded whatever else is asked for, and begin to load it; or no longer."""
    model = _model(request, app, asked)
    is_pinned = asked["pinned"]
    request.remarks["pinned"] = is_pinned
    return _pin(app, model, is_pinned=is_pinned)


@endpoint(body=ONE_MODEL, answer=PIN, errors=(404,))
def unpin_model(request: Request, app, asked: Asked) -> Response:
    """Let a pinned model go when its room is needed."""
    return _pin(app, _model(request, app, asked), is_pinned=False)


@endpoint(body=ONE_MODEL, answers={202: {JSON: WARMING}}, errors=(404,))
def prewarm_model(request: Request, app, asked: Asked) -> Response:
    """Have the system read the model's file into free memory, so that loading it later takes no disk."""
    return prewarm_file(_model(request, app, asked))


def model_name(asked: Asked) -> str:
    """The model's name, under either of the names that clients use."""
    given = {key: name for key in ("model", "model_id") if (name := asked[key])}
    if len(set(given.values())) != 1:
        raise BadRequest("model must be the id of one model; GET /v1/models lists them.", param="model")
    return next(iter(given.values()))


def _pin(app, model: ModelFile, *, is_pinned: bool) -> Response:
    app.pool.pin(model.worker.id, is_pinned=is_pinned)
    if is_pinned:
        app.pool.submit(model, None, _forget)
    return Response.json({"success": True, "model_id": model.id, "pinned": is_pinned})


def _model(request: Request, app, asked: Asked) -> ModelFile:
    model = app.catalog.resolve(model_name(asked))
    request.remarks["model"] = model.id
    if model.kind not in LISTED:
        raise BadRequest(f"{model.id} is of the kind {model.kind} and cannot be loaded by itself.", param="model")
    return model


def _forget(_event: Event) -> None:
    """Nobody waits: the log and /v1/loading/progress tell what came of it."""
