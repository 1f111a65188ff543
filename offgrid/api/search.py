"""/v1/documents/search: the passages of a data store that answer a question."""

from offgrid.api.endpoint import endpoint
from offgrid.api.fields import Asked, Field, Object, required
from offgrid.api.knowledge import CHUNK, STORE, Decimal, Metadata, chunk_as_json, store_for
from offgrid.api.shapes import Choice, ListOf, Text, Whole
from offgrid.api.times import Time
from offgrid.rag.words import MAX_QUERY_CHARS
from offgrid.web.message import Request, Response

MAX_TOP_K = 100
FILTER = Field(
    "filter",
    Object(
        Field("documents", ListOf(Text(1), 1000), "Only these, by id or name."),
        Field("metadata", Metadata(), "Only documents with each of these notes.", {}),
        Field("added_after", Time(), "Only what was added since then."),
        Field("added_before", Time(), "Only what was added until then."),
    ),
    "Which documents may answer.",
)
MODE = Field("mode", Choice(("hybrid", "vector", "keyword")), "By meaning and words, or by one of them.", "hybrid")
TOP_K = Field("top_k", Whole(1, MAX_TOP_K), "How many passages at most.", 5)
MIN_SCORE = Field("min_score", Decimal(-1, 1), "The least likeness (cosine) of a passage to the question; usually 0.2.")
DIVERSITY = Field("diversity", Decimal(0, 1), "How much a passage loses for being like one before it.", 0)
QUERY = required("query", Text(1, MAX_QUERY_CHARS, is_unicode=True), "What is looked for.", "When does water boil?")
SEARCH = (
    QUERY,
    TOP_K,
    MIN_SCORE,
    Field("threshold", Decimal(-1, 1), "Another name of min_score."),
    Field("document_filter", ListOf(Text(1), 1000), "Another name of filter.documents."),
    FILTER,
    MODE,
    DIVERSITY,
    STORE,
)
SEARCH_QUERY = (QUERY, TOP_K, MIN_SCORE, MODE, DIVERSITY, STORE)
HIT = {"chunk": CHUNK, "score": float, "document_id": str, "document_name": str, "metadata": {str: str}}
FOUND = {"query": str, "results": [HIT], "context": str, "mode": ("hybrid", "vector", "keyword"), "note?": str}


@endpoint(body=SEARCH, answer=FOUND)
def search(request: Request, app, asked: Asked) -> Response:
    """The passages that answer a question."""
    return _search(request, app, asked)


@endpoint(query=SEARCH_QUERY, answer=FOUND)
def search_by_query(request: Request, app, asked: Asked) -> Response:
    """The passages that answer a question, by a mere address."""
    return _search(request, app, asked)


def _search(request: Request, app, asked: Asked) -> Response:
    from offgrid.rag.search import Filter, Question

    store = store_for(request, app, asked)
    chosen = asked.get("filter") or {}
    documents = chosen.get("documents") or asked.get("document_filter")
    times = (chosen.get("added_after"), chosen.get("added_before"))
    question = Question(
        asked["query"],
        asked["top_k"],
        asked.get("min_score", asked.get("threshold")),
        asked["mode"],
        asked["diversity"],
        Filter(documents, chosen.get("metadata") or {}, *times),
    )
    found = app.knowledge.search(store, question)
    hits = [
        {
            "chunk": chunk_as_json(hit.passage),
            "score": hit.score,
            "document_id": hit.passage.document_id,
            "document_name": hit.passage.document_name,
            "metadata": hit.passage.metadata,
        }
        for hit in found.hits
    ]
    context = "\n\n".join(f"[{hit.passage.document_name}]\n{hit.passage.text}" for hit in found.hits)
    note = {"note": found.note} if found.note else {}
    return Response.json({"query": asked["query"], "results": hits, "context": context, "mode": found.mode, **note})
