"""LoLLMs' /capabilities: which of the services that its clients know are here."""

from offgrid.api.endpoint import endpoint
from offgrid.engine.catalog import LOCAL
from offgrid.web.message import Request, Response

# LoLLMs' word for it → the path that does it
PATHS = {
    "tokenize": "/lollms/v1/tokenize",
    "detokenize": "/lollms/v1/detokenize",
    "long_context_processing": "/lollms/v1/long_context_process",
    "rag_query": "/lollms/v1/rag/query",
    "image_generation": "/v1/images/generations",
    "image_editing": "/lollms/v1/images/edit",
    "text_to_speech": "/lollms/v1/audio/speech",
    "speech_to_text": "/lollms/v1/audio/transcriptions",
}
BINDINGS = ("llm", "tti", "tts", "stt", "rag")


@endpoint(answer={"capabilities": [str], "active_bindings": {kind: [str] for kind in BINDINGS}})
def get_capabilities(_request: Request, app) -> Response:
    """What this server can do, in LoLLMs' words."""
    there = {route.path for route in app.router.routes if route.handler.answers}  # else it answers errors only
    has_chat = any(file.kind == "chat" for file in app.catalog.scan())
    is_there = {"llm": has_chat, "rag": app.config.rag.enabled}
    bindings = {kind: [LOCAL.rstrip("/")] if is_there.get(kind) else [] for kind in BINDINGS}
    capabilities = [name for name, path in PATHS.items() if path in there]
    return Response.json({"capabilities": capabilities, "active_bindings": bindings})
