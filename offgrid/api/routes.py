"""THE table: every path that this server answers, by whom it may be used, and in which shape its errors come.

A row without a permission cannot be written; a permission that no role has is nobody's.
"""

from collections.abc import Callable
from functools import partial

from offgrid.api import (
    agent_tasks,
    agent_tools,
    agents,
    api_keys,
    audit,
    auth,
    cache,
    chat,
    completions,
    docs,
    documents,
    embeddings,
    health,
    ingest,
    later,
    limits,
    loading,
    mcp,
    metrics,
    models,
    openapi,
    props,
    rag,
    residency,
    search,
    sessions,
    system,
    tasks,
    tokens,
    usage,
    users,
    verify,
)
from offgrid.api.access import ANYONE, PASSWORD, PUBLIC
from offgrid.api.anthropic import messages
from offgrid.api.endpoint import FORM
from offgrid.api.lollms import capabilities, datastores, keys, missing, personalities, store_files
from offgrid.api.lollms import rag as lollms_rag
from offgrid.api.lollms import tokens as lollms_tokens
from offgrid.api.ollama import absent, blobs, create, manage, pull
from offgrid.api.ollama import chat as ollama_chat
from offgrid.api.ollama import embed as ollama_embed
from offgrid.api.ollama import generate as ollama_generate
from offgrid.api.ollama import models as ollama_models
from offgrid.api.responses import responses
from offgrid.web.router import Route

# What is of no use without accounts: refused there as multi_user_disabled.
PeopleRoute = partial(Route, needs_accounts=True)
# Each family of clients can be switched off, and no other route.
OpenAIRoute = partial(Route, service="openai")
AnthropicRoute = partial(Route, family="anthropic", service="anthropic")
LollmsRoute = partial(Route, family="lollms", service="lollms")
LollmsPeopleRoute = partial(LollmsRoute, needs_accounts=True)
OllamaRoute = partial(Route, family="ollama", service="ollama")
# JSON, or files that go straight to the disk.
UPLOAD = {"accepts": ("application/json", "multipart/form-data"), "streams_body": True}
# Whatever a program calls the content: Ollama's documents use plain `curl -d`.
ANY = ("application/json", "*/*")


def ollama_routes(method: str, path: str, handler: Callable, permission: str, **more: bool) -> tuple[Route, ...]:
    """A path of Ollama's API, where its clients look for it and below /ollama."""
    made = partial(OllamaRoute, method, handler=handler, permission=permission, accepts=ANY, **more)
    return made(path="/api" + path), made(path="/ollama/api" + path)


def datastore_routes(stores: str, files: str) -> tuple[Route, ...]:
    """LoLLMs' data stores below one path, and what is in them below another."""
    made = (
        LollmsRoute("GET", stores, datastores.list_stores, "documents"),
        LollmsRoute("POST", stores, datastores.create_store, "documents:write"),
        LollmsRoute("GET", stores + "/available-vectorizers", datastores.list_vectorizers, "documents"),
        LollmsRoute("GET", stores + "/{id}", datastores.get_store, "documents"),
        LollmsRoute("PUT", stores + "/{id}", datastores.update_store, "documents:write"),
        LollmsRoute("DELETE", stores + "/{id}", datastores.delete_store, "documents:write"),
        LollmsRoute("GET", stores + "/{id}/shared-with", datastores.list_shares, "documents"),
        LollmsRoute("POST", stores + "/{id}/share", datastores.share_store, "documents:write"),
        LollmsRoute("DELETE", stores + "/{id}/share/{user_id}", datastores.unshare_store, "documents:write"),
        LollmsRoute("DELETE", stores + "/{id}/leave", datastores.leave_store, "documents"),
        LollmsRoute("GET", files + "/{id}/details", datastores.get_details, "documents"),
        LollmsRoute("GET", files + "/{id}/files", store_files.list_files, "documents"),
        LollmsRoute("GET", files + "/{id}/files/content", store_files.get_content, "documents"),
        LollmsRoute("DELETE", files + "/{id}/files/{filename:path}", store_files.delete_file, "documents:write"),
        LollmsRoute("POST", files + "/{id}/files/batch-delete", store_files.delete_files, "documents:write"),
        LollmsRoute("POST", files + "/{id}/scrape-url", store_files.scrape_url, "documents:write"),
        LollmsRoute("POST", files + "/{id}/query", lollms_rag.query_store, "documents"),
    )
    upload = partial(LollmsRoute, "POST", handler=store_files.upload_files, permission="documents:write", **UPLOAD)
    return (*made, upload(path=files + "/{id}/upload-files"), upload(path=files + "/{id}/files"))


