"""Data stores as LoLLMs' clients manage them, at /api/datastores and, by API key, at /lollms/v1/datastores."""

from offgrid.api.answers import JSON
from offgrid.api.endpoint import endpoint
from offgrid.api.fields import Asked, Field, required
from offgrid.api.knowledge import require_rag
from offgrid.api.shapes import Anything, Choice, Text, Whole
from offgrid.api.times import rfc3339
from offgrid.errors import BadRequest, NotFound
from offgrid.rag.embedding import EmbeddingModel
from offgrid.store.datastores import EVERYBODY, LEVELS, DataStore
from offgrid.web.message import Request, Response

MAX_NAME_CHARS = 200
MAX_DESCRIPTION_CHARS = 10_000
STORE = {
    "id": str,
    "name": str,
    "description": str,
    "owner_username": str,
    "permission_level": LEVELS,
    "vectorizer_name": (str, None),
    "vectorizer_config": object,
    "chunk_size": int,
    "chunk_overlap": int,
    "created_at": str,
    "updated_at": str,
}
NAME = required(
    "name", Text(1, MAX_NAME_CHARS, is_unicode=True), "What it is called; each of one's own another.", "law"
)
DESCRIPTION = Field("description", Text(0, MAX_DESCRIPTION_CHARS, is_unicode=True), "What is in it.", "")
NEW = (
    NAME,
    DESCRIPTION,
    Field("vectorizer_name", Text(1), "The embedding model; without it, the default one once a document comes."),
    Field("vectorizer_config", Anything(), "Of its members only `model` is read: the embedding model, too."),
    Field("chunk_size", Whole(16, 8192), "Tokens of a passage, at most; without it, as rag.chunk_tokens says."),
    Field("chunk_overlap", Whole(0, 4096), "Tokens that a passage repeats of the one before it."),
)
GRANTEE = {"user_id": str, "username": str, "icon": None, "permission_level": LEVELS}
SHARE = (
    required("target_username", Text(1, is_unicode=True), "An account's name, or * for everybody.", "ada"),
    Field("permission_level", Choice(LEVELS[:-1]), "What they may do.", LEVELS[0]),
)
VECTORIZER = {
    "id": str,
    "alias": str,
    "vectorizer_name": str,
    "vectorizer_config": {"model": str},
    "models": [{"name": str, "value": str}],
}


def open_store(request: Request, app, id: str, level: str = LEVELS[0]) -> DataStore:
    """Raises NotFound, PermissionDenied."""
    require_rag(app)
    return app.knowledge.stores.get(request.who.owner, request.who.user_id or "", id, level)


@endpoint(answer=[STORE])
def list_stores(request: Request, app) -> Response:
    """One's own data stores, and those that others share."""
    return Response.json([as_json(app, store) for store in seen_by(request, app)])


@endpoint(body=NEW, answers={201: {JSON: STORE}})
def create_store(request: Request, app, asked: Asked) -> Response:
    """Make a data store."""
    require_rag(app)
    knowledge = app.knowledge
    model = _model(app, asked)
    sizes = {"chunk_tokens": asked.get("chunk_size", 0), "overlap_tokens": asked.get("chunk_overlap", 0)}
    store = knowledge.stores.create(request.who.owner, asked["name"], asked["description"], **sizes)
    if model is not None:
        try:
            knowledge.choose_model(store, model)
        except BaseException:  # who asks again must not find the name taken
            knowledge.delete_store(store)
            raise
    return Response.json(as_json(app, open_store(request, app, store.id)), status=201)


@endpoint(answer=STORE)
def get_store(request: Request, app, id: str) -> Response:
    """One data store."""
    return Response.json(as_json(app, open_store(request, app, id)))


@endpoint(body=(NAME, DESCRIPTION), answer=STORE)
def update_store(request: Request, app, asked: Asked, id: str) -> Response:
    """Name a data store anew."""
    store = open_store(request, app, id, "owner")
    described = {"description": asked["description"]} if "description" in asked else {}
    app.knowledge.stores.change(store, name=asked["name"], **described)
    return Response.json(as_json(app, open_store(request, app, id)))


@endpoint(answer={"message": str})
def delete_store(request: Request, app, id: str) -> Response:
    """Delete a data store with all its documents."""
    store = open_store(request, app, id, "owner")
    app.knowledge.delete_store(store)
    return Response.json({"message": f"The data store {store.name!r} is deleted."})


