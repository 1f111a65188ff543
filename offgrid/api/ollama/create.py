"""POST /api/create: a model of one's own, made of another one or of a file that was sent, with settings of its own."""

from typing import Any

from offgrid.api.answers import JSON, NDJSON
from offgrid.api.endpoint import endpoint
from offgrid.api.fields import Asked, Field, Ignored, Unsupported
from offgrid.api.ollama.blobs import sha256_of
from offgrid.api.ollama.go_template import Template
from offgrid.api.ollama.manage import base_of, keep
from offgrid.api.ollama.names import MODEL, file_stem, find, new_name, read_name
from offgrid.api.ollama.options import Options, settings_of
from offgrid.api.ollama.progress import DONE, STATUS, STREAM, Tell, answer_with
from offgrid.api.shapes import Shape, Text, wrong
from offgrid.engine import gguf
from offgrid.errors import BadRequest
from offgrid.web.message import Request, Response

MAX_LICENSE_CHARS = 1_000_000
NO_QUANTIZE = "files are taken as they are; llama.cpp's llama-quantize makes smaller ones."


class Files(Shape):
    """Read as the SHA-256 of the one file."""

    wanted = 'one model file, {"model.gguf": "sha256:…"}, that was sent to /api/blobs before'

    def read(self, value: Any, path: str) -> str:
        if not isinstance(value, dict) or len(value) != 1:
            raise wrong(path, self.wanted, value)
        [(name, digest)] = value.items()
        if not name.lower().endswith(".gguf") or not isinstance(digest, str):
            raise wrong(path, self.wanted, name)
        return sha256_of(digest, path)

    def schema(self) -> dict:
        return {"type": "object", "additionalProperties": {"type": "string"}, "minProperties": 1, "maxProperties": 1}


class License(Shape):
    wanted = "a text, or a list of texts"

    def read(self, value: Any, path: str) -> str:
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise wrong(path, self.wanted, value)
        return Text(max_chars=MAX_LICENSE_CHARS, is_unicode=True).read("\n".join(texts), path)

    def schema(self) -> dict:
        return {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}


FIELDS = (
    *MODEL,
    STREAM,
    Field("from", Text(), "The name of the model that it is made of."),
    Field("files", Files(), "Or a file that was sent before, with its digest."),
    Field("system", Text(is_unicode=True), "What it is told first, when a conversation does not begin otherwise."),
    Field("template", Template(), "Its chat template: Ollama's kind, or Jinja."),
    Field("parameters", Options(), "Its options, where a request has none."),
    Field("license", License(), "Its license."),
    Unsupported("quantize", NO_QUANTIZE, ""),
    Unsupported("quantization", NO_QUANTIZE, ""),
    Ignored("requires", "It names a version of Ollama's."),
    Unsupported("remote_host", "models are on this machine.", ""),
    Unsupported("adapters", "adapters come later.", {}),
    Unsupported("messages", "say it in system.", []),
    Unsupported("renderer", "templates here are Jinja.", ""),
    Unsupported("parser", "how a model calls tools follows from its template.", ""),
    Unsupported(
        "modelfile", "newer clients send its parts as fields of their own: from, system, template, parameters.", ""
    ),
    Unsupported("path", "send the file to /api/blobs, or take it from the server's disk by /api/pull.", ""),
)


@endpoint(body=FIELDS, answers={200: {JSON: DONE, NDJSON: STATUS}}, errors=(404, 409))
def create(request: Request, app, asked: Asked) -> Response | None:
    """Make a model, or make it anew."""
    id = new_name(read_name(request, asked))
    request.remarks["model"] = id
    if (asked["from"] is None) == (asked["files"] is None):
        raise BadRequest("neither 'from' or 'files' was specified, or both were", param="from")
    work = _from_file if asked["files"] else _from_model
    return answer_with(request, app, work(app, asked, id), stream=asked["stream"])


def _from_model(app, asked: Asked, id: str):
    model = find(app, asked["from"])
    made = app.variants.get(model.id)
    settings = (made.settings if made else {}) | _settings(asked)
    license = asked["license"] or (made.license if made else "")

    def work(tell: Tell) -> None:
        tell("reading model metadata")
        _tell_layers(asked, tell)
        keep(app, id, base_of(model), settings, license)
        tell("writing manifest")

    return work


def _from_file(app, asked: Asked, id: str):
    """The file gets the model's name."""
    sha256, settings = asked["files"], _settings(asked)
    blob, stem = app.blobs.path(sha256), file_stem(id)
    try:
        gguf.read(blob)
    except gguf.BrokenModel as error:
        is_there = blob.exists()
        message = f"the file {error.reason}" if is_there else f"blob sha256:{sha256} not found: send it to /api/blobs"
        raise BadRequest(message, param="files") from None

    def work(tell: Tell) -> None:
        tell("parsing GGUF")
        _tell_layers(asked, tell)
        app.pool.unload(stem)
        app.model_folder.take(blob, f"{stem}.gguf", sha256)
        if settings or asked["license"] or stem != id:
            keep(app, id, stem, settings, asked["license"] or "")
        else:
            app.variants.delete(id)
        tell("writing manifest")

    return work


def _settings(asked: Asked) -> dict[str, Any]:
    """The fields of ModelSettings that are given."""
    settings = settings_of(asked["parameters"] or {})
    if asked["system"]:
        settings["system_prompt"] = asked["system"]
    if asked["template"]:
        settings["chat_template"] = asked["template"]
    return settings


def _tell_layers(asked: Asked, tell: Tell) -> None:
    for layer in ("template", "system", "parameters", "license"):
        if asked[layer]:
            tell(f"creating {layer} layer")
