"""GET /api/tags, POST /api/show, GET /api/ps and /api/version, GET /ollama/v1/models: which models there are."""

import time

from offgrid.api.answers import TEXT
from offgrid.api.endpoint import endpoint
from offgrid.api.fields import Asked, Field, Ignored
from offgrid.api.models import LISTED
from offgrid.api.ollama.details import DETAILS, capabilities, details, digest, template
from offgrid.api.ollama.names import MODEL, find, read_name, shown
from offgrid.api.ollama.options import options_of
from offgrid.api.ollama.wire import compact, rfc3339_ns
from offgrid.api.shapes import Flag
from offgrid.engine import gguf
from offgrid.engine.catalog import ModelFile
from offgrid.engine.gguf_header import TENSOR_TYPES
from offgrid.errors import ModelNotFound
from offgrid.sections import ModelSettings
from offgrid.web.message import Request, Response

FOREVER_S = 292 * 365.25 * 86400  # Go's longest duration, which Ollama counts from now
# Ollama's clients compare this with what they need: its own version whose API this is.
VERSION = "0.12.11"
TAG = {"name": str, "model": str, "modified_at": str, "size": int, "digest": str, "details": DETAILS}
TAG["capabilities"] = [str]
OPENAI = {"id": str, "object": "model", "created": int, "owned_by": str}
LOADED = {**TAG, "expires_at": str, "size_vram": int, "context_length": int}
del LOADED["modified_at"], LOADED["capabilities"]
SHOWN = {
    "license?": str,
    "modelfile": str,
    "parameters?": str,
    "template?": str,
    "system?": str,
    "details": DETAILS,
    "model_info": {str: object},
    "tensors?": [{"name": str, "type": str, "shape": [int]}],
    "capabilities": [str],
    "modified_at": str,
}
_ALWAYS_SENT = "Ollama's own program always sends it; what is shown is the model as it was made."
NO_OPS = tuple(Ignored(name, _ALWAYS_SENT) for name in ("system", "template", "options"))
VERBOSE = Field("verbose", Flag(), "With the list of its tensors; long lists of the file stay null.", False)


def greeting() -> Response:
    """What Ollama's clients find at the root of its port."""
    return Response(200, b"Ollama is running", {"Content-Type": "text/plain; charset=utf-8"})


@endpoint(answers={200: {TEXT: "Ollama is running"}})
def greet(_request: Request, _app) -> Response:
    """Whether it is there."""
    return greeting()


@endpoint(answer={"version": str})
def get_version(_request: Request, _app) -> Response:
    """The version of Ollama whose API this is."""
    return Response.json({"version": VERSION})


@endpoint(answer={"models": [TAG]})
def list_tags(_request: Request, app) -> Response:
    """Every model that can be asked, as Ollama lists them."""
    return Response.json({"models": [_tag(app, file) for file in _listed(app)]})


@endpoint(answer={"object": "list", "data": [{**OPENAI, **TAG}], "models": [TAG]})
def list_both(_request: Request, app) -> Response:
    """Every model that can be asked: OpenAI's list under `data`, Ollama's under `models`."""
    tags = [(file, _tag(app, file)) for file in _listed(app)]
    data = [
        {"id": file.id, "object": "model", "created": file.created, "owned_by": "offgrid-llm", **tag, "name": file.id}
        for file, tag in tags
    ]
    return Response.json({"object": "list", "data": data, "models": [tag for _, tag in tags]})


@endpoint(answer={"models": [LOADED]})
def list_loaded(_request: Request, app) -> Response:
    """The models in memory."""
    files = {file.id: file for file in _listed(app)}
    workers = [worker for worker in app.pool.workers if worker.is_ready and worker.model_id in files]
    return Response.json({"models": [_loaded(app, files[worker.model_id], worker) for worker in workers]})


