"""THE table: every path that this server answers, by whom it may be used, and in which shape its errors come.

A row without a permission cannot be written; a permission that no role has is nobody's.
"""

from offgrid.api import cache, chat, completions, embeddings, health, loading, models, residency
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
    Route("POST", "/v1/models/refresh", models.refresh_models, "models"),
    Route("POST", "/models/refresh", models.refresh_models, "models"),
    Route("POST", "/v1/models/load", residency.load_model, "models"),
    Route("POST", "/v1/models/prewarm", residency.prewarm_model, "models"),
    Route("POST", "/v1/models/unload", residency.unload_model, "admin"),
    Route("POST", "/v1/models/pin", residency.pin_model, "admin"),
    Route("POST", "/v1/models/unpin", residency.unpin_model, "admin"),
    Route("GET", "/v1/loading/progress", loading.get_progress, "models"),
    Route("GET", "/v1/loading/progress/stream", loading.stream_progress, "models"),
    Route("POST", "/v1/loading/prewarm", loading.prewarm_path, "models"),
    Route("GET", "/v1/cache/stats", cache.get_cache_stats, "models"),
    Route("GET", "/cache/stats", cache.get_cache_stats, "models"),
    Route("POST", "/v1/chat/completions", chat.create_chat_completion, "chat"),
    Route("POST", "/v1/completions", completions.create_completion, "chat"),
    Route("POST", "/v1/embeddings", embeddings.create_embeddings, "embeddings"),
)
