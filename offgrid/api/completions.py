"""POST /v1/completions: a text in, its continuation out. No chat template is applied."""

from dataclasses import replace

from offgrid.api.fields import Fields
from offgrid.api.generate import generate
from offgrid.api.models import model_for
from offgrid.api.sampling import MAX_CHOICES, NO_OPS, read_max_tokens, read_sampling, read_stream, seeds
from offgrid.api.wire import TextFormat
from offgrid.config import ModelSettings
from offgrid.errors import BadRequest
from offgrid.types import GenerateRequest
from offgrid.web.message import Request, Response

MAX_PROMPTS = 64


def create_completion(request: Request, app) -> Response | None:
    fields = Fields(request.json())
    model = model_for(app, fields, "chat")
    own = app.config.engine.models.get(model.id, ModelSettings())
    sampling = read_sampling(fields, own)
    n = fields.whole("n", 1, MAX_CHOICES, 1)
    asked = GenerateRequest(
        model=model.id,
        max_tokens=read_max_tokens(fields, "max_tokens", default=own.max_tokens),
        stop=fields.strings("stop", 16),
        sampling=sampling,
        client=request.peer,
    )
    prompts = _prompts(fields)
    is_stream, include_usage = read_stream(fields)
    _refuse_what_is_not_there(fields)
    choices = [
        replace(asked, prompt=prompt, sampling=replace(sampling, seed=seed))
        for prompt in prompts
        for seed in seeds(sampling, n)
    ]
    return generate(request, app, model, choices, TextFormat, stream=is_stream, include_usage=include_usage)


def _refuse_what_is_not_there(fields: Fields) -> None:
    fields.only("logprobs", 0)
    fields.only("logit_bias", {})
    fields.only("echo", False)
    fields.only("suffix", "")
    fields.only("best_of", 1)
    fields.ignore(*NO_OPS)
    fields.finish()


def _prompts(fields: Fields) -> list[str]:
    prompt = fields.take("prompt")
    prompts = [prompt] if isinstance(prompt, str) else prompt
    if isinstance(prompts, list) and prompts and all(isinstance(p, (int, list)) for p in prompts):
        raise BadRequest("prompt must be text: this server does not take token ids here.", param="prompt")
    is_text = isinstance(prompts, list) and all(isinstance(p, str) and p for p in prompts)
    if not is_text or not 1 <= len(prompts) <= MAX_PROMPTS:
        wanted = f"a string, or a list of 1 to {MAX_PROMPTS} strings, none of them empty"
        raise fields.refuse("prompt", wanted, prompt)
    return prompts
