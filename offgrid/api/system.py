"""/v1/system/* and /v1/stats: what is switched on, how the machine and the models do, for people and their pages.

The shapes are the original server's; every figure is read when it is asked for, or counted since the start. What the
system does not tell is null. Prometheus has `metrics.py`.
"""

import gc
import os
import shutil
import threading
import time
from datetime import timedelta
from pathlib import Path

import offgrid
from offgrid.api.cache import NO_RESPONSE_CACHE, RESPONSE_CACHE
from offgrid.api.endpoint import endpoint
from offgrid.api.times import rfc3339
from offgrid.api.traffic import ModelTotals
from offgrid.web.message import Request, Response

MB, GB = 1_000_000, 1_000_000_000


# A feature is there when its path is answered; users are there when they are switched on.
FEATURES = {"metrics": "/metrics", "rag": "/v1/documents/search", "agent": "/v1/agents/run", "lora": "/v1/lora"}
MODES = ("multi_user_mode", "require_auth", "guest_access")
CONFIG = {**dict.fromkeys(MODES, bool), "version": str, "features": {str: bool}}
STATS = {
    "cpu_percent": (float, None),
    "process_cpu_percent": (float, None),
    "memory_bytes": (int, None),
    "memory_total": int,
    "memory_used": int,
    "memory_percent": float,
    "disk_percent": float,
    "models_loaded": int,
    "active_sessions": int,
    "rag_documents": int,
    "total_users": int,
    "admin_users": int,
    "websocket_connections": int,
    "requests_total": int,
    "requests_in_flight": int,
    "errors_total": int,
    "tokens_generated": int,
    "avg_latency_ms": float,
    "uptime_seconds": int,
    "goroutines": int,
    "gc_cycles": int,
    "heap_alloc": (int, None),
    "heap_sys": (int, None),
}
OF_MODEL = {
    "model_id": str,
    "total_requests": int,
    "total_tokens": int,
    "total_duration_ms": int,
    "average_response_ms": float,
    "last_used": str,
}
OF_ALL = {"total_requests": int, "total_tokens": int, "models_used": int, "avg_response_ms": float}
STATISTICS = {
    "server": {"uptime": str, "uptime_seconds": int, "start_time": str, "version": str, "current_model": str},
    "inference": {"models": {str: OF_MODEL}, "aggregate": OF_ALL},
    "system": {"os": str, "arch": str, "cpu_cores": int, "total_memory_gb": float},
    "resources": {
        "cpu_usage_percent": (float, None),
        "memory_used_mb": int,
        "memory_total_mb": int,
        "memory_usage_percent": float,
        "disk_used_gb": float,
        "disk_total_gb": float,
        "disk_usage_percent": float,
        "num_goroutines": int,
        "last_updated": str,
    },
    "cache": {"models": [str], "response": RESPONSE_CACHE},
    "rag": {"enabled": bool, "documents": int},
}
INFO = {
    "cpu": str,
    "cpu_cores": int,
    "usable_cores": int,
    "total_memory": int,
    "free_memory": int,
    "gpu": None,
    "gpu_memory": None,
    "os": str,
    "architecture": str,
    "backend": str,
}


@endpoint(answer=CONFIG)
def get_config(_request: Request, app) -> Response:
    """What is switched on, for who has not signed in yet. Holds nothing that is worth hiding."""
    modes = _modes(app)
    features = {name: bool(app.router.methods(path)) for name, path in FEATURES.items()}
    features = {"users": modes["multi_user_mode"], **features}
    return Response.json({**modes, "version": offgrid.__version__, "features": features})


def _modes(app) -> dict[str, bool]:
    """Without accounts there is at most one key, and everybody is a guest where none is wanted."""
    access = app.config.access
    required = not access.lets_guests_in if access.multi_user else bool(app.config.server.api_key)
    return {"multi_user_mode": access.multi_user, "require_auth": required, "guest_access": not required}


@endpoint(answer=STATS)
def get_stats(_request: Request, app) -> Response:
    """The machine, the server and what is kept, in figures.

    The seven that the API document has, and what the original server and its library read besides.
    """
    memory_total, memory_available = app.machine.memory()
    shares, own, users = app.machine.cpu_shares(), app.machine.own(), app.accounts.users
    _, aggregate = _inference(app)
    answer = {
        "cpu_percent": shares and round(shares.machine, 1),
        "process_cpu_percent": shares and round(shares.ours, 1),
        "memory_bytes": _memory_bytes(app),
        "memory_total": memory_total,
        "memory_used": memory_total - memory_available,
        "memory_percent": _percent(memory_total - memory_available, memory_total),
        "disk_percent": _disk(app)["disk_usage_percent"],
        "models_loaded": sum(worker.is_ready for worker in app.pool.workers),
        "active_sessions": app.sessions.count(),
        "rag_documents": app.knowledge.documents.count_all(),
        "total_users": users.count(),
        "admin_users": users.count("admin"),
        "websocket_connections": 0,  # this server speaks no WebSocket
        "requests_total": int(app.traffic.requests.sum()),
        "requests_in_flight": int(app.traffic.in_flight.sum()),
        "errors_total": int(app.traffic.errors.sum()),
        "tokens_generated": int(app.traffic.output.sum()),
        "avg_latency_ms": aggregate["avg_response_ms"],
        "uptime_seconds": int(time.monotonic() - app.started),
        # Go's words, which the original's page reads, for what comes nearest in a program of Python.
        "goroutines": threading.active_count(),
        "gc_cycles": sum(generation["collections"] for generation in gc.get_stats()),
        "heap_alloc": own and own.private_bytes,
        "heap_sys": own and own.data_bytes,
    }
    return Response.json(answer)


