"""Names of models as Ollama's clients write them: `name`, `name:tag`, where `:latest` may be left out.

A model's id here is a file's name; it is shown with `:latest`, unless it has a tag of its own. `name:tag` also finds
`name-tag` and `name.tag`, so that llama3:Q4_K_M is the file llama3-Q4_K_M.gguf.
"""

import re

from offgrid.api.fields import Asked, Field
from offgrid.api.shapes import Text
from offgrid.engine.catalog import LATEST, LOCAL, ModelFile
from offgrid.errors import AmbiguousModel, BadRequest, ModelNotFound
from offgrid.sections import ModelSettings
from offgrid.web.message import Request

PART = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}"
NAME = re.compile(rf"(?:{PART}/){{0,3}}{PART}(?::{PART})?")

MODEL = (
    Field("model", Text(), "The name of a model, with or without :latest. It must be given."),
    Field("name", Text(), "The same, as older clients call it."),
)


def shown(id: str) -> str:
    """A model's name in lists."""
    return id if ":" in id else id + LATEST


def read_name(request: Request, asked: Asked) -> str:
    """The name that a request gives. Raises BadRequest."""
    if not request.body.strip():
        raise BadRequest("missing request body")
    name = asked["model"] or asked["name"]
    if not name:
        raise BadRequest("model is required", param="model")
    return name


def new_name(name: str, param: str = "model") -> str:
    """The id that a model to be made gets under `name`. Raises BadRequest."""
    id = name.removesuffix(LATEST)
    if not NAME.fullmatch(id) or id.startswith(LOCAL):
        raise BadRequest("invalid model name", param=param)
    return id


def file_stem(id: str) -> str:
    """The name of the file of a model with that id: without what a file's name should not hold."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", id)


def find(app, name: str, message: str = "model '{}' not found") -> ModelFile:
    """The model of a name. Raises ModelNotFound with `message`, in which {} is the name, and AmbiguousModel."""
    bare = name.removesuffix(LATEST)
    base, colon, tag = bare.partition(":")
    for spelling in (bare, f"{base}-{tag}", f"{base}.{tag}") if colon else (bare,):
        try:
            return app.catalog.resolve(spelling)
        except AmbiguousModel:
            raise
        except ModelNotFound as error:
            if error.code == "model_broken":
                raise
    raise ModelNotFound(message.format(name[:200]), param="model")


def find_for(app, name: str, kind: str, use: str) -> tuple[ModelFile, ModelSettings]:
    """A model that can be asked for `use` ("chat", "embedding"), and its own settings. Raises ApiError."""
    model = find(app, name)
    if model.kind != kind:
        raise BadRequest(f'"{name}" does not support {use}', param="model")
    return model, app.config.engine.models.get(model.id, ModelSettings())
