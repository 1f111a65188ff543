"""THE table: every path that this server answers, by whom it may be used, and in which shape its errors come.

A row without a permission cannot be written; a permission that no role has is nobody's.
"""

from offgrid.api import chat, completions, embeddings, health, models
from offgrid.api.access import PUBLIC
from offgrid.web.router import Route

ROUTES = (
    Route("GET", "/", health.get_root, PUBLIC),
    Route("GET", "/health", health.get_health, PUBLIC),
    Route("GET", "/ready", health.get_readiness, PUBLIC),
    Route("GET", "/readyz", health.get_readiness, PUBLIC),
    Route("GET", "/livez", health.get_liveness, PUBLIC),
    Route("GET", "/v1/models", models.list_models, "models"),
    Route("GET", "/v1/models/{id:path}", models.get_model, "models"),
    Route("POST", "/v1/chat/completions", chat.create_chat_completion, "chat"),
    Route("POST", "/v1/completions", completions.create_completion, "chat"),
    Route("POST", "/v1/embeddings", embeddings.create_embeddings, "embeddings"),
)