ROUTES = (
    Route("GET", "/", health.get_root, PUBLIC),
    Route("GET", "/health", health.get_health, PUBLIC),
    Route("GET", "/ready", health.get_readiness, PUBLIC),
    Route("GET", "/readyz", health.get_readiness, PUBLIC),
    Route("GET", "/livez", health.get_liveness, PUBLIC),
    Route("GET", "/openapi.json", openapi.get_document, PUBLIC),
    Route("GET", "/docs", docs.get_page, PUBLIC),
    Route("GET", "/metrics", metrics.get_metrics, "stats"),
    Route("GET", "/v1/stats", system.get_statistics, "stats"),
    Route("GET", "/v1/system/config", system.get_config, PUBLIC),
    Route("GET", "/v1/system/info", system.get_info, "stats"),
    Route("GET", "/v1/system/stats", system.get_stats, "stats"),
    OpenAIRoute("GET", "/v1/models", models.list_models, "models"),
    OpenAIRoute("GET", "/v1/models/{id:path}", models.get_model, "models"),
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
    OpenAIRoute("POST", "/v1/chat/completions", chat.create_chat_completion, "chat"),
    OpenAIRoute("POST", "/v1/completions", completions.create_completion, "chat"),
    AnthropicRoute("POST", "/v1/messages", messages.create_message, "chat"),
    AnthropicRoute("POST", "/v1/messages/count_tokens", messages.count_tokens, "chat"),
    OpenAIRoute("POST", "/v1/embeddings", embeddings.create_embeddings, "embeddings"),
    OpenAIRoute("POST", "/v1/responses", responses.create_response, "chat"),
    OpenAIRoute("POST", "/v1/responses/input_tokens", responses.count_input_tokens, "chat"),
    OpenAIRoute("GET", "/v1/responses/{id}", responses.get_response, "responses"),
    OpenAIRoute("DELETE", "/v1/responses/{id}", responses.delete_response, "responses"),
    OpenAIRoute("POST", "/v1/responses/{id}/cancel", responses.cancel_response, "responses"),
    OpenAIRoute("GET", "/v1/responses/{id}/input_items", responses.list_input_items, "responses"),
    OpenAIRoute("POST", "/v1/images/generations", later.generate_images, "chat"),
    OpenAIRoute("POST", "/v1/images/edits", later.edit_images, "chat", accepts=("multipart/form-data",)),
    Route("POST", "/tokenize", tokens.tokenize, "chat"),
    Route("POST", "/detokenize", tokens.detokenize, "chat"),
    Route("POST", "/apply-template", tokens.apply_template, "chat"),
    Route("GET", "/props", props.get_props, "models"),
    Route("GET", "/slots", props.list_slots, "models"),
    Route("POST", "/v1/rerank", later.rerank, "embeddings"),
    Route("POST", "/rerank", later.rerank, "embeddings"),
    Route("POST", "/infill", later.infill, "chat"),
    Route("GET", "/lora-adapters", later.list_adapters, "models"),
    Route("POST", "/lora-adapters", later.set_adapters, "models:manage"),
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
    LollmsPeopleRoute("POST", "/api/auth/token", auth.create_token, PUBLIC, accepts=(FORM,)),
    LollmsPeopleRoute("GET", "/api/api-keys", keys.list_keys, "account"),
    LollmsPeopleRoute("POST", "/api/api-keys", keys.create_key, "account"),
    LollmsPeopleRoute("DELETE", "/api/api-keys", keys.revoke_keys, "account"),
    LollmsPeopleRoute("DELETE", "/api/api-keys/{id}", keys.revoke_key, "account"),
    LollmsRoute("POST", "/lollms/v1/tokenize", lollms_tokens.tokenize, "chat"),
    LollmsRoute("POST", "/lollms/v1/detokenize", lollms_tokens.detokenize, "chat"),
    LollmsRoute("POST", "/lollms/v1/count_tokens", lollms_tokens.count_tokens, "chat"),
    LollmsRoute("POST", "/lollms/v1/context_size", lollms_tokens.get_context_size, "models"),
    LollmsRoute("GET", "/lollms/v1/capabilities", capabilities.get_capabilities, "models"),
    LollmsRoute("GET", "/lollms/v1/personalities", personalities.list_personalities, "models"),
    LollmsRoute("POST", "/lollms/v1/long_context_process", missing.process_long_context, "chat"),
    LollmsRoute("POST", "/lollms/v1/rag/query", lollms_rag.query, "documents"),
    LollmsRoute("GET", "/lollms/v1/rag/databases", lollms_rag.list_databases, "documents"),
    *datastore_routes("/lollms/v1/datastores", "/lollms/v1/datastores"),
    *datastore_routes("/api/datastores", "/api/store"),
    LollmsRoute("GET", "/api/tasks", store_files.list_tasks, "tasks"),
    LollmsRoute("GET", "/api/tasks/{id}", store_files.get_task, "tasks"),
    LollmsRoute("POST", "/api/tasks/{id}/cancel", store_files.cancel_task, "tasks"),
    LollmsRoute("POST", "/lollms/v1/images/edit", missing.edit_image, "chat"),
    LollmsRoute("POST", "/lollms/v1/audio/speech", missing.speak, "chat"),
    LollmsRoute("GET", "/lollms/v1/audio/voices", missing.list_voices, "models"),
    LollmsRoute("POST", "/v1/tokenize", lollms_tokens.tokenize, "chat"),
    LollmsRoute("POST", "/v1/detokenize", lollms_tokens.detokenize, "chat"),
    LollmsRoute("POST", "/v1/count_tokens", lollms_tokens.count_tokens, "chat"),
    LollmsRoute("POST", "/v1/context_size", lollms_tokens.get_context_size, "models"),
    LollmsRoute("GET", "/v1/personalities", personalities.list_personalities, "models"),
    LollmsRoute("POST", "/v1/extract_text", missing.extract_text, "chat"),
    OllamaRoute("GET", "/ollama", ollama_models.greet, PUBLIC),
    OllamaRoute("GET", "/ollama/v1/models", ollama_models.list_both, "models", family="lollms"),
    OllamaRoute("POST", "/ollama/v1/chat/completions", chat.create_chat_completion, "chat", family="lollms"),
    *ollama_routes("GET", "/version", ollama_models.get_version, PUBLIC),
    *ollama_routes("GET", "/tags", ollama_models.list_tags, "models"),
    *ollama_routes("GET", "/ps", ollama_models.list_loaded, "models"),
    *ollama_routes("POST", "/show", ollama_models.show, "models"),
    *ollama_routes("POST", "/chat", ollama_chat.chat, "chat"),
    *ollama_routes("POST", "/generate", ollama_generate.create, "chat"),
    *ollama_routes("POST", "/embed", ollama_embed.embed, "embeddings"),
    *ollama_routes("POST", "/embeddings", ollama_embed.embed_one, "embeddings"),
    *ollama_routes("POST", "/pull", pull.pull, "models:manage"),
    *ollama_routes("POST", "/create", create.create, "models:manage"),
    *ollama_routes("POST", "/copy", manage.copy, "models:manage"),
    *ollama_routes("DELETE", "/delete", manage.delete, "models:manage"),
    *ollama_routes("HEAD", "/blobs/{digest}", blobs.has_blob, "models:manage"),
    *ollama_routes("POST", "/blobs/{digest}", blobs.put_blob, "models:manage", streams_body=True),
    *ollama_routes("POST", "/push", absent.push, "models:manage"),
    *ollama_routes("POST", "/me", absent.cloud, "account"),
    *ollama_routes("POST", "/signout", absent.cloud, "account"),
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
    Route("GET", "/v1/rag/status", rag.get_status, "documents"),
    Route("POST", "/v1/rag/enable", rag.enable, "documents:write"),
    Route("POST", "/v1/rag/disable", rag.disable, "documents:write"),
    Route("GET", "/v1/documents", documents.list_documents, "documents"),
    Route("POST", "/v1/documents/ingest", ingest.ingest, "documents:write", **UPLOAD),
    Route("POST", "/v1/documents/ingest-url", ingest.ingest_url, "documents:write"),
    Route("GET", "/v1/documents/search", search.search_by_query, "documents"),
    Route("POST", "/v1/documents/search", search.search, "documents"),
    Route("DELETE", "/v1/documents/delete", documents.delete_by_query, "documents:write"),
    Route("POST", "/v1/documents/delete", documents.delete_by_body, "documents:write"),
    Route("GET", "/v1/documents/{id}", documents.get_document, "documents"),
    Route("DELETE", "/v1/documents/{id}", documents.delete_document, "documents:write"),
    Route("GET", "/v1/documents/{id}/content", documents.get_content, "documents"),
    Route("GET", "/v1/tasks", tasks.list_tasks, "tasks"),
    Route("GET", "/v1/tasks/{id}", tasks.get_task, "tasks"),
    Route("POST", "/v1/tasks/{id}/cancel", tasks.cancel_task, "tasks"),
    Route("DELETE", "/v1/tasks/{id}", tasks.delete_task, "tasks"),
    Route("GET", "/v1/agents/mcp", mcp.list_servers, "mcp"),
    Route("POST", "/v1/agents/mcp", mcp.add_server, "mcp"),
    Route("POST", "/v1/agents/mcp/test", mcp.test_server, "mcp"),
    Route("POST", "/v1/agents/mcp/import", mcp.import_servers, "mcp"),
    Route("GET", "/v1/agents/mcp/{name}", mcp.get_server, "mcp"),
    Route("PATCH", "/v1/agents/mcp/{name}", mcp.switch_server, "mcp"),
    Route("DELETE", "/v1/agents/mcp/{name}", mcp.remove_server, "mcp"),
    Route("POST", "/v1/agents/run", agents.run_agent, "agents:run"),
    Route("GET", "/v1/agents/tasks", agent_tasks.list_tasks, "agents"),
    Route("GET", "/v1/agents/tasks/{id}", agent_tasks.get_task, "agents"),
    Route("DELETE", "/v1/agents/tasks/{id}", agent_tasks.delete_task, "agents"),
    Route("POST", "/v1/agents/tasks/{id}/cancel", agent_tasks.cancel_task, "agents"),
    Route("POST", "/v1/agents/tasks/{id}/approve", agent_tasks.approve_call, "agents"),
    Route("GET", "/v1/agents/tools", agent_tools.list_tools, "agents"),
    Route("PATCH", "/v1/agents/tools", agent_tools.switch_tool, "agents:manage"),
    Route("POST", "/v1/models/verify", verify.verify_model, "models:manage"),
    Route("GET", "/v1/admin/audit", audit.list_events, "audit"),
    Route("GET", "/v1/admin/audit/verify", audit.verify_events, "audit"),
)
