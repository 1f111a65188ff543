"""GET /v1/models, which model a request means, and reading a model's file ahead."""

from offgrid.api.anthropic import models as anthropic
from offgrid.api.endpoint import endpoint
from offgrid.api.fields import Asked, Field
from offgrid.api.shapes import Text
from offgrid.engine.catalog import ModelFile
from offgrid.engine.prewarm import read_ahead
from offgrid.errors import BadRequest, InsufficientMemory
from offgrid.sections import ModelSettings
from offgrid.web.message import Request, Response

# kind of model file → what it is called in the list; other kinds are parts of models and cannot be asked for
LISTED = {"chat": "llm", "embedding": "embedding"}
USES = {"chat": "/v1/chat/completions", "embedding": "/v1/embeddings"}

MODEL = Field("model", Text(), "The id of a model, as GET /v1/models lists them; when left out, the default one.")
ENTRY = {
    "id": str,
    "object": "model",
    "created": int,
    "owned_by": str,
    "type": str,
    "size": int,
    "state?": ("not-loaded", "loading", "loaded"),
    "pinned?": bool,
    "fits?": bool,
    "memory_mb?": (int, None),
    "context_length?": (int, None),
    **anthropic.ENTRY,
}
LIST = {"object": "list", "data": [ENTRY], "broken?": [{"id": str, "reason": str}], **anthropic.PAGE}
WARMING = {"success": True, "status": "warming", "model_id": str, "path": str, "message": str}


@endpoint(answer=LIST)
def list_models(request: Request, app) -> Response:
    """What can be asked for, and, apart from that, which files are broken and why."""
    files = app.catalog.scan()
    capacity = app.pool.capacity  # read once: it asks the system about every worker
    data = [_entry(app, file, capacity) for file in files if file.kind in LISTED]
    answer = {"object": "list", "data": data}
    if broken := [{"id": file.id, "reason": file.broken} for file in files if file.broken]:
        answer["broken"] = broken
    return Response.json(anthropic.with_page(answer) if anthropic.asks(request) else answer)


@endpoint(answer=ENTRY)
def get_model(request: Request, app, id: str) -> Response:
    """One model, under any of its names."""
    entry = _entry(app, app.catalog.resolve(id), app.pool.capacity)
    return Response.json(anthropic.with_entry(entry) if anthropic.asks(request) else entry)


@endpoint(body=(), answer=LIST)
def refresh_models(request: Request, app, _asked: Asked) -> Response:
    """The list, with every file looked at again, also where its size and time say that nothing changed."""
    app.catalog.forget()
    return list_models(request, app)


def prewarm_file(model: ModelFile) -> Response:
    read_ahead(model)
    answer = {"success": True, "status": "warming", "model_id": model.id, "path": str(model.path)}
    return Response.json(answer | {"message": "The file is being read ahead."}, status=202)


def _entry(app, file: ModelFile, capacity: int) -> dict:
    entry = {
        "id": file.id,
        "object": "model",
        "created": file.created,
        "owned_by": "offgrid-llm",
        "type": LISTED.get(file.kind, file.kind),
        "size": file.size_bytes,
    }
    return entry | _residence(app, file, capacity) if file.kind in LISTED else entry


def _residence(app, file: ModelFile, capacity: int) -> dict:
    """Whether it is in memory, and what it takes there, or would take by itself."""
    worker_id = file.worker.id
    worker = next((w for w in app.pool.workers if w.model_id == worker_id), None)
    state = "not-loaded" if worker is None else "loaded" if worker.is_ready else "loading"
    promised = app.pool.budget.promised(worker_id)
    try:
        plan = None if promised else app.pool.plan(file, capacity)
        n_bytes, does_fit = promised or plan.need_bytes, True
    except InsufficientMemory:
        n_bytes, does_fit = None, False
    return {
        "state": state,
        "pinned": app.pool.is_pinned(worker_id),
        "fits": does_fit,
        "memory_mb": None if n_bytes is None else round(n_bytes / 1e6),
        "context_length": worker.settings["n_ctx"] if worker else plan.n_ctx if does_fit and plan else None,
    }


def model_for(app, asked: Asked, kind: str) -> tuple[ModelFile, ModelSettings]:
    """The model that a request names, or the default of that kind when it names none, and its own settings."""
    name = asked["model"]
    model = app.catalog.resolve(name) if name else app.default_model(kind)
    if model.kind != kind:
        use = USES.get(model.kind)
        hint = f"It answers at {use}." if use else "It cannot be asked for by itself."
        article = "an" if model.kind[0] in "aeiou" else "a"
        raise BadRequest(f"{model.id} is {article} {model.kind} model and was asked for {kind}. {hint}", param="model")
    return model, app.config.engine.models.get(model.id, ModelSettings())
