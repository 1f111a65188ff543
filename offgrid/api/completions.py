"""POST /v1/completions: a text in, its continuation out. No chat template is applied."""

from dataclasses import replace

from offgrid.api.answers import EVENTS, JSON
from offgrid.api.endpoint import endpoint
from offgrid.api.fields import Asked, Field, Unsupported, required
from offgrid.api.generate import generate
from offgrid.api.generated import TEXT_ANSWER, TEXT_EVENT
from offgrid.api.keep_alive import KEEP_ALIVE, read_keep_alive
from offgrid.api.logprobs import TEXT_LOGPROBS
from offgrid.api.models import MODEL, model_for
from offgrid.api.sampling import GENERATING, NO_OPS, STREAM, N, choices, read_generation, read_stream
from offgrid.api.shapes import Flag, TextsOnly
from offgrid.api.wire import OpenAIEncoder, TextFormat
from offgrid.errors import BadRequest
from offgrid.web.message import Request, Response

MAX_PROMPTS = 64
PROMPT = required("prompt", TextsOnly(MAX_PROMPTS, 1), f"A text, or up to {MAX_PROMPTS}.", "Once upon a time")
ECHO = Field("echo", Flag(), "Begin each text with its prompt; not together with logprobs.", False)
BODY = (
    MODEL,
    PROMPT,
    *GENERATING,
    N,
    TEXT_LOGPROBS,
    ECHO,
    *STREAM,
    *KEEP_ALIVE,
    Unsupported("suffix", "text is only ever added at the end.", ""),
    Unsupported("best_of", "every text that is generated is answered; n says how many.", 1),
    *NO_OPS,
)


@endpoint(body=BODY, answers={200: {JSON: TEXT_ANSWER, EVENTS: TEXT_EVENT}})
def create_completion(request: Request, app, asked: Asked) -> Response | None:
    """The continuation of a text."""
    request.tally.service = "completions"
    model, own = model_for(app, asked, "chat")
    logprobs, n = asked["logprobs"], asked["n"]
    one = replace(read_generation(asked, own, model.id, request.who.client), logprobs=logprobs)
    echo = _read_echo(asked)
    is_stream, include_usage = read_stream(asked)
    keep_alive_s = read_keep_alive(asked)
    all_asked = [choice for prompt in asked["prompt"] for choice in choices(replace(one, prompt=prompt), n)]
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


def _read_echo(asked: Asked) -> bool:
    if asked["echo"] and asked["logprobs"] is not None:
        message = (
            "echo with logprobs would need the log probabilities of the prompt's own tokens, and those are not "
            "computed here: most of a prompt comes from the cache. Leave out one of the two."
        )
        raise BadRequest(message, param="echo")
    return asked["echo"]
