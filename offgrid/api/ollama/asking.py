"""What chat and generate have in common: their fields, and how a request becomes one to the engine."""

from dataclasses import replace
from typing import Any

from offgrid.api.fields import Asked, Field, Ignored, Unsupported
from offgrid.api.generate import ask_once
from offgrid.api.keep_alive import KEEP_ALIVE
from offgrid.api.logprobs import CHAT_LOGPROBS, read_chat_logprobs
from offgrid.api.ollama.details import thinks
from offgrid.api.ollama.names import MODEL
from offgrid.api.ollama.options import Options, generation_of
from offgrid.api.ollama.wire import Clock
from offgrid.api.response_format import JsonSchema
from offgrid.api.shapes import Flag, Shape, wrong
from offgrid.engine.catalog import ModelFile
from offgrid.errors import BadRequest
from offgrid.grammar.schema import object_grammar
from offgrid.sections import ModelSettings
from offgrid.types import GenerateRequest, Thinking
from offgrid.web.message import Request, Response

DEGREES = ("low", "medium", "high", "max")


class Form(Shape):
    """Read as GBNF, "" for no form."""

    wanted = '"json" or a JSON Schema'

    def read(self, value: Any, path: str) -> str:
        if value == "":
            return ""
        if value == "json":
            return object_grammar()
        if not isinstance(value, dict):
            raise wrong(path, self.wanted, value)
        return JsonSchema().read(value, path)

    def schema(self) -> dict:
        return {"anyOf": [{"enum": ["", "json"]}, {"type": "object"}]}


class Think(Shape):
    """Read as Thinking."""

    wanted = "true, false or one of " + ", ".join(DEGREES)

    def read(self, value: Any, path: str) -> Thinking:
        if isinstance(value, bool):
            return Thinking(is_enabled=value)
        if value not in DEGREES:
            raise wrong(path, self.wanted, value)
        return Thinking(is_enabled=True, effort=value)

    def schema(self) -> dict:
        return {"anyOf": [{"type": "boolean"}, {"enum": list(DEGREES)}]}


STREAM = Field("stream", Flag(), "false: one object with the whole answer.", True)
OPTIONS = Field("options", Options(), "How to generate; unknown ones are passed over.", {})
STAY = KEEP_ALIVE[0]
_NOTHING_CUT = "Nothing is ever cut here: a prompt that does not fit is an error that names both numbers."
SHARED = (
    *MODEL,
    STREAM,
    OPTIONS,
    Field("format", Form(), 'The form of the answer: "json" or a JSON Schema.', ""),
    STAY,
    Field("think", Think(), "Whether a model that thinks does so before it answers; when left out, as it is made."),
    *CHAT_LOGPROBS,
    Ignored("truncate", _NOTHING_CUT),
    Ignored("shift", _NOTHING_CUT),
    Unsupported("_debug_render_only", "POST /apply-template shows the prompt.", False),
)
FIGURES = {
    "total_duration?": int,
    "load_duration?": int,
    "prompt_eval_count?": int,
    "prompt_eval_duration?": int,
    "eval_count?": int,
    "eval_duration?": int,
}
SCORE = {"token": str, "logprob": float, "bytes": [int]}
ABOUT = {
    "model": str,
    "created_at": str,
    "done": bool,
    "done_reason?": ("stop", "length", "load", "unload"),
    "logprobs?": [{**SCORE, "top_logprobs": [SCORE]}],
    **FIGURES,
}


def generation(request: Request, asked: Asked, model: ModelFile, own: ModelSettings, name: str) -> GenerateRequest:
    """All but the text itself. Raises BadRequest."""
    thinking = asked["think"] or Thinking()
    if thinking.is_enabled and not thinks(model, own):
        raise BadRequest(f'"{name}" does not support thinking', param="think")
    one = GenerateRequest(
        model=model.id,
        grammar=asked["format"],
        logprobs=read_chat_logprobs(asked),
        client=request.who.client,
        thinking=thinking,
    )
    return replace(one, **generation_of(asked["options"], own))


def only_loaded(request: Request, app, model: ModelFile, asked: Asked, answer: dict) -> Response:
    """What is answered to a request that asks nothing: the model is loaded, or with keep_alive 0 unloaded.

    `answer`: the members besides those that all answers have.
    """
    keep_alive_s, name = asked["keep_alive"], asked["model"] or asked["name"]
    is_loaded = any(worker.model_id == model.worker.id for worker in app.pool.workers)
    if keep_alive_s != 0 or is_loaded:
        ask_once(request, app, model, None, keep_alive_s)
    reason = "unload" if keep_alive_s == 0 else "load"
    head = {"model": name, "created_at": Clock().now()}
    return Response.json({**head, **answer, "done": True, "done_reason": reason})
