"""POST /api/copy, DELETE /api/delete: a model under a further name, and its end."""

from contextlib import suppress

from offgrid.api.endpoint import endpoint
from offgrid.api.fields import Asked, Field
from offgrid.api.ollama.names import MODEL, file_stem, find, new_name, read_name
from offgrid.api.shapes import Text
from offgrid.engine.catalog import LATEST, ModelFile
from offgrid.errors import AmbiguousModel, BadRequest, Conflict, ModelNotFound, Unavailable
from offgrid.types import Variant
from offgrid.web.message import Request, Response

FIELDS = (
    Field("source", Text(), "The name of a model. It must be given."),
    Field("destination", Text(), "Its further name. It must be given."),
)


@endpoint(body=FIELDS, answers={200: {}}, errors=(404, 409))
def copy(request: Request, app, asked: Asked) -> Response:
    """Give a model a further name; what it is made of is not copied."""
    if not request.body.strip():
        raise BadRequest("missing request body")
    for field in ("source", "destination"):
        if not asked[field]:
            raise BadRequest(f"{field} is required", param=field)
    model = find(app, asked["source"], 'model "{}" not found')
    id = new_name(asked["destination"], "destination")
    made = app.variants.get(model.id)
    request.remarks["model"] = id
    if id.casefold() != model.id.casefold():
        keep(app, id, base_of(model), made.settings if made else {}, made.license if made else "")
    return Response()


@endpoint(body=MODEL, answers={200: {}}, errors=(404, 409))
def delete(request: Request, app, asked: Asked) -> Response:
    """Delete a model: a name that was made here, or the file itself, when it is in the models' folder.

    A file of which others are made goes on under the name of one of them.
    """
    model = _any(app, read_name(request, asked))
    request.remarks["model"] = model.id
    app.pool.unload(model.id)
    if model.variant is None:
        if users := app.variants.of(model.id):
            _hand_over(app, model, users)
        app.model_folder.delete(model)
    app.variants.delete(model.id)
    return Response()


def _hand_over(app, model: ModelFile, users: list[Variant]) -> None:
    """Name the file after one that is made of it, a mere copy if there is one: to copy and then to delete is how
    Ollama's clients rename. At every moment there is a file for each name. Raises Conflict, PermissionDenied."""
    for user in users:
        app.pool.unload(user.name)
    heir = min(users, key=lambda user: (bool(user.settings or user.license), user.created_at))
    id = app.model_folder.name_also(model, file_stem(heir.name))
    app.variants.hand_over(model.id, id)


def base_of(model: ModelFile) -> str:
    """The id of the file that a model is made of."""
    return model.variant.base if model.variant else model.id


def keep(app, id: str, base: str, settings: dict, license: str) -> None:
    """Make a name over a model file, or change it. Raises Conflict where a file has the name, Unavailable when busy."""
    taken = next((file for file in app.catalog.scan() if file.id.casefold() == id.casefold()), None)
    if taken and taken.variant is None and taken.id != base:
        raise Conflict(f"{taken.id} is the name of a model file. Choose another name, or delete that one.")
    app.pool.unload(id)  # a worker of its own has what it was started with
    app.variants.put(id, base, settings, license)
    with suppress(Unavailable):  # asked for in between; it keeps what it has until it leaves
        app.pool.unload(id)


def _any(app, name: str) -> ModelFile:
    """A model by its name, a broken one too. Raises ModelNotFound."""
    bare = name.removesuffix(LATEST)
    for file in app.catalog.scan():
        if file.id == bare:
            return file
    try:
        return find(app, name)
    except AmbiguousModel:
        raise
    except ModelNotFound as error:
        raise ModelNotFound(f"model '{name[:200]}' not found", param="model") from error
