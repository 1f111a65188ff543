"""Is it there, is it ready: what people, scripts and service managers ask first."""

import time

import offgrid
from offgrid.api.answers import JSON, TEXT
from offgrid.api.endpoint import endpoint
from offgrid.api.ollama.models import greeting
from offgrid.api.system import uptime_text
from offgrid.web.message import Request, Response

OLLAMA_PORT = 11434  # where its clients look for it
HEALTH = {
    "status": "healthy",
    "version": str,
    "uptime": str,
    "uptime_seconds": int,
    "timestamp": int,
    "requests_in_flight": int,
    "models_loaded": [str],
    "audit": ("ok", "failing", "off"),
}
READINESS = {"status": ("ready", "not_ready"), "models_available": int, "timestamp": int}


@endpoint(answers={200: {JSON: {"name": str, "version": str, "status": "running"}, TEXT: "Ollama is running"}})
def get_root(request: Request, app) -> Response:
    """What answers here. At Ollama's port it is Ollama, if that service is on."""
    if request.local_port == OLLAMA_PORT and app.config.services.ollama:
        return greeting()
    return Response.json({"name": "OffGrid LLM", "version": offgrid.__version__, "status": "running"})


@endpoint(answer=HEALTH)
def get_health(_request: Request, app) -> Response:
    """How the server is.

    Answers as soon as the port does, whatever the models do: nothing is looked up for it. Everybody may ask, so it
    tells nothing of who uses the server, or of the machine.
    """
    uptime_s = time.monotonic() - app.started
    return Response.json(
        {
            "status": "healthy",
            "version": offgrid.__version__,
            "uptime": uptime_text(uptime_s),
            "uptime_seconds": int(uptime_s),
            "timestamp": int(time.time()),
            "requests_in_flight": int(app.traffic.in_flight.sum()),
            "models_loaded": [w.model_id for w in app.pool.workers if w.is_ready],
            "audit": _audit(app),
        }
    )


def _audit(app) -> str:
    """A disk that takes no more rows does not stop the server, so this is where it shows."""
    if app.auditor is None:
        return "off"
    return "failing" if app.auditor.is_failing else "ok"


@endpoint(answers={200: {JSON: READINESS}, 503: {JSON: READINESS}})
def get_readiness(_request: Request, app) -> Response:
    """Whether there is a model to answer with; 503 otherwise, as load balancers expect it."""
    n_models = sum(1 for file in app.catalog.scan() if file.kind == "chat")
    answer = {
        "status": "ready" if n_models else "not_ready",
        "models_available": n_models,
        "timestamp": int(time.time()),
    }
    return Response.json(answer, status=200 if n_models else 503, headers={} if n_models else {"Retry-After": "5"})


@endpoint(answers={200: {TEXT: "ok"}})
def get_liveness(_request: Request, _app) -> Response:
    """Whether the server answers at all."""
    return Response(200, b"ok", {"Content-Type": "text/plain; charset=utf-8"})
