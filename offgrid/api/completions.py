"""POST /v1/completions: a text in, its continuation out. No chat template is applied."""

from dataclasses import replace

from offgrid.api.answers import EVENTS, JSON
from offgrid.api.endpoint import endpoint
from offgrid.api.fields import Fields
from offgrid.api.generate import generate
from offgrid.api.generated import TEXT_ANSWER, TEXT_EVENT
from offgrid.api.keep_alive import KEEP_ALIVE, read_keep_alive
from offgrid.api.logprobs import read_text_logprobs
from offgrid.api.models import MODEL, model_for
from offgrid.api.sampling import MAX_CHOICES, NO_OPS, choices, read_generation, read_stream
from offgrid.api.wire import OpenAIEncoder, TextFormat
from offgrid.errors import BadRequest
from offgrid.web.message import Request, Response

MAX_PROMPTS = 64


@endpoint(answers={200: {JSON: TEXT_ANSWER, EVENTS: TEXT_EVENT}})
def create_completion(request: Request, app) -> Response | None:
    """The continuation of a text."""
    request.tally.service = "completions"
    fields = Fields(request.json())
    model, own = model_for(app, fields.asked(MODEL), "chat")
    prompts = _prompts(fields)
    logprobs = read_text_logprobs(fields)
    asked = replace(read_generation(fields, own, model.id, request.who.client), logprobs=logprobs)
    n = fields.whole("n", 1, MAX_CHOICES, 1)
    echo = _read_echo(fields, logprobs)
    is_stream, include_usage = read_stream(fields)
    keep_alive_s = read_keep_alive(fields.asked(*KEEP_ALIVE))
    _refuse_what_is_not_there(fields)
    all_asked = [choice for prompt in prompts for choice in choices(replace(asked, prompt=prompt), n)]
    form = TextFormat(n, logprobs is not None, tuple(one.prompt for one in all_asked) if echo else ())
    return generate(
        request,
        app,
        model,
        all_asked,
        OpenAIEncoder(form, model.id, include_usage=include_usage),
        stream=is_stream,
        keep_alive_s=keep_alive_s,
    )


def _refuse_what_is_not_there(fields: Fields) -> None:
    fields.only("suffix", "")
    fields.only("best_of", 1)
    fields.ignore(*NO_OPS)
    fields.finish()


def _read_echo(fields: Fields, logprobs: int | None) -> bool:
    echo = fields.boolean("echo")
    if echo and logprobs is not None:
        message = (
            "echo with logprobs would need the log probabilities of the prompt's own tokens, and those are not "
            "computed here: most of a prompt comes from the cache. Leave out one of the two."
        )
        raise BadRequest(message, param="echo")
    return echo


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
