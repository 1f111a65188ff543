"""POST /v1/chat/completions: a conversation in, the assistant's next turn out."""

from dataclasses import replace

from offgrid.api.answers import EVENTS, JSON
from offgrid.api.endpoint import endpoint
from offgrid.api.fields import Asked, Ignored, Unsupported
from offgrid.api.generate import generate
from offgrid.api.generated import CHAT_ANSWER, CHAT_EVENT
from offgrid.api.grounding import USE_KNOWLEDGE_BASE, ground
from offgrid.api.keep_alive import KEEP_ALIVE, read_keep_alive
from offgrid.api.logprobs import CHAT_LOGPROBS, read_chat_logprobs
from offgrid.api.lollms.personalities import PERSONALITY, read_personality, told_first
from offgrid.api.messages import MESSAGES, with_system_prompt
from offgrid.api.models import MODEL, model_for
from offgrid.api.sampling import GENERATING, NO_OPS, STREAM, N, choices, read_generation, read_stream
from offgrid.api.thinking import THINKING, read_thinking
from offgrid.api.tools import TOOLS, read_tool_use
from offgrid.api.wire import ChatFormat, OpenAIEncoder
from offgrid.web.message import Request, Response

CONVERSATION = (MESSAGES, PERSONALITY, *TOOLS, *THINKING)
NOT_HERE = (
    Unsupported("functions", "it is OpenAI's older form of tools.", []),
    Unsupported("function_call", "it is OpenAI's older form of tool_choice.", "none", "auto"),
    Unsupported("modalities", "models here answer in text.", ["text"]),
    Unsupported("audio", "models here answer in text."),
    Unsupported("web_search_options", "there is no internet to be searched."),
    Unsupported("moderation", "there is no model for it."),
    Unsupported("verbosity", "models here know no degrees of it; say it in a message.", "medium"),
)
PREDICTION = Ignored("prediction", "A hint for speed only; OffGrid guesses ahead from the text itself.")
BODY = (
    MODEL,
    *CONVERSATION,
    *USE_KNOWLEDGE_BASE,
    *GENERATING,
    N,
    *CHAT_LOGPROBS,
    *STREAM,
    *KEEP_ALIVE,
    *NOT_HERE,
    PREDICTION,
    *NO_OPS,
)


@endpoint(body=BODY, answers={200: {JSON: CHAT_ANSWER, EVENTS: CHAT_EVENT}}, errors=(409,))
def create_chat_completion(request: Request, app, asked: Asked) -> Response | None:
    """The next turn of a conversation."""
    request.tally.service = "chat"
    model, own = model_for(app, asked, "chat")
    conversation = read_conversation(asked, app, own.system_prompt)
    logprobs = read_chat_logprobs(asked)
    generation = read_generation(asked, own, model.id, request.who.client)
    n = asked["n"]
    is_stream, include_usage = read_stream(asked)
    keep_alive_s = read_keep_alive(asked)
    conversation, more = ground(request, app, asked, model, conversation, generation.max_tokens)
    return generate(
        request,
        app,
        model,
        choices(replace(generation, **conversation, logprobs=logprobs), n),
        OpenAIEncoder(ChatFormat(n, has_logprobs=logprobs is not None), model.id, more, include_usage=include_usage),
        stream=is_stream,
        keep_alive_s=keep_alive_s,
    )


def read_conversation(asked: Asked, app, system_prompt: str | None) -> dict:
    """The fields of a GenerateRequest, or of a RenderRequest, that say what is in a chat's prompt."""
    thinking, values = read_thinking(asked)
    messages = told_first(read_personality(app, asked), asked["messages"])
    return {
        "messages": with_system_prompt(messages, system_prompt),
        "tool_use": read_tool_use(asked),
        "thinking": thinking,
        "template_values": values,
    }
