"""Questions to data stores as LoLLMs' clients ask them; likeness is in percent there, 50 for none at all."""

from offgrid.api.endpoint import endpoint
from offgrid.api.fields import Asked, Field, required
from offgrid.api.lollms.datastores import open_store, seen_by, username_of
from offgrid.api.search import TOP_K
from offgrid.api.shapes import Number, Text
from offgrid.api.times import rfc3339
from offgrid.engine.catalog import LOCAL
from offgrid.rag.words import MAX_QUERY_CHARS
from offgrid.store.datastores import EVERYBODY, DataStore
from offgrid.web.message import Request, Response

PERCENT = Number(0, 100)
LEAST = "The least likeness of a passage to the question, in percent: (cosine + 1) / 2 * 100."
QUERY = required("query", Text(1, MAX_QUERY_CHARS, is_unicode=True), "What is looked for.", "What are our Q3 targets?")
MANY = Field("top_k", TOP_K.shape, TOP_K.means, 10)
RAG_QUERY = (
    required("datastore_id", Text(1, 100, is_unicode=True), "The data store.", "9b2f0c1e-4a53-4f8e-9d7e-0d2f6a1c5b77"),
    QUERY,
    MANY,
    Field("min_similarity", PERCENT, LEAST, 50),
)
STORE_QUERY = (QUERY, MANY, Field("min_similarity_percent", PERCENT, LEAST, 50))
FOUND = [
    {
        "chunk_text": str,
        "start_pos": int,
        "end_pos": int,
        "file_path": str,
        "document_metadata": ({str: str}, None),
        "chunk_id": int,
        "similarity_score": float,
        "similarity_percent": float,
    }
]
DATABASE = {
    "id": str,
    "name": str,
    "description": str,
    "vectorizer": (str, None),
    "vectorizer_index": int,
    "binding_used": str,
    "created_at": str,
    "updated_at": str,
    "is_public": bool,
    "owner_username": str,
}


@endpoint(body=RAG_QUERY, answer=FOUND)
def query(request: Request, app, asked: Asked) -> Response:
    """The passages of a data store that answer a question."""
    store = open_store(request, app, asked["datastore_id"])
    return _answer(app, store, asked, asked["min_similarity"])


@endpoint(body=STORE_QUERY, answer=FOUND)
def query_store(request: Request, app, asked: Asked, id: str) -> Response:
    """The same, for the store that the path names."""
    return _answer(app, open_store(request, app, id), asked, asked["min_similarity_percent"])


@endpoint(answer={"object": "list", "data": [DATABASE]})
def list_databases(request: Request, app) -> Response:
    """The data stores that one may ask."""
    stores = app.knowledge.stores
    data = [
        {
            "id": store.id,
            "name": store.name,
            "description": store.description,
            "vectorizer": store.space.model if store.space else None,
            "vectorizer_index": store.space.number if store.space else 0,
            "binding_used": LOCAL.rstrip("/"),
            "created_at": rfc3339(store.created_at),
            "updated_at": rfc3339(store.updated_at),
            "is_public": any(who == EVERYBODY for who, _ in stores.shares(store)),
            "owner_username": username_of(app, store.owner),
        }
        for store in seen_by(request, app)
    ]
    return Response.json({"object": "list", "data": data})


def _answer(app, store: DataStore, asked: Asked, least_percent: float) -> Response:
    from offgrid.rag.search import Question

    found = app.knowledge.search(store, Question(asked["query"], asked["top_k"], least_percent / 50 - 1))
    return Response.json(
        [
            {
                "chunk_text": hit.passage.text,
                "start_pos": hit.passage.start,
                "end_pos": hit.passage.end,
                "file_path": hit.passage.document_name,
                "document_metadata": hit.passage.metadata or None,
                "chunk_id": hit.passage.number,
                "similarity_score": hit.score,
                "similarity_percent": round((hit.score + 1) * 50, 4),
            }
            for hit in found.hits
        ]
    )
