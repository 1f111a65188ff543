"""POST /api/chat: a conversation in, the assistant's next turn out, as Ollama has it."""

from dataclasses import replace

from offgrid.api.answers import JSON, NDJSON
from offgrid.api.endpoint import endpoint
from offgrid.api.fields import Asked
from offgrid.api.generate import generate
from offgrid.api.messages import with_system_prompt
from offgrid.api.ollama.asking import ABOUT, SHARED, generation, only_loaded
from offgrid.api.ollama.messages import MESSAGES, conversation
from offgrid.api.ollama.names import find_for, read_name
from offgrid.api.ollama.wire import ChatEncoder
from offgrid.api.tools import TOOLS, read_tool_use
from offgrid.web.message import Request, Response

CALL = {"id": str, "function": {"name": str, "arguments": {str: object}}}
MESSAGE = {"role": "assistant", "content": str, "thinking?": str, "tool_calls?": [CALL]}
ANSWER = {**ABOUT, "message": MESSAGE}


@endpoint(body=(*SHARED, MESSAGES, *TOOLS), answers={200: {JSON: ANSWER, NDJSON: ANSWER}})
def chat(request: Request, app, asked: Asked) -> Response | None:
    """The next turn of a conversation; without messages, the model is only loaded."""
    request.tally.service = "chat"
    name = read_name(request, asked)
    model, own = find_for(app, name, "chat", "chat")
    if not asked["messages"]:
        return only_loaded(request, app, model, asked, {"message": {"role": "assistant", "content": ""}})
    messages = with_system_prompt(conversation(asked["messages"]), own.system_prompt)
    one = replace(generation(request, asked, model, own, name), messages=messages, tool_use=read_tool_use(asked))
    encoder = ChatEncoder(name)
    return generate(request, app, model, [one], encoder, stream=asked["stream"], keep_alive_s=asked["keep_alive"])
