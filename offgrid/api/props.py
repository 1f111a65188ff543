"""GET /props and /slots: what llama-server's clients ask of a model, with no prompt, no text and no path in it.

Neither loads a model or keeps one loaded.
"""

from dataclasses import asdict

import offgrid
from offgrid.api.endpoint import endpoint
from offgrid.api.fields import Asked, Field
from offgrid.api.models import MODEL, model_for
from offgrid.api.sampling import usual_sampling
from offgrid.api.shapes import Text
from offgrid.engine.catalog import ModelFile
from offgrid.engine.worker_client import WorkerClient
from offgrid.errors import InsufficientMemory
from offgrid.sections import ModelSettings
from offgrid.web.message import Request, Response

PROPS = {
    "default_generation_settings": {"n_ctx": (int, None), "params": {str: object}},
    "total_slots": int,
    "model_alias": str,
    "model_path": str,
    "chat_template": (str, None),
    "bos_token": (str, None),
    "eos_token": (str, None),
    "modalities": {"vision": bool, "audio": bool},
    "endpoint_slots": bool,
    "endpoint_props": bool,
    "endpoint_metrics": bool,
    "build_info": str,
    "is_sleeping": bool,
}
SLOT = {
    "id": int,
    "model": str,
    "n_ctx": int,
    "speculative": bool,
    "is_processing": bool,
    "id_task": int,
    "n_prompt_tokens?": int,
    "n_prompt_tokens_cache?": int,
    "n_prompt_tokens_processed?": int,
    "next_token?": [{"has_next_token": bool, "n_remain": int, "n_decoded": int}],
}
WHICH = Field("model", Text(), "The id of a chat model; when left out, every loaded one.")


@endpoint(query=(MODEL,), answer=PROPS, errors=(404,))
def get_props(_request: Request, app, asked: Asked) -> Response:
    """A chat model and its defaults. What only a loaded model tells is null while it `is_sleeping`."""
    model, own = model_for(app, asked, "chat")
    worker = _worker(app, model)
    facts = worker.facts if worker else {}
    return Response.json(
        {
            "default_generation_settings": {
                "n_ctx": _n_ctx(app, model),
                "params": _default_params(own),
            },
            "total_slots": app.config.engine.for_model(model.id).parallel,
            "model_alias": model.id,
            "model_path": model.path.name,
            "chat_template": facts.get("chat_template", own.chat_template),
            "bos_token": facts.get("bos_token"),
            "eos_token": facts.get("eos_token"),
            "modalities": {"vision": False, "audio": False},
            "endpoint_slots": True,
            "endpoint_props": False,  # llama-server's word for changing them
            "endpoint_metrics": True,
            "build_info": f"offgrid {offgrid.__version__}",
            "is_sleeping": worker is None,
        }
    )


@endpoint(query=(WHICH,), answer=[SLOT], errors=(404,))
def list_slots(_request: Request, app, asked: Asked) -> Response:
    """One entry for each slot of each loaded chat model, or of one model; as of at most a second ago."""
    wanted = model_for(app, asked, "chat")[0].worker.id if asked["model"] else None
    workers = [w for w in app.pool.workers if w.is_ready and w.settings["kind"] == "chat"]
    return Response.json([slot for w in workers if wanted in (None, w.model_id) for slot in _slots(w)])


def context_of(app, model: ModelFile) -> int:
    """The tokens that one request has, or would have, were the model loaded. Raises InsufficientMemory."""
    if worker := _worker(app, model):
        return worker.facts["n_limit"]
    n_ctx = app.pool.plan(model, app.pool.capacity).n_ctx
    return min(n_ctx, model.info.n_ctx_train or n_ctx)


def _worker(app, model: ModelFile) -> WorkerClient | None:
    return next((w for w in app.pool.workers if w.model_id == model.worker.id and w.is_ready), None)


def _n_ctx(app, model: ModelFile) -> int | None:
    """None when the model does not fit."""
    try:
        return context_of(app, model)
    except InsufficientMemory:
        return None


def _default_params(own: ModelSettings) -> dict:
    """What a request gets that says nothing: llama-server's names, and its -1 for "no limit" and "random"."""
    n_predict = -1 if own.max_tokens is None else own.max_tokens
    params = asdict(usual_sampling(own))
    return params | {"seed": -1, "max_tokens": n_predict, "n_predict": n_predict, "stop": []}


def _slots(worker: WorkerClient) -> list[dict]:
    taken = {slot: rest for slot, *rest in worker.figures.get("slots", [])}
    shared = {"model": worker.model_id, "n_ctx": worker.facts["n_limit"], "speculative": worker.facts["can_draft"]}
    return [
        {"id": i, **shared, "is_processing": i in taken, **(_work(*taken[i]) if i in taken else {"id_task": -1})}
        for i in range(worker.settings["n_parallel"])
    ]


def _work(id: int, n_prompt: int, n_cached: int, n_computed: int, n_decoded: int, n_remain: int) -> dict:
    return {
        "id_task": id,
        "n_prompt_tokens": n_prompt,
        "n_prompt_tokens_cache": n_cached,
        "n_prompt_tokens_processed": min(n_computed, n_prompt),
        "next_token": [{"has_next_token": n_remain > 0, "n_remain": n_remain, "n_decoded": n_decoded}],
    }
