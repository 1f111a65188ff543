"""GET /v1/models, and which model a request means."""

from offgrid.api.fields import Fields
from offgrid.config import ModelSettings
from offgrid.engine.catalog import ModelFile
from offgrid.errors import BadRequest
from offgrid.web.message import Request, Response

# kind of model file → what it is called in the list; other kinds are parts of models and cannot be asked for
LISTED = {"chat": "llm", "embedding": "embedding"}
USES = {"chat": "/v1/chat/completions", "embedding": "/v1/embeddings"}


def list_models(_request: Request, app) -> Response:
    """What can be asked for, and, apart from that, which files are broken and why."""
    files = app.catalog.scan()
    data = [_entry(file) for file in files if file.kind in LISTED]
    answer = {"object": "list", "data": data}
    if broken := [{"id": file.id, "reason": file.broken} for file in files if file.broken]:
        answer["broken"] = broken
    return Response.json(answer)


def get_model(_request: Request, app, id: str) -> Response:
    return Response.json(_entry(app.catalog.resolve(id)))


def _entry(file: ModelFile) -> dict:
    return {
        "id": file.id,
        "object": "model",
        "created": file.created,
        "owned_by": "offgrid-llm",
        "type": LISTED.get(file.kind, file.kind),
        "size": file.size_bytes,
    }


def model_for(app, fields: Fields, kind: str) -> tuple[ModelFile, ModelSettings]:
    """The model that a request names, or the default of that kind when it names none, and its own settings."""
    name = fields.string("model")
    model = app.catalog.resolve(name) if name else app.default_model(kind)
    if model.kind != kind:
        use = USES.get(model.kind)
        hint = f"It answers at {use}." if use else "It cannot be asked for by itself."
        article = "an" if model.kind[0] in "aeiou" else "a"
        raise BadRequest(f"{model.id} is {article} {model.kind} model and was asked for {kind}. {hint}", param="model")
    return model, app.config.engine.models.get(model.id, ModelSettings())
