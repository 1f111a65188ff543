"""THE table: every path that this server answers, by whom it may be used, and in which shape its errors come.

A row without a permission cannot be written; a permission that no role has is nobody's.
"""

from functools import partial

from offgrid.api import (
    api_keys,
    auth,
    cache,
    chat,
    completions,
    embeddings,
    health,
    limits,
    loading,
    lollms_keys,
    models,
    residency,
    sessions,
    tasks,
    usage,
    users,
    verify,
)
from offgrid.api.access import ANYONE, PASSWORD, PUBLIC
from offgrid.web.router import Route

# What is of no use without accounts: refused there as multi_user_disabled.
PeopleRoute = partial(Route, needs_accounts=True)
LollmsRoute = partial(PeopleRoute, family="lollms")

ROUTES = (
    Route("GET", "/", health.get_root, PUBLIC),
    Route("GET", "/health", health.get_health, PUBLIC),
    Route("GET", "/ready", health.get_readiness, PUBLIC),
    Route("GET", "/readyz", health.get_readiness, PUBLIC),
    Route("GET", "/livez", health.get_liveness, PUBLIC),
    Route("GET", "/v1/models", models.list_models, "models"),
    Route("GET", "/v1/models/{id:path}", models.get_model, "models"),
    Route("POST", "/v1/models/refresh", models.refresh_models, "models:manage"),
    Route("POST", "/models/refresh", models.refresh_models, "models:manage"),
    Route("POST", "/v1/models/load", residency.load_model, "models:load"),
    Route("POST", "/v1/models/prewarm", residency.prewarm_model, "models:load"),
    Route("POST", "/v1/models/unload", residency.unload_model, "models:manage"),
    Route("POST", "/v1/models/pin", residency.pin_model, "models:manage"),
    Route("POST", "/v1/models/unpin", residency.unpin_model, "models:manage"),
    Route("GET", "/v1/loading/progress", loading.get_progress, "models"),
    Route("GET", "/v1/loading/progress/stream", loading.stream_progress, "models"),
    Route("POST", "/v1/loading/prewarm", loading.prewarm_path, "models:load"),
    Route("GET", "/v1/cache/stats", cache.get_cache_stats, "models"),
    Route("GET", "/cache/stats", cache.get_cache_stats, "models"),
    Route("POST", "/v1/chat/completions", chat.create_chat_completion, "chat"),
    Route("POST", "/v1/completions", completions.create_completion, "chat"),
    Route("POST", "/v1/embeddings", embeddings.create_embeddings, "embeddings"),
    PeopleRoute("POST", "/v1/auth/login", auth.log_in, PUBLIC),
    Route("POST", "/v1/auth/logout", auth.log_out, PUBLIC),
    PeopleRoute("GET", "/v1/users/me", users.get_me, ANYONE),
    PeopleRoute("GET", "/v1/users", users.list_users, "users"),
    PeopleRoute("POST", "/v1/users", users.create_user, "users"),
    PeopleRoute("GET", "/v1/users/{id}", users.get_user, "account"),
    PeopleRoute("DELETE", "/v1/users/{id}", users.delete_user, "users"),
    PeopleRoute("PUT", "/v1/users/{id}/role", users.set_role, "users"),
    PeopleRoute("PUT", "/v1/users/{id}/password", users.set_password, PASSWORD),
    PeopleRoute("POST", "/v1/users/{id}/password", users.set_password, PASSWORD),
    PeopleRoute("POST", "/v1/users/{id}/regenerate-key", users.regenerate_key, "account"),
    PeopleRoute("GET", "/v1/users/{id}/api-keys", api_keys.list_keys, "account"),
    PeopleRoute("POST", "/v1/users/{id}/api-keys", api_keys.create_key, "account"),
    PeopleRoute("DELETE", "/v1/users/{id}/api-keys/{key_id}", api_keys.revoke_key, "account"),
    LollmsRoute("POST", "/api/auth/token", auth.create_token, PUBLIC, accepts=(auth.FORM,)),
    LollmsRoute("GET", "/api/api-keys", lollms_keys.list_keys, "account"),
    LollmsRoute("POST", "/api/api-keys", lollms_keys.create_key, "account"),
    LollmsRoute("DELETE", "/api/api-keys", lollms_keys.revoke_keys, "account"),
    LollmsRoute("DELETE", "/api/api-keys/{id}", lollms_keys.revoke_key, "account"),
    Route("GET", "/v1/quota", limits.get_quota, "account"),
    Route("GET", "/v1/admin/limits", limits.list_limits, "limits"),
    Route("GET", "/v1/admin/limits/{scope}/{id}", limits.get_limits, "limits"),
    Route("PUT", "/v1/admin/limits/{scope}/{id}", limits.set_limits, "limits"),
    Route("DELETE", "/v1/admin/limits/{scope}/{id}", limits.delete_limits, "limits"),
    Route("GET", "/v1/admin/usage", usage.get_usage, "admin"),
    Route("GET", "/v1/sessions", sessions.list_sessions, "sessions"),
    Route("POST", "/v1/sessions", sessions.create_session, "sessions"),
    Route("GET", "/v1/sessions/{name}", sessions.get_session, "sessions"),
    Route("DELETE", "/v1/sessions/{name}", sessions.delete_session, "sessions"),
    Route("POST", "/v1/sessions/{name}/messages", sessions.append_messages, "sessions"),
    Route("GET", "/v1/tasks", tasks.list_tasks, "tasks"),
    Route("GET", "/v1/tasks/{id}", tasks.get_task, "tasks"),
    Route("POST", "/v1/tasks/{id}/cancel", tasks.cancel_task, "tasks"),
    Route("DELETE", "/v1/tasks/{id}", tasks.delete_task, "tasks"),
    Route("POST", "/v1/models/verify", verify.verify_model, "models:manage"),
)
