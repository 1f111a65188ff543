"""GET /v1/cache/stats: which models are in memory, and how much of it they may take."""

from datetime import UTC, datetime, timedelta

from offgrid.api.endpoint import endpoint
from offgrid.web.message import Request, Response

# Answers are never taken from an earlier request: a model is asked each time.
NO_RESPONSE_CACHE = {"enabled": False, "entries": 0, "max_entries": 0, "hits": 0, "misses": 0}
RESPONSE_CACHE = {"enabled": bool, **dict.fromkeys(("entries", "max_entries", "hits", "misses"), int)}
IN_MEMORY = {
    "model_id": str,
    "is_ready": bool,
    "pinned": bool,
    "active_requests": int,
    "keep_alive_s": float,
    "last_access": str,
    "reserved_mb": int,
    "used_mb": int,
}
CACHES = {
    "model_cache": {
        "max_instances": int,
        "current_count": int,
        "cached_models": [IN_MEMORY],
        "default_model": str,
        "mlock_enabled": bool,
        "system_ram_mb": int,
    },
    "response_cache": RESPONSE_CACHE,
    "loaded_models": [{"id": str, "size_mb": int}],
    "cache_size": int,
    "max_size": int,
}


@endpoint(answer=CACHES)
def get_cache_stats(_request: Request, app) -> Response:
    """Which models are in memory, and what they take.

    Nested as the original server has it, and flat (`loaded_models`, `cache_size`, `max_size`, in MB).
    """
    pool = app.pool
    workers = [worker for worker in pool.workers if not worker.is_leaving]
    loaded = [_entry(app, worker) for worker in workers]
    engine = app.config.engine
    return Response.json(
        {
            "model_cache": {
                "max_instances": 0,  # no number bounds it, only memory
                "current_count": len(loaded),
                "cached_models": loaded,
                "default_model": engine.default_model,
                "mlock_enabled": "mlock" in engine.load_mode,
                "system_ram_mb": _mb(pool.budget.machine_bytes()),
            },
            "response_cache": NO_RESPONSE_CACHE,
            "loaded_models": [{"id": entry["model_id"], "size_mb": entry["reserved_mb"]} for entry in loaded],
            "cache_size": _mb(pool.budget.promised()),
            "max_size": _mb(pool.capacity),
        }
    )


def _entry(app, worker) -> dict:
    """`reserved_mb` is what the model may come to take, `used_mb` what its process has in RAM now."""
    unused = timedelta(seconds=worker.unused_s)
    return {
        "model_id": worker.model_id,
        "is_ready": worker.is_ready,
        "pinned": app.pool.is_pinned(worker.model_id),
        "active_requests": worker.n_active,
        "keep_alive_s": worker.keep_alive_s,
        "last_access": (datetime.now(UTC) - unused).isoformat(timespec="seconds"),
        "reserved_mb": _mb(app.pool.budget.promised(worker.model_id)),
        "used_mb": _mb(worker.used_bytes),
    }


def _mb(n_bytes: int) -> int:
    return round(max(n_bytes, 0) / 1e6)