@endpoint(answer=[GRANTEE])
def list_shares(request: Request, app, id: str) -> Response:
    """With whom a data store is shared."""
    store = open_store(request, app, id, "owner")
    shares = app.knowledge.stores.shares(store)
    return Response.json(
        [
            {"user_id": who, "username": username_of(app, who), "icon": None, "permission_level": level}
            for who, level in shares
        ]
    )


@endpoint(body=SHARE, answers={201: {JSON: {"message": str}}})
def share_store(request: Request, app, asked: Asked, id: str) -> Response:
    """Share a data store with an account, or with everybody."""
    store = open_store(request, app, id, "owner")
    name, level = asked["target_username"], asked["permission_level"]
    app.knowledge.stores.share(store, _grantee(app, name), level)
    return Response.json({"message": f"The data store {store.name!r} is shared with {name} ({level})."}, status=201)


@endpoint(answer={"message": str})
def unshare_store(request: Request, app, id: str, user_id: str) -> Response:
    """No longer share a data store with an account; `*` is everybody."""
    store = open_store(request, app, id, "owner")
    app.knowledge.stores.unshare(store, user_id)
    return Response.json({"message": f"The data store {store.name!r} is no longer shared with them."})


@endpoint(answer={"message": str})
def leave_store(request: Request, app, id: str) -> Response:
    """Give up what somebody else shares."""
    store = open_store(request, app, id)
    app.knowledge.stores.unshare(store, request.who.user_id or "")
    return Response.json({"message": f"You have left the data store {store.name!r}."})


@endpoint(answer=[VECTORIZER])
def list_vectorizers(_request: Request, app) -> Response:
    """The embedding models that a data store can have."""
    models = [file.id for file in app.catalog.scan() if file.kind == "embedding" and not file.broken]
    names = [{"name": id, "value": id} for id in models]
    return Response.json(
        [
            {"id": id, "alias": id, "vectorizer_name": id, "vectorizer_config": {"model": id}, "models": names}
            for id in models
        ]
    )


@endpoint(answer={"size_bytes": int, "chunk_count": int, "graph_nodes_count": int, "graph_edges_count": int})
def get_details(request: Request, app, id: str) -> Response:
    """How large a data store is."""
    _, n_chunks, n_bytes = app.knowledge.documents.count(open_store(request, app, id))
    graph = {"graph_nodes_count": 0, "graph_edges_count": 0}  # LoLLMs' other kind of index, which is not here
    return Response.json({"size_bytes": n_bytes, "chunk_count": n_chunks} | graph)


def seen_by(request: Request, app) -> list[DataStore]:
    require_rag(app)
    return app.knowledge.stores.list(request.who.owner, request.who.user_id or "")


def as_json(app, store: DataStore) -> dict:
    model = store.space.model if store.space else None
    return {
        "id": store.id,
        "name": store.name,
        "description": store.description,
        "owner_username": username_of(app, store.owner),
        "permission_level": store.level,
        "vectorizer_name": model,
        "vectorizer_config": {"model": model} if model else {},
        "chunk_size": store.chunk_tokens or app.config.rag.chunk_tokens,
        "chunk_overlap": store.overlap_tokens or app.config.rag.overlap_tokens,
        "created_at": rfc3339(store.created_at),
        "updated_at": rfc3339(store.updated_at),
    }


def username_of(app, owner: str) -> str:
    """The name of an account; what is nobody's account is called as it is: local, lan, *."""
    if not app.config.access.multi_user:
        return owner
    try:
        return app.accounts.users.get(owner).username
    except NotFound:
        return owner


def _grantee(app, name: str) -> str:
    if name == EVERYBODY:
        return EVERYBODY
    user = app.accounts.users.named(name) if app.config.access.multi_user else None
    if user is None:
        accounts = "" if app.config.access.multi_user else " This server has no accounts; * is everybody."
        raise NotFound(f"There is no account {name[:100]!r}.{accounts}", param="target_username")
    return user.id


def _model(app, asked: Asked) -> EmbeddingModel | None:
    config = asked.get("vectorizer_config")
    chosen = config.get("model") if isinstance(config, dict) else None
    if chosen is not None and not isinstance(chosen, str):
        raise BadRequest("vectorizer_config.model must be a string.", param="vectorizer_config.model")
    name = chosen or asked.get("vectorizer_name")
    return app.knowledge.embedding_model(name) if name else None
