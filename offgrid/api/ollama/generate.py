"""POST /api/generate: a prompt in, its answer out; with `raw` its continuation, without any template."""

from dataclasses import replace

from offgrid.api.answers import JSON, NDJSON
from offgrid.api.endpoint import endpoint
from offgrid.api.fields import Asked, Field, Unsupported
from offgrid.api.generate import ask_once, generate
from offgrid.api.messages import with_system_prompt
from offgrid.api.ollama.asking import ABOUT, SHARED, generation, only_loaded
from offgrid.api.ollama.context import Context, context_maker
from offgrid.api.ollama.go_template import Template
from offgrid.api.ollama.messages import IMAGES
from offgrid.api.ollama.names import find_for, read_name
from offgrid.api.ollama.wire import GenerateEncoder
from offgrid.api.shapes import Flag, Text
from offgrid.errors import BadRequest
from offgrid.types import RenderRequest
from offgrid.web.message import Request, Response

ANSWER = {**ABOUT, "response": str, "thinking?": str, "context?": [int]}
_NO_PICTURES = "models here write text; pictures come later."
FIELDS = (
    Field("prompt", Text(), "What is asked; without it, the model is only loaded.", "", example="Why is the sky blue?"),
    Field("suffix", Text(), "What is to follow the answer; models here only write at the end.", ""),
    Field("system", Text(), "A system message instead of the model's own.", ""),
    Field("template", Template(), "A template instead of the model's own: Ollama's kind, or Jinja."),
    Field("context", Context(), "The conversation so far, from an earlier answer.", []),
    Field("raw", Flag(), "Go on with the prompt as it is: no template, no system message.", False),
    IMAGES,
    Unsupported("width", _NO_PICTURES, 0),
    Unsupported("height", _NO_PICTURES, 0),
    Unsupported("steps", _NO_PICTURES, 0),
)


@endpoint(body=(*SHARED, *FIELDS), answers={200: {JSON: ANSWER, NDJSON: ANSWER}})
def create(request: Request, app, asked: Asked) -> Response | None:
    """The answer to a prompt; without one, the model is only loaded."""
    request.tally.service = "completions"
    name = read_name(request, asked)
    model, own = find_for(app, name, "chat", "generate")
    if asked["suffix"]:
        raise BadRequest(f'"{name}" does not support insert', param="suffix")
    if asked["raw"] and any(asked[other] for other in ("template", "system", "context")):
        raise BadRequest("raw mode does not support template, system, or context", param="raw")
    if not asked["prompt"]:
        return only_loaded(request, app, model, asked, {"response": ""})
    one = generation(request, asked, model, own, name)
    if asked["raw"]:
        one, context = replace(one, prompt=asked["prompt"]), None
    else:
        messages = _messages(asked, own.system_prompt)
        context = context_maker(messages)
        if asked["template"]:
            render = RenderRequest(messages, thinking=one.thinking, template=asked["template"])
            one = replace(one, prompt=ask_once(request, app, model, render, asked["keep_alive"]).text)
        else:
            one = replace(one, messages=messages)
    encoder = GenerateEncoder(name, context)
    return generate(request, app, model, [one], encoder, stream=asked["stream"], keep_alive_s=asked["keep_alive"])


def _messages(asked: Asked, system_prompt: str | None) -> list[dict]:
    """The conversation so far and the prompt; a system message of the request is said last, as it came last."""
    messages = [*asked["context"]]
    if asked["system"]:
        messages.append({"role": "system", "content": asked["system"]})
    messages.append({"role": "user", "content": asked["prompt"]})
    return with_system_prompt(tuple(messages), system_prompt)
