"""POST /v1/messages, /v1/messages/count_tokens: Anthropic's Messages API."""

from offgrid.api.answers import EVENTS, JSON
from offgrid.api.anthropic.blocks import MESSAGES, SYSTEM, system_messages
from offgrid.api.anthropic.generated import EVENT, MESSAGE
from offgrid.api.anthropic.options import (
    DRAWN,
    MAX_TOKENS,
    NO_OPS,
    NOT_HERE,
    OUTPUT,
    STOPS,
    STREAM,
    THINKING,
    read_grammar,
    read_sampling,
    read_thinking,
    shows_thoughts,
)
from offgrid.api.anthropic.tools import TOOLS, read_tool_use
from offgrid.api.anthropic.wire import AnthropicEncoder
from offgrid.api.endpoint import endpoint
from offgrid.api.fields import Asked
from offgrid.api.generate import ask_once, generate
from offgrid.api.grounding import USE_KNOWLEDGE_BASE, ground
from offgrid.api.keep_alive import KEEP_ALIVE, read_keep_alive
from offgrid.api.messages import with_system_prompt
from offgrid.api.models import MODEL, model_for
from offgrid.engine.catalog import ModelFile
from offgrid.errors import ModelNotFound
from offgrid.sections import ModelSettings
from offgrid.types import CountRequest, GenerateRequest
from offgrid.web.message import Request, Response

CONVERSATION = (MODEL, MESSAGES, SYSTEM, *TOOLS, THINKING, *OUTPUT, *KEEP_ALIVE, *NOT_HERE, *NO_OPS)


@endpoint(
    body=(MAX_TOKENS, *CONVERSATION, *USE_KNOWLEDGE_BASE, *DRAWN, STOPS, STREAM),
    answers={200: {JSON: MESSAGE, EVENTS: EVENT}},
    errors=(409,),
)
def create_message(request: Request, app, asked: Asked) -> Response | None:
    """The next message of a conversation."""
    request.tally.service = "chat"
    model, own = _model(app, asked)
    max_tokens, keep_alive_s = asked["max_tokens"], read_keep_alive(asked)
    grammar, sampling = read_grammar(asked), read_sampling(asked, own)
    conversation, more = ground(request, app, asked, model, _conversation(asked, own), max_tokens)
    wanted = GenerateRequest(
        model=model.id,
        max_tokens=max_tokens,
        stop=asked["stop_sequences"],
        grammar=grammar,
        sampling=sampling,
        client=request.who.client,
        **conversation,
    )
    return generate(
        request,
        app,
        model,
        [wanted],
        AnthropicEncoder(model.id, max_tokens, request.id, more, shows_thoughts=shows_thoughts(asked)),
        stream=asked["stream"],
        keep_alive_s=keep_alive_s,
    )


@endpoint(body=CONVERSATION, answer={"input_tokens": int})
def count_tokens(request: Request, app, asked: Asked) -> Response:
    """How many tokens the prompt of such a message would have."""
    model, own = _model(app, asked)
    count = ask_once(request, app, model, CountRequest(**_conversation(asked, own)), read_keep_alive(asked))
    return Response.json({"input_tokens": count.n_tokens})


def _conversation(asked: Asked, own: ModelSettings) -> dict:
    """The fields of a GenerateRequest that say what is in the prompt."""
    messages = (*system_messages(asked["system"]), *asked["messages"])
    return {
        "messages": with_system_prompt(messages, own.system_prompt),
        "tool_use": read_tool_use(asked),
        "thinking": read_thinking(asked),
    }


def _model(app, asked: Asked) -> tuple[ModelFile, ModelSettings]:
    """The model that is named. Raises ModelNotFound: many of these clients insist on a name of Anthropic's."""
    try:
        return model_for(app, asked, "chat")
    except ModelNotFound as error:
        name = (asked["model"] or "")[:200]
        if error.code != ModelNotFound.code or not name:
            raise
        hint = f"A client that insists on this name gets a model by offgrid.yaml: aliases: {{{name}: MODEL}}."
        raise ModelNotFound(f"{error.message} {hint}") from None