@endpoint(answer=STATISTICS)
def get_statistics(_request: Request, app) -> Response:
    """Server, models, machine and caches in one answer."""
    uptime = timedelta(seconds=int(time.monotonic() - app.started))
    models, aggregate = _inference(app)
    shares = app.machine.cpu_shares()
    total, available = app.machine.memory()
    resources = {
        "cpu_usage_percent": shares and round(shares.machine, 1),
        "memory_used_mb": (total - available) // MB,
        "memory_total_mb": total // MB,
        "memory_usage_percent": _percent(total - available, total),
        **_disk(app),
        "num_goroutines": threading.active_count(),
        "last_updated": rfc3339(time.time()),
    }
    loaded = [worker for worker in app.pool.workers if worker.is_ready]
    answer = {
        "server": {
            "uptime": uptime_text(uptime.total_seconds()),
            "uptime_seconds": int(uptime.total_seconds()),
            "start_time": rfc3339(time.time() - uptime.total_seconds()),
            "version": offgrid.__version__,
            "current_model": max(loaded, key=lambda worker: worker.used_at).model_id if loaded else "",
        },
        "inference": {"models": models, "aggregate": aggregate},
        "system": {
            "os": os.uname().sysname.lower(),
            "arch": os.uname().machine,
            "cpu_cores": os.cpu_count(),
            "total_memory_gb": round(total / GB, 1),
        },
        "resources": resources,
        "cache": {"models": [worker.model_id for worker in loaded], "response": NO_RESPONSE_CACHE},
        "rag": {"enabled": app.config.rag.enabled, "documents": app.knowledge.documents.count_all()},
    }
    return Response.json(answer)


@endpoint(answer=INFO)
def get_info(_request: Request, app) -> Response:
    """The machine. `gpu` is null: this process does not load llama.cpp, which alone could tell."""
    total, available = app.machine.memory()
    return Response.json(
        {
            "cpu": _cpu_name(),
            "cpu_cores": os.cpu_count(),
            "usable_cores": len(os.sched_getaffinity(0)),
            "total_memory": total,
            "free_memory": available,
            "gpu": None,
            "gpu_memory": None,
            "os": os.uname().sysname.lower(),
            "architecture": os.uname().machine,
            "backend": "llama.cpp",
        }
    )


def uptime_text(seconds: float) -> str:
    """ "1h 2m 3s", as the original server writes it."""
    minutes, s = divmod(int(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}h {m}m {s}s" if hours else f"{m}m {s}s" if m else f"{s}s"


def _inference(app) -> tuple[dict[str, dict], dict]:
    """(what was asked of each model since the start, of all together)"""
    totals = app.traffic.of_models()
    n_requests = sum(one.n_requests for one in totals.values())
    seconds = sum(one.seconds for one in totals.values())
    aggregate = {
        "total_requests": n_requests,
        "total_tokens": sum(one.n_tokens for one in totals.values()),
        "models_used": len(totals),
        "avg_response_ms": round(1e3 * seconds / n_requests, 1) if n_requests else 0.0,
    }
    return {model: _inference_of(model, one) for model, one in totals.items()}, aggregate


def _inference_of(model: str, totals: ModelTotals) -> dict:
    return {
        "model_id": model,
        "total_requests": totals.n_requests,
        "total_tokens": totals.n_tokens,
        "total_duration_ms": round(1e3 * totals.seconds),
        "average_response_ms": round(1e3 * totals.seconds / totals.n_requests, 1),
        "last_used": rfc3339(totals.last_used_at),
    }


def _memory_bytes(app) -> int | None:
    """What we and our children have in RAM, shared pages counted once."""
    uses = [app.machine.own(), *app.machine.children().values()]
    if uses[0] is None:
        return None
    return sum(use.proportional_bytes or use.resident_bytes for use in uses)


def _disk(app) -> dict:
    disk = shutil.disk_usage(app.config.paths.data_dir)
    return {
        "disk_used_gb": round(disk.used / GB, 1),
        "disk_total_gb": round(disk.total / GB, 1),
        "disk_usage_percent": _percent(disk.used, disk.used + disk.free),  # as df has it: without what is root's
    }


def _cpu_name() -> str:
    """The processor's name; on a board without one, the board's."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return fields.get("model name") or fields.get("Model") or fields.get("Hardware") or os.uname().machine
    except OSError:
        return os.uname().machine


def _percent(part: float, whole: float) -> float:
    return round(100 * part / whole, 1) if whole else 0.0