@endpoint(body=(*MODEL, VERBOSE, *NO_OPS), answer=SHOWN, errors=(404,))
def show(request: Request, app, asked: Asked) -> Response:
    """What a model is, and what it was made with."""
    model = find(app, read_name(request, asked))
    own = app.config.engine.models.get(model.id, ModelSettings())
    settings = {name: value for name in ModelSettings.__slots__ if (value := getattr(own, name)) is not None}
    variant = app.variants.get(model.id)
    told = {
        "license": (variant.license if variant else "") or model.info.license,
        "parameters": _parameters(options_of(settings)),
        "template": template(model, own),
        "system": own.system_prompt or "",
    }
    return Response.json(
        {name: text for name, text in told.items() if text}
        | {
            "modelfile": _modelfile(model, told),
            "details": details(model),
            "model_info": _model_info(model),
            **({"tensors": _tensors(model)} if asked["verbose"] else {}),
            "capabilities": capabilities(model, own),
            "modified_at": rfc3339_ns(model.created * 1_000_000_000),
        }
    )


def _listed(app) -> list[ModelFile]:
    return [file for file in app.catalog.scan() if file.kind in LISTED]


def _tag(app, file: ModelFile) -> dict:
    return {
        "name": shown(file.id),
        "model": shown(file.id),
        "modified_at": rfc3339_ns(file.created * 1_000_000_000),
        "size": file.size_bytes,
        "digest": digest(file),
        "details": details(file),
        "capabilities": capabilities(file, app.config.engine.models.get(file.id, ModelSettings())),
    }


def _loaded(app, file: ModelFile, worker) -> dict:
    """`expires_at` as if nobody asked it any more."""
    keep_alive_s, is_pinned = worker.keep_alive_s, app.pool.is_pinned(worker.model_id)
    left_s = FOREVER_S if keep_alive_s < 0 or is_pinned else max(keep_alive_s - worker.unused_s, 0)
    tag = _tag(app, file)
    del tag["modified_at"], tag["capabilities"]
    return tag | {
        "size": app.pool.budget.promised(worker.model_id),
        "expires_at": rfc3339_ns(int((time.time() + left_s) * 1e9)),
        "size_vram": 0,
        "context_length": worker.settings["n_ctx"],
    }


def _parameters(options: dict) -> str:
    """One a line, as in a Modelfile without its PARAMETER."""
    lines = []
    for name, value in options.items():
        for one in value if isinstance(value, tuple) else (value,):
            lines.append(f"{name:<30} {compact(one)}")
    return "\n".join(lines)


def _modelfile(model: ModelFile, told: dict[str, str]) -> str:
    lines = [
        "# Modelfile of OffGrid, for Ollama's words",
        f"FROM {model.variant.base if model.variant else model.path}",
    ]
    for word in ("template", "system"):
        if told[word]:
            lines.append(f'{word.upper()} """{told[word]}"""')
    lines += [f"PARAMETER {' '.join(line.split(None, 1))}" for line in told["parameters"].splitlines()]
    if told["license"]:
        lines.append(f'LICENSE """{told["license"]}"""')
    return "\n".join(lines) + "\n"


def _model_info(model: ModelFile) -> dict:
    """The keys of the file; what is too long to be told is null, as with Ollama."""
    info = {"general.parameter_count": model.info.n_params}
    for key, value in model.info.metadata.items():
        info[key] = _short(value)
    return info


def _short(value: object) -> object:
    if isinstance(value, gguf.LongValue):
        return None
    if isinstance(value, list):
        return [_short(item) for item in value]
    return value if value == value and value not in (float("inf"), float("-inf")) else None  # JSON has no NaN


def _tensors(model: ModelFile) -> list[dict]:
    try:
        tensors = [tensor for path in model.paths for tensor in gguf.read_tensors(path)]
    except gguf.BrokenModel as error:
        raise ModelNotFound(f"The model {model.id!r} {error.reason}.", code="model_broken") from None
    names = {number: name for number, (name, *_) in TENSOR_TYPES.items()}
    return [
        {"name": tensor.name, "type": names.get(tensor.type, str(tensor.type)), "shape": list(tensor.shape)}
        for tensor in tensors
    ]
