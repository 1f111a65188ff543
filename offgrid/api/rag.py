"""/v1/rag: the state of a data store, switching it on and off, and which model makes its vectors."""

from offgrid.api.answers import JSON
from offgrid.api.endpoint import endpoint
from offgrid.api.fields import Asked, Field
from offgrid.api.knowledge import STORE, store_for
from offgrid.api.shapes import Text
from offgrid.api.tasks import TASK
from offgrid.api.tasks import as_json as task_as_json
from offgrid.errors import ModelNotFound
from offgrid.rag.readers.formats import FORMATS
from offgrid.store.datastores import DataStore
from offgrid.web.message import Request, Response

MODEL = Field("embedding_model", Text(1), "The model that makes the vectors; without it, the default one.")
STATUS = {
    "enabled": bool,
    "embedding_model": (str, None),
    "datastore_id": str,
    "stats": {
        **{"document_count": int, "chunk_count": int, "size_bytes": int, "backend": "sqlite", "enabled": bool},
        **{"embedding_model": (str, None), "n_dim": (int, None), "vectors_in_memory_bytes": int},
    },
    "note?": str,
    "formats": [{"name": str, "extensions": [str], "needs?": str}],
}
SWITCHED = {"success": True, "enabled": bool, "embedding_model": (str, None), "message": str, "task?": TASK}


@endpoint(query=(STORE,), answer=STATUS)
def get_status(request: Request, app, asked: Asked) -> Response:
    """How a data store stands, and which files can be read."""
    store = store_for(request, app, asked)
    n_documents, n_chunks, n_bytes = app.knowledge.documents.count(store)
    model = store.space.model if store.space else None
    is_on = store.is_on
    stats = {
        "document_count": n_documents,
        "chunk_count": n_chunks,
        "size_bytes": n_bytes,
        "backend": "sqlite",
        "enabled": is_on,
        "embedding_model": model,
        "n_dim": store.space.n_dim if store.space else None,
        "vectors_in_memory_bytes": app.knowledge.index_bytes,
    }
    note = app.knowledge.why_words_only(store)
    formats = [
        {"name": form.name, "extensions": list(form.extensions)} | ({"needs": form.needs} if form.needs else {})
        for form in FORMATS
    ]
    answer = {"enabled": is_on, "embedding_model": model, "datastore_id": store.id, "stats": stats}
    return Response.json(answer | ({"note": note} if note else {}) | {"formats": formats})


@endpoint(body=(MODEL, STORE), answers={200: {JSON: SWITCHED}, 202: {JSON: SWITCHED}})
def enable(request: Request, app, asked: Asked) -> Response:
    """Switch a data store on; where its vectors are another model's, or missing, a task makes them anew."""
    store = store_for(request, app, asked, "revectorize")
    knowledge = app.knowledge
    model = knowledge.embedding_model(asked.get("embedding_model") or "")
    task = None
    if model is None and asked.get("embedding_model"):
        raise ModelNotFound(f"There is no model {asked['embedding_model']!r}.")
    if model is not None and _needs_vectors(app, store, model, is_asked="embedding_model" in asked):
        task = knowledge.reembed(request.who.owner, store, model)
    elif model is not None and store.space is None and "embedding_model" in asked:
        knowledge.choose_model(store, model)  # for the first document
    knowledge.stores.change(store, is_on=True)
    name = model.id if task else store.space.model if store.space else model.id if model else None
    answer = {"success": True, "enabled": True, "embedding_model": name}
    if task:
        message = f"The knowledge base is on; {name} makes its vectors in the task {task.id}."
        return Response.json(answer | {"message": message, "task": task_as_json(task)}, status=202)
    words = f"with {name}" if name else "by words alone, as there is no embedding model"
    return Response.json(answer | {"message": f"The knowledge base is on, {words}."})


@endpoint(body=(STORE,), answer=SWITCHED)
def disable(request: Request, app, asked: Asked) -> Response:
    """Switch a data store off: it keeps its documents and answers nothing."""
    store = store_for(request, app, asked, "revectorize")
    app.knowledge.stores.change(store, is_on=False)
    model = store.space.model if store.space else None
    message = "The knowledge base is off; its documents stay."
    return Response.json({"success": True, "enabled": False, "embedding_model": model, "message": message})


def _needs_vectors(app, store: DataStore, model, *, is_asked: bool) -> bool:
    if store.space is None:
        return app.knowledge.documents.count(store)[0] > 0
    if not is_asked and app.knowledge.why_words_only(store) == "":
        return False  # it keeps to the model that it has
    return not model.matches(store.space)
